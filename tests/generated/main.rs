//! The generated files are what the Rust code says. With `UPDATE_GENERATED=1` they are written anew instead.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod metrics;

use std::path::{Path, PathBuf};
use std::{env, fs};

use amigo_operator::operator::docs::{LOGS, PAGE, logs_page, settings_page};
use amigo_operator::resources::{crd_yaml, crds, docs};

const HINT: &str = "run `UPDATE_GENERATED=1 cargo test --test generated` and commit the result";

#[test]
fn definitions_in_crds_are_up_to_date() {
    assert_files("crds", &definitions());
}

#[test]
fn every_file_in_crds_is_generated() {
    let generated: Vec<_> = definitions().into_iter().map(|(name, _)| name).collect();
    for entry in fs::read_dir(folder("crds")).expect("folder can be read") {
        let name = entry.expect("folder can be read").file_name().into_string().expect("names are UTF-8");
        assert!(generated.contains(&name), "crds/{name} belongs to no kind");
    }
}

#[test]
fn reference_pages_are_up_to_date() {
    assert_files("docs/reference", &docs::pages().expect("writing to a string"));
}

#[test]
fn the_page_of_the_metrics_is_up_to_date() {
    assert_files("docs/reference", &[("metrics.md".to_owned(), metrics::page())]);
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    assert_files("docs/reference", &[(PAGE.to_owned(), settings_page().expect("writing to a string"))]);
}

#[test]
fn the_page_of_logs_is_up_to_date() {
    assert_files("docs/reference", &[(LOGS.to_owned(), logs_page().expect("writing to a string"))]);
}

fn definitions() -> Vec<(String, String)> {
    let yaml = |kind: &str| crd_yaml(kind).expect("every kind can be written");
    crds::crds().iter().map(|crd| (crds::file_name(crd), yaml(&crd.spec.names.kind))).collect()
}

/// The folder holds these files with this content.
fn assert_files(folder: &str, wanted: &[(String, String)]) {
    let folder = self::folder(folder);
    let update = env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1");
    if update {
        fs::create_dir_all(&folder).expect("folder can be made");
    }
    for (name, content) in wanted {
        let path = folder.join(name);
        if update {
            fs::write(&path, content).expect("file can be written");
        } else {
            assert_same_text(&path, content);
        }
    }
}

fn assert_same_text(path: &Path, wanted: &str) {
    let found = fs::read_to_string(path).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
    let (has, should_have) = (found.lines().nth(line), wanted.lines().nth(line));
    assert!(
        found == wanted,
        "{} differs from the code at line {}: {has:?} instead of {should_have:?}; {HINT}",
        path.display(),
        line + 1,
    );
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
