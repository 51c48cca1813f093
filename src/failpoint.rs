//! Checkpoints and faults that tests ask for by name, in the environment. Compiled to nothing
//! unless the cargo feature `failpoints` is on, which no release has.
//!
//! - `MOAT_CHECKPOINT=NAME` and `MOAT_CHECKPOINT_DIR=DIR`: a process that reaches checkpoint NAME
//!   writes `DIR/NAME` with its pid, and waits there until it is killed or the file is removed.
//! - `MOAT_FAULT=no-locks`: the filesystem refuses locks.
//! - `MOAT_FAULT=panic`: who reaches checkpoint NAME panics there.
//! - `MOAT_TEST_TIME=FACTOR`: graces, observation windows, pauses and retry limits of moat's own are multiplied by this
//!   decimal. Numbers that a user gave are never scaled, nor are the limits of a call to an engine, whose speed does not
//!   depend on us.
//! - `MOAT_TEST_TIMEOUT=FACTOR`: so are the limits of calls to an engine. For tests whose engine hangs: a real one on a
//!   busy machine needs the real limits.

use std::io;
use std::time::Duration;

#[cfg(feature = "failpoints")]
pub(crate) fn checkpoint(name: &str) {
    let wanted = std::env::var("MOAT_CHECKPOINT").is_ok_and(|wanted| wanted == name);
    let Some(dir) = std::env::var_os("MOAT_CHECKPOINT_DIR").filter(|_| wanted) else {
        return;
    };
    if std::env::var("MOAT_FAULT").is_ok_and(|fault| fault == "panic") {
        panic!("as the checkpoint {name} wants it");
    }
    let marker = std::path::Path::new(&dir).join(name);
    if marker.exists() {
        return;
    }
    let _ = std::fs::write(&marker, std::process::id().to_string());
    while marker.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn checkpoint(_name: &str) {}

/// What taking a lock answers where the filesystem has none.
#[cfg(feature = "failpoints")]
pub(crate) fn lock_error() -> Option<io::Error> {
    let wanted = std::env::var("MOAT_FAULT").is_ok_and(|fault| fault == "no-locks");
    wanted.then(|| io::Error::from(rustix::io::Errno::NOLCK))
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn lock_error() -> Option<io::Error> {
    None
}

/// What is scaled stays longer than this, which a busy machine may take to schedule a process.
#[cfg(feature = "failpoints")]
const SHORTEST: Duration = Duration::from_millis(200);

/// A grace, observation window, pause or retry limit, on the time scale of the test.
#[cfg(all(feature = "failpoints", not(test)))]
pub(crate) fn scaled(duration: Duration) -> Duration {
    static FACTOR: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    by(*FACTOR.get_or_init(|| factor("MOAT_TEST_TIME")), duration)
}

#[cfg(not(any(test, feature = "failpoints")))]
#[inline(always)]
pub(crate) fn scaled(duration: Duration) -> Duration {
    duration
}

#[cfg(test)]
pub(crate) fn scaled(duration: Duration) -> Duration {
    unit_scaled(duration)
}

/// A pause, or a limit of what an engine does, that is shorter in unit tests alone: their engine is in memory.
#[inline(always)]
pub(crate) fn unit_scaled(duration: Duration) -> Duration {
    match cfg!(test) {
        true => duration / 10,
        false => duration,
    }
}

/// The limit of a call to an engine, on the time scale of the test.
#[cfg(feature = "failpoints")]
pub(crate) fn scaled_timeout(duration: Duration) -> Duration {
    static FACTOR: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
    by(
        *FACTOR.get_or_init(|| factor("MOAT_TEST_TIMEOUT")),
        duration,
    )
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn scaled_timeout(duration: Duration) -> Duration {
    duration
}

/// The same as [`scaled`] for a grace in whole seconds, which is at least one: engines kill at once after none.
pub(crate) fn scaled_seconds(seconds: u32) -> u32 {
    let scaled = scaled(Duration::from_secs(u64::from(seconds)));
    u32::try_from(whole_seconds(scaled)).unwrap_or(seconds)
}

/// Whole seconds for an engine's command line: part of a second counts as one.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The factor that a variable has; 1 where it has none.
#[cfg(feature = "failpoints")]
fn factor(name: &str) -> f64 {
    let text = std::env::var(name).ok();
    let factor = text.and_then(|text| text.parse().ok());
    factor
        .filter(|factor: &f64| (0.0..=1.0).contains(factor))
        .unwrap_or(1.0)
}

#[cfg(feature = "failpoints")]
fn by(factor: f64, duration: Duration) -> Duration {
    duration.mul_f64(factor).max(duration.min(SHORTEST))
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_time_is_shorter_and_never_too_short() {
        let seconds = Duration::from_secs;
        assert_eq!(by(0.2, seconds(10)), seconds(2));
        assert_eq!(by(1.0, seconds(10)), seconds(10));
        assert_eq!(by(0.0, seconds(10)), SHORTEST);
        let short = Duration::from_millis(50);
        assert_eq!(by(0.1, short), short);
    }

    #[test]
    fn what_is_not_set_scales_nothing() {
        assert!((factor("MOAT_TEST_NO_SUCH_VARIABLE") - 1.0).abs() < f64::EPSILON);
        assert_eq!(scaled_seconds(10), 1, "a tenth, in unit tests");
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
