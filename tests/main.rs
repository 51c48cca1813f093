//! All tests that run the program, in one binary, so that the harness is compiled once and one pool runs all tests.
//! Each group is a module; docs/testing.md lists the groups, and says how to run one.
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
