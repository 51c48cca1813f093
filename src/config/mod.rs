//! The configuration: a project's `moat.yaml`, and the user's defaults in `config.yaml`.
//!
//! Strict: an unknown or senseless setting is an error with its position. This module checks a file by itself. The
//! plan checks what depends on the registry, the runtime or the host, and reports to the same
//! [`crate::yaml::Source`].

mod compose;
mod container;
mod env_file;
mod file;
mod inherit;
mod mounts;
pub(crate) mod scalar_values;
mod secret;
mod service;
mod session;
mod settings;

pub(crate) use compose::{ComposeServiceConfig, ComposeSettings};
pub(crate) use container::ContainerConfig;
pub(crate) use env_file::parse as parse_env_file;
pub(crate) use file::{ConfigFile, UserDefaults, defaults, project};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use file::{parse_defaults, parse_project};
pub(crate) use inherit::is_of_git;
pub(crate) use mounts::{FileMount, VolumeConfig, VolumeKind};
pub(crate) use scalar_values::WORKSPACE;
pub(crate) use secret::{SecretSource, Vault};
pub(crate) use service::{SERVICE_KEYS, ServiceConfig};
pub(crate) use session::{HostProcess, SessionSettings};
pub(crate) use settings::{Hooks, PortConfig, RootFilesystem, Settings};

#[cfg(test)]
pub(crate) mod tests;
