//! The supervisor dies around the saving of a workspace that was a copy: what the workload left is
//! there all the same, and once.

use std::fs;

use crate::harness::{Moat, until};
use crate::support::{
    Bwrap, Docker, EXITED_7, Foreground, Mode, assert_ended, assert_log, kill, kill_supervisor,
    list, on_both,
};

/// Makes a test of each runtime and of each point at which the supervisor dies.
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

on_both!(
    while_it_runs,
    adopter_killed_before_it_saves,
    a_failed_hook,
    while_a_hook_runs
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

/// What the workload left, and nothing of ours.
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
        // As the killed one never took its mark away.
        moat.release_checkpoint(point);
    }
}

fn while_it_runs(moat: &Moat) {
    copied(moat, "");
    // The test cannot reach into the copy.
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

/// Whoever takes over may die just before it saves, too.
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
    until("it is saved", || {
        moat.run_dir(&id).join("workspace.tar").exists()
    });
    assert_ended(moat, &id, EXITED_7);
    assert_saved(moat, &id);
}

/// That it was the hook is known after a crash, too.
fn a_failed_hook(moat: &Moat) {
    moat.write("moat.yaml", "hooks: {pre_run: 'echo on; exit 7'}\n");
    for point in ["attached", "exited", "log-closed", "ended"] {
        let client = moat.run_with(["-b"], ["true"]).checkpoint(point).spawn();
        kill(moat.wait_checkpoint(point));
        list(moat);
        let _ = client.wait();
        let id = moat.only_id();
        let end = crate::support::End {
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
        let hook = format!("{}echo on; exit {code}", crate::support::wait_for("go"));
        let yaml = serde_json::json!({ "hooks": { "pre_run": hook } });
        moat.write("moat.yaml", yaml.to_string());
        let id = moat.background("exit 7");
        moat.wait_state(&id, "running");
        kill_supervisor(moat, &id);
        list(moat);
        moat.write("go", "");
        assert_ended(moat, &id, crate::support::End { reason, ..EXITED_7 });
        assert_log(moat, &id, "on\n", "");
        moat.args(["destroy", &id]).any_stdout().success();
        fs::remove_file(moat.workspace().join("go")).expect("the file");
    }
}
