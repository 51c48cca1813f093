//! Exit codes: the workload's own, on every runtime.

use std::time::Duration;

use crate::harness::{Moat, Runtime, full};

/// moat uses 125 for "could not run"; the record shows the difference to the workload's own 125. The path of a code
/// from a driver to the client is the same for all codes: in the fast tier docker and bwrap run all ten, the others
/// four.
pub(crate) fn exit_codes(moat: &Moat) {
    let all = full() || matches!(moat.runtime_of(), Runtime::Docker | Runtime::Bwrap);
    let codes: &[i32] = match all {
        true => &[0, 1, 7, 124, 125, 126, 127, 130, 137, 143],
        false => &[0, 7, 126, 137],
    };
    for code in codes {
        exits_with(moat, *code);
        // `only_id` needs a home with one run.
        let id = moat.only_id();
        moat.args(["destroy", &id]).any_stdout().success();
    }
}

fn exits_with(moat: &Moat, code: i32) {
    moat.sh(&format!("exit {code}")).status(code);
    assert_ended_by_itself(moat, code);
}

fn assert_ended_by_itself(moat: &Moat, code: i32) {
    let id = moat.only_id();
    moat.args(["wait", &id]).status(code);
    let record = moat.record(&id);
    let state = if code == 0 { "stopped" } else { "failed" };
    assert_eq!(record["state"], state);
    assert_eq!(record["reason"], "exited");
    assert_eq!(record["exit_code"], code);
    assert_eq!(record["oom_killed"], false);
    assert_eq!(record["log"]["complete"], true);
    let times = ["created_at", "started_at", "finished_at", "cleaned_at"];
    let times = times.map(|time| record[time].as_str().expect("all four times").to_owned());
    assert!(times.is_sorted(), "in this order: {times:?}");
}

pub(crate) fn not_executable_is_126(moat: &Moat) {
    moat.write("data", "no program");
    moat.run(["/workspace/data"])
        .stderr_contains(not_run(moat, "/workspace/data"))
        .status(126);
    assert_ended_by_itself(moat, 126);
}

/// The message names the command, except podman's init's.
fn not_run(moat: &Moat, command: &'static str) -> &'static str {
    match moat.runtime_of().is_podman() {
        true => "failed to exec pid1: ",
        false => command,
    }
}

pub(crate) fn not_found_is_127(moat: &Moat) {
    moat.run(["no-such-program"])
        .stderr_contains(not_run(moat, "no-such-program"))
        .status(127);
    assert_ended_by_itself(moat, 127);
}

pub(crate) fn killed_by_signal_is_137(moat: &Moat) {
    moat.sh("kill -KILL $$").status(137);
    assert_ended_by_itself(moat, 137);
}

/// No process stopped the run: its state is not `stopped`.
pub(crate) fn terminated_by_itself_is_143(moat: &Moat) {
    moat.sh("kill -TERM $$").status(143);
    assert_ended_by_itself(moat, 143);
}

pub(crate) fn timeout_is_124(moat: &Moat) {
    let done = moat
        .run_with(
            ["--timeout", "1s"],
            [
                "sh",
                "-c",
                "trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.05; done",
            ],
        )
        .stdout("hi\nbye\n")
        .status(124);
    assert!(done.took >= Duration::from_secs(1), "{done}");
    let id = moat.only_id();
    let record = moat.record(&id);
    assert_eq!(record["state"], "failed");
    assert_eq!(record["reason"], "timeout");
    moat.args(["wait", &id]).status(124);
    moat.args(["logs", &id]).stdout("hi\nbye\n").success();
}

pub(crate) fn a_timeout_kills_what_ignores_term(moat: &Moat) {
    let done = moat
        .run_with(
            ["--timeout", "1s"],
            ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        )
        .status(124);
    assert!(done.took < Duration::from_secs(30), "{done}");
    assert_eq!(moat.record(&moat.only_id())["reason"], "timeout");
}

/// stdout is for the one document, and the exit code is the workload's.
pub(crate) fn json_of_a_run_is_its_record(moat: &Moat) {
    let mut flags = vec!["--json"];
    if moat.has_images() {
        flags.extend(["--image", crate::harness::IMAGE]);
    }
    let done = moat
        .args(["run", "--quiet"])
        .args(flags)
        .args(["--", "sh", "-c", "echo out; echo err >&2; exit 3"])
        .any_stdout()
        .status(3);
    let document = done.json();
    let id = moat.only_id();
    assert_eq!(document, moat.record(&id));
    assert_eq!(document["exit_code"], 3);
    moat.args(["logs", "--stdout", &id])
        .stdout("out\n")
        .success();
}

/// The timeout counts from the start of the run, with or without a client.
pub(crate) fn timeout_in_the_background(moat: &Moat) {
    let id = moat.background_with(["--timeout", "1s"], "exec sleep 1000");
    moat.args(["wait", &id]).status(124);
    assert_eq!(moat.record(&id)["reason"], "timeout");
}
