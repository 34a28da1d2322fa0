//! Ids, commits and tokens: made from a seed and a counter, so that a run can be repeated.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Makes ids. The same seed and the same order of calls give the same ids.
#[derive(Debug)]
pub(super) struct Ids {
    seed: u64,
    made: u64,
}

impl Ids {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed, made: 0 }
    }

    /// An id of 24 hex digits that sorts after every id made before.
    pub(super) fn object(&mut self) -> String {
        let digest = self.digest("object");
        format!("{:08x}{}", 0x6880_0000_u64.saturating_add(self.made), &digest[..16])
    }

    /// A commit hash of 40 hex digits.
    pub(super) fn commit(&mut self) -> String {
        self.digest("commit")[..40].to_owned()
    }

    /// Something in the shape of a JWT.
    pub(super) fn token(&mut self) -> String {
        let (payload, signature) = (self.digest("payload"), self.digest("signature"));
        format!("eyJhbGciOiJIUzI1NiJ9.{payload}.{signature}")
    }

    fn digest(&mut self, what: &str) -> String {
        self.made = self.made.saturating_add(1);
        hex(&format!("{what}/{}/{}", self.seed, self.made))
    }
}

/// The id of what has a name already: always the same.
pub(super) fn id_of(name: &str) -> String {
    hex(name)[..24].to_owned()
}

fn hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn ids_repeat_and_rise() {
        let make = |seed| {
            let mut ids = Ids::new(seed);
            (0..100).map(|_| ids.object()).collect::<Vec<_>>()
        };
        assert_eq!(make(7), make(7));
        assert_ne!(make(7), make(8));
        assert!(make(7).is_sorted());
        assert!(make(7).iter().all(|id| id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
