//! File locks. The kernel drops a lock with its last holder, so a lock never outlives a process.
//!
//! Only this module knows which crate does the locking.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use fs2::FileExt;

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;

/// An exclusive lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// The locked file, for the holder's identity.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// Locks `path` (created if it is missing, mode 0600), waiting for at most `timeout`. `None`: another process held
/// the lock all the time.
pub(crate) fn exclusive(path: &Path, timeout: Duration) -> Result<Option<Lock>> {
    let file = open(path).map_err(|error| Error::io(ErrorKind::Store, "open", path, &error))?;
    let deadline = Instant::now() + timeout;
    loop {
        match failpoint::lock_error().map_or_else(|| file.try_lock_exclusive(), Err) {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(error) if !is_contended(&error) => return Err(unsupported(path, &error)),
            Err(_) if Instant::now() >= deadline => return Ok(None),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Whether the lock is on the file that is at `path` now, and not on a removed one.
pub(crate) fn is_current(lock: &Lock, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let held = lock.0.metadata().map(identity).ok();
    held.is_some() && held == std::fs::metadata(path).map(identity).ok()
}

/// Whether a process holds the lock of `path` now. A missing file is not locked.
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io(ErrorKind::Store, "open", path, &error)),
    };
    match FileExt::try_lock_shared(&file) {
        Ok(()) => Ok(false),
        Err(error) if is_contended(&error) => Ok(true),
        Err(error) => Err(unsupported(path, &error)),
    }
}

/// Blocks until no process holds `path` exclusively, and keeps others from locking it until dropped. The file may be
/// unlinked meanwhile: the lock and the content stay reachable.
pub(crate) fn wait_shared(file: File) -> io::Result<SharedLock> {
    FileExt::lock_shared(&file)?;
    Ok(SharedLock(file))
}

/// A shared lock: the owner is gone, and no new one comes while this is held.
#[derive(Debug)]
pub(crate) struct SharedLock(pub(crate) File);

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn is_contended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

fn unsupported(path: &Path, error: &io::Error) -> Error {
    Error::io(ErrorKind::Store, "lock", path, error).hint(
        "moat needs a filesystem with file locks; set MOAT_HOME to a directory on a local disk",
    )
}
