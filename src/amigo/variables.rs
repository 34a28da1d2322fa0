//! The body of the variables call: the only one that carries secret values.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

/// Changes of a tool's variables, made all or none.
#[derive(Debug, Default)]
pub struct VariablesDelta {
    /// New ones.
    pub inserts: Vec<InsertVariable>,
    /// Values that change.
    pub updates: Vec<UpdateVariable>,
    /// Ones that go.
    pub deletes: Vec<DeleteVariable>,
}

/// A new variable.
#[derive(Debug)]
pub struct InsertVariable {
    /// `[A-Z_]+` somewhere.
    pub name: String,
    /// May be empty.
    pub value: SecretString,
    /// Whether it is encrypted, for good.
    pub is_secret: bool,
}

/// A value that changes.
#[derive(Debug)]
pub struct UpdateVariable {
    /// The variable.
    pub name: String,
    /// May be empty.
    pub value: SecretString,
}

/// A variable that goes.
#[derive(Debug)]
pub struct DeleteVariable {
    /// The variable.
    pub name: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    inserts: Vec<WireInsert<'a>>,
    updates: Vec<WireUpdate<'a>>,
    deletes: Vec<WireDelete<'a>>,
}

#[derive(Serialize)]
struct WireInsert<'a> {
    name: &'a str,
    value: &'a str,
    is_secret: bool,
}

#[derive(Serialize)]
struct WireUpdate<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct WireDelete<'a> {
    name: &'a str,
}

/// Bytes that are wiped when the last of those who send them lets go.
struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl VariablesDelta {
    /// The body as JSON, wiped from memory once it is sent.
    pub(super) fn body(&self) -> Result<Bytes, serde_json::Error> {
        let wire = Wire {
            inserts: self
                .inserts
                .iter()
                .map(|v| WireInsert { name: &v.name, value: v.value.expose_secret(), is_secret: v.is_secret })
                .collect(),
            updates: self
                .updates
                .iter()
                .map(|v| WireUpdate { name: &v.name, value: v.value.expose_secret() })
                .collect(),
            deletes: self.deletes.iter().map(|v| WireDelete { name: &v.name }).collect(),
        };
        // Large enough from the start: a buffer that grows leaves copies behind that nobody wipes.
        let values =
            wire.inserts.iter().map(|v| v.value.len()).chain(wire.updates.iter().map(|v| v.value.len())).sum::<usize>();
        let names = wire.inserts.len() + wire.updates.len() + wire.deletes.len();
        let mut buffer = Zeroizing::new(Vec::with_capacity(values * 6 + names * 1200 + 64));
        serde_json::to_writer(&mut *buffer, &wire)?;
        Ok(Bytes::from_owner(Wiped(buffer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_values_and_nothing_else_shows_them() {
        let delta = VariablesDelta {
            inserts: vec![InsertVariable { name: "A".into(), value: "canary".into(), is_secret: true }],
            updates: vec![UpdateVariable { name: "B".into(), value: String::new().into() }],
            deletes: vec![DeleteVariable { name: "C".into() }],
        };
        assert!(!format!("{delta:?}").contains("canary"));
        let body = delta.body().unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"inserts":[{"name":"A","value":"canary","is_secret":true}],"updates":[{"name":"B","value":""}],"deletes":[{"name":"C"}]}"#
        );
    }
}
