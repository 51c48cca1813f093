//! Asking an engine once more for what may work later.

use std::time::{Duration, Instant};

use super::error::Result;
use crate::failpoint::scaled;

/// How long to wait before it is asked again, each time.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Who was silent for that long is not asked again.
const MAX_SILENCE: Duration = Duration::from_secs(300);

/// Asks again as long as nothing is known against it, and notes why.
pub(crate) fn retry(
    should_continue: &dyn Fn() -> bool,
    note: &dyn Fn(&str),
    attempt: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    for pause in BACKOFF {
        let began = Instant::now();
        match attempt() {
            Err(problem)
                if problem.may_have_been_received()
                    && began.elapsed() < MAX_SILENCE
                    && should_continue() =>
            {
                note(&format!("{}; it is tried again", problem.message()));
                std::thread::sleep(scaled(pause));
            }
            result => return result,
        }
    }
    attempt()
}
