//! The acceptance tests of the stand-in's specification.

use std::time::Duration;

use crate::harness::IMAGE;
use crate::standin::place::{StandIn, VERSIONS};

#[test]
fn there_is_no_wait() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        it.fails(&["wait", "x"], 64, "Plugin 'container-wait' not found.");
        for word in [
            "attach", "pause", "rename", "restart", "top", "port", "diff",
        ] {
            it.fails(&[word, "x"], 64, "not found");
        }
    }
}

#[test]
fn what_apple_does_not_know_is_refused() {
    let Some(mut it) = StandIn::new("1.2.2") else {
        return;
    };
    it.fails(
        &["run", "--hostname", "a", "alpine"],
        64,
        "Unknown option '--hostname'",
    );
    for flag in [
        "--add-host",
        "--privileged",
        "--restart",
        "--group-add",
        "--device",
        "--pid",
        "-P",
    ] {
        it.fails(&["create", flag, "alpine"], 64, "Unknown option");
    }
    it.fails(
        &["inspect", "--format", "{{.Id}}", "x"],
        64,
        "Unknown option",
    );
    it.fails(&["run"], 64, "Missing expected argument '<image>'");
    // Options and commands that are newer than the chosen release.
    it.speak("0.10.0");
    it.fails(
        &["run", "--cap-add", "NET_ADMIN", IMAGE],
        64,
        "Unknown option '--cap-add'",
    );
    it.fails(
        &["run", "--shm-size", "1g", IMAGE],
        64,
        "Unknown option '--shm-size'",
    );
    it.fails(&["copy", "a", "x:/b"], 64, "Plugin 'container-copy'");
    assert_eq!(it.in_docker().len(), 0);
}

#[test]
fn a_life_from_creation_to_deletion() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let started = |it: &StandIn| {
            let found = it.json(&["inspect", "one"])[0].clone();
            let of = if found["status"].is_object() {
                &found["status"]
            } else {
                &found
            };
            (of.get("startedDate").is_some(), of["networks"].clone())
        };
        it.ok(&["create", "--name", "one", IMAGE, "sleep", "100"]);
        assert_eq!(it.state("one"), "stopped");
        assert_eq!(started(&it), (false, serde_json::json!([])));

        assert_eq!(it.ok(&["start", "one"]), "one\n");
        assert_eq!(it.state("one"), "running");
        let (has_started, networks) = started(&it);
        assert!(has_started);
        let address = networks[0]["ipv4Address"].as_str().expect("an address");
        assert!(address.contains('/'), "{address}");
        // Starting a running container is not an error.
        assert_eq!(it.ok(&["start", "one"]), "one\n");

        assert_eq!(it.ok(&["stop", "-t", "0", "one"]), "one\n");
        assert_eq!(it.state("one"), "stopped");
        assert_eq!(started(&it), (true, serde_json::json!([])));

        assert_eq!(it.ok(&["delete", "one"]), "one\n");
        if version == "1.2.2" {
            it.fails(&["inspect", "one"], 1, "container not found: one");
        } else {
            assert_eq!(it.ok(&["inspect", "one"]), "[]\n");
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_attached_command() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let run = it.call(&[
            "run",
            "--name",
            "seven",
            IMAGE,
            "sh",
            "-c",
            "echo out; exit 7",
        ]);
        assert_eq!((run.code, &*run.stdout), (7, "out\n"), "{}", run.stderr);
        let name = it.running("host", &[]);
        let exec = it.call(&["exec", name, "sh", "-c", "exit 7"]);
        assert_eq!((exec.code, &*exec.stdout), (7, ""), "{}", exec.stderr);
        // Exit code 127 of a shell is an exit code; a missing program is an error.
        let shell = it.call(&["exec", name, "sh", "-c", "nosuch"]);
        assert_eq!(shell.code, 127);
        let text = "failed to find target executable nosuch";
        it.fails(&["exec", name, "nosuch"], 1, text);
        it.fails(&["run", "--name", "none", IMAGE, "nosuch"], 1, text);
        // No later call reports an exit code, and a container that could not start is gone.
        let all = it.ok(&["list", "-a", "--format", "json"]);
        assert!(!all.to_lowercase().contains("exitcode"), "{all}");
        assert!(!all.contains("\"none\""), "{all}");
        let killed = it.call(&[
            "run",
            "--name",
            "dead",
            IMAGE,
            "sh",
            "-c",
            "kill -9 $$; sleep 1; exit 3",
        ]);
        assert_eq!(
            killed.code, 3,
            "the first process cannot kill itself: {}",
            killed.stderr
        );
    }
}

