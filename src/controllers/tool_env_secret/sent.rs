//! What this process has sent, as fingerprints under a key that only this process has: enough to see a change, useless for
//! guessing a value, and gone with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::controllers::connection::Established;

/// Endpoint, organization, tool id, variable.
type Place = (String, String, String, String);

type Fingerprint = [u8; 32];

/// The variables that this process has sent.
pub struct Sent {
    key: [u8; 32],
    fingerprints: Mutex<BTreeMap<Place, Fingerprint>>,
    /// By whom, as the uid of the object.
    senders: Mutex<BTreeMap<Place, String>>,
    times: Mutex<BTreeMap<String, Timestamp>>,
    changes: Mutex<BTreeMap<String, u64>>,
    refusals: Mutex<BTreeMap<String, (u64, usize)>>,
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            key: rand::random(),
            fingerprints: Mutex::default(),
            senders: Mutex::default(),
            times: Mutex::default(),
            changes: Mutex::default(),
            refusals: Mutex::default(),
            locks: Mutex::default(),
        }
    }
}

fn place(at: &Established, tool_id: &str, name: &str) -> Place {
    (at.endpoint.clone(), at.organization.clone(), tool_id.to_owned(), name.to_owned())
}

impl Sent {
    fn fingerprint(&self, value: &SecretString) -> Fingerprint {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(value.expose_secret().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Whether this value was the last one sent; `None` when this process has sent none.
    #[must_use]
    pub fn is_last(&self, at: &Established, tool_id: &str, name: &str, value: &SecretString) -> Option<bool> {
        let fingerprint = self.fingerprint(value);
        let known = self.fingerprints.lock().ok()?.get(&place(at, tool_id, name)).copied()?;
        Some(known == fingerprint)
    }

    /// The service has this value.
    pub fn note(&self, at: &Established, tool_id: &str, name: &str, value: &SecretString) {
        let fingerprint = self.fingerprint(value);
        if let Ok(mut fingerprints) = self.fingerprints.lock() {
            fingerprints.insert(place(at, tool_id, name), fingerprint);
        }
    }

    /// The value that the service has is that of the object `uid`.
    pub fn note_sender(&self, at: &Established, tool_id: &str, name: &str, uid: &str) {
        if let Ok(mut senders) = self.senders.lock() {
            senders.insert(place(at, tool_id, name), uid.to_owned());
        }
    }

    /// Whether this process has sent the value of another object since.
    #[must_use]
    pub fn is_of_another(&self, at: &Established, tool_id: &str, name: &str, uid: &str) -> bool {
        let Ok(senders) = self.senders.lock() else { return true };
        senders.get(&place(at, tool_id, name)).is_some_and(|sender| sender != uid)
    }

    /// What value the service has is not known any more.
    pub fn forget(&self, at: &Established, tool_id: &str, name: &str) {
        if let Ok(mut fingerprints) = self.fingerprints.lock() {
            fingerprints.remove(&place(at, tool_id, name));
        }
    }

    /// Values of the object `uid` were sent.
    pub fn set_time(&self, uid: &str, time: Timestamp) {
        if let Ok(mut times) = self.times.lock() {
            times.insert(uid.to_owned(), time);
        }
    }

    /// When values of the object `uid` were last sent by this process.
    #[must_use]
    pub fn time(&self, uid: &str) -> Option<Timestamp> {
        self.times.lock().ok()?.get(uid).copied()
    }

    /// The names of the tool's variables changed.
    pub fn changed(&self, tool_id: &str) {
        if let Ok(mut changes) = self.changes.lock() {
            *changes.entry(tool_id.to_owned()).or_default() += 1;
        }
    }

    fn change(&self, tool_id: &str) -> u64 {
        self.changes.lock().ok().and_then(|changes| changes.get(tool_id).copied()).unwrap_or_default()
    }

    /// A publish of the ToolVersion `uid` was refused with the variables as they are now, and so many active versions.
    pub fn note_refusal(&self, uid: &str, tool_id: &str, active_versions: usize) {
        let change = (self.change(tool_id), active_versions);
        if let Ok(mut refusals) = self.refusals.lock() {
            refusals.insert(uid.to_owned(), change);
        }
    }

    /// Whether that changed since the publish was refused, as far as this process knows.
    #[must_use]
    pub fn changed_since_refusal(&self, uid: &str, tool_id: &str, active_versions: usize) -> bool {
        let change = (self.change(tool_id), active_versions);
        self.refusals.lock().map_or(true, |refusals| refusals.get(uid) != Some(&change))
    }

    /// One at a time decides and sends for a tool.
    #[must_use]
    pub fn lock(&self, tool_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        match self.locks.lock() {
            Ok(mut locks) => Arc::clone(locks.entry(tool_id.to_owned()).or_default()),
            Err(_) => Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(organization: &str) -> Established {
        Established::for_tests(organization, "me")
    }

    #[tokio::test]
    async fn a_value_is_told_from_the_last_one_sent_for_its_variable() {
        let (sent, acme, other) = (Sent::default(), at("acme"), at("other"));
        let value = |text: &str| SecretString::from(text);
        assert_eq!(sent.is_last(&acme, "tool", "KEY", &value("a")), None, "none was sent");
        sent.note(&acme, "tool", "KEY", &value("a"));
        sent.note(&acme, "tool", "KEY", &value("b"));
        sent.note(&acme, "tool", "EMPTY", &value(""));
        let table = [
            (&acme, "tool", "KEY", "b", Some(true)),
            (&acme, "tool", "KEY", "a", Some(false)),
            (&acme, "tool", "EMPTY", "", Some(true)),
            (&acme, "tool", "EMPTY", "b", Some(false)),
            (&acme, "tool", "NAME", "b", None),
            (&acme, "another", "KEY", "b", None),
            (&other, "tool", "KEY", "b", None),
        ];
        for (at, tool, name, text, expected) in table {
            let found = sent.is_last(at, tool, name, &value(text));
            assert_eq!(found, expected, "{} {tool} {name} {text:?}", at.organization);
        }
        sent.forget(&acme, "tool", "KEY");
        assert_eq!(sent.is_last(&acme, "tool", "KEY", &value("b")), None);
        assert_eq!(sent.is_last(&acme, "tool", "EMPTY", &value("")), Some(true), "only what is named is forgotten");
    }

    #[tokio::test]
    async fn a_variable_is_of_another_once_the_value_of_another_was_sent() {
        let (sent, acme, other) = (Sent::default(), at("acme"), at("other"));
        assert!(!sent.is_of_another(&acme, "tool", "KEY", "a"), "none was sent");
        sent.note_sender(&acme, "tool", "KEY", "a");
        sent.note_sender(&acme, "tool", "KEY", "b");
        for (at, tool, name, uid, expected) in [
            (&acme, "tool", "KEY", "a", true),
            (&acme, "tool", "KEY", "b", false),
            (&acme, "tool", "NAME", "a", false),
            (&acme, "another", "KEY", "a", false),
            (&other, "tool", "KEY", "a", false),
        ] {
            assert_eq!(sent.is_of_another(at, tool, name, uid), expected, "{} {tool} {name} {uid}", at.organization);
        }
    }

    #[test]
    fn a_fingerprint_says_nothing_to_another_process() {
        let (here, there, value) = (Sent::default(), Sent::default(), SecretString::from("canary"));
        assert_eq!(here.fingerprint(&value), here.fingerprint(&value));
        assert_ne!(here.fingerprint(&value), there.fingerprint(&value));
    }

    #[test]
    fn the_time_of_the_last_sending_is_kept_by_object() {
        let sent = Sent::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        sent.set_time("a", at(1));
        sent.set_time("a", at(2));
        assert_eq!((sent.time("a"), sent.time("b")), (Some(at(2)), None));
    }

    #[test]
    fn a_refused_publish_is_tried_again_once_what_may_have_refused_it_has_changed() {
        let sent = Sent::default();
        assert!(sent.changed_since_refusal("v", "tool", 3), "this process knows of no refusal");
        sent.note_refusal("v", "tool", 3);
        assert!(!sent.changed_since_refusal("v", "tool", 3));
        assert!(sent.changed_since_refusal("v", "tool", 2), "a version was deprecated");
        assert!(sent.changed_since_refusal("another", "tool", 3));
        sent.changed("another");
        assert!(!sent.changed_since_refusal("v", "tool", 3), "the variables of another tool");
        for _ in 0..2 {
            sent.changed("tool");
            assert!(sent.changed_since_refusal("v", "tool", 3));
            sent.note_refusal("v", "tool", 3);
            assert!(!sent.changed_since_refusal("v", "tool", 3));
        }
    }

    #[test]
    fn one_at_a_time_decides_for_a_tool() {
        let sent = Sent::default();
        let lock = sent.lock("tool");
        let _turn = lock.try_lock().unwrap();
        assert!(sent.lock("tool").try_lock().is_err());
        assert!(sent.lock("another").try_lock().is_ok());
    }
}
