//! Reads the log file of a run, and compares bytes without printing megabytes.

use std::fs;

use serde_json::Value;

use crate::harness::Moat;

/// Returns the entries of a run's log.
pub(crate) fn entries(moat: &Moat, id: &str) -> Vec<Value> {
    let path = moat.run_dir(id).join("logs.jsonl");
    let text = fs::read_to_string(path).expect("every run has a log");
    let parse = |line: &str| serde_json::from_str(line).expect("each line is a document");
    text.lines().map(parse).collect()
}

/// Returns the entries of one stream as text, each with whether it ends a line.
pub(crate) fn lines(moat: &Moat, id: &str, stream: &str) -> Vec<(String, bool)> {
    entries(moat, id)
        .iter()
        .filter(|entry| entry["stream"] == stream)
        .map(|entry| {
            let line = entry["line"].as_str().expect("it is text").to_owned();
            (line, entry["eol"].as_bool().unwrap_or(true))
        })
        .collect()
}

/// Asserts that bytes are equal; names the first difference.
#[track_caller]
pub(crate) fn assert_same(what: &str, found: &[u8], expected: &[u8]) {
    let differ = found.iter().zip(expected).position(|(a, b)| a != b);
    let at = differ.unwrap_or(found.len().min(expected.len()));
    assert!(
        found == expected,
        "{what}: {} bytes where {} were expected, the same up to byte {at}",
        found.len(),
        expected.len()
    );
}
