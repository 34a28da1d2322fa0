//! Foreign text as it may be shown: what changes how a terminal, a page or a log shows the text around it is taken out. And the text of errors.

use std::error::Error;

/// The text in one line, with one blank between words, and no character that is not seen.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The text in one line of at most so many characters; where it is cut, it says so.
#[must_use]
pub fn short(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// What an error says, with its innermost cause where it does not say that itself. The innermost alone says what to mend: between
/// them stand the layers of clients.
#[must_use]
pub fn with_cause(error: &(dyn Error + 'static)) -> String {
    let (outer, innermost) = (error.to_string(), innermost(error).to_string());
    if outer.contains(&innermost) { outer } else { format!("{outer}: {innermost}") }
}

/// The innermost cause of an error: itself, where it has none.
#[must_use]
pub fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, innermost)
}

/// Characters that change how the text around them is shown, or that hide in it.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters() {
        for (text, shown) in [("üü", "üü"), ("üüü", "üüü"), ("üüüü", "üü…"), ("", "")] {
            assert_eq!(short(text, 3), shown);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn the_innermost_cause_of_an_error_is_told_once() {
        for (layers, told) in [
            (&["refused"][..], "refused"),
            (&["client error (Connect)", "tcp connect error", "refused"], "client error (Connect): refused"),
            (&["connecting failed: refused", "refused"], "connecting failed: refused"),
        ] {
            let error = layers.iter().rev().fold(None, |source, says| Some(Box::new(Layer(says, source)))).unwrap();
            assert_eq!(with_cause(&*error), told);
        }
    }

    #[test]
    fn what_is_not_seen_goes() {
        for (text, shown) in [
            ("  a\n\tb  ", "a b"),
            ("a\u{1b}[31mb\0", "a [31mb"),
            ("a\u{202e}b\u{200b}\u{2028}c", "a b c"),
            ("\u{feff}", ""),
            ("\u{e4} \u{1f980}", "\u{e4} \u{1f980}"),
        ] {
            assert_eq!(one_line(text), shown, "{text:?}");
        }
    }
}
