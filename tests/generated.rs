//! The generated files are what the Rust code says. With `UPDATE_GENERATED=1` they are written anew instead.

use std::path::{Path, PathBuf};
use std::{env, fs};

use amigo_operator::resources::{crd_yaml, crds, docs};

#[test]
fn definitions_in_crds_are_up_to_date() {
    let wanted: Vec<_> = crds::crds()
        .iter()
        .map(|crd| (crds::file_name(crd), crd_yaml(&crd.spec.names.kind).expect("every kind can be written")))
        .collect();
    assert_folder("crds", &wanted);
}

#[test]
fn reference_pages_are_up_to_date() {
    assert_folder("docs/reference", &docs::pages().expect("writing to a string"));
}

/// The folder holds these files, with this content, and no others.
fn assert_folder(folder: &str, wanted: &[(String, String)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        return write_folder(&folder, wanted);
    }
    let mut found = files(&folder);
    found.sort();
    let mut names: Vec<_> = wanted.iter().map(|(name, _)| folder.join(name)).collect();
    names.sort();
    assert_eq!(found, names, "files in {}; {HINT}", folder.display());
    for (name, content) in wanted {
        let path = folder.join(name);
        let found = fs::read_to_string(&path).expect("the file was listed a moment ago");
        assert_same_text(&path, &found, content);
    }
}

const HINT: &str = "run `UPDATE_GENERATED=1 cargo test --test generated` and commit the result";

fn assert_same_text(path: &Path, found: &str, wanted: &str) {
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count();
    let (has, should_have) = (found.lines().nth(line), wanted.lines().nth(line));
    assert!(
        found == wanted,
        "{} differs from the code at line {}: {has:?} instead of {should_have:?}; {HINT}",
        path.display(),
        line + 1,
    );
}

fn write_folder(folder: &Path, wanted: &[(String, String)]) {
    fs::create_dir_all(folder).expect("folder can be made");
    for path in files(folder) {
        fs::remove_file(path).expect("old file can be removed");
    }
    for (name, content) in wanted {
        fs::write(folder.join(name), content).expect("file can be written");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("folder can be read").path()).collect()
}
