//! `env_file`: lines of `NAME=value`.
//!
//! A value may be in quotes. In double quotes `\n`, `\t`, `\"`, `\\` and `\$` have their usual meaning; single quotes
//! have no escapes. Nothing is expanded. `NAME` without a value takes its value from the environment. Empty lines and
//! lines that begin with `#` are ignored; `export` may precede a name.

use super::scalar_values::is_variable_name;

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
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match variable(line) {
            Ok((name, value)) => lines.push(EnvFileLine {
                number,
                name,
                value,
            }),
            Err(why) => problems.push((number, why.to_owned())),
        }
    }
    (lines, problems)
}

fn variable(line: &str) -> Result<(String, Option<String>), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
        None => (line, None),
    };
    if !is_variable_name(name) {
        return Err("expected NAME=value");
    }
    let value = value.map(unquote).transpose()?;
    if value.as_ref().is_some_and(|value| value.contains('\0')) {
        return Err("a value cannot contain a NUL character");
    }
    Ok((name.to_owned(), value))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let quote = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quote,
        // Other readers see a comment here. Neither meaning is certain.
        _ if value.contains(" #") => {
            return Err("a '#' behind a blank needs quotes around the value, or a line of its own");
        }
        _ => return Ok(value.to_owned()),
    };
    let mut out = String::new();
    let mut letters = value[1..].chars();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == quote => {
                let rest = letters.as_str().trim_start();
                return match rest.is_empty() || rest.starts_with('#') {
                    true => Ok(out),
                    false => Err("there is more behind the closing quote"),
                };
            }
            '\\' if quote == '"' => match letters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(letter @ ('"' | '\\' | '$')) => out.push(letter),
                Some(letter) => out.extend(['\\', letter]),
                None => {}
            },
            letter => out.push(letter),
        }
    }
    Err("a quote is opened and not closed")
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
            ("ALSO", Some("fine")),
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
            ("\u{feff}A=b", "b"),
        ] {
            assert_eq!(value(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(value("A"), None);
        assert!(parse("\n# x\n  \n").0.is_empty());
    }

    #[test]
    fn problems_have_their_line() {
        let (lines, problems) = parse("A=1\n1B=2\nC=\"x\nD='a' b\n=x\nE=1\r\nF=x # y\n");
        let numbers: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 7]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].value.as_deref(), Some("1"));
    }
}
