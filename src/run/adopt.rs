//! Adoption: a new supervisor takes over a run whose supervisor died.
//!
//! The journal says what may exist; the runtime says what does. A workload that never started is not started now,
//! because nobody expects it any more; a container that waits at the start gate is killed. A running workload is
//! watched, an exited one is recorded; its output comes from the runtime's own log, from the first byte on that moat
//! has not kept.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::lifecycle::{clean_up_and_report, open_log, watch_to_end};
use super::supervisor::{self, Supervisor};
use super::verdict::StopRequestTime;
use super::{cleanup, respawn, services};
use crate::container::Capture;
use crate::error::Result;
use crate::failpoint::{checkpoint, unit_scaled};
use crate::runtime::{self, Inspected, Runtime, RuntimeError};
use crate::store::{EndReason, EndRequest, Home, OwnedRun, RunId, RunRecord, RunState, Timestamp};

/// Time to wait for a resource that a dead supervisor requested. The next command finds a resource that appears
/// later.
const PENDING_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts an adopting supervisor in the background if the run needs one, without waiting for it. Returns whether it
/// did.
pub(crate) fn adopt(home: &Home, record: &RunRecord) -> bool {
    home.run(&record.id).is_abandoned(record).unwrap_or(false)
        && respawn::adopter(home, &record.id).unwrap_or(false)
}

/// The hidden command of an adopting supervisor.
pub(crate) fn supervise_adopted(id: &RunId) -> Result<()> {
    let _ = rustix::process::setsid();
    let signals = supervisor::signals().map_err(|error| {
        let path = std::path::Path::new("signal handlers");
        crate::error::Error::io(crate::error::ErrorKind::Failed, "install", path, &error)
    })?;
    let home = Home::locate()?;
    let Some(run) = OwnedRun::adopt(&home, id)? else {
        return Ok(());
    };
    let record = run.record();
    let runtime = runtime::of_run(
        run.dir(),
        &record.settings.identity.runtime,
        &record.settings.identity.engine,
    )
    .inspect_err(|problem| note_failure(&run, problem))?;
    go_on(run, runtime, |supervisor| {
        supervisor::handle_signals(supervisor, signals);
    })
}

/// Supervises an adopted run until its end. `begun` is called once the run has a supervisor, before that acts.
pub(super) fn go_on(
    run: OwnedRun,
    runtime: Box<dyn Runtime>,
    begun: impl FnOnce(&Arc<Supervisor>),
) -> Result<()> {
    let record = run.record().clone();
    // If the runtime does not respond, nothing can be known; the next command tries again.
    let (state, is_held_back) = inspect_after_pending(runtime.as_ref(), &run)
        .inspect_err(|problem| note_failure(&run, problem))?;
    if is_held_back {
        runtime.kill(record.id.as_str())?;
    }
    run.append_supervisor_log("adopted");
    checkpoint("adopted");
    let (log, kept) = open_log(&run)?;
    let capture = Capture::new(log, kept, false);
    let supervisor = Supervisor::new(run, runtime, capture, None);
    begun(&supervisor);
    supervisor.run().home().remove_unused_locks();
    services::adopt(&supervisor, &record);
    if record.state.is_terminal() {
        cleanup::clean_up(&supervisor);
        return Ok(());
    }
    match state {
        _ if is_held_back => finish_without_workload(&supervisor),
        Inspected::Running { .. } | Inspected::Ending { .. } | Inspected::Exited(_) => {
            resume(&supervisor, &record);
        }
        Inspected::Created | Inspected::Missing => finish_without_workload(&supervisor),
    }
    clean_up_and_report(&supervisor);
    Ok(())
}

/// Leaves the reason why this process cannot supervise the run: the command that started the process reads it there.
fn note_failure(run: &OwnedRun, problem: &RuntimeError) {
    run.append_supervisor_log(&format!("{ADOPTION_FAILED}{}", problem.message()));
}

/// The beginning of such a line, after its time.
pub(super) const ADOPTION_FAILED: &str = "cannot adopt: ";

/// Ends a run without a workload to watch.
fn finish_without_workload(supervisor: &Supervisor) {
    let request = supervisor.run().dir().take_end_request();
    supervisor.capture.close_log();
    supervisor.update_durably(|record| record_lost_run(record, request));
}

/// The state of the container once pending requests have arrived, and whether its command still waits at the start
/// gate.
fn inspect_after_pending(
    runtime: &dyn Runtime,
    run: &OwnedRun,
) -> runtime::Result<(Inspected, bool)> {
    let record = run.record();
    let deadline = Instant::now() + unit_scaled(PENDING_REQUEST_TIMEOUT);
    loop {
        let states = runtime.inspect(&[record.id.as_str()])?;
        let state = states.into_iter().next().unwrap_or(Inspected::Missing);
        let starts = matches!(record.state, RunState::Starting | RunState::Stopping);
        // On a full disk the start may not be in the record.
        let is_held_back = !record.state.is_terminal()
            && record.started_at.is_none()
            && !record.services.is_empty()
            && matches!(state, Inspected::Running { .. })
            && runtime.is_at_start_gate(record.id.as_str())?;
        let mut resources = record.resources.iter();
        let pending = (starts && state == Inspected::Created)
            || is_held_back
            || resources.any(|made| cleanup::may_still_appear(runtime, run.dir(), made));
        if !pending || record.state.is_terminal() || Instant::now() >= deadline {
            return Ok((state, is_held_back));
        }
        std::thread::sleep(unit_scaled(Duration::from_millis(100)));
    }
}

