//! The revisions of the publish call, and how the right one is found: a 422 has no effect and shows that the service speaks
//! another. Pure.

use super::types::{Branch, BumpType, PublishVersion};

/// A revision of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// Starts from the reference and moves on.
    Auto,
    /// The reference: `branch`.
    R202507,
    /// September 2025: `repo`.
    R202509,
    /// 2026: neither.
    R2026,
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// Which branch, for revisions that ask.
    pub branch: Branch,
    /// Which folder.
    pub project_path: String,
    /// Which part of the number rises.
    pub bump: BumpType,
}

/// The revisions to try, in this order: the one that is set, or the one that worked before and then the others.
#[must_use]
pub fn to_try(set: Revision, detected: Option<Revision>) -> Vec<Revision> {
    let all = [Revision::R202507, Revision::R202509, Revision::R2026];
    match (set, detected) {
        (Revision::Auto, None | Some(Revision::Auto)) => all.to_vec(),
        (Revision::Auto, Some(known)) => {
            std::iter::once(known).chain(all.into_iter().filter(|revision| *revision != known)).collect()
        }
        (set, _) => vec![set],
    }
}

/// The body of a publish in a revision.
#[must_use]
pub fn body(revision: Revision, request: &PublishRequest) -> PublishVersion {
    let (branch, repo) = match revision {
        Revision::Auto | Revision::R202507 => (Some(request.branch), None),
        Revision::R202509 => (None, Some(request.branch)),
        Revision::R2026 => (None, None),
    };
    PublishVersion { branch, repo, project_path: request.project_path.clone(), bump_type: request.bump }
}

/// Whether the form of the call may be what a 422 complains about, given the field that it names. Not if it names one that all
/// revisions have: then no other form would do better.
#[must_use]
pub fn may_be_blamed(field: Option<&str>) -> bool {
    !matches!(field, Some("project_path" | "bump_type"))
}

#[cfg(test)]
mod tests {
    use super::Revision::{Auto, R2026, R202507, R202509};
    use super::*;

    #[test]
    fn auto_starts_from_the_reference_or_from_what_worked() {
        assert_eq!(to_try(Auto, None), [R202507, R202509, R2026]);
        assert_eq!(to_try(Auto, Some(R2026)), [R2026, R202507, R202509]);
        assert_eq!(to_try(R202509, Some(R2026)), [R202509]);
    }

    #[test]
    fn a_complaint_about_what_is_asked_is_no_complaint_about_the_form() {
        for (field, blamed) in [
            (None, true),
            (Some("branch"), true),
            (Some("repo"), true),
            (Some("body"), true),
            (Some("project_path"), false),
            (Some("bump_type"), false),
        ] {
            assert_eq!(may_be_blamed(field), blamed, "{field:?}");
        }
    }

    #[test]
    fn each_revision_has_its_body() {
        let request = PublishRequest { branch: Branch::Team, project_path: "tools/a".into(), bump: BumpType::Minor };
        let json = |revision| serde_json::to_string(&body(revision, &request)).unwrap();
        assert_eq!(json(R202507), r#"{"branch":"team","project_path":"tools/a","bump_type":"minor"}"#);
        assert_eq!(json(R202509), r#"{"repo":"team","project_path":"tools/a","bump_type":"minor"}"#);
        assert_eq!(json(R2026), r#"{"project_path":"tools/a","bump_type":"minor"}"#);
    }
}
