//! The parser's errors. They never contain the value of a flag, because a value can be a secret.

use std::ffi::{OsStr, OsString};

use crate::error::Error;

use super::command_table::{Command, Complete, Flag};
use super::commands::COMMANDS;
use super::docker_habits;
use super::flags::{GLOBALS, VERSION};
use crate::term::{escape_unsafe, nearest};

pub(super) fn no_command() -> Error {
    Error::usage("no command given").hint("see 'moat help'")
}

pub(super) fn separator_before_command() -> Error {
    Error::usage("no command given before '--'")
        .hint("to run a workload, write: moat run -- CMD...")
}

pub(super) fn unknown_command(word: &OsStr) -> Error {
    let word = word.to_string_lossy();
    let names = COMMANDS.iter().flat_map(Command::names);
    let hint = match docker_habits::command_hint(&word) {
        Some(hint) => hint.to_owned(),
        None => did_you_mean(nearest(&word, names), "", "see 'moat help'".to_owned()),
    };
    Error::usage(format!("unknown command '{word}'")).hint(hint)
}

/// Returns the error for a first argument that names no action of the command.
pub(super) fn unknown_action(command: &Command, word: &OsStr) -> Error {
    let word = escape_unsafe(&word.to_string_lossy());
    let near = nearest(&word, command.action_words());
    let hint = did_you_mean(near, "", format!("see 'moat {} --help'", command.name));
    Error::usage(format!("unknown action '{word}' for '{}'", command.name)).hint(hint)
}

/// Returns the error for a flag before the command that is not a global flag.
pub(super) fn unknown_global_flag(written: &str) -> Error {
    let error = Error::usage(format!("unknown flag '{written}'"));
    if super::commands::all().any(|command| accepts_flag(command, written)) {
        return Error::usage(format!("the flag '{written}' comes after the command"))
            .hint(format!("write: moat COMMAND {written}"));
    }
    let longs = GLOBALS
        .iter()
        .copied()
        .chain([&VERSION])
        .map(|flag| flag.long);
    error.hint(did_you_mean(
        nearest_flag(written, longs),
        "--",
        "see 'moat help'".to_owned(),
    ))
}

fn accepts_flag(command: &Command, written: &str) -> bool {
    command
        .flags
        .iter()
        .any(|flag| matches_spelling(flag, written))
}

fn matches_spelling(flag: &Flag, written: &str) -> bool {
    match written.strip_prefix("--") {
        Some(long) => flag.long == long,
        None => flag
            .short
            .is_some_and(|short| written.chars().nth(1) == Some(short)),
    }
}

/// Returns the error for a flag that the command does not have. `is_workload`: the flag probably belongs to a workload
/// without `--` before it.
pub(super) fn unknown_flag(command: &Command, written: &str, is_workload: bool) -> Error {
    let otherwise = if is_workload {
        "put the workload's command after '--': moat run -- CMD...".to_owned()
    } else {
        format!("see 'moat {} --help'", command.name)
    };
    let longs = command.all_flags().map(|flag| flag.long);
    let habit = docker_habits::hint(command.name, written).filter(|_| !is_workload);
    let hint = match habit {
        Some(hint) => hint.to_owned(),
        None => did_you_mean(nearest_flag(written, longs), "--", otherwise),
    };
    Error::usage(format!(
        "unknown flag '{written}' for 'moat {}'",
        command.name
    ))
    .hint(hint)
}

fn nearest_flag<'a>(written: &str, longs: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest(written.strip_prefix("--")?, longs)
}

fn did_you_mean(word: Option<&str>, dashes: &str, otherwise: String) -> String {
    match word {
        Some(word) => format!("did you mean '{dashes}{word}'?"),
        None => otherwise,
    }
}

pub(super) fn missing_value(flag: &Flag, value: &str) -> Error {
    let flag = flag.spelled();
    Error::usage(format!("{flag} needs a value")).hint(format!("write: {flag} {value}"))
}

