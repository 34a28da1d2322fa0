//! Over sockets: answers arrive, broken connections break, and the binary says where it listens and ends when told to.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use amigo_operator::sandbox::serve::{Server, tls_from_files};
use amigo_operator::sandbox::{Effect, Fault, Sandbox, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request and shows all that comes until the connection ends.
async fn send(address: std::net::SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let type_ = "content-type: application/json\r\nconnection: close";
    let request = format!("{head}\r\nhost: sandbox\r\n{type_}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    // A reset shows as an error after what came before it.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

const SIGN_IN: &str = "POST /v1/acme/user/signin_with_api_key HTTP/1.1\r\n\
                       x-api-key: demo-key\r\nx-api-key-id: demo-key-id\r\nx-user-id: demo-user";

async fn token(address: std::net::SocketAddr) -> String {
    let answer = send(address, SIGN_IN, "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-ratelimit-limit: 5"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap()["id_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn answers_and_breaks_over_sockets() {
    let sandbox = Sandbox::for_tests(Settings::default());
    let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    let bearer = format!("authorization: Bearer {}", token(address).await);
    let create = async |name: &str| {
        let body = format!(r#"{{"name": "{name}", "description": "d", "tags": {{}}}}"#);
        send(address, &format!("POST /v1/acme/tool/ HTTP/1.1\r\n{bearer}"), &body).await
    };
    assert!(create("one").await.starts_with("HTTP/1.1 201"));
    for (effect, name, made) in [
        (Effect::LostBeforeEffect, "two", false),
        (Effect::NotConnected, "three", false),
        (Effect::LostAfterEffect { seconds: None }, "four", true),
    ] {
        sandbox.add_fault(Fault::once("create-tool", effect));
        assert_eq!(create(name).await, "", "the connection closes without a word");
        assert_eq!(sandbox.tool("acme", name).is_ok(), made, "{name}");
    }
    sandbox.add_fault(Fault::once("create-tool", Effect::TruncatedBody));
    let cut = create("five").await;
    let body = cut.split("\r\n\r\n").nth(1).unwrap();
    assert!(cut.contains("content-length: 33") && !body.is_empty() && body.len() < 33, "{cut}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_publish_outlives_its_connection() {
    let sandbox = Sandbox::for_tests(Settings { publish_seconds: 0.3, ..Settings::default() });
    let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), None).unwrap();
    let bearer = format!("authorization: Bearer {}", token(server.address()).await);
    let tool = sandbox.add_tool("acme", serde_json::from_str(r#"{"name": "weather"}"#).unwrap()).unwrap();
    let body = crate::client::publish_body("major").to_string();
    let head = format!("POST /v1/acme/tool/{tool}/version HTTP/1.1\r\n{bearer}");
    let send = send(server.address(), &head, &body);
    assert!(tokio::time::timeout(Duration::from_millis(100), send).await.is_err());
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !sandbox.tool("acme", &tool).unwrap().versions.is_empty() {
            break;
        }
    }
    assert_eq!(sandbox.tool("acme", &tool).unwrap().active_versions(), ["1.0.0"]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn speaks_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let sandbox = Sandbox::for_tests(Settings::default());
    let tls = tls_from_files(&cert, &key).await.unwrap();
    let server = Server::start(sandbox.router(), "127.0.0.1:0".parse().unwrap(), Some(tls)).unwrap();
    assert!(server.url().starts_with("https://127.0.0.1:"));

    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let url = format!("https://localhost:{}/v1/acme/user/signin_with_api_key", server.address().port());
    let sign_in = || {
        let request = client.post(&url).header("x-api-key", "demo-key").header("x-api-key-id", "demo-key-id");
        request.header("x-user-id", "demo-user").send()
    };
    assert_eq!(sign_in().await.unwrap().status(), 200);
    sandbox.add_fault(Fault::once("sign-in", Effect::LostAfterEffect { seconds: None }));
    assert!(sign_in().await.is_err(), "over HTTP/2 the stream is reset");
    server.stop().await.unwrap();
}

#[test]
fn the_binary_says_where_it_listens_and_ends_when_told_to() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_amigo-sandbox"))
        .args(["--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().take(2).map(Result::unwrap).collect();
    assert!(lines[0].starts_with("api http://127.0.0.1:") && !lines[0].ends_with(":0"), "{lines:?}");
    assert!(lines[1].starts_with("control http://127.0.0.1:"), "{lines:?}");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
