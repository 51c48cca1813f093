//! However an interactive run ends, the terminal gets its settings back, and the run ends like any other.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{MODES, SIZE, assert_brought_back, call, ended, start, start_full_screen};
use crate::harness::screen::Screen;
use crate::harness::{IMAGE, Moat, until};

fn survives(moat: &Moat, signal: Signal) {
    let mut screen = start_full_screen(moat);
    screen.signal(signal);
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}

pub(crate) fn a_client_that_is_killed(moat: &Moat) {
    let mut screen = start_full_screen(moat);
    screen.signal(Signal::KILL);
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
    // The terminal can be used for the next run.
    screen.again(&call(moat, &["sh", "-c", &format!("{SIZE}; exit 3")]).command());
    assert_eq!(screen.end().code(), Some(3), "{:?}", screen.text());
    screen.wait("30 90");
    screen.assert_sane();
}

pub(crate) fn a_client_that_is_terminated(moat: &Moat) {
    survives(moat, Signal::TERM);
}

pub(crate) fn a_terminal_that_goes_away(moat: &Moat) {
    survives(moat, Signal::HUP);
}

pub(crate) fn a_client_that_panics(moat: &Moat) {
    let script = format!("{MODES}; echo up; exec cat");
    let call = call(moat, &["sh", "-c", &script]);
    let call = call.env("MOAT_FAULT", "panic").checkpoint("escape-help");
    let mut screen = Screen::start(&call.command());
    screen.wait("up");
    screen.press(b"\x1f?");
    screen.end();
    assert_brought_back(&screen);
    screen.wait("panicked at");
    ended(moat, "stopped", "user-stop");
}

/// The workload's terminal has lost its other end, so the workload is stopped; the client restores the user's
/// terminal.
pub(crate) fn the_supervisor_is_killed(moat: &Moat) {
    let mut screen = start_full_screen(moat);
    let pid = supervisor(moat, &moat.only_id());
    kill_process(pid, Signal::KILL).expect("it is there");
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}

/// Returns the pid of the supervisor of a run.
fn supervisor(moat: &Moat, id: &str) -> Pid {
    let owner = std::fs::read(moat.run_dir(id).join("owner.lock")).expect("the owner");
    let owner: serde_json::Value = serde_json::from_slice(&owner).expect("JSON");
    let pid = owner["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).expect("a pid")
}

/// Returns whether a process has ended, reaped or not.
fn is_gone(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero();
    std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |words| words.is_empty())
}

/// While moat is suspended the terminal has the shell's settings; afterwards the workload's settings are back.
pub(crate) fn suspended_and_continued(moat: &Moat) {
    let script =
        format!("{MODES}; trap 'echo drawn anew' WINCH; echo up; while :; do sleep 0.05; done");
    let mut screen = start(moat, &["sh", "-c", &script]);
    screen.wait("up");
    screen.signal(Signal::TSTP);
    until("moat is suspended", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", screen.pid()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    });
    assert_brought_back(&screen);
    let shown = screen.bytes().len();
    screen.signal(Signal::CONT);
    until("the terminal is raw again", || !screen.is_sane());
    for mode in [
        "\x1b[?1049h",
        "\x1b[?1002",
        "\x1b[?2004h",
        "\x1b[?25l",
        "drawn anew",
    ] {
        until(mode, || {
            String::from_utf8_lossy(&screen.bytes()[shown..]).contains(mode)
        });
    }
    screen.press(b"\x1fk");
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}

pub(crate) fn codes_and_the_record_agree(moat: &Moat) {
    for (script, code, state) in [
        ("exit 0", 0, "stopped"),
        ("exit 7", 7, "failed"),
        ("kill -KILL $$", 137, "failed"),
        ("kill -INT $$; exit 1", 130, "failed"),
    ] {
        let mut screen = start(moat, &["sh", "-c", script]);
        assert_eq!(
            screen.end().code(),
            Some(code),
            "{script}: {:?}",
            screen.text()
        );
        screen.assert_sane();
        let newest = moat
            .args(["inspect", &newest(moat)])
            .any_stdout()
            .success()
            .json();
        assert_eq!(
            (&newest["exit_code"], &newest["state"], &newest["reason"]),
            (&code.into(), &state.into(), &"exited".into()),
            "{script}"
        );
        assert!(!newest["cleaned_at"].is_null(), "{script}");
    }
}

fn newest(moat: &Moat) -> String {
    let list = moat.args(["list", "-a", "--quiet"]).any_stdout().success();
    let id = list.stdout_text().lines().next().map(str::to_owned);
    id.expect("a run")
}

pub(crate) fn killed_from_elsewhere(moat: &Moat) {
    // With the real times: the grace period is 10 s, and moat must not wait for it.
    moat.real_time();
    let mut screen = start_full_screen(moat);
    let begun = std::time::Instant::now();
    moat.args(["kill", &moat.only_id()])
        .any_stdout()
        .any_stderr()
        .success();
    let code = screen.end().code();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_brought_back(&screen);
    let record = ended(moat, "stopped", "killed");
    assert_eq!((code, &record["exit_code"]), (Some(137), &137.into()));
}

pub(crate) fn what_excludes_a_terminal(moat: &Moat) {
    for (flag, why) in [
        (
            "--background",
            "--background and -i with a terminal exclude each other",
        ),
        ("--json", "--json and -i with a terminal exclude each other"),
    ] {
        let mut call = moat.args(["run", flag, "-i"]);
        if moat.has_images() {
            call = call.args(["--image", IMAGE]);
        }
        let mut screen = Screen::start(&call.args(["--", "true"]).command());
        assert_eq!(screen.end().code(), Some(2), "{:?}", screen.text());
        screen.wait(why);
        screen.assert_sane();
    }
    // A terminal on stdin alone is not enough.
    let path = moat.write("out", "");
    let shell = format!("exec \"$0\" \"$@\" > {}", path.display());
    let run = call(moat, &["true"]).command();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &shell])
        .arg(run.get_program())
        .args(run.get_args());
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut screen = Screen::start(&command);
    assert_eq!(screen.end().code(), Some(2), "{:?}", screen.text());
    screen.wait("-i with a terminal on stdin also needs a terminal on stdout");
}

