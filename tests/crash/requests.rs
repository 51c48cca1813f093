//! Requests to a run whose supervisor is dead work at the first attempt.

use std::time::Duration;

use crate::harness::support::{
    Docker, EXITED_7, End, adoptions, assert_ended, assert_log, freeze, kill, kill_supervisor,
    lines, list, on_all, on_docker_and_bwrap, print_lines, signal, supervisor_of, wait_for,
};
use crate::harness::{Moat, Runtime, Signal, until, until_some};

on_all!(stop, kill_at_once);

on_docker_and_bwrap!(
    stop_has_the_time_that_was_asked_for,
    destroy,
    wait,
    follow_the_log,
    stop_recorded_before_the_death,
    stop_signalled_before_the_death,
    kill_signalled_before_the_death,
    timeout_outlives_the_supervisor,
);

/// The supervisor is stopped, not dead: no command can replace it, so the waiting command says what it waits for.
#[test]
fn a_frozen_supervisor_is_told() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    let id = moat.background("exec sleep 600");
    let supervisor = supervisor_of(&moat, &id);
    freeze(supervisor);
    let mut call = moat.args(["kill", &id]).spawn();
    call.wait_stderr(&format!(
        "still waiting for the supervisor of {id}, process {supervisor}, which is stopped; \
         to continue it: kill -CONT {supervisor}\n"
    ));
    assert!(call.is_running());
    signal(supervisor, Signal::CONT);
    assert_eq!(call.wait().code, Some(0));
    assert_ended(&moat, &id, KILLED);
}

const STOPPED: End = End {
    state: "stopped",
    reason: "user-stop",
    code: Some(143),
};
const KILLED: End = End {
    state: "stopped",
    reason: "killed",
    code: Some(137),
};

fn abandoned(moat: &Moat, script: &str) -> String {
    let id = moat.background(script);
    moat.wait_log(&id, "line-20\"");
    kill_supervisor(moat, &id);
    id
}

fn sleeper() -> String {
    print_lines(1, 20) + "exec sleep 600"
}

/// A workload that exits with 7 as soon as the test allows it.
fn waiter() -> String {
    print_lines(1, 20) + &wait_for("go") + &print_lines(21, 40) + "exit 7"
}

fn stop(moat: &Moat) {
    let id = abandoned(moat, &sleeper());
    moat.args(["stop", &id]).stdout(format!("{id}\n")).success();
    assert_ended(moat, &id, STOPPED);
    assert_log(moat, &id, &lines("line-", 1, 20), &lines("error-", 1, 20));
}

/// The adopting supervisor finds the request and gets the signal: that is one stop, not two.
fn stop_has_the_time_that_was_asked_for(moat: &Moat) {
    // In real time: the default grace period is 10 s.
    moat.real_time();
    let script = print_lines(1, 20) + "trap 'echo term' TERM; while :; do sleep 0.1; done";
    let id = abandoned(moat, &script);
    let call = moat.args(["stop", "--time", "2", &id]);
    let done = call.stdout(format!("{id}\n")).success();
    assert!(done.took < Duration::from_secs(9), "{done}");
    let killed = End {
        code: Some(137),
        ..STOPPED
    };
    assert_ended(moat, &id, killed);
    let out = lines("line-", 1, 20) + "term\n";
    assert_log(moat, &id, &out, &lines("error-", 1, 20));
}

/// No command waits for ever for an engine that is down.
#[test]
fn who_cannot_be_stopped_is_said() {
    let Some(moat) = Moat::on(Docker) else { return };
    let socket = moat.root().join("d.sock");
    let link = || std::os::unix::fs::symlink("/var/run/docker.sock", &socket);
    link().unwrap();
    let moat = moat.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let id = abandoned(&moat, &sleeper());
    std::fs::remove_file(&socket).unwrap();
    for args in [&["stop", &id][..], &["destroy", "-f", &id]] {
        let call = moat.args(args).deadline(Duration::from_secs(60));
        let done = call
            .stderr_contains(&format!(
                "{id} has no supervisor: docker's engine cannot be reached"
            ))
            .stderr_contains("moat doctor")
            .status(1);
        assert!(done.took < Duration::from_secs(40), "{done}");
    }
    link().unwrap();
    moat.args(["stop", &id]).any_stdout().success();
    assert_ended(&moat, &id, STOPPED);
}

