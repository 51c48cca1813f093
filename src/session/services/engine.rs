//! The engine of a session's services, and the names of its resources there.

use crate::error::Result;
use crate::runtime::{self, Runtime};
use crate::store::Session;

/// The name of a session's network in the engine.
pub(in crate::session) fn network(session: &Session) -> String {
    format!("moat-{}", session.incarnation)
}

/// The name of a service's container in the engine.
pub(super) fn handle(session: &Session, service: &str) -> String {
    format!("moat-{}-{service}", session.incarnation)
}

/// The engine of a session's services.
pub(super) fn engine_of(session: &Session) -> Result<Box<dyn Runtime>> {
    let services = &session.services;
    let (name, settings) = (&services.runtime, &services.engine);
    Ok(runtime::of_session(
        name,
        settings,
        runtime::REQUEST_TIMEOUT,
    )?)
}
