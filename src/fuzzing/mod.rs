//! The properties that the fuzz targets check: each function takes any bytes and panics if moat handles them wrongly.
//!
//! The crate in `fuzz/` calls these functions through the feature `fuzzing`. The unit tests call them with seeds that
//! they change a little. The seeds are in `fuzz/seeds/TARGET`. A release contains none of this.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{self, scalar_values};
use crate::error::Error;
use crate::registry::{EntryOrigin, Registry};
use crate::store::{LogEntry, RunRecord, Session, Stream, Timestamp};
use crate::term::{self, EscapeParser, EscapePrefix, KeyInput};
use crate::variable_name::is_environment_name;
use crate::yaml::{Node, NodeId, NodeValue, Source};

#[cfg(test)]
mod tests;

/// A function of this module. It panics if a property does not hold for the bytes.
pub type Target = fn(&[u8]);

/// All targets, by the names of their files in `fuzz/fuzz_targets` and of their seeds.
pub const TARGETS: [(&str, Target); 10] = [
    ("yaml", yaml),
    ("moat_yaml", moat_yaml),
    ("config_yaml", config_yaml),
    ("registry_yaml", registry_yaml),
    ("env_file", env_file),
    ("log_entry", log_entry),
    ("record", record),
    ("escape_keys", escape_keys),
    ("scalar_values", scalar_values),
    ("unsafe_text", unsafe_text),
];

/// The YAML reader: every node has a place in the file.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (source, root) = match Source::parse("x", text.to_owned()) {
        Ok(read) => read,
        Err(error) => return assert_inside(text, &error),
    };
    let last = last_of(&root);
    for at in [root.at, last] {
        source.report(at, "a problem");
        assert!(source.line_of(at).starts_with('x'));
    }
    match source.finish() {
        Ok(()) => panic!("the problems are lost"),
        Err(error) => assert_inside(text, &error),
    }
}

/// The node that was read last.
fn last_of(node: &Node) -> NodeId {
    let below: Box<dyn Iterator<Item = &Node>> = match &node.value {
        NodeValue::List(items) => Box::new(items.iter()),
        NodeValue::Map(pairs) => Box::new(pairs.iter().flat_map(|(key, value)| [key, value])),
        _ => return node.at,
    };
    below.map(last_of).max().unwrap_or(node.at)
}

/// A project's file, from its text to its settings.
pub fn moat_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = config::parse_project("x", text.to_owned(), Path::new("/project"));
    if let Err(error) = file.and_then(|file| file.source.finish()) {
        assert_inside(text, &error);
    }
}

/// The user's defaults.
pub fn config_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let defaults = config::parse_defaults("x", text.to_owned(), Path::new("/home/me/.moat"));
    if let Err(error) = defaults.and_then(|defaults| defaults.file.source.finish()) {
        assert_inside(text, &error);
    }
}

/// A file of `registry.d`.
pub fn registry_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let origin = EntryOrigin::File("x".to_owned());
    if let Err(error) = Registry::default().add("x", text.to_owned(), &origin) {
        assert_inside(text, &error);
    }
}

/// Fails if a problem has no message, or a place that is not in the file.
fn assert_inside(text: &str, error: &Error) {
    assert!(!error.message.is_empty(), "an error without a message");
    // The YAML reader counts each of these as the end of a line.
    let ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    // An error at the end of the file can be on the line after the last one.
    let lines = text.matches(ends).count() + 2;
    for problem in &error.problems {
        let is_line = problem.line.is_none_or(|line| (1..=lines).contains(&line));
        let columns = 1..=text.len() + 2;
        let is_column = problem
            .column
            .is_none_or(|column| columns.contains(&column));
        assert!(
            is_line && is_column && !problem.message.is_empty(),
            "outside of the file: {problem}"
        );
    }
}

