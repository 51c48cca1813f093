//! Full-screen programs in moat, and moat in tmux.

use std::process::{Command, Output};
use std::time::Duration;

use super::{call, ended, start};
use crate::harness::{Moat, skip, until};

/// Full-screen programs draw, take single keys, and restore the screen.
pub(crate) fn a_pager_and_an_editor(moat: &Moat) {
    let lines: String = (1..=200).map(|line| format!("line {line}.\n")).collect();
    moat.write("long.txt", lines);
    let less = if moat.has_images() { "less" } else { "more" };
    let mut screen = start(moat, &["sh"]);
    screen.wait("Started ");
    screen.press(format!("{less} long.txt\r").as_bytes());
    screen.wait("line 25.");
    assert!(!screen.text().contains("line 60."));
    screen.press(b" ");
    screen.wait("line 45.");
    screen.press(b"q");
    // A program that leaves the screen discards keys typed meanwhile, so the test repeats them.
    until("the shell is back", || {
        screen.press(b"\recho back$((1+1))\r");
        std::thread::sleep(Duration::from_millis(50));
        screen.text().contains("back2")
    });
    if moat.has_images() {
        screen.press(b"vi new.txt\r");
        screen.wait("new.txt");
        screen.press(b"ityped");
        screen.wait("typed");
        // With a key right behind it, the escape key would begin a sequence.
        screen.press(b"\x1b");
        std::thread::sleep(Duration::from_millis(200));
        screen.press(b":wq\r");
        until("the editor writes", || {
            let text = std::fs::read_to_string(moat.workspace().join("new.txt"));
            text.is_ok_and(|text| text == "typed\n")
        });
        screen.press(b"top\r");
        screen.wait("Mem:");
        screen.press(b"q");
    }
    screen.press(b"exit 0\r");
    assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
    screen.assert_sane();
    ended(moat, "stopped", "exited");
}

/// A tmux server of the test's own, which ends with the test.
struct Tmux<'a>(&'a Moat);

impl Tmux<'_> {
    fn run(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S")
            .arg(self.0.root().join("tmux"))
            .args(["-f", "/dev/null"]);
        tmux.args(args).env_remove("TMUX").output().expect("tmux")
    }

    fn shown(&self) -> String {
        let shown = self.run(&["capture-pane", "-p", "-t", "test"]);
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    fn type_line(&self, line: &str) {
        self.run(&["send-keys", "-t", "test", line, "Enter"]);
    }

    /// Waits until a program in the window sees a terminal of this size.
    #[track_caller]
    fn wait_size(&self, size: &str) {
        until(&format!("the size {size} is seen"), || {
            self.type_line("stty size");
            std::thread::sleep(Duration::from_millis(100));
            self.shown().contains(size)
        });
    }

    #[track_caller]
    fn wait(&self, text: &str) {
        until(&format!("{text:?} is shown"), || {
            self.shown().contains(text)
        });
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// In a real terminal emulator, the test sees what a user sees.
pub(crate) fn inside_tmux(moat: &Moat) {
    if Command::new("tmux").arg("-V").output().is_err() {
        return skip("tmux is not installed (tests/setup tools)");
    }
    let run = call(moat, &["sh"]).command();
    let mut script = String::from("exec env -i");
    let mut word = |word: &std::ffi::OsStr| {
        script += &format!(" '{}'", word.to_string_lossy().replace('\'', "'\\''"));
    };
    for (name, value) in run.get_envs() {
        let mut pair = name.to_owned();
        pair.push("=");
        pair.push(value.unwrap_or_default());
        word(&pair);
    }
    word("TERM=screen".as_ref());
    word(run.get_program());
    run.get_args().for_each(&mut word);
    let script = moat.write("run.sh", script);
    let work = moat.workspace().to_owned();
    let tmux = Tmux(moat);
    let (script, work) = (script.display().to_string(), work.display().to_string());
    // Starts moat from a shell in the window, so that the test sees the terminal afterwards.
    tmux.run(&[
        "new-session",
        "-d",
        "-s",
        "test",
        "-x",
        "90",
        "-y",
        "30",
        "-c",
        &work,
        "sh",
    ]);
    tmux.run(&["set-option", "-g", "status", "off"]);
    tmux.type_line(&format!("sh {script}"));
    tmux.wait("Started ");
    tmux.wait_size("30 90");
    tmux.type_line("printf '\\033[?1049h'; echo alternate");
    tmux.wait("\nalternate");
    tmux.run(&["resize-window", "-t", "test", "-x", "100", "-y", "20"]);
    tmux.wait_size("20 100");
    tmux.run(&["send-keys", "-t", "test", "C-_", "k"]);
    tmux.wait("was stopped");
    tmux.type_line("echo sane $((1+1))");
    tmux.wait("\nsane 2");
    // The alternate screen is left, so the earlier output is visible again.
    assert!(tmux.shown().contains("Started "), "{}", tmux.shown());
    drop(tmux);
    ended(moat, "stopped", "user-stop");
}
