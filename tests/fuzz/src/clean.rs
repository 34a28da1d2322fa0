//! What a text must be like that may reach a condition, an Event or a log.

/// A key as nobody wants to read it anywhere, with characters that JSON and HTML write differently.
pub const KEY: &str = "canary-key\"\\<1>";

/// A token, likewise.
pub const TOKEN: &str = "canary-token.1.2";

/// One short line without secrets.
pub fn assert_clean(text: &str, longest: usize) {
    assert_line(text, longest);
    assert_no_secret(text);
}

/// One short line without anything that changes how a terminal or a page shows what is around it.
pub fn assert_line(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest, "{} characters: {text:?}", text.chars().count());
    let odd = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}'
            )
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{e0000}'..='\u{e007f}')
    };
    assert!(!text.contains(odd), "{text:?}");
}

/// No secret, as it is or as JSON writes it.
pub fn assert_no_secret(text: &str) {
    for secret in [KEY, TOKEN] {
        let json = serde_json::to_string(secret).unwrap();
        let escaped = json.trim_matches('"');
        assert!(!text.contains(secret) && !text.contains(escaped), "{secret} in {text:?}");
    }
}
