//! A log that is shown on a terminal: what its workload switched on there and left on is switched off again.

use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::term::Terminal;

/// Our terminal, which is brought back when this is dropped, and when a signal ends or suspends us.
pub(super) struct ReplayTerminal(Arc<Terminal>);

impl ReplayTerminal {
    /// `None`: stdout is no terminal.
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

    /// Takes note of what is shown.
    pub(super) fn watch(&self, bytes: &[u8]) {
        self.0.watch(bytes);
    }
}

impl Drop for ReplayTerminal {
    fn drop(&mut self) {
        self.0.restore();
    }
}
