//! The tutorial, followed to the letter: `cargo xtask demo` runs, and each command is given to a shell as it stands on the
//! page, in order, in the second terminal. What is printed must be what the page shows, but for ids, ages and addresses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a look may take to show what the page shows.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the reader does, in the order of the page.
#[derive(Debug)]
enum Act {
    /// Gives a command, and sees this.
    Command { line: usize, command: String, shown: Vec<String> },
    /// Writes a manifest to a file of this name.
    Write { name: String, text: String },
    /// Applies a manifest.
    Apply { text: String },
}

/// The acts of the page. Of a manifest the paragraph before it says what is done with it.
fn acts(page: &str) -> Vec<Act> {
    let (mut acts, mut fence, mut text, mut file) = (Vec::new(), None, String::new(), None);
    for (number, line) in page.lines().enumerate() {
        match (fence, line.strip_prefix("```")) {
            (None, Some(language)) => (fence, text) = (Some((language, number + 2)), String::new()),
            (None, None) => {
                if let Some((_, rest)) = line.split_once("Write this to `") {
                    file = rest.split_once('`').map(|(name, _)| name.to_owned());
                }
            }
            (Some(("yaml", _)), Some(_)) => {
                acts.push(match file.take() {
                    Some(name) => Act::Write { name, text: text.clone() },
                    None => Act::Apply { text: text.clone() },
                });
                fence = None;
            }
            (Some((_, first)), Some(_)) => {
                acts.extend(commands(&text, first));
                fence = None;
            }
            (Some(_), None) => writeln!(text, "{line}").unwrap(),
        }
    }
    acts
}

/// The commands of a block with what is shown after each. A block that begins with no command continues one before.
fn commands(text: &str, first: usize) -> Vec<Act> {
    let mut acts = Vec::new();
    for (offset, line) in text.lines().enumerate() {
        match (line.strip_prefix("$ "), acts.last_mut()) {
            (Some(command), _) => {
                let command = command.split("   #").next().unwrap_or_default().trim_end().to_owned();
                acts.push(Act::Command { line: first + offset, command, shown: Vec::new() });
            }
            (None, Some(Act::Command { shown, .. })) => shown.push(line.to_owned()),
            (None, _) => {}
        }
    }
    acts
}

/// A line without what differs from run to run: ids, marks, ages, addresses, and how wide columns are.
fn essence(line: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is_hex = core.len() >= 24 && core.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_age = core.len() > 1
            && core.starts_with(|c: char| c.is_ascii_digit())
            && core.chars().all(|c| c.is_ascii_digit() || matches!(c, 's' | 'm' | 'h'));
        if is_hex || is_age { word.replace(core, "*") } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn essences<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<String> {
    lines.into_iter().map(essence).filter(|line| !line.is_empty()).collect()
}

/// The demo in the first terminal, and what it has printed until it said how to go on.
struct Demo {
    child: Child,
    printed: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let child = command.arg("demo").current_dir(root()).stdout(Stdio::piped()).spawn().unwrap();
        let mut demo = Self { child, printed: Vec::new() };
        let lines = BufReader::new(demo.child.stdout.take().unwrap()).lines();
        for line in lines {
            demo.printed.push(line.unwrap());
            if demo.printed.last().unwrap().contains("Ctrl-C ends everything") {
                return demo;
            }
        }
        panic!("the demo has ended:\n{}", demo.printed.join("\n"));
    }

    /// What stands behind this in the invitation.
    fn told(&self, beginning: &str) -> &str {
        let found = self.printed.iter().find_map(|line| line.trim().strip_prefix(beginning));
        found.unwrap_or_else(|| panic!("no line begins with {beginning:?}:\n{}", self.printed.join("\n"))).trim()
    }

    /// Ctrl-C.
    fn end(&mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        assert!(self.child.wait().unwrap().success(), "Ctrl-C ends everything");
    }
}

impl Drop for Demo {
    /// Also after a failed check: it has servers below it, which end with it.
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT);
            let _ = self.child.wait();
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The second terminal.
struct Terminal<'d> {
    demo: &'d Demo,
    folder: tempfile::TempDir,
}

impl Terminal<'_> {
    fn run(&self, command: &str) -> (bool, String) {
        let programs = Path::new(self.demo.told("alias kubectl=")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let control = self.demo.told("curl ").split_once("/state").unwrap().0;
        let mut shell = Command::new("bash");
        shell.args(["-c", command]).current_dir(self.folder.path()).env("PATH", path).env("C", control);
        let output = shell.env("KUBECONFIG", self.demo.told("export KUBECONFIG=")).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// Does what the page says; what is wrong with it.
    fn follow(&self, act: &Act) -> Option<String> {
        match act {
            Act::Write { name, text } => fs::write(self.folder.path().join(name), text).err().map(|e| e.to_string()),
            Act::Apply { text } => {
                fs::write(self.folder.path().join("applied.yaml"), text).unwrap();
                let (worked, printed) = self.run("kubectl apply -f applied.yaml");
                (!worked).then_some(printed)
            }
            Act::Command { line, command, shown } => {
                let expected = essences(shown.iter().map(String::as_str));
                let started = Instant::now();
                loop {
                    let (worked, printed) = self.run(command);
                    let found = essences(printed.lines());
                    if worked && expected == found {
                        return None;
                    }
                    // A reader looks seconds after a change, this test at once.
                    let looks = ["curl -s $C", "kubectl get"].iter().any(|look| command.starts_with(look));
                    if !looks || started.elapsed() > PATIENCE {
                        return Some(format!(
                            "line {line}: {command}\n  the page shows {expected:#?}\n  it printed {found:#?}"
                        ));
                    }
                }
            }
        }
    }
}

#[test]
fn the_tutorial_can_be_followed_to_the_letter() {
    let page = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let mut acts = acts(&page).into_iter();
    let Some(Act::Command { command, shown, .. }) = acts.next() else { panic!("the page begins with a command") };
    assert_eq!(command, "cargo xtask demo");
    let mut demo = Demo::start();
    let printed = demo.printed.join("\n");
    let steps = shown.iter().filter_map(|line| line.trim().strip_prefix('✔')?.rsplit_once(" (").map(|(step, _)| step));
    let missing: Vec<&str> = steps.filter(|step| !printed.contains(step.trim())).collect();
    assert!(missing.is_empty(), "the demo does not print {missing:?}:\n{printed}");

    let terminal = Terminal { demo: &demo, folder: tempfile::tempdir().unwrap() };
    // The address is another each time, and is in the environment.
    let acts: Vec<Act> =
        acts.filter(|act| !matches!(act, Act::Command { command, .. } if command.starts_with("C="))).collect();
    assert!(acts.len() > 15, "only {} acts are understood", acts.len());
    for act in &acts {
        if let Some(wrong) = terminal.follow(act) {
            panic!("{wrong}");
        }
    }
    demo.end();
}

#[test]
fn what_differs_from_run_to_run_is_passed_over_and_nothing_else() {
    let line = |id: &str, age: &str| essence(&format!("tool.amigo.ai/weather   True  {id}  1.1.0  2  {age}"));
    assert_eq!(line("688000039c20f35710eb35ef", "88s"), line("688000087be9bc390917ce1e", "1m2s"));
    assert_ne!(line("688000039c20f35710eb35ef", "88s"), line("weather", "88s"));
    assert_ne!(essence("  \"value\": \"s3cret\","), essence("  \"value\": \"rotated\","));
    assert_ne!(essence("VERSIONS 2"), essence("VERSIONS 3"));
}
