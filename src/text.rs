//! Foreign text as it may be shown: what changes how a terminal, a page or a log shows the text around it is taken out.

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
