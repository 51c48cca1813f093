//! The exit signal: raised once, after the final state is on disk; the main thread waits for it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// A signal that stays raised.
#[derive(Debug, Default)]
pub(super) struct ExitSignal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl ExitSignal {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until the signal is raised or the deadline has passed. False: the deadline has passed.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        while !*raised {
            raised = match deadline {
                None => self
                    .changed
                    .wait(raised)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = self.changed.wait_timeout(raised, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }
}
