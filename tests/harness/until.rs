//! Waits for conditions with a timeout, so that no test relies on a fixed sleep.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The time between two samples of all command lines. An engine client takes 17 ms of a processor (docker 28.2.2), so no
/// call of one falls between two samples; a sampler without a break takes a whole processor from moat.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(3);

/// Waits until `done`, or fails and names `what` as the missing event.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    until_some(what, || done().then_some(()));
}

/// Waits until there is a value, or fails and names `what` as the missing event.
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
        // A check that starts programs would otherwise take the processor from the awaited work.
        std::thread::sleep(took.clamp(PAUSE, LONGEST_PAUSE));
    }
}