#[test]
fn a_network_stays_as_long_as_a_container_refers_to_it() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        assert_eq!(it.ok(&["network", "create", "net-1"]), "net-1\n");
        it.fails(
            &["network", "create", "net-1"],
            1,
            "network net-1 already exists",
        );
        it.fails(&["network", "create", "Net"], 1, "Net");
        it.ok(&[
            "create",
            "--name",
            "one",
            "--network",
            "net-1",
            IMAGE,
            "true",
        ]);
        let refused = it.call(&["network", "delete", "net-1"]);
        assert_eq!(refused.code, 1);
        let text = "cannot delete subnet net-1 with referring containers: one";
        if version != "0.8.0" {
            assert!(refused.stderr.contains(text), "{}", refused.stderr);
        }
        assert!(
            refused
                .stderr
                .contains("delete failed for one or more networks: [\"net-1\"]"),
            "{}",
            refused.stderr
        );
        it.ok(&["delete", "one"]);
        assert_eq!(it.ok(&["network", "delete", "net-1"]), "net-1\n");
        it.fails(
            &["network", "delete", "net-1"],
            1,
            "failed to delete one or more networks: [\"net-1\"]",
        );
        it.fails(
            &["network", "delete", "default"],
            1,
            "cannot delete a builtin network: default",
        );
        it.fails(
            &["run", "--network", "none-such", IMAGE, "true"],
            1,
            "network none-such not found",
        );
    }
}

#[test]
fn following_a_log_never_ends_unless_it_is_empty() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.fails(
        &["logs", "none"],
        1,
        "failed to get logs for container none",
    );
    it.ok(&["create", "--name", "quiet", IMAGE, "sleep", "100"]);
    it.fails(&["logs", "quiet"], 1, "failed to open container logs");
    it.ok(&["start", "quiet"]);
    assert_eq!(it.ok(&["logs", "-f", "quiet"]), "");

    let name = it.running("loud", &[]);
    let mut follower = it.live(&["logs", "-f", name]);
    crate::harness::until("the follower shows the output", || {
        follower.stdout() == "up\n"
    });
    it.ok(&["delete", "-f", name]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(follower.ended().is_none(), "{}", follower.stderr());
}

#[test]
fn deleting_what_is_missing_is_an_error_in_three_ways() {
    for (version, text) in [
        (
            "0.9.0",
            "Error: notFound: \"failed to delete one or more containers: [\"x\"]\"\n",
        ),
        (
            "0.10.0",
            "Error: failed to delete one or more containers: [\"x\"]\n",
        ),
        (
            "1.2.2",
            "Error: internalError: \"failed to delete container\" (cause: \"notFound: \"container with ID x not found\"\")\n",
        ),
    ] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let done = it.call(&["rm", "-f", "x"]);
        assert_eq!((done.code, &*done.stderr), (1, text));
    }
}

#[test]
fn stopping_what_is_missing_depends_on_the_release() {
    for (version, code) in [("0.9.0", 0), ("0.10.0", 0), ("0.12.3", 1), ("1.2.2", 1)] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let done = it.call(&["stop", "x"]);
        assert_eq!((done.code, &*done.stdout), (code, ""), "{}", done.stderr);
        assert_eq!(
            done.stderr.contains("container with ID x not found"),
            code == 1
        );
    }
}

