//! The documentation keeps what it promises: links lead somewhere, the table of contents has every page, manifests are what a
//! real API server accepts, and whatever a page names (flags, variables, annotations, reasons) is there under that name.
//!
//! How a page is taken apart is in `docs/page.rs`, and what the code says is in `docs/code.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use amigo_operator::resources::Reason;
use serde_json::{Value, json};

use crate::page::{Page, pages, root};

#[path = "docs/code.rs"]
mod code;
#[path = "docs/page.rs"]
mod page;

/// What every runbook answers, in this order.
const QUESTIONS: [&str; 5] =
    ["What you see", "What it means", "How to find the cause", "What to do", "What the operator does afterwards"];

/// Other words that begin like a metric: the beginning of all, the crate in filters of the log,
/// and a tool of the tutorial.
const NO_METRICS: [&str; 3] = ["amigo_", "amigo_demo", "amigo_operator"];

/// Flags of other programs that stand alone in a text.
const FLAGS_OF_OTHERS: [&str; 10] = [
    // kubectl
    "--force-conflicts",
    "--server-side",
    // helm
    "--set",
    "--take-ownership",
    "--values",
    "--wait",
    // the API server
    "--emulated-version",
    // flux
    "--path",
    // cargo mutants
    "--in-diff",
    // every program
    "--help",
];

/// Groups of Kubernetes itself that manifests of the documentation use; the core group has no name.
const GROUPS: [&str; 4] = ["", "admissionregistration.k8s.io", "apps", "rbac.authorization.k8s.io"];

/// Kinds without a namespace that stand beside objects of ours.
const CLUSTER_KINDS: [&str; 5] =
    ["ClusterRole", "ClusterRoleBinding", "Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];

fn is_clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_of_it() {
    let pages = pages();
    let headings: BTreeMap<PathBuf, BTreeSet<String>> = pages.iter().map(|p| (p.path.clone(), p.anchors())).collect();
    let mut complaints = Vec::new();
    for page in &pages {
        for link in page.links().iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.path.clone() } else { resolved(&page.path, file) };
            if !root().join(&target).exists() {
                complaints.push(format!("{}: {link} leads to no file", page.path.display()));
            } else if let Some(anchor) = anchor
                && !headings.get(&target).is_some_and(|headings| headings.contains(anchor))
            {
                complaints.push(format!("{}: {link} leads to no heading", page.path.display()));
            }
        }
    }
    is_clean(&complaints);
}

/// A link of a page, from the root of the repository.
fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    let summary = Path::new("docs/SUMMARY.md");
    let pages = pages();
    let contents = pages.iter().find(|page| page.path == summary).expect("docs/SUMMARY.md is there");
    let listed: Vec<PathBuf> = contents.links().iter().map(|link| resolved(summary, link)).collect();
    let mut complaints = Vec::new();
    for page in pages.iter().filter(|page| page.path.starts_with("docs") && page.path != summary) {
        match listed.iter().filter(|listed| **listed == page.path).count() {
            1 => {}
            times => complaints.push(format!("{} stands {times} times in SUMMARY.md", page.path.display())),
        }
    }
    is_clean(&complaints);
}

#[test]
fn every_manifest_is_accepted_by_a_real_server() {
    let cluster = controlplane::shared().expect("a control plane");
    let namespace = cluster.create_namespace("docs").expect("a namespace");
    let arguments = ["apply", "--dry-run=server", "--validate=strict", "--namespace", &namespace, "--filename", "-"];
    let (mut applied, mut complaints) = (0, Vec::new());
    for page in pages() {
        for block in page.blocks("yaml") {
            let place = format!("{}:{}", page.path.display(), block.line);
            let objects: Vec<Value> = match serde_saphyr::from_multiple(&block.text) {
                Ok(objects) => objects,
                Err(error) => {
                    complaints.push(format!("{place}: {error}"));
                    continue;
                }
            };
            applied += objects.iter().filter(|object| is_ours(object)).count();
            let manifests: Vec<String> =
                objects.iter().filter(|object| is_known(object)).map(|object| placed(object, &namespace)).collect();
            if manifests.is_empty() {
                continue;
            }
            if let Err(error) = cluster.kubectl_with_input(&arguments, &manifests.join("\n---\n")) {
                complaints.push(format!("{place}: {error}"));
            }
        }
    }
    is_clean(&complaints);
    assert!(applied > 15, "{applied} objects only");
}

fn is_ours(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("amigo.ai/"))
}

/// Whether the server of the tests knows the kind: ours, and those of Kubernetes itself.
fn is_known(object: &Value) -> bool {
    let group = object["apiVersion"].as_str().map(|version| version.split_once('/').map_or("", |(group, _)| group));
    is_ours(object) || (object["kind"].is_string() && group.is_some_and(|group| GROUPS.contains(&group)))
}

