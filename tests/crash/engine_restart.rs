//! The engine dies or restarts during a run. The run ends with a true state, code and complete log, or moat says
//! exactly what is unknown; the client does not hang; nothing is left.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::engine::Engine;
use crate::harness::support::{assert_tidy, is_terminal, settled};
use crate::harness::{IMAGE, Moat, Running, skip, until};

/// Prints a numbered line every 20 ms, and counts in a file, where an engine cannot lose the count. The file only
/// grows, because a rewritten file is empty for a moment.
fn counter(last: u32) -> String {
    format!(
        "i=1; while [ $i -le {last} ]; do echo line-$i; echo $i >> /workspace/count; i=$((i+1)); \
         sleep 0.02; done; exit 7"
    )
}

fn start(moat: &Moat, last: u32) -> (Running, String) {
    let flags = ["--keep", "--image", IMAGE];
    let call = moat.run_with(flags, ["sh", "-c", &counter(last)]);
    let client = call.deadline(Duration::from_secs(90)).spawn();
    client.wait_stdout("line-30\n");
    (client, moat.only_id())
}

fn count(moat: &Moat) -> u32 {
    let text = fs::read_to_string(moat.workspace().join("count")).unwrap();
    u32::try_from(text.lines().count()).unwrap()
}

/// The engine's own facts at the end; the container is kept for that.
fn truth(engine: &Engine, id: &str) -> Value {
    let output = engine.docker(&["inspect", "--format", "{{json .State}}", id]);
    serde_json::from_slice(&output.stdout).expect("the engine knows the container")
}

/// The client ends by itself; then record, log and engine agree, and nothing is left.
#[track_caller]
fn assert_true(moat: &Moat, engine: &Engine, client: Running, id: &str) -> Value {
    let done = client.wait();
    let record = moat.record(id);
    assert!(is_terminal(&record), "the client came first: {record:#}");
    let truth = truth(engine, id);
    assert_eq!(
        record["exit_code"], truth["ExitCode"],
        "{record:#}\n{truth:#}"
    );
    let code = record["exit_code"].as_i64().map(|code| code as i32);
    assert_eq!(done.code, code, "{done}");
    assert_kept(moat, id, &record, &done.stdout_text());
    moat.args(["destroy", id]).any_stdout().success();
    assert!(engine.docker(&["ps", "-aq"]).stdout.is_empty());
    record
}

#[track_caller]
fn assert_kept(moat: &Moat, id: &str, record: &Value, streamed: &str) {
    let call = moat.args(["logs", "--raw", id]);
    let log = call.any_stdout().any_stderr().success();
    let kept = log.stdout_text();
    let lines: Vec<&str> = kept.lines().collect();
    let expected: Vec<String> = (1..=count(moat)).map(|i| format!("line-{i}")).collect();
    assert!(expected.len() >= 30, "it ran");
    if record["log"]["complete"] == true {
        // A workload that was killed between a line and its count has printed one more line than it counted.
        let whole = lines.starts_with(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(whole && lines.len() <= expected.len() + 1, "{kept}");
    } else {
        assert!(record["log"]["missing_since"].is_string(), "{record:#}");
        assert!(record["log"]["missing_why"].is_string(), "{record:#}");
        // Lines may be missing, but none may appear twice or out of order.
        let numbers: Vec<u32> = lines
            .iter()
            .map(|line| line[5..].parse().unwrap())
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{kept}");
        let all = fs::read_to_string(moat.run_dir(id).join("logs.jsonl")).unwrap();
        assert!(
            all.contains(r#""stream":"moat""#),
            "the log reports it, too: {all}"
        );
    }
    // The workload wrote nothing there; the messages of the engine client are not its output.
    let call = moat.args(["logs", "--raw", "--stderr", id]);
    assert_eq!(call.any_stderr().success().stderr_text(), noted(record));
    assert_eq!(streamed, kept, "the client saw what was kept");
}

/// The note of `logs` before an incomplete log.
fn noted(record: &Value) -> String {
    match record["log"]["missing_why"].as_str() {
        Some(why) => format!("note: this log is incomplete: {why}\n"),
        None => String::new(),
    }
}

#[test]
fn dockerd_is_killed_and_started_again() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 100_000);
    engine.kill_dockerd();
    engine.up();
    // Without live-restore a starting dockerd ends the containers that it finds.
    assert_true(&moat, &engine, client, &id);
}

