//! What a hostile service does, by name.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::server::{Request, TOKEN, answer, signed_in};

/// An attack: it answers a request.
pub type Attack = fn(&Request, &mut TcpStream, &Elsewhere) -> io::Result<()>;

/// Where redirects lead.
pub struct Elsewhere(pub String);

/// Those that answer calls. Their names are those of organizations.
pub const ON_CALLS: &[(&str, Attack)] = &[
    ("trickles", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        drip(stream, b" ", Duration::from_secs(1))
    }),
    ("drips-headers", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\nx-header: ")?;
        drip(stream, b"a", Duration::from_secs(1))
    }),
    ("silent", |_, stream, _| {
        thread::sleep(Duration::from_secs(120));
        stream.write_all(b"")
    }),
    ("endless", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        drip(stream, chunk.as_bytes(), Duration::ZERO)
    }),
    ("endless-error", |_, stream, _| {
        write!(stream, "HTTP/1.0 400 Bad\r\n\r\n")?;
        drip(stream, &[b'x'; 0x10000], Duration::ZERO)
    }),
    ("hundred", |_, stream, _| answer(stream, 200, "", &vec![b' '; 100_000_000])),
    ("large", |_, stream, _| answer(stream, 200, "", &vec![b' '; 16_000_000])),
    ("large-error", |_, stream, _| answer(stream, 500, "", &vec![b'e'; 3_900_000])),
    ("nested", |_, stream, _| answer(stream, 200, "", &vec![b'['; 3_900_000])),
    ("many-names", |_, stream, _| {
        let names = "\"\",".repeat(1_200_000);
        page(stream, &format!(r#"{{"id": "{ID}", "name": "x", "deprecated": false, "envvars": [{names}""]}}"#))
    }),
    ("odd-offset", |_, stream, _| {
        let zeros = "0,".repeat(1_900_000);
        let body = format!(r#"{{"tools": [], "has_more": true, "continuation_token": [{zeros}0]}}"#);
        answer(stream, 200, "", body.as_bytes())
    }),
    ("gzip-bomb", |_, stream, _| answer(stream, 200, "content-encoding: gzip\r\n", &gzip_bomb(200_000_000))),
    ("endless-headers", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\n")?;
        drip(
            stream,
            b"x-flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100).as_slice(),
            Duration::ZERO,
        )
    }),
    ("one-long-header", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\nx-flood: ")?;
        drip(stream, &[b'a'; 0x10000], Duration::ZERO)
    }),
    ("continues", |_, stream, _| drip(stream, b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100).as_slice(), Duration::ZERO)),
    ("redirects", |request, stream, elsewhere| {
        let status = [301, 302, 303, 307, 308][request.number % 5];
        answer(stream, status, &format!("location: {}{}\r\n", elsewhere.0, request.rest), b"")
    }),
    ("pages-for-ever", |request, stream, _| {
        let text = "x".repeat(50_000);
        let tool = |n: usize| {
            let id = format!("{:024x}", request.number * 20 + n);
            json!({"id": id, "name": format!("tool_{n}"), "description": text, "deprecated": false})
        };
        let tools: Vec<_> = (0..20).map(tool).collect();
        let next = (request.number + 1) * 20;
        answer(
            stream,
            200,
            "",
            json!({"tools": tools, "has_more": true, "continuation_token": next}).to_string().as_bytes(),
        )
    }),
    ("same-page", |_, stream, _| {
        answer(stream, 200, "", br#"{"tools": [], "has_more": true, "continuation_token": 0}"#)
    }),
    ("wrong-types", |_, stream, _| answer(stream, 200, "", br#"{"tools": {"0": null}, "has_more": "yes"}"#)),
    ("says-null", |_, stream, _| answer(stream, 200, "", b"null")),
    ("empty", |_, stream, _| answer(stream, 200, "", b"")),
    ("no-content", |_, stream, _| answer(stream, 204, "", b"")),
    ("same-key-twice", |_, stream, _| answer(stream, 200, "", br#"{"tools": [], "tools": [], "has_more": false}"#)),
    ("not-utf8", |_, stream, _| page(stream, &format!("{{\"id\": \"{ID}\", \"name\": \"\u{0}\"}}"))),
    ("bytes", |_, stream, _| answer(stream, 200, "content-type: text/html; \u{ff}\r\n", b"\xff\xfe\x00\x00<html>\0")),
    ("odd-id", |_, stream, _| page(stream, r#"{"id": "../../x", "name": "weather", "deprecated": false}"#)),
    ("stops-early", |_, stream, _| write!(stream, "HTTP/1.0 200 OK\r\ncontent-length: 100\r\n\r\n{{\"tools\": [")),
    ("no-http", |_, stream, _| stream.write_all(b"220 mail.example ESMTP\r\n")),
    ("odd-status", |_, stream, _| answer(stream, 299, "", b"{}")),
    ("closes", |_, _, _| Ok(())),
    ("echoes", |request, stream, _| {
        let text = format!("{}\u{1b}[31m\u{202e}\0 {}", request.head, "x".repeat(1_000_000));
        answer(stream, 400, "", json!({"detail": text, "seen": request.head}).to_string().as_bytes())
    }),
    ("echoes-as-json", |request, stream, _| {
        answer(stream, 500, "", json!({"detail": {"headers": [request.head]}}).to_string().as_bytes())
    }),
    ("asks-to-wait", |_, stream, _| {
        answer(stream, 429, "retry-after: 99999999999\r\nx-ratelimit-remaining: 0\r\n", b"")
    }),
];

/// Those that answer the sign-in.
pub const ON_SIGN_IN: &[(&str, Attack)] = &[
    ("signs-in-endlessly", |_, stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        drip(stream, chunk.as_bytes(), Duration::ZERO)
    }),
    ("signs-in-elsewhere", |request, stream, elsewhere| {
        answer(stream, 307, &format!("location: {}{}\r\n", elsewhere.0, request.rest), b"")
    }),
    ("echoes-the-key", |request, stream, _| answer(stream, 400, "", request.head.as_bytes())),
    ("long-token", |_, stream, _| signed_in(stream, &"t".repeat(3_000_000))),
    ("broken-token", |_, stream, _| signed_in(stream, &format!("{TOKEN}\r\nx-injected: 1"))),
    ("no-token", |_, stream, _| answer(stream, 200, "", b"{\"id_token\": null}")),
];

/// A tool's id.
pub const ID: &str = "0123456789abcdef01234567";

/// Writes the same again and again until the other end has had enough.
fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        thread::sleep(pause);
    }
}

fn page(stream: &mut TcpStream, tool: &str) -> io::Result<()> {
    answer(stream, 200, "", format!(r#"{{"tools": [{tool}], "has_more": false}}"#).as_bytes())
}

/// About so many zeros, in the hundredth part of the bytes: one literal, and copies of the longest length at distance one.
fn gzip_bomb(size: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let (mut buffer, mut held) = (0_u64, 0);
    let mut put = |bits: u64, count: u32| {
        buffer |= bits << held;
        held += count;
        while held >= 8 {
            bytes.push(buffer.to_le_bytes()[0]);
            buffer >>= 8;
            held -= 8;
        }
    };
    // Codes are written with their first bit first.
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..size / 258 {
        put(0b1010_0011, 8);
        put(0, 5);
    }
    put(0, 7);
    put(0, 8);
    bytes
}
