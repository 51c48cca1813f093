//! Requests of other commands to a run's supervisor: stop, kill, and waiting for the end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::wait_notice::{TellFn, while_waiting};
use super::{adopt, respawn};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::runtime;
use crate::store::{EndReason, EndRequest, Home, Loaded, RunDir, RunEnd, RunId};

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The supervisor was signalled, or the supervisor that adopted the run carried the request out.
    Signalled,
    /// The run had ended already.
    AlreadyEnded,
}

/// Time to find a supervisor, or to start an adopting one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A supervisor that lived this long was able to supervise its run.
const MIN_SUPERVISOR_UPTIME: Duration = Duration::from_secs(5);

/// Signals the supervisor of a run. A run without one is adopted first.
pub(crate) fn request_end(home: &Home, id: &RunId, how: EndRequest) -> Result<RequestOutcome> {
    request_end_until(home, id, how, Instant::now() + scaled(REQUEST_TIMEOUT))
}

fn request_end_until(
    home: &Home,
    id: &RunId,
    how: EndRequest,
    deadline: Instant,
) -> Result<RequestOutcome> {
    let dir = home.run(id);
    let signal = match how {
        EndRequest::Stop(_) => Signal::TERM,
        EndRequest::Kill => Signal::QUIT,
    };
    let mut pause = Duration::from_millis(2);
    let mut is_written = false;
    while Instant::now() < deadline {
        let record = dir.require()?;
        if record.state.is_terminal() {
            // An adopting supervisor reads the request from its file, and can be faster than this loop.
            let was_asked = matches!(record.reason, Some(EndReason::UserStop | EndReason::Killed));
            return Ok(match is_written && was_asked {
                true => RequestOutcome::Signalled,
                false => RequestOutcome::AlreadyEnded,
            });
        }
        dir.check_version(&record)?;
        // Fails at once for a runtime that no adopting supervisor of this program can know either.
        runtime::of_run(
            &dir,
            &record.settings.identity.runtime,
            &record.settings.identity.engine,
        )?;
        dir.write_end_request(how);
        is_written = true;
        if let Some(owner) = dir.owner()? {
            if owner.signal(signal) {
                return Ok(RequestOutcome::Signalled);
            }
        } else if dir.is_abandoned(&record)? {
            respawn::adopter(home, id)?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    let why = adoption_failure(&dir)
        .unwrap_or_else(|| "no adopting supervisor could be started".to_owned());
    let message = format!("{id} has no supervisor: {why}");
    Err(Error::new(ErrorKind::Runtime, message)
        .hint("its runtime may not respond; run 'moat doctor'"))
}

/// The reason that the last adopting supervisor has left.
fn adoption_failure(dir: &RunDir) -> Option<String> {
    let log = std::fs::read_to_string(dir.supervisor_log()).ok()?;
    let (_, why) = log
        .lines()
        .next_back()?
        .split_once(super::adopt::ADOPTION_FAILED)?;
    Some(why.to_owned())
}

/// Waits for the requested end. If the signalled supervisor goes away before, the next one is signalled. Supervisors
/// that fail to start (their engine does not respond) are not retried for ever. `tell`: prints a notice if this takes
/// longer than the grace period.
pub(crate) fn wait_for_requested_end(
    home: &Home,
    id: &RunId,
    how: EndRequest,
    tell: TellFn<'_>,
) -> Result<RunEnd> {
    let grace = match how {
        EndRequest::Stop(seconds) => Duration::from_secs(u64::from(seconds)),
        EndRequest::Kill => Duration::ZERO,
    };
    while_waiting(home, id, grace, tell, || wait_for_end(home, id, how))
}

fn wait_for_end(home: &Home, id: &RunId, how: EndRequest) -> Result<RunEnd> {
    let mut deadline = Instant::now() + scaled(REQUEST_TIMEOUT);
    loop {
        let since = Instant::now();
        if let Some(ended) = ended(home, id)? {
            return Ok(ended);
        }
        if since.elapsed() >= scaled(MIN_SUPERVISOR_UPTIME) {
            deadline = Instant::now() + scaled(REQUEST_TIMEOUT);
        }
        std::thread::sleep(Duration::from_millis(200));
        request_end_until(home, id, how, deadline)?;
    }
}

/// The end of a run, once it has no owner.
fn ended(home: &Home, id: &RunId) -> Result<Option<RunEnd>> {
    let dir = home.run(id);
    let ended = dir.wait_unowned()?;
    if ended.is_some()
        && let Some(record) = dir.load().record()
    {
        // Remaining resources are not waited for.
        adopt(home, &record);
    }
    Ok(ended)
}

/// Waits until a run has ended and has no owner, adopting the run if necessary.
pub(crate) fn wait(home: &Home, id: &RunId) -> Result<RunEnd> {
    let dir = home.run(id);
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(ended) = ended(home, id)? {
            return Ok(ended);
        }
        match dir.load() {
            Loaded::Record(record) => {
                if let Some(ended) = RunEnd::of(&record) {
                    return Ok(ended);
                }
                dir.check_version(&record)?;
                adopt(home, &record);
            }
            Loaded::Unreadable(_) => {
                dir.require()?;
            }
            Loaded::Missing => {
                let message = format!("{id} was removed before its end was known");
                return Err(Error::new(ErrorKind::NoSuchRun, message));
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Waits until an ended run has no owner. If its copy of the workspace is not saved, another supervisor tries that
/// first. `tell`: prints a notice if this takes long.
pub(crate) fn wait_until_unowned(home: &Home, id: &RunId, tell: TellFn<'_>) -> Result<()> {
    let dir = home.run(id);
    let unowned = || while_waiting(home, id, Duration::ZERO, tell, || dir.wait_unowned());
    unowned()?;
    if let Some(record) = dir.load().record()
        && record.has_unsaved_copy()
        && adopt(home, &record)
    {
        respawn::wait_adopter(id);
        unowned()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::Scratch;

    /// No adopting supervisor could help, so the command does not wait for one.
    #[test]
    fn an_unknown_runtime_is_an_error_at_once() {
        let home = Scratch::new();
        let run = home.reserve(|record| record.settings.identity.runtime = "nosuch".to_owned());
        let id = run.record().id.clone();
        drop(run);
        let start = Instant::now();
        let error = request_end(&home, &id, EndRequest::Kill).unwrap_err();
        assert_eq!(error.message, "this moat has no runtime 'nosuch'");
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn the_reason_of_the_last_adopting_supervisor_is_told() {
        let home = Scratch::new();
        let run = home.reserve(|_| {});
        let dir = run.dir().clone();
        assert_eq!(adoption_failure(&dir), None);
        run.append_supervisor_log(&format!(
            "{}no engine",
            super::super::adopt::ADOPTION_FAILED
        ));
        assert_eq!(adoption_failure(&dir).as_deref(), Some("no engine"));
        run.append_supervisor_log("adopted");
        assert_eq!(adoption_failure(&dir), None);
    }
}
