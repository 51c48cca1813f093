//! Sessions, on real git repositories and real processes.

mod compose;
mod crash;
mod git;
mod hostile;
mod joined;
mod life;
mod odd;
mod ports;
mod processes;
pub(crate) mod project;
mod races;
mod running;
mod services;
mod tmux;
