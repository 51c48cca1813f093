//! The client's stdout or stderr, written by the supervisor. A write may block, fail, or fill the disk.
//!
//! A client that does not read blocks the workload, as a pipe does (backpressure). It must not block the end of the
//! run: from then on output is buffered in memory, and the client reads from the log what exceeds the buffer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::store::Stream;

/// Number of bytes that a writable pipe accepts without blocking (POSIX: PIPE_BUF).
const ATOMIC_WRITE_BYTES: usize = 4096;

/// Maximum size of the buffer in bytes: more than the pipes of a runtime hold when a workload ends.
const MAX_BACKLOG_BYTES: usize = 512 * 1024;

/// Interval at which a blocked write checks whether it is still needed.
const POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
const NO_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// One of the client's two streams.
pub(super) struct ClientStream {
    sink: Arc<WriteMode>,
    backlog: Vec<u8>,
    open: bool,
    /// The number of bytes delivered to the reader or buffered.
    delivered: u64,
    /// Whether bytes were dropped; all later ones are dropped as well.
    is_truncated: bool,
}

/// A way to write without blocking and without changing a description that is shared with the client.
pub(super) enum WriteMode {
    /// A separate, non-blocking description of the same pipe or terminal.
    Own(OwnedFd),
    Socket(BorrowedFd<'static>),
    /// A file, which accepts any amount at once.
    File(BorrowedFd<'static>),
    /// Anything that cannot be reopened: polled first, and written in small pieces.
    Shared(BorrowedFd<'static>),
}

impl WriteMode {
    fn of(stream: Stream) -> WriteMode {
        let (fd, path) = match stream {
            Stream::Stderr => (rustix::stdio::stderr(), "/dev/fd/2"),
            _ => (rustix::stdio::stdout(), "/dev/fd/1"),
        };
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::RegularFile) => return WriteMode::File(fd),
            Ok(FileType::Socket) => return WriteMode::Socket(fd),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            // Only Linux creates a new description here; other systems return the shared one.
            Ok(own) if cfg!(target_os = "linux") => WriteMode::Own(own),
            _ => WriteMode::Shared(fd),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            WriteMode::Own(fd) => fd.as_fd(),
            WriteMode::Socket(fd) | WriteMode::File(fd) | WriteMode::Shared(fd) => *fd,
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self {
            WriteMode::Socket(fd) => {
                // std ignores SIGPIPE from the start of the program.
                rustix::net::send(fd, bytes, SendFlags::DONTWAIT)
            }
            WriteMode::Shared(fd) if self.is_ready(NO_WAIT) => {
                rustix::io::write(fd, &bytes[..bytes.len().min(ATOMIC_WRITE_BYTES)])
            }
            WriteMode::Shared(_) => Err(Errno::AGAIN),
            WriteMode::Own(_) | WriteMode::File(_) => rustix::io::write(self.fd(), bytes),
        }
    }

    /// Waits briefly until a write would not block. False: it still would.
    pub(super) fn wait(&self) -> bool {
        self.is_ready(POLL_INTERVAL)
    }

    /// Whether a write would not block now.
    pub(super) fn is_writable(&self) -> bool {
        self.is_ready(NO_WAIT)
    }

    fn is_ready(&self, timeout: Timespec) -> bool {
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}

/// The reason why a client stream accepts no more data.
pub(super) enum StreamFailure {
    /// The reader is gone.
    Closed,
    Failed(String),
}

impl ClientStream {
    pub(super) fn of(stream: Stream) -> ClientStream {
        ClientStream {
            sink: Arc::new(WriteMode::of(stream)),
            backlog: Vec::new(),
            open: true,
            delivered: 0,
            is_truncated: false,
        }
    }

    /// Drops the buffer, and accepts no more data.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.backlog = Vec::new();
    }

    /// Writes what can be written without blocking, and buffers the rest.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StreamFailure> {
        self.push()?;
        let written = match self.open && !self.is_truncated && self.backlog.is_empty() {
            true => self.write_ready(bytes)?,
            false => 0,
        };
        self.delivered += written as u64;
        self.queue(&bytes[written..]);
        Ok(())
    }

    /// Buffers bytes for `push`, all or none of them.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.is_truncated |= self.backlog.len() + bytes.len() > MAX_BACKLOG_BYTES;
        if self.open && !self.is_truncated {
            self.backlog.extend_from_slice(bytes);
            self.delivered += bytes.len() as u64;
        }
    }

    /// The descriptor to wait for before `push` can continue; `None`: the buffer is empty.
    pub(super) fn wait_descriptor(&self) -> Option<Arc<WriteMode>> {
        let waiting = self.open && !self.backlog.is_empty();
        waiting.then(|| Arc::clone(&self.sink))
    }

    /// Writes as much of the buffer as possible without blocking.
    pub(super) fn push(&mut self) -> Result<(), StreamFailure> {
        let backlog = std::mem::take(&mut self.backlog);
        let written = self.write_ready(&backlog)?;
        self.backlog = backlog;
        self.backlog.drain(..written);
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether bytes are missing that only the log has.
    pub(super) fn is_cut(&self) -> bool {
        self.open && self.is_truncated
    }

    /// Continues with bytes from the log; returns the position at which the stream stopped.
    pub(super) fn resume(&mut self) -> Option<u64> {
        let from = self.is_cut().then_some(self.delivered);
        self.is_truncated = false;
        from
    }

    fn write_ready(&mut self, bytes: &[u8]) -> Result<usize, StreamFailure> {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    self.close();
                    return Err(match error {
                        Errno::PIPE => StreamFailure::Closed,
                        error => StreamFailure::Failed(crate::error::os_error_text(
                            &io::Error::from(error),
                        )),
                    });
                }
            }
        }
        Ok(written)
    }
}
