//! Escaping of foreign text, and short forms of durations.

use std::fmt::Write;
use std::time::Duration;

/// Escapes control, bidirectional and zero-width characters, which could move the cursor or deceive the reader.
pub(crate) fn escape_unsafe(text: &str) -> String {
    // A fast path: almost all text is printable ASCII, and a long list has thousands of texts.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_harmful(letter) {
            let _ = write!(out, "{}", letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Escapes the same characters in a JSON document, without changing its meaning. Apart from line ends between tokens,
/// they occur only in strings.
pub(crate) fn escape_unsafe_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_harmful(letter) && letter != '\n' {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(letter);
        }
    }
    out
}

/// Returns the lines of a program's message as one line, for a message of moat.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Returns a word quoted for a command line that the user may copy to a shell.
pub(crate) fn shell_word(text: &str) -> String {
    escape_unsafe(&shlex::try_quote(text).unwrap_or_default())
}

fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Returns a text without its escape sequences for colours.
pub(crate) fn strip_sequences(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            out.push(letter);
        } else if letters.next() == Some('[') {
            // Parameters, then a final letter (ECMA-48, 5.4).
            letters.by_ref().find(|letter| ('@'..='~').contains(letter));
        }
    }
    out
}

/// Returns an age for people: `12s ago`, `5m ago`, `3h ago`, `2d ago`.
pub(crate) fn age(age: Duration) -> String {
    format!("{} ago", duration(age))
}

/// Returns a duration in its largest unit: `12s`, `5m`, `3h`, `2d`.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m", seconds / 60),
        3600..=86_399 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_the_rest_stays() {
        for (text, expected) in [
            ("\u{1b}[91mred\u{1b}[0m x", "red x"),
            ("\u{1b}[1;32mok", "ok"),
            ("a[0m", "a[0m"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(strip_sequences(text), expected);
        }
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(escape_unsafe("plain \u{e9}"), "plain \u{e9}");
        for bad in [
            "\x1b[2J",
            "a\rb",
            "x\u{202e}y",
            "a\u{200b}b",
            "\u{9b}1m",
            "\n",
        ] {
            assert!(!escape_unsafe(bad).chars().any(is_harmful), "{bad:?}");
        }
    }

    #[test]
    fn a_word_is_one_word() {
        assert_eq!(shell_word("feature/a-b_1.2"), "feature/a-b_1.2");
        for text in [
            "x$(touch${IFS}y)",
            "it's",
            "a b",
            "`x`",
            "a;b",
            "!x",
            "$x'\"\\",
        ] {
            assert_eq!(
                shlex::split(&format!("moat up {}", shell_word(text))).unwrap()[2],
                text
            );
        }
    }

    #[test]
    fn a_json_document_stays_what_it_is() {
        let value = vec![
            "plain \u{e9}\u{1f600}",
            "\u{9b}2J \u{202e}x\u{200b} \u{7f}\n",
        ];
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = escape_unsafe_json(&text);
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), value);
        assert!(
            !safe
                .chars()
                .any(|letter| is_harmful(letter) && letter != '\n')
        );
        assert!(safe.contains("\\u009b2J \\u202ex\\u200b \\u007f"), "{safe}");
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [
            (0, "0s ago"),
            (61, "1m ago"),
            (7200, "2h ago"),
            (200_000, "2d ago"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
