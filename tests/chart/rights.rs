//! What rendered roles grant, compared both ways with what was asked of the API server: nothing that was asked is refused, and
//! nothing that is granted goes unused. No I/O.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::support::audit::Request;

/// One verb on one resource, and on one name where the rule has names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where; `None` is everywhere.
    pub namespace: Option<String>,
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
}

/// As the API server's own account of rules is written down in `permissions.rs`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{} {group} {} {}", self.verb, self.resource, self.name.as_deref().unwrap_or("*"))
    }
}

impl Right {
    /// Whether the request needs it.
    fn covers(&self, request: &Request) -> bool {
        let is = |wanted: &Option<String>, there: &str| wanted.as_ref().is_none_or(|wanted| wanted == there);
        (&self.verb, &self.group, &self.resource) == (&request.verb, &request.group, &request.resource)
            && is(&self.namespace, &request.namespace)
            && is(&self.name, &request.name)
    }

    /// Whether it can be used in this namespace.
    pub fn reaches(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace)
    }
}

/// Everything that the rendered bindings give to a ServiceAccount.
pub fn granted(rendered: &[Value], account: &str) -> BTreeSet<Right> {
    let bindings = rendered.iter().filter(|object| {
        let subjects = object["subjects"].as_array().into_iter().flatten();
        subjects.into_iter().any(|subject| subject["kind"] == "ServiceAccount" && subject["name"] == account)
    });
    bindings.flat_map(|binding| by_binding(rendered, binding)).collect()
}

fn by_binding(rendered: &[Value], binding: &Value) -> Vec<Right> {
    let reference = &binding["roleRef"];
    let is_meant = |object: &&Value| {
        let in_its_namespace = object["metadata"]["namespace"] == binding["metadata"]["namespace"];
        object["kind"] == reference["kind"]
            && object["metadata"]["name"] == reference["name"]
            && (in_its_namespace || object["kind"] == "ClusterRole")
    };
    let role = rendered.iter().find(is_meant).unwrap_or_else(|| panic!("there is no {reference}"));
    let namespace = binding["metadata"]["namespace"].as_str();
    role["rules"].as_array().unwrap().iter().flat_map(|rule| by_rule(rule, namespace)).collect()
}

fn by_rule(rule: &Value, namespace: Option<&str>) -> Vec<Right> {
    assert!(rule["nonResourceURLs"].is_null(), "the operator asks for no paths: {rule}");
    let texts = |key: &str| -> Vec<String> {
        let all = rule[key].as_array().into_iter().flatten();
        all.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let names: Vec<Option<String>> = match texts("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for verb in texts("verbs") {
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                rights.extend(names.iter().cloned().map(|name| Right {
                    namespace: namespace.map(str::to_owned),
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name,
                }));
            }
        }
    }
    rights
}

/// What was refused, and what is granted and was not used.
pub fn complaints(granted: &BTreeSet<Right>, requests: &[Request]) -> Vec<String> {
    let refused = requests.iter().filter(|request| matches!(request.code, 401 | 403));
    let refused: BTreeSet<String> = refused.map(|request| format!("forbidden: {}", told(request))).collect();
    let answered: Vec<&Request> = requests.iter().filter(|request| !matches!(request.code, 401 | 403)).collect();
    let unused = granted.iter().filter(|right| !answered.iter().any(|request| right.covers(request)));
    let place = |right: &Right| right.namespace.clone().map_or("everywhere".to_owned(), |it| format!("in {it}"));
    let unused = unused.map(|right| format!("granted and never used: {right} {}", place(right)));
    refused.into_iter().chain(unused).collect()
}

fn told(request: &Request) -> String {
    let Request { verb, group, resource, namespace, name, code, .. } = request;
    format!("{verb} {group} {resource} {namespace}/{name} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(line: &str, code: u64) -> Request {
        let words: Vec<&str> = line.split(' ').collect();
        let [verb, group, resource, place] = words[..] else { panic!("{line}") };
        let (namespace, name) = place.split_once('/').unwrap();
        let object = json!({"apiGroup": group, "resource": resource, "namespace": namespace, "name": name});
        Request::from(&json!({"verb": verb, "objectRef": object, "responseStatus": {"code": code}}))
    }

    fn role(kind: &str, namespace: Option<&str>, rules: &Value) -> [Value; 2] {
        let metadata = json!({"name": "r", "namespace": namespace});
        let subjects = json!([{"kind": "ServiceAccount", "name": "operator", "namespace": "system"}]);
        let reference = json!({"kind": kind, "name": "r"});
        [
            json!({"kind": kind, "metadata": metadata, "rules": rules}),
            json!({"kind": format!("{kind}Binding"), "metadata": metadata, "subjects": subjects, "roleRef": reference}),
        ]
    }

    #[test]
    fn what_is_refused_and_what_is_not_used_is_listed() {
        let everywhere = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}]);
        let named = json!([
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]},
            {"apiGroups": ["amigo.ai"], "resources": ["tools", "tools/status"], "verbs": ["update"]},
        ]);
        let roles = [
            &role("ClusterRole", None, &everywhere)[..],
            &role("Role", Some("travel"), &named)[..],
            &role("Role", Some("billing"), &json!([]))[..],
        ];
        let rights = granted(&roles.concat(), "operator");
        assert_eq!(rights.len(), 6, "{rights:?}");
        assert!(granted(&roles.concat(), "somebody").is_empty());
        let requests = [
            request("get  namespaces travel/travel", 200),
            request("list  namespaces /", 200),
            // Another name, another place, another group, another subresource, and one that was refused.
            request("get  secrets travel/a", 404),
            request("get  secrets travel/c", 200),
            request("get  secrets billing/b", 200),
            request("update other tools travel/t", 200),
            request("update amigo.ai tools/status travel/t", 409),
            request("update amigo.ai tools travel/t", 403),
            request("update amigo.ai tools travel/t", 403),
        ];
        assert_eq!(
            complaints(&rights, &requests),
            [
                "forbidden: update amigo.ai tools travel/t (403)",
                "granted and never used: get core secrets b in travel",
                "granted and never used: update amigo.ai tools * in travel",
            ]
        );
    }
}
