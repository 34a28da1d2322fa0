//! Everything that etcd holds, read past the API server: objects of every kind with their managed fields, Events, Leases.

use std::fmt::Write as _;

use controlplane::Cluster;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// Where the API server keeps Secrets: the one place for secret values.
const SECRETS: &str = "/registry/secrets/";

/// Keys that are read at once.
const PAGE: u64 = 500;

/// What is stored under all keys but those of Secrets, as text, keys included.
///
/// It is the current state; what the four kinds were before is what the recorder has seen.
pub async fn without_secrets(cluster: &Cluster) -> String {
    let url = format!("{}/v3/kv/range", cluster.etcd_url().unwrap());
    let (client, mut from, mut dump) = (reqwest::Client::new(), ByteString(vec![0]), String::new());
    loop {
        // A range that ends with the byte 0 ends with the last key.
        let query = json!({"key": from, "range_end": ByteString(vec![0]), "limit": PAGE});
        let answer = client.post(&url).body(query.to_string()).send().await.unwrap();
        let page: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let entries = page["kvs"].as_array().map_or(&[][..], Vec::as_slice);
        for entry in entries {
            let key = decoded(&entry["key"]);
            let text = String::from_utf8_lossy(&key);
            if !text.starts_with(SECRETS) {
                let _ = writeln!(dump, "{text} {}", String::from_utf8_lossy(&decoded(&entry["value"])));
            }
            from = ByteString([&key[..], &[0]].concat());
        }
        if page["more"] != true {
            return dump;
        }
    }
}

fn decoded(value: &Value) -> Vec<u8> {
    serde_json::from_value::<ByteString>(value.clone()).unwrap_or_default().0
}
