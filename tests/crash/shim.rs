//! SIGKILL of a process between supervisor and sandbox: nothing is left, and the record claims nothing that is
//! unknown.

use crate::harness::support::{
    Bwrap, End, assert_ended, kill, kill_supervisor, list, print_lines, settled, shim_of, wait_for,
};
use crate::harness::{Moat, until};

const LOST: End = End {
    state: "failed",
    reason: "lost",
    code: None,
};

/// The workload would run for a long time if it did not die with the shim.
fn script() -> String {
    print_lines(1, 10) + &wait_for("never")
}

fn assert_lost(moat: &Moat, id: &str) {
    let record = assert_ended(moat, id, LOST);
    let kept = moat.args(["logs", "--raw", "--stdout", id]).any_stdout();
    let kept = kept.any_stderr().success().stdout_text();
    assert_eq!(kept, crate::harness::support::lines("line-", 1, 10));
    // The pipe's content died with the shim, so moat cannot know whether there was any.
    assert_eq!(record["log"]["complete"], false, "{record:#}");
    assert!(record["log"]["missing_since"].is_string(), "{record:#}");
}

#[test]
fn the_shim_of_a_run_in_the_foreground() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let client = moat.sh(&script()).spawn();
    client.wait_stdout("line-10\n");
    let id = moat.only_id();
    moat.wait_log(&id, "error-10\"");
    kill(shim_of(&moat, &id));
    let done = client.wait();
    assert_eq!(done.code, Some(125), "{done}");
    assert_lost(&moat, &id);
}

/// The recorded end of a lost run is the time at which moat noticed it, which is after the last output.
#[test]
fn a_lost_run_did_not_end_before_its_output() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background(&format!("sleep 0.5; echo late; {}", wait_for("never")));
    moat.wait_log(&id, "late");
    kill(shim_of(&moat, &id));
    let record = assert_ended(&moat, &id, LOST);
    let log = std::fs::read_to_string(moat.run_dir(&id).join("logs.jsonl")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let (last, finished) = (&entry["ts"], &record["finished_at"]);
    assert!(
        finished.as_str() >= last.as_str(),
        "{finished} is before {last}"
    );
}

#[test]
fn the_shim_of_a_run_in_the_background() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background(&script());
    moat.wait_log(&id, "error-10\"");
    kill(shim_of(&moat, &id));
    assert_lost(&moat, &id);
    moat.args(["wait", &id]).any_stderr().status(125);
}

#[test]
fn the_shim_and_the_supervisor() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background(&script());
    moat.wait_log(&id, "error-10\"");
    kill_supervisor(&moat, &id);
    kill(shim_of(&moat, &id));
    list(&moat);
    assert_lost(&moat, &id);
}

/// bwrap itself dies: the shim lives, notices, and ends.
#[test]
fn bwrap_itself() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background(&script());
    moat.wait_log(&id, "error-10\"");
    let shim = shim_of(&moat, &id);
    let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
    kill(children.split_whitespace().next().unwrap().parse().unwrap());
    let record = settled(&moat, &id);
    assert_eq!(record["reason"], "lost", "{record:#}");
    assert!(record["exit_code"].is_null(), "{record:#}");
}

/// The workload's own SIGKILL is an ordinary exit.
#[test]
fn the_workload_itself() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background("kill -9 $$");
    until("the run has ended", || {
        crate::harness::support::is_terminal(&moat.record(&id))
    });
    let killed = End {
        state: "failed",
        reason: "exited",
        code: Some(137),
    };
    assert_ended(&moat, &id, killed);
}
