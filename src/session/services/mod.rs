//! The services of a session: containers of an engine, published on this host's loopback alone.
//!
//! They outlive the command that starts them, and nobody watches them: how they are is asked of the engine, all at
//! once. That something may have been made stands in the record before it is; what is taken away carries the label
//! of the session's incarnation, whatever it is called.

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

/// What the engine calls the network of a session.
pub(super) fn network(session: &Session) -> String {
    format!("moat-{}", session.incarnation)
}

/// What the engine calls the container of a service.
fn handle(session: &Session, service: &str) -> String {
    format!("moat-{}-{service}", session.incarnation)
}

/// The engine that has the services of a session.
fn engine_of(session: &Session) -> Result<Box<dyn Runtime>> {
    let services = &session.services;
    let (name, settings) = (&services.runtime, &services.engine);
    Ok(runtime::of_session(
        name,
        settings,
        runtime::REQUEST_TIMEOUT,
    )?)
}
