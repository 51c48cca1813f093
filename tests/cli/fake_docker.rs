//! The reaction of moat to an engine's answers, with a scripted engine client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Call, Done, Moat, Signal};

/// A place with a scripted docker.
struct Fake {
    moat: Moat,
}

impl Fake {
    fn new() -> Fake {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bin/fake-docker");
        let moat = Moat::new().env("MOAT_RUNTIME", "docker").path_prepend(bin);
        let dir = moat.root().join("fake");
        fs::create_dir(&dir).expect("a directory");
        Fake {
            moat: moat.env("FAKE_DOCKER", dir),
        }
    }

    fn dir(&self) -> PathBuf {
        self.moat.root().join("fake")
    }

    /// Sets the shell script that a call of this verb runs.
    fn answer(self, verb: &str, script: &str) -> Fake {
        fs::write(self.dir().join(verb), script).expect("an answer");
        self
    }

    fn run(&self) -> Call<'_> {
        self.moat.args(["run", "-q", "--image", "x", "--", "true"])
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn count(&self, verb: &str) -> usize {
        let first = |line: &&String| line.split(' ').next() == Some(verb);
        self.calls().iter().filter(first).count()
    }

    fn record(&self) -> Value {
        self.moat.record(&self.moat.only_id())
    }

    #[track_caller]
    fn assert_end(&self, state: &str, reason: &str) -> Value {
        let record = self.record();
        assert_eq!(
            (&record["state"], &record["reason"]),
            (&state.into(), &reason.into()),
            "{record}"
        );
        assert!(
            !self.dir().join("created").exists(),
            "the container is gone"
        );
        record
    }
}

#[test]
fn the_usual() {
    let fake = Fake::new();
    fake.run().stdout("fake output\n").success();
    fake.assert_end("stopped", "exited");
    let calls = fake.calls();
    assert!(calls.len() <= 5, "{calls:?}");
    assert!(
        calls[0].starts_with("create ") && calls[1].starts_with("start --attach"),
        "{calls:?}"
    );
    let called = fake.calls().len();
    for args in [
        &["list", "-a"][..],
        &["logs"],
        &["inspect", "run_"],
        &["wait", "run_"],
    ] {
        fake.moat.args(args).any_stdout().success();
    }
    assert_eq!(
        fake.calls().len(),
        called,
        "reading does not ask the engine"
    );
}

#[test]
fn errors_at_create_are_the_engines_own_words() {
    for (stderr, message, hint) in [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission denied",
            "docker's socket cannot be used: ",
            "add yourself to the group 'docker'",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "docker's engine cannot be reached: ",
            "start it (e.g. 'systemctl start docker')",
        ),
        (
            "error during connect: Get http://1.2.3.4:2375/_ping: dial tcp: connect: connection refused",
            "docker's engine cannot be reached: ",
            "start it",
        ),
        (
            "Error response from daemon: invalid mount config for type \"bind\": \u{1b}[2Jgone",
            "invalid mount config for type \"bind\": \\u{1b}[2Jgone",
            "",
        ),
    ] {
        let script =
            format!("cat >&2 <<'END'\n{stderr}\nSee 'docker create --help'.\nEND\nexit 1\n");
        let fake = Fake::new().answer("create", &script);
        let done = fake
            .run()
            .stderr_contains(&format!("error: {message}"))
            .stderr_contains(hint)
            .status(125);
        assert!(!done.stderr_text().contains("See 'docker"), "{done}");
        assert!(!done.stderr_text().contains('\u{1b}'), "{done}");
        let record = fake.assert_end("failed", "start-error");
        assert!(record["error"].is_string());
        assert_eq!(fake.count("start"), 0);
    }
}

/// A container that was created but could not be started is removed, and the exit code is not the workload's.
#[test]
fn created_but_not_started() {
    let fake = Fake::new()
        .answer(
            "start",
            "echo 'Error response from daemon: OCI runtime create failed: no such device' >&2; : >\"$state/broken\"; exit 1",
        )
        .answer(
            "inspect",
            "[ -e \"$state/created\" ] || missing; printf '/%s {\"State\":{\"Status\":\"created\",\"OOMKilled\":false,\"ExitCode\":128,\"Error\":\"OCI runtime create failed: no such device\",\"StartedAt\":\"0001-01-01T00:00:00Z\",\"FinishedAt\":\"0001-01-01T00:00:00Z\"},\"Ports\":{}}\\n' \"$(cat \"$state/created\")\"",
        );
    fake.run()
        .stderr_contains("OCI runtime create failed: no such device")
        .status(125);
    let record = fake.assert_end("failed", "start-error");
    assert!(record["cleaned_at"].is_string(), "{record}");
    // The messages of the client are not output of the workload.
    assert_eq!(
        fs::read(fake.moat.run_dir(&fake.moat.only_id()).join("logs.jsonl")).expect("a log"),
        b""
    );
}

/// If the connection breaks after the engine got the request, the created container is removed.
#[test]
fn created_without_an_answer() {
    let fake = Fake::new().answer(
        "create",
        "(usual \"$@\") >/dev/null; echo 'error during connect: Post \"http://x/create\": EOF' >&2; exit 1",
    );
    fake.run().stderr_contains("EOF").status(125);
    let record = fake.assert_end("failed", "start-error");
    assert!(record["cleaned_at"].is_string(), "{record}");
}

