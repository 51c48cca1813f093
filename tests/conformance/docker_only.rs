//! Abilities that only an engine has: limits, kept containers, and changes by others.

use serde_json::Value;

use crate::harness::{IMAGE, Moat, TempDir, until};

const WAITING: &str = "echo ready; until [ -e /workspace/go ]; do sleep 0.05; done";

#[track_caller]
fn engine(moat: &Moat, args: &[&str]) -> String {
    let done = moat.client().args(args).output().expect("the client");
    assert!(
        done.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn inspect(moat: &Moat, id: &str) -> Value {
    let all: Value = serde_json::from_str(&engine(moat, &["inspect", id])).expect("JSON");
    all[0].clone()
}

fn ready(moat: &Moat) -> String {
    let id = moat.background(WAITING);
    moat.wait_log(&id, "ready");
    id
}

/// Programs such as ssh refuse a user without a name.
pub(crate) fn a_user_without_an_entry_has_a_name(moat: &Moat) {
    let script = "whoami; head -1 /etc/passwd";
    let run = |user: &str| {
        let args = [
            "run", "-q", "--image", IMAGE, "-u", user, "--", "sh", "-c", script,
        ];
        moat.args(args).any_stdout().success().stdout_text()
    };
    let root = run("0:0");
    let (name, first) = root.split_once('\n').expect("two lines");
    assert_eq!(name, "root");
    assert_eq!(run("4321:4321"), format!("moatuser\n{first}"));
}

pub(crate) fn out_of_memory_is_said(moat: &Moat) {
    let eat = "x=x; while :; do x=$x$x; done";
    moat.args([
        "run", "--image", IMAGE, "--memory", "16m", "--", "sh", "-c", eat,
    ])
    .stderr(
        "Started [NAME] ([ID])\n[NAME] was killed by the kernel: it ran out of memory. \
             Use 'moat logs [ID]' to see its output.\n",
    )
    .status(137);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["state"], "failed");
    assert_eq!(record["reason"], "oom");
    assert_eq!(record["oom_killed"], true);
    assert_eq!(record["memory_bytes"], 16 << 20);
}

pub(crate) fn keep_keeps_the_container_until_destroy(moat: &Moat) {
    moat.run_with(["--keep"], ["sh", "-c", "echo kept > /tmp/f; exit 4"])
        .status(4);
    let id = moat.only_id();
    assert_eq!(moat.containers().len(), 1);
    assert_eq!(inspect(moat, &id)["State"]["ExitCode"], 4);
    let clean = moat.args(["clean", "--force"]).any_stdout().success();
    assert_eq!(
        clean.stdout_text(),
        "Nothing to remove.\n",
        "the container is kept"
    );
    assert_eq!(moat.containers().len(), 1);
    moat.args(["destroy", &id]).stdout("[ID]\n").success();
    assert!(moat.containers().is_empty());
}

pub(crate) fn a_container_removed_behind_our_back_is_lost(moat: &Moat) {
    let id = ready(moat);
    let waiter = moat.args(["wait", &id]).spawn();
    let follower = moat.args(["logs", "-f", &id]).spawn();
    engine(moat, &["rm", "-f", &id]);
    let code = waiter.wait().code;
    let record = moat.record(&id);
    assert_eq!(record["state"], "failed", "{record}");
    assert_ne!(code, Some(0), "an unknown end is no success");
    // The engine kills a container before it removes it, so moat may see either.
    match record["error"].as_str() {
        None => assert_eq!(record["reason"], "exited", "{record}"),
        Some(error) => {
            assert_eq!(error, "another program removed its container");
            assert_eq!(record["reason"], "lost", "{record}");
        }
    }
    assert_eq!(follower.wait().stdout_text(), "ready\n");
    moat.args(["destroy", &id]).stdout("[ID]\n").success();
}

/// A paused container neither runs nor has ended.
pub(crate) fn a_paused_container_is_waited_for(moat: &Moat) {
    let id = ready(moat);
    engine(moat, &["pause", &id]);
    let mut waiter = moat.args(["wait", &id]).spawn();
    assert_eq!(moat.record(&id)["state"], "running");
    engine(moat, &["unpause", &id]);
    assert!(waiter.is_running());
    moat.write("go", "");
    assert_eq!(waiter.wait().code, Some(0));
}

pub(crate) fn labels_are_exact(moat: &Moat) {
    let id = ready(moat);
    let container = inspect(moat, &id);
    let labels = &container["Config"]["Labels"];
    assert_eq!(labels["moat.home"], moat.label());
    assert_eq!(labels["moat.run"], id);
    assert_eq!(labels["moat.role"], "main");
    let host = &container["HostConfig"];
    assert_eq!(host["Init"], true);
    assert_eq!(host["Privileged"], false);
    assert_ne!(host["NetworkMode"], "host");
    assert_eq!(host["AutoRemove"], false, "the engine would drop the log");
    assert!(host["PidsLimit"].as_u64().is_some_and(|limit| limit > 0));
    // podman lists each capability by name; scenarios check the rest from inside the container.
    assert!(moat.runtime_of().is_podman() || host["CapDrop"][0] == "ALL");
    moat.write("go", "");
    moat.args(["wait", &id]).success();
}

pub(crate) fn limits_reach_the_engine(moat: &Moat) {
    let id = moat.background_with(["--memory", "64m", "--cpus", "0.5"], WAITING);
    let host = &inspect(moat, &id)["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20, "no swap on top");
    assert_eq!(host["NanoCpus"], 500_000_000);
    moat.write("go", "");
    moat.args(["wait", &id]).success();
}

/// Puts a script on PATH that logs each call of the engine client and then runs the client.
fn counting(moat: &Moat) -> (TempDir, std::path::PathBuf) {
    let real = client_path(moat.runtime_name());
    let dir = TempDir::new();
    let calls = dir.path().join("calls");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\nexec '{real}' \"$@\"\n",
        calls.display()
    );
    let path = dir.path().join(moat.runtime_name());
    std::fs::write(&path, script).expect("the wrapper");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("executable");
    (dir, calls)
}

fn client_path(name: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name));
    let found = found.into_iter().find(|path| path.is_file());
    found.expect("the client is there").display().to_string()
}

