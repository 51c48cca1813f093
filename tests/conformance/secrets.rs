//! Values of variables appear on no command line, in no record and in none of moat's logs.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Call, Moat, SAMPLE_INTERVAL};

const VALUE: &str = "s3cret-93b1f0e7";

pub(crate) fn secrets_are_nowhere(moat: &Moat) {
    let over = AtomicBool::new(false);
    let mut programs = BTreeSet::new();
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&over));
        // Also if an assertion fails: the scope waits for the sampler.
        let end = SetOnDrop(&over);
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
        drop(end);
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

/// Sets a flag at the end of its scope, also if that is a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Secrets in each place that can have one, and a hook, which gets them, too.
pub(crate) fn secrets_of_all_kinds_are_nowhere(moat: &Moat) {
    // Outside of MOAT_HOME, which is searched, and of the workspace, which belongs to the workload.
    fs::write(moat.root().join("value"), format!("{VALUE}\n")).expect("a file");
    let answer = format!("cat '{}'", moat.root().join("value").display());
    tool(
        moat,
        "op",
        &format!("[ \"$1 $2 $3\" = 'read --no-newline op://vault/item/field' ] && {answer}"),
    );
    tool(
        moat,
        "aws",
        &format!(
            "case \"$*\" in 'ssm get-parameter '*--with-decryption*' --name /app/token') {answer};; *) exit 9;; esac"
        ),
    );
    moat.write("moat.yaml", YAML);
    let length = VALUE.len();
    let script = format!(
        "for v in \"$A\" \"$B\" \"$C\" \"$D\"; do echo ${{#v}}; done; [ $A = {} ]",
        digest()
    );
    let over = AtomicBool::new(false);
    let mut programs = BTreeSet::new();
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&over));
        // Also if an assertion fails: the scope waits for the sampler.
        let end = SetOnDrop(&over);
        for flags in [&["-v"][..], &["--json"], &["-b"]] {
            let call = moat.run_with(flags, ["sh", "-c", &script]);
            let done = with_tools(moat, call)
                .env("MY_VALUE", VALUE)
                .any_stdout()
                .any_stderr()
                .run();
            assert_eq!(done.code, Some(i32::from(flags != ["-b"])), "{done}");
            let said = done.stdout_text() + &done.stderr_text();
            assert!(!said.contains(VALUE), "{said}");
        }
        drop(end);
        programs = sampler.join().expect("the sampler");
    });
    assert!(
        programs.iter().any(|program| program.contains("moat")),
        "{programs:?}"
    );
    for id in moat.ids() {
        moat.args(["wait", &id]).status(1);
        moat.args(["logs", &id])
            .stdout(format!("{length}\n").repeat(5))
            .success();
        let mut names = moat.record(&id)["env"].as_array().expect("names").clone();
        names.sort_by_key(ToString::to_string);
        assert_eq!(names, ["A", "B", "C", "D"]);
    }
    // A plan has the names of secrets, and does not look up their values.
    for flags in [&["--dry-run", "--json"][..], &["--dry-run"]] {
        let done = moat.run_with(flags, ["true"]).any_stdout().success();
        let said = done.stdout_text();
        assert!(
            !said.contains(VALUE) && !said.contains("op://") && !said.contains("MY_VALUE"),
            "{said}"
        );
        if flags.len() == 2 {
            assert_eq!(
                done.json()["secrets"],
                serde_json::json!(["A", "B", "C", "D"])
            );
        }
    }
    for path in files(moat.home()) {
        let bytes = fs::read(&path).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(VALUE), "{} has the value", path.display());
    }
    // A flag overrides a secret, which moat then does not look up.
    moat.write("moat.yaml", "secrets: {A: 'env://NOT_SET'}\n");
    moat.run_with(["-e", "A=flag"], ["sh", "-c", "echo $A"])
        .stdout("flag\n")
        .success();
}

const YAML: &str = "secrets:\n  A: env://MY_VALUE\n  B: file://../value\n  C: op://vault/item/field\n  D: ssm:///app/token\n\
    hooks: {pre_run: 'echo ${#B}'}\n";

pub(crate) fn a_secret_that_cannot_be_had_ends_it_before_anything_is_made(moat: &Moat) {
    tool(moat, "op", "echo 'not signed in' >&2; exit 1");
    tool(moat, "empty", "exit 0");
    let mut cases = vec![
        (
            "env://NOT_SET",
            "the variable NOT_SET is not set",
            "set it in the environment of moat",
        ),
        (
            "file://none",
            "none: ",
            "a relative path starts at the directory of the configuration file",
        ),
        (
            "file://.",
            "is not a file",
            "a relative path starts at the directory of the configuration file",
        ),
        ("op://v/i/f", "op failed: not signed in", "op signin"),
        (
            "env://EMPTY",
            "it is empty",
            "store a value, or remove the secret from moat.yaml",
        ),
    ];
    if std::process::Command::new("aws")
        .arg("--version")
        .output()
        .is_err()
    {
        cases.push((
            "ssm://name",
            "there is no 'aws' on PATH",
            "aws ssm get-parameter",
        ));
    }
    for (place, why, hint) in cases {
        moat.write("moat.yaml", format!("secrets: {{TOKEN: \"{place}\"}}\n"));
        with_tools(moat, moat.run(["true"]))
            .env("EMPTY", "")
            .stderr_contains("error: cannot get the secret TOKEN: ")
            .stderr_contains(why)
            .stderr_contains("hint: ")
            .stderr_contains(hint)
            .status(125);
        assert!(moat.ids().is_empty(), "{place}");
    }
}

/// A fake program, found by PATH.
fn tool(moat: &Moat, name: &str, script: &str) {
    let dir = moat.root().join("tools");
    fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("executable");
}

fn with_tools<'a>(moat: &Moat, call: Call<'a>) -> Call<'a> {
    let dir = moat.root().join("tools");
    call.env("PATH", format!("{}:{}", dir.display(), moat.path_text()))
}

/// Returns a word made from the value, so that the test's own arguments do not contain the value.
fn digest() -> String {
    VALUE.chars().rev().collect()
}

/// Watches all command lines until the end; returns the programs. Fails if one contains the value.
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
        std::thread::sleep(SAMPLE_INTERVAL);
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
