//! A client that carries a container's output, without what the client itself says.
//!
//! `docker start --attach` and `docker logs` write their own errors to the same standard error as
//! the workload's. A line that looks like one is held back until it is known: if something follows,
//! or the client ends well, it was the workload's; if the client failed, it may be its own, and the
//! engine's log tells.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::problem::Result;
use super::super::{AttachEnd, Attached, Client, LastWords, child, tty};
use super::classify::classify;
use crate::store::StreamBytes;
use crate::term::pty::{self, Size};

/// How a line begins that the client may have written (client 28.2.2 and 20.10.24).
const OWN_WORDS: [&[u8]; 11] = [
    b"Error response from daemon: ",
    b"error waiting for container: ",
    b"Error: ",
    b"error during connect: ",
    b"unexpected EOF",
    b"Cannot connect to the Docker daemon",
    b"failed to connect to the docker API",
    b"permission denied while trying to connect",
    b"request returned ",
    b"Error grabbing logs: ",
    b"error from daemon in stream: ",
];

/// How long a client takes from its own last words to its end, at most. Longer silence says that
/// they were the workload's.
const LAST_WORDS: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// The most that is held back: one message of the client.
const HELD: usize = 4096;

/// Starts an attachment, skipping the bytes that are kept already.
pub(super) fn spawn(command: &mut Command, skip: StreamBytes) -> Result<Attached> {
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| super::failed(&error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let client = DockerClient::new(child);
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Err(super::failed(&io::ErrorKind::BrokenPipe.into()));
    };
    let stderr = WithoutOwnWords {
        stream: Some(stderr),
        held: Vec::new(),
        ready: Vec::new(),
        client: Arc::clone(&client),
    };
    Ok(Attached {
        stdout: Box::new(Skip::new(stdout, skip.stdout)),
        stderr: Box::new(Skip::new(stderr, skip.stderr)),
        lost: StreamBytes::default(),
        client: client.handle(),
        terminal: None,
    })
}

/// Starts an attachment on a terminal of its own. All that comes out of that is the workload's.
pub(super) fn spawn_on_terminal(command: &mut Command, size: Size) -> Result<Attached> {
    let mut start = || -> io::Result<(OwnedFd, Child)> {
        let (ours, theirs) = pty::open(size)?;
        tty::give(command, &theirs)?;
        let child = command.spawn();
        // Our copies of their end would keep it from ever ending.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok((ours, child?))
    };
    let (ours, child) = start().map_err(|error| super::failed(&error))?;
    let ours_too = ours.try_clone().map_err(|error| super::failed(&error))?;
    Ok(Attached {
        stdout: Box::new(tty::Ours(ours)),
        stderr: Box::new(io::empty()),
        lost: StreamBytes::default(),
        client: DockerClient::new(child).handle(),
        terminal: Some(ours_too),
    })
}

pub(super) struct DockerClient {
    child: Mutex<Child>,
    /// What was held back to the end, and may be its own.
    pub(super) words: Mutex<Option<Vec<u8>>>,
}

impl DockerClient {
    pub(super) fn new(child: Child) -> Arc<DockerClient> {
        Arc::new(DockerClient {
            child: Mutex::new(child),
            words: Mutex::new(None),
        })
    }

    pub(super) fn handle(self: &Arc<Self>) -> Box<dyn Client> {
        Box::new(Handle(Arc::clone(self)))
    }

    /// The client's exit code once it has ended; kills it if it does not end with its streams.
    pub(super) fn code(&self) -> Option<u8> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + Duration::from_secs(5);
        let status = child::wait_until(&mut child, deadline).or_else(|_| {
            child.kill()?;
            child.wait()
        });
        status.ok()?.code().and_then(|code| u8::try_from(code).ok())
    }
}

struct Handle(Arc<DockerClient>);

impl Client for Handle {
    fn detach(&self) {
        let mut child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
    }

    fn ended(&self) -> AttachEnd {
        // Without a code it was killed, and more may have been to come.
        let Some(code) = self.0.code() else {
            return AttachEnd::Cut;
        };
        let mut words = self.0.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.take() {
            None => AttachEnd::Code(code),
            Some(bytes) => AttachEnd::Failed(LastWords {
                code,
                interrupted: classify(&String::from_utf8_lossy(&bytes)).may_pass(),
                bytes,
            }),
        }
    }
}

