//! A service that fails makes its run fail soon. The error has the service's name, its last output and a hint, and no
//! resource is left.

use std::time::Duration;

use serde_json::Value;

use crate::harness::support::{NEVER_STARTED, assert_ended};
use crate::harness::{Done, IMAGE, Runtime};
use crate::services::place::{MARIADB, OLLAMA, POSTGRES, Place, REDIS, beside};

/// The longest time until the run fails: well below the service's 60 s timeout, because moat need not wait for a
/// visible failure. The stand-in for apple is slow.
fn soon(place: &Place) -> Duration {
    Duration::from_secs(if place.is_on_apple() { 40 } else { 15 })
}

/// Runs with a service that fails. Returns the output, and the service's record.
#[track_caller]
fn fails(place: &Place, yaml: &str, name: &str) -> (Done, Value) {
    place.moat_yaml(yaml);
    let before = place.ids();
    let done = place.quiet("echo it runs").any_stderr().status(125);
    let id = place.ids().into_iter().find(|id| !before.contains(id));
    let id = id.expect("a run");
    let record = assert_ended(place, &id, NEVER_STARTED);
    assert!(record["started_at"].is_null(), "{record:#}");
    let said = done.stderr_text();
    let error = record["error"].as_str().expect("why");
    assert!(
        said.starts_with(&format!("error: {error}\n")),
        "the record has\n{error}\nbut stderr is\n{said}"
    );
    let service = place.service(&id, name);
    assert_eq!(service["state"], "failed", "{service:#}");
    // The record has the error without the end of the service's log.
    let brief = error.lines().next().expect("a line");
    let brief = brief.trim_end_matches("; the end of its log:");
    assert_eq!(service["error"], brief, "{service:#}");
    assert!(!service["ended_at"].is_null(), "{service:#}");
    let inspected = place.args(["inspect", &id, "--json"]).any_stdout();
    assert_eq!(inspected.success().json(), record);
    place.args(["wait", &id]).status(125);
    place.assert_nothing_left();
    (done, service)
}

pub(crate) fn an_image_that_cannot_be_had(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    let yaml = beside("postgres@15", "postgres: {image: 'moat-test/no-such:9'}");
    let (done, _) = fails(&place, &yaml, "postgres");
    let said = done.stderr_text();
    let message = "error: service postgres: cannot pull the image 'moat-test/no-such:9': ";
    assert!(said.starts_with(message), "{said}");
    assert!(
        said.contains("\n  hint: name an image that is there with 'image' under services.postgres"),
        "{said}"
    );
    assert!(done.took < Duration::from_secs(30), "{done}");
}

pub(crate) fn a_command_that_is_not_there(runtime: Runtime) {
    let Some(mut place) = Place::with(runtime, &[]) else {
        return;
    };
    let image = place.image(&format!(
        "FROM {IMAGE}\nENTRYPOINT [\"/no/such/program\"]\n"
    ));
    let yaml = beside("postgres@15", &format!("postgres: {{image: '{image}'}}"));
    let (done, _) = fails(&place, &yaml, "postgres");
    let said = done.stderr_text();
    // The init of podman, which starts the program, does not name it.
    let what = match runtime.is_podman() {
        true => "failed to exec pid1: No such file or directory",
        false => "/no/such/program",
    };
    for part in [
        "error: service postgres: ",
        what,
        "\n  hint: check what services.postgres in moat.yaml sets, such as env and image\n",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(done.took < soon(&place), "{done}");

    // The shell in the container looks for this program and prints the error itself.
    let yaml = beside("redis@7", &format!("redis: {{image: '{IMAGE}'}}"));
    let (done, service) = fails(&place, &yaml, "redis");
    assert_eq!(
        done.stderr_text(),
        "error: service redis: ended with exit code 127, before it was ready; the end of its log:\n  \
         /bin/sh: exec: line 1: docker-entrypoint.sh: not found\n  \
         hint: check what services.redis in moat.yaml sets, such as env and image\n"
    );
    assert_eq!(service["exit_code"], 127, "{service:#}");
    assert!(done.took < soon(&place), "{done}");
}

pub(crate) fn one_that_ends_at_once(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[POSTGRES]) else {
        return;
    };
    let yaml = beside(
        "postgres@15",
        &format!("postgres: {{image: '{POSTGRES}', env: {{POSTGRES_PASSWORD: ''}}}}"),
    );
    let (done, service) = fails(&place, &yaml, "postgres");
    assert_eq!(
        done.stderr_text(),
        "error: service postgres: ended with exit code 1, before it was ready; the end of its log:\n  \
         Error: Database is uninitialized and superuser password is not specified.\n         \
         You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.\n  \
         hint: check what services.postgres in moat.yaml sets, such as env and image\n"
    );
    assert_eq!(service["exit_code"], 1, "{service:#}");
    assert_eq!(service["oom_killed"], false, "{service:#}");
    assert!(done.took < soon(&place), "{done}");
}

