//! Notes of tests that cannot run here. `make test` counts them.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes that the current test, or a part of it, could not run, and the reason.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed test");
    eprintln!("SKIPPED {test}: {reason}");
    let Some(path) = std::env::var_os("MOAT_TEST_SKIPS") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("the file in MOAT_TEST_SKIPS can be written");
    // One write, so that lines of parallel tests do not mix.
    file.write_all(format!("{test}: {reason}\n").as_bytes())
        .expect("the skip is noted");
}
