//! The engine client that carries the output dies, or prints a message that the workload might print. The engine's
//! own log has the missing output.

use std::fs;
use std::process::Command;

use crate::harness::support::{
    Docker, EXITED_7, assert_ended, assert_log, freeze, kill, lines, print_lines, signal,
    supervisor_of, wait_for,
};
use crate::harness::{Moat, Signal, until};

/// Returns the engine client with these arguments that the supervisor started.
#[track_caller]
fn attach_client(supervisor: i32) -> i32 {
    let threads = fs::read_dir(format!("/proc/{supervisor}/task")).unwrap();
    let children: String = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .collect();
    let attached = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains("\0start\0--attach\0")
    };
    let mut pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.find(attached).expect("a client is attached")
}

/// The supervisor learns of both deaths at once: at its first check the container has already exited.
#[test]
fn killed_just_before_the_container_ends() {
    let Some(moat) = Moat::on(Docker) else { return };
    let script = print_lines(1, 50) + &wait_for("go") + &print_lines(51, 5000) + "exit 7";
    let client = moat.sh(&script).spawn();
    client.wait_stdout("line-50\n");
    let id = moat.only_id();
    moat.wait_log(&id, "error-50\"");
    let supervisor = supervisor_of(&moat, &id);
    let attached = attach_client(supervisor);
    freeze(supervisor);
    kill(attached);
    moat.write("go", "");
    until("the container has exited", || {
        let wait = Command::new("docker").args(["wait", &id]).output();
        wait.is_ok_and(|output| output.stdout == b"7\n")
    });
    signal(supervisor, Signal::CONT);
    let done = client.wait();
    assert_eq!(done.code, Some(7), "{done}");
    assert_eq!(done.stdout_text(), lines("line-", 1, 5000));
    assert_ended(&moat, &id, EXITED_7);
    assert_log(
        &moat,
        &id,
        &lines("line-", 1, 5000),
        &lines("error-", 1, 5000),
    );
}

/// The last output of a workload belongs to the workload, even if it looks like a message of the engine client.
#[test]
fn a_workload_that_speaks_like_the_client() {
    let Some(moat) = Moat::on(Docker) else { return };
    let words = "Error: dial tcp: connection refused, try again\n";
    let script = format!("echo out; printf '{words}' >&2; exit 1");
    let done = moat.sh(&script).any_stdout().any_stderr().status(1);
    assert_eq!(done.stdout_text(), "out\n");
    assert_eq!(done.stderr_text(), words);
    assert_log(&moat, &moat.only_id(), "out\n", words);
}
