//! Settings, as flags and environment variables. A wrong one ends the process with one clear line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::certificate::{Certificate, Files};
use crate::amigo::AllowedEndpoints;
use crate::kubernetes::lease;
use crate::kubernetes::secrets::Access;
use crate::kubernetes::watch::Key;

/// How the operator runs.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Namespace to work in; repeatable. None: all namespaces.
    #[arg(long = "namespace", env = "AMIGO_NAMESPACE", value_delimiter = ',', value_name = "NAMESPACE", value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// Identifies this installation in the marks of its tools. Default: the uid of the namespace kube-system.
    #[arg(long, env = "AMIGO_OWNER_ID", value_name = "ID", value_parser = owner_id)]
    pub owner_id: Option<String>,

    /// Organization of the Tools that name none.
    #[arg(long, env = "AMIGO_DEFAULT_ORGANIZATION", value_name = "NAMESPACE/NAME", value_parser = namespace_and_name)]
    pub default_organization: Option<Key>,

    /// Endpoint that Organizations may use: an exact origin, or `https://*.domain`; repeatable. Replaces the default list,
    /// which holds the service's own hosts. `http://` only when listed here.
    #[arg(long = "allowed-endpoint", env = "AMIGO_ALLOWED_ENDPOINT", value_delimiter = ',', value_name = "ORIGIN")]
    pub allowed_endpoints: Vec<String>,

    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env = "AMIGO_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Serves `/metrics` here instead, over TLS, to those only whom the API server knows by their token and lets `get` `/metrics`.
    #[arg(long, env = "AMIGO_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,

    /// PEM file of the certificate chain of `--metrics-listen`. Default: a certificate that is made at the start, and signed by
    /// nobody. Files that are replaced are used within ten seconds.
    #[arg(
        long,
        env = "AMIGO_METRICS_CERT_FILE",
        value_name = "FILE",
        requires = "metrics_listen",
        requires = "metrics_key_file"
    )]
    pub metrics_cert_file: Option<PathBuf>,

    /// PEM file of the private key of `--metrics-cert-file`.
    #[arg(long, env = "AMIGO_METRICS_KEY_FILE", value_name = "FILE", requires = "metrics_cert_file")]
    pub metrics_key_file: Option<PathBuf>,

    /// Whether only the holder of a Lease works, so that several replicas can run.
    #[arg(long, env = "AMIGO_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub leader_elect: bool,

    /// Namespace of the Lease. Default: the pod's own, else `default`.
    #[arg(long, env = "AMIGO_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// Name of the Lease. Of all operators that have a Lease in common one works.
    #[arg(long, env = "AMIGO_LEASE_NAME", default_value = lease::NAME, value_name = "NAME", value_parser = object_name)]
    pub lease_name: String,

    /// How changes of Secrets are seen: one metadata watch, one per referenced Secret, or reading them now and then.
    #[arg(long, env = "AMIGO_SECRET_ACCESS", default_value = "watch", value_name = "watch|named|poll")]
    pub secret_access: Access,

    /// Read only Secrets that are labelled `amigo.ai/sync: "true"`, whatever the objects name.
    #[arg(long, env = "AMIGO_ONLY_LABELLED_SECRETS", default_value_t = false, action = clap::ArgAction::Set, value_name = "true|false")]
    pub only_labelled_secrets: bool,

    /// How often Secrets are read with `--secret-access poll`, in seconds.
    #[arg(long, env = "AMIGO_SECRET_POLL_SECONDS", default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub secret_poll_seconds: u64,

    /// How long publishes in flight are waited for after SIGTERM, in seconds.
    #[arg(long, env = "AMIGO_GRACE_PERIOD_SECONDS", default_value_t = 330, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace_period_seconds: u64,

    /// Form of the logs.
    #[arg(long, env = "AMIGO_LOG_FORMAT", default_value = "json", value_name = "json|text")]
    pub log_format: LogFormat,

    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,amigo_operator=debug`.
    #[arg(long, env = "AMIGO_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,

    /// PEM file of certificate authorities that are trusted beside the system's, for the remote API.
    #[arg(long, env = "AMIGO_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Settings {
    /// The endpoints that Organizations may use.
    pub fn allowed_endpoints(&self) -> Result<AllowedEndpoints, String> {
        if self.allowed_endpoints.is_empty() {
            return Ok(AllowedEndpoints::default());
        }
        AllowedEndpoints::new(&self.allowed_endpoints).map_err(|error| format!("--allowed-endpoint: {error}"))
    }

    /// What `--metrics-listen` proves itself by.
    #[must_use]
    pub fn metrics_certificate(&self) -> Certificate {
        match (&self.metrics_cert_file, &self.metrics_key_file) {
            (Some(chain), Some(key)) => Certificate::Files(Files { chain: chain.clone(), key: key.clone() }),
            _ => Certificate::SelfSigned,
        }
    }

    /// The period of `--secret-access poll`.
    #[must_use]
    pub const fn secret_poll(&self) -> Duration {
        Duration::from_secs(self.secret_poll_seconds)
    }

    /// How long publishes in flight are waited for.
    #[must_use]
    pub const fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace_period_seconds)
    }
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether an object can have the name: labels with dots between them.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn namespace(text: &str) -> Result<String, String> {
    if is_label(text) { Ok(text.to_owned()) } else { Err("must be the name of a namespace".to_owned()) }
}

fn object_name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err("must be the name of an object".to_owned()) }
}

fn owner_id(text: &str) -> Result<String, String> {
    let valid = !text.trim().is_empty() && text.len() <= 253 && !text.contains('/');
    if valid { Ok(text.trim().to_owned()) } else { Err("must have 1 to 253 characters and no '/'".to_owned()) }
}

fn namespace_and_name(text: &str) -> Result<Key, String> {
    match text.split_once('/') {
        Some((namespace, name)) if is_label(namespace) && is_name(name) => Ok((namespace.to_owned(), name.to_owned())),
        _ => Err("must be NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn parse(args: &[&str]) -> Result<Settings, String> {
        let args = std::iter::once("amigo-operator").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = parse(&[]).unwrap();
        assert!(settings.namespaces.is_empty() && settings.leader_elect);
        assert_eq!(settings.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(settings.secret_access, Access::Watch);
        assert_eq!((settings.secret_poll_seconds, settings.grace_period_seconds), (300, 330));
    }

    #[test]
    fn lists_come_by_repetition_or_commas() {
        let settings = parse(&["--namespace", "a", "--namespace", "b,c"]).unwrap();
        assert_eq!(settings.namespaces, ["a", "b", "c"]);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (args, named) in [
            (vec!["--namespace", "A_b"], "--namespace"),
            (vec!["--default-organization", "acme"], "--default-organization"),
            (vec!["--secret-access", "all"], "--secret-access"),
            (vec!["--listen", "nowhere"], "--listen"),
            (vec!["--leader-elect", "maybe"], "--leader-elect"),
            (vec!["--owner-id", "a/b"], "--owner-id"),
            (vec!["--lease-name", "a..b"], "--lease-name"),
            (vec!["--secret-poll-seconds", "0"], "--secret-poll-seconds"),
            (vec!["--metrics-cert-file", "a", "--metrics-key-file", "b"], "--metrics-listen"),
            (vec!["--metrics-listen", "127.0.0.1:0", "--metrics-cert-file", "a"], "--metrics-key-file"),
        ] {
            let error = parse(&args).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
