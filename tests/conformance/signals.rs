//! Signals to the client, as a terminal and a shell send them.

use std::time::{Duration, Instant};

use crate::harness::{IMAGE, Moat, Running, Signal, until};

const POLITE: &str = "trap 'echo asked; exit 9' TERM; trap 'echo INTERRUPTED' INT; echo ready; while :; do sleep 0.05; done";
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(moat: &Moat, script: &str) -> (Running, String) {
    let mut call = moat.args(["run"]);
    if moat.has_images() {
        call = call.args(["--image", IMAGE]);
    }
    let run = call.args(["--", "sh", "-c", script]).spawn();
    run.wait_stdout("ready\n");
    let id = moat.only_id();
    (run, id)
}

pub(crate) fn interrupt_stops(moat: &Moat) {
    let (run, id) = ready(moat, POLITE);
    run.signal_group(Signal::INT);
    let done = run.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(done.stdout_text(), "ready\nasked\n");
    let text = moat.normal(&done.stderr_text());
    assert!(
        text.contains("Stopping the run. Press Ctrl-C again to kill it.\n"),
        "{text}"
    );
    assert!(
        text.contains("[NAME] was stopped. Use 'moat logs [ID]' to see its output.\n"),
        "{text}"
    );
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into())
    );
}

pub(crate) fn interrupting_twice_kills(moat: &Moat) {
    // In real time: the grace period is 10 s, and the second signal does not wait for it.
    moat.real_time();
    let (run, id) = ready(moat, DEAF);
    run.signal_group(Signal::INT);
    run.wait_stderr("Press Ctrl-C again");
    run.signal_group(Signal::INT);
    let interrupted = Instant::now();
    let done = run.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert!(
        interrupted.elapsed() < Duration::from_secs(9),
        "it did not wait for the workload: {done}"
    );
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"killed".into())
    );
}

pub(crate) fn terminate_stops(moat: &Moat) {
    let (run, id) = ready(moat, POLITE);
    run.signal(Signal::TERM);
    let done = run.wait();
    assert_eq!(done.code, Some(143), "{done}");
    assert_eq!(moat.record(&id)["reason"], "user-stop");
    moat.args(["logs", &id]).stdout("ready\nasked\n").success();
}

const UNTIL_GO: &str =
    "echo ready; until [ -e /workspace/go ]; do sleep 0.05; done; echo done; exit 3";

/// Ctrl-Z suspends the client together with the output, which the supervisor writes.
pub(crate) fn suspending_the_client_suspends_the_output(moat: &Moat) {
    let (run, id) = ready(moat, UNTIL_GO);
    run.signal(Signal::TSTP);
    let state = || {
        let pid = run.pid().as_raw_nonzero();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") T ")
    };
    until("the client is stopped", state);
    moat.write("go", "");
    moat.wait_log(&id, "done");
    assert_eq!(run.stdout_so_far(), "ready\n");
    run.signal(Signal::CONT);
    let done = run.wait();
    assert_eq!(done.code, Some(3), "{done}");
    assert_eq!(done.stdout_text(), "ready\ndone\n");
}

/// Ctrl-\ ends the client, which says what becomes of the run.
pub(crate) fn quitting_the_client_leaves_it_running(moat: &Moat) {
    let (run, id) = ready(moat, UNTIL_GO);
    run.signal(Signal::QUIT);
    let done = run.wait();
    assert_eq!(done.signal, Some(Signal::QUIT.as_raw()), "{done}");
    let text = done.stderr_text();
    let notice = format!(
        "The run continues. Use 'moat logs {id} -f' to follow its output, or 'moat stop {id}' to end it.\n"
    );
    assert!(text.ends_with(&notice), "{text}");
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
}

pub(crate) fn hangup_leaves_it_running(moat: &Moat) {
    let terminal = std::fs::File::create(moat.root().join("terminal")).expect("a file");
    let run = moat
        .sh(UNTIL_GO)
        .stderr_to(terminal.try_clone().expect("the same file"))
        .stdout_to(terminal)
        .spawn();
    until("a run exists", || moat.ids().len() == 1);
    let id = moat.only_id();
    moat.wait_log(&id, "ready");
    run.signal_group(Signal::HUP);
    let done = run.wait();
    assert_ne!(done.code, Some(0), "{done}");
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
    moat.args(["logs", &id]).stdout("ready\ndone\n").success();
}

/// `x=$(timeout -s KILL 5 moat run ...)` must not wait for a run whose client is gone.
pub(crate) fn a_client_that_is_gone_holds_no_pipe(moat: &Moat) {
    let run = moat.sh(UNTIL_GO).deadline(Duration::from_secs(15)).spawn();
    run.wait_stdout("ready\n");
    run.signal(Signal::KILL);
    let done = run.wait();
    assert_eq!(done.stdout_text(), "ready\n");
    let id = moat.only_id();
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
}

/// A waiting command has no run to stop.
pub(crate) fn interrupting_wait_changes_nothing(moat: &Moat) {
    let id = moat.background(UNTIL_GO);
    moat.wait_log(&id, "ready");
    for args in [&["wait", &id][..], &["logs", "-f", &id]] {
        let mut watcher = moat.args(args).spawn();
        until("the watcher runs", || watcher.is_running());
        watcher.signal_group(Signal::INT);
        let done = watcher.wait();
        assert_ne!(done.code, Some(0), "{done}");
        assert_eq!(done.stderr_text(), "");
    }
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
}

/// A terminal signals the whole process group; the workload must get the signal only through moat.
pub(crate) fn signals_reach_the_workload_once(moat: &Moat) {
    let script = "trap 'echo asked' TERM; trap 'echo INTERRUPTED' INT; echo ready; until [ -e /workspace/go ]; do sleep 0.05; done";
    let (run, id) = ready(moat, script);
    run.signal_group(Signal::INT);
    moat.wait_log(&id, "asked");
    moat.write("go", "");
    let done = run.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(done.stdout_text(), "ready\nasked\n");
}
