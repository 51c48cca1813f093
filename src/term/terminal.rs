//! The user's terminal while a workload uses it: raw mode, and the restoration of the earlier state.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::modes::TerminalModes;
use super::pty::Size;
use super::write_within;

/// The timeout for writing the restoring sequence to a terminal that accepts no output.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(2);

/// A terminal and its earlier state. Keys and screen can have separate descriptors, because `< /dev/tty` opens the
/// terminal for reading only.
pub(crate) struct Terminal {
    keys: OwnedFd,
    screen: OwnedFd,
    state: Mutex<TerminalState>,
}

struct TerminalState {
    saved: Termios,
    is_raw: bool,
    modes: TerminalModes,
}

impl Terminal {
    /// Reads the state of a terminal without changing it.
    pub(crate) fn new(keys: impl AsFd, screen: impl AsFd) -> io::Result<Arc<Terminal>> {
        let keys = keys.as_fd().try_clone_to_owned()?;
        let state = TerminalState {
            saved: tcgetattr(&keys)?,
            is_raw: false,
            modes: TerminalModes::default(),
        };
        Ok(Arc::new(Terminal {
            keys,
            screen: screen.as_fd().try_clone_to_owned()?,
            state: Mutex::new(state),
        }))
    }

    pub(crate) fn keys(&self) -> &OwnedFd {
        &self.keys
    }

    pub(crate) fn screen(&self) -> &OwnedFd {
        &self.screen
    }

    pub(crate) fn size(&self) -> Size {
        Size::of(&self.screen).unwrap_or_default()
    }

    /// Sets raw mode, in which every key reaches the workload immediately.
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let mut state = self.state();
        tcsetattr(&self.keys, OptionalActions::Now, &raw(&state.saved))?;
        state.is_raw = true;
        Ok(())
    }

    /// Records the modes that `bytes`, which go to the terminal, set.
    pub(crate) fn watch(&self, bytes: &[u8]) {
        self.state().modes.watch(bytes);
    }

    /// Restores the earlier state, if it was changed. Can be called twice, and by a background process.
    pub(crate) fn restore(&self) {
        let state = self.state();
        self.restore_from(state);
    }

    /// Restores the terminal in a panic. Does nothing if the state is locked, because the panicking thread may hold it.
    pub(crate) fn restore_in_panic(&self) {
        if let Ok(state) = self.state.try_lock() {
            self.restore_from(state);
        }
    }

    fn restore_from(&self, mut state: MutexGuard<'_, TerminalState>) {
        if !self.is_ours() {
            return;
        }
        let was_raw = std::mem::take(&mut state.is_raw);
        let (modes, before) = (std::mem::take(&mut state.modes), state.saved.clone());
        // Other threads must not wait on the lock while a terminal accepts no output.
        drop(state);
        let _ = write_within(
            &self.screen,
            modes.reset_sequence().as_bytes(),
            RESTORE_TIMEOUT,
        );
        if was_raw {
            // Flush, because input for the workload must not reach the shell.
            let _ = tcsetattr(&self.keys, OptionalActions::Flush, &before);
        }
    }

    /// Restores the earlier state while moat is suspended. Returns the sequence for [`Terminal::come_back`], or `None`
    /// if no workload has the terminal.
    pub(crate) fn suspend(&self) -> Option<String> {
        let state = self.state();
        let on = state.is_raw.then(|| state.modes.set_sequence());
        self.restore_from(state);
        on
    }

    /// Gives the terminal back to the workload, with the workload's modes. From now on, [`Terminal::restore`] restores
    /// the state that the terminal has at this moment.
    pub(crate) fn resume(&self, on: &str) {
        if !self.is_ours() {
            return;
        }
        if let Ok(now) = tcgetattr(&self.keys) {
            self.state().saved = now;
        }
        let _ = self.make_raw();
        self.watch(on.as_bytes());
        let _ = write_within(&self.screen, on.as_bytes(), RESTORE_TIMEOUT);
    }

    /// Returns whether a workload has the terminal. If so, sets raw mode again: another process may have changed it.
    pub(crate) fn make_raw_again(&self) -> bool {
        let is_raw = self.state().is_raw && self.is_ours();
        is_raw && self.make_raw().is_ok()
    }

    /// Restores the terminal of a client that was killed. If a shell has changed the terminal, its settings stay.
    pub(crate) fn restore_after_killed_client(&self) {
        let (modes, before) = {
            let mut state = self.state();
            (std::mem::take(&mut state.modes), state.saved.clone())
        };
        let is_as_left = |now: &Termios| modes_of(now) == modes_of(&raw(&before));
        if tcgetattr(&self.keys).is_ok_and(|now| is_as_left(&now)) {
            let _ = tcsetattr(&self.keys, OptionalActions::Now, &before);
        }
        let _ = write_within(
            &self.screen,
            modes.reset_sequence().as_bytes(),
            RESTORE_TIMEOUT,
        );
    }

    /// Returns whether this process may change the terminal: the kernel stops a background process that tries. This
    /// does not apply to a terminal that is not the controlling terminal of this process.
    fn is_ours(&self) -> bool {
        !tcgetpgrp(&self.keys).is_ok_and(|owner| owner != getpgrp())
    }

    fn state(&self) -> MutexGuard<'_, TerminalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(before: &Termios) -> Termios {
    let mut raw = before.clone();
    raw.make_raw();
    raw
}

fn modes_of(termios: &Termios) -> impl PartialEq + use<> {
    (
        termios.local_modes,
        termios.input_modes,
        termios.output_modes,
        termios.control_modes,
    )
}
