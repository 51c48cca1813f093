//! The supervisor dies while it saves the copy of a workspace: the workload's files are saved all the same, and once.

use std::fs;

use crate::harness::support::{
    Bwrap, Docker, EXITED_7, Foreground, Mode, assert_ended, assert_log, docker_through, kill,
    kill_supervisor, list, on_all, on_docker_and_bwrap, through,
};
use crate::harness::{Moat, until};

/// Creates a test for each runtime and each point at which the supervisor dies.
macro_rules! points {
    ($($name:ident: $point:literal;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn docker() { on(Docker, |moat| killed_at(moat, $point)); }
            #[test]
            fn bwrap() { on(Bwrap, |moat| killed_at(moat, $point)); }
        }
    )* };
}

points! {
    attached: "attached";
    exited: "exited";
    log_closed: "log-closed";
    ended: "ended";
    before_cleanup: "before-cleanup";
    workspace_saved: "workspace-saved";
    removed: "removed";
}

on_all!(while_it_runs);

on_docker_and_bwrap!(
    adopter_killed_before_it_saves,
    a_failed_hook,
    while_a_hook_runs,
    nothing_is_removed_before_it_is_saved,
);

fn on(runtime: crate::harness::Runtime, scenario: impl Fn(&Moat)) {
    if let Some(moat) = Moat::on(runtime) {
        scenario(&moat);
    }
}

const WORK: &str =
    "mkdir 'some dir'; echo work >'some dir/file'; rm seed; chmod 750 'some dir'; exit 7";

fn copied(moat: &Moat, more: &str) {
    moat.write("moat.yaml", format!("workspace: {{mode: volume}}\n{more}"));
    moat.write("seed", "seed\n");
}

/// Asserts that the saved copy has the workload's files, and none of moat's.
#[track_caller]
fn assert_saved(moat: &Moat, id: &str) {
    let out = moat.root().join("out");
    moat.args(["export", "-q", id]).arg(&out).success();
    let work = fs::read_to_string(out.join("some dir/file")).expect("the work");
    assert_eq!(work, "work\n");
    assert!(!out.join("seed").exists() && out.join("moat.yaml").exists());
    let untouched = fs::read_to_string(moat.workspace().join("seed")).expect("the seed");
    assert_eq!(untouched, "seed\n");
    assert!(!moat.workspace().join("some dir").exists());
    for entry in fs::read_dir(moat.run_dir(id))
        .expect("the run's directory")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.contains("partial"), "{name} is left");
    }
}

fn killed_at(moat: &Moat, point: &str) {
    copied(moat, "");
    for mode in [Foreground, Mode::Background] {
        let flags: &[&str] = if mode == Foreground { &[] } else { &["-b"] };
        let call = moat.run_with(flags, ["sh", "-c", WORK]);
        let client = call.checkpoint(point).spawn();
        kill(moat.wait_checkpoint(point));
        if mode == Mode::Background {
            list(moat);
        }
        let done = client.wait();
        assert_eq!(
            done.code,
            Some([0, 7][usize::from(mode == Foreground)]),
            "{done}"
        );
        let id = moat.only_id();
        assert_ended(moat, &id, EXITED_7);
        assert_log(moat, &id, "", "");
        assert_saved(moat, &id);
        moat.args(["destroy", &id]).any_stdout().success();
        fs::remove_dir_all(moat.root().join("out")).expect("the export");
        // The killed supervisor left the mark of its checkpoint.
        moat.release_checkpoint(point);
    }
}

fn while_it_runs(moat: &Moat) {
    copied(moat, "");
    // The test has no access to the copied workspace, so it signals through a mount.
    let signals = moat.root().join("signals");
    fs::create_dir(&signals).expect("a directory");
    let mount = format!("{}:/signals:ro", signals.display());
    let script = format!("until [ -e /signals/go ]; do sleep 0.02; done; {WORK}");
    let id = moat.background_with(["-m", &mount], &script);
    kill_supervisor(moat, &id);
    list(moat);
    fs::write(signals.join("go"), "").expect("a file");
    assert_ended(moat, &id, EXITED_7);
    assert_saved(moat, &id);
}