/// Standard error without the client's own words at its end.
struct WithoutOwnWords {
    stream: Option<ChildStderr>,
    /// Bytes from the beginning of a suspicious line on.
    held: Vec<u8>,
    /// Bytes that were held back and turned out to be the workload's.
    ready: Vec<u8>,
    client: Arc<DockerClient>,
}

impl Read for WithoutOwnWords {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let Some(stream) = &mut self.stream else {
                return Ok(0);
            };
            if !self.held.is_empty() && !is_ready(stream) {
                self.ready.append(&mut self.held);
                break;
            }
            let count = stream.read(buffer)?;
            if count == 0 {
                self.stream = None;
                self.judge();
                break;
            }
            if self.held.is_empty() && own_words_at(&buffer[..count]).is_none() {
                return Ok(count);
            }
            self.hold(&buffer[..count]);
        }
        let count = self.ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}

impl WithoutOwnWords {
    /// Lets go of what is surely the workload's: all before the last suspicious place.
    fn hold(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
        let keep = own_words_at(&self.held).unwrap_or(self.held.len());
        self.ready.extend(self.held.drain(..keep));
        if self.held.len() > HELD {
            self.ready.append(&mut self.held);
        }
    }

    fn judge(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        match self.client.code() {
            Some(1 | 125..=127) => {
                let words = &self.client.words;
                *words.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
            }
            // Somebody killed it, in whatever it was saying: the engine's log has that.
            None => {}
            Some(_) => self.ready = held,
        }
    }
}

/// Whether there is something to read, or the end, soon.
fn is_ready(stream: &ChildStderr) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    poll(&mut fds, Some(&LAST_WORDS)).is_ok_and(|ready| ready > 0)
}

/// Where the client's own words may begin: at the beginning of a chunk (it writes them in one
/// piece), or of one of its last lines.
fn own_words_at(bytes: &[u8]) -> Option<usize> {
    let from = bytes.len().saturating_sub(HELD);
    let mut starts = std::iter::once(0)
        .chain((from..bytes.len()).filter(|at| *at > 0 && bytes[at - 1] == b'\n'));
    starts.find(|at| {
        let line = &bytes[*at..];
        let known = OWN_WORDS.iter().any(|words| line.starts_with(words));
        line.len() <= HELD && (known || is_log_line(line))
    })
}

/// The client's other form: `time="…" level=error msg="error waiting for container: …"`.
fn is_log_line(line: &[u8]) -> bool {
    let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
    line.starts_with(b"time=\"") && has(b" level=error msg=\"")
}

/// A stream without its first bytes.
struct Skip<R> {
    stream: R,
    left: u64,
}

impl<R> Skip<R> {
    fn new(stream: R, left: u64) -> Skip<R> {
        Skip { stream, left }
    }
}

impl<R: Read> Read for Skip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.stream.read(buffer)?;
            let skipped = self.left.min(count as u64) as usize;
            self.left -= skipped as u64;
            if skipped < count || count == 0 {
                buffer.copy_within(skipped..count, 0);
                return Ok(count - skipped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_are_found_at_line_starts_near_the_end() {
        assert_eq!(own_words_at(b"plain\n"), None);
        assert_eq!(own_words_at(b"x\nError: No such container: y\n"), Some(2));
        assert_eq!(own_words_at(b"an Error: within\n"), None);
        let log = b"ok\ntime=\"2026-11-21T04:00:00Z\" level=error msg=\"error waiting for container: unexpected EOF\"\n";
        assert_eq!(own_words_at(log), Some(3));
        assert_eq!(own_words_at(b"time=\"x\" level=info msg=\"fine\"\n"), None);
        assert_eq!(
            own_words_at(b"error waiting for container: unexpected EOF\n"),
            Some(0)
        );
        let mut long = b"Error: \n".to_vec();
        long.extend(vec![b'x'; 2 * HELD]);
        assert_eq!(own_words_at(&long), None);
    }

    #[test]
    fn the_first_bytes_are_skipped_exactly() {
        for skip in 0..=10 {
            let mut text = Vec::new();
            let mut stream = Skip::new(&b"0123456789"[..], skip);
            let mut buffer = [0; 3];
            loop {
                let count = stream.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(text, &b"0123456789"[skip as usize..]);
        }
    }
}
