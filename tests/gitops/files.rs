//! Committed files: read, and written anew with `UPDATE_GENERATED=1`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

/// A path of the repository.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The text of a file.
pub fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The one document of a file.
pub fn yaml(relative: &str) -> Value {
    serde_saphyr::from_str(&text(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The documents of a file.
pub fn documents(relative: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(relative)).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// The YAML files of a folder and of all below it, sorted.
pub fn manifests(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(manifests(&name));
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "yaml") {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// The file holds this text.
pub fn assert_holds(relative: &str, wanted: &str) {
    if env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        fs::create_dir_all(path(relative).parent().unwrap()).unwrap();
        fs::write(path(relative), wanted).unwrap();
    }
    let found = fs::read_to_string(path(relative)).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
    assert!(
        found == wanted,
        "{relative} differs at line {}: {:?} instead of {:?}; run `UPDATE_GENERATED=1 cargo test --test gitops` and look at \
         the difference",
        line + 1,
        found.lines().nth(line),
        wanted.lines().nth(line),
    );
}

#[test]
fn links_of_the_pages_lead_somewhere() {
    for page in ["argocd", "flux"] {
        let text = text(&format!("docs/how-to/{page}.md"));
        let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.len() > 1, "{page}");
        for link in links {
            assert!(path("docs/how-to").join(link).exists(), "{page}: {link}");
        }
    }
}
