//! Damaged records and logs, and records of other versions.

use std::fs;

use crate::cli::fixture::{FIRST, SECOND, plant, plant_text, unreached};
use crate::harness::{Moat, Runtime};

#[test]
fn an_ended_run_can_be_read_without_any_program() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    let call = |args: &[&str]| moat.args(args).env("PATH", "");
    call(&["list", "-a"])
        .stdout(
            "NAME     RUN ID            RUNTIME  STATE        CREATED   COMMAND\n\
             stopped  [ID]  docker   stopped (0)  [AGE]  npm test\n",
        )
        .any_stdout()
        .success();
    call(&["list"])
        .stderr("none of the 1 runs matches; see all: moat list -a\n")
        .success();
    call(&["list", "-a", "-q"])
        .stdout(format!("{FIRST}\n"))
        .success();
    call(&["logs"]).stdout("hello\n").success();
    call(&["logs", "-f", "-t", "stop"])
        .stdout("2026-01-31T12:00:01.500000Z hello\n")
        .success();
    call(&["wait", "stopped"]).success();
    let record = call(&["inspect", "stopped"]).any_stdout().success().json();
    // In a record of an older version, moat adds the missing fields and keeps the others.
    for (key, value) in moat.record(FIRST).as_object().expect("a record") {
        assert_eq!(&record[key], value, "{key}");
    }
    call(&["status"]).any_stdout().success();
    call(&["stop", "-q", "stopped"]).success();
    call(&["destroy", "stopped"])
        .stdout(format!("{FIRST}\n"))
        .success();
    assert!(moat.ids().is_empty());
}

fn damaged() -> Vec<(&'static str, String)> {
    let good = include_str!("../../testdata/records/stopped.json").replace("@ID@", FIRST);
    let half = good[..good.len() / 2].to_owned();
    let foreign = good.replace(FIRST, "run_0000000000ff");
    vec![
        ("garbage", "\u{1b}[2J garbage".to_owned()),
        ("empty", String::new()),
        ("truncated", half),
        ("of another run", foreign),
        ("no object", "[]".to_owned()),
        ("zeros", "\0".repeat(200)),
    ]
}

/// An unreadable run is listed, is not changed, and does not disturb other runs.
#[test]
fn an_unreadable_record_is_shown_and_kept() {
    for (what, text) in damaged() {
        let moat = unreached();
        plant_text(&moat, FIRST, &text);
        plant(&moat, SECOND, "stopped");
        let list = moat
            .args(["list", "-a"])
            .any_stdout()
            .success()
            .stdout_text();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 3, "{what}: {list}");
        assert!(
            lines[1].contains(FIRST) && lines[1].contains("unreadable"),
            "{what}: {list}"
        );
        assert!(lines[2].contains(SECOND), "{what}: {list}");
        assert!(!list.contains('\u{1b}'), "{what}: {list}");
        // The run may be active.
        moat.args(["list", "-q"])
            .stdout(format!("{FIRST}\n"))
            .success();
        let json = moat
            .args(["list", "-a", "--json"])
            .any_stdout()
            .success()
            .json();
        assert_eq!(json[0]["id"], FIRST);
        assert_eq!(json[0]["state"], "unreadable");
        assert!(json[0]["error"].is_string());
        let status = moat
            .args(["status", "--json"])
            .any_stdout()
            .success()
            .json();
        assert_eq!(status["unreadable"], 1, "{what}");

        moat.args(["logs", FIRST]).stdout("hello\n").success();
        moat.args(["logs"]).stdout("hello\n").success();
        for command in ["inspect", "wait", "stop", "kill", "destroy"] {
            moat.args([command, FIRST])
                .stderr_contains("error: the record of [ID] is unreadable: ")
                .stderr_contains("'moat destroy -f [ID]' removes the run")
                .status(1);
        }
        moat.args(["clean", "--force", "--older-than", "1s"])
            .any_stdout()
            .success();
        let kept = fs::read_to_string(moat.run_dir(FIRST).join("run.json"));
        assert_eq!(kept.expect("it is kept"), text, "{what}");

        moat.args(["destroy", "-f", FIRST])
            .stdout("[ID]\n")
            .success();
        assert!(
            moat.ids().is_empty(),
            "the other was cleaned by age: {:?}",
            moat.ids()
        );
    }
}

