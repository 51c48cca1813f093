//! Outputs that are closed, full, or closed during the run.

use std::fs::OpenOptions;
use std::time::Duration;

use crate::harness::{Call, Done, Moat, Running};

/// Runs a call from a shell, as users do.
fn behind(call: &Call<'_>, script: &str) -> Done {
    Running::of(call.wrapped(&["bash", "-c", script, "bash"])).wait()
}

pub(crate) fn head_ends_the_run_quietly(moat: &Moat) {
    let done = behind(
        &moat.run(["sh", "-c", "seq 1 100000; exec sleep 1000"]),
        r#""$@" | head -1"#,
    );
    assert_eq!(done.stdout_text(), "1\n");
    assert_eq!(done.stderr_text(), "");
    assert!(done.took < Duration::from_secs(20), "{done}");
    let id = moat.only_id();
    let record = moat.record(&id);
    assert_eq!(record["state"], "stopped", "{record}");
    assert_eq!(record["reason"], "user-stop");
    // The log has all output of the workload up to that time, although the reader stopped.
    assert_eq!(record["log"]["complete"], true);
    let kept = moat
        .args(["logs", "--raw"])
        .any_stdout()
        .success()
        .stdout_text();
    assert!(kept.starts_with("1\n"), "{kept}");
    // The last line may be incomplete.
    let (whole, last) = kept.rsplit_once('\n').unwrap_or_default();
    let mut numbers = 1..;
    for (line, number) in whole.lines().zip(&mut numbers) {
        assert_eq!(line, number.to_string());
    }
    let next = numbers.next().expect("another number").to_string();
    assert!(next.starts_with(last), "{last} before {next}");
}

pub(crate) fn a_full_device_is_said_and_the_run_goes_on(moat: &Moat) {
    let full = OpenOptions::new().write(true).open("/dev/full");
    moat.sh("echo one; sleep 0.2; echo two")
        .stdout_to(full.expect("/dev/full"))
        .stderr(
            "warning: cannot write to stdout: no space left on device; the run continues, \
             and 'moat logs [ID]' prints its output\n",
        )
        .status(1);
    moat.args(["logs"]).stdout("one\ntwo\n").success();
    let record = moat.record(&moat.only_id());
    assert_eq!(record["exit_code"], 0, "the workload did not fail");
}

pub(crate) fn closed_stdout(moat: &Moat) {
    let call = moat.sh("echo out; echo err >&2; exit 3");
    let done = behind(&call, r#"exec "$@" >&-"#);
    assert_eq!((done.code, done.stderr_text().as_str()), (Some(3), "err\n"));
    moat.args(["logs", "--stdout"]).stdout("out\n").success();
}

pub(crate) fn closed_stderr(moat: &Moat) {
    let call = moat.sh("echo out; echo err >&2; exit 3");
    let done = behind(&call, r#"exec "$@" 2>&-"#);
    assert_eq!((done.code, done.stdout_text().as_str()), (Some(3), "out\n"));
    moat.args(["logs", "--stderr"]).stderr("err\n").success();
}

pub(crate) fn closed_both(moat: &Moat) {
    let call = moat.sh("echo out; echo err >&2; exit 3");
    let done = behind(&call, r#"exec "$@" <&- >&- 2>&-"#);
    assert_eq!(done.code, Some(3), "{done}");
    moat.args(["logs"])
        .stdout("out\n")
        .stderr("err\n")
        .success();
}
