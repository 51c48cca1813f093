//! Removing what a run made, from the journal, in reverse order of making. Once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::start::PATIENCE;
use super::supervisor::Supervisor;
use super::workspace;
use crate::container::Watched;
use crate::failpoint::checkpoint;
use crate::runtime::Inspected;
use crate::store::{Resource, ResourceKind, Stage, Timestamp};

/// Cleans up, whichever path gets here first. What cannot be removed stays in the journal, and the
/// record says that it is not clean: the next moat command tries again.
pub(super) fn clean_up(supervisor: &Arc<Supervisor>) {
    supervisor.cleanup.call_once(|| {
        checkpoint("before-cleanup");
        let record = supervisor.record();
        // A builder that was killed has left it.
        let context = supervisor.run().dir().build_context();
        let _ = std::fs::remove_dir_all(context);
        // What the workload made may be in its container alone.
        let mut clean = workspace::save(supervisor, &record);
        if !clean {
            return;
        }
        checkpoint("workspace-saved");
        for resource in record.resources.iter().rev() {
            // A kept container is no debris; 'destroy' removes it.
            let kept = record.keep && record.started_at.is_some();
            if resource.stage != Stage::Removed && !kept {
                clean &= remove(supervisor, resource);
            }
        }
        checkpoint("removed");
        if clean {
            supervisor.update(|record| record.cleaned_at = Some(Timestamp::now()));
            supervisor.run().drop_reserve();
            supervisor.run().dir().end_making();
        }
    });
}

/// Whether a resource that was asked for is not there, but may still come: then the next command looks
/// again.
fn may_come(supervisor: &Supervisor, resource: &Resource) -> bool {
    let handle = resource.handle.as_str();
    resource.stage == Stage::Intent
        && supervisor.run().dir().is_making()
        && matches!(
            supervisor.runtime.inspect(&[handle]).as_deref(),
            Ok([Inspected::Missing])
        )
}

fn remove(supervisor: &Supervisor, resource: &Resource) -> bool {
    if may_come(supervisor, resource) {
        return false;
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(50);
    loop {
        let removed = match resource.kind {
            ResourceKind::Container => supervisor.runtime.remove(&resource.handle),
            ResourceKind::Unknown => return false,
        };
        match removed {
            Ok(()) => break,
            Err(problem) => {
                let text = format!("cannot remove {}: {}", resource.handle, problem.message());
                supervisor.run().diary(&text);
                if !problem.may_pass() || Instant::now() >= deadline {
                    supervisor.notice(&text);
                    return false;
                }
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    // Written with `cleaned_at`, or by the next supervisor, for which removing again is fine.
    let mut run = supervisor.run();
    let handle = resource.handle.clone();
    run.stage(|record| {
        let found = record
            .resources
            .iter_mut()
            .find(|made| made.handle == handle);
        if let Some(made) = found {
            made.stage = Stage::Removed;
        }
    });
    true
}
