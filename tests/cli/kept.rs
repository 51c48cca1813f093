//! Records of earlier versions, in `testdata/records/VERSION` (see the README there): they are read as before. Runs are
//! listed, shown and removed; what was abandoned is adopted; sessions are shown and taken down.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Moat, Runtime};

/// Returns a place whose MOAT_HOME is a copy of the records of an earlier version.
pub(crate) fn place(moat: Moat, kept: &str, into: &str) -> Moat {
    let home = moat.user_home().join(".moat");
    let moat = moat.with_home(&home);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records/0.1");
    copy(&from.join(kept), &home.join(into), &moat.user_home());
    moat
}

/// Copies a directory, with the file modes that moat uses and with the paths of this place.
fn copy(from: &Path, to: &Path, user_home: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target, user_home);
            continue;
        }
        let mut content = fs::read(&path).unwrap();
        if let Ok(text) = std::str::from_utf8(&content) {
            let text = text.replace("/home/me", user_home.to_str().unwrap());
            content = text.into_bytes();
        }
        fs::write(&target, content).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&target, private).unwrap();
    }
}

/// Returns the records of all runs of a place, as they are on disk.
fn records(moat: &Moat) -> Vec<Value> {
    moat.ids().iter().map(|id| moat.record(id)).collect()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap()
}

/// The expected exit code, and the expected text of `moat list`, for each ended run by its name.
const ENDS: [(&str, i32, &str); 20] = [
    ("built", 0, "stopped (0)"),
    ("copy", 0, "stopped (0)"),
    ("copy-saved", 0, "stopped (0)"),
    ("exec", 143, "stopped (user-stop)"),
    ("exited", 0, "stopped (0)"),
    ("failed", 7, "failed (7)"),
    ("hook", 9, "failed (hook-failed)"),
    ("in-session", 0, "stopped (0)"),
    ("kept", 0, "stopped (0)"),
    ("killed", 137, "stopped (killed)"),
    ("lost", 125, "failed (lost)"),
    ("memory", 137, "failed (oom)"),
    ("no-image", 125, "failed (start-error)"),
    ("not-found", 127, "failed (127)"),
    ("ports", 0, "stopped (0)"),
    ("service-failed", 125, "failed (start-error)"),
    ("services", 0, "stopped (0)"),
    ("stopped", 3, "stopped (user-stop)"),
    ("terminal", 4, "failed (4)"),
    ("timeout", 124, "failed (timeout)"),
];

fn end_of(record: &Value) -> (i32, &'static str) {
    let (_, how) = text(record, "name").split_once('-').unwrap();
    let end = ENDS.iter().find(|(name, ..)| *name == how);
    end.map(|(_, code, shown)| (*code, *shown)).unwrap()
}

