//! Logs to standard output, as JSON or for people. The keys are an interface: each is in [`FIELDS`], from which the page of the
//! documentation is made. What a line belongs to (its reconcile, its trace) is taken from the [`scope`] in which it is
//! written.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::settings::LogFormat;
use crate::scope::{self, Names, Scope};

/// Starts logging. Fails when the level cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    // What kube tells of its watches, the operator tells itself, without the innards of answers.
    let filter = EnvFilter::try_new(format!("kube_runtime=error,{level}"))
        .map_err(|error| format!("--log-level {level:?}: {error}"))?;
    let lines = tracing_subscriber::fmt::layer().event_format(Lines::new(format));
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| format!("logging could not be started: {error}"))
}

/// Every key of the operator's own lines, with its meaning.
pub const FIELDS: &[(&str, &str)] = &[
    ("ts", "When, in UTC (RFC 3339)"),
    ("level", "`error`, `warn`, `info`, `debug` or `trace`"),
    ("logger", "The part of the program, as `--log-level` takes it; may change with any version"),
    ("msg", "What happened, in words that are the same each time"),
    (
        "controller",
        "The controller whose reconcile wrote the line: `organization`, `tool`, `toolversion`, `toolenvsecret`",
    ),
    ("kind", "The kind of the object that the line is about"),
    ("namespace", "Its namespace"),
    ("name", "Its name"),
    ("reconcileID", "The reconcile that wrote the line, or began what did; no two are the same"),
    ("traceID", "The trace of that reconcile, when [traces](../how-to/operate-observe.md#traces) are on"),
    ("spanID", "Its span in that trace"),
    (
        "outcome",
        "How a reconcile ended: `changed`, `stalled`, `unchanged`, `overtaken`, `cleaned-up`, `failed`, `panicked`. Of a call: the class of its answer",
    ),
    ("reason", "The [reason](reasons.md) in the object's conditions"),
    ("detail", "The message that goes with the reason"),
    ("err", "What failed"),
    ("againSeconds", "After how many seconds the object is looked at again, if nothing wakes it before"),
    ("plan", "What is to be done, as the program has it; may change with any version"),
    ("operation", "The call of the remote API, as in the metrics"),
    ("organization", "The organization"),
    ("endpoint", "Where the organization, or the collector of traces, is reached"),
    ("toolID", "The id of the remote tool"),
    ("version", "A version of a tool; of the operator where it starts"),
    ("attempt", "Which attempt of a publish it is, counted from 1"),
    ("inserted", "How many variables are new"),
    ("updated", "How many variables were written again"),
    ("deleted", "How many variables were removed"),
    ("publishes", "How many publishes are in flight"),
    ("graceSeconds", "How long they are waited for"),
    ("waitedSeconds", "How long something was waited for"),
    ("identity", "The name of the process in the Lease"),
    ("address", "Where the process listens"),
    ("missing", "CustomResourceDefinitions that are not there"),
];

/// How a line is written.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    format: LogFormat,
    reproducible: bool,
}

impl Lines {
    /// Lines of this form.
    #[must_use]
    pub const fn new(format: LogFormat) -> Self {
        Self { format, reproducible: false }
    }

    /// Lines for people that are the same in every run of the same events: without times and ids.
    #[must_use]
    pub const fn reproducible() -> Self {
        Self { format: LogFormat::Text, reproducible: true }
    }

