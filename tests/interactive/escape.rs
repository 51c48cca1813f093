//! The escape key, and the keys that follow it.

use super::{assert_brought_back, call, ended, start, start_full_screen};
use crate::harness::Moat;
use crate::harness::screen::Screen;

fn ends(moat: &Moat, keys: &[u8], reason: &str) {
    let mut screen = start_full_screen(moat);
    screen.press(b"\x1f?");
    screen.wait("k stops the workload");
    screen.press(keys);
    screen.end();
    assert_brought_back(&screen);
    ended(moat, "stopped", reason);
    let log = moat.args(["logs"]).any_stdout().any_stderr().success();
    assert!(log.stdout_text().contains("up"), "{log}");
}

pub(crate) fn the_escape_stops(moat: &Moat) {
    ends(moat, b"\x1fk", "user-stop");
}

pub(crate) fn the_escape_kills(moat: &Moat) {
    ends(moat, b"\x1b[47;5uK", "killed");
}

/// Starts a workload that prints each byte that it reads, on a terminal in raw mode.
fn showing(moat: &Moat) -> Screen {
    let script = "stty raw -echo; echo up; exec od -An -tx1 -v -w1";
    let screen = start(moat, &["sh", "-c", script]);
    screen.wait("up");
    screen
}

pub(crate) fn an_escape_of_ones_own(moat: &Moat) {
    moat.config("interactive:\n  escape: ctrl-]\n");
    let mut screen = showing(moat);
    screen.press(b"\x1fk\x1d\x1d");
    // The default escape key is now an ordinary key, and the configured one typed twice arrives once. `od` prints
    // four bytes at a time.
    screen.press(b"xxxxxxxxxxxxx");
    screen.wait(" 1f");
    screen.wait(" 6b");
    screen.wait(" 1d");
    assert_eq!(screen.text().matches(" 1d").count(), 1);
    screen.press(b"\x1dk");
    screen.end();
    screen.assert_sane();
    ended(moat, "stopped", "user-stop");
}

pub(crate) fn no_escape_at_all(moat: &Moat) {
    moat.config("interactive: {escape: none}\n");
    let mut screen = showing(moat);
    screen.press(b"\x1fk\x1fK\x1b[47;5uk");
    screen.wait(" 1f");
    screen.wait(" 4b");
    moat.args(["stop", &moat.only_id()])
        .any_stdout()
        .any_stderr()
        .success();
    screen.end();
    screen.assert_sane();
    ended(moat, "stopped", "user-stop");
    // An invalid key is an error that names the file and the line.
    moat.config("interactive: {escape: alt-x}\n");
    let call = call(moat, &["true"]);
    let mut screen = Screen::start(&call.command());
    assert_eq!(screen.end().code(), Some(125), "{:?}", screen.text());
    screen.wait("config.yaml:1:");
}
