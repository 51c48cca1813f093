//! Reading a sandbox's output files as they grow, to the byte, until the shim is gone.

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

/// How long to sleep without a bell, i.e. after an adoption.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What is read is given back to the disk in steps of this many bytes, and later by this many: the
/// log keeps less than that of an unfinished line in memory.
const RELEASE_STEP_BYTES: u64 = 64 * 1024;
const RELEASE_MARGIN_BYTES: u64 = 128 * 1024;

/// The head of a file stays: it says whether the workload started.
const KEPT_HEAD_BYTES: u64 = 64 * 1024;

/// One growing file.
pub(super) struct Tail {
    dir: PathBuf,
    name: &'static str,
    file: Option<File>,
    /// Where the workload's bytes begin in the file; known once it has started.
    base: Option<u64>,
    /// How many of the workload's bytes were read, or kept before.
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

    /// What there is, up to the size of the buffer.
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

    /// Gives back the disk space of what was read before and is kept elsewhere by now, so that the
    /// output is on the disk only once. Not every filesystem can; then the file just grows.
    fn release(&mut self) {
        let read = self.base.unwrap_or(0) + self.offset;
        // Whole blocks, or nothing is freed.
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

    /// How many of the bytes to come were given back to the disk before they were kept: a supervisor
    /// died while it could not write its log. They are skipped.
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

    /// Sleeps until there may be more.
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
            // The shim is ending: its lock goes in a moment.
            Ok(0) => std::thread::sleep(Duration::from_micros(200)),
            Err(_) => self.notifier = None,
            Ok(_) => {}
        }
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A new call says that what was handed out before went to the log.
        self.release();
        loop {
            // Asked first: what was written before the end is read after it.
            let ended = self.has_ended()?;
            let count = self.read_available(buffer)?;
            if count > 0 || ended {
                return Ok(count);
            }
            self.wait();
        }
    }
}