fn with_wrapper(moat: &Moat, dir: &TempDir) -> String {
    let path = moat.path_text();
    format!("{}:{path}", dir.path().display())
}

pub(crate) fn five_engine_calls_at_most(moat: &Moat) {
    let (dir, calls) = counting(moat);
    moat.run(["true"])
        .env("PATH", with_wrapper(moat, &dir))
        .success();
    until("the run is clean", || {
        moat.record(&moat.only_id())["cleaned_at"].is_string()
    });
    let calls = std::fs::read_to_string(calls).expect("it was called");
    assert!(calls.lines().count() <= 5, "{calls}");
}

pub(crate) fn reading_commands_do_not_call_the_engine(moat: &Moat) {
    moat.run(["echo", "hi"]).stdout("hi\n").success();
    let id = moat.only_id();
    let (dir, calls) = counting(moat);
    let path = with_wrapper(moat, &dir);
    for args in [
        ["list", "-a"],
        ["logs", &id],
        ["inspect", &id],
        ["wait", &id],
    ] {
        moat.args(args).env("PATH", &path).any_stdout().success();
        // The same with an empty PATH.
        moat.args(args).env("PATH", "").any_stdout().success();
    }
    assert!(!calls.exists(), "{:?}", std::fs::read_to_string(calls));
}

/// A container under another name is not gone: requests reach it, and nothing is left of it.
pub(crate) fn a_renamed_container_is_found(moat: &Moat) {
    for request in [&["stop"][..], &["kill"], &["destroy", "--force"]] {
        let id = ready(moat);
        let label = format!("label=moat.handle={id}");
        engine(moat, &["rename", &id, &format!("renamed-{id}")]);
        moat.args([request, &[&id]].concat()).any_stdout().success();
        let left = engine(moat, &["ps", "--all", "--quiet", "--filter", &label]);
        assert_eq!(left, "", "after {request:?}");
    }
}

/// A client whose configuration is damaged warns at each call; the warning is not the workload's.
pub(crate) fn warnings_of_the_client_are_not_the_workloads(moat: &Moat) {
    // The DOCKER_CONFIG of the calls.
    let config = moat.root().join("docker-config");
    std::fs::create_dir_all(&config).expect("a directory");
    for content in ["{\"auths\": {\"x\": ", ""] {
        std::fs::write(config.join("config.json"), content).expect("a file");
        let id = ready(moat);
        let call = moat.args(["exec", &id, "--", "sh", "-c", "echo out; echo err >&2"]);
        call.stdout("out\n").stderr("err\n").success();
        moat.write("go", "");
        moat.args(["wait", &id]).success();
        moat.args(["logs", "--stderr", &id]).stdout("").success();
        std::fs::remove_file(moat.workspace().join("go")).expect("the file");
    }
    let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
    assert!(
        doctor.stdout_text().contains("config.json cannot be read"),
        "{doctor}"
    );
}

/// A `kill` by another client is recorded like any other end of the workload.
pub(crate) fn kill_by_the_engine_is_an_exit(moat: &Moat) {
    let id = ready(moat);
    engine(moat, &["kill", &id]);
    moat.args(["wait", &id]).status(137);
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"exited".into())
    );
    moat.args(["logs", &id]).stdout("ready\n").success();
}

/// moat removes only containers with its home's label, whatever their names.
pub(crate) fn foreign_containers_are_left_alone(moat: &Moat) {
    std::fs::create_dir_all(moat.home()).expect("MOAT_HOME");
    let label = format!("moat.home={}", moat.label());
    let create = |args: &[&str]| engine(moat, &[&["create"], args, &[IMAGE, "true"]].concat());
    let orphan = create(&[
        "--label",
        &label,
        "--label",
        "moat.run=run_0123456789ab",
        "--label",
        "moat.role=main",
    ]);
    let foreign = create(&[
        "--label",
        "moat.home=0000000000000000",
        "--label",
        "moat.run=run_0123456789ac",
    ]);
    let done = moat.args(["clean", "--dry-run"]).any_stdout().success();
    assert_eq!(moat.containers().len(), 1, "a dry run removes nothing");
    let text = done.stdout_text();
    assert_eq!(text.lines().count(), 1, "{text}");
    // Without a terminal, `clean` needs --force.
    moat.args(["clean"])
        .any_stdout()
        .stderr_contains("there is no terminal to ask for confirmation")
        .status(1);
    assert_eq!(moat.containers().len(), 1);
    moat.args(["clean", "--force"]).any_stdout().success();
    assert!(moat.containers().is_empty(), "{orphan} is gone");
    engine(moat, &["rm", &foreign]);
}
