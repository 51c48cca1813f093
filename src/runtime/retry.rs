//! Repeats engine requests that may succeed later.

use std::time::{Duration, Instant};

use super::error::Result;
use crate::failpoint::scaled;

/// The delays between the attempts.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A request without an answer for this long is not repeated.
const MAX_SILENCE: Duration = Duration::from_secs(300);

/// Repeats a request while its errors are transient, and reports each error.
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
                note(&format!("{}; trying again", problem.message()));
                std::thread::sleep(scaled(pause));
            }
            result => return result,
        }
    }
    attempt()
}