/// The adopting supervisor may die just before it saves, too.
fn adopter_killed_before_it_saves(moat: &Moat) {
    copied(moat, "");
    let call = moat
        .run_with(["-b"], ["sh", "-c", WORK])
        .checkpoint("ended");
    let client = call.spawn();
    kill(moat.wait_checkpoint("ended"));
    let call = moat.args(["list", "--quiet"]).checkpoint("before-cleanup");
    call.any_stdout().success();
    kill(moat.wait_checkpoint("before-cleanup"));
    drop(client);
    let id = moat.only_id();
    assert!(!moat.run_dir(&id).join("workspace.tar").exists());
    list(moat);
    until("the workspace is saved", || {
        moat.run_dir(&id).join("workspace.tar").exists()
    });
    assert_ended(moat, &id, EXITED_7);
    assert_saved(moat, &id);
}

/// moat knows after a crash, too, that the hook failed.
fn a_failed_hook(moat: &Moat) {
    moat.write("moat.yaml", "hooks: {pre_run: 'echo on; exit 7'}\n");
    for point in ["attached", "exited", "log-closed", "ended"] {
        let client = moat.run_with(["-b"], ["true"]).checkpoint(point).spawn();
        kill(moat.wait_checkpoint(point));
        list(moat);
        let _ = client.wait();
        let id = moat.only_id();
        let end = crate::harness::support::End {
            reason: "hook-failed",
            ..EXITED_7
        };
        let record = assert_ended(moat, &id, end);
        assert!(
            record["error"]
                .as_str()
                .is_some_and(|error| error.contains("pre_run")),
            "{record:#}"
        );
        assert_log(moat, &id, "on\n", "");
        moat.args(["destroy", &id]).any_stdout().success();
        moat.release_checkpoint(point);
    }
}

fn while_a_hook_runs(moat: &Moat) {
    for (code, reason) in [(7, "hook-failed"), (0, "exited")] {
        let hook = format!(
            "{}echo on; exit {code}",
            crate::harness::support::wait_for("go")
        );
        let yaml = serde_json::json!({ "hooks": { "pre_run": hook } });
        moat.write("moat.yaml", yaml.to_string());
        let id = moat.background("exit 7");
        moat.wait_state(&id, "running");
        kill_supervisor(moat, &id);
        list(moat);
        moat.write("go", "");
        assert_ended(
            moat,
            &id,
            crate::harness::support::End { reason, ..EXITED_7 },
        );
        assert_log(moat, &id, "on\n", "");
        moat.args(["destroy", &id]).any_stdout().success();
        fs::remove_file(moat.workspace().join("go")).expect("the file");
    }
}

/// Between its end and the saving, a run holds the only copy, wherever the copy is.
fn nothing_is_removed_before_it_is_saved(moat: &Moat) {
    copied(moat, "");
    let call = moat
        .run_with(["-b"], ["sh", "-c", WORK])
        .checkpoint("before-cleanup");
    let client = call.spawn();
    let supervisor = moat.wait_checkpoint("before-cleanup");
    let id = moat.only_id();
    assert!(crate::harness::support::is_terminal(&moat.record(&id)));
    // A command that comes now waits until the copy is saved.
    let out = moat.root().join("early");
    let export = moat.args(["export", "-q", &id]).arg(&out).spawn();
    let destroy = moat.args(["destroy", &id]).spawn();
    let clean = ["clean", "--older-than", "1ms", "--force"];
    let kept = moat.args(clean).any_stdout().success().stdout_text();
    assert!(kept.contains(&format!("kept       {id}")), "{kept}");
    kill(supervisor);
    for (waiting, code) in [(export, 0), (destroy, 1)] {
        let done = waiting.wait();
        // Either command may come first; after an export, the copy may be removed.
        assert!(done.code == Some(code) || done.code == Some(0), "{done}");
    }
    drop(client);
    assert_eq!(
        fs::read(out.join("some dir/file")).expect("the work"),
        b"work\n"
    );
}

