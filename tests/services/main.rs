//! Services beside a run, on the real engine with real servers: that a workload reaches them and
//! nobody else does, that a service which fails says why, and that nothing is ever left of them.
//!
//! No registry answers here: the images are those that tests/setup makes of packages, and a stand-in
//! for Ollama.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../crash/support.rs"]
mod support;

mod config;
mod connects;
mod death;
mod exec;
mod failing;
mod injection;
mod logs;
mod passwords;
mod place;
mod private;
mod provisioning;
mod stopping;
mod timing;