/// Also with exit code 0 and without output, in the background, and as JSON.
pub(crate) fn one_that_ends_well_before_it_is_ready(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    let yaml = beside("postgres@15", &format!("postgres: {{image: '{IMAGE}'}}"));
    let (done, service) = fails(&place, &yaml, "postgres");
    let expected = "error: service postgres: ended with exit code 0, before it was ready\n  \
                    hint: check what services.postgres in moat.yaml sets, such as env and image\n";
    assert_eq!(done.stderr_text(), expected);
    assert_eq!(service["exit_code"], 0, "{service:#}");
    place
        .go(&["--quiet", "-b"], "true")
        .stderr(expected)
        .status(125);
    let done = place.go(&["--json"], "true").any_stderr().status(125);
    let error: Value = serde_json::from_slice(&done.stderr).expect("one document");
    let error = &error["error"];
    assert_eq!(error["kind"], "runtime", "{error:#}");
    assert_eq!(
        error["message"],
        "service postgres: ended with exit code 0, before it was ready"
    );
    let hint = error["hint"].as_str().expect("a hint");
    assert!(hint.contains("services.postgres"), "{hint}");
}

/// The server runs but never answers as it should, so the service fails at its timeout.
pub(crate) fn one_that_is_never_ready(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    let yaml = beside(
        "postgres@15",
        &format!("postgres: {{image: '{REDIS}', timeout: 6s}}"),
    );
    let (done, service) = fails(&place, &yaml, "postgres");
    let said = done.stderr_text();
    let message = "error: service postgres: not ready after 6 s; the end of its log:\n  ";
    assert!(said.starts_with(message), "{said}");
    assert!(said.contains("Ready to accept connections\n"), "{said}");
    assert!(
        said.ends_with(
            "\n  hint: if it only needs longer, set 'timeout' under services.postgres in moat.yaml; \
             'wait: false' there starts the run without waiting for it\n"
        ),
        "{said}"
    );
    assert!(
        done.took >= Duration::from_secs(3) && done.took < soon(&place),
        "{done}"
    );
    assert_eq!(service["exit_code"], Value::Null, "{service:#}");
}

/// The error shows the last output of the readiness command, if there is any.
pub(crate) fn what_the_readiness_command_says(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.registry(
        "slow:\n  type: service\n  description: Never ready\n  image: moat-test/busybox:{version}\n  default: '1'\n  \
         ports: {default: 1}\n  command: exec sleep 100\n  ready: echo still at it; exit 1\n"
    );
    let yaml = beside("slow", "slow: {timeout: 4s}");
    let (done, _) = fails(&place, &yaml, "slow");
    let said = done.stderr_text();
    let message = "error: service slow: not ready after 4 s; its readiness command said last: \
                   still at it\n  hint: ";
    assert!(said.starts_with(message), "{said}");

    // A readiness command that hangs has no output, and the error does not blame the engine.
    let entry = place.home().join("registry.d/test.yaml");
    let text = std::fs::read_to_string(&entry).expect("the entry");
    place.registry(&text.replace("echo still at it; exit 1", "sleep 100"));
    let yaml = yaml.replace("4s", "2s");
    let (done, _) = fails(&place, &yaml, "slow");
    let said = done.stderr_text();
    let message = "error: service slow: not ready after 2 s\n  hint: ";
    assert!(said.starts_with(message), "{said}");
}

/// The image is of other software: it runs, but lacks the program of the readiness command.
pub(crate) fn one_that_nothing_can_ask(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    let yaml = beside("postgres@15", &format!("postgres: {{image: '{OLLAMA}'}}"));
    let (done, _) = fails(&place, &yaml, "postgres");
    let said = done.stderr_text();
    let message = "error: service postgres: its readiness command cannot be run: ";
    assert!(said.starts_with(message), "{said}");
    assert!(
        said.contains("\n  hint: check 'image' under services.postgres in moat.yaml;"),
        "{said}"
    );
    assert!(done.took < soon(&place), "{done}");
}