    /// The scope's fields, where the line has none of its own under that name.
    fn add_scope(self, scope: &Scope, line: &mut Line) {
        let Names { kind, namespace, name } = scope.names();
        line.fields.insert(0, ("controller", kind.to_lowercase().into()));
        if !line.has("kind") {
            line.fields.insert(1, ("kind", kind.into()));
            line.fields.insert(2, ("namespace", namespace.into()));
            line.fields.insert(3, ("name", name.into()));
        }
        if self.reproducible {
            return;
        }
        line.fields.push(("reconcileID", scope.id().to_string().into()));
        if let Some(span) = scope.span() {
            line.fields.push(("traceID", span.trace_id().to_string().into()));
            line.fields.push(("spanID", span.span_id().to_string().into()));
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        scope::current(|scope| self.add_scope(scope, &mut line));
        let metadata = event.metadata();
        let now = (!self.reproducible).then(|| format!("{:.6}", jiff::Timestamp::now()));
        let (level, logger) = (metadata.level().as_str(), metadata.target());
        match self.format {
            LogFormat::Json => line.json(&mut writer, &now.unwrap_or_default(), &level.to_lowercase(), logger),
            LogFormat::Text => line.text(&mut writer, now.as_deref(), level, logger),
        }
    }
}

/// What a line says.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == key)
    }

    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned),
            "error" => self.fields.push(("err", value)),
            // Keys of every line: where a library has a field of such a name, the line's own stays.
            "ts" | "level" | "logger" | "msg" => {}
            name if self.has(name) => {}
            name => self.fields.push((name, value)),
        }
    }

    fn json(&self, writer: &mut Writer<'_>, ts: &str, level: &str, logger: &str) -> fmt::Result {
        let own = [("ts", ts), ("level", level), ("logger", logger), ("msg", &self.message)];
        for (place, (key, value)) in own.into_iter().enumerate() {
            write!(writer, "{}\"{key}\":{}", if place == 0 { '{' } else { ',' }, Value::from(value))?;
        }
        for (key, value) in &self.fields {
            write!(writer, ",{}:{value}", Value::from(*key))?;
        }
        writer.write_str("}\n")
    }

    fn text(&self, writer: &mut Writer<'_>, ts: Option<&str>, level: &str, logger: &str) -> fmt::Result {
        if let Some(ts) = ts {
            write!(writer, "{ts} ")?;
        }
        write!(writer, "{level:>5} {logger}: {}", printable(&self.message))?;
        for (key, value) in &self.fields {
            match value {
                Value::String(text) if is_plain(text) => write!(writer, " {key}={text}")?,
                value => write!(writer, " {key}={value}")?,
            }
        }
        writer.write_str("\n")
    }
}

/// Whether a value can stand in a line for people without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '='))
}

/// A message in one line, as no other than the operator's and its libraries' words get there.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;
    use crate::scope::tests::Weather;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `log` runs.
    fn written(lines: Lines, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().event_format(lines).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn traced() -> Scope {
        let (trace, span) = (TraceId::from_bytes([0xab; 16]), SpanId::from_bytes([0xcd; 8]));
        let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE);
        Scope::new(Arc::new(Weather), Some(span))
    }

    fn in_scope(scope: Scope, log: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scope.of(async { log() }));
    }

    #[test]
    fn a_line_says_what_it_belongs_to_once() {
        let scope = traced();
        let id = scope.id().to_string();
        let text = written(Lines::new(LogFormat::Json), || {
            in_scope(
                scope,
                || tracing::warn!(error = %"broke\n\"off\"", count = 3, level = "own", reason = "A", "it \"failed\""),
            );
        });
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        let ts = line.remove("ts").unwrap();
        assert!(ts.as_str().unwrap().parse::<jiff::Timestamp>().is_ok() && ts.as_str().unwrap().len() == 27, "{ts}");
        let expected = serde_json::json!({
            "level": "warn", "logger": module_path!(), "msg": "it \"failed\"", "controller": "tool", "kind": "Tool",
            "namespace": "travel", "name": "weather", "err": "broke\n\"off\"", "count": 3, "reason": "A", "reconcileID": id,
            "traceID": "ab".repeat(16), "spanID": "cd".repeat(8),
        });
        assert_eq!(Value::from(line), expected);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_line_about_another_object_names_that_one() {
        let text = written(Lines::reproducible(), || {
            in_scope(traced(), || tracing::info!(kind = "ToolVersion", namespace = "a", name = "b", "passes"));
            tracing::info!(nothing = "", wide = "a b", "outside\nof any");
        });
        let expected = format!(
            " INFO {0}: passes controller=tool kind=ToolVersion namespace=a name=b\n INFO {0}: outside of any nothing=\"\" wide=\"a b\"\n",
            module_path!()
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn every_key_is_there_once() {
        let keys: BTreeSet<_> = FIELDS.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), FIELDS.len());
    }
}