pub(super) fn needless_value(written: &str) -> Error {
    let hint = match written {
        // `-v=SRC:DST`
        "-v" => "write '-v' alone; to mount a directory: -m SRC:DST".to_owned(),
        _ => format!("write '{written}' alone"),
    };
    Error::usage(format!("the flag '{written}' takes no value")).hint(hint)
}

/// Returns the error for a value that is not one of the words of the table. `of` names the flag or argument.
pub(super) fn invalid_choice(of: &str, words: &[&'static str], value: &OsStr) -> Error {
    let all = format!("use one of: {}", words.join(", "));
    let near = value
        .to_str()
        .and_then(|value| nearest(value, words.iter().copied()));
    Error::usage(format!("not a valid {of}")).hint(did_you_mean(near, "", all))
}

pub(super) fn missing_positional(command: &Command) -> Error {
    let words = |action: &Command| format!("{} {}", action.name, action.usage);
    let actions: Vec<String> = command.actions.iter().map(words).collect();
    let list = match command.positional.complete {
        Complete::Run => " ('moat list -a' shows the runs)".to_owned(),
        _ if !actions.is_empty() => {
            let actions: Vec<&str> = actions.iter().map(|action| action.trim_end()).collect();
            format!("; the actions: {}", actions.join(", "))
        }
        _ => String::new(),
    };
    let name = command.positional.name;
    let article = if name.starts_with('A') { "an" } else { "a" };
    Error::usage(format!("'moat {}' needs {article} {name}", command.name))
        .hint(format!("usage: {}{list}", command.usage_line()))
}

pub(super) fn surplus_positional(command: &Command, surplus: &OsStr) -> Error {
    Error::usage(format!(
        "unexpected argument '{}' for 'moat {}'",
        surplus.to_string_lossy(),
        command.name
    ))
    .hint(format!("usage: {}", command.usage_line()))
}

/// Returns the error for a workload without `--`, such as `moat run npm test`.
pub(super) fn workload_without_separator(command: &Command, words: &[OsString]) -> Error {
    let takes_path = command.positional.min == 0;
    if let [image, workload @ ..] = words
        && takes_path
        && image.to_str().is_some_and(docker_habits::is_image)
    {
        return image_for_path(command, image, workload);
    }
    let (path, workload) = match words {
        [path, workload @ ..] if !takes_path || is_directory_like(path) => (Some(path), workload),
        _ => (None, words),
    };
    let separator = OsString::from("--");
    let line = command_line(
        command,
        path.into_iter().chain([&separator]).chain(workload),
    );
    Error::usage(format!(
        "'moat {}' takes one {}",
        command.name, command.positional.name
    ))
    .hint(format!("put the command after '--': {line}"))
}

/// Returns the error for an image in the place of a directory, as `docker run IMAGE CMD` has it.
pub(super) fn image_for_path(command: &Command, image: &OsString, workload: &[OsString]) -> Error {
    let flag = OsString::from("--image");
    let separator = (!workload.is_empty()).then(|| OsString::from("--"));
    let words = [&flag, image].into_iter().chain(&separator);
    let line = command_line(command, words.chain(workload));
    let shown = escape_unsafe(&image.to_string_lossy());
    Error::usage(format!("'{shown}' is no directory"))
        .hint(format!("if it is an image, write: {line}"))
}

/// Returns a command line with all words quoted for a shell.
fn command_line<'a>(command: &Command, words: impl Iterator<Item = &'a OsString>) -> String {
    let mut line = format!("moat {}", command.name);
    for word in words {
        line.push(' ');
        quote(&mut line, &word.to_string_lossy());
    }
    line
}

/// Returns whether a word looks like a directory.
fn is_directory_like(word: &OsStr) -> bool {
    word == "." || word == ".." || word.as_encoded_bytes().ends_with(b"/")
}

/// Adds a word, quoted for a shell.
fn quote(line: &mut String, word: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        line.push_str(word);
    } else {
        line.push('\'');
        line.push_str(&word.replace('\'', "'\\''"));
        line.push('\'');
    }
}
