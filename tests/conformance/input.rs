//! `-i`: the workload gets the client's stdin. Without it, moat reads nothing from stdin.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::log::assert_same;
use crate::harness::{Moat, Running, Signal, amount};

const LONG: Duration = Duration::from_secs(120);

pub(crate) fn input_from_a_pipe(moat: &Moat) {
    moat.run_with(["-i"], ["cat"])
        .stdin("one\ntwo")
        .stdout("one\ntwo")
        .success();
}

pub(crate) fn input_from_a_file(moat: &Moat) {
    let path = moat.write("input", "from a file\n");
    moat.run_with(["-i"], ["cat"])
        .stdin_from(File::open(path).expect("the file"))
        .stdout("from a file\n")
        .success();
}

pub(crate) fn megabytes_of_input(moat: &Moat) {
    let mut bytes = vec![0; amount(5_000_000, 50_000_000)];
    let random = File::open("/dev/urandom").expect("random bytes");
    std::io::Read::read_exact(&mut { random }, &mut bytes).expect("random bytes");
    let path = moat.write("input", &bytes);
    let sum = Command::new("sha256sum")
        .arg(&path)
        .output()
        .expect("sha256sum")
        .stdout;
    let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
    let expected = format!("{sum}  -\n");
    moat.run_with(["-i"], ["sha256sum"])
        .stdin(&bytes)
        .stdout(&expected)
        .deadline(LONG)
        .success();
    moat.run_with(["-i"], ["sha256sum"])
        .stdin_from(File::open(path).expect("the file"))
        .stdout(&expected)
        .deadline(LONG)
        .success();
}

pub(crate) fn empty_input(moat: &Moat) {
    moat.run_with(["-i"], ["wc", "-c"]).stdout("0\n").success();
    moat.run_with(["-i"], ["wc", "-c"])
        .stdin("")
        .stdout("0\n")
        .success();
    moat.run(["wc", "-c"])
        .stdin("not for it")
        .stdout("0\n")
        .success();
}

/// The writer gets SIGPIPE, as in any pipeline; moat ends with the workload.
pub(crate) fn a_workload_that_stops_reading_ends_the_writer(moat: &Moat) {
    let mut writer = Command::new("yes")
        .stdout(Stdio::piped())
        .spawn()
        .expect("yes");
    let pipe = writer.stdout.take().expect("its output");
    moat.run_with(["-i"], ["head", "-n", "2"])
        .stdin_from(pipe)
        .stdout("y\ny\n")
        .success();
    let status = writer.wait().expect("the writer ends");
    assert_eq!(status.signal(), Some(Signal::PIPE.as_raw()), "{status}");
}

/// A `while read` loop loses lines to a command that reads too much.
pub(crate) fn input_of_others_is_left_alone(moat: &Moat) {
    let script = r#"while read -r line; do echo "line $line"; "$@" || exit; done"#;
    let input = moat.write("lines", "1\n2\n3\n");
    let mut command = moat
        .run(["echo", "run"])
        .wrapped(&["sh", "-c", script, "sh"]);
    command.stdin(File::open(input).expect("the file"));
    let done = Running::with_input(command).wait();
    assert_eq!(
        done.stdout_text(),
        "line 1\nrun\nline 2\nrun\nline 3\nrun\n",
        "{done}"
    );
    assert_eq!((done.code, done.stderr_text().as_str()), (Some(0), ""));
}

pub(crate) fn input_is_passed_on_as_it_comes(moat: &Moat) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let run = moat
        .run_with(["-i"], ["sh", "-c", "read a; echo \"got $a\"; cat"])
        .stdin_from(reader)
        .spawn();
    writer.write_all(b"first\n").expect("the workload reads");
    run.wait_stdout("got first\n");
    writer.write_all(b"rest").expect("the workload reads");
    drop(writer);
    let done = run.wait();
    assert_same("the answer", &done.stdout, b"got first\nrest");
    assert_eq!(done.code, Some(0), "{done}");
}

/// The run continues to read after its client has gone.
pub(crate) fn background_input(moat: &Moat) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let done = moat
        .run_with(["-b", "-i"], ["cat"])
        .stdin_from(reader)
        .any_stdout()
        .success();
    let id = done.stdout_text().trim().to_owned();
    writer.write_all(b"late\n").expect("the workload reads");
    drop(writer);
    moat.args(["wait", &id]).success();
    moat.args(["logs", &id]).stdout("late\n").success();
}

/// An input that cannot be read is empty, and holds no run.
pub(crate) fn input_that_cannot_be_read(moat: &Moat) {
    let directory = std::fs::File::open("/").expect("a directory");
    let writing = std::fs::File::options().write(true).open("/dev/null");
    for input in [directory, writing.expect("a device")] {
        moat.run_with(["-i"], ["sh", "-c", "cat; echo $?; exit 7"])
            .stdin_from(input)
            .stdout("0\n")
            .status(7);
    }
}

/// The run ends with its workload, although the writer neither writes nor ends.
pub(crate) fn a_silent_writer_does_not_hold_the_run(moat: &Moat) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    moat.run_with(["-i"], ["sh", "-c", "echo done; exit 7"])
        .stdin_from(reader)
        .stdout("done\n")
        .status(7);
    drop(writer);
}
