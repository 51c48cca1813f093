//! Reading a sandbox's output files as they grow, to the byte, until the shim is gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::status;
use crate::store::is_held;

/// How long to sleep without a bell, i.e. after an adoption.
const PAUSE: Duration = Duration::from_millis(20);

/// What is read is given back to the disk in steps of this many bytes.
const RELEASE: u64 = 1024 * 1024;

/// The head of a file stays: it says whether the workload started.
const HEAD: u64 = 64 * 1024;

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
    bell: Option<OwnedFd>,
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
            released: HEAD,
            bell,
        }
    }

    fn has_ended(&self) -> io::Result<bool> {
        match is_held(&self.dir.join("lock")) {
            Ok(held) => Ok(!held),
            Err(error) => Err(io::Error::other(error.message)),
        }
    }

    /// What there is, up to the size of the buffer.
    fn read_there(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
        let safe = self.base.unwrap_or(0) + self.offset;
        if safe < self.released + RELEASE {
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

    /// Sleeps until there may be more.
    fn wait(&mut self) {
        let Some(bell) = &self.bell else {
            std::thread::sleep(PAUSE);
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
            Err(_) => self.bell = None,
            Ok(_) => {}
        }
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A new call says that what was handed out before is kept.
        self.release();
        loop {
            // Asked first: what was written before the end is read after it.
            let ended = self.has_ended()?;
            let count = self.read_there(buffer)?;
            if count > 0 || ended {
                return Ok(count);
            }
            self.wait();
        }
    }
}
