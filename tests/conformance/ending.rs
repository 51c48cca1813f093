//! `stop`, `kill` and `destroy`.

use std::time::Duration;

use crate::harness::Moat;

/// A workload that reports SIGTERM, and then runs a script.
const POLITE: &str =
    "trap 'echo asked; sleep 0.2; echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(moat: &Moat, script: &str) -> String {
    let id = moat.background(script);
    moat.wait_log(&id, "ready");
    id
}

fn assert_end(moat: &Moat, id: &str, state: &str, reason: &str) {
    let record = moat.record(id);
    assert_eq!(record["state"], state, "{record}");
    assert_eq!(record["reason"], reason, "{record}");
}

pub(crate) fn stop_lets_the_workload_finish(moat: &Moat) {
    let id = ready(moat, POLITE);
    moat.args(["stop", &id]).stdout(format!("{id}\n")).success();
    assert_end(moat, &id, "stopped", "user-stop");
    assert_eq!(moat.record(&id)["exit_code"], 9);
    moat.args(["logs", &id])
        .stdout("ready\nasked\nbye\n")
        .success();
    moat.args(["wait", &id]).status(9);
}

pub(crate) fn stop_kills_after_its_time(moat: &Moat) {
    // In real time: without the flag the grace period is 10 s.
    moat.real_time();
    let id = ready(moat, DEAF);
    let done = moat
        .args(["stop", "--time", "1", &id])
        .stdout("[ID]\n")
        .success();
    assert!(done.took >= Duration::from_secs(1), "{done}");
    assert!(done.took < Duration::from_secs(8), "{done}");
    assert_end(moat, &id, "stopped", "user-stop");
    moat.args(["wait", &id]).status(137);
}

pub(crate) fn kill_is_at_once(moat: &Moat) {
    // In real time: the grace period is 10 s, and kill does not wait for it.
    moat.real_time();
    let id = ready(moat, POLITE);
    let done = moat.args(["kill", &id]).stdout("[ID]\n").success();
    assert!(done.took < Duration::from_secs(8), "{done}");
    assert_end(moat, &id, "stopped", "killed");
    moat.args(["logs", &id]).stdout("ready\n").success();
    moat.args(["wait", &id]).status(137);
}

pub(crate) fn stop_of_an_ended_run(moat: &Moat) {
    moat.sh("exit 7").status(7);
    let id = moat.only_id();
    for command in ["stop", "kill"] {
        moat.args([command, &id])
            .stderr("[ID] had already ended\n")
            .success();
        moat.args([command, "-q", &id]).success();
    }
    assert_end(moat, &id, "failed", "exited");
    moat.args(["wait", &id]).status(7);
}

pub(crate) fn destroy_removes_the_record(moat: &Moat) {
    moat.run(["true"]).success();
    let id = moat.only_id();
    moat.args(["destroy", &id])
        .stdout(format!("{id}\n"))
        .success();
    assert!(moat.ids().is_empty());
    for command in ["logs", "inspect", "wait", "stop", "destroy"] {
        moat.args([command, &id])
            .stderr("error: no such run: '[ID]'\n  hint: see all runs: moat list -a\n")
            .status(3);
    }
}

pub(crate) fn destroy_refuses_an_active_run(moat: &Moat) {
    let id = ready(moat, POLITE);
    moat.args(["destroy", &id])
        .stderr(
            "error: [ID] has not ended: it is running\n  \
             hint: stop it first (moat stop [ID]), or: moat destroy -f [ID]\n",
        )
        .status(1);
    assert_eq!(moat.record(&id)["state"], "running");
    moat.args(["stop", &id]).stdout("[ID]\n").success();
}

pub(crate) fn destroy_force_ends_it_first(moat: &Moat) {
    let id = ready(moat, POLITE);
    let waiter = moat.args(["wait", &id]).spawn();
    moat.args(["destroy", "-f", &id])
        .stdout(format!("{id}\n"))
        .success();
    assert!(moat.ids().is_empty());
    let done = waiter.wait();
    assert!(matches!(done.code, Some(9 | 3)), "nobody hangs: {done}");
}

/// The error comes before any change.
pub(crate) fn destroy_is_all_or_nothing(moat: &Moat) {
    moat.run(["true"]).success();
    let ended = moat.only_id();
    let active = ready(moat, POLITE);
    moat.args(["destroy", &ended, &active])
        .any_stderr()
        .status(1);
    moat.args(["destroy", &ended, "no-such"])
        .any_stderr()
        .status(3);
    assert_eq!(moat.ids().len(), 2);
    moat.args(["destroy", "-f", &ended, &active, &ended])
        .stdout(format!("{ended}\n{active}\n"))
        .success();
    assert!(moat.ids().is_empty());
}

pub(crate) fn stop_wakes_those_who_wait(moat: &Moat) {
    let run = moat.sh(POLITE).spawn();
    run.wait_stdout("ready\n");
    let id = moat.only_id();
    let waiter = moat.args(["wait", &id]).spawn();
    let follower = moat.args(["logs", "-f", &id]).spawn();
    moat.args(["stop", &id]).stdout("[ID]\n").success();
    for done in [run.wait(), waiter.wait()] {
        assert_eq!(done.code, Some(9), "{done}");
    }
    let done = follower.wait();
    assert_eq!(done.stdout_text(), "ready\nasked\nbye\n");
}

pub(crate) fn a_stop_never_changes_an_end(moat: &Moat) {
    for round in 0..5 {
        let id = moat.background("sleep 0.3; exit 7");
        let stopper = moat.args(["stop", "-q", &id]).spawn();
        let waiter = moat.args(["wait", &id]).spawn();
        assert_eq!(stopper.wait().code, Some(0));
        let code = waiter.wait().code;
        let record = moat.record(&id);
        let end = (record["state"].as_str(), record["reason"].as_str(), code);
        assert!(
            matches!(
                end,
                (Some("failed"), Some("exited"), Some(7))
                    | (Some("stopped"), Some("user-stop"), Some(7 | 137 | 143))
            ),
            "round {round}: {end:?}"
        );
        moat.args(["stop", "-q", &id]).success();
        let after = moat.record(&id);
        assert_eq!(
            (after["state"].as_str(), after["reason"].as_str()),
            (end.0, end.1)
        );
    }
}
