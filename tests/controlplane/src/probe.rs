//! Asks servers over HTTP whether they are ready. Only the status code counts, so no HTTP library is needed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certificates::{Certificates, ClientFiles};
use crate::error::{Error, file_error};

/// Long enough for a busy machine: a request that takes longer is asked again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A TLS client with the administrator's certificate.
#[derive(Debug, Clone)]
pub(crate) struct ApiProbe {
    tls: Arc<ClientConfig>,
}

impl ApiProbe {
    pub fn new(certificates: &Certificates, administrator: &ClientFiles) -> Result<Self, Error> {
        let read = |path: &std::path::Path| fs::read(path).map_err(file_error("read", path));
        let certificate = |pem: &[u8]| CertificateDer::from_pem_slice(pem).map_err(tls_error);
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&read(&certificates.serving_ca())?)?).map_err(tls_error)?;
        let chain = vec![certificate(&read(&administrator.certificate)?)?];
        let key = PrivateKeyDer::from_pem_slice(&read(&administrator.key)?).map_err(tls_error)?;
        // The provider is named here: this crate must not depend on what its user installs for the process.
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let tls = tls.with_safe_default_protocol_versions().map_err(tls_error)?;
        let tls = tls.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(tls_error)?;
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Whether the API server answers this path with 200.
    pub fn is_ok(&self, port: u16, path: &str) -> bool {
        let server = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let answer = ClientConnection::new(self.tls.clone(), server).map_err(io::Error::other).and_then(|connection| {
            let mut stream = StreamOwned::new(connection, connect(port)?);
            status_of(&mut stream, path)
        });
        answer.is_ok_and(|status| status == 200)
    }
}

/// Whether a server without TLS answers this path with 200.
pub(crate) fn is_ok(port: u16, path: &str) -> bool {
    connect(port).and_then(|mut stream| status_of(&mut stream, path)).is_ok_and(|status| status == 200)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends a GET and reads the status line.
fn status_of(stream: &mut (impl Read + Write), path: &str) -> io::Result<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    // "HTTP/1.1 200" is all that is wanted.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let code = std::str::from_utf8(&head[9..]).ok().and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

fn tls_error(error: impl std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}
