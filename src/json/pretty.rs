//! JSON laid out for people.
//!
//! The crate below has a formatter for that, too, but with it the code that writes each of our types
//! would be in the program twice: 20 KB of a budget of 1 MiB.

use serde::Serialize;

/// A value as JSON of several lines, with the indentation that people expect: two spaces.
pub(crate) fn pretty<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| lay_out(&text))
}

/// Lays out a compact document. What stands in strings stays as it is.
fn lay_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            in_string = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            out.push(letter);
            continue;
        }
        match letter {
            '"' => in_string = true,
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
            }
            _ => {}
        }
        out.push(letter);
        match letter {
            '{' | '[' if matches!(letters.peek(), Some('}' | ']')) => out.extend(letters.next()),
            '{' | '[' => {
                depth += 1;
                new_line(&mut out, depth);
            }
            ',' => new_line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the crate's own formatter does it.
    #[test]
    fn documents_are_laid_out_as_usual() {
        for text in [
            r#"{"a":[1,2,{"b":null}],"c":{},"d":[],"e":"x:,{}[]\"\\","f":"\\"}"#,
            "[]",
            "{}",
            "3",
            r#""a\"b""#,
            r#"[[],[[]],{"a":{"b":[{}]}}]"#,
            "[\"\\\\\",\"\u{e9}\u{1f600}\"]",
        ] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                lay_out(text),
                serde_json::to_string_pretty(&value).unwrap(),
                "{text}"
            );
        }
    }
}
