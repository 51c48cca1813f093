//! A notice about a wait that takes unusually long, so that nobody watches a silent terminal.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use super::SharedUi;

/// Time after which an engine that does not answer a question is named.
pub(super) const SLOW_ANSWER: Duration = Duration::from_secs(3);

/// Time after which a start without any progress is named. A busy machine needs seconds for one.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);

/// Prints a notice after some time, unless it is cancelled or dropped before.
pub(super) struct SlowNotice(Option<Sender<()>>);

impl SlowNotice {
    pub(super) fn new(ui: &SharedUi, after: Duration, text: String) -> SlowNotice {
        if !ui.shows_notices() {
            return SlowNotice(None);
        }
        let (done, is_done) = mpsc::channel::<()>();
        let ui = std::sync::Arc::clone(ui);
        std::thread::spawn(move || {
            if is_done.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                ui.print_notice(&text);
            }
        });
        SlowNotice(Some(done))
    }

    pub(super) fn cancel(&mut self) {
        drop(self.0.take());
    }
}
