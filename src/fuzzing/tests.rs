//! Seeds that are changed a little, the same way each time: no change breaks a property.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use arbtest::arbitrary::{self, Unstructured};
use arbtest::arbtest;

use super::*;

/// The longest time that a case may take, on a busy machine and without optimisation.
const CASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Cases of each target; a hundred times as many in the full tier.
const CASES: u64 = 300;

/// Random bytes that a case is made of.
const ENTROPY_BYTES: u64 = 256;

/// Pieces of YAML, JSON, keys and escape sequences that random bytes rarely contain.
const WORDS: [&[u8]; 24] = [
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!str ",
    b"!<x> ",
    b"? ",
    b": ",
    b"- ",
    b"[",
    b"{",
    b"}",
    b"'",
    b"\"",
    b"\\",
    b"|\n  ",
    b"---\n",
    b"\t",
    b"\0",
    b"\r\n",
    b"\x1b[2J",
    b"\x1f",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"18446744073709551616",
];

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The seeds of a target, in the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(fuzz_dir().join("seeds").join(target)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A seed in which up to five pieces are replaced.
fn changed(random: &mut Unstructured<'_>, seeds: &[Vec<u8>]) -> arbitrary::Result<Vec<u8>> {
    let mut bytes = random.choose(seeds)?.clone();
    for _ in 0..random.int_in_range(0..=5)? {
        let start = random.int_in_range(0..=bytes.len())?;
        let length = random.int_in_range(0..=bytes.len() - start)?;
        let (length, with) = match random.int_in_range(0..=5)? {
            0 => (0, random.choose(&WORDS)?.to_vec()),
            1 => (length.min(8), random.choose(&WORDS)?.to_vec()),
            2 => (0, random.choose(&WORDS)?.repeat(300)),
            3 => (0, bytes[start..start + length].to_vec()),
            4 => (length, Vec::new()),
            _ => (length.min(1), vec![random.arbitrary()?]),
        };
        bytes.splice(start..start + length, with);
    }
    Ok(bytes)
}

/// The cases are the same each time.
#[test]
fn no_changed_seed_breaks_a_property() {
    let full = std::env::var("MOAT_TEST_FULL").is_ok_and(|value| value == "1");
    let cases = if full { 100 * CASES } else { CASES };
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        for number in 1..=cases {
            let case = arbtest(|random| {
                let bytes = changed(random, &seeds)?;
                let start = Instant::now();
                let result = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
                let took = start.elapsed();
                let is_good = result.is_ok() && took < CASE_TIMEOUT;
                assert!(is_good, "{name}, {took:?}: {}", bytes.escape_ascii());
                Ok(())
            });
            // arbtest takes the size from the lower half of the number.
            case.seed(number << 32 | ENTROPY_BYTES).run();
        }
    }
}

/// Seeds that moat refuses reach nothing behind the refusal.
#[test]
fn the_seeds_are_accepted() {
    let accepted = |target: &str, is_accepted: &dyn Fn(&str) -> bool| {
        for seed in seeds(target) {
            let text = String::from_utf8(seed).unwrap();
            assert!(is_accepted(&text), "{target}: {text}");
        }
    };
    accepted("yaml", &|text| Source::parse("x", text.to_owned()).is_ok());
    accepted("moat_yaml", &|text| {
        let file = config::parse_project("x", text.to_owned(), Path::new("/"));
        file.is_ok_and(|file| file.source.finish().is_ok())
    });
    accepted("config_yaml", &|text| {
        let file = config::parse_defaults("x", text.to_owned(), Path::new("/"));
        file.is_ok_and(|defaults| defaults.file.source.finish().is_ok())
    });
    accepted("registry_yaml", &|text| {
        let origin = EntryOrigin::BuiltIn;
        let added = Registry::default().add("x", text.to_owned(), &origin);
        added.is_ok()
    });
    accepted("env_file", &|text| {
        config::parse_env_file(text).1.is_empty()
    });
    accepted("log_entry", &|text| {
        LogEntry::parse(text.as_bytes()).is_some()
    });
    accepted("record", &|text| {
        serde_json::from_str::<RunRecord>(text).is_ok()
            || serde_json::from_str::<Session>(text).is_ok()
    });
}

/// Each target has a file that calls it, and seeds; and no other has.
#[test]
fn the_targets_are_those_of_the_fuzz_crate() {
    let names = |dir: &str| {
        let entries = fs::read_dir(fuzz_dir().join(dir)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let mut expected = TARGETS.map(|(name, _)| name.to_owned()).to_vec();
    expected.sort();
    assert_eq!(names("fuzz_targets"), expected);
    assert_eq!(names("seeds"), expected);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for name in expected {
        let file = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&file), "{file} is not in fuzz/Cargo.toml");
        let text = fs::read_to_string(fuzz_dir().join(file)).unwrap();
        assert!(text.contains(&format!("moat::fuzzing::{name}(")), "{text}");
    }
}
