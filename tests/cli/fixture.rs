//! Runs that exist only as files, and helpers for tests of refused commands.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::harness::{Call, Moat};

pub(crate) const FIRST: &str = "run_000000000001";
pub(crate) const SECOND: &str = "run_000000000002";

/// A place with a runtime that is named but never asked, for commands that are refused earlier.
pub(crate) fn unreached() -> Moat {
    Moat::new().env("MOAT_RUNTIME", "docker")
}

/// Writes a run that ended long ago, named after the record that it is made from.
pub(crate) fn plant(moat: &Moat, id: &str, record: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/records/{record}.json"));
    let text = fs::read_to_string(path).expect("the record");
    plant_text(
        moat,
        id,
        &text.replace("@ID@", id).replace("@NAME@", record),
    );
}

/// Writes a run with any text as its record.
pub(crate) fn plant_text(moat: &Moat, id: &str, record: &str) {
    let dir = moat.run_dir(id);
    fs::create_dir_all(&dir).expect("the directory of a run");
    fs::create_dir_all(moat.home().join("names")).expect("the names");
    let log = "{\"ts\":\"2026-01-31T12:00:01.500000Z\",\"stream\":\"stdout\",\"line\":\"hello\"}\n";
    write(&dir.join("run.json"), record);
    write(&dir.join("logs.jsonl"), log);
    write(&dir.join("owner.lock"), "");
}

fn write(path: &Path, text: &str) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(path).expect("a file of a run");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("a file of a run");
}

/// Asserts that a call prints exactly this text, exits with this code, and creates nothing.
#[track_caller]
pub(crate) fn refused(moat: &Moat, call: Call<'_>, code: i32, message: &str) {
    call.stderr(format!("{message}\n")).status(code);
    assert_nothing_made(moat);
}

/// Asserts that there is no run, no name and no file, not even MOAT_HOME.
#[track_caller]
pub(crate) fn assert_nothing_made(moat: &Moat) {
    assert!(!moat.home().exists(), "MOAT_HOME was made");
}

/// Asserts that there is no run, no name and no partly created file.
#[track_caller]
pub(crate) fn assert_no_runs(moat: &Moat) {
    for dir in ["runs", "names"] {
        let entries = fs::read_dir(moat.home().join(dir)).into_iter().flatten();
        let left: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "left in {dir}: {left:?}");
    }
}
