//! Interactive runs, on a terminal of the test's own: on the real engine, and on apple through its stand-in.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod screen;

use harness::{IMAGE, Moat, Runtime};
use rustix::process::Signal;
use screen::Screen;

macro_rules! on_each {
    ($($name:ident)*) => {
        on! { docker Runtime::Docker; $($name)* }
        on! { apple_0_9 Runtime::Apple("0.9.0"); $($name)* }
        on! { apple_1_2 Runtime::Apple("1.2.2"); $($name)* }
    };
}

macro_rules! on {
    ($module:ident $runtime:expr; $($name:ident)*) => {
        mod $module {
            use super::Runtime;
            $(
                #[test]
                fn $name() {
                    super::$name($runtime);
                }
            )*
        }
    };
}

on_each! {
    a_shell_feels_as_if_it_ran_here
    end_of_input_and_bytes_of_all_kinds
    a_paste_of_a_megabyte_is_whole
    the_escape_stops_and_kills
    whoever_is_killed_the_terminal_is_sane
    what_was_shown_is_in_the_log
    the_supervisor_is_killed
    a_session_is_replayed
    what_excludes_a_terminal
}

fn start(moat: &Moat, command: &[&str]) -> Screen {
    let call = moat.args(["run", "-i", "--image", IMAGE, "--"]);
    Screen::start(&call.args(command).command())
}

/// What a full-screen program switches on.
const MODES: &str = r"printf '\033[?1049h\033[?1002;1006h\033[?2004h\033[>1u\033[2;10r\033[?25l'";

/// Switched off again.
const SANE: [&str; 5] = [
    "\x1b[?1049l",
    "\x1b[?1002l",
    "\x1b[?2004l",
    "\x1b[<1u",
    "\x1b[?25h",
];

#[track_caller]
fn ended(moat: &Moat, state: &str, reason: &str) -> serde_json::Value {
    let record = moat.wait_state(&moat.only_id(), state);
    assert_eq!(record["reason"], reason, "{record:#}");
    let begun = std::time::Instant::now();
    while !moat.leftovers().is_empty() {
        let late = begun.elapsed() > std::time::Duration::from_secs(20);
        assert!(!late, "left behind: {:?}", moat.leftovers());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    record
}

fn a_shell_feels_as_if_it_ran_here(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let mut screen = start(&moat, &["sh"]);
    screen.wait("Started ");
    screen.press(b"echo $((40+2)) $TERM; stty size\r");
    screen.wait("42 xterm-256color\r\n30 90");
    // Line editing is the terminal's in there.
    screen.press(b"echo wronh\x7fg\r");
    screen.wait("\r\nwrong\r\n");
    // Ctrl-C is the workload's.
    screen.press(b"echo sleeps; sleep 1000\r");
    screen.wait("\r\nsleeps\r\n");
    // Until the shell has let go of the terminal, it is a letter.
    harness::until("it is interrupted", || {
        screen.press(b"\x03");
        std::thread::sleep(std::time::Duration::from_millis(50));
        screen.text().contains("^C")
    });
    screen.press(b"\recho still $((1+1))\r");
    screen.wait("still 2");
    screen.resize(40, 120);
    harness::until("the new size is seen", || {
        screen.press(b"stty size\r");
        std::thread::sleep(std::time::Duration::from_millis(50));
        screen.text().contains("40 120")
    });
    screen.press(b"exit 7\r");
    assert_eq!(screen.end().code(), Some(7), "{:?}", screen.text());
    screen.assert_sane();
    let record = ended(&moat, "failed", "exited");
    assert_eq!(
        (&record["exit_code"], &record["terminal"]),
        (&7.into(), &true.into())
    );
}

fn end_of_input_and_bytes_of_all_kinds(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let mut screen = start(
        &moat,
        &["sh", "-c", "stty raw -echo; echo up; head -c 520 | md5sum"],
    );
    screen.wait("up");
    let mut bytes: Vec<u8> = (0..=255).collect();
    // The escape twice is the escape once.
    bytes.insert(0x1f, 0x1f);
    screen.press(&bytes);
    screen.press("gr\u{fc}\u{df}e \u{20ac}\u{1f600}".as_bytes());
    screen.press(&[b'x'; 300]);
    let mut expected: Vec<u8> = (0..=255).collect();
    expected.extend("gr\u{fc}\u{df}e \u{20ac}\u{1f600}".as_bytes());
    expected.extend([b'x'; 300]);
    let sum = std::process::Command::new("sh")
        .args(["-c", "head -c 520 | md5sum"])
        .stdin(temporary(&expected))
        .output()
        .expect("md5sum");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    screen.wait(sum.split(' ').next().expect("a sum"));
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    ended(&moat, "stopped", "exited");
}

fn temporary(bytes: &[u8]) -> std::io::PipeReader {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, bytes).expect("written");
    reader
}

