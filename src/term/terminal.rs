//! A person's terminal, while a workload has it: raw, and brought back to what it was in the end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::modes::TerminalModes;
use super::pty::Size;
use super::write_within;

/// How long bringing it back waits for a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// A terminal, and what it was before. What is typed and what is shown may have descriptors of their own, as
/// `< /dev/tty` is for reading alone.
pub(crate) struct Terminal {
    keys: OwnedFd,
    screen: OwnedFd,
    state: Mutex<TerminalState>,
}

struct TerminalState {
    before: Termios,
    is_raw: bool,
    modes: TerminalModes,
}

impl Terminal {
    /// Remembers what a terminal is like. Changes nothing.
    pub(crate) fn new(keys: impl AsFd, screen: impl AsFd) -> io::Result<Arc<Terminal>> {
        let keys = keys.as_fd().try_clone_to_owned()?;
        let state = TerminalState {
            before: tcgetattr(&keys)?,
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

    /// Lets every key through as it comes.
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let mut state = self.state();
        tcsetattr(&self.keys, OptionalActions::Now, &raw(&state.before))?;
        state.is_raw = true;
        Ok(())
    }

    /// Takes note of what goes to it.
    pub(crate) fn watch(&self, bytes: &[u8]) {
        self.state().modes.watch(bytes);
    }

    /// Brings it back, if it was ever changed. Safe to call twice, and from the background.
    pub(crate) fn restore(&self) {
        let state = self.state();
        self.restore_from(state);
    }

    /// The same in a panic, which may be one of whoever was watching.
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
        let (modes, before) = (std::mem::take(&mut state.modes), state.before.clone());
        // Nobody waits for a terminal that takes nothing.
        drop(state);
        let _ = write_within(&self.screen, modes.restoring().as_bytes(), PATIENCE);
        if was_raw {
            // What was typed for the workload is not for the shell.
            let _ = tcsetattr(&self.keys, OptionalActions::Flush, &before);
        }
    }

    /// Brings it back for a while. What was on, for [`Terminal::come_back`]; `None` if no workload has it.
    pub(crate) fn leave(&self) -> Option<String> {
        let state = self.state();
        let on = state.is_raw.then(|| state.modes.setting());
        self.restore_from(state);
        on
    }

    /// Is a workload's again, with what that had switched on. What it was meanwhile is what it will be in the end.
    pub(crate) fn come_back(&self, on: &str) {
        if !self.is_ours() {
            return;
        }
        if let Ok(now) = tcgetattr(&self.keys) {
            self.state().before = now;
        }
        let _ = self.make_raw();
        self.watch(on.as_bytes());
        let _ = write_within(&self.screen, on.as_bytes(), PATIENCE);
    }

    /// Whether a workload has it. Then it is made raw once more: somebody may have had it meanwhile.
    pub(crate) fn reassert(&self) -> bool {
        let is_raw = self.state().is_raw && self.is_ours();
        is_raw && self.make_raw().is_ok()
    }

    /// Brings it back for a process that was killed while it had it. A shell may have it already: what that
    /// has set stays.
    pub(crate) fn restore_for_another(&self) {
        let (modes, before) = {
            let mut state = self.state();
            (std::mem::take(&mut state.modes), state.before.clone())
        };
        let is_as_left = |now: &Termios| modes_of(now) == modes_of(&raw(&before));
        if tcgetattr(&self.keys).is_ok_and(|now| is_as_left(&now)) {
            let _ = tcsetattr(&self.keys, OptionalActions::Now, &before);
        }
        let _ = write_within(&self.screen, modes.restoring().as_bytes(), PATIENCE);
    }

    /// Whether we may change it: who does so from the background is stopped. One that is not the terminal of
    /// our session stops nobody.
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
