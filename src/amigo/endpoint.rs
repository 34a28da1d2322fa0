//! Where the API may be: origins, and the list of those that are allowed.

use std::fmt;

use url::{Host, Url};

/// The service's own hosts.
const OWN_HOSTS: [&str; 4] = [
    "https://api.amigo.ai",
    "https://api-eu-central-1.amigo.ai",
    "https://api-ap-southeast-2.amigo.ai",
    "https://api-ca-central-1.amigo.ai",
];

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} must be {wanted}")]
pub struct InvalidEndpoint {
    given: String,
    wanted: &'static str,
}

/// An origin: scheme, host and port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads an origin such as `https://api.amigo.ai`.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |wanted| InvalidEndpoint { given: text.chars().take(253).collect(), wanted };
        let url = Url::parse(text).map_err(|_| invalid("an origin such as 'https://api.amigo.ai'"))?;
        if !matches!(url.scheme(), "https" | "http") || !url.host().is_some_and(|host| is_sendable(&host)) {
            return Err(invalid("an origin with https or http and a host"));
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("an origin without path, query or user"));
        }
        Ok(Self(url.origin().ascii_serialization()))
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    fn host(&self) -> Option<String> {
        let url = Url::parse(&self.0).ok()?;
        match url.host()? {
            Host::Domain(domain) => Some(domain.to_owned()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    fn has_default_port(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| url.port().is_none())
    }
}

/// Whether requests can be addressed to the host: URLs allow characters in it that HTTP does not.
fn is_sendable(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(domain) => domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The endpoints that Organizations may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedEndpoints(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Exactly(Endpoint),
    /// Any host below the domain, over https on its usual port.
    Below(String),
}

impl Default for AllowedEndpoints {
    fn default() -> Self {
        Self(OWN_HOSTS.iter().map(|host| Rule::Exactly(Endpoint((*host).to_owned()))).collect())
    }
}

impl AllowedEndpoints {
    /// Reads rules: exact origins, or `https://*.domain`.
    pub fn new(rules: &[String]) -> Result<Self, InvalidEndpoint> {
        rules.iter().map(|rule| Self::rule(rule.trim())).collect::<Result<_, _>>().map(Self)
    }

    fn rule(text: &str) -> Result<Rule, InvalidEndpoint> {
        let Some(domain) = text.strip_prefix("https://*.") else {
            let wanted = "an exact origin or 'https://*.' and a domain with a dot";
            if text.contains('*') {
                return Err(InvalidEndpoint { given: text.chars().take(253).collect(), wanted });
            }
            return Endpoint::parse(text).map(Rule::Exactly);
        };
        let plain = Endpoint::parse(&format!("https://{domain}")).ok().filter(Endpoint::has_default_port);
        match plain.and_then(|endpoint| endpoint.host()) {
            Some(host) if host.contains('.') && !host.contains('*') => Ok(Rule::Below(host)),
            _ => Err(InvalidEndpoint {
                given: text.chars().take(253).collect(),
                wanted: "an exact origin or 'https://*.' and a domain with a dot",
            }),
        }
    }

    /// Whether the endpoint is allowed. `http` is only when it is listed exactly.
    #[must_use]
    pub fn allows(&self, endpoint: &Endpoint) -> bool {
        self.0.iter().any(|rule| match rule {
            Rule::Exactly(exactly) => exactly == endpoint,
            Rule::Below(domain) => {
                let below = |host: String| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
                endpoint.is_https() && endpoint.has_default_port() && endpoint.host().is_some_and(below)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_origin() {
        for (text, origin) in [
            ("https://api.amigo.ai", Some("https://api.amigo.ai")),
            ("https://api.amigo.ai/", Some("https://api.amigo.ai")),
            ("https://API.amigo.ai:443", Some("https://api.amigo.ai")),
            ("http://127.0.0.1:8081", Some("http://127.0.0.1:8081")),
            ("https://api.amigo.ai/v1", None),
            ("https://api.amigo.ai?x", None),
            ("https://user@api.amigo.ai", None),
            ("https://user:pass@api.amigo.ai", None),
            ("https://api.amigo.ai#x", None),
            ("https://api.amigo.ai/?", None),
            ("https://[::1]:8443", Some("https://[::1]:8443")),
            ("https://api.amigo.ai:99999", None),
            ("https://*.amigo.ai", None),
            ("https://\"api\".amigo.ai", None),
            ("https://", None),
            ("file:///etc/passwd", None),
            ("ftp://api.amigo.ai", None),
            ("api.amigo.ai", None),
            ("", None),
        ] {
            assert_eq!(Endpoint::parse(text).ok().map(|e| e.to_string()).as_deref(), origin, "{text}");
        }
    }

    #[test]
    fn only_listed_endpoints_are_allowed() {
        let own = AllowedEndpoints::default();
        let listed =
            AllowedEndpoints::new(&["https://*.amigo.example".into(), "http://127.0.0.1:8081".into()]).unwrap();
        for (list, endpoint, allowed) in [
            (&own, "https://api.amigo.ai", true),
            (&own, "https://api-eu-central-1.amigo.ai", true),
            (&own, "http://api.amigo.ai", false),
            (&own, "https://evil.amigo.ai", false),
            (&own, "https://api.amigo.ai:8443", false),
            (&own, "https://api.amigo.ai.", false),
            (&own, "https://api.amigo.ai.evil.example", false),
            (&listed, "https://api.amigo.ai", false),
            (&listed, "https://a.amigo.example", true),
            (&listed, "https://a.b.amigo.example", true),
            (&listed, "https://amigo.example", false),
            (&listed, "https://evilamigo.example", false),
            (&listed, "http://a.amigo.example", false),
            (&listed, "http://127.0.0.1:8081", true),
            (&listed, "http://127.0.0.1:8082", false),
        ] {
            assert_eq!(list.allows(&Endpoint::parse(endpoint).unwrap()), allowed, "{endpoint}");
        }
    }

    #[test]
    fn rules_that_allow_too_much_are_refused() {
        for rule in [
            "https://*",
            "https://*.",
            "https://*.com",
            "https://a.*.com",
            "*",
            "https://*.a.b/path",
            "https://*.a.b:1",
        ] {
            assert!(AllowedEndpoints::new(&[rule.into()]).is_err(), "{rule}");
        }
    }
}
