//! Whatever process is killed, nothing is lost, nothing is left, and no record is wrong.
//!
//! The tests kill the supervisor, the client, the sandbox's shim and the engine at every step, and fill the disk.
//! Then one plain command must be enough to repair everything.

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
