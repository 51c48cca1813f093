//! What is found out once in a run of all tests.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Whether something is there, as the first test that asks finds out: cargo-nextest gives each test a process of its
/// own, in which nothing is known of what others have found. Without it, asks each time.
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
