//! `moat logs`: past and current output.

use std::time::Duration;

use crate::harness::{Moat, until};

pub(crate) fn follow_ends_with_the_run(moat: &Moat) {
    let id = moat.background(
        "echo first; until [ -e /workspace/go ]; do sleep 0.05; done; echo err >&2; printf last",
    );
    let follower = moat.args(["logs", "-f", &id]).spawn();
    follower.wait_stdout("first\n");
    moat.write("go", "");
    let done = follower.wait();
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(done.stdout_text(), "first\nlast\n");
    assert_eq!(done.stderr_text(), "err\n");
    // The whole output of an ended run.
    moat.args(["logs", "-f", "--raw", &id])
        .stdout("first\nlast")
        .stderr("err\n")
        .success();
    moat.args(["wait", &id]).success();
}

/// A line that waits for its end, such as a question, is in the log and in `logs -f` soon.
pub(crate) fn an_unfinished_line_is_seen_soon(moat: &Moat) {
    let script = "printf 'sure? '; until [ -e /workspace/go ]; do sleep 0.05; done; echo yes";
    let id = moat.background(script);
    let follower = moat.args(["logs", "-f", "--raw", &id]).spawn();
    follower.wait_stdout("sure? ");
    let so_far = moat.args(["logs", "--raw", &id]);
    so_far.stdout("sure? ").success();
    moat.write("go", "");
    let done = follower.wait();
    assert_eq!(done.stdout_text(), "sure? yes\n");
    moat.args(["wait", &id]).success();
    let whole = moat.args(["logs", &id]);
    whole.stdout("sure? yes\n").success();
}

pub(crate) fn the_last_lines(moat: &Moat) {
    moat.sh("seq 1 100; echo e >&2")
        .any_stdout()
        .any_stderr()
        .success();
    let last = |count: &str| moat.args(["logs", "--stdout", "-n", count]);
    last("3").stdout("98\n99\n100\n").success();
    last("0").success();
    let all: String = (1..=100).map(|number| format!("{number}\n")).collect();
    last("1000").stdout(&all).success();
    last("100").stdout(&all).success();
    moat.args(["logs", "-f", "--stdout", "-n1"])
        .stdout("100\n")
        .success();
}

pub(crate) fn since_a_time(moat: &Moat) {
    moat.sh("echo early; sleep 1; echo late")
        .any_stdout()
        .success();
    let id = moat.only_id();
    let entries = super::log::entries(moat, &id);
    let late = entries[1]["ts"].as_str().expect("a time").to_owned();
    moat.args(["logs", "--since", &late])
        .stdout("late\n")
        .success();
    moat.args(["logs", "--since", "1h"])
        .stdout("early\nlate\n")
        .success();
    until("half a second has passed since the last line", || {
        let done = moat
            .args(["logs", "--since", "0.1s"])
            .any_stdout()
            .any_stderr()
            .run();
        // Some versions of date(1) lack fractions of seconds; whole seconds are enough then.
        done.code != Some(0) || done.stdout.is_empty()
    });
    moat.args(["logs", "--since", "2001-01-01T00:00:00Z", "-n", "1"])
        .stdout("late\n")
        .success();
}

pub(crate) fn timestamps(moat: &Moat) {
    moat.sh("echo one; echo two; echo e >&2")
        .any_stdout()
        .any_stderr()
        .success();
    moat.args(["logs", "-t"])
        .stdout("[TIME] one\n[TIME] two\n")
        .stderr("[TIME] e\n")
        .success();
}

pub(crate) fn lines_as_json(moat: &Moat) {
    moat.sh(r#"echo out; echo err >&2; printf '\377'"#)
        .any_stdout()
        .any_stderr()
        .success();
    let id = moat.only_id();
    let done = moat.args(["logs", "--json", &id]).any_stdout().success();
    let text = done.stdout_text();
    let printed: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one document per line"))
        .collect();
    assert_eq!(printed, super::log::entries(moat, &id));
    assert_eq!(printed.len(), 3);
    assert!(
        printed
            .iter()
            .any(|entry| entry["b64"] == "/w==" && entry["eol"] == false)
    );
}

pub(crate) fn one_stream_alone(moat: &Moat) {
    moat.sh("echo out; echo err >&2")
        .any_stdout()
        .any_stderr()
        .success();
    moat.args(["logs", "--stdout"]).stdout("out\n").success();
    moat.args(["logs", "--stderr"]).stderr("err\n").success();
    moat.args(["logs", "--stdout", "--stderr"])
        .stdout("out\n")
        .stderr("err\n")
        .success();
}

pub(crate) fn logs_while_it_runs_end_at_once(moat: &Moat) {
    let id = moat.background("echo so far; sleep 1000");
    moat.wait_log(&id, "so far");
    let done = moat.args(["logs"]).stdout("so far\n").success();
    assert!(done.took < Duration::from_secs(5), "{done}");
    moat.args(["kill", &id]).stdout("[ID]\n").success();
}

/// A line of more than 64 KiB is kept in pieces; a follower must not end the line at one of them.
pub(crate) fn a_followed_long_line_is_whole(moat: &Moat) {
    let id = moat.background(
        "head -c 200000 /dev/zero | tr '\\0' x; until [ -e /workspace/go ]; do sleep 0.05; done; echo end",
    );
    let follower = moat.args(["logs", "-f", &id]).spawn();
    follower.wait_stdout("xxxx");
    moat.write("go", "");
    let done = follower.wait();
    let line = [&vec![b'x'; 200_000][..], b"end\n"].concat();
    super::log::assert_same("followed", &done.stdout, &line);
    moat.args(["wait", &id]).success();
}
