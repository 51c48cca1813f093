//! Ctrl-C and its like, while a client stays with its run.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled_seconds;
use crate::run;
use crate::store::{EndRequest, Home, RunId};

/// The signals that end what a client stays with.
pub(super) fn signals() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM]).map_err(|error| {
        let reason = crate::error::reason(&error);
        Error::new(
            ErrorKind::Failed,
            format!("cannot install signal handlers: {reason}"),
        )
    })
}

/// Signals to the client: the first one stops the run, a second SIGINT kills it. Registered before
/// there is a supervisor, so that none is lost.
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

    /// Passes them on from now on. Returns where the first one is noted.
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
                // Last, as nobody may be reading. On a terminal that a workload has, Ctrl-C is not for us.
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

/// Who is told to end the run.
pub(super) enum StopTarget {
    /// Our own supervisor, which is our child and not waited for: its pid cannot be another's.
    Supervisor(run::SupervisorProcess),
    /// Whoever has taken over.
    Run(Home, RunId),
    /// It has ended.
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
                if let Err(error) = run::ask(home, id, how) {
                    output::warning(&error.message);
                }
            }
            StopTarget::Ended => {}
        }
    }
}

/// How many seconds a workload gets to end by itself.
const GRACE_SECONDS: u32 = 10;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 130 or 143, if it was a signal that ended the run.
pub(super) fn interrupted(first: &AtomicI32) -> Option<u8> {
    match first.load(Ordering::Acquire) {
        SIGINT => Some(130),
        SIGTERM => Some(143),
        _ => None,
    }
}
