//! Text that people typed: names, references, units. In settings and signed statements it is
//! refused, not repaired; a peer's is made fit to be shown
//! (interfaces.md 2).

/// Longest text, in characters.
pub const TEXT_LIMIT: usize = 128;

/// Checks a text that people see: 1 to [`TEXT_LIMIT`] characters, none of which
/// is a control or a bidirectional formatting character (those make a name
/// read otherwise than it is written). The error says what is wrong, and fits
/// behind the name of the field: `is empty`.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("is empty");
    }
    if text.chars().nth(TEXT_LIMIT).is_some() {
        return Err("is longer than 128 characters");
    }
    if !is_plain(text) {
        return Err("holds a control or bidirectional character");
    }
    Ok(())
}

/// Whether a text holds nothing but what is seen: no control character, no line break, nothing that
/// steers the direction of text.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// Foreign text made fit for a log line or an answer: at most `limit`
/// characters, hidden ones replaced.
pub fn shown(text: &str, limit: usize) -> String {
    text.chars()
        .take(limit)
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Control characters, line and paragraph separators, and the characters that
/// steer the direction of text (Unicode Bidi_Control).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn texts_are_checked_and_not_repaired() {
        for good in ["a", "Berre-l'Étang", "CORG 13", &"é".repeat(128)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\u{0}",
            "a\u{85}",
            "\u{202e}nima",
            "a\u{2066}b",
            "a\u{200f}",
            "a\u{2028}b",
            &"é".repeat(129),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