#[test]
fn a_directory_without_a_record_is_shown() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    fs::remove_file(moat.run_dir(FIRST).join("run.json")).expect("removed");
    moat.args(["list", "-q"])
        .stdout(format!("{FIRST}\n"))
        .success();
    moat.args(["inspect", FIRST])
        .stderr_contains("error: the record of [ID] is unreadable: no such file or directory")
        .status(1);
    moat.args(["destroy", "-f", FIRST])
        .stdout("[ID]\n")
        .success();
}

/// A record of a newer version is read as far as possible, and neither written nor destroyed.
#[test]
fn a_record_of_a_newer_version_is_read_and_not_written() {
    let moat = unreached();
    plant(&moat, FIRST, "newer");
    let path = moat.run_dir(FIRST).join("run.json");
    let before = fs::read(&path).expect("the record");
    let list = moat
        .args(["list", "-a"])
        .any_stdout()
        .success()
        .stdout_text();
    assert!(
        list.contains("newer") && list.contains("teleport"),
        "{list}"
    );
    let shown = moat.args(["inspect", FIRST]).any_stdout().success().json();
    assert_eq!(shown["schema"], 99);
    assert_eq!(shown["name"], "newer");
    moat.args(["logs", FIRST]).stdout("hello\n").success();
    for args in [
        &["stop", FIRST][..],
        &["kill", FIRST],
        &["destroy", FIRST],
        &["destroy", "-f", FIRST],
    ] {
        let done = moat.args(args).any_stderr().run();
        assert_eq!(done.code, Some(1), "{args:?}: {done}");
        assert!(done.stdout.is_empty(), "{args:?}: {done}");
    }
    moat.args(["clean", "--force", "--older-than", "1s"])
        .any_stdout()
        .success();
    assert_eq!(fs::read(&path).expect("it is there"), before, "unchanged");
}

/// A power failure leaves an incomplete line.
#[test]
fn a_torn_last_log_line_is_left_out() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    let log = moat.run_dir(FIRST).join("logs.jsonl");
    let whole = fs::read_to_string(&log).expect("the log");
    for torn in ["{\"ts\":\"2026-01-31T12:00:01.7", "\0\0\0\0", "{"] {
        fs::write(&log, format!("{whole}{torn}")).expect("the log");
        for args in [
            &["logs"][..],
            &["logs", "-f"],
            &["logs", "-n", "1"],
            &["logs", "-n", "1", "-f"],
            &["logs", "--raw"],
        ] {
            moat.args(args).stdout("hello\n").success();
        }
        let done = moat.args(["logs", "--json"]).any_stdout().success();
        assert_eq!(done.stdout_text(), whole);
    }
    // A damaged line in the middle loses only that line.
    fs::write(&log, format!("{whole}{{\"ts\":\"20\n{whole}")).expect("the log");
    moat.args(["logs"]).stdout("hello\nhello\n").success();
    moat.args(["logs", "-n", "5"])
        .stdout("hello\nhello\n")
        .success();
}

#[test]
fn a_log_that_is_gone_is_said() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    fs::remove_file(moat.run_dir(FIRST).join("logs.jsonl")).expect("removed");
    moat.args(["logs"])
        .stderr("error: cannot read [MOAT_HOME]/runs/[ID]/logs.jsonl: no such file or directory\n")
        .status(1);
}

/// moat ignores foreign files among the runs.
#[test]
fn foreign_files_are_left_alone() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    plant(&moat, FIRST, "stopped");
    let runs = moat.home().join("runs");
    fs::write(runs.join("README"), "mine\n").expect("a file");
    fs::create_dir(runs.join("run_zzz")).expect("a directory");
    fs::write(moat.home().join("notes.txt"), "mine\n").expect("a file");
    moat.args(["list", "-aq"])
        .stdout(format!("{FIRST}\n"))
        .success();
    moat.run(["true"]).success();
    moat.args(["clean", "--force"]).any_stdout().success();
    assert!(runs.join("README").exists() && runs.join("run_zzz").exists());
    assert!(moat.home().join("notes.txt").exists());
}
