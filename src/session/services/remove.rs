//! Taking containers of a session away, or stopping them: those that carry the label of its incarnation.

use std::time::{Duration, Instant};

use super::engine_of;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::runtime::{Labelled, ResourceOwner, Runtime, RuntimeError};
use crate::session::operation::OperationContext;
use crate::store::{ProcessIdentity, ResourceKind, ResourceStage, Session};

/// How long a service has to write down what it knows.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// How long an engine may go on with a request of somebody who was killed.
const LATE_RESOURCE_TIMEOUT: Duration = Duration::from_secs(2);

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Removes the containers of these services, with their data; `None`: all that there is of the session in its engine,
/// the network included.
pub(in crate::session) fn remove(
    context: &OperationContext<'_>,
    session: &Session,
    names: Option<&[&str]>,
) -> Result<()> {
    if session.services.runtime.is_empty() {
        return Ok(());
    }
    let runtime = engine_of(session)?;
    let deadline = Instant::now() + LATE_RESOURCE_TIMEOUT;
    loop {
        let found = find(context, session, runtime.as_ref(), names)?;
        let is_network = |one: &&Labelled| one.kind == ResourceKind::Network;
        for_each_parallel(&found, &|one| match is_network(&one) {
            true => Ok(()),
            false => runtime.remove(&one.handle),
        })?;
        for network in found.iter().filter(is_network) {
            runtime.remove_network(&network.handle)?;
        }
        // What a killed command has asked for may still come.
        if !may_still_appear(session, names) || Instant::now() >= deadline {
            return Ok(());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Stops the containers of these services, all at once. Their data stays.
pub(in crate::session) fn stop(
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

/// What carries the label of the incarnation, be it all or the containers of these services.
fn find(
    context: &OperationContext<'_>,
    session: &Session,
    runtime: &dyn Runtime,
    names: Option<&[&str]>,
) -> Result<Vec<Labelled>> {
    let whose = ResourceOwner::Session(session.incarnation.clone());
    let mut found = runtime.find_labelled(&context.home.hash())?;
    let (own, network) = (super::handle(session, ""), super::network(session));
    found.retain(|one| {
        // What comes from a compose file has the same label, and other names.
        if !one.handle.starts_with(&own) && one.handle != network {
            return false;
        }
        let is_meant = |names: &[&str]| {
            let mut handles = names.iter().map(|name| super::handle(session, name));
            one.kind == ResourceKind::Container && handles.any(|handle| handle == one.handle)
        };
        one.whose == whose && names.is_none_or(is_meant)
    });
    Ok(found)
}

/// Whether somebody was killed who may have asked for one of these and had no answer.
fn may_still_appear(session: &Session, names: Option<&[&str]>) -> bool {
    let owner = session
        .operation
        .as_ref()
        .and_then(|operation| operation.owner.as_ref());
    let is_ours = owner.is_some() && owner == ProcessIdentity::this().as_ref();
    let is_meant = |name: &str| names.is_none_or(|names| names.contains(&name));
    let mut open = session.services.list.iter();
    !is_ours && open.any(|entry| entry.stage == ResourceStage::Intent && is_meant(&entry.name))
}

/// Does it to all at once. Past failures: the first one is told.
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
