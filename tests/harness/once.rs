//! Facts about the machine that one run of all tests finds out once.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A fact that the first test finds out for all: cargo-nextest gives each test a process of its own, which knows
/// nothing of the others. Without nextest, each process asks.
pub(crate) fn once_per_run(
    name: &str,
    find: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let Some(run) = std::env::var_os("NEXTEST_RUN_ID") else {
        return find();
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("runs")
        .join(run);
    fs::create_dir_all(&dir).expect("a directory of this run");
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    let mut file = options.open(dir.join(name)).expect("what was found");
    flock(&file, FlockOperation::LockExclusive).expect("a lock");
    let mut found = String::new();
    file.read_to_string(&mut found).expect("what was found");
    match found.split_once(' ') {
        Some(("yes", _)) => return Ok(()),
        Some((_, why)) => return Err(why.to_owned()),
        None => {}
    }
    let result = find();
    let text = match &result {
        Ok(()) => "yes ".to_owned(),
        Err(why) => format!("no {why}"),
    };
    file.write_all(text.as_bytes()).expect("it can be written");
    result
}
