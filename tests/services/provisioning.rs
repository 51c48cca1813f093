//! Provisioning: an item is downloaded once and kept for all runs, never twice at the same time, and a run that is
//! stopped or killed meanwhile leaves nothing broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::support::{NEVER_STARTED, assert_ended, kill_supervisor, list, settled};
use crate::harness::{IMAGE, Runtime, Signal, until};
use crate::services::place::{OLLAMA, Place, between, lookup_attempts};

/// Returns a moat.yaml for a workload with these models.
fn models(names: &str, seconds: &str) -> String {
    format!(
        "base_image: {IMAGE}\ndependencies: [ollama]\nservices:\n  ollama:\n    image: {OLLAMA}\n    \
         models: [{names}]\n    env: {{STANDIN_PULL_SECONDS: '{seconds}'}}\n"
    )
}

/// Returns the downloads so far, in order.
fn pulls(place: &Place) -> Vec<String> {
    let text = fs::read_to_string(place.home().join("cache/ollama/pulls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns the time at which a line with this end was written to the run's log. These times compare as texts.
#[track_caller]
fn time_of(place: &Place, id: &str, end: &str) -> String {
    let log = fs::read_to_string(place.run_dir(id).join("logs.jsonl")).expect("a log");
    let mut lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let found = lines.find(|entry| {
        entry["stream"] == "moat"
            && entry["line"]
                .as_str()
                .is_some_and(|line| line.ends_with(end))
    });
    let found = found.unwrap_or_else(|| panic!("'{end}' in {log}"));
    found["ts"].as_str().expect("a time").to_owned()
}

pub(crate) fn got_once_and_kept(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("tiny-a, 'lib/b:1b'", "0.2"));
    let attempts = lookup_attempts(runtime);
    let script = &format!(
        "get() {{ for attempt in {attempts}; do wget -q -O - \"$1\" && break; sleep 0.2; done; echo; }}\n\
         get \"$MOAT_OLLAMA_URL\"; get $MOAT_OLLAMA_HOST:$MOAT_OLLAMA_PORT"
    );
    let running = "Ollama is running\nOllama is running\n";
    let done = place.go(&[], script).stdout(running).any_stderr().success();
    let said = done.stderr_text();
    let lines: Vec<&str> = said.lines().collect();
    for line in [
        "ollama: getting tiny-a (1 of 2)",
        "  ollama: pulling manifest",
        "  ollama: success",
        "ollama: tiny-a is there",
        "ollama: getting lib/b:1b (2 of 2)",
        "ollama: lib/b:1b is there",
    ] {
        assert!(lines.contains(&line), "{line} in {said}");
    }
    assert!(!said.contains(['\r', '\u{1b}']), "{said:?}");
    assert_eq!(pulls(&place), ["tiny-a", "lib/b:1b"]);
    let cache = place.home().join("cache/ollama");
    for dir in [cache.parent().expect("it has one"), &cache] {
        let mode = fs::metadata(dir).expect("a directory").permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", dir.display());
    }

    // The run's log and the service's log have the same lines.
    let id = place.only_id();
    let log = place.args(["logs", &id]).stdout(running).any_stderr();
    let log = log.success().stderr_text();
    assert!(log.contains("moat: ollama: pulling manifest\n"), "{log}");
    assert!(log.contains("moat: ollama: tiny-a is there\n"), "{log}");
    let own = place.args(["logs", &id, "--service", "ollama"]);
    let own = own.any_stderr().success().stderr_text();
    assert!(own.contains("moat: pulling manifest\n"), "{own}");
    assert!(own.contains("a stand-in for Ollama"), "{own}");
    let json = place.args(["logs", &id, "--json"]).any_stdout();
    let json = json.success().stdout_text();
    let mut entries = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let entry = entries.find(|entry| entry["line"] == "ollama: success");
    assert_eq!(entry.expect("the line")["stream"], "moat");

    // The second run downloads nothing.
    let done = place.go(&[], script).stdout(running).any_stderr().success();
    let said = done.stderr_text();
    assert!(said.contains("ollama: lib/b:1b is there\n"), "{said}");
    assert!(!said.contains("pulling"), "{said}");
    assert_eq!(pulls(&place).len(), 2);

    // A name that begins with the name of an existing model is another model.
    place.moat_yaml(&models("'tiny-a:2', tiny", "0.1"));
    place.quiet("true").success();
    assert_eq!(pulls(&place)[2..], ["tiny-a:2", "tiny"]);
}

pub(crate) fn nothing_to_get(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("", "1"));
    place.quiet("echo hi").stdout("hi\n").success();
    place.moat_yaml(&beside_waiting());
    place.quiet("echo hi").stdout("hi\n").success();
    assert_eq!(pulls(&place).len(), 0);
}

/// `wait: false` is valid with an empty list of models.
fn beside_waiting() -> String {
    models("", "1") + "    wait: false\n"
}

pub(crate) fn two_runs_that_want_the_same(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("same", "1"));
    let runs = [place.quiet("true").spawn(), place.quiet("true").spawn()];
    for run in runs {
        let done = run.wait();
        assert_eq!(
            (done.code, done.stderr_text().as_str()),
            (Some(0), ""),
            "{done}"
        );
    }
    assert_eq!(pulls(&place), ["same"]);
    place.assert_nothing_left();
}

