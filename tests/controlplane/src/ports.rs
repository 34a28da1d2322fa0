//! Free ports on loopback.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::Error;

/// Below the ports that systems give to outgoing connections (32768 and up on Linux, 49152 and up elsewhere). A client
/// that knocks at a stopped server could otherwise be given that very port, and the server could not come back to it.
const RANGE: std::ops::Range<u16> = 15_000..30_000;

/// The ports of one control plane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub etcd_client: u16,
    pub etcd_peer: u16,
    pub api_server: u16,
}

impl Ports {
    /// Picks three ports that are free now. Another process may still be quicker: the caller then picks again.
    pub fn pick() -> Result<Self, Error> {
        let [etcd_client, etcd_peer, api_server] = free_ports()?;
        Ok(Self { etcd_client, etcd_peer, api_server })
    }
}

/// Starts at a random port, so that processes that start together do not try the same ones.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], Error> {
    let seed = RandomState::new().build_hasher().finish();
    let length = u64::from(RANGE.end - RANGE.start);
    // The listeners are kept until all ports are found: no port is found twice.
    let mut listeners = Vec::with_capacity(COUNT);
    for step in 0..length {
        let offset = u16::try_from((seed % length + step) % length).unwrap_or_default();
        let port = RANGE.start + offset;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            listeners.push((listener, port));
        }
        if listeners.len() == COUNT {
            break;
        }
    }
    let ports: Vec<_> = listeners.iter().map(|(_, port)| *port).collect();
    ports.try_into().map_err(|_| Error::NoFreePorts(COUNT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_none_of_outgoing_connections() {
        let ports = free_ports::<3>().unwrap();
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2], "{ports:?}");
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }
}
