//! One container, from its start to its end: its output is kept ([`capture`]), its end is noticed
//! ([`watch`]).
//!
//! A run's own container and those of its services are looked after by the same code. What an end
//! means is for the one who asked for the container.

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

/// Whom the threads that read a container's output tell of it.
pub(crate) type OutputListener = Arc<dyn Fn(OutputEvent) + Send + Sync>;

/// A container that is watched, and what the watcher reports.
pub(crate) trait Watched: Send + Sync {
    /// What the runtime calls it.
    fn handle(&self) -> String;

    fn runtime(&self) -> &dyn Runtime;

    fn capture(&self) -> &Arc<Capture>;

    fn listener(self: Arc<Self>) -> OutputListener;

    /// When it started, as far as that is known.
    fn started_at(&self) -> Option<Timestamp>;

    /// It has been seen to run, with these ports published.
    fn saw_running(&self, started_at: Option<Timestamp>, ports: &[(u16, u16)]);

    /// Whether an end is one that is known already: then its next start has yet to come.
    fn is_known_exit(&self, _end: &Exit) -> bool {
        false
    }

    /// Starts it once more, as the engine has not heard that it is to start. `None`: that is not done.
    fn restart_interrupted(&self) -> runtime::Result<Option<Attached>>;

    /// Something that people should know.
    fn notice(&self, text: &str);

    /// The client that carried its output is gone, and the container is not.
    fn is_detached(self: Arc<Self>) {}

    /// Something that only who looks into a run wants to know.
    fn append_supervisor_log(&self, text: &str);
}