#[test]
fn a_rule_hits_as_often_as_it_says() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.ok(&["create", "--name", "one", IMAGE, "true"]);
    it.rules(&[r#"{"match":["inspect"],"count":2,"do":"xpc-invalid"}"#]);
    let before = it.calls().len();
    it.fails(
        &["inspect", "one"],
        1,
        "XPC connection error: Connection invalid",
    );
    it.fails(
        &["inspect", "one"],
        1,
        "Ensure container system service has been started",
    );
    assert_eq!(it.state("one"), "stopped");
    let calls = it.calls();
    assert_eq!(calls.len() - before, 3);
    assert!(
        calls[before..]
            .iter()
            .all(|call| call["argv"] == serde_json::json!(["inspect", "one"]))
    );
}

#[test]
fn a_failure_after_the_operation_leaves_its_effect() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let name = it.running("one", &[]);
    it.rules(&[r#"{"match":["stop"],"when":"after","do":"xpc-timeout"}"#]);
    it.fails(
        &["stop", name],
        1,
        "XPC timeout for request to com.apple.container.apiserver/containerStop",
    );
    assert_eq!(it.state(name), "stopped");
}

#[test]
fn without_its_daemon_nothing_works_until_it_is_started() {
    for version in VERSIONS {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let it = it.env("FAKE_APPLE_SYSTEM", "stopped");
        let commands: [&[&str]; 9] = [
            &["list"],
            &["inspect", "x"],
            &["create", IMAGE],
            &["start", "x"],
            &["stop", "x"],
            &["delete", "x"],
            &["logs", "x"],
            &["image", "list"],
            &["network", "list"],
        ];
        for args in commands {
            it.fails(args, 1, "XPC connection error: Connection invalid");
            it.fails(
                args,
                1,
                "Ensure container system service has been started with `container system start`.",
            );
        }
        assert!(
            it.ok(&["--version"])
                .starts_with(&format!("container CLI version {version} ("))
        );
        let status = it.call(&["system", "status"]);
        assert_eq!((status.code, &*status.stderr), (1, ""));
        it.ok(&["system", "start"]);
        it.ok(&["system", "status"]);
        assert_eq!(it.ok(&["list", "-q"]), "");
    }
}

#[test]
fn one_of_two_that_create_one_name_succeeds() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let both = [(); 2].map(|()| it.live(&["create", "--name", "one", IMAGE, "true"]));
    let done = both.map(super::place::Live::done);
    let good = done.iter().filter(|done| done.code == 0).count();
    assert_eq!(good, 1, "{}{}", done[0].stderr, done[1].stderr);
    let bad = done.iter().find(|done| done.code != 0).expect("the other");
    assert_eq!(
        (bad.code, &*bad.stderr),
        (1, "Error: container already exists: one\n")
    );
    assert_eq!(it.ok(&["list", "-aq"]), "one\n");
}

#[test]
fn a_reset_leaves_nothing_in_docker() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    it.ok(&["network", "create", "net-1"]);
    it.ok(&["volume", "create", "vol"]);
    it.running("one", &["--network", "net-1", "-v", "vol:/data"]);
    it.ok(&["create", "--name", "two", IMAGE, "true"]);
    it.ok(&["builder", "start"]);
    it.ok(&["image", "tag", IMAGE, "moat/copy:1"]);
    assert_eq!(it.in_docker().len(), 6);
    it.ok(&["__fake", "reset"]);
    assert_eq!(it.in_docker(), Vec::<String>::new());
}

#[test]
fn without_a_kernel_nothing_is_made_and_nobody_is_asked_twice() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let it = it.env("FAKE_APPLE_SYSTEM", "nokernel");
    let text = "default kernel not configured for architecture arm64";
    it.fails(&["create", IMAGE], 1, text);
    it.fails(&["builder", "start"], 1, text);
    assert_eq!(it.ok(&["list", "-aq"]), "");
    it.fails(&["system", "start"], 1, "failed to read user input");
    it.ok(&["system", "start", "--disable-kernel-install"]);
    it.fails(&["create", IMAGE], 1, text);
    it.ok(&["system", "start", "--enable-kernel-install"]);
    it.ok(&["create", IMAGE]);
}

#[test]
fn an_older_macos_has_no_networks() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let it = it.env("FAKE_APPLE_MACOS", "15");
    it.fails(
        &["network", "list"],
        64,
        "Plugin 'container-network' not found.",
    );
    it.fails(
        &["create", "--network", "n", IMAGE],
        1,
        "requires macOS 26 or newer",
    );
    it.ok(&["create", "--network", "default", IMAGE]);
}

#[test]
fn what_is_mounted_inside_something_else() {
    let Some(mut it) = StandIn::new("0.10.0") else {
        return;
    };
    let dir = it.place("dir");
    std::fs::write(dir.join("kept"), "").unwrap();
    let file = it.place("files").join("one");
    std::fs::write(&file, "").unwrap();
    let inside = format!("type=bind,source={},target=/m/in", dir.display());
    let outside = "type=tmpfs,destination=/m";
    let seen = |it: &StandIn, options: [&str; 4], path: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.extend([IMAGE, "ls", path]);
        it.call(&args).stdout
    };
    let late = ["--mount", &inside, "--mount", outside];
    let early = ["--mount", outside, "--mount", &inside];
    assert_eq!(seen(&it, late, "/m"), "", "what comes later hides it");
    assert_eq!(seen(&it, early, "/m/in"), "kept\n");
    // All --mount options take effect before the --volume options.
    let volume = format!("{}:/m/in", dir.display());
    let volume = ["--mount", outside, "--volume", &volume];
    assert_eq!(seen(&it, volume, "/m"), "");
    it.speak("1.2.2");
    for options in [late, early, volume] {
        assert_eq!(seen(&it, options, "/m/in"), "kept\n");
    }
    let file = format!("{}:/m/in/one", file.display());
    let options = ["--mount", &inside, "--volume", &file];
    assert_eq!(seen(&it, options, "/m/in"), "one\n", "nothing else is left");
}