mod unsaved {
    #[test]
    fn docker() {
        super::nothing_is_removed_that_could_not_be_saved(super::Docker);
    }
    #[test]
    fn bwrap() {
        super::nothing_is_removed_that_could_not_be_saved(super::Bwrap);
    }
}

/// A copy that cannot be saved stays in place, and moat removes it only if it must.
fn nothing_is_removed_that_could_not_be_saved(runtime: crate::harness::Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let full = moat.root().join("full");
    let fails = format!(
        "if [ -e {} ]; then echo 'no space left' >&2; exit 2; fi",
        full.display()
    );
    let (tar, docker) = (
        format!("{fails}\nexec tar \"$@\"\n"),
        format!("case \"$*\" in *:/workspace/.*) {fails};; esac\nexec docker \"$@\"\n"),
    );
    let moat = &through(docker_through(moat, &docker), "tar", &tar);
    copied(moat, "");
    fs::create_dir(moat.root().join("signals")).expect("a directory");
    let mount = format!("{}:/signals:ro", moat.root().join("signals").display());
    let script = format!("until [ -e /signals/go ]; do sleep 0.02; done; {WORK}");
    let id = moat.background_with(["-m", &mount], &script);
    fs::write(&full, "").expect("a file");
    fs::write(moat.root().join("signals/go"), "").expect("a file");
    moat.args(["wait", &id]).status(7);
    moat.args(["destroy", &id])
        .stderr_contains("holds the only copy of its workspace")
        .status(1);
    let clean = ["clean", "--older-than", "1ms", "--force"];
    let kept = moat.args(clean).any_stdout().success().stdout_text();
    assert!(kept.contains(&format!("kept       {id}")), "{kept}");
    moat.args(["export", &id])
        .arg(moat.root().join("out"))
        .stderr_contains("could not be saved yet")
        .stderr_contains("supervisor.log")
        .status(1);
    let diary = fs::read_to_string(moat.run_dir(&id).join("supervisor.log")).expect("a diary");
    assert!(diary.contains("no space left"), "{diary}");
    fs::remove_file(&full).expect("the file");
    assert_saved(moat, &id);
    assert_ended(moat, &id, EXITED_7);
}

/// The copy was removed by another program: moat says so, and the run becomes clean.
#[test]
fn somebody_removed_the_container() {
    let Some(moat) = Moat::on(Docker) else { return };
    copied(&moat, "");
    let call = moat.run_with(["-b"], ["sh", "-c", WORK]);
    let client = call.checkpoint("before-cleanup").spawn();
    moat.wait_checkpoint("before-cleanup");
    let id = moat.only_id();
    let removed = std::process::Command::new("docker")
        .args(["rm", "-f", &id])
        .output();
    assert!(removed.expect("docker").status.success());
    moat.release_checkpoint("before-cleanup");
    drop(client.wait());
    assert_lost(&moat, &id);
}

#[test]
fn somebody_removed_the_sandbox() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    copied(&moat, "");
    let call = moat.run_with(["-b"], ["sh", "-c", WORK]);
    let client = call.checkpoint("before-cleanup").spawn();
    moat.wait_checkpoint("before-cleanup");
    let id = moat.only_id();
    fs::remove_dir_all(moat.run_dir(&id).join("sandbox")).expect("the sandbox");
    moat.release_checkpoint("before-cleanup");
    drop(client.wait());
    assert_lost(&moat, &id);
}

#[track_caller]
fn assert_lost(moat: &Moat, id: &str) {
    let record = assert_ended(moat, id, EXITED_7);
    let error = record["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("the copy of the workspace is lost"),
        "{error}"
    );
    assert_eq!(crate::harness::support::adoptions(moat, id), 0);
    moat.args(["export", id])
        .arg(moat.root().join("out"))
        .stderr_contains("left no workspace")
        .status(1);
    moat.args(["destroy", id]).any_stdout().success();
}
