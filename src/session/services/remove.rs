//! Removes or stops containers of a session, by the label of its incarnation.

use std::time::{Duration, Instant};

use super::engine::{engine_of, handle, network};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::{scaled, unit_scaled};
use crate::runtime::{Labelled, ResourceOwner, Runtime, RuntimeError};
use crate::session::operation::OperationContext;
use crate::store::{ProcessIdentity, ResourceKind, ResourceStage, Session};

/// Grace period for a service to save its data.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Time for an engine to complete a request of a killed command.
const LATE_RESOURCE_TIMEOUT: Duration = Duration::from_secs(2);

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Removes the containers of the given services, with their data; `None`: every resource of the session on its
/// engine, including the network.
pub(super) fn remove(
    context: &OperationContext<'_>,
    session: &Session,
    names: Option<&[&str]>,
) -> Result<()> {
    if session.services.runtime.is_empty() {
        return Ok(());
    }
    let runtime = engine_of(session)?;
    let deadline = Instant::now() + unit_scaled(LATE_RESOURCE_TIMEOUT);
    loop {
        let found = find(context, session, runtime.as_ref(), names)?;
        let is_network = |one: &&Labelled| one.kind == ResourceKind::Network;
        for_each_parallel(&found, &|one| match is_network(&one) {
            true => Ok(()),
            false => runtime.remove(&one.handle),
        })?;
        for network in found.iter().filter(is_network) {
            runtime.remove_resource(network.kind, &network.handle)?;
        }
        // The engine may still complete a request of a killed command.
        if !may_still_appear(session, names) || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(unit_scaled(POLL_INTERVAL));
    }
}

/// Stops the containers of the given services at once. Their data stays.
pub(super) fn stop(
    context: &OperationContext<'_>,
    session: &Session,
    names: &[&str],
) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let runtime = engine_of(session)?;
    let found = find(context, session, runtime.as_ref(), Some(names))?;
    for_each_parallel(&found, &|one| {
        runtime.stop(&one.handle, scaled(GRACE_PERIOD))
    })
}

/// The resources with the label of the incarnation: all, or the containers of the given services.
fn find(
    context: &OperationContext<'_>,
    session: &Session,
    runtime: &dyn Runtime,
    names: Option<&[&str]>,
) -> Result<Vec<Labelled>> {
    let whose = ResourceOwner::Session(session.incarnation.clone());
    let labels = context.home.labels()?;
    let mut found = runtime.find_labelled()?;
    let (own, network) = (handle(session, ""), network(session));
    found.retain(|one| {
        // Resources of a compose file have the same label and other names.
        if !one.handle.starts_with(&own) && one.handle != network {
            return false;
        }
        let is_meant = |names: &[&str]| {
            let mut handles = names.iter().map(|name| handle(session, name));
            one.kind == ResourceKind::Container && handles.any(|handle| handle == one.handle)
        };
        labels.include(&one.home_label) && one.owner == whose && names.is_none_or(is_meant)
    });
    Ok(found)
}

/// Whether a killed command may have a pending request for one of the services.
fn may_still_appear(session: &Session, names: Option<&[&str]>) -> bool {
    let owner = session
        .operation
        .as_ref()
        .and_then(|operation| operation.owner.as_ref());
    let is_ours = owner.is_some() && owner == ProcessIdentity::current().as_ref();
    let is_meant = |name: &str| names.is_none_or(|names| names.contains(&name));
    let mut open = session.services.list.iter();
    !is_ours && open.any(|entry| entry.stage == ResourceStage::Intent && is_meant(&entry.name))
}

/// Runs an action on all resources at once, past failures; returns the first error.
fn for_each_parallel(
    found: &[Labelled],
    work: &(dyn Fn(&Labelled) -> std::result::Result<(), RuntimeError> + Sync),
) -> Result<()> {
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = found
            .iter()
            .map(|one| (one, scope.spawn(move || work(one))))
            .collect();
        let joined = threads.into_iter();
        joined.map(|(one, thread)| (one, thread.join())).collect()
    });
    for (one, result) in done {
        let failed = |problem| {
            let error = Error::from(problem);
            let message = format!("{}: {}", one.handle, error.message);
            error.with_message(message)
        };
        match result {
            Ok(result) => result.map_err(failed)?,
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::Failed,
                    format!("{}: panic", one.handle),
                ));
            }
        }
    }
    Ok(())
}
