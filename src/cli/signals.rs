//! Ctrl-C and SIGTERM while a client follows its run.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled_seconds;
use crate::run;
use crate::store::{EndRequest, Home, RunId};

/// Registers the signals that end a followed run or command.
pub(super) fn signals() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM]).map_err(|error| {
        let reason = crate::error::os_error_text(&error);
        Error::new(
            ErrorKind::Failed,
            format!("cannot install signal handlers: {reason}"),
        )
    })
}

/// The signals to the client: the first stops the run, a second SIGINT kills it. They are registered before the
/// supervisor starts, so that none is lost.
pub(super) struct Interrupts {
    signals: Signals,
    first: Arc<AtomicI32>,
}

impl Interrupts {
    pub(super) fn new() -> Result<Interrupts> {
        let signals = signals()?;
        Ok(Interrupts {
            signals,
            first: Arc::default(),
        })
    }

    /// Passes signals to the target from now on. Returns the number of the first signal, 0 until then.
    pub(super) fn handle(mut self, target: Arc<Mutex<StopTarget>>, quiet: bool) -> Arc<AtomicI32> {
        let first = Arc::clone(&self.first);
        std::thread::spawn(move || {
            for signal in self.signals.forever() {
                let again = self.first.load(Ordering::Acquire) != 0;
                if !again {
                    self.first.store(signal, Ordering::Release);
                }
                if !again || signal == SIGINT {
                    lock(&target).end(again);
                }
                // Print last, because stderr may block. On a raw terminal, Ctrl-C goes to the workload.
                if !again && !quiet {
                    output::print_notice(match output::is_raw() {
                        true => "Stopping the run.",
                        false => "Stopping the run. Press Ctrl-C again to kill it.",
                    });
                }
            }
        });
        first
    }
}

/// The receiver of requests to end the run.
pub(super) enum StopTarget {
    /// Our own supervisor. It is a child that was not waited for, so its pid cannot be reused.
    Supervisor(run::SupervisorProcess),
    /// The supervisor that has adopted the run.
    Run(Home, RunId),
    /// The run has ended.
    Ended,
}

impl StopTarget {
    pub(super) fn end(&self, kill: bool) {
        match self {
            StopTarget::Supervisor(handle) if kill => handle.kill(),
            StopTarget::Supervisor(handle) => handle.stop(),
            StopTarget::Run(home, id) => {
                let how = if kill {
                    EndRequest::Kill
                } else {
                    EndRequest::Stop(scaled_seconds(GRACE_SECONDS))
                };
                if let Err(error) = run::request_end(home, id, how) {
                    output::warning(&error.message);
                }
            }
            StopTarget::Ended => {}
        }
    }
}

/// The grace period after the first signal.
const GRACE_SECONDS: u32 = 10;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns 130 or 143 if a signal ended the run.
pub(super) fn interrupted(first: &AtomicI32) -> Option<u8> {
    match first.load(Ordering::Acquire) {
        SIGINT => Some(130),
        SIGTERM => Some(143),
        _ => None,
    }
}
