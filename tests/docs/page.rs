//! A page of the documentation, taken apart as far as the checks need it: lines of text, fenced blocks, links, headings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A page by its path from the root of the repository.
pub struct Page {
    pub path: PathBuf,
    text: String,
}

/// A fenced block.
pub struct Block {
    /// What stands behind the fence.
    language: String,
    /// The line of the fence, from 1.
    pub line: usize,
    pub text: String,
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README and everything in `docs/`.
pub fn pages() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md")];
    collect(Path::new("docs"), &mut paths);
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).expect("folder can be read") {
        let entry = entry.expect("folder can be read");
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

impl Page {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).map_err(|error| format!("{}: {error}", path.display()));
        Self { path: path.to_owned(), text: text.expect("page can be read") }
    }

    /// The fenced blocks of a language.
    pub fn blocks(&self, language: &str) -> Vec<Block> {
        self.parts().1.into_iter().filter(|block| block.language == language).collect()
    }

    /// The lines outside of fenced blocks, and the blocks. A fence may be indented, as in a list.
    fn parts(&self) -> (Vec<&str>, Vec<Block>) {
        let (mut prose, mut blocks, mut open) = (Vec::new(), Vec::new(), None::<(usize, Block)>);
        for (number, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let fence = line.trim_start().strip_prefix("```");
            match (open.take(), fence) {
                (None, None) => prose.push(line),
                (None, Some(language)) => {
                    let block = Block { language: language.trim().to_owned(), line: number + 1, text: String::new() };
                    open = Some((indent, block));
                }
                (Some((_, block)), Some(_)) => blocks.push(block),
                (Some((margin, mut block)), None) => {
                    block.text.push_str(line.get(margin.min(indent)..).unwrap_or_default());
                    block.text.push('\n');
                    open = Some((margin, block));
                }
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path.display());
        (prose, blocks)
    }

    /// The targets of the links in the text; what stands in code is none.
    pub fn links(&self) -> Vec<String> {
        let mut links = Vec::new();
        for paragraph in self.paragraphs() {
            let text = outside_of_code(&paragraph);
            let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(inline.map(|(target, _)| target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
        links
    }

    /// The text outside of fenced blocks, with lines that belong together as one: a span of code may go over their end.
    fn paragraphs(&self) -> Vec<String> {
        let mut paragraphs = vec![String::new()];
        for line in self.parts().0 {
            let begins = line.trim().is_empty() || line.starts_with(['|', '#', '-', '*']);
            if begins {
                paragraphs.push(String::new());
            }
            if let Some(last) = paragraphs.last_mut() {
                last.push_str(line.trim());
                last.push(' ');
            }
        }
        paragraphs
    }

    /// The spans of code in the text.
    fn spans(&self) -> Vec<String> {
        let odd = |paragraph: &String| -> Vec<String> {
            paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        self.paragraphs().iter().flat_map(odd).collect()
    }

    /// The headings of a level.
    pub fn headings(&self, level: usize) -> Vec<String> {
        let mark = format!("{} ", "#".repeat(level));
        self.parts().0.iter().filter_map(|line| Some(line.strip_prefix(&mark)?.trim().to_owned())).collect()
    }

    /// What links to headings end with, as GitHub and mdBook make them.
    pub fn anchors(&self) -> BTreeSet<String> {
        let (mut times, mut anchors) = (BTreeMap::new(), BTreeSet::new());
        for line in self.parts().0 {
            let level = line.chars().take_while(|c| *c == '#').count();
            let Some(heading) = line.get(level..).and_then(|rest| rest.strip_prefix(' ')) else { continue };
            if !(1..=6).contains(&level) {
                continue;
            }
            let anchor = anchor(heading);
            let count: &mut usize = times.entry(anchor.clone()).or_default();
            anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
            *count += 1;
        }
        anchors
    }

    /// Flags that are named in the text by themselves: a span of code that begins with one.
    pub fn flags_in_text(&self) -> BTreeSet<String> {
        self.spans().iter().filter(|span| span.starts_with("--")).filter_map(|span| flag(span)).collect()
    }

    /// Flags that are given to the operator: in the text, in commands, and in lists of arguments.
    pub fn flags_of_the_operator(&self) -> BTreeSet<String> {
        let (_, blocks) = self.parts();
        let lines: Vec<String> = self.spans().into_iter().chain(blocks.iter().flat_map(Block::commands)).collect();
        let mut flags = BTreeSet::new();
        for line in &lines {
            let call = ["amigo-operator run ", "-- run "].iter().find_map(|call| Some(line.split_once(call)?.1));
            let argument = line.trim().strip_prefix("- --").map(|_| line.trim().trim_start_matches("- "));
            let words = call.or(argument).unwrap_or_default().split_whitespace();
            // What stands behind a bar or a comment is another program's, or nobody's.
            flags.extend(words.take_while(|word| !word.starts_with(['#', '|'])).filter_map(flag));
        }
        flags
    }

    /// Words that begin like this, anywhere on the page.
    pub fn words(&self, begin: &str) -> BTreeSet<String> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let found = self.text.match_indices(begin).filter(|(at, _)| !self.text[..*at].ends_with(is_part));
        found.map(|(at, _)| self.text[at..].chars().take_while(|c| is_part(*c)).collect()).collect()
    }

    /// Annotations of ours, anywhere on the page: not the API's version, the finalizer or a resource such as `tool.amigo.ai/x`.
    pub fn annotations(&self) -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
        let mut names = BTreeSet::new();
        for (at, group) in self.text.match_indices("amigo.ai/") {
            let rest = &self.text[at + group.len()..];
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            let is_other = self.text[..at].ends_with(['.', '/']) || name.is_empty() || rest.starts_with("v1alpha1");
            if !is_other && name != "finalizer" {
                names.insert(format!("{group}{name}"));
            }
        }
        names
    }
}

impl Block {
    /// Its lines, where one that ends with a backslash goes on in the next.
    fn commands(&self) -> Vec<String> {
        self.text.replace("\\\n", " ").lines().map(str::to_owned).collect()
    }
}

/// The flag that a word is, without its value.
fn flag(word: &str) -> Option<String> {
    let name: String = word.strip_prefix("--")?.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
    (!name.is_empty()).then(|| format!("--{name}"))
}

/// The text without its spans of code.
fn outside_of_code(paragraph: &str) -> String {
    paragraph.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# The Page: `x` & y\ntext [one](a.md#b), `[no](c.md)` and `--flag=1`\n## Twice\n## Twice\n\
                ```yaml\n# no heading\nkey: [no](d.md)\n```\n- in a list:\n  ```console\n  $ amigo-operator run --leader-elect false \\\n    \
                --ca-file=x # --not-this\n  ```\n`amigo.ai/abandon: \"true\"` tool.amigo.ai/weather amigo.ai/v1alpha1 XAMIGO_NO AMIGO_YES=1\n";
    let page = Page { path: PathBuf::from("x.md"), text: text.to_owned() };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(page.links(), ["a.md#b"]);
    assert_eq!(page.headings(2), ["Twice", "Twice"]);
    assert_eq!(page.anchors(), set(&["the-page-x--y", "twice", "twice-1"]));
    assert_eq!(page.blocks("yaml")[0].text, "# no heading\nkey: [no](d.md)\n");
    assert_eq!((page.blocks("yaml")[0].line, page.blocks("console").len()), (5, 1));
    assert_eq!(page.flags_in_text(), set(&["--flag"]));
    assert_eq!(page.flags_of_the_operator(), set(&["--leader-elect", "--ca-file"]));
    assert_eq!(page.annotations(), set(&["amigo.ai/abandon"]));
    assert_eq!(page.words("AMIGO_"), set(&["AMIGO_YES"]));
}
