//! PEP 440 specifiers, as the API takes them to name versions.

use std::fmt;
use std::str::FromStr;

use uv_pep440::{Version, VersionSpecifiers};

use super::types::VersionNumber;

/// Longest specifier that is read, in characters.
const LIMIT: usize = 256;

/// A text that is no specifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version specifier")]
pub struct InvalidSpecifier(String);

/// Which versions are meant: `<1.4`, `==1.2.3`, `>=1,<2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specifier {
    text: String,
    specifiers: VersionSpecifiers,
}

impl Specifier {
    /// Reads a specifier. An empty one would mean every version, and is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidSpecifier> {
        let invalid = || InvalidSpecifier(text.chars().take(64).collect());
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.chars().count() > LIMIT {
            return Err(invalid());
        }
        let specifiers = VersionSpecifiers::from_str(trimmed).map_err(|_| invalid())?;
        if specifiers.is_empty() {
            return Err(invalid());
        }
        Ok(Self { text: trimmed.to_owned(), specifiers })
    }

    /// Exactly this version.
    #[must_use]
    pub fn exact(number: VersionNumber) -> Self {
        let version = Version::new([number.major, number.minor, number.patch]);
        Self {
            text: format!("=={number}"),
            specifiers: VersionSpecifiers::from(uv_pep440::VersionSpecifier::equals_version(version)),
        }
    }

    /// Whether the version is meant.
    #[must_use]
    pub fn matches(&self, number: VersionNumber) -> bool {
        self.specifiers.contains(&Version::new([number.major, number.minor, number.patch]))
    }
}

impl fmt::Display for Specifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_python_does() {
        for (text, number, matches) in [
            ("<1.4", "1.3.9", true),
            ("<1.4", "1.4.0", false),
            ("==1.2.3", "1.2.3", true),
            ("==1.2.*", "1.2.9", true),
            ("==1.2.*", "1.3.0", false),
            ("~=1.2", "1.9.0", true),
            ("~=1.2", "2.0.0", false),
            (">=1,<2,!=1.5.0", "1.5.0", false),
        ] {
            assert_eq!(Specifier::parse(text).unwrap().matches(number.parse().unwrap()), matches, "{text} {number}");
        }
        let exact = Specifier::exact(VersionNumber::new(1, 2, 3));
        assert_eq!(exact.to_string(), "==1.2.3");
        assert!(exact.matches(VersionNumber::new(1, 2, 3)) && !exact.matches(VersionNumber::new(1, 2, 4)));
    }

    #[test]
    fn what_is_no_specifier_is_refused() {
        for text in ["", "  ", "1.4", "<", "<a b", ","] {
            assert!(Specifier::parse(text).is_err(), "{text:?}");
        }
        assert!(Specifier::parse(&"<1,".repeat(200)).is_err());
    }
}
