//! The possible dependencies of a project: `registry.yaml`, which is part of the program, and the user's own entries.
//! The registry is data: a new tool is a new entry.

mod dependency_name;
mod entry;
mod entry_schema;
mod load;
mod resolution;
mod service;

pub(crate) use entry::{EntryKind, EntryOrigin, GithubBinary, RegistryEntry};
pub(crate) use load::{Registry, load};
pub(crate) use resolution::{ResolvedDependency, check_version, choose};
pub(crate) use service::{DEFAULT_PORT, ITEM_PLACEHOLDER, ServiceTemplate};

#[cfg(test)]
pub(crate) mod tests;
