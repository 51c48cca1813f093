//! The client's stdout or stderr, as seen by the supervisor: may block, break, or fill up.
//!
//! A reader that does not read holds the workload back, as a pipe does. But it must not hold back
//! the end of the run: once the workload has exited, what is left waits in memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::store::Stream;

/// How much a pipe that is ready surely takes without blocking (POSIX: PIPE_BUF).
const STEP: usize = 4096;

/// How often a blocked write looks whether it still matters.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// One of the two.
pub(super) struct Outlet {
    fd: BorrowedFd<'static>,
    step: usize,
    backlog: Vec<u8>,
    open: bool,
}

/// Why an outlet takes no more.
pub(super) enum Broken {
    /// Nobody reads.
    Closed,
    Failed(String),
}

impl Outlet {
    pub(super) fn of(stream: Stream) -> Outlet {
        let fd = match stream {
            Stream::Stderr => rustix::stdio::stderr(),
            _ => rustix::stdio::stdout(),
        };
        // Whatever is neither a pipe nor a socket takes any amount at once.
        let step = match rustix::fs::fstat(fd)
            .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode))
        {
            Ok(rustix::fs::FileType::RegularFile) => usize::MAX,
            _ => STEP,
        };
        Outlet {
            fd,
            step,
            backlog: Vec::new(),
            open: true,
        }
    }

    /// Takes no more, and forgets what is waiting.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.backlog = Vec::new();
    }

    /// Writes, waiting for the reader as long as `must_wait` says. What is not written then waits
    /// for [`Outlet::flush`].
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        must_wait: &dyn Fn() -> bool,
    ) -> Result<(), Broken> {
        if !self.open {
            return Ok(());
        }
        if !self.backlog.is_empty() {
            self.backlog.extend_from_slice(bytes);
            return Ok(());
        }
        let written = self.push(bytes, must_wait)?;
        self.backlog.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what is waiting, as long as `must_wait` says.
    pub(super) fn flush(&mut self, must_wait: &dyn Fn() -> bool) -> Result<(), Broken> {
        let backlog = std::mem::take(&mut self.backlog);
        if self.open {
            self.push(&backlog, must_wait)?;
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], must_wait: &dyn Fn() -> bool) -> Result<usize, Broken> {
        let mut written = 0;
        while written < bytes.len() {
            if !self.is_ready() {
                if must_wait() {
                    continue;
                }
                break;
            }
            let step = (bytes.len() - written).min(self.step);
            match rustix::io::write(self.fd, &bytes[written..written + step]) {
                Ok(count) => written += count,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => {
                    self.close();
                    return Err(match error {
                        Errno::PIPE => Broken::Closed,
                        error => Broken::Failed(crate::error::reason(&io::Error::from(error))),
                    });
                }
            }
        }
        Ok(written)
    }

    /// Waits a moment until a write would not block.
    fn is_ready(&self) -> bool {
        let fd = self.fd.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        poll(&mut fds, Some(&LOOK)).is_ok_and(|ready| ready > 0)
    }
}
