//! Faults of Apple's services, by rules of the stand-in. Whatever the answers, the state is true, the exit code is
//! right or reported as unknown, nothing hangs beyond its timeout, and nothing is left.

use std::time::{Duration, Instant};

use crate::conformance::apple_only::ready;
use crate::harness::{Moat, Running, until};

/// Longer than any timeout of a query, because a busy machine is slow.
const SOON: Duration = Duration::from_secs(60);

/// Starts a run that prints text and exits with 3, and asserts that it does, whatever faults occur.
fn assert_runs_well(moat: &Moat) {
    let began = Instant::now();
    moat.sh("echo out; sleep 0.3; echo more; exit 3")
        .stdout("out\nmore\n")
        .any_stderr()
        .deadline(Duration::from_secs(120))
        .status(3);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let record = moat.record(&moat.only_id());
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"exited".into())
    );
    assert_eq!(
        (&record["exit_code"], &record["log"]["complete"]),
        (&3.into(), &true.into())
    );
    assert!(record["cleaned_at"].is_string(), "{record:#}");
}

pub(crate) fn flaky_xpc(moat: &Moat) {
    moat.apple(&["__fake", "preset", "flaky-xpc"]);
    assert_runs_well(moat);
}

/// When a container was removed by another program, moat reports that as the reason.
pub(crate) fn removed_behind_back(moat: &Moat) {
    let id = ready(moat);
    let waiter = moat.args(["wait", &id]).spawn();
    moat.apple(&["delete", "--force", &id]);
    assert_is_gone(moat, &id, waiter);
}

/// The same with an empty list instead of an error.
pub(crate) fn removed_between_two_looks(moat: &Moat) {
    let id = ready(moat);
    let waiter = moat.args(["wait", &id]).spawn();
    moat.apple(&["__fake", "preset", "removed-behind-back", "after=0"]);
    assert_is_gone(moat, &id, waiter);
}

#[track_caller]
fn assert_is_gone(moat: &Moat, id: &str, waiter: Running) {
    let done = waiter.wait();
    assert!(done.took < SOON, "{done}");
    let record = moat.record(id);
    assert_eq!(record["state"], "failed");
    // The container was killed before its removal: the client may have received either.
    match record["reason"].as_str() {
        Some("exited") => assert_eq!(record["exit_code"], 137),
        _ => {
            assert_eq!(record["reason"], "lost", "{record:#}");
            assert_eq!(record["error"], "another program removed its container");
        }
    }
    moat.args(["logs", id])
        .any_stderr()
        .stdout("ready\n")
        .success();
}

pub(crate) fn removed_and_said_in_two_ways(moat: &Moat) {
    // The container is missing in one answer and listed in the other: it exists.
    moat.apple_fault(r#"{"match":["inspect"],"count":2,"do":"empty-array"}"#);
    assert_runs_well(moat);
}

pub(crate) fn stop_timeout_but_stopped(moat: &Moat) {
    moat.apple(&["__fake", "preset", "stop-timeout-but-stopped"]);
    let id = ready(moat);
    moat.args(["stop", "--time", "1", &id])
        .any_stdout()
        .success();
    let done = moat.args(["wait", &id]).any_stderr().run();
    assert!(matches!(done.code, Some(137 | 143)), "{done}");
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into())
    );
}

pub(crate) fn create_timeout_but_created(moat: &Moat) {
    moat.apple(&["__fake", "preset", "create-timeout-but-created"]);
    assert_runs_well(moat);
    let creates = moat.apple_calls();
    let creates = creates.iter().filter(|call| call.starts_with("create "));
    assert_eq!(creates.count(), 1, "what was made is not made again");
}

