//! One container, from its start to its end: its output is captured ([`capture`]) and its exit is noticed
//! ([`waiter`]).
//!
//! A run's own container and those of its services are watched by the same code. The caller decides what an exit
//! means.

mod capture;
mod client_stream;
mod stderr_prefix;
#[cfg(test)]
mod tests;
mod waiter;

use std::sync::Arc;

pub(crate) use capture::{Capture, OutputEvent};
pub(crate) use waiter::{PollSchedule, Waiter};

use crate::runtime::{self, Attached, Exit, Runtime};
use crate::store::Timestamp;

/// Receives events from the threads that read a container's output.
pub(crate) type OutputListener = Arc<dyn Fn(OutputEvent) + Send + Sync>;

/// A watched container, and the receiver of the waiter's reports.
pub(crate) trait Watched: Send + Sync {
    /// The container's handle.
    fn handle(&self) -> String;

    fn runtime(&self) -> &dyn Runtime;

    fn capture(&self) -> &Arc<Capture>;

    fn listener(self: Arc<Self>) -> OutputListener;

    /// The container's start time, if it is known.
    fn started_at(&self) -> Option<Timestamp>;

    /// Reports that the container runs, with its published ports.
    fn saw_running(&self, started_at: Option<Timestamp>, ports: &[(u16, u16)]);

    /// Whether an exit is already known; then the next start is still to come.
    fn is_known_exit(&self, _end: &Exit) -> bool {
        false
    }

    /// Starts the container again after the engine lost the start request. `None`: no restart.
    fn restart_interrupted(&self) -> runtime::Result<Option<Attached>>;

    /// Reports a notice for the user.
    fn notice(&self, text: &str);

    /// Reports that the client with the output has ended while the container still runs.
    fn is_detached(self: Arc<Self>) {}

    /// Adds a line to the supervisor log.
    fn append_supervisor_log(&self, text: &str);
}