fn resume(supervisor: &Arc<Supervisor>, record: &RunRecord) {
    // A container that runs was started, even if the record does not say so. Else no end would be carried out.
    supervisor.run().stage(|record| {
        if record.state == RunState::Created {
            record.state = RunState::Starting;
        }
    });
    if record.settings.io.interactive && !record.terminal {
        supervisor
            .capture
            .note("the supervisor was replaced: the workload's input ended then, complete or not");
    }
    if record.terminal {
        supervisor
            .capture
            .note("the supervisor was replaced: the workload lost its terminal and is stopped");
        supervisor.end(EndReason::UserStop, StopRequestTime::now());
    }
    let request = supervisor.run().dir().end_request();
    if record.state == RunState::Stopping {
        // The end was requested while the predecessor lived; whatever ended the workload since counts as that.
        let reason = record.reason.unwrap_or(EndReason::UserStop);
        supervisor.end(reason, StopRequestTime::BeforeExit);
    }
    match request {
        Some(EndRequest::Kill) => supervisor.end(EndReason::Killed, StopRequestTime::now()),
        Some(EndRequest::Stop(_)) => supervisor.end(EndReason::UserStop, StopRequestTime::now()),
        None => {}
    }
    let timeout = record.settings.limits.timeout_seconds.and_then(|seconds| {
        let timeout = Duration::try_from_secs_f64(seconds).ok()?;
        let since = record.started_at.unwrap_or(record.created_at);
        let passed = SystemTime::now()
            .duration_since(since.0)
            .unwrap_or_default();
        Some(Instant::now() + timeout.saturating_sub(passed))
    });
    // The waiter finds no attachment and creates one.
    watch_to_end(supervisor, timeout);
}

/// Records the end of a run whose workload never started, or vanished with its container or from its engine's memory.
fn record_lost_run(record: &mut RunRecord, request: Option<EndRequest>) {
    let ran = record.started_at.is_some();
    let asked = match (request, record.state) {
        (Some(EndRequest::Kill), _) => Some(EndReason::Killed),
        (Some(EndRequest::Stop(_)), _) => Some(EndReason::UserStop),
        (None, RunState::Stopping) => record.reason,
        (None, _) => None,
    };
    (record.state, record.reason) = match asked {
        Some(EndReason::Timeout) => (RunState::Failed, Some(EndReason::Timeout)),
        Some(reason) => (RunState::Stopped, Some(reason)),
        None if ran => (RunState::Failed, Some(EndReason::Lost)),
        None => (RunState::Failed, Some(EndReason::StartError)),
    };
    record.error = Some(match ran {
        true => "its supervisor was killed, and its container is gone".to_owned(),
        false => "its supervisor was killed before the workload started".to_owned(),
    });
    record.finished_at = Some(Timestamp::now());
    if ran {
        let since = record.started_at.unwrap_or(record.created_at);
        record
            .log
            .mark_missing(since, "the container was removed, and its output with it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buried(state: RunState, ran: bool, request: Option<EndRequest>) -> RunRecord {
        let mut record: RunRecord = serde_json::from_slice(
            br#"{"schema": 1, "id": "run_0123456789ab", "name": "x", "state": "created",
                "runtime": "x", "engine": [], "image": null, "workspace": "/", "command": [],
                "env": [], "mounts": [], "background": false, "interactive": false, "keep": false,
                "memory_bytes": null, "cpus": null, "timeout_seconds": null,
                "created_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": null,
                "cleaned_at": null, "exit_code": null, "reason": null, "oom_killed": false,
                "error": null, "resources": [],
                "log": {"complete": true, "missing_since": null, "missing_why": null}}"#,
        )
        .unwrap();
        record.state = state;
        record.started_at = ran.then_some(record.created_at);
        record_lost_run(&mut record, request);
        record
    }

    #[test]
    fn who_was_asked_to_stop_did_not_fail_to_start() {
        let stop = Some(EndRequest::Stop(10));
        for (state, ran, request, expected) in [
            (
                RunState::Created,
                false,
                None,
                (RunState::Failed, EndReason::StartError),
            ),
            (
                RunState::Created,
                false,
                stop,
                (RunState::Stopped, EndReason::UserStop),
            ),
            (
                RunState::Starting,
                false,
                Some(EndRequest::Kill),
                (RunState::Stopped, EndReason::Killed),
            ),
            // The engine may report "missing", or "created" after it lost its memory.
            (
                RunState::Running,
                true,
                None,
                (RunState::Failed, EndReason::Lost),
            ),
            (
                RunState::Running,
                true,
                stop,
                (RunState::Stopped, EndReason::UserStop),
            ),
        ] {
            let record = buried(state, ran, request);
            assert_eq!(
                (record.state, record.reason),
                (expected.0, Some(expected.1))
            );
            assert_eq!(record.log.complete, !ran);
        }
    }
}
