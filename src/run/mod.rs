//! Runs: from a plan to a final record, whoever is killed meanwhile.
//!
//! One process, the *supervisor* ([`supervise`]), owns a run. The client that a person typed starts
//! it ([`client`]) and may die at any time. Requests reach it as signals ([`request`]); when it dies
//! another one takes over ([`adopt`]).
//!
//! Inside the supervisor: the waiter ([`watch`]) polls `inspect`, keeps the output ([`capture`]),
//! records the end and raises the exit signal ([`exit`]); the main thread waits for that signal and
//! cleans up ([`cleanup`]).

mod adopt;
mod beginning;
mod capture;
mod cleanup;
mod client;
mod container;
mod exit;
mod image;
mod outlet;
mod places;
mod protocol;
mod request;
mod spawn;
mod start;
mod supervisor;
mod verdict;
mod watch;
mod workspace;

pub(crate) use adopt::{adopt, take_over};
pub(crate) use client::{Connection, Handle, connect};
pub(crate) use protocol::ToClient;
pub(crate) use request::{Answer, ask, wait};
pub(crate) use spawn::{ADOPT, SUPERVISE};
pub(crate) use start::supervise;
