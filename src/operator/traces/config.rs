//! What the environment says of traces: the standard variables of OpenTelemetry. What cannot be meant ends the process at its
//! start, in one line with the variable, the value and what would do; values that may be secret are not shown. Pure.
//!
//! What is only checked here is read by the SDK itself, under the same names.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::text::short;

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The URL that spans are posted to.
    pub endpoint: Url,
    /// The longest that a request to it may take.
    pub timeout: Duration,
    /// A file of certificate authorities, and the variable that names it.
    pub certificate: Option<(&'static str, String)>,
}

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The variables that are read, with what each is for.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        ENDPOINT,
        "Where the collector takes OTLP over HTTP, such as `http://collector:4318`; `/v1/traces` is added. Without it and the next there are no traces.",
    ),
    (
        TRACES_ENDPOINT,
        "The same for traces alone, as it is: nothing is added. It goes before the other, as with all names that have `TRACES` in them.",
    ),
    (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "`http/protobuf`, which is also the default. Others are refused. Also `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers for the collector, such as `authorization=Bearer%20abc`, separated by commas. Also `OTEL_EXPORTER_OTLP_TRACES_HEADERS`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "How long the collector may take, in milliseconds. Default: 10000. Also `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "PEM file of certificate authorities that are trusted beside the system's, for the collector. Also `OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "`none`, which is also the default, or `gzip`. Also `OTEL_EXPORTER_OTLP_TRACES_COMPRESSION`.",
    ),
    ("OTEL_SERVICE_NAME", "The name of the operator in traces. Default: `amigo-operator`."),
    (
        "OTEL_RESOURCE_ATTRIBUTES",
        "More about it, such as `deployment.environment.name=production`, separated by commas.",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "Which traces are recorded: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`. Default: `parentbased_always_on`.",
    ),
    ("OTEL_TRACES_SAMPLER_ARG", "The share of them, 0 to 1, for `traceidratio` and `parentbased_traceidratio`."),
    ("OTEL_BSP_SCHEDULE_DELAY", "How often spans are sent, in milliseconds. Default: 5000."),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "How many spans wait at most; further ones are dropped. Default: 2048."),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "How many are sent at once. Default: 512."),
    ("OTEL_TRACES_EXPORTER", "`otlp`, which is also the default, or `none` for no traces."),
    ("OTEL_SDK_DISABLED", "`true` for no traces, whatever else is set."),
];

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Numbers above zero.
const NUMBERS: [&str; 3] = ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"];

/// Files that would have to be used, and are not.
const UNUSED: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
];

/// The environment; what is empty counts as absent.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

type Named = Option<(&'static str, String)>;

impl Environment<'_> {
    fn get(&self, name: &'static str) -> Named {
        (self.0)(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value.trim().to_owned()))
    }

    /// The variable of traces alone, else the one of all signals.
    fn either(&self, of_traces: &'static str, of_all: &'static str) -> Named {
        self.get(of_traces).or_else(|| self.get(of_all))
    }
}

/// The value of a variable that has one of these, or none.
fn one_of(named: Named, allowed: &[&str]) -> Result<Option<String>, String> {
    match named {
        Some((name, value)) if !allowed.contains(&value.as_str()) => {
            Err(wrong(name, &value, &format!("must be one of {}", allowed.join(", "))))
        }
        named => Ok(named.map(|(_, value)| value)),
    }
}

fn number(named: Named) -> Result<Option<u64>, String> {
    let Some((name, value)) = named else { return Ok(None) };
    match value.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(wrong(name, &value, "must be a whole number above 0")),
    }
}

fn wrong(name: &str, value: &str, remedy: &str) -> String {
    format!("{name}={:?} {remedy}", short(value, 200))
}

impl Config {
    /// What the environment asks for; `None` for no traces.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let environment = Environment(variable);
        let is_disabled = environment.get("OTEL_SDK_DISABLED").is_some_and(|(_, it)| it.eq_ignore_ascii_case("true"));
        let endpoint = environment.either(TRACES_ENDPOINT, ENDPOINT);
        let (Some((name, value)), false) = (endpoint, is_disabled) else { return Ok(None) };
        let exporter = one_of(environment.get("OTEL_TRACES_EXPORTER"), &["otlp", "none"])?;
        if exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let endpoint = endpoint_of(name, &value)?;
        check(&environment)?;
        let timeout = environment.either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = number(timeout)?.unwrap_or(10_000);
        let certificate = environment.either("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
        Ok(Some(Self { endpoint, timeout: Duration::from_millis(timeout), certificate }))
    }
}

