//! What is checked at the end of every test, and what a failed one shows.

use std::fmt::Write as _;
use std::thread;

use k8s_openapi::ByteString;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::see::{message, reason_of};
use super::{World, audit, dump};

/// Lines of the operator's log that a failed test shows.
const SHOWN_LINES: usize = 80;

impl World {
    /// Makes it no complaint that the API server refuses something.
    pub fn expect_refusals(&mut self) {
        self.refusals_expected = true;
    }

    /// Makes it no complaint that a status speaks of the generation before for as long as watches are late.
    pub fn expect_late_watches(&mut self, late: std::time::Duration) {
        self.recorder.late_by(late);
    }

    /// Checks what every test checks, and ends the world.
    pub fn finish(mut self) {
        let mut complaints = self.recorder.complaints();
        complaints.extend(self.improper_requests());
        complaints.extend(self.leaks());
        if self.sandbox.rate_limit_violations() > 0 {
            complaints.push(format!("a limit was exceeded: {:?}", self.sandbox.counters()));
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        self.finished = true;
    }

    /// What the operator was refused, or should not have asked for.
    fn improper_requests(&self) -> Vec<String> {
        let requests = self.requests().into_iter();
        let refused = |request: &audit::Request| matches!(request.code, 401 | 403) && !self.refusals_expected;
        let improper = requests.filter(|request| refused(request) || !request.is_the_operators());
        // Nothing can be created in a namespace that goes, whoever asks.
        let improper = improper.filter(|request| !(request.resource == "events" && request.verb == "create"));
        improper.map(|request| format!("an improper request: {request:?}")).collect()
    }

    /// Where a secret value, or what would let a reader test guesses of it, can be read.
    fn leaks(&self) -> Vec<String> {
        let states: Vec<Value> = self.recorder.history().into_iter().map(|state| state.object).collect();
        let places = [
            ("the log", self.log()),
            ("the metrics", self.metrics()),
            ("the objects", serde_json::to_string(&states).unwrap()),
            ("etcd outside of Secrets", self.block_on(dump::without_secrets(&self.cluster))),
            ("the audit log", audit::lines(&self.cluster, &self.namespace).join("\n")),
        ];
        let mut leaks = Vec::new();
        for canary in self.canaries.lock().unwrap().iter() {
            let encoded = serde_json::to_value(ByteString(canary.clone().into_bytes())).unwrap();
            let forms = [canary.clone(), encoded.as_str().unwrap().to_owned(), sha256(canary)];
            for (place, text) in &places {
                let found = forms.iter().filter(|form| text.contains(form.as_str()));
                leaks.extend(found.map(|form| format!("{place} shows {form}, which is {canary}")));
            }
        }
        leaks
    }

    /// What the operators that run tell Prometheus.
    pub fn metrics(&self) -> String {
        const STARTS: &str = "amigo-operator starts";
        let log = self.log();
        let starts = log.lines().filter(|line| line.contains(STARTS));
        // As text, and as JSON.
        let addresses = starts.filter_map(|line| {
            let rest = line.split("address=").nth(1).or_else(|| line.split("\"address\":\"").nth(1))?;
            rest.split([' ', '"']).next()
        });
        // Those that have ended answer no more.
        let texts = addresses.filter_map(|address| {
            let answer = self.block_on(async { reqwest::get(format!("http://{address}/metrics")).await?.text().await });
            answer.ok()
        });
        let texts: Vec<String> = texts.collect();
        assert!(texts.len() >= self.operators.len(), "an operator shows no metrics");
        texts.concat()
    }

    /// What happened, for whoever looks into a failure.
    fn report(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let lines = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        eprintln!("--- the operator's last words in {}\n{}", self.namespace, lines.join("\n"));
        let mut text = String::new();
        for state in self.recorder.history() {
            let (_, kind, name) = &state.id;
            let _ = writeln!(text, "{kind} {name}: {:?} {}", reason_of(&state.object), message(&state.object));
        }
        eprintln!("--- the states that were seen\n{text}");
        let mut text = String::new();
        for request in self.sandbox.requests(20) {
            let _ = writeln!(text, "{} {} {:?} {:?}", request.method, request.target, request.status, request.ending);
        }
        eprintln!("--- the requests of the service\n{text}");
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_operator();
        if thread::panicking() {
            self.report();
        } else {
            assert!(self.finished, "a test ends with `World::finish`");
        }
        if let Some(runtime) = self.runtime.take() {
            // Watches never end by themselves.
            runtime.shutdown_background();
        }
    }
}
