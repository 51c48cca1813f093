//! Waiting for what must come, with a deadline: no test sleeps for luck.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Waits until `done`, or fails saying `what` did not happen.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    until_some(what, || done().then_some(()));
}

/// Waits until there is a value, or fails saying `what` did not happen.
#[track_caller]
pub(crate) fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let began = Instant::now();
        if let Some(value) = look() {
            return value;
        }
        let took = began.elapsed();
        assert!(
            Instant::now() < deadline,
            "after {PATIENCE:?} still not: {what}"
        );
        // A look that starts programs would else take the processor from what it waits for.
        std::thread::sleep(took.clamp(PAUSE, LONGEST_PAUSE));
    }
}
