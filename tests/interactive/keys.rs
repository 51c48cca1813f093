//! Everything that is typed reaches the workload unchanged.

use std::time::{Duration, Instant};

use super::{MODES, SIZE, assert_brought_back, call, ended, start};
use crate::harness::screen::Screen;
use crate::harness::{IMAGE, Moat, skip, until};

pub(crate) fn a_shell_feels_as_if_it_ran_here(moat: &Moat) {
    let mut screen = start(moat, &["sh"]);
    screen.wait("Started ");
    screen.press(format!("echo $((40+2)) $TERM; {SIZE}\r").as_bytes());
    screen.wait("42 xterm-256color\r\n30 90");
    // The workload's terminal edits the line.
    screen.press(b"echo wronh\x7fg\r");
    // The prompt may come after the keys, before the output. The echo of the keys has neither of the two texts.
    screen.wait("wrong\r\n");
    // Ctrl-C goes to the workload. The program inside prints a line when it runs, because a shell that is just starting a
    // program ignores the key, on every terminal.
    screen.press(b"sh -c 'echo sleeps; exec sleep 1000'\r");
    screen.wait("sleeps\r\n");
    screen.press(b"\x03");
    screen.wait("^C");
    screen.press(b"\recho still $((1+1))\r");
    screen.wait("still 2");
    screen.press(b"exit 7\r");
    assert_eq!(screen.end().code(), Some(7), "{:?}", screen.text());
    screen.assert_sane();
    let record = ended(moat, "failed", "exited");
    assert_eq!(
        (&record["exit_code"], &record["terminal"]),
        (&7.into(), &true.into())
    );
}

pub(crate) fn as_moat_yaml_wants_it(moat: &Moat) {
    let mut yaml = "interactive: true\ncommand: [sh, -c, 'read x; echo got $x']\n".to_owned();
    if moat.has_images() {
        yaml += &format!("base_image: {IMAGE}\n");
    }
    moat.write("moat.yaml", yaml);
    let mut screen = Screen::start(&moat.args(["run"]).command());
    screen.wait("Started ");
    screen.press(b"it\r");
    screen.wait("got it");
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    assert_eq!(ended(moat, "stopped", "exited")["terminal"], true);
    // Without a terminal, moat passes on the bytes of the pipe.
    let piped = moat.args(["run", "--quiet"]).stdin("bytes\n");
    piped.stdout("got bytes\n").success();
}

/// Returns all bytes to type, and the bytes that must arrive: the escape key typed twice arrives once.
fn all_kinds() -> (Vec<u8>, Vec<u8>) {
    let mut typed: Vec<u8> = (0..=255).collect();
    let mut expected = typed.clone();
    typed.insert(0x1f, 0x1f);
    for bytes in [&mut typed, &mut expected] {
        bytes.extend("gr\u{fc}\u{df}e \u{20ac}\u{1f600}".as_bytes());
        bytes.extend(b"\x1b[A\x1b[1;5C\x1bOP\x1b[200~x\x1b[201~\x1b[97;5u\x1b\x1b");
        bytes.extend([b'x'; 300]);
    }
    (typed, expected)
}

fn md5(moat: &Moat, bytes: &[u8]) -> String {
    let path = moat.write("expected", bytes);
    let file = std::fs::File::open(path).expect("a file");
    let sum = std::process::Command::new("md5sum").stdin(file).output();
    let mut sum = sum.expect("md5sum").stdout;
    sum.truncate(32);
    String::from_utf8(sum).expect("text")
}

/// Starts a workload that reads single keys, and prints the checksum of this number of bytes.
fn start_summing(moat: &Moat, count: usize) -> Screen {
    let script = format!("stty raw -echo; echo up; head -c {count} | md5sum");
    let screen = start(moat, &["sh", "-c", &script]);
    screen.wait("up");
    screen
}

pub(crate) fn end_of_input_and_bytes_of_all_kinds(moat: &Moat) {
    let (typed, expected) = all_kinds();
    let mut screen = start_summing(moat, expected.len());
    screen.press(&typed);
    screen.wait(&md5(moat, &expected));
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    ended(moat, "stopped", "exited");
    let mut screen = start(moat, &["cat"]);
    screen.wait("Started ");
    screen.press(b"one\r");
    screen.wait("one\r\none\r\n");
    screen.press(b"\x04");
    assert_eq!(screen.end().code(), Some(0));
}

