//! Arguments in, exit code out.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod container;
mod error;
mod failpoint;
mod image;
mod json;
mod plan;
mod registry;
mod run;
mod runtime;
mod service;
mod session;
mod store;
mod term;
mod thread;
mod yaml;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os().skip(1)))
}