/// Returns the workload's output in a log, read by the test's own code.
fn output(log: &Path, stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["stream"] != stream {
            continue;
        }
        match &entry["line"] {
            Value::String(text) => bytes.extend(text.as_bytes()),
            // The only bytes in these logs that are not UTF-8.
            _ => {
                assert_eq!(entry["b64"], "dHdv/w==");
                bytes.extend(b"two\xff");
            }
        }
        if entry["eol"] != false {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Removes the members that a record of schema 1 lacks; they have no value.
fn remove_new_members(record: &mut Value) {
    let record = record.as_object_mut().expect("a record");
    for (name, value) in [
        ("dependencies", Value::Array(Vec::new())),
        ("dns", Value::Array(Vec::new())),
        ("gid", 0.into()),
        ("hidden", Value::Array(Vec::new())),
        ("pids", Value::Null),
        ("rebuild", false.into()),
        ("rootfs", Value::Null),
        ("shm_bytes", Value::Null),
        ("start_timeout_seconds", Value::Null),
        ("tmpfs", Value::Array(Vec::new())),
        ("uid", 0.into()),
        ("ulimits", Value::Array(Vec::new())),
        ("workdir", Value::Null),
    ] {
        assert_eq!(record.remove(name), Some(value), "{name}");
    }
}

#[test]
fn runs_that_have_ended_are_listed_as_they_are_recorded() {
    let moat = place(Moat::new(), "ended", "");
    let mut kept = records(&moat);
    assert_eq!(kept.len(), 51);
    kept.sort_by(|a, b| text(b, "created_at").cmp(text(a, "created_at")));
    let call = |args: &[&str]| moat.args(args).env("PATH", "").any_stdout();
    let mut listed = call(&["list", "-a", "--json"]).success().json();
    let members = listed.as_array_mut().expect("a list").iter_mut();
    members.for_each(remove_new_members);
    assert_eq!(listed, Value::from(kept.clone()));
    let list = call(&["list", "-a"]).success().stdout_text();
    let rows: Vec<&str> = list.lines().skip(1).collect();
    assert_eq!(rows.len(), kept.len(), "{list}");
    for (row, record) in rows.iter().zip(&kept) {
        let shown = [
            text(record, "name"),
            text(record, "id"),
            text(record, "runtime"),
            end_of(record).1,
        ];
        for word in shown {
            assert!(row.contains(word), "'{word}' in {row}");
        }
    }
    let status = moat.args(["status", "--json"]).env("PATH", "");
    let status = status.any_stdout().success().json();
    assert_eq!(status["unreadable"], 0);
    assert_eq!(status["active"], Value::Array(Vec::new()));
}

#[test]
fn runs_that_have_ended_are_inspected_and_waited_for_as_they_are_recorded() {
    let moat = place(Moat::new(), "ended", "");
    for record in records(&moat) {
        let id = text(&record, "id");
        let shown = moat.args(["inspect", id]).env("PATH", "");
        let mut shown = shown.any_stdout().success().json();
        remove_new_members(&mut shown);
        assert_eq!(shown, record, "{id}");
        moat.args(["wait", id])
            .env("PATH", "")
            .status(end_of(&record).0);
        moat.args(["stop", "-q", text(&record, "name")])
            .env("PATH", "")
            .success();
    }
}

#[test]
fn logs_of_runs_that_have_ended_are_shown() {
    let moat = place(Moat::new(), "ended", "");
    let (mut services, mut commands) = (0, 0);
    for record in records(&moat) {
        let id = text(&record, "id");
        let dir = moat.run_dir(id);
        let log = dir.join("logs.jsonl");
        let call = |more: &[&str]| moat.args(["logs", id]).args(more).env("PATH", "");
        // moat's own lines come before the workload's.
        let stdout = call(&["--raw", "--stdout"]).stdout(output(&log, "stdout"));
        stdout.any_stderr().success();
        let stderr = call(&["--raw", "--stderr"]).any_stderr().success().stderr;
        assert!(stderr.ends_with(&output(&log, "stderr")), "{id}");
        let json = call(&["--json"]).any_stdout().success().stdout_text();
        assert_eq!(json, fs::read_to_string(&log).unwrap(), "{id}");
        if record["services"] != Value::Array(Vec::new()) {
            let service = output(&dir.join("services/redis.jsonl"), "stdout");
            let call = call(&["--service", "redis", "--raw", "--stdout"]);
            call.stdout(service).any_stderr().success();
            services += 1;
        }
        if dir.join("exec").exists() {
            let command = output(&dir.join("exec/1.jsonl"), "stdout");
            call(&["--exec", "1"]).stdout(command).success();
            commands += 1;
        }
    }
    assert_eq!((services, commands), (4, 4));
    let exited = "docker-exited";
    let call = moat.args(["logs", exited, "--raw"]).env("PATH", "");
    call.stdout(b"one\ntwo\xff\nno end".as_slice())
        .stderr("err\n")
        .success();
}

#[test]
fn a_workspace_that_was_saved_is_exported() {
    let moat = place(Moat::new(), "ended", "");
    let to = moat.root().join("out");
    moat.args(["export", "docker-copy-saved"])
        .arg(&to)
        .any_stderr()
        .success();
    assert_eq!(fs::read_to_string(to.join("made")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "content\n");
}

#[test]
fn volumes_are_listed() {
    let moat = place(Moat::new(), "ended", "");
    let call = moat.args(["volumes", "--json"]).env("PATH", "");
    let volumes = call.any_stdout().any_stderr().success().json();
    let names: Vec<_> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["app/cache", "app/files"]);
}

#[test]
fn runs_that_have_ended_are_cleaned_and_destroyed() {
    // moat asks docker before it removes a run with a kept container, because only docker knows that the container is
    // gone.
    let Some(moat) = Moat::on(Runtime::Docker) else {
        return;
    };
    let moat = place(moat, "ended", "");
    let destroy = |name: &str| {
        moat.args(["destroy", "--force", name])
            .stdout("[ID]\n")
            .success()
    };
    destroy("docker-exited");
    assert_eq!(moat.ids().len(), 50);
    let clean = moat.args(["clean", "--force", "--older-than", "1h"]);
    clean.any_stdout().any_stderr().success();
    // `clean` keeps this run, because it has the only copy of the workload's files.
    let left = records(&moat);
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0]["name"], "docker-copy-saved");
    destroy("docker-copy-saved");
    assert_eq!(moat.ids(), Vec::<String>::new());
}

