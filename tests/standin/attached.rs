//! Attached containers: streams, input, signals, the log, and the end with `--rm`.

use crate::harness::{IMAGE, Signal, until};
use crate::standin::place::StandIn;

#[test]
fn streams_come_apart_and_the_log_has_both() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let script = "echo out; sleep 0.1; echo err >&2; sleep 0.1; echo more";
    it.ok(&["create", "--name", "one", IMAGE, "sh", "-c", script]);
    let done = it.call(&["start", "-a", "one"]);
    assert_eq!((&*done.stdout, &*done.stderr), ("out\nmore\n", "err\n"));
    assert_eq!(it.ok(&["logs", "one"]), "out\nerr\nmore\n");
    assert_eq!(it.ok(&["logs", "-n", "2", "one"]), "err\nmore\n");
    assert_eq!(it.ok(&["logs", "-n", "0", "one"]), "");
    // Each start begins a new log, attached or not.
    it.ok(&["start", "one"]);
    until("the container has ended", || it.state("one") == "stopped");
    assert_eq!(it.ok(&["logs", "one"]), "out\nerr\nmore\n");
}

#[test]
fn a_log_that_is_not_text_cannot_be_had() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let run = it.live(&["run", "--name", "one", IMAGE, "printf", "\\377"]);
    assert_eq!(run.done().code, 0);
    it.fails(
        &["logs", "one"],
        1,
        "failed to convert container logs to utf8",
    );
}

#[test]
fn input_is_the_containers_with_the_flag_alone() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let input = vec![b'x'; 300_000];
    let counted = it.call_with(&["run", "--rm", "-i", IMAGE, "wc", "-c"], &input);
    assert_eq!(
        (counted.code, counted.stdout.trim()),
        (0, "300000"),
        "{}",
        counted.stderr
    );
    let without = it.call_with(&["run", "--rm", IMAGE, "wc", "-c"], &input);
    assert_eq!(
        (without.code, without.stdout.trim()),
        (0, "0"),
        "{}",
        without.stderr
    );
    // `start -i` decides whether there is input, not `create`.
    it.ok(&["create", "--name", "two", IMAGE, "wc", "-c"]);
    let driven = it.call_with(&["start", "-a", "-i", "two"], &input);
    assert_eq!(
        (driven.code, driven.stdout.trim()),
        (0, "300000"),
        "{}",
        driven.stderr
    );
    it.ok(&["create", "-i", "--name", "three", IMAGE, "wc", "-c"]);
    let empty = it.call_with(&["start", "-a", "three"], &input);
    assert_eq!(
        (empty.code, empty.stdout.trim()),
        (0, "0"),
        "{}",
        empty.stderr
    );
    it.ok(&["run", "-d", "-i", "--name", "four", IMAGE, "wc", "-c"]);
    until("the container has ended", || {
        it.ok(&["list", "-q"]).is_empty()
    });
    assert_eq!(it.ok(&["logs", "four"]), "0\n");
    let name = it.running("one", &[]);
    let through = it.call_with(&["exec", "-i", name, "cat"], &input);
    assert_eq!(through.stdout.len(), input.len(), "{}", through.stderr);
    // A terminal with input needs a terminal, and a refused call leaves nothing.
    let refused = it.call(&["run", "--name", "tty", "-it", IMAGE, "true"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("failed to run container: "),
        "{}",
        refused.stderr
    );
    it.fails(&["inspect", "tty"], 1, "container not found: tty");
}

#[test]
fn a_second_attachment_is_refused() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let name = it.running("one", &[]);
    let text = "attach is currently unsupported on already running containers";
    it.fails(&["start", "-a", name], 1, text);
}

#[test]
fn a_stop_from_elsewhere_ends_the_attached_command() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
    it.ok(&["create", "--name", "one", IMAGE, "sh", "-c", script]);
    let attached = it.live(&["start", "-a", "one"]);
    until("the container has printed 'up'", || {
        attached.stdout() == "up\n"
    });
    // A container without a handler for the signal is killed after the grace period.
    it.ok(&["stop", "one"]);
    assert_eq!(attached.done().code, 9);
    it.ok(&[
        "create",
        "--name",
        "two",
        IMAGE,
        "sh",
        "-c",
        "echo up; sleep 100",
    ]);
    let attached = it.live(&["start", "-a", "two"]);
    until("the container has printed 'up'", || {
        attached.stdout() == "up\n"
    });
    it.ok(&["stop", "-t", "1", "two"]);
    assert_eq!(attached.done().code, 137);
}

#[test]
fn signals_to_the_attached_command_reach_nobody_since_1_0() {
    for (version, code) in [("0.12.3", 9), ("1.2.2", 1)] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
        let run = it.live(&["run", "--name", "one", IMAGE, "sh", "-c", script]);
        until("the container has printed 'up'", || run.stdout() == "up\n");
        run.signal(Signal::TERM);
        if version == "0.12.3" {
            assert_eq!(run.done().code, code);
            continue;
        }
        for count in 1..=2 {
            let said = "missing signal in xpc message";
            until("the client has printed the message", || {
                run.stderr().matches(said).count() == count
            });
            run.signal(Signal::TERM);
        }
        let done = run.done();
        assert_eq!(done.code, code);
        assert!(
            done.stderr
                .contains("Received 3 SIGINT/SIGTERM's, forcefully exiting.")
        );
        assert_eq!(it.state("one"), "running");
    }
}

#[test]
fn a_container_outlives_its_attached_command_and_its_log_does_not() {
    let Some(it) = StandIn::new("1.2.2") else {
        return;
    };
    let script = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.3; done; sleep 100";
    let run = it.live(&["run", "--name", "one", IMAGE, "sh", "-c", script]);
    until("the container prints", || run.stdout().starts_with("1\n"));
    run.signal(Signal::KILL);
    let kept = run.done().stdout;
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(it.state("one"), "running");
    assert_eq!(it.ok(&["logs", "one"]), kept);
}

#[test]
fn with_rm_the_daemon_removes_it_whoever_is_killed() {
    for version in ["0.12.3", "1.2.2"] {
        let Some(it) = StandIn::new(version) else {
            return;
        };
        let gone = |name: &str| {
            until("the container is gone", || {
                let done = it.call(&["inspect", name]);
                done.stdout == "[]\n" || done.stderr.contains("container not found")
            });
        };
        let done = it.call(&["run", "--rm", "--name", "one", IMAGE, "sh", "-c", "exit 5"]);
        assert_eq!(done.code, 5, "{}", done.stderr);
        gone("one");
        let run = it.live(&[
            "run",
            "--rm",
            "--name",
            "two",
            IMAGE,
            "sh",
            "-c",
            "echo up; sleep 1",
        ]);
        until("the container has printed 'up'", || run.stdout() == "up\n");
        run.signal(Signal::KILL);
        drop(run);
        gone("two");
    }
}
