//! `env_file`: lines of `NAME=value`.
//!
//! The quotes, escapes and comments are those on which compose, python-dotenv and node agree; docs/moat-yaml.md has the
//! table. Nothing is expanded. `NAME` without a value takes its value from the environment. Empty lines and lines that
//! begin with `#` are ignored; `export` may precede a name.

use crate::variable_name::is_environment_name;

/// A variable of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvFileLine {
    /// Line number, from 1.
    pub(crate) number: usize,
    pub(crate) name: String,
    /// `None`: the value comes from the environment.
    pub(crate) value: Option<String>,
}

/// Returns the variables of a file, and its problems by line number.
pub(crate) fn parse(text: &str) -> (Vec<EnvFileLine>, Vec<(usize, String)>) {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let (mut rest, mut number) = (text.as_str(), 1);
    while !rest.is_empty() {
        let (line, mut after) = rest.split_once('\n').unwrap_or((rest, ""));
        if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            match variable(rest, line.len()) {
                Ok((name, value, behind)) => {
                    lines.push(EnvFileLine {
                        number,
                        name,
                        value,
                    });
                    after = behind;
                }
                Err(why) => problems.push((number, why.to_owned())),
            }
        }
        number += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    (lines, problems)
}

/// Reads the variable at the beginning of a text. A value in quotes can have more lines than the first, whose length is
/// given. Returns the name, the value, and the text behind the last line.
fn variable(text: &str, line: usize) -> Result<(String, Option<String>, &str), &'static str> {
    let (first, after) = text.split_at(line);
    let after = after.strip_prefix('\n').unwrap_or(after);
    let equals = first.find('=');
    let name = first[..equals.unwrap_or(line)].trim();
    let name = match name.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => name,
    };
    // In these places other readers see several words, a comment, or a name without its quotes.
    let is_odd = name.contains(char::is_whitespace) || name.starts_with(['#', '"', '\'']);
    if is_odd || !is_environment_name(name) {
        return Err("expected NAME=value");
    }
    let Some(equals) = equals else {
        return Ok((name.to_owned(), None, after));
    };
    let value = &text[equals + 1..];
    let is_blank = |letter: char| letter.is_whitespace() && letter != '\n';
    let (value, after) = match value.trim_start_matches(is_blank) {
        quoted if quoted.starts_with(['"', '\'']) => quoted_value(quoted)?,
        _ => (plain_value(&first[equals + 1..])?, after),
    };
    match value.contains('\0') {
        true => Err("a value cannot contain a NUL character"),
        false => Ok((name.to_owned(), Some(value), after)),
    }
}

/// Reads a value without quotes: up to the end of the line, or to a blank and a `#`.
fn plain_value(text: &str) -> Result<String, &'static str> {
    if text.trim_end() == "#" || text.starts_with("# ") || text.starts_with("#\t") {
        return Err(
            "a '#' directly behind '=' needs a blank before it, or quotes around the value",
        );
    }
    let mut blank = false;
    let comment = text.find(|letter: char| {
        let begins = blank && letter == '#';
        blank = letter.is_whitespace();
        begins
    });
    Ok(text[..comment.unwrap_or(text.len())].trim().to_owned())
}

/// Reads a value with its quotes. Returns the value, and the text behind its last line.
fn quoted_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut letters = text.chars();
    let quote = letters.next();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            letter if Some(letter) == quote => {
                let rest = letters.as_str();
                let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
                let line = line.trim_start();
                return match line.is_empty() || line.starts_with('#') {
                    true => Ok((out, after)),
                    false => Err("there is more behind the closing quote"),
                };
            }
            '\\' if quote == Some('"') => escape(letters.next(), &mut out),
            '\\' if letters.as_str().starts_with('\'') => out.extend(letters.next()),
            letter => out.push(letter),
        }
    }
    Err("a quote is opened and not closed")
}

/// Adds the meaning of a letter behind a backslash in double quotes.
fn escape(letter: Option<char>, out: &mut String) {
    match letter {
        Some('a') => out.push('\u{7}'),
        Some('b') => out.push('\u{8}'),
        Some('f') => out.push('\u{c}'),
        Some('n') => out.push('\n'),
        Some('r') => out.push('\r'),
        Some('t') => out.push('\t'),
        Some('v') => out.push('\u{b}'),
        Some(letter @ ('"' | '\\' | '$')) => out.push(letter),
        Some(letter) => out.extend(['\\', letter]),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_right() {
        let docs = include_str!("../../docs/moat-yaml.md");
        let section = docs.split("## env_file").nth(1).unwrap();
        let block = section
            .split("```")
            .nth(1)
            .unwrap()
            .trim_start_matches("sh");
        let (lines, problems) = parse(block);
        assert!(problems.is_empty(), "{problems:?}");
        let values: Vec<_> = lines
            .iter()
            .map(|line| (line.name.as_str(), line.value.as_deref()))
            .collect();
        let expected = [
            ("NAME", Some("value of several words")),
            ("QUOTED", Some("a\tb # c")),
            ("ALSO", Some("it's fine")),
            ("LATER", Some("")),
            ("KEY", Some("one\ntwo")),
            ("discovery.type", Some("single-node")),
            ("PASSED_ON", None),
        ];
        assert_eq!(values, expected);
    }

    fn value(line: &str) -> Option<String> {
        let (lines, problems) = parse(line);
        assert!(problems.is_empty(), "{line}: {problems:?}");
        lines[0].value.clone()
    }

    #[test]
    fn values() {
        for (line, expected) in [
            ("A=b", "b"),
            ("A = b c ", "b c"),
            ("export A=b", "b"),
            ("A=", ""),
            ("A=\"\"", ""),
            ("A=\"x # y\" # z", "x # y"),
            ("A='x\\n'", "x\\n"),
            ("A=\"x\\n\\\"\\$\\q\"", "x\n\"$\\q"),
            ("A=x#y", "x#y"),
            ("A=b=c", "b=c"),
            ("A=x # y", "x"),
            ("A=x\t# y", "x"),
            ("A= # y", ""),
            ("A=\t#y", ""),
            ("A= x # y # z", "x"),
            ("A=#fff", "#fff"),
            ("A='' # y", ""),
            ("A='it\\'s'", "it's"),
            ("A=\"a\nb\" # y", "a\nb"),
            ("A='a\r\n# b\r\n'", "a\n# b\n"),
            ("A=\"\\r\\v\"", "\r\u{b}"),
            ("export\tA=b", "b"),
            ("a.b=x", "x"),
            ("a-b=x", "x"),
            ("1A=x", "x"),
            ("\u{feff}A=b", "b"),
        ] {
            assert_eq!(value(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(value("A"), None);
        assert!(parse("\n# x\n  \n").0.is_empty());
    }

    #[test]
    fn problems_have_their_line() {
        let (lines, problems) = parse(
            "A='\n'\nB B=2\nC=\"x\nD='a' b\n=x\nE=1\r\nF=# y\n#c\n'G'=1\nH: x\nexport #I=1\n",
        );
        let numbers: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 8, 10, 11, 12]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].value.as_deref(), Some("1"));
    }
}
