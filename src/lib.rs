//! moat as a library: `src/main.rs` calls it, and tests can call it in process.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod container;
mod error;
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod launch;
mod plan;
mod program;
mod registry;
mod run;
mod runtime;
mod secret;
mod service;
mod session;
mod store;
mod term;
mod variable_name;
mod yaml;

/// Runs the command that `arguments` (without the name of the program) ask for, and returns the exit code.
pub fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    cli::main(arguments)
}

/// Checks that the parser accepts all commands of moat that a hint names, for tests.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub fn check_suggested_commands(hint: &str) -> Result<(), String> {
    cli::check_suggested_commands(hint)
}

/// Returns the commands of moat that a hint names, without `moat`, for tests.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub fn suggested_commands(hint: &str) -> Vec<String> {
    cli::suggested_commands(hint)
}
