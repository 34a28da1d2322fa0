//! The generated page of the settings: made from the definition that the process reads its flags with, so that it cannot say
//! anything else. Text only.

use std::fmt::{self, Write};

use clap::{Arg, Args, Command};

use super::settings::Settings;

/// Name of the page in `docs/reference/`.
pub const PAGE: &str = "settings.md";

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

/// The page.
pub fn settings_page() -> Result<String, fmt::Error> {
    let mut page = INTRODUCTION.to_owned();
    for setting in Settings::augment_args(Command::new("amigo-operator")).get_arguments() {
        row(&mut page, setting)?;
    }
    page.push_str(REST);
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
            page.lines().filter(|l| l.starts_with("| `")).map(|l| l.split(" | ").collect()).collect();
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
