//! The command line: the real binary, exact stdout, stderr and exit code.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod arguments;
mod check;
mod config;
mod deps;
mod engine;
mod fake_docker;
mod fixture;
mod help;
mod home;
mod plan;
mod records;
mod terminal;
mod values;
