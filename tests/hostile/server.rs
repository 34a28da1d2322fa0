//! A server that speaks no more HTTP than each attack wants. What it does is told by the organization in the path.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The token that every organization's sign-in gives.
pub const TOKEN: &str = "canary-token-of-the-hostile-service";

/// What came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line and the headers.
    pub head: String,
    /// The organization in the path.
    pub organization: String,
    /// The path below the organization, with its query.
    pub rest: String,
    /// How many requests of this organization came before, sign-ins aside.
    pub number: usize,
}

impl Request {
    fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        let path = head.split(' ').nth(1).unwrap_or_default().strip_prefix("/v1/").unwrap_or_default();
        let (organization, rest) = path.split_once('/').unwrap_or((path, ""));
        let (organization, rest) = (organization.to_owned(), format!("/{rest}"));
        Ok(Self { head, organization, rest, number: 0 })
    }

    /// Whether it is the call to sign in.
    pub fn is_sign_in(&self) -> bool {
        self.rest == "/user/signin_with_api_key"
    }

    /// Whether an Organization makes the call, to sign in or to see its key.
    fn is_of_an_organization(&self) -> bool {
        self.is_sign_in() || self.rest.starts_with("/organization/api_key/")
    }
}

/// What a server does with a request.
pub type Handler = Arc<dyn Fn(&Request, &mut TcpStream) -> io::Result<()> + Send + Sync>;

/// A server on a port of its own. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Server {
    /// Starts a server.
    pub fn start(handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server =
            Self { address: listener.local_addr().unwrap(), connections: Arc::default(), seen: Arc::default() };
        let this = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                this.connections.fetch_add(1, Ordering::SeqCst);
                let (this, handler) = (this.clone(), Arc::clone(&handler));
                thread::spawn(move || this.serve(stream, &handler));
            }
        });
        server
    }

    /// One request a connection: that is rude enough.
    fn serve(&self, mut stream: TcpStream, handler: &Handler) -> io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut request = Request::read(&mut stream)?;
        if !request.is_of_an_organization() {
            let mut seen = self.seen.lock().unwrap();
            let number = seen.entry(request.organization.clone()).or_default();
            request.number = *number;
            *number += 1;
        }
        handler(&request, &mut stream)
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests came for the objects of the organization: neither sign-ins nor looks at its key.
    pub fn requests(&self, organization: &str) -> usize {
        self.seen.lock().unwrap().get(organization).copied().unwrap_or_default()
    }
}

/// A proper answer.
pub fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")?;
    stream.write_all(body)
}

/// The answer to a sign-in.
pub fn signed_in(stream: &mut TcpStream, token: &str) -> io::Result<()> {
    let body = serde_json::json!({"id_token": token, "expires_at": "2099-01-01T00:00:00Z"});
    answer(stream, 200, "", body.to_string().as_bytes())
}
