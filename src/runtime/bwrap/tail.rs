//! Reads a sandbox's output files while they grow, to the last byte, until the shim has ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::SeekFrom;

use super::status;
use crate::store::is_held;

/// Poll interval without notices, after an adoption.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Sizes, in bytes: moat releases the disk space of a file in steps of `RELEASE_STEP_BYTES`, and keeps the last
/// `RELEASE_MARGIN_BYTES` before the reader's offset. The log keeps fewer bytes of an unfinished line in memory.
const RELEASE_STEP_BYTES: u64 = 64 * 1024;
const RELEASE_MARGIN_BYTES: u64 = 128 * 1024;

/// The beginning of a file stays, because it shows whether the workload started.
const KEPT_HEAD_BYTES: u64 = 64 * 1024;

/// A growing file.
pub(super) struct Tail {
    dir: PathBuf,
    name: &'static str,
    file: Option<File>,
    /// The offset of the workload's first byte in the file; `None` until the workload has started.
    base: Option<u64>,
    /// Number of the workload's bytes that this reader, or an earlier supervisor, has read.
    offset: u64,
    released: u64,
    notifier: Option<OwnedFd>,
}

impl Tail {
    pub(super) fn stdout(dir: &Path, kept: u64, bell: Option<OwnedFd>) -> Tail {
        let mut tail = Tail::stderr(dir, kept, bell);
        (tail.name, tail.base) = ("stdout", Some(0));
        tail
    }

    pub(super) fn stderr(dir: &Path, kept: u64, bell: Option<OwnedFd>) -> Tail {
        Tail {
            dir: dir.to_owned(),
            name: "stderr",
            file: None,
            base: None,
            offset: kept,
            released: KEPT_HEAD_BYTES,
            notifier: bell,
        }
    }

    fn has_ended(&self) -> io::Result<bool> {
        match is_held(&self.dir.join("lock")) {
            Ok(held) => Ok(!held),
            Err(error) => Err(io::Error::other(error.message)),
        }
    }

    /// Reads the available bytes, up to the size of the buffer.
    fn read_available(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.base.is_none() {
            self.base = status::started(&self.dir);
        }
        let Some(base) = self.base else { return Ok(0) };
        if self.file.is_none() {
            match File::options()
                .read(true)
                .write(true)
                .open(self.dir.join(self.name))
            {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = &self.file else { return Ok(0) };
        let count = file.read_at(buffer, base + self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }

    /// Releases the disk space of bytes that the log has, so that the output is on the disk only once. On filesystems
    /// without this ability the file grows.
    fn release(&mut self) {
        let read = self.base.unwrap_or(0) + self.offset;
        // The filesystem frees only whole blocks.
        let safe =
            read.saturating_sub(RELEASE_MARGIN_BYTES) / RELEASE_STEP_BYTES * RELEASE_STEP_BYTES;
        if safe < self.released + RELEASE_STEP_BYTES {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Some(file) = &self.file {
            use rustix::fs::FallocateFlags;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(file, flags, self.released, safe - self.released);
        }
        self.released = safe;
    }

    /// Number of the next bytes that were released before the log had them: a supervisor died while it could not
    /// write its log. These bytes are skipped.
    pub(super) fn skip_lost(&mut self) -> u64 {
        let mut probe = [0];
        let there = self.read_available(&mut probe).unwrap_or(0) as u64;
        self.offset -= there;
        let (Some(file), Some(base), 1) = (&self.file, self.base, there) else {
            return 0;
        };
        let at = base + self.offset;
        let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(at)) else {
            return 0;
        };
        self.offset += data.saturating_sub(at);
        data.saturating_sub(at)
    }

    /// Sleeps until there may be more bytes.
    fn wait(&mut self) {
        let Some(bell) = &self.notifier else {
            std::thread::sleep(POLL_INTERVAL);
            return;
        };
        let timeout = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
            return;
        }
        let mut rings = [0; 4096];
        match rustix::io::read(bell, &mut rings) {
            // The shim is ending and releases its lock in a moment.
            Ok(0) => std::thread::sleep(Duration::from_micros(200)),
            Err(_) => self.notifier = None,
            Ok(_) => {}
        }
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The next call shows that the log has the bytes of the last one.
        self.release();
        loop {
            // Checked first: bytes that were written before the end are read after the check.
            let ended = self.has_ended()?;
            let count = self.read_available(buffer)?;
            if count > 0 || ended {
                return Ok(count);
            }
            self.wait();
        }
    }
}
