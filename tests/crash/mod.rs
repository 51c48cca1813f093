//! Whoever is killed, nothing is lost, nothing is left, and nothing lies.
//!
//! The supervisor, the client, the sandbox's shim and the engine are killed at every step; the disk
//! is filled; then one plain command must be enough to put everything right.

mod adoption;
mod attach;
mod client;
mod clock;
mod disk;
pub(crate) mod engine;
mod engine_restart;
mod held_back;
mod idle;
mod ports;
mod requests;
mod secrets;
mod services;
mod services_adoption;
mod services_requests;
mod shim;
mod sidecars;
mod stalled;
mod supervisor;
mod workspace;
