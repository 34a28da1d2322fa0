//! One Tool, one remote tool: what to do about a Tool, from the manifest, the mark and what was read. Pure.

use crate::amigo::types::{CreateTool, ModifyTool, Tag, Tags, Tool as RemoteTool};
use crate::controllers::outcome::Outcome;
use crate::controllers::ownership::{self, Ownership};
use crate::resources::Reason;
use crate::resources::tool::{AdoptionPolicy, ManagementPolicy};

/// What the manifest asks for.
#[derive(Debug, Clone)]
pub struct Desired<'a> {
    /// The remote name.
    pub name: &'a str,
    /// Present unless the tool is only observed.
    pub description: Option<&'a str>,
    /// Absent: only the operator's tags are managed.
    pub tags: Option<&'a [Tag]>,
    /// This object's mark.
    pub mark: &'a str,
    /// The hint for people that goes with it.
    pub hint: &'a str,
    /// What to do about a tool that is there already.
    pub adoption: AdoptionPolicy,
    /// Whether the tool itself is written.
    pub management: ManagementPolicy,
    /// The id for which a person consents to a new tool.
    pub recreate: Option<&'a str>,
}

/// What is known of the service.
#[derive(Debug, Clone)]
pub enum Observed<'a> {
    /// The object is bound to this id; `None` when no read finds it, not even as deprecated.
    Bound { id: &'a str, tool: Option<&'a RemoteTool> },
    /// Not bound: the active tools with this object's mark, and the active tool of its name once that was looked for.
    Unbound { marked: &'a [RemoteTool], named: Option<Option<&'a RemoteTool>> },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Create the tool, with the mark.
    Create(CreateTool),
    /// Look for an active tool of that name.
    LookByName,
    /// Take this tool as ours; it needs no write for that.
    Bind { id: String },
    /// Take this tool as ours by writing the mark, and what differs.
    Adopt { id: String, modify: ModifyTool },
    /// The old tool is gone for good and a person consents to a new one.
    Unbind,
    /// Correct what differs.
    Modify { id: String, modify: ModifyTool },
    /// Nothing differs.
    InSync,
    /// Nothing can be done now.
    End(Outcome),
}

/// Decides.
#[must_use]
pub fn decide(desired: &Desired<'_>, observed: &Observed<'_>) -> Plan {
    match observed {
        Observed::Bound { id, tool: None } if desired.recreate == Some(*id) => Plan::Unbind,
        Observed::Bound { id, tool: None } => Plan::End(remote_missing(desired, id)),
        Observed::Bound { id, tool: Some(tool) } if tool.deprecated && desired.recreate == Some(*id) => Plan::Unbind,
        Observed::Bound { id, tool: Some(tool) } if tool.deprecated => Plan::End(deprecated_remotely(desired, id)),
        Observed::Bound { tool: Some(tool), .. } => bound(desired, tool),
        Observed::Unbound { marked, named } => unbound(desired, marked, *named),
    }
}

/// The tool is ours and active: whose mark does it carry, and what differs?
fn bound(desired: &Desired<'_>, tool: &RemoteTool) -> Plan {
    match (desired.management, ownership::of(tool, desired.mark)) {
        (ManagementPolicy::Observe, _) => Plan::InSync,
        (ManagementPolicy::Manage, Ownership::Foreign) => Plan::End(Outcome::stalled(
            Reason::OwnershipLost,
            format!("tool {} ({}) carries somebody else's mark now and is left alone", tool.name, tool.id),
        )),
        (ManagementPolicy::Manage, Ownership::Ours | Ownership::Unmarked) => match drift(desired, tool) {
            Some(modify) => Plan::Modify { id: tool.id.clone(), modify },
            None => Plan::InSync,
        },
    }
}

/// No tool is ours yet. A tool with our mark is, as the create whose answer was lost has set it.
fn unbound(desired: &Desired<'_>, marked: &[RemoteTool], named: Option<Option<&RemoteTool>>) -> Plan {
    let ours = marked.iter().find(|tool| tool.name == desired.name);
    match (desired.management, ours, marked.first(), named) {
        (ManagementPolicy::Observe, _, _, None) => Plan::LookByName,
        (ManagementPolicy::Observe, _, _, Some(Some(tool))) => Plan::Bind { id: tool.id.clone() },
        (ManagementPolicy::Observe, _, _, Some(None)) => Plan::End(Outcome::waiting(
            Reason::ToolNotFound,
            format!("the organization has no active tool named {} to observe", desired.name),
        )),
        (ManagementPolicy::Manage, Some(tool), _, _) => Plan::Bind { id: tool.id.clone() },
        (ManagementPolicy::Manage, None, Some(other), _) => Plan::End(Outcome::stalled(
            Reason::NameTaken,
            format!(
                "tool {} ({}) carries this object's mark under another name: set `spec.name` to it, or deprecate that tool",
                other.name, other.id
            ),
        )),
        (ManagementPolicy::Manage, None, None, None | Some(None)) => create(desired),
        (ManagementPolicy::Manage, None, None, Some(Some(tool))) => adopt(desired, tool),
    }
}

