//! Each command once, in its usual form.

use std::process::Stdio;

use serde_json::Value;

use crate::cli::fixture::{FIRST, plant};
use crate::cli::kept;
use crate::harness::{Moat, Runtime, assert_snapshot};
use crate::smoke::session::project;
use crate::smoke::{on, place};

/// Returns a place with one run that has ended.
fn with_ended_run() -> Option<Moat> {
    let moat = place()?;
    plant(&moat, FIRST, "stopped");
    Some(moat)
}

pub(super) fn run() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    moat.sh("echo out; echo err >&2; exit 3")
        .stdout("out\n")
        .stderr("err\n")
        .status(3);
    let plan = moat.run_with(["--dry-run", "--json"], ["true"]);
    assert_eq!(plan.any_stdout().success().json()["runtime"], "bwrap");
}

pub(super) fn check() {
    let Some(moat) = place() else { return };
    moat.write(
        "moat.yaml",
        "dependencies: [node@22, jq]\ncommand: [npm, test]\n",
    );
    moat.args(["check"]).stderr("nothing is wrong\n").success();
}

pub(super) fn logs() {
    let Some(moat) = with_ended_run() else { return };
    moat.args(["logs"]).stdout("hello\n").success();
    moat.args(["logs", "-f", "-t", "stopped"])
        .stdout("2026-01-31T12:00:01.500000Z hello\n")
        .success();
}

pub(super) fn list() {
    let Some(moat) = with_ended_run() else { return };
    let id = format!("{FIRST}\n");
    moat.args(["list", "-aq"]).stdout(id).success();
    let list = moat.args(["list", "-a"]).any_stdout().success();
    assert!(list.stdout_text().contains("stopped (0)"), "{list}");
}

pub(super) fn wait() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let id = moat.background("sleep 0.2; exit 3");
    moat.args(["wait", &id]).status(3);
}

pub(super) fn stop() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let id = moat.background("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done");
    moat.wait_log(&id, "up");
    moat.args(["stop", &id]).stdout("[ID]\n").success();
    assert_eq!(moat.record(&id)["reason"], "user-stop");
    assert_eq!(moat.record(&id)["exit_code"], 5);
}

pub(super) fn kill() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let id = moat.background("sleep 1000");
    moat.args(["kill", &id]).stdout("[ID]\n").success();
    assert_eq!(moat.record(&id)["reason"], "killed");
}

pub(super) fn exec() {
    let Some(moat) = on(Runtime::Docker) else {
        return;
    };
    let id = moat.background("sleep 1000");
    moat.args(["exec", "-i", &id, "--", "sh", "-c", "cat; exit 4"])
        .stdin("in\n")
        .stdout("in\n")
        .status(4);
    moat.args(["kill", &id]).stdout("[ID]\n").success();
}

pub(super) fn inspect() {
    let Some(moat) = with_ended_run() else { return };
    let shown = moat.args(["inspect", "stopped"]).any_stdout().success();
    assert_eq!(shown.json()["id"], FIRST);
}

pub(super) fn services() {
    let Some(moat) = place() else { return };
    let moat = kept::place(moat, "ended", "");
    let call = moat.args(["services", "docker-services", "--json"]);
    let services = call.any_stdout().success().json();
    assert_eq!(services[0]["name"], "redis");
    assert_eq!(services[0]["state"], "stopped");
}

pub(super) fn export() {
    let Some(moat) = place() else { return };
    let moat = kept::place(moat, "ended", "");
    let call = moat.args(["export", "docker-copy-saved", "out"]);
    call.any_stderr().success();
    let made = std::fs::read_to_string(moat.workspace().join("out/made"));
    assert_eq!(made.unwrap(), "new\n");
}

pub(super) fn destroy() {
    let Some(moat) = with_ended_run() else { return };
    moat.args(["destroy", "stopped"]).stdout("[ID]\n").success();
    assert_eq!(moat.ids(), Vec::<String>::new());
}

pub(super) fn clean() {
    let Some(moat) = on(Runtime::Docker) else {
        return;
    };
    plant(&moat, FIRST, "stopped");
    let call = moat.args(["clean", "--force", "--older-than", "1h", "--json"]);
    let found = call.any_stdout().any_stderr().success().json();
    assert_eq!(found["runs"], Value::from(vec![FIRST]));
    assert_eq!(found["removed"], true);
    assert_eq!(moat.ids(), Vec::<String>::new());
}

