//! What people configure: a project's `moat.yaml`, and their own defaults in `config.yaml`.
//!
//! Strict: what is not known, or cannot be meant, is an error with its place. Here it is checked
//! whether a file makes sense by itself; what depends on the registry, the runtime or the host is for
//! the plan to check, which reports to the same [`crate::yaml::Source`].

mod compose;
mod container;
mod env_file;
mod file;
mod secret;
mod service;
mod session;
mod settings;
mod storage;
pub(crate) mod value;

pub(crate) use compose::{ComposeEntry, ComposeSettings};
pub(crate) use container::Ulimit;
pub(crate) use env_file::parse as parse_env_file;
pub(crate) use file::{Defaults, File, defaults, project};
pub(crate) use secret::{Secret, Vault};
pub(crate) use service::{SERVICE_KEYS, Service};
pub(crate) use session::{HostProcess, Inherit, SessionSettings};
pub(crate) use settings::{Base, Hooks, Port};
pub(crate) use storage::{Volume, VolumeKind};
pub(crate) use value::WORKSPACE;

#[cfg(test)]
pub(crate) mod tests;
