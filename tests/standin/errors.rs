//! The error messages of each release, as a snapshot. src/runtime/apple/tests.rs reads the same file, and has a table
//! of how moat's driver understands each message.

use std::fmt::Write;

use crate::harness::{IMAGE, assert_snapshot};
use crate::standin::place::StandIn;

const RELEASES: [&str; 5] = ["0.7.1", "0.9.0", "0.10.0", "0.12.3", "1.2.2"];

/// Calls that fail when only the container `one`, which was never started, and the network `net-1` exist.
const NATURAL: &[(&str, &[&str])] = &[
    ("inspect, missing", &["inspect", "x"]),
    ("start, missing", &["start", "--attach", "x"]),
    ("stop, missing", &["stop", "--time", "1", "x"]),
    ("kill, missing", &["kill", "x"]),
    ("kill, ended", &["kill", "one"]),
    ("delete, missing", &["delete", "--force", "x"]),
    ("exec, missing", &["exec", "x", "true"]),
    ("exec, ended", &["exec", "one", "true"]),
    ("logs, missing", &["logs", "-n", "1", "x"]),
    ("logs, never started", &["logs", "-n", "1", "one"]),
    ("create, taken", &["create", "--name", "one", IMAGE]),
    ("create, no network", &["create", "--network", "x", IMAGE]),
    ("create, no image", &["create", "nosuch:1"]),
    ("create, unknown option", &["create", "--nosuch", IMAGE]),
    ("image inspect, missing", &["image", "inspect", "nosuch:1"]),
    ("image pull, missing", &["image", "pull", "nosuch:1"]),
    ("network inspect, missing", &["network", "inspect", "x"]),
    ("network create, taken", &["network", "create", "net-1"]),
    ("network delete, missing", &["network", "delete", "x"]),
    ("wait", &["wait", "one"]),
];

const FAULTS: &[(&str, &[&str])] = &[
    ("xpc-invalid", &["list", "--all"]),
    ("xpc-invalid", &["create", IMAGE]),
    ("xpc-interrupted", &["inspect", "one"]),
    ("xpc-interrupted", &["start", "--attach", "one"]),
    ("xpc-timeout", &["create", IMAGE]),
    ("xpc-timeout", &["stop", "one"]),
    ("not-found-silent", &["delete", "x"]),
    ("not-found-silent", &["network", "delete", "x"]),
    ("not-found-silent", &["image", "delete", "x"]),
    ("exists", &["create", "--name", "x", IMAGE]),
    ("exists", &["network", "create", "x"]),
    ("pending", &["network", "delete", "x"]),
    ("referring", &["network", "delete", "x"]),
    ("ip-allocator", &["network", "delete", "x"]),
    ("stopping-delete", &["delete", "x"]),
    ("volume-busy", &["start", "--attach", "one"]),
    ("port-busy", &["start", "--attach", "one"]),
    ("port-privileged", &["start", "--attach", "one"]),
    ("kernel-missing", &["create", IMAGE]),
    ("rosetta", &["list", "--all"]),
    ("not-macos26", &["create", "--network", "x", IMAGE]),
    ("transport-inactive", &["build", "."]),
    ("stream-closed", &["build", "."]),
    ("builder-timeout", &["build", "."]),
    ("pull-404", &["image", "pull", "nosuch:1"]),
    ("pull-401", &["image", "pull", "nosuch:1"]),
    ("cancellation", &["start", "--attach", "one"]),
];

/// The messages of one case, each with the releases that print it.
type Words = Vec<(String, Vec<&'static str>)>;

#[test]
fn errors_of_each_release() {
    let mut said: Vec<(String, Words)> = Vec::new();
    for release in RELEASES {
        let Some(it) = StandIn::new(release) else {
            return;
        };
        for (title, shown) in of(&it) {
            let at = said.iter().position(|(other, _)| *other == title);
            let at = at.unwrap_or_else(|| {
                said.push((title, Vec::new()));
                said.len() - 1
            });
            let words = &mut said[at].1;
            match words.iter_mut().find(|(other, _)| *other == shown) {
                Some((_, releases)) => releases.push(release),
                None => words.push((shown, vec![release])),
            }
        }
    }
    let mut text = String::new();
    for (title, words) in said {
        for (shown, releases) in words {
            writeln!(text, "--- {title}: {}\n{shown}", releases.join(" ")).unwrap();
        }
    }
    assert_snapshot("standin-errors", &text);
}

/// Returns the message of one release for each case.
fn of(it: &StandIn) -> Vec<(String, String)> {
    it.ok(&["create", "--name", "one", IMAGE, "true"]);
    it.ok(&["network", "create", "net-1"]);
    let mut said = Vec::new();
    let mut add = |title: String, args: &[&str]| {
        let done = it.call(args);
        said.push((
            title,
            format!("{}exit code {}", sorted(&done.stderr), done.code),
        ));
    };
    for (title, args) in NATURAL {
        add((*title).to_owned(), args);
    }
    for (fault, args) in FAULTS {
        it.rules(&[&format!(r#"{{"count":-1,"do":"{fault}"}}"#)]);
        let words = args.iter().filter(|word| !word.contains('/'));
        add(
            format!("{fault}: {}", words.copied().collect::<Vec<_>>().join(" ")),
            args,
        );
    }
    it.rules(&[]);
    it.ok(&["__fake", "system", "nokernel"]);
    add("no kernel: create".to_owned(), &["create", IMAGE]);
    it.ok(&["__fake", "system", "stopped"]);
    for word in ["list", "create", "start", "delete", "wait"] {
        add(
            format!("services down: {word}"),
            &[word, "x"][..if word == "list" { 1 } else { 2 }],
        );
    }
    it.ok(&["__fake", "system", "running"]);
    said
}

/// Sorts the values in a log line, because the releases print them in any order.
fn sorted(stderr: &str) -> String {
    let sort = |line: &str| {
        let (before, rest) = line.split_once(": [")?;
        let mut values: Vec<&str> = rest.strip_suffix(']')?.split(", \"").collect();
        values
            .iter_mut()
            .for_each(|value| *value = value.trim_start_matches('"'));
        values.sort_unstable();
        let is_log = values.iter().all(|value| value.contains("\": "));
        is_log.then(|| format!("{before}: [\"{}]", values.join(", \"")))
    };
    stderr
        .lines()
        .map(|line| sort(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}
