//! A full disk does not end a run: output flows, code and state are kept, and the record accounts for what the log
//! lacks.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::support::{
    Bwrap, Docker, EXITED_7, assert_ended, assert_same, lines, wait_for,
};
use crate::harness::{Disk, Moat, Running, Runtime, until};

fn place(runtime: Runtime) -> Option<(Disk, Moat)> {
    let moat = Moat::on(runtime)?;
    let disk = Disk::new()?;
    let moat = moat.with_home(disk.home());
    Some((disk, moat))
}

const MANY: u32 = 200_000;

fn start(moat: &Moat, script: &str) -> (Running, String) {
    // Work on a full disk is slow; this test does not limit its cost.
    let call = moat.sh(script).deadline(Duration::from_secs(120));
    let client = call.spawn();
    client.wait_stdout("100\n");
    let id = moat.only_id();
    // Written to the disk before it is full.
    moat.wait_log(&id, "\"100\"");
    (client, id)
}

/// Returns the entries of a log: the workload's lines, and the losses that moat has noted.
fn account(moat: &Moat, id: &str) -> (Vec<String>, u64) {
    let text = fs::read_to_string(moat.run_dir(id).join("logs.jsonl")).unwrap();
    let entries = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut kept, mut lost) = (Vec::new(), 0);
    for entry in entries {
        match entry["stream"].as_str() {
            Some("stdout") => kept.push(entry["line"].as_str().unwrap().to_owned()),
            _ => lost += entry["lost"]["stdout"].as_u64().unwrap_or(0),
        }
    }
    (kept, lost)
}

/// Kept and lost bytes add up to the printed ones; nothing appears twice or out of order.
#[track_caller]
fn assert_accounted(moat: &Moat, id: &str, record: &Value, printed: &str) {
    assert_eq!(record["log"]["complete"], false, "{record:#}");
    assert!(record["log"]["missing_since"].is_string(), "{record:#}");
    let why = record["log"]["missing_why"].as_str().unwrap();
    assert!(why.contains("no space left"), "{why}");
    let (kept, lost) = account(moat, id);
    let numbers: Vec<u32> = kept.iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let bytes: usize = kept.iter().map(|line| line.len() + 1).sum();
    assert_eq!(
        bytes as u64 + lost,
        printed.len() as u64,
        "the log reports {lost} lost bytes"
    );
}

/// The disk is full until the run has ended.
fn full_to_the_end(runtime: Runtime) {
    let Some((disk, moat)) = place(runtime) else {
        return;
    };
    let script = format!("seq 1 100; {}seq 101 {MANY}; exit 7", wait_for("go"));
    let (client, id) = start(&moat, &script);
    disk.fill();
    moat.write("go", "");
    let done = client.wait();
    assert_same(&lines("", 1, MANY), &done.stdout_text());
    assert_eq!(done.code, Some(7));
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["exit_code"]),
        (&"failed".into(), &7.into())
    );
    let why = record["log"]["missing_why"].as_str().unwrap_or_default();
    assert!(why.contains("no space left"), "{record:#}");
    disk.free();
    assert_ended(&moat, &id, EXITED_7);
}

#[test]
fn full_to_the_end_docker() {
    full_to_the_end(Docker);
}

#[test]
fn full_to_the_end_bwrap() {
    full_to_the_end(Bwrap);
}

fn space_returns(runtime: Runtime) {
    let Some((disk, moat)) = place(runtime) else {
        return;
    };
    let script = format!(
        "seq 1 100; {}seq 101 {MANY}; {}seq {} {}; exit 7",
        wait_for("go"),
        wait_for("more"),
        MANY + 1,
        MANY + 100
    );
    let (client, id) = start(&moat, &script);
    disk.fill();
    moat.write("go", "");
    // All of this output passes while the disk is full.
    client.wait_stdout(&format!("\n{MANY}\n"));
    disk.free();
    // The test waits, because moat retries the log only after a delay.
    std::thread::sleep(Duration::from_millis(300));
    moat.write("more", "");
    let done = client.wait();
    assert_same(&lines("", 1, MANY + 100), &done.stdout_text());
    let record = assert_ended(&moat, &id, EXITED_7);
    assert_accounted(&moat, &id, &record, &lines("", 1, MANY + 100));
    let (kept, _) = account(&moat, &id);
    assert_eq!(
        kept.last().unwrap(),
        &(MANY + 100).to_string(),
        "keeping resumed"
    );
}