pub(super) fn volumes() {
    let Some(moat) = place() else { return };
    let moat = kept::place(moat, "ended", "");
    let list = moat.args(["volumes"]).any_stdout().any_stderr().success();
    assert!(list.stdout_text().contains("app/files"), "{list}");
    moat.args(["volumes", "rm", "--force", "app/files"])
        .any_stdout()
        .any_stderr()
        .success();
    assert!(!moat.home().join("volumes/app/files").exists());
}

pub(super) fn up() {
    let Some(project) = project() else { return };
    let shown = project.ok(&["up", "a"]).stdout_text();
    assert!(shown.contains("a: active, slot 1"), "{shown}");
    project.ok(&["down", "a"]);
}

pub(super) fn down() {
    let Some(project) = project() else { return };
    project.up("a");
    project.up("b");
    let ended = project.json(&["down", "--all"]);
    assert_eq!(ended.as_array().map(Vec::len), Some(2), "{ended}");
    project.assert_nothing();
}

pub(super) fn wt() {
    let Some(project) = project() else { return };
    project
        .call(&["wt", "list", "--json"])
        .stdout("[]\n")
        .success();
    project.up("a");
    if crate::smoke::on(Runtime::Bwrap).is_some() {
        let call = project
            .moat
            .args(["wt", "a", "--quiet", "--", "cat", "page"]);
        let call = call.env("MOAT_RUNTIME", "bwrap").any_stderr();
        call.stdout_contains("main\n").success();
    }
    project.ok(&["down", "a"]);
}

pub(super) fn shell() {
    let Some(project) = project() else { return };
    project.up("a");
    let call = project.moat.args(["shell", "a"]).env("SHELL", "env");
    call.stdout_contains("MOAT_BRANCH=a\n").success();
    project.ok(&["down", "a"]);
}

pub(super) fn whose() {
    let Some(moat) = place() else { return };
    let pid = std::process::id().to_string();
    let call = moat.args(["whose", &pid, "--json"]);
    let found = call.any_stdout().status(1).json();
    assert_eq!(found["owned"], false);
}

pub(super) fn deps() {
    let Some(moat) = place() else { return };
    let list = moat.args(["deps", "list", "--json"]);
    let list = list.any_stdout().success().json();
    let names = list.as_array().unwrap().iter().map(|entry| &entry["name"]);
    assert!(names.into_iter().any(|name| name == "node"), "{list}");
    let info = moat.args(["deps", "info", "node"]).any_stdout().success();
    assert!(info.stdout_text().contains("node"), "{info}");
}

pub(super) fn status() {
    let Some(moat) = with_ended_run() else { return };
    let status = moat.args(["status", "--json"]).env("PATH", "");
    let status = status.any_stdout().success().json();
    assert_eq!(status["stopped"], 1);
    assert_eq!(status["runtimes"][0]["version"], Value::Null);
}

pub(super) fn doctor() {
    let Some(moat) = on(Runtime::Bwrap) else {
        return;
    };
    let found = moat.args(["doctor", "--json"]);
    let found = found.any_stdout().success().json();
    let all = found.as_array().unwrap();
    let bwrap = all.iter().find(|one| one["check"] == "runtime bwrap");
    assert_eq!(bwrap.unwrap()["ok"], true, "{found:#}");
}

pub(super) fn help() {
    let Some(moat) = place() else { return };
    let text = |args: &[&str]| moat.args(args).any_stdout().success().stdout_text();
    assert_snapshot("help", &text(&["help"]));
    assert_snapshot("help-run", &text(&["run", "--help"]));
    assert_eq!(text(&["help", "run"]), text(&["run", "--help"]));
}

pub(super) fn completions() {
    let Some(moat) = place() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let script = moat.args(["completions", shell]).any_stdout().success();
        assert_snapshot(&format!("completions-{shell}"), &script.stdout_text());
    }
}

pub(super) fn man() {
    let Some(moat) = place() else { return };
    let page = moat.args(["man"]).any_stdout().success().stdout_text();
    assert!(page.starts_with(".TH "), "{page}");
}

pub(super) fn version() {
    let Some(moat) = place() else { return };
    let version = format!("moat {}\n", env!("CARGO_PKG_VERSION"));
    moat.args(["version"]).stdout(&version).success();
    moat.args(["--version"]).stdout(&version).success();
    // A reader that has closed the pipe causes neither an error nor a panic.
    let mut call = moat.args(["man"]).command();
    let child = call.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.stdin(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.stderr, b"", "{:?}", done.status);
}
