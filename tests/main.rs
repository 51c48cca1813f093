//! All tests that run the program, in one binary: the harness is compiled once, and one pool runs them all. A module
//! for each group; docs/testing.md has the list, and how to run a part of it.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod harness;

mod cli;
mod conformance;
mod crash;
mod engines;
mod images;
mod interactive;
mod layers;
mod races;
mod services;
mod sessions;
mod smoke;
mod standin;
