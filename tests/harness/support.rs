//! Common parts of the crash tests and others: numbered output, reliable kills, and the checks after the end of a
//! run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Moat, Runtime, until, until_some};

pub(crate) use Mode::{Background, Foreground};
pub(crate) use Runtime::{Bwrap, Docker, Podman};

/// Whether the client stays with its run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    Foreground,
    Background,
}

/// The end of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) code: Option<u8>,
}

pub(crate) const EXITED_7: End = End {
    state: "failed",
    reason: "exited",
    code: Some(7),
};
pub(crate) const NEVER_STARTED: End = End {
    state: "failed",
    reason: "start-error",
    code: None,
};

/// A shell script that prints numbered lines on both streams.
pub(crate) fn print_lines(from: u32, to: u32) -> String {
    format!(
        "i={from}; while [ $i -le {to} ]; do echo line-$i; echo error-$i >&2; i=$((i+1)); done; "
    )
}

/// A shell script that waits until the test creates this file in the workspace.
pub(crate) fn wait_for(file: &str) -> String {
    format!("while [ ! -e /workspace/{file} ]; do sleep 0.02; done; ")
}

/// The lines of [`print_lines`] on standard output, or with `error-` on standard error.
pub(crate) fn lines(word: &str, from: u32, to: u32) -> String {
    (from..=to).map(|i| format!("{word}{i}\n")).collect()
}

/// Returns the supervisor that owns a run, from the lock file.
#[track_caller]
pub(crate) fn supervisor_of(moat: &Moat, id: &str) -> i32 {
    process_in(&moat.run_dir(id).join("owner.lock"))
}

/// Returns the shim of a sandbox, from its own file.
#[track_caller]
pub(crate) fn shim_of(moat: &Moat, id: &str) -> i32 {
    process_in(&moat.run_dir(id).join("sandbox/shim"))
}

#[track_caller]
fn process_in(path: &Path) -> i32 {
    until_some(&format!("{} names a process", path.display()), || {
        let process: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        i32::try_from(process["pid"].as_i64()?).ok()
    })
}

/// Kills a process with SIGKILL, and waits until its threads and its locks are gone.
#[track_caller]
pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::KILL);
    until(&format!("process {pid} is gone"), || is_gone(pid));
}

#[track_caller]
pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).expect("the process is there");
}

/// Stops a process with SIGSTOP, and waits until all its threads have stopped: a thread that still runs may handle
/// the next signal.
#[track_caller]
pub(crate) fn freeze(pid: i32) {
    signal(pid, Signal::STOP);
    until(&format!("process {pid} has stopped"), || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        threads
            .map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default())
            .all(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
    });
}

/// Whether a process is blocked by a lock of another process.
pub(crate) fn waits_for_a_lock(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid))
}

/// Returns whether a process is gone, or a zombie without threads.
pub(crate) fn is_gone(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
        && threads <= 1
}

/// Kills the supervisor of a run.
#[track_caller]
pub(crate) fn kill_supervisor(moat: &Moat, id: &str) {
    kill(supervisor_of(moat, id));
}

/// Runs `list`: one such command must be enough to repair everything after a crash.
#[track_caller]
pub(crate) fn list(moat: &Moat) {
    moat.args(["list", "--quiet"]).any_stdout().success();
}