/// The object in the namespace of the test.
fn placed(object: &Value, namespace: &str) -> String {
    let mut object = object.clone();
    if !CLUSTER_KINDS.iter().any(|kind| object["kind"] == *kind) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object.to_string()
}

#[test]
fn every_reason_that_stalls_an_object_has_a_runbook_and_every_runbook_a_reason_or_an_alert() {
    let runbooks = runbooks();
    let named: BTreeSet<&str> = runbooks.keys().map(String::as_str).collect();
    let stalling = code::stalling_reasons();
    assert!(stalling.len() > 15, "the code was not understood: {stalling:?}");
    let alerts = code::alerts();
    assert!(alerts.len() > 5, "the alerts were not found: {alerts:?}");
    let wanted = stalling.iter().chain(&alerts).map(String::as_str);
    let missing: Vec<&str> = wanted.filter(|name| !named.contains(name)).collect();
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let stray: Vec<&&str> = named.iter().filter(|name| !reasons.contains(**name) && !alerts.contains(**name)).collect();
    assert!(missing.is_empty() && stray.is_empty(), "no runbook: {missing:?}; for nothing: {stray:?}");
}

#[test]
fn every_runbook_answers_the_same_questions_and_stands_in_their_index() {
    let index = Page::read(Path::new("docs/runbooks/README.md"));
    let listed: BTreeSet<String> = index.links().into_iter().collect();
    let mut complaints = Vec::new();
    for (name, page) in runbooks() {
        if page.headings(1) != [name.clone()] || page.headings(2) != QUESTIONS {
            complaints.push(format!("{name}: its headings are {:?} and {:?}", page.headings(1), page.headings(2)));
        }
        if !listed.contains(&format!("{name}.md")) {
            complaints.push(format!("{name}: not in the index"));
        }
    }
    is_clean(&complaints);
}

/// The runbooks by name.
fn runbooks() -> BTreeMap<String, Page> {
    let in_folder = |page: &Page| page.path.parent() == Some(Path::new("docs/runbooks"));
    let named = |page: Page| (page.path.file_stem().expect("a name").to_string_lossy().into_owned(), page);
    let mut all: BTreeMap<String, Page> = pages().into_iter().filter(in_folder).map(named).collect();
    all.remove("README");
    all
}

#[test]
fn every_flag_that_is_named_exists() {
    let (operator, sandbox, xtask) = (code::operator_flags(), code::sandbox_flags(), code::xtask_flags());
    assert!(operator.len() > 10 && sandbox.len() > 10 && xtask.len() > 10, "the flags were not found");
    let known = |flag: &str| {
        [&operator, &sandbox, &xtask].iter().any(|flags| flags.contains(flag)) || FLAGS_OF_OTHERS.contains(&flag)
    };
    let mut complaints = Vec::new();
    for page in pages() {
        let strays = page.flags_in_text().into_iter().filter(|flag| !known(flag));
        complaints.extend(strays.map(|flag| format!("{}: no program has {flag}", page.path.display())));
        let strays = page.flags_of_the_operator().into_iter().filter(|flag| !operator.contains(flag));
        complaints.extend(strays.map(|flag| format!("{}: the operator has no {flag}", page.path.display())));
    }
    is_clean(&complaints);
}

#[test]
fn every_environment_variable_and_annotation_that_is_named_exists() {
    let variables = code::variables();
    let annotations = code::annotations();
    let mut complaints = Vec::new();
    for page in pages() {
        let strays =
            page.words("AMIGO_").into_iter().filter(|word| !variables.contains(word) && word != "AMIGO_SANDBOX_");
        complaints.extend(strays.map(|word| format!("{}: nobody reads {word}", page.path.display())));
        let strays = page.annotations().into_iter().filter(|name| !annotations.contains(name));
        complaints.extend(strays.map(|name| format!("{}: there is no annotation {name}", page.path.display())));
    }
    is_clean(&complaints);
}

#[test]
fn every_metric_that_is_named_exists() {
    let reference = Page::read(Path::new("docs/reference/metrics.md"));
    let known = reference.words("amigo_");
    assert!(known.len() > 10, "the metrics were not found: {known:?}");
    // What a histogram's name is followed by.
    let bare =
        |word: &str| word.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count").to_owned();
    let mut complaints = Vec::new();
    for page in pages() {
        let metrics = page.words("amigo_").into_iter().filter(|word| !NO_METRICS.contains(&word.as_str()));
        let strays = metrics.filter(|word| !known.contains(&bare(word)));
        complaints.extend(strays.map(|word| format!("{}: there is no metric {word}", page.path.display())));
    }
    is_clean(&complaints);
}
