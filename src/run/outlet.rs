//! The client's stdout or stderr, as seen by the supervisor: may block, break, or fill up.
//!
//! A reader that does not read holds the workload back, as a pipe does. But it must not hold back
//! the end of the run: once the workload has exited, what is left waits in memory. That is what the
//! runtime still had: a few pipes full.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

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
    sink: Sink,
    backlog: Vec<u8>,
    open: bool,
}

/// How to write without ever blocking, and without changing what we share with the client.
enum Sink {
    /// A description of our own of the same pipe or terminal, which does not block.
    Own(OwnedFd),
    Socket(BorrowedFd<'static>),
    /// A file, which takes any amount at once.
    File(BorrowedFd<'static>),
    /// Whatever cannot be opened again: asked first, and given little.
    Shared(BorrowedFd<'static>),
}

impl Sink {
    fn of(stream: Stream) -> Sink {
        let (fd, path) = match stream {
            Stream::Stderr => (rustix::stdio::stderr(), "/dev/fd/2"),
            _ => (rustix::stdio::stdout(), "/dev/fd/1"),
        };
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::RegularFile) => return Sink::File(fd),
            Ok(FileType::Socket) => return Sink::Socket(fd),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            // Only Linux opens anew; elsewhere this is the description that we share.
            Ok(own) if cfg!(target_os = "linux") => Sink::Own(own),
            _ => Sink::Shared(fd),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Sink::Own(fd) => fd.as_fd(),
            Sink::Socket(fd) | Sink::File(fd) | Sink::Shared(fd) => *fd,
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            Sink::Socket(fd) => {
                rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Sink::Shared(fd) => rustix::io::write(fd, &bytes[..bytes.len().min(STEP)]),
            Sink::Own(_) | Sink::File(_) => rustix::io::write(self.fd(), bytes),
        }
    }
}

/// Why an outlet takes no more.
pub(super) enum Broken {
    /// Nobody reads.
    Closed,
    Failed(String),
}

impl Outlet {
    pub(super) fn of(stream: Stream) -> Outlet {
        Outlet {
            sink: Sink::of(stream),
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

    /// Keeps bytes for [`Outlet::flush`].
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.open {
            self.backlog.extend_from_slice(bytes);
        }
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
            match self.sink.write(&bytes[written..]) {
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
        let fd = self.sink.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        poll(&mut fds, Some(&LOOK)).is_ok_and(|ready| ready > 0)
    }
}
