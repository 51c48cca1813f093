//! Many runs need one image: one run builds it and the others wait. If a run is killed or stopped, no other waits in
//! vain and nothing is left.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Running, Runtime, until, until_some};
use crate::images::place::Place;

const TINY: &str = "name: crowd\nbase_image: BASE\nhooks: {post_build: echo built >/tmp/made}\n";
const SLOW: &str =
    "name: crowd\nbase_image: BASE\nhooks: {post_build_root: 'echo in-the-hook; sleep 60'}\n";

pub(crate) fn twenty_first_runs_build_once(runtime: Runtime) {
    const RUNS: usize = 20;
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(TINY);
    let start = || {
        let call = place.quiet("cat /tmp/made; exit 5").checkpoint("building");
        call.deadline(Duration::from_secs(180)).spawn()
    };
    let clients: Vec<Running> = (0..RUNS).map(|_| start()).collect();
    place.wait_checkpoint("building");
    // All runs are waiting before the first one builds.
    until("all runs exist", || place.ids().len() == RUNS);
    until("all runs have found the image missing", || {
        place.calls("create") == RUNS
    });
    place.release_checkpoint("building");
    for client in clients {
        let done = client.wait();
        assert_eq!(
            (done.code, done.stdout_text().as_str()),
            (Some(5), "built\n"),
            "{done}"
        );
        assert_eq!(done.stderr_text(), "", "{done}");
    }
    assert_eq!(place.builds(), 1);
    assert_eq!(place.built().len(), 1);
    let ids = place.ids();
    let mut names: Vec<String> = ids
        .iter()
        .map(|id| {
            place.record(id)["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), RUNS, "each has a name of its own: {names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("crowd")),
        "{names:?}"
    );
    place.assert_no_traces();
}

/// When the building run is killed, one of the waiting runs builds instead.
pub(crate) fn a_killed_builder_is_replaced(runtime: Runtime) {
    const RUNS: usize = 4;
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(TINY);
    let start = || place.quiet("cat /tmp/made").checkpoint("building").spawn();
    let clients: Vec<Running> = (0..RUNS).map(|_| start()).collect();
    let builder = place.wait_checkpoint("building");
    until("all runs have found the image missing", || {
        place.calls("create") == RUNS
    });
    kill_process(Pid::from_raw(builder).expect("a pid"), Signal::KILL).expect("it is there");
    let mut codes = Vec::new();
    for client in clients {
        let done = client.wait();
        if done.code == Some(0) {
            assert_eq!(
                (done.stdout_text().as_str(), done.stderr_text().as_str()),
                ("built\n", "")
            );
        } else {
            assert!(
                done.stderr_text()
                    .contains("was killed; a new supervisor takes over"),
                "{done}"
            );
        }
        codes.push(done.code);
    }
    codes.sort();
    assert_eq!(
        codes,
        [Some(0), Some(0), Some(0), Some(125)],
        "one was killed"
    );
    assert_eq!(place.builds(), 1, "the first one had not begun");
    place.assert_no_traces();
}

/// The supervisor is killed during its build, while the engine's builder is working.
pub(crate) fn a_builder_killed_in_mid_build_leaves_nothing(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(&SLOW.replace("sleep 60", "sleep 2"));
    let client = place.go(&[], "true").spawn();
    client.wait_stderr("in-the-hook");
    let id = place.only_id();
    // Another run waits for that build.
    let waiter = place.quiet("echo waited").spawn();
    until("the second run waits", || place.calls("create") == 2);
    let owner = place.run_dir(&id).join("owner.lock");
    let pid = until_some("the supervisor has signed", || {
        let process: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&owner).ok()?).ok()?;
        i32::try_from(process["pid"].as_i64()?).ok()
    });
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it is there");
    let done = client.wait();
    assert_eq!(done.code, Some(125), "{done}");
    let record = place.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"start-error".into())
    );
    let done = waiter.wait();
    assert_eq!(
        (done.code, done.stdout_text().as_str()),
        (Some(0), "waited\n"),
        "{done}"
    );
    assert_eq!(place.builds(), 2, "the waiting one has built it");
    until("the builder's containers are gone", || {
        place.all_containers().is_empty()
    });
    place.assert_no_traces();
}

pub(crate) fn stop_during_a_build(runtime: Runtime) {
    ended_during_a_build(runtime, "stop", "user-stop", 143);
}

