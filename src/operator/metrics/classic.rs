//! From OpenMetrics to the older text format of Prometheus, which tools read that do not ask for OpenMetrics. The two differ in
//! the comments: there a counter is announced under the name that its samples have, units have no line, and nothing marks the
//! end.

use std::fmt::Write as _;

/// The same metrics in the older text format.
#[must_use]
pub fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    // The line of help comes before the one that tells the type. Writing to a String cannot fail.
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help_text)) => help = Some((name, help_text)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    _ => ("", kind),
                };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    let _ = writeln!(text, "# HELP {name}{suffix} {help}");
                }
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_announce_the_names_of_the_samples() {
        let open = "# HELP calls Calls made.\n# TYPE calls counter\ncalls_total{code=\"200\"} 3\n\
                    # HELP build The version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                    # HELP time_seconds Time.\n# TYPE time_seconds gauge\n# UNIT time_seconds seconds\ntime_seconds 2.5\n\
                    # EOF\n";
        let expected = "# HELP calls_total Calls made.\n# TYPE calls_total counter\ncalls_total{code=\"200\"} 3\n\
                        # HELP build_info The version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                        # HELP time_seconds Time.\n# TYPE time_seconds gauge\ntime_seconds 2.5\n";
        assert_eq!(classic(open), expected);
    }
}
