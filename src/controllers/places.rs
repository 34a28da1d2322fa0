//! The places that objects hold in queues for calls. An object whose visit ends otherwise than in a queue wants its places no
//! more: a turn that nobody takes is lost to all others for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::amigo::{Account, Operation};

/// By the uid of the object: where it waits, and under what key.
#[derive(Debug, Default)]
pub struct Places(Mutex<BTreeMap<String, Vec<Place>>>);

#[derive(Debug, Clone)]
struct Place {
    account: Arc<Account>,
    operation: Operation,
    key: String,
}

impl Places {
    /// The object waits there.
    pub fn taken(&self, uid: &str, account: &Arc<Account>, operation: Operation, key: &str) {
        let place = Place { account: Arc::clone(account), operation, key: key.to_owned() };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = all.entry(uid.to_owned()).or_default();
        if !places.iter().any(|known| known.operation == operation && Arc::ptr_eq(&known.account, account)) {
            places.push(place);
        }
    }

    /// Whether the object waits for a call of this operation, or its turn has come just now.
    #[must_use]
    pub fn waits(&self, uid: &str, operation: Operation) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).is_some_and(|places| places.iter().any(|place| place.operation == operation))
    }

    /// The object waits nowhere any more.
    pub fn give_up(&self, uid: &str) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        for Place { account, operation, key } in places.into_iter().flatten() {
            account.release(operation, &key);
        }
    }
}