pub(crate) fn is_owned(moat: &Moat, id: &str) -> bool {
    let Ok(file) = fs::File::open(moat.run_dir(id).join("owner.lock")) else {
        return false;
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

/// Waits, without any other command, until a run has ended and is cleaned up; returns its record.
#[track_caller]
pub(crate) fn settled(moat: &Moat, id: &str) -> Value {
    until_some(&format!("{id} has ended and is clean"), || {
        let record = moat.record(id);
        let over = !record["cleaned_at"].is_null() && !is_owned(moat, id);
        (over && is_terminal(&record)).then_some(record)
    })
}

pub(crate) fn is_terminal(record: &Value) -> bool {
    record["state"] == "stopped" || record["state"] == "failed"
}

/// Asserts that the run has settled by itself as expected, and that nothing is left.
#[track_caller]
pub(crate) fn assert_ended(moat: &Moat, id: &str, end: End) -> Value {
    let record = settled(moat, id);
    let code = end.code.map_or(Value::Null, Value::from);
    assert!(
        record["state"] == end.state
            && record["reason"] == end.reason
            && record["exit_code"] == code,
        "{end:?} was expected, but the record is\n{record:#}"
    );
    assert_tidy(moat, id, &record);
    record
}

/// Asserts that only the record and the log of a run are left.
#[track_caller]
pub(crate) fn assert_tidy(moat: &Moat, id: &str, record: &Value) {
    assert!(!record["finished_at"].is_null(), "{record:#}");
    for resource in record["resources"].as_array().unwrap() {
        assert_eq!(resource["stage"], "removed", "{record:#}");
    }
    for gone in ["sandbox", "shared", "scratch", "reserve", "run.tmp"] {
        assert!(!moat.run_dir(id).join(gone).exists(), "{gone} is left");
    }
    let name = moat
        .home()
        .join("names")
        .join(record["name"].as_str().unwrap());
    assert!(!name.exists(), "the name is not released");
    let left = moat.leftovers();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Asserts that the log has exactly these lines, each once, and is complete.
#[track_caller]
pub(crate) fn assert_log(moat: &Moat, id: &str, stdout: &str, stderr: &str) {
    let raw = ["logs", "--raw"];
    let out = moat.args(raw).args(["--stdout", id]);
    assert_same(stdout, &out.any_stdout().success().stdout_text());
    let err = moat.args(raw).args(["--stderr", id]);
    assert_same(stderr, &err.any_stderr().success().stderr_text());
    let log = &moat.record(id)["log"];
    assert_eq!(log["complete"], true, "{log}");
}

/// Like `assert_eq`, but a difference does not print megabytes.
#[track_caller]
pub(crate) fn assert_same(expected: &str, found: &str) {
    if expected == found {
        return;
    }
    let mut pairs = expected.lines().zip(found.lines()).enumerate();
    let differs = pairs.find(|(_, (one, other))| one != other);
    panic!(
        "{} lines were expected and {} found; the first difference: {differs:?}",
        expected.lines().count(),
        found.lines().count()
    );
}

/// Returns the times of a record, in their required order.
pub(crate) fn times(record: &Value) -> Vec<&str> {
    let keys = ["created_at", "started_at", "finished_at", "cleaned_at"];
    keys.iter().filter_map(|key| record[key].as_str()).collect()
}

/// Puts a shell script in the place of docker's client; `docker` in the script means the real client.
pub(crate) fn docker_through(moat: Moat, script: &str) -> Moat {
    through(moat, "docker", script)
}

/// The same for any program.
pub(crate) fn through(moat: Moat, program: &str, script: &str) -> Moat {
    let bin = moat.root().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let script = format!("#!/bin/sh\nPATH={path}\n{script}");
    fs::write(bin.join(program), script).unwrap();
    fs::set_permissions(bin.join(program), PermissionsExt::from_mode(0o755)).unwrap();
    moat.path_prepend(bin)
}

/// Returns the number of adoptions of a run.
pub(crate) fn adoptions(moat: &Moat, id: &str) -> usize {
    let diary = fs::read_to_string(moat.run_dir(id).join("supervisor.log")).unwrap_or_default();
    diary
        .lines()
        .filter(|line| line.ends_with(" adopted"))
        .count()
}

/// Creates a test of each scenario for docker, podman and bwrap; `scenario` takes the place.
macro_rules! on_all {
    ($($scenario:ident),* $(,)?) => { $(
        mod $scenario {
            crate::harness::support::tests_of! { super::$scenario; docker: Docker, podman: Podman, bwrap: Bwrap }
        }
    )* };
}
pub(crate) use on_all;

/// The same for scenarios that do not depend on podman's dialect: podman only in `make test-full`.
macro_rules! on_docker_and_bwrap {
    ($($scenario:ident),* $(,)?) => { $(
        mod $scenario {
            crate::harness::support::tests_of! { super::$scenario; docker: Docker, bwrap: Bwrap }
            mod full {
                crate::harness::support::tests_of! { super::super::$scenario; podman: Podman }
            }
        }
    )* };
}
pub(crate) use on_docker_and_bwrap;

/// Tests of one scenario, named after the runtimes.
macro_rules! tests_of {
    ($scenario:path; $($test:ident: $runtime:ident),*) => { $(
        #[test]
        fn $test() {
            if let Some(moat) = crate::harness::Moat::on(crate::harness::Runtime::$runtime) {
                $scenario(&moat);
            }
        }
    )* };
}
pub(crate) use tests_of;