/// A ready service that dies fails the run before the workload starts.
pub(crate) fn one_that_dies_while_another_starts(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    place.registry(
        "slow:\n  type: service\n  description: Never ready\n  image: moat-test/busybox:{version}\n  default: '1'\n  \
         ports: {default: 1}\n  command: exec sleep 100\n  ready: exit 1\n",
    );
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [redis@7, slow]\nservices: {{redis: {{image: '{REDIS}'}}}}\n"
    ));
    let running = place.go(&[], "echo never").any_stderr().spawn();
    running.wait_stderr("redis: ready after");
    let id = place.only_id();
    place.kill_service(&id, "redis");
    let done = running.wait();
    assert_eq!(done.code, Some(125), "{done}");
    let said = done.stderr_text();
    assert!(
        said.contains("error: service redis: ended with exit code 137, before the run began"),
        "{said}"
    );
    assert!(done.stdout_text().is_empty(), "{done}");
    place.assert_nothing_left();
}

/// The last output of a service can have long lines.
pub(crate) fn long_lines_are_cut(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.registry(
        "loud:\n  type: service\n  description: Loud\n  image: moat-test/busybox:{version}\n  default: '1'\n  \
         ports: {default: 1}\n  command: for n in 1 2 3; do head -c 60000 /dev/zero | tr '\\\\0' x; echo; done; exit 3\n  \
         ready: exit 1\n",
    );
    let yaml = beside("loud", "loud: {}");
    let (done, _) = fails(&place, &yaml, "loud");
    assert!(done.stderr_text().len() < 5000, "{done}");
}

pub(crate) fn one_that_needs_more_memory(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[MARIADB]) else {
        return;
    };
    let yaml = beside(
        "mariadb@10.11",
        &format!("mariadb: {{image: '{MARIADB}', memory: 6}}"),
    );
    let (done, service) = fails(&place, &yaml, "mariadb");
    let said = done.stderr_text();
    assert!(
        said.starts_with(
            "error: service mariadb: killed by the kernel, as it needs more than its memory limit \
             of 6 MB, before it was ready; the end of its log:\n  "
        ),
        "{said}"
    );
    assert!(
        said.ends_with(
            "\n  hint: give it more with 'memory' under services.mariadb in moat.yaml\n"
        ),
        "{said}"
    );
    assert_eq!(service["oom_killed"], true, "{service:#}");
    assert!(done.took < soon(&place), "{done}");
}

/// When one service fails, moat stops waiting for the others, and does not blame them.
pub(crate) fn one_of_several(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [redis@7, postgres@15]\nservices:\n  \
         redis: {{image: '{REDIS}'}}\n  never: {{service: postgres, image: '{REDIS}'}}\n  \
         postgres: {{image: '{IMAGE}'}}\n"
    ));
    let done = place
        .quiet("echo it runs")
        .stderr_contains("error: service postgres: ended with exit code 0")
        .status(125);
    assert!(done.took < soon(&place), "{done}");
    let id = place.only_id();
    assert_ended(&place, &id, NEVER_STARTED);
    assert_eq!(place.service(&id, "redis")["state"], "stopped");
    assert_eq!(place.service(&id, "never")["state"], "stopped");
    assert_eq!(place.service(&id, "postgres")["state"], "failed");
    place.assert_nothing_left();
}

/// If the workload's image is missing, moat does not wait for the services, and removes them.
pub(crate) fn the_image_of_the_workload(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    place.moat_yaml(&format!(
        "base_image: moat-test/no-such:9\ndependencies: [postgres@15]\nservices:\n  \
         postgres: {{image: '{REDIS}'}}\n"
    ));
    let done = place
        .quiet("true")
        .stderr_contains("error: ")
        .stderr_contains("moat-test/no-such:9")
        .status(125);
    assert!(done.took < soon(&place), "{done}");
    let id = place.only_id();
    assert_ended(&place, &id, NEVER_STARTED);
    // The service may or may not have started by then.
    let state = place.service(&id, "postgres")["state"].clone();
    assert!(state == "stopped" || state == "created", "{state}");
    place.assert_nothing_left();
}