#[test]
fn dockerd_is_killed_and_the_workload_ends_meanwhile() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 100);
    engine.kill_dockerd();
    until("the workload has printed all lines", || count(&moat) == 100);
    engine.up();
    assert_true(&moat, &engine, client, &id);
}

#[test]
fn dockerd_and_containerd_are_killed() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 100_000);
    engine.kill_both();
    engine.up();
    assert_true(&moat, &engine, client, &id);
}

#[test]
fn containerd_alone_is_killed() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    // Long enough that the container outlives the start of another dockerd.
    let (client, id) = start(&moat, 1_000_000);
    engine.kill_containerd();
    until("dockerd has started another", || engine.has_containerd());
    let seen = count(&moat);
    until("the container goes on", || count(&moat) > seen + 10);
    engine.docker(&["kill", &id]);
    if !engine_sees_the_end(&engine, &id) {
        skip("this engine lost the exit of the container: it says 'running' for ever");
        engine.docker(&["rm", "-f", &id]);
        return;
    }
    assert_true(&moat, &engine, client, &id);
}

/// Docker 20.10 rarely misses the end while its containerd starts again.
fn engine_sees_the_end(engine: &Engine, id: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    while truth(engine, id)["Status"] == "running" {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

#[test]
fn dockerd_is_restarted_gracefully() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 100_000);
    engine.terminate();
    engine.up();
    assert_true(&moat, &engine, client, &id);
}

/// The containers continue, and so does the run, to its own end.
#[test]
fn dockerd_with_live_restore_is_killed() {
    let Some(mut engine) = Engine::start(&["--live-restore"]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 300);
    engine.kill_dockerd();
    engine.up();
    let record = assert_true(&moat, &engine, client, &id);
    assert_eq!(record["exit_code"], 7, "{record:#}");
}

#[test]
fn dockerd_with_live_restore_is_restarted_gracefully() {
    let Some(mut engine) = Engine::start(&["--live-restore"]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 300);
    engine.terminate();
    engine.up();
    let record = assert_true(&moat, &engine, client, &id);
    assert_eq!(record["exit_code"], 7, "{record:#}");
}

/// The engine and the supervisor die together, as when the machine runs out of memory.
#[test]
fn dockerd_and_the_supervisor_are_killed() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let flags = ["-b", "--image", IMAGE];
    let call = moat.run_with(flags, ["sh", "-c", &counter(100_000)]);
    let id = call.any_stdout().success().stdout_text().trim().to_owned();
    moat.wait_log(&id, "line-30\"");
    crate::harness::support::kill_supervisor(&moat, &id);
    engine.kill_dockerd();
    crate::harness::support::list(&moat);
    assert_eq!(moat.record(&id)["state"], "running", "nobody can know more");
    engine.up();
    // The first adopting supervisor may still ask the dead engine; one more command must be enough.
    let record = moat.args(["wait", &id]).any_stderr().any_stdout().run();
    assert!(record.code.is_some_and(|code| code != 0), "{record}");
    let record = settled(&moat, &id);
    assert_tidy(&moat, &id, &record);
    assert!(engine.docker(&["ps", "-aq"]).stdout.is_empty());
}

/// As long as the engine is down, the end of the run is unknown, and the record says so.
#[test]
fn without_an_engine_the_run_waits_for_it() {
    let Some(mut engine) = Engine::start(&[]) else {
        return;
    };
    let moat = engine.place();
    let (client, id) = start(&moat, 200);
    engine.kill_dockerd();
    until("the workload has printed all lines", || count(&moat) == 200);
    let record = moat.record(&id);
    assert!(!is_terminal(&record), "nobody can know the end: {record:#}");
    engine.up();
    assert_true(&moat, &engine, client, &id);
}
