//! The invariants of docs/architecture.md that the source text shows.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom. A module may use those after it, never one before it.
const LAYERS: [&str; 19] = [
    "fuzzing",
    "cli",
    "launch",
    "session",
    "run",
    "service",
    "container",
    "plan",
    "image",
    "runtime",
    "config",
    "registry",
    "store",
    "program",
    "secret",
    "variable_name",
    "yaml",
    "term",
    "error",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns whether a whole file is tests or test helpers, which may use every module.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    in_tests || matches!(name, Some("tests.rs" | "fake.rs" | "scratch.rs"))
}

/// Returns the code of a file without its comments and its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_module_knows_only_those_below_it() {
    let mut wrong = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        let place = root().join(layer);
        let files = if place.is_dir() {
            sources(&place)
        } else {
            vec![place.with_extension("rs")]
        };
        assert!(!files.is_empty(), "{layer} has no sources");
        for file in files.into_iter().filter(|file| !is_test(file)) {
            let code = code(&file);
            for above in &LAYERS[..rank] {
                if code.contains(&format!("crate::{above}::"))
                    || code.contains(&format!("crate::{{{above}"))
                {
                    wrong.push(format!("{} uses {above}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_store_knows_the_files_of_a_home() {
    let names = ["run.json", "owner.lock", "logs.jsonl", "supervisor.log"];
    for file in sources(&root()) {
        let inside = file.components().any(|part| part.as_os_str() == "store");
        // The man page names these files for its readers.
        let tells = file.file_name().is_some_and(|name| name == "man_page.rs");
        if !inside && !tells {
            let code = code(&file);
            for name in names {
                assert!(!code.contains(name), "{} names {name}", file.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in sources(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no opening paragraph",
            file.display()
        );
    }
}
