//! The command line: the real binary, exact stdout, stderr and exit code.

mod arguments;
mod check;
mod config;
mod deps;
mod engine;
mod fake_docker;
pub(crate) mod fixture;
mod help;
mod hints;
pub(crate) mod home;
pub(crate) mod kept;
mod plan;
mod records;
mod terminal;
mod values;