/// The URL that spans are posted to.
fn endpoint_of(name: &str, value: &str) -> Result<Url, String> {
    let remedy = "must be an http:// or https:// URL of the collector, such as http://collector:4318";
    // What stands before an '@' may be a password.
    if value.contains('@') {
        return Err(format!("{name} {remedy}, without a user; credentials go into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    let url = Url::parse(value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut url = url.ok_or_else(|| wrong(name, value, remedy))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            name,
            value.split(['?', '#']).next().unwrap_or_default(),
            &format!("{remedy}, without a query"),
        ));
    }
    if name == ENDPOINT {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

/// Refuses what the SDK would pass over in silence.
fn check(environment: &Environment<'_>) -> Result<(), String> {
    let protocol = environment.either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
    if let Some((name, value)) = protocol.filter(|(_, value)| value != "http/protobuf") {
        let remedy = "is not supported; use http/protobuf, which collectors take on port 4318";
        return Err(wrong(name, &value, remedy));
    }
    let compression = environment.either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
    one_of(compression, &["none", "gzip"])?;
    let sampler = one_of(environment.get("OTEL_TRACES_SAMPLER"), &SAMPLERS)?.unwrap_or_default();
    let share = environment.get("OTEL_TRACES_SAMPLER_ARG").filter(|_| sampler.ends_with("traceidratio"));
    if let Some((name, value)) = share
        && !value.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share))
    {
        return Err(wrong(name, &value, "must be a number from 0 to 1"));
    }
    for name in NUMBERS {
        number(environment.get(name))?;
    }
    if let Some(name) = UNUSED.into_iter().find(|name| environment.get(name).is_some()) {
        return Err(format!("{name} is not supported; the collector must take spans without a client certificate"));
    }
    let headers = environment.either("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
    headers.map_or(Ok(()), |(name, value)| check_headers(name, &value))
}

/// Which entry is wrong is told, and nothing of what stands there.
fn check_headers(name: &str, value: &str) -> Result<(), String> {
    for (place, entry) in value.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty()) {
        let is_header = entry.split_once('=').is_some_and(|(key, value)| {
            HeaderName::try_from(key.trim()).is_ok() && HeaderValue::try_from(value.trim()).is_ok()
        });
        if !is_header {
            return Err(format!("{name}: entry {} must be NAME=VALUE, the value percent-encoded", place + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: (&str, &str) = (ENDPOINT, "http://collector:4318");

    fn read(variables: &[(&str, &str)]) -> Result<Option<Config>, String> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::read(&value)
    }

    #[test]
    fn there_are_traces_only_with_an_endpoint() {
        for variables in [
            vec![],
            vec![(ENDPOINT, "")],
            vec![("OTEL_SERVICE_NAME", "tools"), ("OTEL_TRACES_SAMPLER", "nonsense")],
            vec![AT, ("OTEL_SDK_DISABLED", "TRUE")],
            vec![AT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(read(&variables), Ok(None), "{variables:?}");
        }
        assert!(read(&[AT, ("OTEL_SDK_DISABLED", "false")]).unwrap().is_some());
    }

    #[test]
    fn the_endpoint_of_all_signals_has_the_path_added_and_that_of_traces_has_not() {
        for (variables, endpoint) in [
            (vec![AT], "http://collector:4318/v1/traces"),
            (vec![(ENDPOINT, "https://collector/otlp/")], "https://collector/otlp/v1/traces"),
            (vec![(TRACES_ENDPOINT, "http://[::1]:4318/spans")], "http://[::1]:4318/spans"),
            (vec![AT, (TRACES_ENDPOINT, " http://other:4318 ")], "http://other:4318/"),
        ] {
            assert_eq!(read(&variables).unwrap().unwrap().endpoint.as_str(), endpoint, "{variables:?}");
        }
    }

    #[test]
    fn what_is_of_traces_alone_goes_before_what_is_of_all() {
        let config = read(&[
            AT,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ]);
        let config = config.unwrap().unwrap();
        assert_eq!(config.timeout, Duration::from_millis(250));
        assert_eq!(config.certificate, Some(("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem".to_owned())));
        assert_eq!(read(&[AT]).unwrap().unwrap().timeout, Duration::from_secs(10));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name_value_and_remedy() {
        for (name, value, remedy) in [
            (ENDPOINT, "collector:4318", "must be an http:// or https:// URL"),
            (ENDPOINT, "4318", "such as http://collector:4318"),
            (TRACES_ENDPOINT, "grpc://collector:4317", "must be an http:// or https:// URL"),
            (TRACES_ENDPOINT, "http://", "must be an http:// or https:// URL"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "must be one of otlp, none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "use http/protobuf, which collectors take on port 4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "use http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be a whole number above 0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0", "must be a whole number above 0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "must be one of none, gzip"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be one of always_on"),
        ] {
            let error = read(&[(name, value), AT]).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value:?} ")) && error.contains(remedy), "{error}");
        }
        let ratio = [AT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(read(&ratio).unwrap_err(), "OTEL_TRACES_SAMPLER_ARG=\"2\" must be a number from 0 to 1");
        assert!(read(&[AT, ("OTEL_TRACES_SAMPLER_ARG", "2")]).unwrap().is_some(), "it is not used");
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,Bearer hush"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "no name=hush"),
            (ENDPOINT, "http://user:hush@collector:4318"),
            (ENDPOINT, "http://collector:4318/?key=hush"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/hush.pem"),
        ] {
            let error = read(&[(name, value), AT]).unwrap_err();
            assert!(error.contains(name) && !error.contains("hush"), "{error}");
        }
        assert!(read(&[AT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush,x-team=a")]).unwrap().is_some());
    }

    #[test]
    fn every_variable_is_there_once_and_says_what_it_is_for() {
        let names: std::collections::BTreeSet<_> = VARIABLES.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        assert!(VARIABLES.iter().all(|(name, help)| name.starts_with("OTEL_") && help.ends_with('.')));
    }
}
