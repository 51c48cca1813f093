//! Removes and rolls back compose services by the label of the session's incarnation.

use std::time::{Duration, Instant};

use super::super::process_end::{self, COMPOSE_MARK};
use super::engine::{POLL_INTERVAL, failed};
use crate::error::Result;
use crate::runtime::{self, Removal};
use crate::store::{Session, SessionCompose};

/// Time for an engine to complete a request of a tool that was killed.
const LATE_RESOURCE_TIMEOUT: Duration = Duration::from_secs(2);

/// Removes the services that a killed `up` left incomplete, so that they are created again.
pub(in crate::session) fn roll_back_interrupted(session: Option<&Session>) -> Result<()> {
    let unsettled = session.filter(|session| {
        session
            .compose
            .as_ref()
            .is_some_and(|compose| compose.request_pending)
    });
    let Some(session) = unsettled else {
        return Ok(());
    };
    process_end::stop(session, &[COMPOSE_MARK])?;
    match &session.operation {
        Some(operation) => roll_back_compose(session, &operation.id),
        None => Ok(()),
    }
}

/// Rolls back an operation: the services that it started, or the whole project if none existed before. The tool does
/// not run any more.
pub(in crate::session) fn roll_back_compose(session: &Session, operation: &str) -> Result<()> {
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let own = compose
        .services
        .iter()
        .filter(|service| service.operation == operation);
    let names = |again: bool| -> Vec<&str> {
        let own = own
            .clone()
            .filter(|service| service.existed_before == again);
        own.map(|service| service.name.as_str()).collect()
    };
    let (new, old) = (names(false), names(true));
    let what = match compose.operation == operation {
        true => Removal::Everything,
        false if old.is_empty() && new.is_empty() => return Ok(()),
        false => Removal::Services {
            new: &new,
            old: &old,
        },
    };
    remove(session, compose, what)
}

/// Updates the record after [`roll_back_compose`].
pub(in crate::session) fn forget_rolled_back(session: &mut Session, operation: &str) {
    session.compose = session
        .compose
        .take()
        .filter(|compose| compose.operation != operation);
    if let Some(compose) = &mut session.compose {
        compose.request_pending = false;
        compose
            .services
            .retain(|service| service.operation != operation || service.existed_before);
    }
}

/// Removes the compose services of a session; `keep` stops them instead.
pub(in crate::session) fn remove_all(session: &Session, keep: bool) -> Result<()> {
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let what = match keep {
        true => Removal::Nothing,
        false => Removal::Everything,
    };
    remove(session, compose, what)
}

fn remove(session: &Session, compose: &SessionCompose, what: Removal<'_>) -> Result<()> {
    let remove = || runtime::remove_session(&compose.engine, &session.incarnation, what);
    remove().map_err(failed)?;
    // The engine may still be carrying out a request of a killed tool.
    let end = Instant::now() + LATE_RESOURCE_TIMEOUT;
    while compose.request_pending && Instant::now() < end {
        std::thread::sleep(POLL_INTERVAL);
        remove().map_err(failed)?;
    }
    Ok(())
}
