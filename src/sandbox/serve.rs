//! The sandbox over sockets, with or without TLS. Where a fault breaks a connection, the connection is closed.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use axum::{BoxError, Router};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use http::Request;
use tokio::task::JoinHandle;
use tower::{Service, ServiceExt, service_fn};

use super::exchange::Broken;

/// A server that runs until it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens and serves `router`. With port 0 the system picks the port. A TLS provider must have been installed
    /// before `tls` is used.
    pub fn start(router: Router, listen: SocketAddr, tls: Option<RustlsConfig>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let handle = Handle::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let carrier = Carrier { router };
        let make = service_fn(move |_: SocketAddr| {
            let carrier = carrier.clone();
            async move { Ok::<_, Infallible>(carrier) }
        });
        let task = match tls {
            Some(tls) => {
                let server = axum_server::from_tcp_rustls(listener, tls)?.handle(handle.clone());
                tokio::spawn(server.serve(make))
            }
            None => tokio::spawn(axum_server::from_tcp(listener)?.handle(handle.clone()).serve(make)),
        };
        Ok(Self { address, scheme, handle, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Takes no more connections, gives those at work a moment, and ends.
    pub async fn stop(self) -> io::Result<()> {
        self.handle.graceful_shutdown(Some(Duration::from_millis(500)));
        self.task.await.map_err(io::Error::other)?
    }
}

/// Reads a certificate chain and a key from PEM files.
pub async fn tls_from_files(cert: &std::path::Path, key: &std::path::Path) -> io::Result<RustlsConfig> {
    RustlsConfig::from_pem_file(cert, key).await
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault breaks the connection")]
struct ConnectionBroken;

/// The router as a service that can fail, on which the server closes the connection.
#[derive(Clone)]
struct Carrier {
    router: Router,
}

impl<B> Service<Request<B>> for Carrier
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = ConnectionBroken;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ConnectionBroken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectionBroken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let router = self.router.clone();
        Box::pin(async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            if response.extensions().get::<Broken>().is_some() { Err(ConnectionBroken) } else { Ok(response) }
        })
    }
}