fn kill_at_once(moat: &Moat) {
    let id = abandoned(moat, &sleeper());
    moat.args(["kill", &id]).stdout(format!("{id}\n")).success();
    assert_ended(moat, &id, KILLED);
    assert_log(moat, &id, &lines("line-", 1, 20), &lines("error-", 1, 20));
}

fn destroy(moat: &Moat) {
    let id = abandoned(moat, &sleeper());
    let call = moat.args(["destroy", "-f", &id]);
    call.stdout(format!("{id}\n")).success();
    assert!(moat.ids().is_empty() && moat.leftovers().is_empty());
}

fn wait(moat: &Moat) {
    let id = abandoned(moat, &waiter());
    let waiting = moat.args(["wait", &id]).spawn();
    until("a supervisor has adopted the run", || {
        adoptions(moat, &id) == 1
    });
    moat.write("go", "");
    let done = waiting.wait();
    assert_eq!(done.code, Some(7), "{done}");
    assert_ended(moat, &id, EXITED_7);
}

fn follow_the_log(moat: &Moat) {
    let id = abandoned(moat, &waiter());
    let following = moat.args(["logs", "-f", "--stdout", &id]).spawn();
    until("a supervisor has adopted the run", || {
        adoptions(moat, &id) == 1
    });
    moat.write("go", "");
    let done = following.wait();
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(done.stdout_text(), lines("line-", 1, 40));
    assert_ended(moat, &id, EXITED_7);
}

/// The record has the stop request, and the command that made it still waits.
fn stop_recorded_before_the_death(moat: &Moat) {
    // The workload ignores SIGTERM, so it ends only after the grace period.
    let id = moat.background(&format!(
        "trap '' TERM; {}{}",
        print_lines(1, 20),
        wait_for("never")
    ));
    moat.wait_log(&id, "error-20\"");
    let stopping = moat.args(["stop", "--time", "3", &id]).spawn();
    moat.wait_state(&id, "stopping");
    kill_supervisor(moat, &id);
    list(moat);
    let done = stopping.wait();
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.took < Duration::from_secs(20), "{done}");
    let stopped_hard = End {
        code: Some(137),
        ..STOPPED
    };
    assert_ended(moat, &id, stopped_hard);
}

/// The signal reached the supervisor, which died before it could act or write anything.
fn stop_signalled_before_the_death(moat: &Moat) {
    signalled_before_the_death(moat, "stop", STOPPED);
}

fn kill_signalled_before_the_death(moat: &Moat) {
    signalled_before_the_death(moat, "kill", KILLED);
}

fn signalled_before_the_death(moat: &Moat, command: &str, end: End) {
    let id = moat.background(&sleeper());
    moat.wait_log(&id, "error-20\"");
    let supervisor = supervisor_of(moat, &id);
    freeze(supervisor);
    let call = moat.args([command, &id]).deadline(Duration::from_secs(20));
    let asking = call.spawn();
    until_some("the signal is pending", || {
        has_pending_signal(supervisor).then_some(())
    });
    kill(supervisor);
    let done = asking.wait();
    assert_eq!(done.code, Some(0), "{done}");
    assert_ended(moat, &id, end);
}

/// Returns whether SIGTERM or SIGQUIT is pending for the whole process.
fn has_pending_signal(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let mask = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    mask & (1 << 14 | 1 << 2) != 0
}

fn timeout_outlives_the_supervisor(moat: &Moat) {
    let id = moat.background_with(["--timeout", "2s"], &sleeper());
    moat.wait_log(&id, "error-20\"");
    kill_supervisor(moat, &id);
    list(moat);
    let timeout = End {
        state: "failed",
        reason: "timeout",
        code: Some(143),
    };
    assert_ended(moat, &id, timeout);
    moat.args(["wait", &id]).any_stderr().status(124);
}

#[test]
fn a_kept_container_stays_kept() {
    let Some(moat) = Moat::on(Docker) else { return };
    let id = moat.background_with(["--keep"], &waiter());
    moat.wait_log(&id, "error-20\"");
    kill_supervisor(&moat, &id);
    list(&moat);
    moat.write("go", "");
    let record = crate::harness::support::settled(&moat, &id);
    assert_eq!(record["exit_code"], 7, "{record:#}");
    assert_eq!(moat.containers().len(), 1, "it was to be kept");
    moat.args(["destroy", &id]).any_stdout().success();
    assert!(moat.leftovers().is_empty());
}
