//! The services of a session: containers of an engine, published on the host's loopback address only.
//!
//! They outlive the command that starts them, and no process watches them: the engine is asked for the state of all
//! of them at once. The intent is in the record before a resource is made; removal goes by the label of the session's
//! incarnation, not by names.

mod decisions;
mod engine;
mod health;
mod member;
mod remove;
mod start;

pub(super) use decisions::{ServiceAction, ServiceDecisions};
pub(super) use engine::network;
pub(crate) use health::ServiceHealth;
pub(super) use health::{container, query_engines, service_healths};
pub(super) use member::Services;
