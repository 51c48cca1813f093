//! What a project can depend on: `registry.yaml`, which is part of the program, and a person's own
//! additions. All of it is data; a new tool is a new entry.

mod choose;
mod entry;
mod load;
mod read;
mod service;
mod spec;

pub(crate) use choose::{Chosen, check_version, choose};
pub(crate) use entry::{Entry, GithubBinary, Kind, Origin};
pub(crate) use load::{Registry, load};
pub(crate) use service::{DEFAULT_PORT, ITEM, Service};

#[cfg(test)]
pub(crate) mod tests;
