//! `-b`: the run continues without its client.

use std::time::Duration;

use crate::harness::{IMAGE, Moat, Runtime, Signal};

const UNTIL_GO: &str = "until [ -e /workspace/go ]; do sleep 0.05; done";

/// A call of `moat run FLAGS [--image …] -- sh -c SCRIPT`, without --quiet.
fn loud<'a>(moat: &'a Moat, flags: &[&str], script: &str) -> crate::harness::Call<'a> {
    let mut call = moat.args(["run"]).args(flags);
    if moat.has_images() {
        call = call.args(["--image", IMAGE]);
    }
    call.args(["--", "sh", "-c", script])
}

fn note(moat: &Moat) -> &'static str {
    match moat.is_on(Runtime::Bwrap) {
        true => {
            "note: bwrap isolates less than a container: it shares the kernel and a read-only view of this system\n"
        }
        false => "",
    }
}

pub(crate) fn background_prints_the_id_alone(moat: &Moat) {
    let hint = "Started [NAME] ([ID]). Use 'moat logs [ID] -f' to follow output.\n";
    let done = loud(moat, &["-b"], "exit 0")
        .stdout("[ID]\n")
        .stderr(format!("{}{hint}", note(moat)))
        .success();
    let id = done.stdout_text().trim().to_owned();
    assert_eq!(moat.only_id(), id);
    moat.args(["wait", &id]).success();
}

pub(crate) fn wait_has_the_code_and_logs_the_line(moat: &Moat) {
    // `run -b` returns at the start, because the workload only ends when the test says so.
    let id = moat.background(&format!("{UNTIL_GO}; echo done; exit 3"));
    moat.wait_state(&id, "running");
    let mut waiting = moat.args(["wait", &id]).spawn();
    assert!(waiting.is_running());
    moat.write("go", "");
    let done = waiting.wait();
    assert_eq!(done.code, Some(3), "{done}");
    assert_eq!((done.stdout_text(), done.stderr_text()), Default::default());
    moat.args(["logs", &id]).stdout("done\n").success();
    let record = moat.record(&id);
    assert_eq!(record["state"], "failed");
    assert_eq!(record["background"], true);
    assert!(
        record["cleaned_at"].is_string(),
        "the run is cleaned up when 'wait' returns"
    );
}

/// `wait` with several runs returns the exit code of the first argument that failed.
pub(crate) fn wait_for_several(moat: &Moat) {
    let fine = moat.background("exit 0");
    let slow = moat.background(&format!("{UNTIL_GO}; exit 4"));
    let fast = moat.background("exit 5");
    moat.args(["wait", &fast]).status(5);
    let waiting = moat.args(["wait", &fine, &slow, &fast]).spawn();
    moat.write("go", "");
    let done = waiting.wait();
    assert_eq!(done.code, Some(4), "{done}");
    moat.args(["wait", &fast, &slow, &fine]).status(5);
    moat.args(["wait", &fine, &fine]).success();
}

pub(crate) fn wait_after_the_end_returns_at_once(moat: &Moat) {
    let id = moat.background("exit 6");
    moat.args(["wait", &id]).status(6);
    let again = moat.args(["wait", &id]).status(6);
    assert!(again.took < Duration::from_secs(2), "{again}");
}

/// SIGKILL of the client's whole process group does not affect the run.
pub(crate) fn killing_the_group_changes_nothing(moat: &Moat) {
    let script = format!("echo on; {UNTIL_GO}; echo done; exit 3");
    let run = moat.sh(&script).spawn();
    run.wait_stdout("on\n");
    let id = moat.only_id();
    run.signal_group(Signal::KILL);
    let done = run.wait();
    assert_eq!(done.signal, Some(Signal::KILL.as_raw()), "{done}");
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
    moat.args(["logs", &id]).stdout("on\ndone\n").success();
    assert_eq!(moat.record(&id)["reason"], "exited");
}

pub(crate) fn killing_the_client_changes_nothing(moat: &Moat) {
    let mut run = moat
        .sh("i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 3")
        .spawn();
    run.wait_stdout("3\n");
    run.kill();
    let id = moat.only_id();
    moat.args(["wait", &id]).status(3);
    let all: String = (0..40).map(|number| format!("{number}\n")).collect();
    moat.args(["logs", &id]).stdout(all).success();
}

pub(crate) fn background_can_be_the_default(moat: &Moat) {
    moat.config("run:\n  background: true\n");
    let script = format!("{UNTIL_GO}; exit 3");
    let done = moat.sh(&script).stdout("[ID]\n").success();
    let id = done.stdout_text().trim().to_owned();
    moat.write("go", "");
    moat.args(["wait", &id]).status(3);
    moat.run_with(["-f"], ["sh", "-c", "echo here; exit 4"])
        .stdout("here\n")
        .status(4);
}

/// Runtimes notice the timeout at different moments, but the record is the same and nothing is left.
pub(crate) fn a_command_that_is_missing_in_the_background(moat: &Moat) {
    let done = moat
        .run_with(["-b"], ["no-such-program"])
        .any_stdout()
        .any_stderr()
        .run();
    let id = moat.only_id();
    assert_eq!(done.stdout_text().trim(), id, "{done}");
    moat.args(["wait", &id]).status(127);
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"exited".into())
    );
}
