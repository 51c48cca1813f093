//! A run that is ended while it waits for its services: at once, whatever they are doing.

use std::time::{Duration, Instant};

use crate::harness::support::settled;
use crate::harness::{IMAGE, Running, Runtime, Signal};
use crate::services::place::{Place, REDIS};

/// How long it may take from the request to the end of everything: half of the grace of a stop. On a busy machine each
/// call of podman's client takes most of a second.
const SOON: Duration = Duration::from_secs(5);

/// A run whose service is never ready, and which waits for it.
fn waiting(runtime: Runtime, flags: &[&str]) -> Option<(Place, Running)> {
    let place = Place::with(runtime, &[REDIS])?;
    // At the real scale: no grace is waited for.
    place.real_time();
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [postgres@15]\nservices:\n  \
         postgres: {{image: '{REDIS}'}}\n"
    ));
    let client = place.go(flags, "echo it runs").spawn();
    client.wait_stderr("postgres: starting");
    let id = place.only_id();
    // It runs, and is asked whether it is ready.
    crate::harness::until("the service is asked", || {
        place.service(&id, "postgres")["state"] == "starting" && place.calls().contains("\nexec ")
    });
    Some((place, client))
}

/// Asserts how the run ended, and that nothing is left of it.
#[track_caller]
fn assert_stopped(place: &Place, client: Running, began: Instant, code: i32, reason: &str) {
    let done = client.wait();
    assert_eq!(done.code, Some(code), "{done}");
    assert_eq!(done.stdout_text(), "", "{done}");
    assert!(began.elapsed() < SOON, "{:?}: {done}", began.elapsed());
    let id = place.only_id();
    let record = settled(place, &id);
    assert!(began.elapsed() < SOON, "all of it: {:?}", began.elapsed());
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &reason.into()),
        "{record:#}"
    );
    assert!(record["started_at"].is_null(), "{record:#}");
    let service = place.service(&id, "postgres");
    assert_eq!(service["state"], "stopped", "{service:#}");
    place.assert_nothing_left();
}

pub(crate) fn by_ctrl_c(runtime: Runtime) {
    let Some((place, client)) = waiting(runtime, &[]) else {
        return;
    };
    let began = Instant::now();
    client.signal_group(Signal::INT);
    assert_stopped(&place, client, began, 130, "user-stop");
}

/// In the background, too.
pub(crate) fn by_stop(runtime: Runtime) {
    let Some((place, client)) = waiting(runtime, &["-b"]) else {
        return;
    };
    let id = place.only_id();
    let began = Instant::now();
    place
        .args(["stop", &id])
        .any_stdout()
        .any_stderr()
        .success();
    assert_stopped(&place, client, began, 143, "user-stop");
    place.args(["wait", &id]).status(143);
}

pub(crate) fn by_kill(runtime: Runtime) {
    let Some((place, client)) = waiting(runtime, &[]) else {
        return;
    };
    let id = place.only_id();
    let began = Instant::now();
    place
        .args(["kill", &id])
        .any_stdout()
        .any_stderr()
        .success();
    assert_stopped(&place, client, began, 137, "killed");
}
