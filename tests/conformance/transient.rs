//! Requests that Apple's services did not receive, or could not serve at the moment, are repeated, and moat notes
//! that. Nothing waits for ever, and no such failure is taken for the workload's or a service's.

use std::time::Duration;

use crate::conformance::apple_only::{has_image, kill_supervisor};
use crate::harness::{Moat, until, until_some};

const REDIS: &str = "moat-test/redis:7";

fn with_redis(moat: &Moat, more: &str) -> bool {
    moat.write(
        "moat.yaml",
        format!("dependencies: [redis@7]\nservices: {{redis: {{image: \"{REDIS}\"{more}}}}}\n"),
    );
    has_image(REDIS)
}

fn diary(moat: &Moat, id: &str) -> String {
    std::fs::read_to_string(moat.run_dir(id).join("supervisor.log")).unwrap_or_default()
}

#[track_caller]
fn assert_noted(moat: &Moat, what: &str) {
    let diary = diary(moat, &moat.only_id());
    assert!(diary.contains(what), "{what} in {diary}");
}

fn count(moat: &Moat, beginning: &str) -> usize {
    let calls = moat.apple_calls();
    calls
        .iter()
        .filter(|call| call.starts_with(beginning))
        .count()
}

pub(crate) fn a_start_that_was_not_heard(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"xpc-interrupted"}"#);
    moat.sh("echo out; echo err >&2; exit 3")
        .stdout("out\n")
        .stderr("err\n")
        .status(3);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["exit_code"], 3, "{record:#}");
    assert_eq!(record["log"]["complete"], true, "{record:#}");
    assert_noted(moat, "trying again");
}

pub(crate) fn a_start_that_is_never_heard(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":-1,"do":"xpc-interrupted"}"#);
    moat.run(["true"])
        .stderr_contains("XPC connection error")
        .status(125);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "start-error", "{record:#}");
    let error = record["error"].as_str().expect("it says why");
    assert!(
        !error.contains("Ensure") && !error.contains('\n'),
        "{error}"
    );
    assert_eq!(count(moat, "start "), 2);
}

/// The failed request may have taken the names.
pub(crate) fn a_start_with_input_that_was_not_heard(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"count":1,"do":"xpc-interrupted"}"#);
    moat.run_with(["-i"], ["cat"])
        .stdin("text\n")
        .stderr_contains("XPC connection error")
        .status(125);
}

