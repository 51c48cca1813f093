//! A client whose output has no reader: it blocks the workload, but never the end of the run, and it gets everything
//! once a reader comes.

use std::io::{PipeReader, Read};
use std::time::{Duration, Instant};

use crate::harness::support::{
    Bwrap, Docker, assert_log, assert_same, is_terminal, lines, on_all, supervisor_of, wait_for,
};
use crate::harness::{Moat, Running, amount, until};

on_all!(a_stop_lets_the_workload_say_its_last_words);

/// Three million lines on each stream. The drivers have no part in keeping them, so the fast tier needs only bwrap.
mod what_is_too_much_for_memory_comes_from_the_log {
    crate::harness::support::tests_of! { super::what_is_too_much_for_memory_comes_from_the_log; bwrap: Bwrap }
    mod full {
        crate::harness::support::tests_of! {
            super::super::what_is_too_much_for_memory_comes_from_the_log; docker: Docker, podman: Podman
        }
    }
}

/// Starts a script whose client writes both streams into a pipe without a reader.
fn start(moat: &Moat, script: &str) -> (Running, String, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let both = writer.try_clone().unwrap();
    let call = moat.sh(script).stdout_to(writer).stderr_to(both);
    let client = call.spawn();
    let id = crate::harness::until_some("a run appears", || moat.ids().pop());
    (client, id, reader)
}

/// Reads the client's output to the end.
fn read_all(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[track_caller]
fn wait_ended(moat: &Moat, id: &str) {
    until(
        "the run has ended, although nobody reads its output",
        || is_terminal(&moat.record(id)),
    );
}

/// Waits until everything between an endless workload and the client is full: then the log stops growing.
#[track_caller]
fn wait_held_back(moat: &Moat, id: &str) {
    let log = moat.run_dir(id).join("logs.jsonl");
    let length = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let mut seen = (length(), Instant::now());
    until("the workload is held back", || {
        let now = length();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        now > 300_000 && seen.1.elapsed() > Duration::from_secs(1)
    });
}

fn a_stop_lets_the_workload_say_its_last_words(moat: &Moat) {
    let script = "trap 'echo last; exit 3' TERM; i=1; while :; do echo $i; i=$((i+1)); done";
    let (client, id, reader) = start(moat, script);
    wait_held_back(moat, &id);
    // The writer would wait for ever for a reader, and then be killed.
    let done = moat.args(["stop", "--time", "60", &id]).any_stdout();
    let done = done.success();
    assert!(done.took.as_secs() < 20, "{done}");
    let record = moat.record(&id);
    assert_eq!(
        (&record["reason"], &record["exit_code"]),
        (&"user-stop".into(), &3.into()),
        "{record:#}"
    );
    let text = read_all(reader);
    let last = u32::try_from(text.lines().count()).unwrap() - 1;
    assert_same(&(lines("", 1, last) + "last\n"), &text);
    assert_log(moat, &id, &text, "");
    assert_eq!(client.wait().code, Some(3));
}

fn what_is_too_much_for_memory_comes_from_the_log(moat: &Moat) {
    let many = amount(1_500_000, 3_000_000);
    let script = format!(
        "trap 'seq 1 {many}; exit 3' TERM; echo ready; {}",
        wait_for("never")
    );
    let (client, id, reader) = start(moat, &script);
    moat.wait_log(&id, "ready");
    let stop = moat.args(["stop", "--time", "60", &id]).any_stdout();
    let stop = stop.spawn();
    wait_ended(moat, &id);
    let status = std::fs::read_to_string(format!("/proc/{}/status", supervisor_of(moat, &id)));
    let status = status.unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u32 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak < 16_000, "{peak} kB for {many} lines");
    let expected = format!("ready\n{}", lines("", 1, many));
    assert_same(&expected, &read_all(reader));
    assert_log(moat, &id, &expected, "");
    assert_eq!(client.wait().code, Some(3));
    assert_eq!(stop.wait().code, Some(0));
}

/// Prints until everything between the workload and the client is full, and ends.
#[test]
fn a_workload_that_has_ended_is_seen_to() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    // dd gives up where a write would block.
    let script = "n=0; while [ $n -lt 20 ]; do \
         yes | dd bs=256 iflag=fullblock oflag=nonblock status=noxfer 2>>/workspace/dd; \
         n=$((n+1)); sleep 0.05; done; exit 7";
    let (client, id, reader) = start(&moat, script);
    wait_ended(&moat, &id);
    let said = std::fs::read_to_string(moat.workspace().join("dd")).unwrap();
    let blocks = said.lines().filter_map(|line| {
        let (whole, _) = line.strip_suffix(" records out")?.split_once('+')?;
        whole.parse::<usize>().ok()
    });
    let expected = "y\n".repeat(128 * blocks.sum::<usize>());
    assert!(expected.len() > 1_000_000, "it was held back: {said}");
    assert_same(&expected, &read_all(reader));
    assert_log(&moat, &id, &expected, "");
    assert_eq!(client.wait().code, Some(7));
}

/// moat must look up the end of the log, and reading the log must not wait for the client either.
#[test]
fn a_last_look_at_the_engines_log_waits_for_nobody() {
    let Some(moat) = Moat::on(Docker) else { return };
    let script = "seq 1 25000 >&2; echo 'Error: x' >&2; exit 1";
    let (client, id, reader) = start(&moat, script);
    wait_ended(&moat, &id);
    let expected = lines("", 1, 25_000) + "Error: x\n";
    assert_same(&expected, &read_all(reader));
    assert_log(&moat, &id, "", &expected);
    assert_eq!(client.wait().code, Some(1));
}
