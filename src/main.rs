//! Arguments in, exit code out.

#![forbid(unsafe_code)]

mod error;
mod failpoint;
mod runtime;
mod store;
mod term;

fn main() {}