/// Names are unique: a container with the name was created by the request without an answer.
pub(crate) fn create_that_already_exists(moat: &Moat) {
    moat.apple_fault(r#"{"match":["create"],"count":1,"do":"xpc-interrupted"}"#);
    moat.apple_fault(r#"{"match":["create"],"count":1,"when":"after","do":"exists"}"#);
    assert_runs_well(moat);
}

const SERVICE: &str =
    "dependencies: [redis@7]\nservices: {redis: {image: \"moat-test/redis:7\"}}\n";

fn assert_service_works(moat: &Moat) {
    moat.write("moat.yaml", SERVICE);
    if !crate::conformance::apple_only::has_image("moat-test/redis:7") {
        return;
    }
    let script = "redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null";
    moat.run_with(["--image", "moat-test/redis:7"], ["sh", "-c", script])
        .deadline(Duration::from_secs(120))
        .stdout("PONG\n")
        .any_stderr()
        .success();
    until("the network is gone", || moat.networks().is_empty());
}

pub(crate) fn a_network_that_lets_go_late(moat: &Moat) {
    moat.apple(&["__fake", "preset", "net-detach-late"]);
    moat.apple_fault(r#"{"match":["network","delete"],"count":1,"do":"pending"}"#);
    moat.apple_fault(r#"{"match":["network","delete"],"count":1,"do":"ip-allocator"}"#);
    assert_service_works(moat);
}

pub(crate) fn an_address_that_comes_late(moat: &Moat) {
    moat.apple(&["__fake", "preset", "ip-late", "times=4"]);
    assert_service_works(moat);
}

/// After a restart of the services every container is stopped, and its start time is unknown.
pub(crate) fn daemon_restart(moat: &Moat) {
    let id = ready(moat);
    let waiter = moat.args(["wait", &id]).spawn();
    moat.apple(&["__fake", "daemon-restart"]);
    let done = waiter.wait();
    assert!(done.took < SOON && done.code != Some(0), "{done}");
    let record = moat.record(&id);
    assert_eq!(record["state"], "failed", "{record:#}");
    // Killed, or an unknown code: never a failure to start, because it ran.
    match record["exit_code"].as_u64() {
        Some(code) => assert!(matches!(code, 137 | 143), "{record:#}"),
        None => assert_eq!(record["reason"], "lost", "{record:#}"),
    }
    assert!(record["started_at"].is_string());
}

pub(crate) fn answers_that_cannot_be_read(moat: &Moat) {
    for how in ["bad-json", "cut-json", "empty-output"] {
        moat.apple_fault(&format!(
            r#"{{"match":["inspect"],"count":1,"do":"{how}"}}"#
        ));
    }
    moat.apple_fault(r#"{"match":["image","inspect"],"count":2,"do":"cut-json"}"#);
    assert_runs_well(moat);
}

pub(crate) fn answers_of_another_shape(moat: &Moat) {
    moat.apple_fault(r#"{"match":["inspect"],"count":-1,"every":2,"do":"legacy-shape"}"#);
    moat.apple_fault(r#"{"match":["inspect"],"count":-1,"do":"future-shape"}"#);
    assert_runs_well(moat);
}

pub(crate) fn states_that_nobody_knows(moat: &Moat) {
    for state in ["stopping", "unknown", "paused"] {
        moat.apple_fault(&format!(
            r#"{{"match":["inspect"],"count":1,"do":"state","value":"{state}"}}"#
        ));
    }
    assert_runs_well(moat);
}

/// A query that gets no answer times out, and moat repeats it later.
pub(crate) fn an_inspect_that_hangs(moat: &Moat) {
    moat.short_timeouts();
    moat.apple_fault(r#"{"match":["inspect"],"count":1,"do":"hang"}"#);
    assert_runs_well(moat);
}

/// The start of a container that gets no answer times out, too.
pub(crate) fn a_start_that_hangs(moat: &Moat) {
    moat.short_timeouts();
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"hang"}"#);
    let done = moat
        .run(["true"])
        .deadline(Duration::from_secs(120))
        .stderr_contains("the container was not started")
        .status(125);
    assert!(done.took < Duration::from_secs(100), "{done}");
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "start-error", "{record:#}");
    assert!(record["cleaned_at"].is_string());
}

/// The next command repeats a request that timed out.
pub(crate) fn a_delete_that_hangs(moat: &Moat) {
    moat.short_timeouts();
    moat.apple_fault(r#"{"match":["delete"],"count":1,"do":"hang"}"#);
    moat.sh("echo out; exit 3")
        .stdout("out\n")
        .any_stderr()
        .deadline(Duration::from_secs(120))
        .status(3);
    let id = moat.only_id();
    assert_eq!(moat.record(&id)["reason"], "exited");
    let ended = Instant::now();
    while !moat.record(&id)["cleaned_at"].is_string() {
        assert!(ended.elapsed() < SOON, "{:?}", ended.elapsed());
        std::thread::sleep(Duration::from_millis(500));
        // The next command checks again what could not be removed.
        moat.args(["list"]).any_stdout().any_stderr().success();
    }
}

/// The container has stopped, and the answer never comes: moat does not wait for it, and no client stays.
pub(crate) fn a_stop_that_hangs(moat: &Moat) {
    let id = moat.background("echo out; exec sleep 1000");
    moat.wait_log(&id, "out");
    moat.apple_fault(r#"{"match":["stop"],"count":1,"when":"after","do":"hang"}"#);
    let done = moat.args(["stop", "--time", "1", &id]).any_stdout();
    let done = done.success();
    assert!(done.took < Duration::from_secs(15), "{done}");
    assert_eq!(moat.record(&id)["reason"], "user-stop");
}

pub(crate) fn a_delete_that_is_refused_at_first(moat: &Moat) {
    moat.apple_fault(r#"{"match":["delete"],"count":2,"do":"stopping-delete"}"#);
    assert_runs_well(moat);
}

/// The text says only that the request failed; the list shows that the container is gone.
pub(crate) fn a_delete_that_says_nothing(moat: &Moat) {
    moat.apple_fault(r#"{"match":["delete"],"count":1,"when":"after","do":"not-found-silent"}"#);
    assert_runs_well(moat);
}

/// A process holds the output open longer than the client waits: the client ends, and the exit code is lost.
pub(crate) fn a_code_that_is_lost(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"cancellation"}"#);
    let done = moat
        .sh("echo out; exit 3")
        .stdout("out\n")
        .any_stderr()
        .run();
    assert!(done.code.is_some_and(|code| code != 0), "{done}");
    let record = moat.record(&moat.only_id());
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"lost".into()),
        "{record:#}"
    );
    assert!(record["exit_code"].is_null());
    let error = record["error"].as_str().expect("it says why");
    assert!(error.contains("CancellationError"), "{error}");
    assert_eq!(record["log"]["complete"], false);
}

/// The daemon then keeps no more output, and no client is told that the container has ended.
pub(crate) fn the_client_is_killed(moat: &Moat) {
    let id = ready(moat);
    let client = format!("start\0--attach\0{id}\0");
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().parse().ok();
        let is_client = String::from_utf8_lossy(&command).ends_with(&client);
        if let Some(pid) = pid
            .and_then(rustix::process::Pid::from_raw)
            .filter(|_| is_client)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        }
    }
    assert_eq!(killed, 1, "there is one client");
    until("the supervisor log reports the lost client", || {
        std::fs::read_to_string(moat.run_dir(&id).join("supervisor.log"))
            .is_ok_and(|diary| diary.contains("no client read"))
    });
    assert_eq!(
        moat.record(&id)["state"],
        "running",
        "the container still runs"
    );
    moat.write("go", "");
    let done = moat.args(["wait", &id]).any_stderr().run();
    assert!(done.code != Some(0), "{done}");
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"lost".into())
    );
    assert_eq!(record["log"]["complete"], false);
}

/// The services die during the run, and come back with every container stopped.
pub(crate) fn an_engine_that_goes_away(moat: &Moat) {
    let id = ready(moat);
    moat.apple(&["__fake", "system", "stopped"]);
    // moat does not take the death for an exit.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    std::thread::sleep(Duration::from_millis(500));
    moat.apple(&["__fake", "system", "running"]);
    let done = moat.args(["wait", &id]).any_stderr().run();
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(moat.record(&id)["log"]["complete"], true);
}

pub(crate) fn the_services_are_down(moat: &Moat) {
    moat.apple(&["__fake", "system", "stopped"]);
    moat.run(["true"])
        .stderr_contains("container system start")
        .status(125);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "start-error");
    assert!(
        record["cleaned_at"].is_string(),
        "nothing was made: {record:#}"
    );
    let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
    let text = doctor.stdout_text();
    assert!(text.contains("no  runtime apple"), "{text}");
    assert!(text.contains("container system start"), "{text}");
    // The runtime that is down does not hide the others.
    moat.args(["status"]).any_stdout().success();
    moat.args(["list", "-a"]).any_stdout().success();
    moat.args(["logs", &moat.only_id()]).success();
    moat.apple(&["__fake", "system", "running"]);
}

pub(crate) fn a_kernel_is_missing(moat: &Moat) {
    moat.apple_fault(r#"{"match":["create"],"count":-1,"do":"kernel-missing"}"#);
    moat.run(["true"])
        .stderr_contains("container system kernel set --recommended")
        .status(125);
}

pub(crate) fn a_port_that_is_taken(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"port-busy"}"#);
    moat.write("moat.yaml", "ports: {web: 8080}\n");
    moat.run(["true"])
        .stderr_contains("Address already in use")
        .status(125);
    assert_eq!(moat.record(&moat.only_id())["reason"], "start-error");
}

pub(crate) fn noise_is_no_output(moat: &Moat) {
    for word in ["create", "inspect", "delete"] {
        moat.apple_fault(&format!(
            r#"{{"match":["{word}"],"count":-1,"do":"stderr-noise"}}"#
        ));
    }
    assert_runs_well(moat);
}

/// The services received the request and then answered nothing more. The journal has the resource, and moat removes
/// it as soon as the services answer.
pub(crate) fn create_timeout_and_then_nobody(moat: &Moat) {
    moat.apple_fault(r#"{"match":["create"],"count":1,"when":"after","do":"xpc-timeout"}"#);
    moat.apple_fault(r#"{"match":["inspect"],"count":1,"do":"die-daemon"}"#);
    moat.run(["true"])
        .any_stderr()
        .deadline(Duration::from_secs(120))
        .status(125);
    let id = moat.only_id();
    let record = moat.record(&id);
    assert_eq!(record["reason"], "start-error", "{record:#}");
    assert!(record["cleaned_at"].is_null(), "{record:#}");
    moat.apple(&["__fake", "system", "running"]);
    assert_eq!(moat.apple(&["list", "--all", "--quiet"]), format!("{id}\n"));
    until("the run is removed", || {
        moat.args(["list", "-a"])
            .any_stdout()
            .any_stderr()
            .success();
        moat.record(&id)["cleaned_at"].is_string()
    });
    assert_eq!(moat.apple(&["list", "--all", "--quiet"]), "");
}

/// Before macOS 26 there are no networks, and therefore no services. Everything else works.
pub(crate) fn a_system_without_networks(moat: &Moat) {
    let old = ("FAKE_APPLE_MACOS", "15");
    moat.write("moat.yaml", SERVICE);
    let done = moat.run(["true"]).env(old.0, old.1).any_stderr();
    let said = done.status(125).stderr_text();
    assert!(said.contains("services need macOS 26 or newer"), "{said}");
    assert!(
        said.contains("hint: remove the services from moat.yaml, or use --runtime docker"),
        "{said}"
    );
    assert!(!said.contains("Plugin"), "{said}");
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "start-error", "{record:#}");
    assert!(record["cleaned_at"].is_string(), "{record:#}");
    let doctor = moat.args(["doctor"]).env(old.0, old.1);
    let said = doctor.any_stdout().any_stderr().run().stdout_text();
    assert!(said.contains("; services need macOS 26"), "{said}");
    std::fs::remove_file(moat.workspace().join("moat.yaml")).expect("it was there");
    moat.run(["true"]).env(old.0, old.1).success();
    moat.args(["clean", "--force"])
        .env(old.0, old.1)
        .any_stdout()
        .success();
}

/// Without networks, a requested network does not exist either.
pub(crate) fn a_network_of_another_system(moat: &Moat) {
    moat.apple_fault(r#"{"match":["network","create"],"count":-1,"do":"xpc-timeout"}"#);
    let gone = r#""count":-1,"do":"exit","rc":64,"stderr":"Error: Plugin 'container-network' not found."}"#;
    for word in ["inspect", "delete", "list"] {
        moat.apple_fault(&format!(r#"{{"match":["network","{word}"],{gone}"#));
    }
    moat.write("moat.yaml", SERVICE);
    moat.run(["true"])
        .stderr_contains("XPC timeout")
        .deadline(Duration::from_secs(120))
        .status(125);
    let id = moat.only_id();
    let is_clean = || moat.record(&id)["cleaned_at"].is_string();
    assert!(!is_clean(), "it may still come");
    // Makes the record look as if a pending request could no longer take effect.
    std::fs::remove_file(moat.run_dir(&id).join("making")).expect("what was asked for");
    moat.args(["clean", "--force"])
        .any_stdout()
        .any_stderr()
        .run();
    until("the run is cleaned up", is_clean);
}