fn create(desired: &Desired<'_>) -> Plan {
    let mut tags = wanted_tags(desired).unwrap_or_default();
    tags.extend(ownership::tags(desired.mark, desired.hint));
    Plan::Create(CreateTool {
        name: desired.name.to_owned(),
        description: desired.description.unwrap_or_default().trim().to_owned(),
        tags,
    })
}

/// An active tool has the name already.
fn adopt(desired: &Desired<'_>, tool: &RemoteTool) -> Plan {
    let take = || Plan::Adopt { id: tool.id.clone(), modify: drift(desired, tool).unwrap_or_default() };
    match (ownership::of(tool, desired.mark), desired.adoption) {
        (Ownership::Ours, _) => Plan::Bind { id: tool.id.clone() },
        (Ownership::Unmarked, AdoptionPolicy::Unmarked | AdoptionPolicy::Always) => take(),
        (Ownership::Foreign, AdoptionPolicy::Always) => take(),
        (Ownership::Unmarked, AdoptionPolicy::Marked) => Plan::End(Outcome::stalled(
            Reason::NameTaken,
            format!(
                "an active tool named {} ({}) exists and carries no mark: choose another `spec.name`, or take it over with \
                 `adoptionPolicy: Unmarked`",
                tool.name, tool.id
            ),
        )),
        (Ownership::Foreign, AdoptionPolicy::Marked | AdoptionPolicy::Unmarked) => Plan::End(Outcome::stalled(
            Reason::NameTaken,
            format!(
                "an active tool named {} ({}) belongs to somebody else: choose another `spec.name`, or take it over with \
                 `adoptionPolicy: Always`",
                tool.name, tool.id
            ),
        )),
    }
}

/// What a modify must send so that the tool matches; `None` when nothing differs. The service trims what it keeps, hence
/// trimmed values are compared.
#[must_use]
pub fn drift(desired: &Desired<'_>, tool: &RemoteTool) -> Option<ModifyTool> {
    let description = desired.description.map(str::trim).filter(|d| *d != tool.description.trim());
    let have = ownership::as_sent(&tool.tags);
    let mut want = wanted_tags(desired).unwrap_or_else(|| have.clone());
    want.extend(ownership::tags(desired.mark, desired.hint));
    let modify = ModifyTool { description: description.map(str::to_owned), tags: (want != have).then_some(want) };
    (modify != ModifyTool::default()).then_some(modify)
}

/// The manifest's tags in the form in which they are sent; `None` when others' tags are left alone.
fn wanted_tags(desired: &Desired<'_>) -> Option<Tags> {
    desired.tags.map(ownership::as_sent)
}

fn deprecated_remotely(desired: &Desired<'_>, id: &str) -> Outcome {
    let consent = "a new tool gets a new id, and what refers to the old one breaks";
    Outcome::stalled(
        Reason::DeprecatedRemotely,
        format!(
            "tool {} ({id}) was deprecated by somebody else; {consent}: annotate `amigo.ai/recreate: {id}` to have one",
            desired.name
        ),
    )
}