pub(crate) fn two_runs_that_want_different_ones(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    let runs = ["one", "two"].map(|name| {
        place.moat_yaml(&models(name, "3"));
        let run = place.go(&["--name", name], "true").spawn();
        // The run has read moat.yaml by now.
        run.wait_stderr("ollama: starting");
        run
    });
    for run in runs {
        let done = run.wait();
        assert_eq!(done.code, Some(0), "{done}");
    }
    let span = |id: &String| {
        let time = |end| time_of(&place, id, end);
        (time("pulling manifest"), time("success"))
    };
    let spans: Vec<_> = place.ids().iter().map(span).collect();
    assert!(
        spans[0].0 < spans[1].1 && spans[1].0 < spans[0].1,
        "at the same time: {spans:?}"
    );
    let first = spans.iter().map(|span| &span.0).min().expect("two");
    let last = spans.iter().map(|span| &span.1).max().expect("two");
    let took = between(first, last);
    assert!(took < 5.0, "in turn it takes 6 s: {took}");
    assert_eq!(pulls(&place).len(), 2);
}

pub(crate) fn one_that_does_not_exist(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("there, missing-x", "0.1"));
    let done = place.quiet("echo it runs").any_stderr().status(125);
    let said = done.stderr_text();
    assert!(
        said.starts_with(
            "error: service ollama: cannot get missing-x: 'ollama pull missing-x' ended with exit code 1: "
        ),
        "{said}"
    );
    // The engine does not say which of two lines on two streams came first.
    let told = said.lines().next().expect("a line");
    for part in [
        "Error: pull model manifest: file does not exist",
        "pulling manifest",
    ] {
        assert!(told.contains(part), "{said}");
    }
    assert!(
        said.ends_with("\n  hint: check the name under services.ollama.models in moat.yaml\n"),
        "{said}"
    );
    let id = place.only_id();
    assert_ended(&place, &id, NEVER_STARTED);
    assert_eq!(place.service(&id, "ollama")["state"], "failed");
    place.assert_nothing_left();
    // Models that were downloaded before stay.
    place.moat_yaml(&models("there", "0.1"));
    place.quiet("true").success();
    assert_eq!(pulls(&place), ["there", "missing-x"]);
}

/// After Ctrl-C during a download, the next run continues that download.
pub(crate) fn interrupted(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("big", "30"));
    let client = place.go(&[], "true").spawn();
    client.wait_stderr("  ollama: pulling manifest");
    until("the lock of the download exists", || {
        place.home().join("locks/ollama-big").exists()
    });
    let began = Instant::now();
    client.signal(Signal::INT);
    let done = client.wait();
    assert_eq!(done.code, Some(130), "{done}");
    // The whole download would take half a minute.
    assert!(began.elapsed() < Duration::from_secs(10), "soon: {done}");
    let id = place.only_id();
    let record = settled(&place, &id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into())
    );
    assert_eq!(place.service(&id, "ollama")["state"], "stopped");
    place.assert_nothing_left();
    usable(&place);
}

/// The same after the supervisor was killed: the next command repairs everything.
pub(crate) fn killed(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("big", "30"));
    let client = place.go(&[], "true").spawn();
    client.wait_stderr("  ollama: pulling manifest");
    let id = place.only_id();
    kill_supervisor(&place, &id);
    let done = client.wait();
    assert_eq!(done.code, Some(125), "{done}");
    list(&place);
    assert_ended(&place, &id, NEVER_STARTED);
    place.assert_nothing_left();
    usable(&place);
}

/// Another run gets the model of the interrupted run, and one more.
#[track_caller]
fn usable(place: &Place) {
    place.moat_yaml(&models("big, small", "0.1"));
    place.quiet("echo hi").stdout("hi\n").success();
    place.quiet("echo hi").stdout("hi\n").success();
    assert_eq!(pulls(place), ["big", "big", "small"]);
    place.assert_nothing_left();
}

/// A run that waits for another run's download can be stopped, and the other run continues.
pub(crate) fn stopped_while_another_one_gets_it(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[OLLAMA]) else {
        return;
    };
    place.moat_yaml(&models("same", "0.3"));
    let first = place
        .go(&["--name", "first"], "true")
        .checkpoint("provisioning");
    let first = first.spawn();
    place.wait_checkpoint("provisioning");
    let second = place.go(&["--name", "second"], "true").spawn();
    second.wait_stderr("ollama: getting same (1 of 1)");
    let began = Instant::now();
    second.signal(Signal::TERM);
    let done = second.wait();
    assert_eq!(done.code, Some(143), "{done}");
    // The first run is still at its checkpoint, so the second did not wait for it.
    assert!(began.elapsed() < Duration::from_secs(10), "soon: {done}");
    place.release_checkpoint("provisioning");
    let done = first.wait();
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(pulls(&place), ["same"]);
    place.assert_nothing_left();
}
