//! The named fault scenarios (presets), as a careful caller sees them.

use crate::harness::{IMAGE, until};
use crate::standin::place::StandIn;

fn with_preset(version: &'static str, preset: &[&str]) -> Option<StandIn> {
    let it = StandIn::new(version)?;
    it.ok(&[&["__fake", "preset"], preset].concat());
    Some(it)
}

#[test]
fn flaky_xpc() {
    let Some(it) = with_preset("1.2.2", &["flaky-xpc"]) else {
        return;
    };
    it.ok(&["create", "--name", "one", IMAGE, "true"]);
    let codes: Vec<i32> = (0..7).map(|_| it.call(&["inspect", "one"]).code).collect();
    assert_eq!(codes, [0, 0, 1, 0, 0, 1, 0]);
    let codes: Vec<i32> = (0..3).map(|_| it.call(&["list"]).code).collect();
    assert_eq!(codes, [0, 0, 1]);
}

#[test]
fn removed_behind_back() {
    for version in ["0.12.3", "1.2.2"] {
        let Some(it) = with_preset(version, &["removed-behind-back", "after=2"]) else {
            return;
        };
        let name = it.running("one", &[]);
        assert_eq!(it.state(name), "running");
        assert_eq!(it.state(name), "running");
        if version == "0.12.3" {
            assert_eq!(it.ok(&["inspect", name]), "[]\n");
        } else {
            it.fails(&["inspect", name], 1, "container not found: one");
        }
        assert_eq!(it.ok(&["list", "-aq"]), "");
        // The name can be used again.
        it.running("one", &[]);
    }
}

#[test]
fn stop_timeout_but_stopped() {
    let Some(it) = with_preset("1.2.2", &["stop-timeout-but-stopped"]) else {
        return;
    };
    let name = it.running("one", &[]);
    it.fails(&["stop", name], 1, "XPC timeout");
    assert_eq!(it.state(name), "stopped");
    assert_eq!(it.ok(&["stop", name]), "one\n");
}

#[test]
fn create_timeout_but_created() {
    let Some(it) = with_preset("1.2.2", &["create-timeout-but-created"]) else {
        return;
    };
    let create = ["create", "--name", "one", IMAGE, "true"];
    let first = it.call(&create);
    assert_eq!((first.code, &*first.stdout), (1, ""));
    assert!(first.stderr.contains("XPC timeout"), "{}", first.stderr);
    it.fails(&create, 1, "container already exists: one");
    assert_eq!(it.state("one"), "stopped");
}

#[test]
fn net_detach_late() {
    let Some(it) = with_preset("1.2.2", &["net-detach-late"]) else {
        return;
    };
    it.ok(&["network", "create", "net-1"]);
    for _ in 0..2 {
        it.fails(&["network", "rm", "net-1"], 1, "with referring containers");
    }
    assert_eq!(it.ok(&["network", "delete", "net-1"]), "net-1\n");
}

#[test]
fn ip_late() {
    let Some(it) = with_preset("1.2.2", &["ip-late"]) else {
        return;
    };
    let name = it.running("one", &[]);
    let networks = || it.json(&["inspect", name])[0]["status"]["networks"].clone();
    let counts: Vec<usize> = (0..3)
        .map(|_| networks().as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [0, 0, 1]);
}

#[test]
fn daemon_restart() {
    let Some(it) = with_preset("1.2.2", &["daemon-restart", "after=1"]) else {
        return;
    };
    let attached = it.live(&[
        "run",
        "--name",
        "held",
        IMAGE,
        "sh",
        "-c",
        "echo up; sleep 100",
    ]);
    until("the container has printed 'up'", || {
        attached.stdout() == "up\n"
    });
    it.running("temporary", &["--rm"]);
    let name = it.running("one", &[]);
    assert_eq!(it.state(name), "running");
    it.fails(
        &["inspect", name],
        1,
        "XPC connection error: Connection interrupted",
    );
    // An attached client does not learn how the container ended.
    let done = attached.done();
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.contains("Connection interrupted"),
        "{}",
        done.stderr
    );
    let found = it.json(&["inspect", name]);
    assert_eq!(
        found[0]["status"],
        serde_json::json!({"state": "stopped", "networks": []})
    );
    until("the --rm container is gone", || {
        it.ok(&["list", "-aq"]) == "held\none\n"
    });
}

#[test]
fn old_cli() {
    let Some(it) = with_preset("1.2.2", &["old-cli"]) else {
        return;
    };
    assert!(it.ok(&["--version"]).contains(" 0.9.0 "));
    assert_eq!(it.ok(&["inspect", "x"]), "[]\n");
    it.fails(&["run", "--init", IMAGE], 64, "Unknown option '--init'");
}

#[test]
fn silent_missing() {
    let Some(it) = with_preset("1.2.2", &["silent-missing"]) else {
        return;
    };
    for args in [&["delete", "x"][..], &["network", "delete", "x"]] {
        let done = it.call(args);
        assert_eq!(done.code, 1);
        assert!(
            !done
                .stderr
                .to_lowercase()
                .replace(' ', "")
                .contains("notfound"),
            "{}",
            done.stderr
        );
    }
    assert_eq!(it.call(&["stop", "x"]).code, 0);
}
