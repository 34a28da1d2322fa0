//! The way from a Pod to the API server, which listens on loopback: what kube-proxy does for the Service `kubernetes`.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::{io, thread};

use crate::Result;

/// The port of the Service `kubernetes`.
const PORT: u16 = 443;

/// Leads connections to the address of the Service on to the API server of this URL, as long as this process lives.
pub(super) fn to_api_server(url: &str) -> Result<()> {
    let listener = TcpListener::bind((controlplane::SERVICE_ADDRESS, PORT))?;
    let target = url.trim_start_matches("https://").to_owned();
    thread::spawn(move || {
        for incoming in listener.incoming().flatten() {
            // A server that is not there is a connection that ends, as elsewhere.
            if let Ok(outgoing) = TcpStream::connect(&target) {
                let _ = join(&incoming, &outgoing);
            }
        }
    });
    Ok(())
}

fn join(one: &TcpStream, other: &TcpStream) -> io::Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
