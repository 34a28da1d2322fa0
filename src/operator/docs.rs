//! The generated pages of the settings and of the logs: made from the definitions that the process itself uses, so that they
//! cannot say anything else. Text only.

use std::fmt::{self, Write};

use clap::{Arg, Args, Command};

use super::settings::Settings;
use super::{logs, traces};

/// Name of the page of the settings in `docs/reference/`.
pub const PAGE: &str = "settings.md";

/// Name of the page of the logs in `docs/reference/`.
pub const LOGS: &str = "logs.md";

const INTRODUCTION: &str = "<!-- Generated from src/operator/settings.rs. Do not edit. -->
# Settings

The flags of `amigo-operator run`. Each can be set in the environment instead; a flag wins over its variable. What is
repeatable takes several values: the flag again, or one text with commas. A wrong setting ends the process with one line that
names it.

| Flag | Environment | Default | Meaning |
|---|---|---|---|
";

const REST: &str = "
Beside these the process reads `KUBECONFIG` (outside of a cluster), `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` (for the
remote API), and `POD_NAME`, else `HOSTNAME` (its name in the Lease and in Events). `amigo-operator crds` prints the
CustomResourceDefinitions and takes no settings.
";

const OF_TRACES: &str = "
## Traces

The standard variables of OpenTelemetry that are read, for the [traces](../how-to/operate-observe.md#traces). What is empty counts as
absent. A wrong value ends the process with one line, unless there are no traces.

| Environment | Meaning |
|---|---|
";

const ABOUT_LOGS: &str = "<!-- Generated from src/operator/logs.rs. Do not edit. -->
# Logs

`amigo-operator run` writes its log to standard output: with `--log-format json`, the default, one JSON object a line. A key is
there only where it has something to say. The keys are stable: none changes its meaning, or goes, but with a note in the
changelog; further ones may come. Lines of the libraries in use, whose `logger` does not begin with `amigo_operator`, have keys
of their own beside the first four. What ends the process at its start is one line of plain text on standard error.

Every reconcile writes one line when it ends, with `outcome`:

| `outcome` | `level` | Meaning |
|---|---|---|
| `changed` | `info` | The object has another state, or another reason for it, or a new spec is done with |
| `stalled` | `warn` | The same, and it needs a person |
| `cleaned-up` | `info` | It is deleted, and what was to be done before is done |
| `failed` | `warn` | It is tried again, after `againSeconds` |
| `panicked` | `error` | A defect of the operator; the other objects go on |
| `unchanged` | `debug` | The object is as it was |
| `overtaken` | `debug` | The object changed or went meanwhile, or another replica leads now; nothing was decided |

So a cluster at rest writes nothing at `info`, however many objects there are. No value of a variable, key or token is in any
line, at any level.

| Key | Meaning |
|---|---|
";

/// The page of the logs.
pub fn logs_page() -> Result<String, fmt::Error> {
    let mut page = ABOUT_LOGS.to_owned();
    for (key, meaning) in logs::FIELDS {
        writeln!(page, "| `{key}` | {} |", cell(meaning))?;
    }
    Ok(page)
}

/// The page of the settings.
pub fn settings_page() -> Result<String, fmt::Error> {
    let mut page = INTRODUCTION.to_owned();
    for setting in Settings::augment_args(Command::new("amigo-operator")).get_arguments() {
        row(&mut page, setting)?;
    }
    page.push_str(REST);
    page.push_str(OF_TRACES);
    for (name, meaning) in traces::VARIABLES {
        writeln!(page, "| `{name}` | {} |", cell(meaning))?;
    }
    Ok(page)
}

fn row(page: &mut String, setting: &Arg) -> fmt::Result {
    let flag = setting.get_long().unwrap_or_default();
    let value = setting.get_value_names().and_then(<[_]>::first).map(|name| format!(" {name}")).unwrap_or_default();
    let variable = setting.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let default = setting.get_default_values().first().map(|value| format!("`{}`", value.to_string_lossy()));
    let help = setting.get_long_help().or_else(|| setting.get_help()).map(ToString::to_string).unwrap_or_default();
    writeln!(
        page,
        "| `{}` | `{variable}` | {} | {} |",
        cell(&format!("--{flag}{value}")),
        default.as_deref().map_or_else(|| "absent".to_owned(), cell),
        sentence(&cell(&help)),
    )
}

/// A text that is safe in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// clap takes the full stop off the last sentence of a help text.
fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_flag_a_variable_of_its_name_and_a_meaning() {
        let page = settings_page().unwrap();
        let rows: Vec<Vec<&str>> =
            page.lines().filter(|l| l.starts_with("| `--")).map(|l| l.split(" | ").collect()).collect();
        assert!(rows.len() > 10, "{} rows", rows.len());
        for row in rows {
            let flag = row[0].trim_start_matches("| `--").split([' ', '`']).next().unwrap_or_default();
            assert_eq!(row[1], format!("`AMIGO_{}`", flag.to_uppercase().replace('-', "_")));
            assert!(row[3].len() > 10, "{row:?}");
        }
    }

    #[test]
    fn a_bar_does_not_end_a_cell_and_a_sentence_has_its_full_stop() {
        assert_eq!(cell("a|b\n c"), "a\\|b c");
        assert_eq!((sentence("so"), sentence("so.")), ("so.".to_owned(), "so.".to_owned()));
    }
}
