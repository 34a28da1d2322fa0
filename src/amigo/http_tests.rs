//! The transport against a server that does what each test says with its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(5), max_body: 1000 };

/// What a server saw.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// Reads the head of a request; whether there was one.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(text).unwrap())
}

/// A server that answers every request on a connection with this, and keeps the connection, or closes it when the answer is
/// empty; its address.
async fn server(answer: &'static str) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                while head(&mut stream).await.is_some() {
                    counted.requests.fetch_add(1, Ordering::SeqCst);
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (format!("http://{address}/v1/acme/tool/?tag=canary"), seen)
}

async fn send(transport: &HttpTransport, method: Method, url: &str) -> Result<http::Response<Bytes>, TransportError> {
    let request = http::Request::builder().method(method).uri(url).header("x-api-key", "canary");
    transport.send(request.body(Bytes::new()).unwrap(), BOUNDS).await
}

fn text(result: Result<http::Response<Bytes>, TransportError>) -> String {
    let text = result.unwrap_err().to_string();
    assert!(!text.contains("canary") && !text.contains("127.0.0.1"), "{text}");
    text
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn reads_share_a_connection_and_writes_never_do() {
    let transport = HttpTransport::new(None).unwrap();
    for (method, connections) in [(Method::GET, 1), (Method::POST, 3), (Method::DELETE, 3)] {
        let (url, seen) = server(OK).await;
        for _ in 0..3 {
            assert_eq!(send(&transport, method.clone(), &url).await.unwrap().body(), "{}");
        }
        assert_eq!(seen.connections.load(Ordering::SeqCst), connections, "{method}");
    }
}

#[tokio::test]
async fn a_write_whose_connection_dies_is_not_sent_again() {
    let transport = HttpTransport::new(None).unwrap();
    for method in [Method::POST, Method::DELETE] {
        let (url, seen) = server("").await;
        let error = text(send(&transport, method, &url).await);
        assert!(error.starts_with("no complete answer: the connection failed"), "{error}");
        assert_eq!(seen.requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_breaks_off_is_none() {
    let transport = HttpTransport::new(None).unwrap();
    let chunk = format!("1f8\r\n{}\r\n", "x".repeat(0x1f8));
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", "larger than 1000 bytes"),
        (Box::leak(chunked.into_boxed_str()), "larger than 1000 bytes"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "timed out"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "no complete answer"),
        ("HTTP/1.1 2000 NONSENSE\r\n\r\n", "no complete answer"),
    ] {
        let (url, _) = server(answer).await;
        let quick = Bounds { timeout: Duration::from_millis(300), ..BOUNDS };
        let request = http::Request::post(&url).body(Bytes::new()).unwrap();
        let error = text(transport.send(request, quick).await);
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn time_is_limited_and_a_closed_port_means_not_sent() {
    let transport = HttpTransport::new(None).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?tag=canary", silent.local_addr().unwrap());
    let request = http::Request::post(&url).body(Bytes::new()).unwrap();
    let bounds = Bounds { timeout: Duration::from_millis(50), ..BOUNDS };
    assert_eq!(text(transport.send(request, bounds).await), "no complete answer: timed out");
    drop(silent);
    let closed = send(&transport, Method::POST, &url).await;
    assert!(matches!(closed, Err(TransportError::NotSent(_))), "{closed:?}");
    assert!(text(closed).starts_with("could not connect: connecting failed"));
}

#[tokio::test]
async fn only_known_authorities_are_trusted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = axum_server::tls_rustls::RustlsConfig::from_pem_file(&cert, &key).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let app = axum::Router::new().fallback(|| async { "{}" });
    tokio::spawn(axum_server::from_tcp_rustls(listener, tls).unwrap().serve(app.into_make_service()));

    let stranger = HttpTransport::new(None).unwrap();
    let refused = send(&stranger, Method::POST, &url).await;
    assert!(matches!(refused, Err(TransportError::NotSent(_))), "{refused:?}");
    let friend = HttpTransport::new(Some(&cert)).unwrap();
    for method in [Method::GET, Method::POST, Method::POST] {
        assert_eq!(send(&friend, method, &url).await.unwrap().status(), 200);
    }
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    assert!(matches!(HttpTransport::new(Some(&file)), Err(InvalidTransport::Unreadable { .. })));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(matches!(HttpTransport::new(Some(&file)), Err(InvalidTransport::NoCertificate { .. })));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
    let error = HttpTransport::new(Some(&file)).unwrap_err();
    assert!(matches!(error, InvalidTransport::Unusable { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("{} cannot be read", file.display())), "{error}");
    assert!(!error.to_string().contains("builder error"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stands_too_late_carries_no_write() {
    for (seconds, serves) in [(1, true), (3, true), (4, false), (20, false)] {
        let connect = tower::service_fn(move |()| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, BoxError>(())
        });
        assert_eq!(Soon(connect).call(()).await.is_ok(), serves, "{seconds} s");
    }
}
