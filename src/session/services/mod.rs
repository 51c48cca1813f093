//! The services of a session: containers of an engine, published on the host's loopback address only.
//!
//! They outlive the command that starts them, and no process watches them: the engine is asked for the state of all
//! of them at once. The intent is in the record before a resource is made; removal goes by the label of the session's
//! incarnation, not by names.

mod decisions;
mod health;
mod remove;
mod start;

pub(super) use decisions::{ServiceAction, ServiceDecisions};
pub(crate) use health::ServiceHealth;
pub(super) use health::{container, query_engines, service_healths};
pub(super) use remove::{remove, stop};

use crate::error::Result;
use crate::runtime::{self, Runtime};
use crate::store::Session;

/// The name of a session's network in the engine.
pub(super) fn network(session: &Session) -> String {
    format!("moat-{}", session.incarnation)
}

/// The name of a service's container in the engine.
fn handle(session: &Session, service: &str) -> String {
    format!("moat-{}-{service}", session.incarnation)
}

/// The engine of a session's services.
fn engine_of(session: &Session) -> Result<Box<dyn Runtime>> {
    let services = &session.services;
    let (name, settings) = (&services.runtime, &services.engine);
    Ok(runtime::of_session(
        name,
        settings,
        runtime::REQUEST_TIMEOUT,
    )?)
}
