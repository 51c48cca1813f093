//! Output: each stream exactly, at the client and in the log.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::log::{assert_same, entries, lines};
use crate::harness::Moat;

pub(crate) fn streams_are_apart_and_exact(moat: &Moat) {
    moat.sh(r#"printf "a\nb"; printf "c" >&2"#)
        .stdout("a\nb")
        .stderr("c")
        .success();
    let id = moat.only_id();
    let line = |text: &str, eol| (text.to_owned(), eol);
    assert_eq!(
        lines(moat, &id, "stdout"),
        [line("a", true), line("b", false)]
    );
    assert_eq!(lines(moat, &id, "stderr"), [line("c", false)]);
    moat.args(["logs", "--raw", &id])
        .stdout("a\nb")
        .stderr("c")
        .success();
    // On a terminal, the last line ends with a newline.
    moat.args(["logs", &id])
        .stdout("a\nb\n")
        .stderr("c\n")
        .success();
}

/// An empty log file means that the workload printed nothing. Other users cannot read the file.
pub(crate) fn an_empty_log_exists(moat: &Moat) {
    moat.run(["true"]).success();
    let dir = moat.run_dir(&moat.only_id());
    let log = std::fs::metadata(dir.join("logs.jsonl")).expect("the log");
    assert_eq!(log.len(), 0);
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    for file in ["logs.jsonl", "run.json", "owner.lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    for dir in [&dir, moat.home(), &moat.home().join("runs")] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    moat.args(["logs"]).success();
}

/// Sockets cannot be opened by name; pipes can.
pub(crate) fn dev_stderr_can_be_opened(moat: &Moat) {
    moat.sh("echo x > /dev/stderr; echo y > /dev/stdout; echo z >> /proc/self/fd/1")
        .stdout("y\nz\n")
        .stderr("x\n")
        .success();
}

pub(crate) fn bytes_that_are_no_text_are_exact(moat: &Moat) {
    let bytes = b"\xff\x00\xfe\n\x1b[2J\r\n\xe2\x80\xae\xc3(\t\x7f\"\\\n\xe2\x82";
    let script = r#"printf '\377\000\376\n\033[2J\r\n\342\200\256\303(\t\177"\\\n\342\202'"#;
    let done = moat.sh(script).any_stdout().success();
    assert_same("streamed", &done.stdout, bytes);
    let done = moat.args(["logs", "--raw"]).any_stdout().success();
    assert_same("kept", &done.stdout, bytes);
    // Each line of the log is a JSON document, whatever the bytes.
    assert!(entries(moat, &moat.only_id()).len() >= 4);
}

pub(crate) fn order_within_each_stream_is_exact(moat: &Moat) {
    let script = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let all = |word: &str| -> String { (0..2000).map(|i| format!("{word} {i}\n")).collect() };
    moat.sh(script)
        .stdout(all("out"))
        .stderr(all("err"))
        .success();
    moat.args(["logs"])
        .stdout(all("out"))
        .stderr(all("err"))
        .success();
}

/// moat may learn of the end before all output has arrived.
pub(crate) fn output_of_a_fast_exit_is_complete(moat: &Moat) {
    let expected: String = (1..=5000).map(|i| format!("{i}\n")).collect();
    for _ in 0..5 {
        let done = moat.run(["seq", "1", "5000"]).any_stdout().success();
        assert_same("streamed", &done.stdout, expected.as_bytes());
        let done = moat.args(["logs"]).any_stdout().success();
        assert_same("kept", &done.stdout, expected.as_bytes());
    }
}

/// The client prints a line when it is written, not at the end.
pub(crate) fn output_arrives_while_the_workload_runs(moat: &Moat) {
    let run = moat
        .sh("echo first; until [ -e /workspace/go ]; do sleep 0.05; done; echo second")
        .spawn();
    run.wait_stdout("first\n");
    let id = moat.only_id();
    moat.wait_log(&id, "first");
    moat.write("go", "");
    let done = run.wait();
    assert_eq!(done.stdout_text(), "first\nsecond\n");
    assert_eq!(done.code, Some(0), "{done}");
}

/// The run ends with its command, although another process holds the output open.
pub(crate) fn what_a_grandchild_holds_open_does_not_hang(moat: &Moat) {
    let done = moat
        .sh("sleep 1000 & echo started")
        .stdout("started\n")
        .success();
    assert!(done.took < Duration::from_secs(20), "{done}");
}

/// The arguments after `--` reach the workload unchanged.
pub(crate) fn arguments_arrive_untouched(moat: &Moat) {
    let words = [
        "", "a b", "x\ny", "*", "$HOME", "`id`", "\"'\\", "--json", "-q", "--", "-", "\u{fc}",
    ];
    let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
    moat.run(["printf", "[%s]"].iter().chain(&words))
        .stdout(expected)
        .success();
    let long = "x".repeat(100_000);
    moat.run(["printf", "%s", &long]).stdout(&long).success();
}
