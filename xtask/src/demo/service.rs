//! The sandbox's control address, as a person uses it with curl.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

/// Reads what the service has.
pub(crate) fn get(url: &str) -> Result<Value, Box<dyn Error>> {
    let mut answer = agent().get(url).call()?;
    Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
}

/// Changes something in the service by hand.
pub(crate) fn put(url: &str, body: &Value) -> Result<(), Box<dyn Error>> {
    agent().put(url).content_type("application/json").send(body.to_string())?;
    Ok(())
}

/// Loopback: no proxy, and quick answers.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).proxy(None).build().into()
}
