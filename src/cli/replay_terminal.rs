//! The terminal while a log is shown on it: modes that the logged output leaves on are switched off at the end.

use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::term::Terminal;

/// Our terminal. Dropping this value restores its modes, and so does a signal that ends or suspends moat.
pub(super) struct ReplayTerminal(Arc<Terminal>);

impl ReplayTerminal {
    /// Starts to track the terminal. Returns `None` if stdout is not a terminal.
    pub(super) fn begin() -> Option<ReplayTerminal> {
        let terminal = Terminal::new(rustix::stdio::stdout(), rustix::stdio::stdout()).ok()?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP]).ok()?;
        let ours = Arc::clone(&terminal);
        std::thread::spawn(move || {
            for signal in signals.forever() {
                ours.restore();
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
        Some(ReplayTerminal(terminal))
    }

    /// Records the modes that the shown bytes set.
    pub(super) fn watch(&self, bytes: &[u8]) {
        self.0.watch(bytes);
    }
}

impl Drop for ReplayTerminal {
    fn drop(&mut self) {
        self.0.restore();
    }
}
