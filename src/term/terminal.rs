//! A person's terminal, while a workload has it: raw, and brought back to what it was in the end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::modes::Modes;
use super::pty::Size;
use super::write_all;

/// A terminal, and what it was before.
pub(crate) struct Terminal {
    fd: OwnedFd,
    before: Termios,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_raw: bool,
    modes: Modes,
}

impl Terminal {
    /// Remembers what a terminal is like. Changes nothing.
    pub(crate) fn new(terminal: impl AsFd) -> io::Result<Arc<Terminal>> {
        let fd = terminal.as_fd().try_clone_to_owned()?;
        Ok(Arc::new(Terminal {
            before: tcgetattr(&fd)?,
            fd,
            state: Mutex::default(),
        }))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn size(&self) -> Size {
        Size::of(&self.fd).unwrap_or_default()
    }

    /// Lets every key through as it comes.
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let mut state = self.state();
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.fd, OptionalActions::Now, &raw)?;
        state.is_raw = true;
        Ok(())
    }

    /// Takes note of what goes to it.
    pub(crate) fn watch(&self, bytes: &[u8]) {
        self.state().modes.watch(bytes);
    }

    /// Brings it back, if it was ever changed. Safe to call twice.
    pub(crate) fn restore(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.is_raw) {
            return;
        }
        let modes = std::mem::take(&mut state.modes);
        let _ = write_all(&self.fd, modes.restoring().as_bytes());
        // What was typed for the workload is not for the shell.
        let _ = tcsetattr(&self.fd, OptionalActions::Flush, &self.before);
    }

    /// Brings it back for a while: what was on is given to [`Terminal::come_back`].
    pub(crate) fn leave(&self) -> String {
        let on = self.state().modes.setting();
        self.restore();
        on
    }

    /// Is a workload's again, with what that had switched on.
    pub(crate) fn come_back(&self, on: &str) {
        let _ = self.make_raw();
        self.watch(on.as_bytes());
        let _ = write_all(&self.fd, on.as_bytes());
    }

    /// Brings it back for a process that was killed while it had it.
    pub(crate) fn restore_for_another(&self) {
        self.state().is_raw = true;
        self.restore();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
