//! Checkpoints and faults that tests ask for by name, in the environment. Compiled to nothing
//! unless the cargo feature `failpoints` is on, which no release has.
//!
//! - `MOAT_CHECKPOINT=NAME` and `MOAT_CHECKPOINT_DIR=DIR`: a process that reaches checkpoint NAME
//!   writes `DIR/NAME` with its pid, and waits there until it is killed or the file is removed.
//! - `MOAT_FAULT=no-locks`: the filesystem refuses locks.
//! - `MOAT_FAULT=panic`: who reaches checkpoint NAME panics there.

use std::io;

#[cfg(feature = "failpoints")]
pub(crate) fn checkpoint(name: &str) {
    use std::time::Duration;
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