pub(crate) fn kill_during_a_build(runtime: Runtime) {
    ended_during_a_build(runtime, "kill", "killed", 137);
}

fn ended_during_a_build(runtime: Runtime, command: &str, reason: &str, code: i32) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(SLOW);
    let client = place.go(&[], "true").spawn();
    client.wait_stderr("in-the-hook");
    let id = place.only_id();
    let began = Instant::now();
    place
        .args([command, &id])
        .any_stdout()
        .any_stderr()
        .success();
    let done = client.wait();
    assert!(began.elapsed() < Duration::from_secs(10), "soon: {done}");
    assert_eq!(done.code, Some(code), "{done}");
    place.args(["wait", &id]).status(code);
    let record = place.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &reason.into())
    );
    until("the builder's containers are gone", || {
        place.all_containers().is_empty()
    });
    assert!(place.built().is_empty(), "no image");
    place.assert_no_traces();
}

/// A run that waits for another run's build can be stopped, and the build continues.
pub(crate) fn stop_while_waiting_for_another_build(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(TINY);
    let builder = place.quiet("cat /tmp/made").checkpoint("building").spawn();
    place.wait_checkpoint("building");
    let first = place.only_id();
    let waiter = place.quiet("true").spawn();
    until("the second run waits", || place.calls("create") == 2);
    let second = place
        .ids()
        .into_iter()
        .find(|id| *id != first)
        .expect("two runs");
    let began = Instant::now();
    place
        .args(["stop", &second])
        .any_stdout()
        .any_stderr()
        .success();
    let done = waiter.wait();
    assert!(began.elapsed() < Duration::from_secs(10), "soon: {done}");
    assert_eq!(done.code, Some(143), "{done}");
    place.release_checkpoint("building");
    let done = builder.wait();
    assert_eq!(
        (done.code, done.stdout_text().as_str()),
        (Some(0), "built\n"),
        "{done}"
    );
    place.assert_no_traces();
}

/// Ctrl-C in the foreground.
pub(crate) fn interrupting_a_build(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(SLOW);
    let client = place.go(&[], "true").spawn();
    client.wait_stderr("in-the-hook");
    let began = Instant::now();
    client.signal(Signal::INT);
    let done = client.wait();
    assert!(began.elapsed() < Duration::from_secs(10), "soon: {done}");
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(place.record(&place.only_id())["reason"], "user-stop");
    until("the builder's containers are gone", || {
        place.all_containers().is_empty()
    });
    assert!(place.built().is_empty(), "no image");
    place.assert_no_traces();
}

/// A background run builds and runs after its client was killed.
pub(crate) fn a_client_killed_during_a_build_changes_nothing(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(TINY);
    let mut client = place
        .quiet("cat /tmp/made; exit 6")
        .checkpoint("building")
        .spawn();
    place.wait_checkpoint("building");
    client.kill();
    place.release_checkpoint("building");
    let id = place.only_id();
    place.args(["wait", &id]).status(6);
    place.args(["logs", &id]).stdout("built\n").success();
    place.assert_no_traces();
}

/// Waiting runs say that they wait, and fail with the build that they waited for. A later run builds again.
pub(crate) fn a_failure_is_shared_by_those_who_wait(runtime: Runtime) {
    const RUNS: usize = 4;
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "name: crowd\nbase_image: BASE\nhooks: {post_build: 'echo in-the-hook; exit 3'}\n",
    );
    let start = || place.go(&[], "true").checkpoint("building").spawn();
    let first = start();
    place.wait_checkpoint("building");
    let others: Vec<Running> = (1..RUNS).map(|_| start()).collect();
    for other in &others {
        other.wait_stderr("waiting for another run to build the image moat/run:");
    }
    place.release_checkpoint("building");
    let words = |done: &crate::harness::Done| {
        let said = done.stderr_text();
        let at = said.find("error: ").unwrap_or_else(|| panic!("{said}"));
        said[at..].to_owned()
    };
    let first = first.wait();
    assert_eq!(first.code, Some(125), "{first}");
    assert!(words(&first).contains("in-the-hook"), "{first}");
    for other in others {
        let other = other.wait();
        assert_eq!((other.code, words(&other)), (Some(125), words(&first)));
    }
    assert_eq!(place.builds(), 1);
    place.quiet("true").any_stderr().status(125);
    assert_eq!(place.builds(), 2);
    place.assert_no_traces();
}
