//! A DNS server with the few names that the Pods need: what CoreDNS does in a cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::Result;

const PORT: u16 = 53;

/// Length of the head of a message.
const HEAD: usize = 12;

/// The type of an IPv4 address.
const A: [u8; 2] = [0, 1];

type Known = BTreeMap<String, Ipv4Addr>;

/// The names that are known.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Known>>);

impl Names {
    /// Answers on this address as long as this process lives.
    pub fn serve(address: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((address, PORT))?;
        let names = Self::default();
        let known = names.clone();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            // An error is of one question only, such as an asker that has gone.
            loop {
                let Ok((length, asker)) = socket.recv_from(&mut buffer) else { continue };
                let answer = answer(&buffer[..length], &known.0.lock().unwrap_or_else(PoisonError::into_inner));
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        });
        Ok(names)
    }

    /// Adds a name, or gives it another address.
    pub fn put(&self, name: &str, address: Ipv4Addr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), address);
    }
}

/// The answer to a question: an address, no address of that type, or no such name. None to what is no question.
fn answer(message: &[u8], known: &Known) -> Option<Vec<u8>> {
    let (name, end) = name(message)?;
    let question = message.get(HEAD..end + 4)?;
    let address = known.get(&name);
    let found = address.filter(|_| message[end..end + 2] == A);
    // An answer to a question that asked for recursion, from a server that offers it; or that there is no such name.
    let code = if address.is_some() { 0x80 } else { 0x83 };
    let mut answer = vec![message[0], message[1], 0x81, code, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0];
    answer.extend_from_slice(question);
    if let Some(found) = found {
        // The name of the question, type A, class IN, to be kept for a second, four bytes.
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend_from_slice(&found.octets());
    }
    Some(answer)
}

/// The name that is asked for, in small letters, and where it ends.
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEAD);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod tests {
    use super::*;

    fn question(kind: u8, labels: &[&str]) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(&[0, 0, kind, 0, 1]);
        message
    }

    #[test]
    fn a_known_name_has_an_address_and_no_other_has() {
        let known = Known::from([("a.example".to_owned(), Ipv4Addr::new(10, 1, 2, 3))]);
        let asked = question(1, &["A", "example"]);
        let said = answer(&asked, &known).unwrap();
        assert_eq!(said[..HEAD], [7, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(said[HEAD..asked.len()], asked[HEAD..], "the question is repeated");
        assert_eq!(said[said.len() - 4..], [10, 1, 2, 3]);
        let said = answer(&question(28, &["a", "example"]), &known).unwrap();
        assert_eq!((said[3], said[7]), (0x80, 0), "the name is there, without an address of IPv6");
        let said = answer(&question(1, &["b", "example"]), &known).unwrap();
        assert_eq!((said[3], said[7]), (0x83, 0), "no such name");
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let asked = question(1, &["a", "example"]);
        for length in 0..asked.len() {
            assert_eq!(answer(&asked[..length], &Known::new()), None, "{length} bytes");
        }
    }
}
