//! From the exit of the run's container to its final record.
//!
//! Order: all output is captured, the log is closed, the final state is recorded, the exit signal is raised. The
//! waiter of the signal cleans up.

use std::sync::Arc;

use super::save_workspace;
use super::supervisor::Supervisor;
use super::verdict::verdict;
use crate::container::{PollSchedule, Waiter, Watched};
use crate::failpoint::checkpoint;
use crate::runtime::Exit;
use crate::store::{EndReason, Timestamp};

/// Watches the started container of a run until its exit.
pub(super) fn watch(supervisor: &Arc<Supervisor>) {
    let awaited = supervisor.background || supervisor.publishes;
    let pace = PollSchedule::starting(awaited, supervisor.runtime.inspect_is_cheap());
    let watched: Arc<dyn Watched> = Arc::<Supervisor>::clone(supervisor);
    let mut watch = Waiter::new(watched, pace);
    let mut exit = watch.until_exit();
    checkpoint("exited");
    let missing = watch.drain(&mut exit);
    checkpoint("log-closed");
    record_end(supervisor, &exit, missing.as_ref());
    checkpoint("ended");
    supervisor.exit.raise();
}

/// Records the exit. `missing`: since when output may be missing, and why.
fn record_end(supervisor: &Supervisor, exit: &Exit, missing: Option<&(Timestamp, String)>) {
    let outage = supervisor.capture.outage();
    let (state, mut reason) = verdict(exit, supervisor.end_intent());
    let hook = reason == EndReason::Exited && save_workspace::hook_failed(supervisor, exit);
    if hook {
        reason = EndReason::HookFailed;
    }
    supervisor.update_durably(|record| {
        // Engines and files have their own clocks, some of them coarse.
        record.started_at = exit.started_at.map(|at| at.max(record.created_at));
        let finished = exit.finished_at.unwrap_or_else(Timestamp::now);
        let earliest = record.started_at.unwrap_or(record.created_at);
        record.finished_at = Some(finished.max(earliest));
        for (since, why) in outage.iter().chain(missing) {
            record.log.mark_missing((*since).max(earliest), why);
        }
        record.exit_code = exit.code;
        record.oom_killed = exit.oom_killed;
        record.error = exit
            .error
            .clone()
            .map(|text| crate::term::escape_unsafe(&text));
        if let (true, Some(code)) = (hook, exit.code) {
            record.error = Some(format!("the hook pre_run failed with exit code {code}"));
        }
        (record.state, record.reason) = (state, Some(reason));
    });
}
