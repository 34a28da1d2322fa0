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
        if trimmed.chars().count() > LIMIT {
            return Err(invalid());
        }
        let specifiers = VersionSpecifiers::from_str(trimmed).map_err(|_| invalid())?;
        if specifiers.is_empty() {
            return Err(invalid());
        }
        // Blanks, among them line breaks, may stand around operators and mean nothing.
        Ok(Self { text: trimmed.split_whitespace().collect(), specifiers })
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

    /// As Python's `packaging` 26.3 answers, column by column.
    const NUMBERS: [&str; 14] = [
        "0.0.0", "0.1.0", "0.9.10", "1.0.0", "1.0.1", "1.2.0", "1.2.3", "1.2.10", "1.3.0", "1.4.0", "1.10.0", "2.0.0",
        "2.0.1", "10.0.0",
    ];

    const PYTHON: &[(&str, &str)] = &[
        ("<1.4", "xxxxxxxxx....."),
        (">=1.4", ".........xxxxx"),
        ("<=1.2.3", "xxxxxxx......."),
        (">1.2.3", ".......xxxxxxx"),
        ("==1.2.3", "......x......."),
        ("==1.2", ".....x........"),
        ("==1", "...x.........."),
        ("==1.2.*", ".....xxx......"),
        ("==1.*", "...xxxxxxxx..."),
        ("!=1.2.3", "xxxxxx.xxxxxxx"),
        ("!=1.2.*", "xxxxx...xxxxxx"),
        ("!=1.*", "xxx........xxx"),
        ("~=1.2", ".....xxxxxx..."),
        ("~=1.2.3", "......xx......"),
        ("~=0.0.0", "x............."),
        ("===1.2.3", "......x......."),
        ("===1.2", ".............."),
        (">=1,<2", "...xxxxxxxx..."),
        (">=1.0,!=1.2.*,<2", "...xx...xxx..."),
        ("<1.4,>1.2", "......xxx....."),
        ("<1.2,>1.4", ".............."),
        ("==1.2.3,==1.2.3", "......x......."),
        ("<2.0.0rc1", "xxxxxxxxxxx..."),
        (">1.2rc1", ".....xxxxxxxxx"),
        ("<=1.2.3.post1", "xxxxxxx......."),
        (">1.2.3.post1", ".......xxxxxxx"),
        (">=1.2.3.dev0", "......xxxxxxxx"),
        ("==1.2.3.0", "......x......."),
        ("==1.2.3+local", ".............."),
        (">=1.2.3a1,<1.4", "......xxx....."),
        ("~=1.2,!=1.3.0", ".....xxx.xx..."),
        ("<10", "xxxxxxxxxxxxx."),
        ("<1!1", "xxxxxxxxxxxxxx"),
        ("==v1.2.3", "......x......."),
        (" == 1.2.3 , < 2 ", "......x......."),
        (">=0", "xxxxxxxxxxxxxx"),
        ("!=0", ".xxxxxxxxxxxxx"),
    ];

    #[test]
    fn matches_as_python_does() {
        for (text, expected) in PYTHON {
            let specifier = Specifier::parse(text).unwrap();
            let matches = |number: &&str| specifier.matches(number.parse().unwrap());
            let found: String = NUMBERS.iter().map(|number| if matches(number) { 'x' } else { '.' }).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn an_exact_one_matches_one_version() {
        let number = VersionNumber::new(1, 2, 3);
        let exact = Specifier::exact(number);
        assert_eq!(exact.to_string(), "==1.2.3");
        assert_eq!(Specifier::parse("==1.2.3").unwrap(), exact);
        let matching: Vec<_> = NUMBERS.iter().filter(|other| exact.matches(other.parse().unwrap())).collect();
        assert_eq!(matching, [&"1.2.3"]);
    }

    #[test]
    fn what_is_no_specifier_is_refused() {
        for text in [
            "", "  ", "1.4", "<", "<a b", ",", "<1 <2", "~=1", "==1.*.2", ">=1.*", "=1", "^1.2", "latest", "<1;x",
            "<1\0",
        ] {
            assert!(Specifier::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_specifier_has_at_most_256_characters() {
        for (last, fits) in [(">=1", true), (">=10", true), (">=100", false), (">=1000", false)] {
            let text = format!("  {}{last}  ", ">=1,".repeat(63));
            assert_eq!(Specifier::parse(&text).is_ok(), fits, "{} characters", text.trim().len());
        }
    }
}
