//! The rules of the fields: patterns, and the sentences that answer a manifest which breaks them.
//!
//! A pattern is a CEL rule, so that the server answers with a sentence. One that a person can read stands in the schema as
//! well, where editors and offline checkers find it; the server shows it too, so that the long ones are left out there.
//! Patterns are RE2: `\w` is ASCII only, hence `\p{L}` and `\p{N}`.

use kube::core::{Reason, Rule};

/// A Kubernetes object's name (RFC 1123 subdomain).
pub const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A namespace's name (RFC 1123 label).
pub const NAMESPACE_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A key of a Secret.
pub const SECRET_KEY: &str = r"^[-._a-zA-Z0-9]+$";
/// The organization in the API's paths.
pub const ORGANIZATION: &str = r"^[A-Za-z0-9_.-]+$";
/// Scheme, host and optional port.
pub const ENDPOINT: &str =
    r"^https?://([A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?$";
/// A value that is safe in a header.
pub const CLUSTER_NAME: &str = r"^[A-Za-z0-9_.-]+$";
/// The remote name of a tool.
pub const TOOL_NAME: &str = r"^[a-z0-9_]+$";
/// A tag's key or value.
pub const TAG: &str = r"^[\p{L}\p{N}_\s]+$";
/// One or more comparisons with a version, separated by commas. The operator reads them in full.
pub const SPECIFIER: &str = r"^\s*(===?|~=|!=|<=?|>=?)\s*[0-9A-Za-z][-0-9A-Za-z.*+!_]*\s*(,\s*(===?|~=|!=|<=?|>=?)\s*[0-9A-Za-z][-0-9A-Za-z.*+!_]*\s*)*$";
/// An exact version. At most nine digits a part.
pub const VERSION: &str = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$";
/// A folder of the tools repository.
pub const PROJECT_PATH: &str = r"^[-\p{L}\p{N}_/]+$";
/// A commit's hash, or the beginning of one.
pub const COMMIT: &str = r"^[0-9a-f]{7,64}$";
/// A variable's name.
pub const VARIABLE_NAME: &str = r"^[A-Za-z_][A-Za-z0-9_]*$";
/// What is put before the keys of a Secret; may be empty.
pub const VARIABLE_PREFIX: &str = r"^([A-Za-z_][A-Za-z0-9_]*)?$";

/// The value matches `pattern`; `message` says so to a person.
pub fn matches(pattern: &str, message: &str) -> Rule {
    Rule::new(format!("self.matches(r'{pattern}')")).message(message)
}

/// The value is the name of an object of the kind `what`.
pub fn object_name() -> Rule {
    matches(
        OBJECT_NAME,
        "must be the name of an object: lowercase letters, digits, '-' and '.', with a letter or digit at both ends",
    )
}

/// The value is the name of a namespace.
pub fn namespace_name() -> Rule {
    matches(
        NAMESPACE_NAME,
        "must be the name of a namespace: lowercase letters, digits and '-', with a letter or digit at both ends",
    )
}

/// The value holds more than blanks.
pub fn not_blank() -> Rule {
    Rule::new("self.trim().size() > 0").message("must not be blank").reason(Reason::FieldValueRequired)
}

/// The value is as the service keeps it, which cuts blanks at both ends.
pub fn trimmed() -> Rule {
    Rule::new("self == self.trim()").message("must not start or end with a blank")
}

/// The field keeps the value it was created with.
pub fn immutable(field: &str) -> Rule {
    Rule::new("self == oldSelf")
        .message(format!("`{field}` must not be changed after creation").as_str())
        .reason(Reason::FieldValueForbidden)
}

/// On the parent: the optional field is neither added nor removed. Together with [`immutable`] on the field itself, which
/// is not looked at while the field is absent.
pub fn neither_added_nor_removed(field: &str) -> Rule {
    Rule::new(format!("has(self.{field}) == has(oldSelf.{field})"))
        .message(format!("`{field}` must not be added or removed after creation").as_str())
        .reason(Reason::FieldValueForbidden)
        .field_path(format!(".{field}"))
}

/// On the parent: exactly one of two optional fields is set.
pub fn exactly_one_of(first: &str, second: &str) -> Rule {
    Rule::new(format!("has(self.{first}) != has(self.{second})"))
        .message(format!("must have exactly one of `{first}` and `{second}`").as_str())
}

/// On the parent: `condition`, a complaint about the field `field` otherwise.
pub fn forbidden_unless(condition: &str, field: &str, message: &str) -> Rule {
    Rule::new(condition).message(message).reason(Reason::FieldValueForbidden).field_path(format!(".{field}"))
}
