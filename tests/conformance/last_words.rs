//! The origin of the last line on standard error: Apple's client writes its own messages to the workload's standard
//! error, and both may print `Error: …` and exit with 1.

use crate::conformance::apple_only::ready;
use crate::harness::Moat;

/// Asserts that a run that prints this text and exits with this code keeps both.
#[track_caller]
fn assert_its_own(moat: &Moat, script: &str, (out, err): (&[u8], &str), code: i32) {
    let earlier = moat.ids();
    moat.sh(script).stdout(out).stderr(err).status(code);
    let id = moat.ids().into_iter().find(|id| !earlier.contains(id));
    let record = moat.record(&id.expect("a run"));
    assert_eq!(
        (&record["reason"], &record["exit_code"]),
        (&"exited".into(), &code.into()),
        "{script}: {record:#}"
    );
    assert_eq!(record["log"]["complete"], true, "{script}: {record:#}");
}

const MINE: &str = "echo 'Error: mine' >&2; exit 1";

/// The container's log mixes both streams, so some of its lines were printed by no program.
pub(crate) fn behind_an_open_line(moat: &Moat) {
    for code in [1, 64] {
        let script =
            format!("printf 'checking ... '; sleep 0.5; echo 'Error: mine' >&2; exit {code}");
        assert_its_own(moat, &script, (b"checking ... ", "Error: mine\n"), code);
    }
}

pub(crate) fn with_much_behind_them(moat: &Moat) {
    let lines: String = (1..=150).map(|number| format!("{number}\n")).collect();
    let said = format!("Error: unknown command\n{lines}");
    let script = "(echo 'Error: unknown command'; seq 150) >&2; exit 1";
    assert_its_own(moat, script, (b"", &said), 1);
    let script = "echo 'Error: unknown command' >&2; seq 150; exit 1";
    let said = (lines.as_bytes(), "Error: unknown command\n");
    assert_its_own(moat, script, said, 1);
    // More output than moat searches for the client's message.
    let lines: String = (1..=3000).map(|number| format!("{number}\n")).collect();
    let script = "echo 'Error: unknown command' >&2; seq 3000; exit 1";
    let said = (lines.as_bytes(), "Error: unknown command\n");
    assert_its_own(moat, script, said, 1);
}

/// If the workload and the client both printed such a line, the exit code is lost, but no output is.
pub(crate) fn before_the_clients(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"cancellation"}"#);
    let done = moat.sh(MINE).any_stderr().run();
    assert!(done.code.is_some_and(|code| code != 0), "{done}");
    let id = moat.only_id();
    let record = moat.record(&id);
    assert_eq!(record["reason"], "lost", "{record:#}");
    let error = record["error"].as_str().expect("it says why");
    assert!(
        error.contains("CancellationError") && !error.contains("mine"),
        "{error}"
    );
    let note = "note: this log is incomplete: failed to start container: CancellationError()\n";
    moat.args(["logs", "--raw", "--stderr", &id])
        .stderr(format!("{note}Error: mine\n"))
        .success();
}

/// The client shows no log with bytes that are not text.
pub(crate) fn beside_what_is_no_text(moat: &Moat) {
    let script = format!("printf '\\377\\n'; sleep 0.2; {MINE}");
    assert_its_own(moat, &script, (b"\xff\n", "Error: mine\n"), 1);
}

pub(crate) fn where_the_log_cannot_be_had(moat: &Moat) {
    moat.apple_fault(r#"{"match":["logs"],"count":1,"do":"xpc-interrupted"}"#);
    let script = format!("echo out; sleep 0.2; {MINE}");
    assert_its_own(moat, &script, (b"out\n", "Error: mine\n"), 1);
    moat.apple_fault(r#"{"match":["logs"],"count":-1,"do":"xpc-timeout"}"#);
    assert_its_own(moat, &script, (b"out\n", "Error: mine\n"), 1);
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"port-busy"}"#);
    moat.run(["true"])
        .stderr_contains("Address already in use")
        .status(125);
}

/// The same for a command in a running container.
pub(crate) fn of_another_command(moat: &Moat) {
    let id = ready(moat);
    for words in [
        "Error: failed to open the config",
        "Error: container x is not running",
        "Error: internalError: \"mine\"",
        "Error: get failed: container x not found",
    ] {
        let script = format!("echo '{words}' >&2; exit 1");
        moat.args(["exec", &id, "--", "sh", "-c", &script])
            .stderr(format!("{words}\n"))
            .status(1);
    }
    for fault in ["xpc-interrupted", "xpc-timeout"] {
        moat.apple_fault(&format!(r#"{{"match":["exec"],"count":1,"do":"{fault}"}}"#));
        moat.args(["exec", &id, "--", "true"])
            .stderr_contains("cannot run it: ")
            .status(125);
    }
    moat.write("go", "");
    moat.args(["wait", &id]).success();
}
