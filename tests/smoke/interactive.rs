//! A run on a terminal.

use crate::harness::Runtime;
use crate::harness::screen::Screen;
use crate::smoke::on;

#[test]
fn a_shell_on_a_terminal() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let call = moat.args(["run", "-i", "--", "sh"]);
    let mut screen = Screen::start(&call.command());
    screen.press(b"stty size; echo $((6 * 7)); exit 5\r");
    screen.wait("30 90");
    screen.wait("42");
    assert_eq!(screen.end().code(), Some(5));
    screen.assert_sane();
    let record = moat.wait_state(&moat.only_id(), "failed");
    assert_eq!(record["terminal"], true);
    assert_eq!(record["exit_code"], 5);
}

#[test]
fn the_escape_kills() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let call = moat.args(["run", "-i", "--", "sh", "-c", "echo up; exec cat"]);
    let mut screen = Screen::start(&call.command());
    screen.wait("up");
    screen.press(b"\x1fK");
    assert_eq!(screen.end().code(), Some(137));
    screen.assert_sane();
}
