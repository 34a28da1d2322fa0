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
