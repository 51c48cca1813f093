//! Runs: from a plan to a final record, whoever is killed meanwhile.
//!
//! One process, the *supervisor* ([`supervise`]), owns a run. The client that a person typed starts
//! it ([`client`]) and may die at any time. Requests reach it as signals ([`request`]); when it dies
//! another one takes over ([`adopt`]).
//!
//! Inside the supervisor: the waiter watches the container ([`crate::container`]), records its end
//! ([`settle`]) and raises the exit signal ([`exit`]); the main thread waits for that signal and
//! cleans up ([`cleanup`]).

mod adopt;
mod cleanup;
mod client;
mod exec;
mod exit;
mod image;
mod places;
mod protocol;
mod request;
mod services;
mod settle;
mod spawn;
mod specify;
mod start;
mod supervisor;
mod typing;
mod verdict;
mod workspace;

pub(crate) use adopt::{adopt, take_over};
pub(crate) use client::{Connection, Handle, Link, Output, Streams, connect};
pub(crate) use exec::{Ender, Exec, exec};
pub(crate) use protocol::{FromClient, ToClient};
pub(crate) use request::{Answer, ask, see_through, settle, wait};
pub(crate) use spawn::{ADOPT, SUPERVISE, program};
pub(crate) use start::supervise;
