//! Retrieves data from a container before it is removed: the workload's copy of the workspace, and whether the script
//! before the command failed.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::supervisor::Supervisor;
use crate::container::Watched;
use crate::failpoint::{scaled, unit_scaled};
use crate::runtime::{Exit, Result, RuntimeError};
use crate::store::{RunRecord, create};

/// Time during which an engine that does not respond is asked again.
const SAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Saves the workspace of a run with a copy. False: it could not be saved, and the container must stay; the next moat
/// command tries again.
pub(super) fn save(supervisor: &Arc<Supervisor>, record: &RunRecord) -> bool {
    if !record.has_unsaved_copy() {
        return true;
    }
    let path = supervisor.run().dir().workspace();
    if path.exists() {
        return true;
    }
    match try_save(supervisor) {
        Ok(()) => true,
        // The copy is lost for good, so trying for ever helps nobody.
        Err(RuntimeError::NotFound(why)) => {
            let lost = format!("the copy of the workspace is lost: {why}");
            supervisor.notice(&lost);
            supervisor.update(|record| {
                record.error = Some(match record.error.take() {
                    Some(error) => format!("{error}; {lost}"),
                    None => lost,
                });
            });
            true
        }
        Err(problem) => {
            let why = problem.message();
            supervisor.notice(&format!(
                "the workspace could not be saved: {why}; its container stays, and moat tries again"
            ));
            false
        }
    }
}

fn try_save(supervisor: &Supervisor) -> Result<()> {
    let path = supervisor.run().dir().workspace();
    let partial = path.with_extension("partial");
    let handle = supervisor.handle();
    let deadline = Instant::now() + scaled(SAVE_TIMEOUT);
    let failed = |error: std::io::Error| RuntimeError::Refused(crate::error::os_error_text(&error));
    let saved = loop {
        let file = create(&partial).map_err(failed)?;
        match supervisor.runtime.save_workspace(&handle, file) {
            Err(problem) if problem.is_transient() && Instant::now() < deadline => {
                std::thread::sleep(unit_scaled(Duration::from_millis(500)));
            }
            result => break result,
        }
    };
    let kept = saved.and_then(|()| {
        fs::File::open(&partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(failed)
    });
    if kept.is_err() {
        let _ = fs::remove_file(&partial);
    }
    kept
}

/// Whether the workload ended because the script before it failed.
pub(super) fn hook_failed(supervisor: &Supervisor, exit: &Exit) -> bool {
    if !supervisor.run().record().pre_run || exit.code.is_none_or(|code| code == 0) {
        return false;
    }
    let handle = supervisor.handle();
    match supervisor.runtime.pre_run_failed(&handle) {
        Ok(failed) => failed,
        Err(problem) => {
            let text = format!("was it the hook? {}", problem.message());
            supervisor.run().append_supervisor_log(&text);
            false
        }
    }
}
