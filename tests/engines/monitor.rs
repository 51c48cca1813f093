//! Failures of podman: the monitor of a container dies, or podman does not answer for a while.

use crate::harness::support::{kill, through};
use crate::harness::{Moat, Runtime};

/// Without its monitor podman cannot know how a container ended. moat says so, and makes up no exit code.
#[test]
fn a_run_without_its_monitor_is_lost() {
    let Some(moat) = Moat::on(Runtime::Podman) else {
        return;
    };
    let id = moat.background("echo ready; exec sleep 1000");
    moat.wait_log(&id, "ready");
    let client = moat
        .client()
        .args(["inspect", "--format", "{{.State.ConmonPid}}", &id])
        .output()
        .unwrap();
    let pid: i32 = String::from_utf8(client.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill(pid);
    moat.args(["stop", "--time", "1", &id])
        .any_stdout()
        .any_stderr()
        .run();
    let record = moat.record(&id);
    assert!(record["exit_code"].is_null(), "{record:#}");
    assert!(record["finished_at"].is_string(), "{record:#}");
    assert_eq!(record["log"]["complete"], false, "{record:#}");
    moat.args(["logs", &id])
        .stdout("ready\n")
        .any_stderr()
        .run();
}

/// A podman that does not answer for a while does not end the run.
#[test]
fn an_answer_that_does_not_come_is_no_exit() {
    let Some(moat) = Moat::on(Runtime::Podman) else {
        return;
    };
    let script = format!(
        "case \" $* \" in *' inspect '*) [ ! -e '{0}/broken' ] || \
         {{ echo x >>'{0}/asked'; echo 'Error: database is locked' >&2; exit 125; }};; esac\n\
         exec podman \"$@\"\n",
        moat.root().display()
    );
    let moat = through(moat, "podman", &script);
    let id = moat
        .background("echo one; until [ -e /workspace/go ]; do sleep 0.05; done; echo two; exit 7");
    moat.wait_log(&id, "one");
    let broken = moat.root().join("broken");
    std::fs::write(&broken, "").unwrap();
    // An inspect that began earlier may still report the exit, so the workload runs until an inspect has failed.
    let asked = || {
        let asked = std::fs::read_to_string(moat.root().join("asked"));
        asked.map_or(0, |asked| asked.lines().count())
    };
    crate::harness::until("an inspect has failed", || asked() > 0);
    moat.write("go", "");
    // moat asks repeatedly, and logs podman's error once the output has ended.
    let diary = moat.run_dir(&id).join("supervisor.log");
    crate::harness::until("the supervisor log has podman's error", || {
        let noted = std::fs::read_to_string(&diary);
        asked() >= 4 && noted.is_ok_and(|noted| noted.contains("database is locked"))
    });
    assert_eq!(moat.record(&id)["state"], "running");
    std::fs::remove_file(broken).unwrap();
    moat.args(["wait", &id]).status(7);
    moat.args(["logs", &id]).stdout("one\ntwo\n").success();
    let record = moat.record(&id);
    assert_eq!(record["reason"], "exited", "{record:#}");
    assert_eq!(record["log"]["complete"], true, "{record:#}");
}
