//! A run on each runtime: its output, exit code and record, and that nothing is left.

use crate::harness::Runtime;
use crate::smoke::{assert_no_panic, on};

/// Runs in the foreground, then in the background with the client's input from a pipe.
fn works_on(runtime: Runtime) {
    let Some(moat) = on(runtime) else {
        return;
    };
    moat.write("file", "content\n");
    let done = moat
        .sh("cat file; echo words >&2; echo made > made; exit 7")
        .stdout("content\n")
        .stderr("words\n")
        .status(7);
    assert_no_panic(&done);
    let made = std::fs::read_to_string(moat.workspace().join("made"));
    assert_eq!(made.unwrap(), "made\n");
    let record = moat.record(&moat.only_id());
    assert_eq!(record["runtime"], moat.runtime_name());
    assert_eq!(record["reason"], "exited");
    assert_eq!(record["log"]["complete"], true);

    let id = moat.background("echo begun; sleep 1000");
    moat.wait_log(&id, "begun");
    moat.args(["logs", &id]).stdout("begun\n").success();
    moat.args(["kill", &id]).stdout("[ID]\n").success();
    moat.args(["wait", &id]).status(137);
}

#[test]
fn docker() {
    works_on(Runtime::Docker);
}

#[test]
fn podman() {
    works_on(Runtime::Podman);
}

#[test]
fn bwrap() {
    works_on(Runtime::Bwrap);
}

#[test]
fn apple() {
    works_on(Runtime::Apple("1.2.2"));
}

/// One megabyte of input comes back as output.
#[test]
fn bytes_pass_unchanged() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let call = moat.run_with(["-i"], ["cat"]);
    call.stdin(&bytes).stdout(&bytes).success();
    moat.args(["logs", "--raw"]).stdout(&bytes).success();
}