fn a_paste_of_a_megabyte_is_whole(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let script = "stty raw -echo; echo up; sleep 1; head -c 1000014 | md5sum";
    let mut screen = start(&moat, &["sh", "-c", script]);
    screen.wait("up");
    let paste = [
        "\x1b[200~".as_bytes(),
        &[b'a'; 1_000_000],
        b"\x1fk",
        b"\x1b[201~",
    ]
    .concat();
    let path = moat.write("paste", &paste);
    let file = std::fs::File::open(path).expect("a file");
    let sum = std::process::Command::new("md5sum").stdin(file).output();
    let mut sum = sum.expect("md5sum").stdout;
    sum.truncate(32);
    screen.press(&paste);
    screen.wait(&String::from_utf8(sum).expect("text"));
    assert_eq!(screen.end().code(), Some(0));
    screen.assert_sane();
    ended(&moat, "stopped", "exited");
}

fn the_escape_stops_and_kills(runtime: Runtime) {
    for (keys, reason) in [(&b"\x1fk"[..], "user-stop"), (b"\x1b[47;5uK", "killed")] {
        let Some(moat) = Moat::on(runtime) else {
            return;
        };
        let mut screen = start(&moat, &["sh", "-c", &format!("{MODES}; echo up; exec cat")]);
        screen.wait("up");
        screen.press(b"\x1f?");
        screen.wait("k stops the run");
        screen.press(keys);
        screen.end();
        screen.assert_sane();
        for part in SANE {
            screen.wait(part);
        }
        ended(&moat, "stopped", reason);
        let log = moat.args(["logs"]).any_stdout().any_stderr().success();
        assert!(log.stdout_text().contains("up"), "{log}");
    }
}

fn whoever_is_killed_the_terminal_is_sane(runtime: Runtime) {
    for signal in [Signal::KILL, Signal::TERM, Signal::HUP] {
        let Some(moat) = Moat::on(runtime) else {
            return;
        };
        let mut screen = start(&moat, &["sh", "-c", &format!("{MODES}; echo up; exec cat")]);
        screen.wait("up");
        screen.signal(signal);
        screen.end();
        screen.assert_sane();
        for part in SANE {
            screen.wait(part);
        }
        ended(&moat, "stopped", "user-stop");
    }
}

fn what_was_shown_is_in_the_log(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let script =
        "stty -onlcr; i=0; while [ $i -lt 30000 ]; do echo line$i; i=$((i+1)); done; printf end";
    let mut screen = start(&moat, &["sh", "-c", script]);
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
    ended(&moat, "stopped", "exited");
}

/// Nobody has the workload's terminal any more: it is stopped, and the person's is brought back.
fn the_supervisor_is_killed(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let mut screen = start(&moat, &["sh", "-c", &format!("{MODES}; echo up; exec cat")]);
    screen.wait("up");
    let owner = moat.run_dir(&moat.only_id()).join("owner.lock");
    let owner: serde_json::Value =
        serde_json::from_slice(&std::fs::read(owner).expect("the owner")).expect("JSON");
    let pid = owner["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    screen.end();
    screen.assert_sane();
    for part in SANE {
        screen.wait(part);
    }
    ended(&moat, "stopped", "user-stop");
}

/// A session is played in its own time.
fn a_session_is_replayed(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let script = "printf one; sleep 1; printf two; sleep 1; echo three";
    let mut screen = start(&moat, &["sh", "-c", script]);
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
    ended(&moat, "stopped", "exited");
}

fn what_excludes_a_terminal(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    for (flag, why) in [("-b", "--background and -i"), ("--json", "--json and -i")] {
        let call = moat.args(["run", flag, "-i", "--image", IMAGE, "--", "true"]);
        let mut screen = Screen::start(&call.command());
        assert_eq!(screen.end().code(), Some(2), "{:?}", screen.text());
        screen.wait(if flag == "--json" {
            "exclude each other"
        } else {
            why
        });
        screen.assert_sane();
    }
    let call = moat.args(["run", "-i", "--runtime", "bwrap", "--", "true"]);
    let mut screen = Screen::start(&call.command());
    assert_eq!(screen.end().code(), Some(2), "{:?}", screen.text());
    screen.wait("does not work on bwrap yet");
}
