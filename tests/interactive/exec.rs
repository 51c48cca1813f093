//! `moat exec -it`: another command in a run, with the user's terminal.

use super::{MODES, assert_brought_back, ended, start_full_screen};
use crate::harness::screen::Screen;
use crate::harness::{Call, Moat, until};

/// Starts a run that ends when the test says so, and returns its id.
fn beside(moat: &Moat) -> String {
    moat.background("until [ -e go ]; do sleep 0.05; done")
}

fn call<'a>(moat: &'a Moat, id: &str, flags: &str, script: &str) -> Call<'a> {
    moat.args(["exec", flags, id, "--", "sh", "-c", script])
}

/// Ends that run.
fn end(moat: &Moat, id: &str) {
    moat.write("go", "");
    moat.args(["wait", id]).any_stderr().success();
}

pub(crate) fn a_shell_in_a_run(moat: &Moat) {
    let id = beside(moat);
    for flags in ["-it", "-i", "-t"] {
        let call = moat.args(["exec", flags, &id, "--", "sh"]);
        let mut screen = Screen::start(&call.command());
        until("the shell has the terminal's size", || {
            screen.press(b"stty size; echo $TERM\r");
            std::thread::sleep(std::time::Duration::from_millis(50));
            screen.text().contains("30 90\r\nxterm-256color")
        });
        until("the shell has the new size", || {
            // docker's client misses a size that changes before it listens for changes.
            screen.resize(20, 71);
            screen.resize(20, 70);
            screen.press(b"stty size\r");
            std::thread::sleep(std::time::Duration::from_millis(50));
            screen.text().contains("20 70")
        });
        screen.press(b"exit 5\r");
        assert_eq!(screen.end().code(), Some(5), "{flags} {:?}", screen.text());
        screen.assert_sane();
    }
    let log = moat.args(["logs", &id, "--exec", "1", "--replay", "--speed", "1000"]);
    let log = log.any_stdout().success();
    assert!(log.stdout_text().contains("xterm-256color"), "{log}");
    end(moat, &id);
}

pub(crate) fn its_escape_and_its_end(moat: &Moat) {
    let id = beside(moat);
    let script = format!("{MODES}; trap '' INT; echo up; exec sleep 1000");
    for (keys, code) in [(&b"\x1fk"[..], 129), (b"\x1fK", 137)] {
        let mut screen = Screen::start(&call(moat, &id, "-it", &script).command());
        screen.wait("up");
        screen.press(b"\x03");
        screen.press(keys);
        assert_eq!(screen.end().code(), Some(code), "{:?}", screen.text());
        assert_brought_back(&screen);
    }
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        let mut screen = Screen::start(&call(moat, &id, "-it", &script).command());
        screen.wait("up");
        screen.signal(signal);
        screen.end();
        assert_brought_back(&screen);
    }
    // The commands no longer run in the container.
    let left = moat.args(["exec", &id, "--", "ps"]).any_stdout().success();
    assert!(!left.stdout_text().contains("sleep 1000"), "{left}");
    end(moat, &id);
}

/// No key is held back, and no key that is typed again and again detaches a client. docker alone holds back the null
/// character until the next key.
pub(crate) fn keys_come_at_once(moat: &Moat) {
    let id = beside(moat);
    let script = "stty raw -echo; echo up; \
                  while :; do dd bs=1 count=1 2>/dev/null | od -An -tx1; done";
    let mut screen = Screen::start(&call(moat, &id, "-it", script).command());
    screen.wait("up");
    for key in [0x10_u8, 0x11, 0x1c, 0x1d, 0x1e] {
        screen.press(&[key]);
        screen.wait(&format!(" {key:02x}\n"));
    }
    // moat's own escape key, twice for each.
    screen.press(&[0x1f, 0x1f]);
    screen.wait(" 1f\n");
    for _ in 0..40 {
        screen.press(&[0x1f]);
        screen.press(&[0]);
    }
    screen.press(b"z");
    screen.wait(" 7a\n");
    screen.press(b"\x1fK");
    assert_eq!(screen.end().code(), Some(137));
    end(moat, &id);
}

pub(crate) fn what_cannot_be_started(moat: &Moat) {
    let id = beside(moat);
    let mut screen = Screen::start(&moat.args(["exec", "-it", &id, "--", "nosuch"]).command());
    assert_eq!(screen.end().code(), Some(127), "{:?}", screen.text());
    screen.wait("error: cannot run it: ");
    screen.assert_sane();
    moat.args(["exec", "-t", &id, "--", "true"])
        .stderr("error: --tty needs a terminal on stdin\n  hint: for a pipe or a file, leave out --tty: moat exec RUN -i -- CMD < FILE\n")
        .status(2);
    let mut screen = Screen::start(
        &moat
            .args(["exec", "-it", "--json", &id, "--", "true"])
            .command(),
    );
    assert_eq!(screen.end().code(), Some(2), "{:?}", screen.text());
    screen.wait("--json and -i with a terminal exclude each other");
    // Bytes from a pipe pass unchanged.
    let done = moat
        .args(["exec", "-i", &id, "--", "wc", "-c"])
        .stdin("12345");
    assert_eq!(done.any_stdout().success().stdout_text().trim(), "5");
    end(moat, &id);
}

pub(crate) fn what_ignores_its_end(moat: &Moat) {
    let id = beside(moat);
    let script = "trap '' HUP TERM; echo up; while :; do sleep 1; done";
    let mut screen = Screen::start(&call(moat, &id, "-it", script).command());
    screen.wait("up");
    screen.press(b"\x1fk");
    screen.wait("the escape key and K to kill it");
    assert_eq!(screen.end().code(), Some(137), "{:?}", screen.text());
    screen.assert_sane();
    end(moat, &id);
}

/// Without the engine client the workload has lost its terminal: moat stops the run, and says so.
pub(crate) fn the_client_of_the_engine_is_killed(moat: &Moat) {
    let mut screen = start_full_screen(moat);
    let id = moat.only_id();
    let clients = std::process::Command::new("pgrep")
        .args(["-f", &format!("^docker start --attach.*{id}")])
        .output()
        .expect("pgrep");
    let pid = String::from_utf8_lossy(&clients.stdout).trim().parse().ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    screen.wait("the workload lost its terminal");
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", "user-stop");
}
