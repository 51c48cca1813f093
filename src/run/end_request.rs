//! Requests of other commands to a run's supervisor: stop, kill, and waiting for the end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{adopt, respawn};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::store::{EndReason, EndRequest, Home, Loaded, RunEnd, RunId};

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
    let message = format!("{id} has no supervisor, and no adopting supervisor could be started");
    Err(Error::new(ErrorKind::Runtime, message)
        .hint("its runtime may not respond; run 'moat doctor'"))
}

/// Waits for the requested end. If the signalled supervisor goes away before, the next one is signalled. Supervisors
/// that fail to start (their engine does not respond) are not retried for ever.
pub(crate) fn wait_for_requested_end(home: &Home, id: &RunId, how: EndRequest) -> Result<RunEnd> {
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
/// first.
pub(crate) fn wait_until_unowned(home: &Home, id: &RunId) -> Result<()> {
    let dir = home.run(id);
    dir.wait_unowned()?;
    if let Some(record) = dir.load().record()
        && record.has_unsaved_copy()
        && adopt(home, &record)
    {
        respawn::wait_adopter(id);
        dir.wait_unowned()?;
    }
    Ok(())
}