/// Escape sequences that arrive in single bytes are passed on complete and without delay.
pub(crate) fn bytes_that_come_one_by_one(moat: &Moat) {
    let (typed, expected) = all_kinds();
    let mut screen = start_summing(moat, expected.len());
    for byte in &typed[..420] {
        screen.press(&[*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    screen.press(&typed[420..]);
    screen.wait(&md5(moat, &expected));
    assert_eq!(screen.end().code(), Some(0));
    ended(moat, "stopped", "exited");
}

pub(crate) fn a_paste_of_a_megabyte_is_whole(moat: &Moat) {
    let paste = [
        "\x1b[200~".as_bytes(),
        &[b'a'; 1_000_000],
        b"\x1fk",
        b"\x1b[201~",
    ]
    .concat();
    let script = format!(
        "stty raw -echo; echo up; sleep 1; head -c {} | md5sum",
        paste.len()
    );
    let mut screen = start(moat, &["sh", "-c", &script]);
    screen.wait("up");
    screen.press(&paste);
    screen.wait(&md5(moat, &paste));
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    ended(moat, "stopped", "exited");
}

/// Job control works in the workload's shell: Ctrl-Z, `jobs`, `fg`.
pub(crate) fn jobs_of_a_shell(moat: &Moat) {
    if moat.runtime_of().is_podman() {
        return skip(
            "podman's init (catatonit 0.1.7) keeps SIGTSTP, SIGTTIN and SIGTTOU from its child",
        );
    }
    let mut screen = start(moat, &["sh", "-i"]);
    screen.wait("Started ");
    screen.press(b"echo r$((1+1))dy\r");
    screen.wait("r2dy");
    screen.press(b"echo sleeps; sleep 1000\r");
    screen.wait("\r\nsleeps\r\n");
    until("the job is suspended", || {
        screen.press(b"\x1a");
        std::thread::sleep(Duration::from_millis(50));
        screen.text().contains("Stopped")
    });
    screen.press(b"\rkill %1; fg; echo code $?\r");
    screen.wait("\r\ncode 143");
    screen.press(b"exit 0\r");
    // A shell may once refuse to exit because it still has jobs.
    screen.press(b"exit 0\r");
    assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
    ended(moat, "stopped", "exited");
}

/// The maximum number of size changes until the workload sees one soon enough.
const ROUNDS: u16 = 50;

pub(crate) fn a_size_is_seen_soon(moat: &Moat) {
    let script = "trap 'echo size $(stty size).' WINCH; echo up; while :; do sleep 0.01; done";
    let mut screen = start(moat, &["sh", "-c", script]);
    screen.wait("up");
    until("the workload sees a changed size", || {
        // docker's client misses a change before it listens for them, and merges two that come together.
        for columns in [119, 120] {
            screen.resize(39, columns);
            std::thread::sleep(Duration::from_millis(50));
        }
        screen.text().contains("size 39 120.")
    });
    // On a busy machine a single change may arrive late. If all are late, moat is slow.
    let mut took = Vec::new();
    let is_soon = (40..40 + ROUNDS).any(|rows| {
        let begun = Instant::now();
        screen.resize(rows, 120);
        screen.wait(&format!("size {rows} 120."));
        took.push(begun.elapsed());
        begun.elapsed() < Duration::from_millis(100)
    });
    assert!(is_soon, "{took:?}");
    screen.press(b"\x1fk");
    screen.end();
    ended(moat, "stopped", "user-stop");
}

/// On a terminal without a size, such as a serial line, the workload gets the usual size.
pub(crate) fn a_terminal_that_does_not_know_its_size(moat: &Moat) {
    let mut screen = start(moat, &["true"]);
    screen.end();
    screen.resize(0, 0);
    screen.again(&call(moat, &["sh", "-c", SIZE]).command());
    assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
    screen.wait("24 80");
}

/// Scripts use `< /dev/tty`, which opens the terminal only for reading.
pub(crate) fn keys_from_another_descriptor(moat: &Moat) {
    let script = format!("{MODES}; echo up; read x; echo got $x");
    let run = call(moat, &["sh", "-c", &script]).command();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" < /dev/tty"]);
    command.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(moat.workspace());
    let mut screen = Screen::start(&command);
    screen.wait("up");
    screen.press(b"it\r");
    screen.wait("got it");
    assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
    assert_brought_back(&screen);
    ended(moat, "stopped", "exited");
}

/// `interactive: true` in moat.yaml has an effect only with a terminal, and gives way to flags that exclude it.
pub(crate) fn what_a_file_wants_gives_way(moat: &Moat) {
    let mut yaml = "interactive: true\ncommand: [sh, -c, 'cat; echo done']\n".to_owned();
    if moat.has_images() {
        yaml += &format!("base_image: {IMAGE}\n");
    }
    moat.write("moat.yaml", yaml);
    for flags in [&["run", "--json"][..], &["run", "-b"]] {
        let mut screen = Screen::start(&moat.args(flags).command());
        assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
        screen.assert_sane();
    }
    // A flag that asks for a terminal overrides `background: true` of the user's configuration.
    moat.config("run: {background: true}\n");
    let mut screen = start(moat, &["sh", "-c", "read x; echo got $x"]);
    screen.wait("Started ");
    screen.press(b"it\r");
    screen.wait("got it");
    assert_eq!(screen.end().code(), Some(0), "{:?}", screen.text());
}
