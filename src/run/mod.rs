//! Runs: from a plan to a final record, whichever process is killed meanwhile.
//!
//! One process, the *supervisor* ([`supervise`]), owns a run. The client ([`client`]), the `moat run` process that
//! the user started, starts the supervisor and may die at any time. Requests reach the supervisor as signals
//! ([`end_request`]); when it dies, another one adopts the run ([`adopt`]).
//!
//! Inside the supervisor, the waiter watches the container ([`crate::container`]), records its exit ([`finish`]) and
//! raises the exit signal ([`exit_signal`]); the main thread waits for the signal and cleans up ([`cleanup`]).

mod adopt;
mod cleanup;
mod client;
mod container_spec;
mod end_request;
mod exec;
mod exit_signal;
mod finish;
mod image;
mod lifecycle;
mod mount_points;
mod protocol;
mod respawn;
mod save_workspace;
mod services;
mod supervisor;
mod terminal;
#[cfg(test)]
mod tests;
mod verdict;
mod wait_notice;

pub(crate) use adopt::{adopt, supervise_adopted};
pub(crate) use client::{
    Connection, OutputTarget, Streams, SupervisorLink, SupervisorProcess, connect,
};
pub(crate) use end_request::{
    RequestOutcome, request_end, wait, wait_for_requested_end, wait_until_unowned,
};
pub(crate) use exec::{ExecCanceller, ExecRequest, exec};
pub(crate) use lifecycle::supervise;
pub(crate) use protocol::{FromClient, ToClient};
pub(crate) use respawn::{ADOPT, SUPERVISE, own_executable};
