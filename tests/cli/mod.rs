//! The command line: the real binary, exact stdout, stderr and exit code.

mod arguments;
mod check;
mod config;
mod deps;
mod engine;
mod fake_docker;
mod fixture;
mod help;
mod home;
mod kept;
mod plan;
mod records;
mod terminal;
mod values;
