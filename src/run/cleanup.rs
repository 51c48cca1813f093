//! Removes the resources of a run according to the journal, in reverse order of creation, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lifecycle::CLEANUP_TIMEOUT;
use super::save_workspace;
use super::supervisor::Supervisor;
use crate::container::Watched;
use crate::failpoint::{checkpoint, scaled, unit_scaled};
use crate::runtime::{Inspected, Runtime, RuntimeError};
use crate::store::{Resource, ResourceKind, ResourceStage, RunDir, Timestamp};

/// Cleans up; only the first caller does. A resource that cannot be removed stays in the journal and the run stays
/// unclean: the next moat command tries again.
pub(super) fn clean_up(supervisor: &Arc<Supervisor>) {
    supervisor.cleanup.call_once(|| {
        checkpoint("before-cleanup");
        let record = supervisor.record();
        // A killed build may have left it.
        let context = supervisor.run().dir().build_context();
        let _ = std::fs::remove_dir_all(context);
        if let Some(services) = supervisor.services.get() {
            services.end();
            checkpoint("services-ended");
        }
        let own = |resource: &&Resource| resource.handle == record.id.as_str();
        let left = record.resources.iter().rev();
        let left = left.filter(|resource| resource.stage != ResourceStage::Removed);
        let (own, services): (Vec<_>, Vec<_>) = left.partition(own);
        // The workload's files may exist in the container only.
        let (saved, mut clean) = std::thread::scope(|scope| {
            let any = !services.is_empty();
            let removal = any.then(|| scope.spawn(|| remove_all(supervisor, &services)));
            let saved = save_workspace::save(supervisor, &record);
            let removed = removal.is_none_or(|removal| removal.join().unwrap_or_default());
            (saved, removed)
        });
        if !saved {
            return;
        }
        checkpoint("workspace-saved");
        // A kept container is intended; 'destroy' removes it and its network.
        if !(record.settings.limits.keep && record.started_at.is_some()) {
            let of_kind = |kind| own.iter().filter(move |resource| resource.kind == kind);
            clean &=
                of_kind(ResourceKind::Container).all(|container| remove(supervisor, container));
            clean &= of_kind(ResourceKind::Network).all(|network| remove(supervisor, network));
        }
        checkpoint("removed");
        if clean {
            supervisor.update(|record| record.cleaned_at = Some(Timestamp::now()));
            supervisor.run().drop_reserve();
            supervisor.run().dir().end_engine_request();
        }
    });
}

/// Removes containers in parallel.
fn remove_all(supervisor: &Supervisor, containers: &[&Resource]) -> bool {
    std::thread::scope(|scope| {
        let removals: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(|| remove(supervisor, container)))
            .collect();
        let ended = removals.into_iter().map(|removal| removal.join());
        ended.fold(true, |clean, removed| clean & removed.unwrap_or_default())
    })
}

/// Whether a requested resource is missing but may still appear.
pub(super) fn may_still_appear(runtime: &dyn Runtime, dir: &RunDir, resource: &Resource) -> bool {
    let handle = resource.handle.as_str();
    if resource.stage != ResourceStage::Intent || !dir.has_engine_request(resource.kind, handle) {
        return false;
    }
    match resource.kind {
        ResourceKind::Network => {
            let networks = runtime.networks();
            networks.is_some_and(|networks| matches!(networks.has_network(handle), Ok(false)))
        }
        _ => matches!(
            runtime.inspect(&[handle]).as_deref(),
            Ok([Inspected::Missing])
        ),
    }
}

fn remove(supervisor: &Supervisor, resource: &Resource) -> bool {
    let dir = supervisor.run().dir().clone();
    if may_still_appear(supervisor.runtime.as_ref(), &dir, resource) {
        // The next command checks again.
        return false;
    }
    let deadline = Instant::now() + scaled(CLEANUP_TIMEOUT);
    let mut pause = unit_scaled(Duration::from_millis(50));
    loop {
        let removed = match resource.kind {
            ResourceKind::Unknown => return false,
            kind => supervisor.runtime.remove_resource(kind, &resource.handle),
        };
        match removed {
            Ok(()) | Err(RuntimeError::NotFound(_)) => break,
            Err(problem) => {
                let text = format!("cannot remove {}: {}", resource.handle, problem.message());
                supervisor.run().append_supervisor_log(&text);
                if !problem.is_transient() || Instant::now() >= deadline {
                    supervisor.notice(&text);
                    return false;
                }
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(unit_scaled(Duration::from_secs(2)));
    }
    // Written together with `cleaned_at`, or by the next supervisor; removing a resource twice is harmless.
    let mut run = supervisor.run();
    run.stage(|record| {
        let mut made = record.resources.iter_mut();
        let found = made.find(|made| made.kind == resource.kind && made.handle == resource.handle);
        if let Some(made) = found {
            made.stage = ResourceStage::Removed;
        }
    });
    true
}
