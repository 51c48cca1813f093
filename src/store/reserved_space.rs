//! Reserved disk space: on a full disk, a run or session can still end and record its end.

use std::io::{self, Write};
use std::path::Path;

use super::atomic_file;

/// Bytes: several times the size of a record.
const RESERVED_BYTES: usize = 32 * 1024;

/// Reserves the space with real blocks, unless it is reserved already.
pub(super) fn reserve_space(reserve: &Path) -> io::Result<()> {
    if reserve.exists() {
        return Ok(());
    }
    let taken =
        atomic_file::create(reserve).and_then(|mut file| file.write_all(&vec![0; RESERVED_BYTES]));
    if taken.is_err() {
        release_space(reserve);
    }
    taken
}

pub(super) fn release_space(reserve: &Path) {
    let _ = atomic_file::remove_if_exists(reserve);
}

/// Replaces a file atomically. Only if the disk is full, the reserved space is used.
pub(super) fn write(path: &Path, bytes: &[u8], reserve: &Path) -> io::Result<()> {
    match atomic_file::write_atomically(path, bytes) {
        Err(error) if is_full(&error) => {
            release_space(reserve);
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