pub(crate) fn a_window_that_is_closed(moat: &Moat) {
    let mut screen = start_full_screen(moat);
    screen.close();
    screen.end();
    ended(moat, "stopped", "user-stop");
}

/// Starts a workload that prints without end, on a terminal that nobody reads.
fn start_unread(moat: &Moat) -> Screen {
    let screen = start(moat, &["sh", "-c", &format!("{MODES}; echo up; exec yes")]);
    screen.wait("up");
    screen.pause(true);
    // Waits until the log stops growing: every buffer on the way is full.
    let log = moat.run_dir(&moat.only_id()).join("logs.jsonl");
    let size = || std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
    until("the log has stopped growing", || {
        let before = size();
        std::thread::sleep(Duration::from_millis(300));
        size() == before
    });
    screen
}

pub(crate) fn stopped_while_nothing_is_shown(moat: &Moat) {
    let mut screen = start_unread(moat);
    screen.press(b"\x1f?");
    screen.signal(Signal::TERM);
    moat.wait_state(&moat.only_id(), "stopped");
    screen.pause(false);
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}

pub(crate) fn killed_while_nothing_is_shown(moat: &Moat) {
    let mut screen = start_unread(moat);
    screen.signal(Signal::KILL);
    screen.end();
    ended(moat, "stopped", "user-stop");
    screen.pause(false);
    screen.assert_sane();
}

/// After its job was killed, a shell sets up its terminal again; moat must not overwrite these settings.
pub(crate) fn killed_under_a_shell(moat: &Moat) {
    let run = call(moat, &["sh", "-c", "echo pid up; exec cat"]).command();
    let mut shell = std::process::Command::new("bash");
    shell.args(["--norc", "--noprofile", "-i"]);
    for (name, value) in run.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("PS1", "shell> ").current_dir(moat.workspace());
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut screen = Screen::start(&shell);
    let prompt_after = |screen: &Screen, shown: usize| {
        until("the shell is there", || {
            String::from_utf8_lossy(&screen.bytes()[shown..]).contains("shell> ")
        });
    };
    prompt_after(&screen, 0);
    let mut known = Vec::new();
    for round in 0..3 {
        screen.press(format!("{}\r", words.join(" ")).as_bytes());
        until("the workload runs", || {
            screen.text().matches("pid up\r\n").count() > round
        });
        let mut ids = moat.ids();
        ids.retain(|id| !known.contains(id));
        let supervisor = supervisor(moat, &ids[0]);
        known.append(&mut ids);
        let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", screen.pid()));
        let child: i32 = child.expect("children").trim().parse().expect("one child");
        let shown = screen.bytes().len();
        kill_process(Pid::from_raw(child).expect("a pid"), Signal::KILL).expect("it is there");
        prompt_after(&screen, shown);
        until("the supervisor has ended", || is_gone(supervisor));
        // The shell reads single keys. It sets that mode before its prompt, so moat must not have changed it since.
        assert!(!screen.gives_lines(), "round {round}");
        let shown = screen.bytes().len();
        screen.press(format!("echo r$(({round}+1))und\r").as_bytes());
        screen.wait(&format!("r{}und\r\n", round + 1));
        prompt_after(&screen, shown);
    }
    screen.press(b"exit 0\r");
    screen.end();
}

/// SIGSTOP gives moat no warning, and somebody may change the terminal meanwhile.
pub(crate) fn raw_again_after_a_pause(moat: &Moat) {
    let mut screen = start_full_screen(moat);
    screen.signal(Signal::STOP);
    until("moat is suspended", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", screen.pid()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    });
    screen.make_sane();
    screen.signal(Signal::CONT);
    until("the terminal is raw again", || !screen.is_sane());
    screen.press(b"\x1fk");
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}
