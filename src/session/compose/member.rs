//! Compose services as a member of a session. They are removed by the label of the session's incarnation.

use std::time::{Duration, Instant};

use super::super::process_end::{self, COMPOSE_MARK};
use super::engine::{POLL_INTERVAL, failed};
use super::health::is_complete;
use super::start::start;
use crate::error::{Error, Result};
use crate::runtime::{self, Removal};
use crate::session::member::{BringUp, Member, Scope, Teardown};
use crate::store::{Claim, Home, Session, SessionCompose};

/// Time for an engine to complete a request of a tool that was killed.
const LATE_RESOURCE_TIMEOUT: Duration = Duration::from_secs(2);

/// The services from a compose file.
pub(in crate::session) struct ComposeServices;

impl Member for ComposeServices {
    fn is_complete(&self, _home: &Home, session: &Session) -> bool {
        is_complete(session)
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        start(up, claim)
    }

    fn stop(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        end_all(teardown, Removal::Nothing)
    }

    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let Scope::Operation { id, .. } = teardown.scope else {
            return end_all(teardown, Removal::Everything);
        };
        roll_back(teardown.session, id)?;
        teardown.checkpoint("compose");
        Ok(())
    }

    fn abandon(&self, teardown: &mut Teardown<'_>, error: Error) -> Result<()> {
        match &teardown.session.compose {
            Some(compose) => {
                teardown.abandon_engine(runtime::COMPOSE_RUNTIME.as_str(), &compose.engine, error)
            }
            None => Err(error),
        }
    }

    fn forget(&self, teardown: &Teardown<'_>, record: &mut Session) {
        let scope = teardown.scope;
        let compose = record.compose.take();
        record.compose = compose.filter(|compose| !scope.removes(&compose.operation));
        if let Some(compose) = &mut record.compose {
            compose.request_pending = false;
            let services = &mut compose.services;
            services.retain(|it| !scope.forgets(&it.operation, it.existed_before));
            if matches!(scope, Scope::Stop) {
                services.iter_mut().for_each(|it| it.operation.clear());
            }
        }
    }
}

fn end_all(teardown: &Teardown<'_>, what: Removal<'_>) -> Result<()> {
    if let Some(compose) = &teardown.session.compose {
        remove(teardown.session, compose, what)?;
    }
    teardown.checkpoint("compose");
    Ok(())
}

/// Removes the services that a killed `up` left incomplete, so that they are created again.
pub(in crate::session) fn roll_back_interrupted(session: Option<&Session>) -> Result<()> {
    let is_unsettled = |compose: &SessionCompose| compose.request_pending;
    match session {
        Some(session) if session.compose.as_ref().is_some_and(is_unsettled) => {
            process_end::stop(session, &[COMPOSE_MARK])?;
            let operation = session.operation_id();
            operation.map_or(Ok(()), |operation| roll_back(session, operation))
        }
        _ => Ok(()),
    }
}

/// Removes the services that an operation started, or the whole project if none existed before. The tool does not run
/// any more.
fn roll_back(session: &Session, operation: &str) -> Result<()> {
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let names = |again: bool| -> Vec<&str> {
        let own = compose.services.iter();
        let own = own.filter(|it| it.operation == operation && it.existed_before == again);
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

/// Removes the resources of the incarnation, or stops them (`Removal::Nothing`).
fn remove(session: &Session, compose: &SessionCompose, what: Removal<'_>) -> Result<()> {
    let engine = runtime::compose_engine(&compose.engine, runtime::REQUEST_TIMEOUT);
    let remove = || engine.remove_session(&session.incarnation, what);
    remove().map_err(failed)?;
    // The engine may still be carrying out a request of a killed tool.
    let end = Instant::now() + LATE_RESOURCE_TIMEOUT;
    while compose.request_pending && Instant::now() < end {
        std::thread::sleep(POLL_INTERVAL);
        remove().map_err(failed)?;
    }
    Ok(())
}
