//! Space that is kept back for the day when the disk is full: what has begun can then still be ended, and written down.

use std::io::{self, Write};
use std::path::Path;

use super::atomic_file;

/// Bytes: several times the record of a run or of a session.
const SIZE: usize = 32 * 1024;

/// Takes the space, with real blocks, unless that has been done.
pub(super) fn take(reserve: &Path) -> io::Result<()> {
    if reserve.exists() {
        return Ok(());
    }
    let taken = atomic_file::create(reserve).and_then(|mut file| file.write_all(&vec![0; SIZE]));
    if taken.is_err() {
        give_back(reserve);
    }
    taken
}

pub(super) fn give_back(reserve: &Path) {
    let _ = atomic_file::remove_if_there(reserve);
}

/// Replaces a file as [`file::write_atomically`] does. If the disk is full, and only then, for the space of a reserve.
pub(super) fn write(path: &Path, bytes: &[u8], reserve: &Path) -> io::Result<()> {
    match atomic_file::write_atomically(path, bytes) {
        Err(error) if is_full(&error) => {
            give_back(reserve);
            atomic_file::write_atomically(path, bytes)
        }
        result => result,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
