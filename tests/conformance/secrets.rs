//! Values of variables are on no command line, in no record and in no log of ours.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::Moat;

const VALUE: &str = "s3cret-93b1f0e7";

pub(crate) fn secrets_are_nowhere(moat: &Moat) {
    let over = AtomicBool::new(false);
    let mut programs = BTreeSet::new();
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&over));
        for flag in ["TOKEN", "DOCKER_TOKEN", "HTTP_PROXY"] {
            moat.run_with(
                ["-e", flag, "-v"],
                ["sh", "-c", &format!("test ${flag} = {}", digest())],
            )
            .env(flag, VALUE)
            .any_stderr()
            .status(1);
            moat.run_with(["-e", flag], ["sh", "-c", &format!("test -n \"${flag}\"")])
                .env(flag, VALUE)
                .success();
        }
        over.store(true, Ordering::Release);
        programs = sampler.join().expect("the sampler");
    });
    assert!(
        programs.iter().any(|program| program.contains("moat")),
        "the sampler saw moat: {programs:?}"
    );
    for path in files(moat.home()) {
        let bytes = fs::read(&path).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(VALUE), "{} has the value", path.display());
    }
}

/// A word that is not the value, so that the test's own arguments do not hold it.
fn digest() -> String {
    VALUE.chars().rev().collect()
}

/// Looks at all command lines until it is over; gives the programs seen. Fails on the value.
fn sample(over: &AtomicBool) -> BTreeSet<String> {
    let mut programs = BTreeSet::new();
    while !over.load(Ordering::Acquire) {
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(line) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            assert!(!line.contains(VALUE), "on a command line: {line}");
            programs.insert(line.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    programs
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