/// An env file: each line is a variable or a problem, and a value can be written again.
pub fn env_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (variables, problems) = config::parse_env_file(text);
    let lines = text.lines().count();
    assert!(variables.len() + problems.len() <= lines);
    for (number, why) in &problems {
        assert!((1..=lines).contains(number) && !why.is_empty());
    }
    for line in &variables {
        assert!((1..=lines).contains(&line.number));
        assert!(is_environment_name(&line.name), "{}", line.name);
        let Some(value) = &line.value else { continue };
        assert!(!value.contains('\0'));
        let mut quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        quoted = quoted.replace('\n', "\\n");
        if quoted.contains('\r') {
            continue;
        }
        let (again, problems) = config::parse_env_file(&format!("{}=\"{quoted}\"", line.name));
        assert_eq!(problems, []);
        assert_eq!(again[0].value.as_ref(), Some(value));
    }
}

/// A line of a log: what can be read can be written and read again, and any bytes pass through a log.
pub fn log_entry(bytes: &[u8]) {
    if let Some(entry) = LogEntry::parse(bytes) {
        let mut line = Vec::new();
        entry.write_json(&mut line);
        assert_is_line(&line);
        let again = LogEntry::parse(&line).map(|again| LogEntry {
            lost: entry.lost,
            ..again
        });
        assert_eq!(again.as_ref(), Some(&entry));
    }
    for eol in [true, false] {
        let entry = LogEntry {
            ts: "2026-01-31T12:00:00.000000Z".to_owned(),
            stream: Stream::Stderr,
            data: bytes.to_vec(),
            eol,
            lost: None,
        };
        let mut line = Vec::new();
        entry.write_json(&mut line);
        assert_is_line(&line);
        assert_eq!(LogEntry::parse(&line), Some(entry));
    }
}

fn assert_is_line(line: &[u8]) {
    let ends = line.iter().filter(|byte| **byte == b'\n').count();
    assert!(
        ends == 1 && line.ends_with(b"\n"),
        "{}",
        line.escape_ascii()
    );
}

/// The records of runs and sessions: what can be read is the same after it was written and read again.
pub fn record(bytes: &[u8]) {
    assert_comes_back::<RunRecord>(bytes);
    assert_comes_back::<Session>(bytes);
}

fn assert_comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<T>(bytes) else {
        return;
    };
    let again = serde_json::to_vec_pretty(&record)
        .and_then(|text| serde_json::from_slice::<T>(&text))
        .and_then(|again| serde_json::to_value(&again));
    let written = serde_json::to_value(&record);
    match (written, again) {
        (Ok(written), Ok(again)) => assert_eq!(written, again),
        (written, again) => panic!("{:?} {:?}", written.err(), again.err()),
    }
}