/// First the container of the service, then that of the run.
pub(crate) fn a_start_with_services_that_was_not_heard(moat: &Moat) {
    if !with_redis(moat, "") {
        return;
    }
    moat.apple_fault(r#"{"match":["start"],"count":2,"skip":-1,"every":2,"do":"xpc-interrupted"}"#);
    let script = "redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null; exit 3";
    moat.run_with(["--image", REDIS], ["sh", "-c", script])
        .deadline(Duration::from_secs(120))
        .stdout("PONG\n")
        .any_stderr()
        .status(3);
    assert_eq!(count(moat, "start "), 4);
    assert!(moat.networks().is_empty());
}

pub(crate) fn an_image_that_did_not_come_at_once(moat: &Moat) {
    if !has_image(REDIS) {
        return;
    }
    moat.apple_fault(r#"{"match":["image","pull"],"count":2,"do":"xpc-timeout"}"#);
    moat.run_with(["--image", REDIS], ["sh", "-c", "exit 3"])
        .any_stderr()
        .status(3);
    assert_eq!(count(moat, &format!("image pull {REDIS}")), 3);
    assert_noted(moat, "trying again");
}

/// A service that loads files.
const SHELF: &str = r#"
shelf:
  type: service
  description: Keeps things
  default: "1"
  image: moat-test/busybox:{version}
  ports: {default: 7}
  command: trap 'exit 0' TERM; while true; do sleep 0.1; done
  ready: ["true"]
  provision: {key: things, command: [touch, "{item}"]}
"#;

/// An engine that does not serve a readiness command is not a failure of that command.
pub(crate) fn what_a_service_comes_with(moat: &Moat) {
    std::fs::create_dir_all(moat.home().join("registry.d")).expect("registry.d");
    std::fs::write(moat.home().join("registry.d/shelf.yaml"), SHELF).expect("the entry");
    moat.write(
        "moat.yaml",
        "dependencies: [shelf]\nservices: {shelf: {things: [a]}}\n",
    );
    moat.apple_fault(r#"{"match":["exec"],"regex":"touch a","count":2,"do":"xpc-interrupted"}"#);
    moat.sh("exit 3")
        .deadline(Duration::from_secs(120))
        .any_stderr()
        .status(3);
    let touched = moat.apple_calls();
    let touched = touched.iter().filter(|call| call.ends_with("touch a"));
    assert_eq!(touched.count(), 3);
    assert_noted(moat, "trying again");
}

pub(crate) fn a_service_whose_list_fails(moat: &Moat) {
    if !with_redis(moat, "") {
        return;
    }
    moat.apple_fault(r#"{"match":["list"],"count":3,"do":"xpc-interrupted"}"#);
    let script = "redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null";
    moat.run_with(["--image", REDIS], ["sh", "-c", script])
        .deadline(Duration::from_secs(120))
        .stdout("PONG\n")
        .any_stderr()
        .success();
}

/// The same for a restart of the service: it counts every end.
pub(crate) fn a_service_whose_list_fails_later(moat: &Moat) {
    if !with_redis(moat, ", restart: true") {
        return;
    }
    let script = "echo ready; while [ ! -e /workspace/go ]; do sleep 0.05; done; \
        until redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null; do sleep 0.2; done";
    let id = moat.background_with(["--image", REDIS], script);
    moat.wait_log(&id, "ready");
    moat.apple_fault(r#"{"match":["list"],"count":6,"do":"xpc-interrupted"}"#);
    let service = format!("{id}-redis");
    moat.apple(&["kill", &service]);
    let record = until_some("started again and ready", || {
        let record = moat.record(&id);
        let state = &record["services"][0]["state"];
        (record["services"][0]["restarts"] != 0 && state == "ready").then_some(record)
    });
    assert_eq!(record["services"][0]["restarts"], 1, "{record:#}");
    moat.write("go", "");
    moat.args(["wait", &id]).success();
    moat.args(["logs", "--stdout", &id])
        .stdout("ready\nPONG\n")
        .success();
    let record = moat.record(&id);
    assert_eq!(record["services"][0]["log"]["complete"], true, "{record:#}");
    assert!(clients_of(&service).is_empty(), "no client stays behind");
}

/// Returns the engine clients that carry the output of a container.
fn clients_of(handle: &str) -> Vec<String> {
    let end = format!("start\0--attach\0{handle}\0");
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let found = entries.filter(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).ends_with(&end)
    });
    found
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The workload waits at the start gate for its services. If no process is left to open the gate, moat ends the
/// workload.
pub(crate) fn a_supervisor_that_dies_before_the_names(moat: &Moat) {
    if !with_redis(moat, "") {
        return;
    }
    moat.apple_fault(r#"{"match":["list"],"count":-1,"do":"delay","ms":3000}"#);
    let client = moat
        .run_with(["-b", "--image", REDIS], ["touch", "/workspace/ran"])
        .spawn();
    let id = until_some("the container was started", || {
        let calls = moat.apple_calls();
        let id = moat.ids().into_iter().next()?;
        calls
            .contains(&format!("start --attach {id}"))
            .then_some(id)
    });
    until("the container runs", || {
        moat.apple(&["inspect", &id]).contains("running")
    });
    kill_supervisor(moat, &id);
    std::fs::remove_file(moat.root().join("apple/faults")).expect("the rules");
    moat.args(["list", "--quiet"]).any_stdout().success();
    let record = until_some("the run has ended and is cleaned up", || {
        let record = moat.record(&id);
        record["cleaned_at"].is_string().then_some(record)
    });
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"start-error".into()),
        "{record:#}"
    );
    assert_eq!(
        record["error"],
        "its supervisor was killed before the workload started"
    );
    assert!(!moat.workspace().join("ran").exists());
    assert!(moat.containers().is_empty() && moat.networks().is_empty());
    assert_eq!(client.wait().code, Some(125));
}

/// A timeout is not reported as services that are down.
pub(crate) fn a_status_that_hangs(moat: &Moat) {
    moat.short_timeouts();
    moat.apple_fault(r#"{"match":["system","status"],"count":1,"do":"hang"}"#);
    let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
    let text = doctor.stdout_text();
    assert!(text.contains("container did not answer in time"), "{text}");
    assert!(!text.contains("container's services do not run"), "{text}");
}