/// Advice on the stderr of a successful client is neither output of the workload nor an error.
#[test]
fn a_warning_with_success_is_no_error() {
    let fake = Fake::new().answer(
        "create",
        "echo 'WARNING: Your kernel does not support swap limit capabilities.' >&2; usual \"$@\"",
    );
    fake.run().stdout("fake output\n").success();
    fake.assert_end("stopped", "exited");
}

#[test]
fn garbage_from_inspect_is_asked_again() {
    let fake = Fake::new()
        .answer(
            "inspect.1",
            "printf '/%s {\"Status\":' \"$(cat \"$state/created\")\"",
        )
        .answer(
            "inspect.2",
            "echo 'Error response from daemon: context deadline exceeded' >&2; exit 1",
        );
    fake.run().stdout("fake output\n").any_stderr().success();
    fake.assert_end("stopped", "exited");
    assert!(fake.count("inspect") >= 3, "{:?}", fake.calls());
}

/// An engine that goes down while the workload runs does not end the workload.
#[test]
fn an_engine_that_is_away_for_a_while() {
    let down = "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1";
    let fake = Fake::new()
        .answer("inspect.1", down)
        .answer("inspect.2", down)
        .answer("inspect.3", down);
    fs::write(fake.dir().join("code"), "7").expect("its code");
    fake.run().stdout("fake output\n").any_stderr().status(7);
    fake.assert_end("failed", "exited");
}

#[test]
fn a_transient_refusal_to_remove_is_tried_again() {
    let busy = "echo 'Error response from daemon: removal of container x is already in progress' >&2; exit 1";
    let fake = Fake::new().answer("rm.1", busy).answer("rm.2", busy);
    fake.run().stdout("fake output\n").success();
    let record = fake.assert_end("stopped", "exited");
    assert!(record["cleaned_at"].is_string(), "{record}");
    assert_eq!(fake.count("rm"), 3, "{:?}", fake.calls());
}

/// A container that another program has removed counts as removed.
#[test]
fn nothing_to_remove_is_fine() {
    let fake = Fake::new().answer("rm", "rm -f \"$state/created\"; missing");
    fake.run().stdout("fake output\n").success();
    assert!(fake.assert_end("stopped", "exited")["cleaned_at"].is_string());
}

/// moat warns about a resource that it cannot remove, and the record keeps it for the next command.
#[test]
fn a_container_that_cannot_be_removed_is_said() {
    let fake = Fake::new().answer(
        "rm",
        "echo 'Error response from daemon: driver failed to remove root filesystem: device or resource busy' >&2; exit 1",
    );
    fake.run()
        .stdout("fake output\n")
        .stderr("warning: some resources of [ID] could not be removed; see: moat clean\n")
        .success();
    let record = fake.record();
    assert_eq!(
        (&record["state"], &record["cleaned_at"]),
        (&"stopped".into(), &Value::Null)
    );
    assert_ne!(record["resources"][0]["stage"], "removed");
    // destroy removes the container when the engine works again.
    fs::remove_file(fake.dir().join("rm")).expect("the answer");
    fake.moat
        .args(["destroy", "run_"])
        .stdout("[ID]\n")
        .success();
    assert!(!fake.dir().join("created").exists());
}

/// A slow engine delays a run but does not fail it.
#[test]
fn a_slow_engine() {
    let fake = Fake::new()
        .answer("create", "sleep 1; usual \"$@\"")
        .answer("inspect", "sleep 0.3; usual \"$@\"")
        .answer("rm", "sleep 1; usual \"$@\"");
    let done: Done = fake.run().stdout("fake output\n").success();
    assert!(done.took >= Duration::from_secs(2), "{done}");
    fake.assert_end("stopped", "exited");
}

/// After a first Ctrl-C while the container is created, the container is not started, and is removed.
#[test]
fn interrupted_while_creating() {
    let fake = Fake::new().answer("create", ": >\"$state/creating\"; sleep 1; usual \"$@\"");
    let run = fake.run().spawn();
    crate::harness::until("the container is being created", || {
        fake.dir().join("creating").exists()
    });
    run.signal_group(Signal::INT);
    let done = run.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(fake.count("start"), 0, "{:?}", fake.calls());
    fake.assert_end("stopped", "user-stop");
}

/// The silent end of a client does not mean that the workload has ended.
#[test]
fn an_attachment_that_breaks_is_taken_up_again() {
    let fake = Fake::new()
        .answer("start", ": >\"$state/started\"; echo 'fake output'; exit 1")
        .answer(
            "logs",
            "echo 'fake output'; sleep 0.5; echo more; : >\"$state/exited\"; exit 0",
        );
    fake.run()
        .stdout("fake output\nmore\n")
        .any_stderr()
        .success();
    fake.assert_end("stopped", "exited");
    fake.moat
        .args(["logs", "--stdout"])
        .stdout("fake output\nmore\n")
        .any_stderr()
        .success();
}

/// A missing image is pulled once, and then the run continues.
#[test]
fn a_missing_image_is_pulled() {
    let fake = Fake::new()
        .answer(
            "create.1",
            "echo 'Error response from daemon: No such image: x' >&2; exit 1",
        )
        .answer("pull", "exit 0");
    fake.run().stdout("fake output\n").any_stderr().success();
    assert_eq!((fake.count("pull"), fake.count("create")), (1, 2));
    fake.assert_end("stopped", "exited");
}
