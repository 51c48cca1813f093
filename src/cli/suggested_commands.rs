//! Finds the commands of moat in a hint, and checks that the parser accepts them. Only for tests.

use std::ffi::OsString;

use super::commands::COMMANDS;
use super::parse;

/// Checks all commands in a hint. The error names the first that the parser refuses.
pub(crate) fn check(hint: &str) -> Result<(), String> {
    for command in find(hint) {
        let words = words(&command).ok_or_else(|| format!("'{command}' has an open quote"))?;
        if let Err(error) = parse::parse(words) {
            return Err(format!("'moat {command}' is refused: {error}"));
        }
    }
    Ok(())
}

/// Returns the commands in a hint, without `moat`: those in quotes or parentheses, and those after a colon.
pub(crate) fn find(hint: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in hint.match_indices("moat ") {
        let before = &hint[..at];
        let rest = &hint[at + "moat ".len()..];
        let first = rest.split(|letter: char| !letter.is_ascii_alphanumeric());
        let first = first.into_iter().next().unwrap_or_default();
        let is_command = first == "COMMAND" || COMMANDS.iter().any(|known| known.answers_to(first));
        // A usage line is a grammar, not a command.
        let end = match before.chars().next_back() {
            _ if before.ends_with("usage: ") => continue,
            Some('\'') => rest.find('\'').unwrap_or(rest.len()),
            Some('(') => end(rest, &[")"]),
            // Otherwise moat is the subject of a sentence.
            _ if before.ends_with(": ") && is_command => {
                end(rest, &["; ", " (", ")", ", ", ": ", " < "])
            }
            _ => continue,
        };
        // The name of a command alone is no command line.
        if before.ends_with('\'') && rest[..end] == *first && is_command {
            continue;
        }
        found.push(rest[..end].to_owned());
    }
    found
}

/// The position of the first mark that is not in quotes.
fn end(text: &str, marks: &[&str]) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        is_quoted ^= letter == '\'' && !is_escaped;
        is_escaped = letter == '\\' && !is_quoted && !is_escaped;
        if !is_quoted && marks.iter().any(|mark| text[at..].starts_with(mark)) {
            return at;
        }
    }
    text.len()
}

/// Splits a command as a shell does. Words such as `RUN` stay as they are; `COMMAND` is any command with that flag.
fn words(command: &str) -> Option<Vec<OsString>> {
    let words = shlex::split(command)?;
    let any = || {
        let flag = words.get(1)?;
        let has_flag = |command: &&super::command_table::Command| {
            command.all_flags().any(|known| {
                let short = known.short.map(|short| format!("-{short}"));
                flag.strip_prefix("--") == Some(known.long)
                    || short.as_deref() == Some(flag.as_str())
            })
        };
        COMMANDS
            .iter()
            .find(has_flag)
            .map(|command| command.name.to_owned())
    };
    let known = |(place, word): (usize, &String)| match (place, word.as_str()) {
        (0, "COMMAND") => any().map(OsString::from),
        (_, "COMMAND") => Some("run".into()),
        // The flag that is to be written there may need a value.
        _ => Some(word.trim_end_matches("...").into()),
    };
    let mut all = words
        .iter()
        .enumerate()
        .map(known)
        .collect::<Option<Vec<_>>>()?;
    if words.first().is_some_and(|word| word == "COMMAND") {
        all.truncate(1);
        all.push("--help".into());
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn commands_are_found() {
        for (hint, expected) in [
            ("see 'moat help wt'", &["help wt"][..]),
            ("see: moat doctor", &["doctor"]),
            (
                "stop it first (moat stop x), or: moat destroy -f x",
                &["stop x", "destroy -f x"],
            ),
            (
                "put it there: moat run -- echo 'a; b' 'it'\\''s; x'; or not",
                &["run -- echo 'a; b' 'it'\\''s; x'"],
            ),
            ("usage: moat logs [FLAGS] [RUN]", &[]),
            (
                "moat drives this: moat runs 'moat exec', 'moat list -a', 'moat logs RUN...'",
                &["list -a", "logs RUN..."],
            ),
        ] {
            assert_eq!(find(hint), expected, "{hint}");
        }
        assert!(check("'moat lst -a'").is_err() && check("see: moat list --nosuch").is_err());
        assert!(check("write: moat COMMAND --image").is_ok());
        assert!(check("write: moat COMMAND --nosuch").is_err());
    }

    /// The text of all string literals of a source file, without its unit tests.
    fn literals(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let code = code.join("\n").replace("\\\n", "");
        let parts: Vec<&str> = code.split('"').collect();
        // A quote in a literal moves the boundary: every part is looked at.
        parts.into_iter().map(str::to_owned).collect()
    }

    fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// A format string with a word in the place of each value.
    fn filled(literal: &str) -> String {
        let mut text = String::new();
        let mut rest = literal;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((_, after)) = after.split_once('}') else {
                break;
            };
            text.push_str(before);
            text.push('x');
            rest = after;
        }
        text + rest
    }

    #[test]
    fn every_message_names_commands_that_the_parser_accepts() {
        let mut files = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        let (mut count, mut bad) = (0, Vec::new());
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let is_script = file.parent().is_some_and(|dir| dir.ends_with("complete"));
            if name.ends_with("tests.rs") || name == "suggested_commands.rs" || is_script {
                continue;
            }
            for literal in literals(&file) {
                // A command from a value is not known here.
                let literal = filled(&literal)
                    .replace("moat x", "it")
                    .replace("moat COMMAND x", "it");
                count += find(&literal).len();
                if let Err(why) = check(&literal) {
                    bad.push(format!("{}: {why}", file.display()));
                }
            }
        }
        assert!(bad.is_empty(), "{bad:#?}");
        assert!(count > 60, "only {count} commands were found");
    }
}
