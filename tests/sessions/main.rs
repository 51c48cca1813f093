//! Sessions, on real git repositories and real processes.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../interactive/screen.rs"]
#[allow(dead_code)]
mod screen;

mod compose;
mod crash;
mod git;
mod hostile;
mod joined;
mod life;
mod odd;
mod ports;
mod processes;
mod project;
mod races;
mod running;
mod services;
mod tmux;
