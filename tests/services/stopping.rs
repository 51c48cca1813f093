//! A run that is stopped while it waits for its services ends at once, whatever the services are doing.

use std::time::{Duration, Instant};

use crate::harness::support::settled;
use crate::harness::{IMAGE, Running, Runtime, Signal};
use crate::services::place::{Place, REDIS};

/// The longest time from the request to the end of the run: half of the grace period of a stop. On a busy machine
/// each call of podman's client takes most of a second.
const SOON: Duration = Duration::from_secs(5);

/// Returns a run that waits for a service that is never ready.
fn waiting(runtime: Runtime, flags: &[&str]) -> Option<(Place, Running)> {
    let place = Place::with(runtime, &[REDIS])?;
    // With the real times, so that waiting for a grace period would show.
    place.real_time();
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [postgres@15]\nservices:\n  \
         postgres: {{image: '{REDIS}'}}\n"
    ));
    let client = place.go(flags, "echo it runs").spawn();
    client.wait_stderr("postgres: starting");
    let id = place.only_id();
    // The service runs, and its readiness command has been called.
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

/// The same in the background.
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