/// The end of each abandoned run, whose container no longer exists: name, exit code, reason, output.
const ADOPTED: [(&str, i32, &str, &str); 22] = [
    ("docker-created", 125, "start-error", ""),
    ("docker-starting", 125, "start-error", ""),
    ("docker-running", 125, "lost", "before\n"),
    ("docker-services-running", 125, "lost", "with services\n"),
    ("docker-stopping", 143, "user-stop", "up\n"),
    ("docker-ended", 6, "exited", "all\n"),
    ("docker-copy-ended", 0, "exited", ""),
    ("docker-copy-saved", 0, "exited", ""),
    ("podman-created", 125, "start-error", ""),
    ("podman-starting", 125, "start-error", ""),
    ("podman-running", 125, "lost", "before\n"),
    ("podman-ended", 6, "exited", "all\n"),
    ("apple-created", 125, "start-error", ""),
    ("apple-starting", 125, "start-error", ""),
    ("apple-running", 125, "lost", "before\n"),
    ("apple-ended", 6, "exited", "all\n"),
    ("bwrap-created", 125, "start-error", ""),
    ("bwrap-starting", 125, "start-error", ""),
    ("bwrap-running", 125, "lost", "before\n"),
    ("bwrap-stopping", 143, "user-stop", "up\n"),
    ("bwrap-ended", 6, "exited", "all\n"),
    // The sandbox continued without a supervisor; the shim's files have its output and exit code.
    ("bwrap-alone", 9, "exited", "before\nafter\n"),
];

/// Waits for each abandoned run of a runtime. Its supervisor died with the machine that wrote the record.
fn adopts(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let moat = place(moat, "abandoned", "");
    let found = records(&moat);
    assert_eq!(found.len(), ADOPTED.len());
    // Another test covers the runs of other runtimes.
    for other in found.iter().filter(|run| run["runtime"] != runtime.name()) {
        fs::remove_dir_all(moat.run_dir(text(other, "id"))).unwrap();
    }
    for (name, code, reason, output) in ADOPTED {
        let run = found.iter().find(|run| run["name"] == name).unwrap();
        if run["runtime"] != runtime.name() {
            continue;
        }
        let id = text(run, "id");
        moat.args(["wait", id]).any_stderr().status(code);
        let ended = moat.record(id);
        assert_eq!(ended["reason"], reason, "{name}: {ended:#}");
        let logs = moat.args(["logs", id, "--stdout"]).any_stderr();
        logs.stdout(output).success();
        // Adoption leaves these values unchanged.
        for key in ["schema", "name", "command", "created_at", "engine", "image"] {
            assert_eq!(ended[key], run[key], "{name}");
        }
        moat.args(["destroy", "--force", id])
            .any_stderr()
            .stdout("[ID]\n")
            .success();
    }
    assert_eq!(moat.ids(), Vec::<String>::new());
}

