//! Images that moat builds, built for real: what is in them, when they are built and when not, who
//! builds for whom, and that a build which fails or is stopped leaves nothing.
//!
//! No registry answers here, so builds begin with `moat-test/busybox:1` or `moat-test/debian:12`, each
//! test with a tag and a label of its own on top: so no test finds another one's builder cache, and
//! all that came of a test is removed with it.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod container;
mod examples;
mod failing;
mod owner;
mod place;
mod project;
mod runtimes;
mod secrets;
mod sharing;