#[test]
fn space_returns_docker() {
    space_returns(Docker);
}

#[test]
fn space_returns_bwrap() {
    space_returns(Bwrap);
}

/// The log itself fills the disk: the log keeps what fits, and the rest still reaches the client.
fn filled_by_the_log(runtime: Runtime) {
    let Some((_disk, moat)) = place(runtime) else {
        return;
    };
    let script = format!("seq 1 {MANY}; exit 7");
    let done = moat.sh(&script).any_stdout().any_stderr().status(7);
    assert_same(&lines("", 1, MANY), &done.stdout_text());
    let id = moat.only_id();
    let record = assert_ended(&moat, &id, EXITED_7);
    assert_eq!(record["log"]["complete"], false, "{record:#}");
}

#[test]
fn filled_by_the_log_docker() {
    filled_by_the_log(Docker);
}

#[test]
fn filled_by_the_log_bwrap() {
    filled_by_the_log(Bwrap);
}

fn full_from_the_start(runtime: Runtime) {
    let Some((disk, moat)) = place(runtime) else {
        return;
    };
    // One home has had a run, and one is new.
    moat.sh("true").success();
    for fresh in [false, true] {
        if fresh {
            fs::remove_dir_all(moat.home()).unwrap();
        }
        disk.fill();
        let done = moat.sh("echo ran").any_stderr().status(125);
        let said = done.stderr_text();
        let clear = said.contains("error: ") && said.to_lowercase().contains("no space left");
        assert!(clear && said.contains("hint: "), "{said}");
        disk.free();
        assert!(moat.leftovers().is_empty());
        assert_eq!(moat.ids().len(), usize::from(!fresh), "no run came of it");
    }
    let names = fs::read_dir(moat.home().join("names"))
        .into_iter()
        .flatten();
    assert_eq!(names.count(), 0);
}

#[test]
fn full_from_the_start_docker() {
    full_from_the_start(Docker);
}

#[test]
fn full_from_the_start_bwrap() {
    full_from_the_start(Bwrap);
}

/// A background run has no client: `stop` and `wait` still work.
#[test]
fn stop_works_on_a_full_disk() {
    for runtime in [Docker, Bwrap] {
        let Some((disk, moat)) = place(runtime) else {
            return;
        };
        let id = moat.background("echo 100; exec sleep 600");
        moat.wait_log(&id, "\"100\"");
        disk.fill();
        let call = moat.args(["stop", &id]).deadline(Duration::from_secs(30));
        call.any_stderr().stdout(format!("{id}\n")).success();
        let record = moat.record(&id);
        assert_eq!(
            (&record["state"], &record["reason"]),
            (&"stopped".into(), &"user-stop".into())
        );
        disk.free();
        until("the run is cleaned up", || {
            !moat.record(&id)["cleaned_at"].is_null()
        });
    }
}

/// A run that could not get a name leaves nothing.
#[test]
fn a_home_that_cannot_be_locked_gets_no_half_made_run() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    moat.run(["true"]).success();
    let lock = moat.home().join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    moat.run(["true"])
        .stderr_contains("is a directory")
        .status(125);
    let left = fs::read_dir(moat.home().join("runs")).unwrap().count();
    assert_eq!(left, 1, "the first run, and nothing else");
}

/// A copy that does not fit stays in its place, and moat gives the reason, whatever is mounted in the copy.
#[test]
fn a_workspace_that_does_not_fit() {
    let Some((_disk, moat)) = place(Docker) else {
        return;
    };
    let outside = moat.root().join("outside");
    fs::create_dir(&outside).unwrap();
    for mount in [None, Some(format!("{}:/workspace/in", outside.display()))] {
        moat.write("moat.yaml", "workspace: {mode: volume}\n");
        let flags: Vec<&str> = mount.iter().flat_map(|mount| ["-m", mount]).collect();
        let script = "head -c 8000000 /dev/zero >big";
        let call = moat.args(["run", "--image", crate::harness::IMAGE]);
        let call = call.args(flags).args(["--", "sh", "-c", script]);
        call.stderr_contains("the workspace could not be saved: ")
            .stderr_contains("no space left on device")
            .success();
        let id = moat.only_id();
        moat.args(["destroy", &id])
            .stderr_contains("holds the only copy")
            .status(1);
        moat.args(["destroy", "-f", &id]).any_stdout().success();
    }
}
