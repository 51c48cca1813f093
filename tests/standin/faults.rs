//! The rules of faults: which calls they hit, and each of their effects.

use std::time::Duration;

use crate::harness::{IMAGE, Signal, until};
use crate::standin::place::StandIn;

#[test]
fn a_rule_that_is_not_understood_is_an_error() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.rules(&[r#"{"match":["inspect"],"do":"xpc-invlaid"}"#]);
    it.fails_anyhow(&["list"], "this rule is not understood");
    it.rules(&[r#"{"match":["inspect"],"counts":1,"do":"xpc-invalid"}"#]);
    it.fails_anyhow(&["list"], "this rule is not understood");
}

#[test]
fn rules_choose_by_words_id_and_pattern_and_let_some_through() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.rules(&[
        r#"{"match":["delete"],"id":"one","skip":1,"count":1,"do":"exit","rc":41}"#,
        r#"{"match":["network","list"],"regex":"--format json","count":-1,"do":"exit","rc":42,"stderr":"no\n"}"#,
    ]);
    let code = |args: &[&str]| it.call(args).code;
    assert_eq!(code(&["rm", "two"]), 1);
    assert_eq!(code(&["rm", "one"]), 1);
    assert_eq!(code(&["rm", "-f", "one"]), 41);
    assert_eq!(code(&["rm", "one"]), 1);
    assert_eq!(code(&["network", "ls"]), 0);
    for _ in 0..3 {
        it.fails(&["network", "ls", "--format", "json"], 42, "no\n");
    }
}

#[test]
fn failures_speak_as_their_release() {
    let cases: [(&str, &[&str], &str); 21] = [
        (
            "xpc-interrupted",
            &["list"],
            "XPC connection error: Connection interrupted",
        ),
        (
            "xpc-timeout",
            &["create", IMAGE],
            "com.apple.container.apiserver/containerCreate",
        ),
        (
            "not-found-silent",
            &["delete", "x"],
            "failed to delete one or more containers: [\"x\"]",
        ),
        (
            "exists",
            &["create", "--name", "x", IMAGE],
            "container already exists: x",
        ),
        (
            "exists",
            &["run", "--name", "x", IMAGE],
            "container with id x already exists",
        ),
        (
            "exists",
            &["network", "create", "x"],
            "network x already exists",
        ),
        (
            "pending",
            &["network", "delete", "x"],
            "network x has a pending operation",
        ),
        (
            "referring",
            &["network", "delete", "x"],
            "referring containers",
        ),
        (
            "ip-allocator",
            &["network", "delete", "x"],
            "IP allocator cannot be disabled with active containers",
        ),
        (
            "stopping-delete",
            &["delete", "x"],
            "container x is stopping and can not be deleted",
        ),
        ("volume-busy", &["start", "x"], "is currently in use"),
        ("port-busy", &["start", "x"], "Address already in use"),
        (
            "kernel-missing",
            &["create", IMAGE],
            "default kernel not configured",
        ),
        ("rosetta", &["list"], "under Rosetta Translation"),
        (
            "transport-inactive",
            &["build", "."],
            "unavailable (14): Transport became inactive",
        ),
        (
            "builder-timeout",
            &["build", "."],
            "Timeout waiting for connection to builder",
        ),
        ("pull-404", &["image", "pull", "x"], "404 Not Found"),
        (
            "port-privileged",
            &["start", "x"],
            "Permission denied while binding to host port",
        ),
        (
            "not-macos26",
            &["create", IMAGE],
            "requires macOS 26 or newer",
        ),
        (
            "stream-closed",
            &["exec", "buildkit", "true"],
            "Stream unexpectedly closed",
        ),
        ("pull-401", &["image", "pull", "x"], "401 Unauthorized"),
    ];
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    for (fault, args, text) in cases {
        let words = if ["network", "image"].contains(&args[0]) {
            2
        } else {
            1
        };
        let words = serde_json::json!(args[..words]);
        it.rules(&[&format!(r#"{{"match":{words},"count":-1,"do":"{fault}"}}"#)]);
        it.fails(args, 1, text);
    }
}

#[test]
fn answers_can_be_twisted() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let name = it.running("one", &[]);
    let inspect = |rule: &str| {
        it.rules(&[&format!(r#"{{"match":["inspect"],"count":-1,{rule}}}"#)]);
        it.call(&["inspect", name])
    };
    assert_eq!(inspect(r#""do":"empty-array""#).stdout, "[]\n");
    assert_eq!(inspect(r#""do":"gone","as":"0.12.3""#).stdout, "[]\n");
    assert_eq!(
        inspect(r#""do":"gone""#).stderr,
        "Error: container not found: one\n"
    );
    let paused = inspect(r#""do":"state","value":"paused""#).stdout;
    assert!(paused.contains(r#""state" : "paused""#), "{paused}");
    let old: serde_json::Value =
        serde_json::from_str(&inspect(r#""do":"legacy-shape""#).stdout).unwrap();
    assert_eq!(old[0]["status"], "running");
    assert!(old[0]["startedDate"].is_number());
    let new: serde_json::Value =
        serde_json::from_str(&inspect(r#""do":"future-shape""#).stdout).unwrap();
    assert!(new[0]["status"]["startedDate"].is_number() && new[0]["nothingYet"].is_null());
    for rule in [r#""do":"bad-json""#, r#""do":"cut-json""#] {
        let broken = inspect(rule);
        assert_eq!(broken.code, 0);
        assert!(serde_json::from_str::<serde_json::Value>(&broken.stdout).is_err());
    }
    assert_eq!(inspect(r#""do":"empty-output""#).stdout, "");
    let noisy = inspect(r#""do":"stderr-noise","text":"warning: x""#);
    assert_eq!((noisy.code, &*noisy.stderr), (0, "warning: x\n"));
    let late = std::time::Instant::now();
    assert_eq!(inspect(r#""do":"delay","ms":700"#).code, 0);
    assert!(late.elapsed() >= Duration::from_millis(700));
    let killed = inspect(r#""do":"signal","n":9"#);
    assert_eq!(killed.code, -1);
    let replaced = inspect(r#""do":"xpc-timeout","when":"instead""#);
    assert_eq!((replaced.code, &*replaced.stdout), (0, ""));
    assert!(replaced.stderr.contains("XPC timeout"));
}

#[test]
fn what_run_prints_can_be_twisted() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.rules(&[
        r#"{"match":["run"],"do":"stdout-noise","text":"note"}"#,
        r#"{"match":["run"],"do":"no-id"}"#,
        r#"{"match":["logs"],"do":"logs-empty"}"#,
        r#"{"match":["logs"],"do":"logs-cut"}"#,
    ]);
    let run = |name| it.ok(&["run", "-d", "--name", name, IMAGE, "echo", "hi"]);
    assert_eq!(run("one"), "note\none\n");
    assert_eq!(run("two"), "");
    until("both containers have ended", || {
        it.ok(&["list", "-q"]).is_empty()
    });
    assert_eq!(it.ok(&["logs", "one"]), "\n");
    it.fails(
        &["logs", "one"],
        1,
        "failed to convert container logs to utf8",
    );
    assert_eq!(it.ok(&["logs", "one"]), "hi\n");
}

#[test]
fn a_hanging_call_ends_by_force_alone() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let name = it.running("one", &[]);
    it.rules(&[
        r#"{"match":["stop"],"do":"hang","when":"after"}"#,
        r#"{"match":["inspect"],"do":"hang","after_output":true}"#,
    ]);
    let mut stop = it.live(&["stop", name]);
    until("the operation was carried out", || {
        it.ok(&["list", "-q"]).is_empty()
    });
    stop.signal(Signal::TERM);
    stop.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(stop.ended().is_none());
    assert_eq!(stop.stdout(), "");
    let mut inspect = it.live(&["inspect", name]);
    until("the client has answered", || {
        inspect.stdout().ends_with("]\n")
    });
    assert!(inspect.ended().is_none());
}

#[test]
fn a_cancelled_run_loses_its_code_and_its_container() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.rules(&[r#"{"match":["run"],"do":"cancellation"}"#]);
    let done = it.call(&[
        "run",
        "--name",
        "one",
        IMAGE,
        "sh",
        "-c",
        "echo all; exit 3",
    ]);
    assert_eq!((done.code, &*done.stdout), (1, "all\n"));
    assert!(
        done.stderr
            .contains("failed to run container: CancellationError()"),
        "{}",
        done.stderr
    );
    it.fails(&["inspect", "one"], 1, "container not found: one");
}

#[test]
fn a_dying_daemon_takes_the_attached_command_with_it() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.rules(&[r#"{"match":["run"],"do":"die-daemon","ms":1500}"#]);
    let done = it.call(&[
        "run",
        "--name",
        "one",
        IMAGE,
        "sh",
        "-c",
        "echo up; sleep 100",
    ]);
    assert_eq!((done.code, &*done.stdout), (1, "up\n"));
    assert!(
        done.stderr.contains("Connection interrupted"),
        "{}",
        done.stderr
    );
    it.fails(&["list"], 1, "Connection invalid");
    assert_eq!(it.call(&["system", "status"]).code, 1);
    it.ok(&["system", "start"]);
    assert_eq!(it.state("one"), "stopped");
}