#[test]
fn abandoned_runs_on_docker_are_adopted() {
    adopts(Runtime::Docker);
}

#[test]
fn abandoned_runs_on_podman_are_adopted() {
    adopts(Runtime::Podman);
}

#[test]
fn abandoned_runs_on_apple_are_adopted() {
    adopts(Runtime::Apple("1.2.2"));
}

#[test]
fn abandoned_runs_on_bwrap_are_adopted() {
    adopts(Runtime::Bwrap);
}

/// The names that members of a session's record have today: the object that contains the member, the old name, the
/// new name.
const RENAMED: [(&str, &str, &str); 12] = [
    ("operation", "before", "previous_status"),
    ("worktree", "ours", "created_by_moat"),
    ("files", "how", "kind"),
    ("ports", "process", "name"),
    ("ports", "of_compose", "from_compose"),
    ("processes", "again", "existed_before"),
    ("processes", "keeper", "monitor"),
    ("list", "settings", "settings_hash"),
    ("list", "again", "existed_before"),
    ("compose", "asked", "request_pending"),
    ("services", "once", "one_shot"),
    ("services", "again", "existed_before"),
];

/// Renames the members of an old session record to today's names. `parent`: the member that contains the value.
fn with_new_names(value: &mut Value, parent: &str) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| with_new_names(item, parent)),
        Value::Object(members) => {
            for (_, old, new) in RENAMED.iter().filter(|(object, ..)| *object == parent) {
                if let Some(member) = members.remove(*old) {
                    assert!(members.insert((*new).to_owned(), member).is_none(), "{new}");
                }
            }
            for (name, member) in members {
                with_new_names(member, name);
            }
        }
        _ => {}
    }
}

/// Returns a place with the session of this status and its repository, the session's key, and its record.
fn session(status: &str) -> Option<(Moat, String, Value)> {
    let moat = Moat::on(Runtime::Docker)?;
    let moat = place(moat, &format!("sessions/{status}"), "sessions");
    let repository = moat.user_home().join("src/shop");
    crate::sessions::project::init(&moat, &repository);
    let files = fs::read_dir(moat.home().join("sessions")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let is_record = |path: &PathBuf| path.extension().is_some_and(|found| found == "json");
    let path = files.find(is_record).unwrap();
    let record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let key = path.file_stem().unwrap().to_str().unwrap().to_owned();
    Some((moat, key, record))
}

/// Shows a session by its key from another directory, and takes it down, which leaves nothing.
fn is_shown_and_taken_down(status: &str) {
    let Some((moat, key, mut record)) = session(status) else {
        return;
    };
    let call = |args: &[&str]| moat.args(args).any_stdout().any_stderr();
    let shown = call(&["wt", "status", &key, "--json"]).run().json();
    with_new_names(&mut record, "");
    assert_eq!(shown["session"], record);
    assert_eq!(shown["healthy"], false);
    call(&["down", &key]).success();
    assert_gone(&moat);
}

#[track_caller]
fn assert_gone(moat: &Moat) {
    let left = fs::read_dir(moat.home().join("sessions")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn sessions_are_shown_and_taken_down() {
    for status in ["active", "stopped", "broken", "tmux"] {
        is_shown_and_taken_down(status);
    }
}

#[test]
fn what_a_process_of_a_session_wrote_is_shown() {
    let Some((moat, key, _)) = session("active") else {
        return;
    };
    let log = moat.home().join(format!("sessions/{key}/page.jsonl"));
    moat.args(["wt", "logs", &key, "page", "--json"])
        .stdout(fs::read(log).unwrap())
        .success();
}

#[test]
fn sessions_that_were_abandoned_are_recovered() {
    for (status, done) in [("provisioning", "rolled back"), ("stopping", "taken down")] {
        let Some((moat, _, _)) = session(status) else {
            return;
        };
        let recovered = moat.args(["wt", "recover"]).any_stdout();
        recovered.stderr_contains(done).success();
        assert_gone(&moat);
    }
}
