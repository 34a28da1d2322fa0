//! Reads values.yaml with its comments: a comment just above a key is the value's description, `## ` begins a section.

use std::fs;

use serde_json::Value;

use crate::chart;

/// One value that a comment describes.
pub struct Described {
    /// Its keys, from the outermost.
    pub path: Vec<String>,
    /// The comment, in one line.
    pub text: String,
    /// The section it stands in.
    pub section: String,
    /// Whether it has described values below it.
    pub is_group: bool,
}

impl Described {
    /// The path as a user writes it.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// All described values, in the order of the file.
pub fn described() -> Vec<Described> {
    let text = fs::read_to_string(chart("values.yaml")).unwrap();
    let (mut found, mut path, mut comment, mut section) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for line in text.lines() {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / 2;
        if let Some(title) = content.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim().to_owned());
        } else if let Some(key) = key(content) {
            path.truncate(depth);
            path.push(key.to_owned());
            if !comment.is_empty() {
                let text = comment.join(" ");
                found.push(Described { path: path.clone(), text, section: section.clone(), is_group: false });
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    let paths: Vec<_> = found.iter().map(|described| described.path.clone()).collect();
    for described in &mut found {
        let own = &described.path;
        described.is_group = paths.iter().any(|path| path.len() > own.len() && path.starts_with(own));
    }
    found
}

/// The key that a line begins with. Entries of lists have none that counts here.
fn key(content: &str) -> Option<&str> {
    let (key, rest) = content.split_once(':')?;
    (!key.starts_with('-') && (rest.is_empty() || rest.starts_with(' '))).then_some(key)
}

/// The values themselves.
pub fn defaults() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(chart("values.yaml")).unwrap()).unwrap()
}

/// The value at a path.
pub fn at<'a>(values: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(values, |value, key| &value[key])
}

/// The schema of the values.
pub fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart("values.schema.json")).unwrap()).unwrap()
}
