//! Ctrl-C, Ctrl-Z, Ctrl-\ and SIGTERM while a client follows its run.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::SharedUi;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled_seconds;
use crate::run::{self, FromClient, SupervisorLink};
use crate::store::{EndRequest, Home, RunId};

/// Registers the signals that end a followed run or command.
pub(crate) fn signals() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM]).map_err(|error| handlers_error(&error))
}

fn handlers_error(error: &std::io::Error) -> Error {
    let reason = crate::error::os_error_text(error);
    Error::new(
        ErrorKind::Failed,
        format!("cannot install signal handlers: {reason}"),
    )
}

/// The signals to the client: the first stops the run, a second SIGINT kills it. They are registered before the
/// supervisor starts, so that none is lost. Without a terminal of the workload's, SIGTSTP suspends the client with the
/// output, and SIGQUIT ends the client and says what becomes of the run.
pub(super) struct Interrupts {
    signals: Signals,
    first: Arc<AtomicI32>,
}

/// A run as far as its client's signals need it, from its start on.
pub(super) type FollowedRun = Arc<Mutex<Option<(RunId, SupervisorLink)>>>;

impl Interrupts {
    pub(super) fn new(has_terminal: bool) -> Result<Interrupts> {
        let signals = signals()?;
        if !has_terminal {
            for signal in [SIGTSTP, SIGQUIT] {
                signals
                    .add_signal(signal)
                    .map_err(|error| handlers_error(&error))?;
            }
        }
        Ok(Interrupts {
            signals,
            first: Arc::default(),
        })
    }

    /// Passes signals to the target from now on. Returns the number of the first signal, 0 until then.
    pub(super) fn handle(
        mut self,
        target: Arc<Mutex<StopTarget>>,
        followed: FollowedRun,
        ui: SharedUi,
    ) -> Arc<AtomicI32> {
        let first = Arc::clone(&self.first);
        let recorded = Arc::clone(&first);
        std::thread::spawn(move || {
            for signal in self.signals.forever() {
                match signal {
                    SIGTSTP => suspend(&followed),
                    SIGQUIT => quit(&followed, &ui),
                    _ => end_run(signal, &recorded, &target, &ui),
                }
            }
        });
        first
    }
}

fn end_run(signal: i32, first: &AtomicI32, target: &Mutex<StopTarget>, ui: &SharedUi) {
    let again = first.load(Ordering::Acquire) != 0;
    if !again {
        first.store(signal, Ordering::Release);
    }
    if !again || signal == SIGINT {
        lock(target).end(again, ui);
    }
    // Print last, because stderr may block. On a raw terminal, Ctrl-C goes to the workload.
    if !again {
        ui.notice(match ui.is_raw() {
            true => "Stopping the run.",
            false => "Stopping the run. Press Ctrl-C again to kill it.",
        });
    }
}

/// Suspends this process until it is continued. The supervisor writes to the same terminal, so it pauses, too.
fn suspend(followed: &Mutex<Option<(RunId, SupervisorLink)>>) {
    let link = lock(followed).as_ref().map(|(_, link)| link.clone());
    if let Some(link) = &link {
        link.send(FromClient::Paused);
    }
    let _ = emulate_default_handler(SIGTSTP);
    if let Some(link) = &link {
        link.send(FromClient::Announced);
    }
}

/// Ends this process as the signal does without a handler. The run goes on.
fn quit(followed: &Mutex<Option<(RunId, SupervisorLink)>>, ui: &SharedUi) {
    if let Some((id, _)) = &*lock(followed) {
        ui.notice(&format!(
            "The run continues. Use 'moat logs {id} -f' to follow its output, or 'moat stop {id}' to end it."
        ));
    }
    let _ = emulate_default_handler(SIGQUIT);
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
    pub(super) fn end(&self, kill: bool, ui: &SharedUi) {
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
                    ui.warning(&error.message);
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
