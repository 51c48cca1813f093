//! The log of an interactive run has all output with its times, and nothing that was typed.

use std::time::Duration;

use super::{MODES, assert_brought_back, call, ended, start};
use crate::harness::Moat;
use crate::harness::screen::Screen;

pub(crate) fn what_was_shown_is_in_the_log(moat: &Moat) {
    let script =
        "stty -onlcr; i=0; while [ $i -lt 30000 ]; do echo line$i; i=$((i+1)); done; printf end";
    let mut screen = start(moat, &["sh", "-c", script]);
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    let expected: String = (0..30_000).map(|i| format!("line{i}\n")).collect();
    for how in [
        &["--raw"][..],
        &["--replay", "--speed", "1000", "--idle-limit", "1s"],
    ] {
        let log = moat.args(["logs"]).args(how).any_stdout().success();
        let text = log.stdout_text();
        assert!(text == expected.clone() + "end", "{how:?} {}", text.len());
    }
    screen.wait(&expected);
    ended(moat, "stopped", "exited");
}

/// A replay has the original timing.
pub(crate) fn a_session_is_replayed(moat: &Moat) {
    let script = "printf one; sleep 1; printf two; sleep 1; echo three";
    let mut screen = start(moat, &["sh", "-c", script]);
    assert_eq!(screen.end().code(), Some(0));
    let replay = |args: &[&str]| {
        let done = moat
            .args(["logs", "--replay"])
            .args(args)
            .any_stdout()
            .success();
        assert_eq!(done.stdout_text(), "onetwothree\r\n");
        done.took.as_secs_f64()
    };
    assert!((1.8..4.0).contains(&replay(&[])), "its own time");
    assert!(
        (0.8..1.7).contains(&replay(&["--speed", "2"])),
        "twice as fast"
    );
    assert!(
        replay(&["--idle-limit", "200ms"]) < 1.5,
        "without its pauses"
    );
    for bad in [["--speed", "0"], ["--speed", "x"], ["--idle-limit", "x"]] {
        moat.args(["logs", "--replay"])
            .args(bad)
            .any_stderr()
            .status(2);
    }
    ended(moat, "stopped", "exited");
}

/// A slow terminal loses no output; the workload waits for it.
pub(crate) fn ten_megabytes_under_a_slow_reader(moat: &Moat) {
    let script =
        "stty -onlcr; yes 0123456789012345678901234567890123456789 | head -n 250000; echo end";
    let call = call(moat, &["sh", "-c", script]);
    let mut screen = Screen::slow(&call.command(), Duration::from_millis(1));
    screen.wait_long("\nend\n", Duration::from_secs(100));
    assert_eq!(screen.end().code(), Some(0));
    let line = "0123456789012345678901234567890123456789\n";
    let expected = line.repeat(250_000) + "end\n";
    assert!(screen.text().contains(&expected), "something is missing");
    let log = moat.args(["logs", "--raw"]).any_stdout().success();
    assert!(log.stdout_text() == expected, "the log is another");
    ended(moat, "stopped", "exited");
}

pub(crate) fn what_is_typed_is_not_kept(moat: &Moat) {
    let script = "stty -echo; echo up; read secret; echo got ${#secret}";
    let mut screen = start(moat, &["sh", "-c", script]);
    screen.wait("up");
    screen.press(b"hunter2hunter2\r");
    screen.wait("got 14");
    assert_eq!(screen.end().code(), Some(0));
    ended(moat, "stopped", "exited");
    let dir = moat.run_dir(&moat.only_id());
    let found = std::process::Command::new("grep")
        .args(["-r", "hunter2"])
        .arg(dir)
        .output()
        .expect("grep");
    assert!(found.stdout.is_empty(), "{found:?}");
}

/// A log that is shown on a terminal changes its modes as the run did, and restores them at the end.
pub(crate) fn a_log_leaves_nothing_on(moat: &Moat) {
    let mut screen = start(moat, &["sh", "-c", &format!("{MODES}; echo up")]);
    assert_eq!(screen.end().code(), Some(0));
    for flags in [&["logs"][..], &["logs", "-n", "5"], &["logs", "--replay"]] {
        screen.again(&moat.args(flags).command());
        assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
        assert_brought_back(&screen);
    }
    ended(moat, "stopped", "exited");
    // The same when a followed log is interrupted.
    let id = moat.background(&format!("{MODES}; echo up; exec sleep 1000"));
    screen.again(&moat.args(["logs", "-f", &id]).command());
    screen.wait("up");
    screen.signal(rustix::process::Signal::INT);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&screen.end()),
        Some(2)
    );
    assert_brought_back(&screen);
    moat.args(["kill", &id]).any_stdout().any_stderr().success();
}