/// The escape in typed bytes: however the bytes are split, the result is the same, and no byte is invented.
pub fn escape_keys(bytes: &[u8]) {
    let prefixes = [None, Some("ctrl-/"), Some("ctrl-]"), Some("ctrl-a")];
    for prefix in prefixes.map(|name| name.and_then(EscapePrefix::parse)) {
        let whole = fed(prefix, &[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(whole, fed(prefix, &single), "one by one");
        let cut = bytes.first().map_or(0, |first| usize::from(*first)) % (bytes.len() + 1);
        let (one, other) = bytes.split_at(cut);
        assert_eq!(whole, fed(prefix, &[one, other]), "cut at {cut}");
        let mut passed = Vec::new();
        for input in &whole {
            if let KeyInput::Bytes(bytes) = input {
                passed.extend_from_slice(bytes);
            }
        }
        if prefix.is_none() {
            assert_eq!(passed, bytes);
        }
        let mut typed = bytes.iter();
        let is_typed = |byte: &u8| typed.any(|typed| typed == byte);
        assert!(passed.iter().all(is_typed), "a byte that was not typed");
        if whole
            .iter()
            .all(|input| matches!(input, KeyInput::Bytes(_)))
        {
            // The parser keeps at most a prefix that no key follows, and one of two that were typed.
            let prefixed = bytes.iter().any(|byte| *byte < 0x20);
            assert!(prefixed || passed == bytes, "swallowed");
        }
    }
}

/// The inputs that the parser makes of these pieces, with neighbouring bytes joined.
fn fed(prefix: Option<EscapePrefix>, pieces: &[&[u8]]) -> Vec<KeyInput> {
    let mut parser = EscapeParser::new(prefix);
    let mut inputs: Vec<KeyInput> = pieces.iter().flat_map(|piece| parser.feed(piece)).collect();
    if parser.pending_timeout().is_some() {
        inputs.extend(parser.flush_pending());
    }
    assert_eq!(parser.pending_timeout(), None);
    let mut joined = Vec::new();
    for input in inputs {
        match (joined.last_mut(), input) {
            (Some(KeyInput::Bytes(earlier)), KeyInput::Bytes(bytes)) => earlier.extend(bytes),
            (_, input) => joined.push(input),
        }
    }
    joined
}

/// Single values of flags and files: what is accepted is within its limits, and reads the same in its plainest form.
pub fn scalar_values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(bytes) = scalar_values::memory(text) {
        assert!((6 << 20..=1 << 50).contains(&bytes), "{bytes}");
        assert_eq!(
            scalar_values::memory(&format!("{bytes}b")).ok(),
            Some(bytes)
        );
    }
    if let Ok(length) = scalar_values::duration(text) {
        assert!(length > Duration::ZERO && length.as_secs() <= 366 * 86_400);
        let plain = humantime::format_duration(length).to_string();
        assert_eq!(scalar_values::duration(&plain).ok(), Some(length));
    }
    if let Ok(cpus) = scalar_values::cpus(text) {
        assert!((0.01..=4096.0).contains(&cpus), "{cpus}");
    }
    if let Ok(mount) = scalar_values::mount(text) {
        let target = &mount.target;
        assert!(target.starts_with('/') && target != "/", "{target}");
        assert!(!target.split('/').any(|part| part == ".."), "{target}");
        let again = scalar_values::mount_target(target);
        assert_eq!(again.as_ref(), Ok(target));
    }
    if let Ok((name, value)) = scalar_values::env(text, &|_| None) {
        assert_eq!(format!("{name}={value}"), text);
    }
    if scalar_values::image(text).is_ok() {
        assert!(!text.starts_with('-') && text.is_ascii());
    }
    if let Ok(time) = scalar_values::since(
        text,
        SystemTime::UNIX_EPOCH + YEAR * 56,
        &jiff::tz::TimeZone::UTC,
    ) {
        // To the microsecond, which is what a record holds.
        let written = time.to_string();
        let again = Timestamp::parse(&written);
        assert_eq!(again.map(|again| again.to_string()), Some(written));
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Text of foreign programs on a terminal: nothing in it moves the cursor, and JSON keeps its meaning.
pub fn unsafe_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let escaped = term::escape_unsafe(&text);
    assert!(
        !escaped.chars().any(moves_the_cursor),
        "{}",
        escaped.escape_debug()
    );
    assert_eq!(term::escape_unsafe(&escaped), escaped);
    assert!(!term::strip_sequences(&text).contains('\u{1b}'));
    let shown = term::shell_word(&text);
    assert!(!shown.chars().any(moves_the_cursor));
    if escaped == text && !text.is_empty() {
        assert_eq!(shlex::split(&shown), Some(vec![text.to_string()]));
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        // As moat writes a document: between two tokens are only spaces and line ends.
        let document = format!("{value:#}");
        let escaped = term::escape_unsafe_json(&document);
        // Both are read: serde_json reads a long number with an error in the last digit.
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        assert_eq!(read(&escaped), read(&document));
        let harmful = |letter| moves_the_cursor(letter) && letter != '\n';
        assert!(!escaped.chars().any(harmful), "{}", escaped.escape_debug());
    }
}

/// Control characters, and characters that change the direction or the width of text.
///
/// The list is not that of `term`, so that a gap there shows here.
fn moves_the_cursor(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
