//! The release binary, as `make build` makes it: every command once, every command with bad input, a run on each
//! runtime, a session, and a run on a terminal.
//!
//! All other tests use the binary that cargo builds for them. It has failpoints, is not optimised and unwinds after a
//! panic; the release does none of this. MOAT_SMOKE_BINARY names the release, and `tests/run` builds it and sets the
//! variable. Without the variable each test here is skipped with a note.

mod bad_input;
mod command;
mod interactive;
mod run;
mod session;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{Done, Moat, Runtime, skip};

/// Defines a test of each command, and a test of its bad input.
macro_rules! commands {
    ($($name:ident)*) => {
        /// The commands that have both tests.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        mod every_command {
            $(#[test] fn $name() { super::command::$name(); })*
        }

        mod every_bad_input {
            $(#[test] fn $name() { super::bad_input::is_refused(stringify!($name)); })*
        }
    };
}

commands! {
    run check logs list wait stop kill exec inspect services export destroy clean volumes up down wt shell whose deps
    status doctor help completions man version
}

/// Returns the release binary, or `None` with a note if there is none.
fn binary() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("MOAT_SMOKE_BINARY") else {
        skip(
            "MOAT_SMOKE_BINARY names no release binary; tests/run builds one and sets the variable",
        );
        return None;
    };
    let path = std::fs::canonicalize(Path::new(&path));
    Some(path.expect("MOAT_SMOKE_BINARY names a file"))
}

/// Returns a place that calls the release binary, without a runtime.
fn place() -> Option<Moat> {
    binary().map(|binary| Moat::new().with_binary(binary))
}

/// Returns the same with a runtime, if that is installed.
fn on(runtime: Runtime) -> Option<Moat> {
    let binary = binary()?;
    Moat::on(runtime).map(|moat| moat.with_binary(binary))
}

/// Fails if a call panicked; a panic aborts the release binary.
#[track_caller]
fn assert_no_panic(done: &Done) {
    let text = [done.stdout.as_slice(), &done.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    for word in ["panicked at", "RUST_BACKTRACE", "src/"] {
        assert!(!text.contains(word), "it has panicked: {done}");
    }
    assert_eq!(done.signal, None, "{done}");
}

/// Returns the names in the command list of `moat help`.
fn commands_of_help(help: &str) -> BTreeSet<String> {
    let list = help.split("\nCommands:\n").nth(1).expect("a list");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    lines.filter_map(name).collect()
}

/// A new command needs a smoke test. The test also checks cargo's binary, so that it is never skipped.
#[test]
fn every_command_of_help_is_tested() {
    let release = binary().map(|binary| Moat::new().with_binary(binary));
    for moat in [Some(Moat::new()), release].into_iter().flatten() {
        let help = moat.args(["help"]).any_stdout().success().stdout_text();
        let tested: BTreeSet<String> = TESTED.iter().copied().map(str::to_owned).collect();
        assert_eq!(commands_of_help(&help), tested);
        let script = moat.args(["completions", "fish"]).any_stdout();
        let script = script.success().stdout_text();
        for name in TESTED {
            let entry = format!("'__moat_at {name}");
            assert!(script.contains(&entry), "{entry} is not in\n{script}");
        }
    }
}

/// A checkpoint that stops cargo's binary must not stop the release binary.
#[test]
fn the_release_has_no_failpoints() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let call = moat.sh("echo done").checkpoint("exited");
    call.stdout("done\n").success();
    let left = std::fs::read_dir(moat.root().join("checkpoints")).unwrap();
    assert_eq!(left.count(), 0);
}