fn remote_missing(desired: &Desired<'_>, id: &str) -> Outcome {
    Outcome::stalled(
        Reason::RemoteMissing,
        format!(
            "the service does not know tool {} ({id}) any more, not even as deprecated; annotate `amigo.ai/recreate: {id}` to \
             have a new one, with a new id",
            desired.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "0123456789abcdef0123456789abcdef";

    fn desired() -> Desired<'static> {
        Desired {
            name: "weather",
            description: Some("Weather for a city."),
            tags: None,
            mark: MARK,
            hint: "travel weather",
            adoption: AdoptionPolicy::Marked,
            management: ManagementPolicy::Manage,
            recreate: None,
        }
    }

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.into(), value: Some(value.into()) }
    }

    fn remote(tags: &[Tag]) -> RemoteTool {
        RemoteTool { tags: tags.to_vec(), ..RemoteTool::for_tests() }
    }

    fn ours() -> RemoteTool {
        remote(&[tag("kubernetes_owner", MARK), tag("kubernetes_resource", "travel weather")])
    }

    fn foreign() -> RemoteTool {
        remote(&[tag("kubernetes_owner", "ffffffffffffffffffffffffffffffff")])
    }

    fn reason(plan: &Plan) -> Option<Reason> {
        match plan {
            Plan::End(outcome) => outcome.verdict().map(|v| v.reason),
            _ => None,
        }
    }

    fn bound(desired: &Desired<'_>, tool: Option<&RemoteTool>) -> Plan {
        decide(desired, &Observed::Bound { id: &"a".repeat(24), tool })
    }

    #[test]
    fn a_bound_tool() {
        let id = "a".repeat(24);
        let deprecated = RemoteTool { deprecated: true, ..ours() };
        assert_eq!(bound(&desired(), Some(&ours())), Plan::InSync);
        assert_eq!(reason(&bound(&desired(), Some(&foreign()))), Some(Reason::OwnershipLost));
        assert_eq!(reason(&bound(&desired(), Some(&deprecated))), Some(Reason::DeprecatedRemotely));
        assert_eq!(reason(&bound(&desired(), None)), Some(Reason::RemoteMissing));
        let consent = Desired { recreate: Some(&id), ..desired() };
        assert_eq!(bound(&consent, Some(&deprecated)), Plan::Unbind);
        assert_eq!(bound(&consent, None), Plan::Unbind);
        assert_eq!(bound(&consent, Some(&ours())), Plan::InSync);
        let other = "b".repeat(24);
        let wrong = Desired { recreate: Some(&other), ..desired() };
        assert_eq!(reason(&bound(&wrong, Some(&deprecated))), Some(Reason::DeprecatedRemotely));
        let observe = Desired { management: ManagementPolicy::Observe, description: None, ..desired() };
        assert_eq!(bound(&observe, Some(&foreign())), Plan::InSync);
        assert_eq!(reason(&bound(&observe, Some(&deprecated))), Some(Reason::DeprecatedRemotely));
    }

    #[test]
    fn a_bound_tool_without_any_mark_is_marked_again() {
        let Plan::Modify { modify, .. } = bound(&desired(), Some(&remote(&[tag("team", "travel")]))) else {
            panic!("must be marked")
        };
        let tags = modify.tags.unwrap();
        assert_eq!(tags["kubernetes_owner"].as_deref(), Some(MARK));
        assert_eq!(tags["team"].as_deref(), Some("travel"), "others' tags stay while the manifest names none");
        assert_eq!(modify.description, None);
    }

    #[test]
    fn drift_is_seen_in_trimmed_values_only() {
        let tags = [tag("team", "travel")];
        let with_tags = Desired { tags: Some(&tags), ..desired() };
        let mut tool = ours();
        tool.tags.push(tag("team", " travel "));
        tool.description = " Weather for a city. ".into();
        assert_eq!(drift(&with_tags, &tool), None);
        tool.tags.push(tag("stray", "x"));
        tool.description = "Something else.".into();
        let modify = drift(&with_tags, &tool).unwrap();
        assert_eq!(modify.description.as_deref(), Some("Weather for a city."));
        assert!(!modify.tags.unwrap().contains_key("stray"));
        assert!(drift(&desired(), &tool).unwrap().tags.is_none(), "absent tags leave others' alone");
        let none = Desired { tags: Some(&[]), ..desired() };
        assert_eq!(drift(&none, &tool).unwrap().tags.unwrap().len(), 2);
    }

    #[test]
    fn an_unbound_tool() {
        use AdoptionPolicy::{Always, Marked, Unmarked};
        let id = || "a".repeat(24);
        let (unmarked, foreign) = (remote(&[]), foreign());
        let decide = |adoption, marked: &[RemoteTool], named| {
            decide(&Desired { adoption, ..desired() }, &Observed::Unbound { marked, named })
        };
        assert_eq!(decide(Marked, &[ours()], None), Plan::Bind { id: id() });
        assert!(
            matches!(decide(Marked, &[], None), Plan::Create(body) if body.tags["kubernetes_owner"].as_deref() == Some(MARK))
        );
        assert!(matches!(decide(Marked, &[], Some(None)), Plan::Create(_)));
        let renamed = RemoteTool { name: "old".into(), ..ours() };
        assert_eq!(reason(&decide(Always, &[renamed], None)), Some(Reason::NameTaken));
        for (adoption, tool, taken) in [
            (Marked, &unmarked, false),
            (Unmarked, &unmarked, true),
            (Always, &unmarked, true),
            (Marked, &foreign, false),
            (Unmarked, &foreign, false),
            (Always, &foreign, true),
        ] {
            let plan = decide(adoption, &[], Some(Some(tool)));
            assert_eq!(matches!(plan, Plan::Adopt { .. }), taken, "{adoption:?} {tool:?}");
            assert_eq!(reason(&plan) == Some(Reason::NameTaken), !taken, "{adoption:?} {tool:?}");
        }
        assert_eq!(decide(Marked, &[], Some(Some(&ours()))), Plan::Bind { id: id() });
    }

    #[test]
    fn observing_binds_by_name_and_never_creates() {
        let observe = Desired { management: ManagementPolicy::Observe, description: None, ..desired() };
        let decide = |named| decide(&observe, &Observed::Unbound { marked: &[], named });
        let foreign = foreign();
        assert_eq!(decide(None), Plan::LookByName);
        assert_eq!(decide(Some(Some(&foreign))), Plan::Bind { id: "a".repeat(24) });
        assert_eq!(reason(&decide(Some(None))), Some(Reason::ToolNotFound));
    }
}
