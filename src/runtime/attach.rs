//! A client that carries a container's output, without the client's own messages.
//!
//! `start --attach` of every engine's client, and `docker logs`, write their own errors to the same standard error as
//! the workload. A line that looks like such an error is buffered until its origin is known: if more output follows,
//! or the client ends with success, the workload wrote it; if the client failed, the line may be the client's own,
//! and the engine's log decides. The drivers recognize the messages ([`ClientMessages`]).

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{AttachEnd, Attached, ClientFailure, EngineClient, child, client_terminal};
use crate::store::StreamBytes;
use crate::term::pty::{self, Size};

/// Recognizes an engine client's own messages in its stderr.
pub(super) trait ClientMessages: Send + Sync {
    /// Whether the client may have written a line.
    fn may_be_client_line(&self, line: &[u8]) -> bool;

    /// The origin of the last lines of a client that ended with this code.
    fn source_of(&self, words: &[u8], code: u8) -> MessageSource;

    /// Whether a message of the client says that the engine went away.
    fn is_interruption(&self, words: &str) -> bool;

    /// The position in the last lines at which the client's message starts: output of the workload may precede it.
    fn client_text_start(&self, _words: &[u8]) -> usize {
        0
    }

    /// The client's message without parts that are useless to the user.
    fn display_text(&self, words: Vec<u8>) -> Vec<u8> {
        words
    }
}

/// The origin of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageSource {
    Workload,
    /// The client, as far as can be told here.
    EngineClient,
    /// The client, about a workload that could not be started, with the code that a shell would return.
    StartRefusal(u8),
}

/// Maximum time from a client's last message to its exit. Longer silence shows that the workload wrote the line.
const CLIENT_EXIT_TIMEOUT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Maximum number of buffered bytes: one message of the client.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Starts an attachment, skipping the bytes that are kept already.
pub(super) fn spawn(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    skip: StreamBytes,
) -> io::Result<Attached> {
    let (stdout, stderr, client) = spawn_client(command, manner)?;
    let stderr = ClientMessageFilter {
        stream: Some(stderr),
        buffered: Vec::new(),
        ready: Vec::new(),
        client: Arc::clone(&client),
    };
    Ok(Attached {
        stdout: Box::new(SkippedStream::new(stdout, skip.stdout)),
        stderr: Box::new(SkippedStream::new(stderr, skip.stderr)),
        lost: StreamBytes::default(),
        client: Box::new(SharedClient(client)),
        terminal: None,
    })
}

/// Returns whether a client has ended.
pub(super) type HasEndedFn = Box<dyn Fn() -> bool + Send>;

/// Attaches output that is read elsewhere: the exit of a silent client marks the end of the output. Skips the bytes
/// that are kept already.
pub(super) fn spawn_silent<R: Read + Send + 'static>(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    skip: StreamBytes,
    streams: impl FnOnce([HasEndedFn; 2]) -> [R; 2],
) -> io::Result<Attached> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let client = ChildClient::new(command.spawn()?, manner);
    let [one, other] = [
        SharedClient(Arc::clone(&client)),
        SharedClient(Arc::clone(&client)),
    ];
    let [stdout, stderr] = streams([
        Box::new(move || one.has_ended()),
        Box::new(move || other.has_ended()),
    ]);
    Ok(Attached {
        stdout: Box::new(SkippedStream::new(stdout, skip.stdout)),
        stderr: Box::new(SkippedStream::new(stderr, skip.stderr)),
        lost: StreamBytes::default(),
        client: Box::new(SharedClient(client)),
        terminal: None,
    })
}

/// Starts a command beside the container's own. The first bytes of a stream may be a message about a failed start and
/// are buffered until that is known; `beginnings`: the prefixes of such messages on stdout and stderr.
pub(super) fn spawn_exec(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    beginnings: [&'static [&'static [u8]]; 2],
) -> io::Result<Attached> {
    let (stdout, stderr, client) = spawn_client(command, manner)?;
    Ok(Attached {
        stdout: StartFailureFilter::of(stdout, beginnings[0], &client),
        stderr: StartFailureFilter::of(stderr, beginnings[1], &client),
        lost: StreamBytes::default(),
        client: Box::new(SharedClient(client)),
        terminal: None,
    })
}

fn spawn_client(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
) -> io::Result<(ChildStdout, ChildStderr, Arc<ChildClient>)> {
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    // This process's copy would keep the command's input open.
    command.stdin(Stdio::null());
    let mut child = spawned?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let client = ChildClient::new(child, manner);
    match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Ok((stdout, stderr, client)),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Prepares a client's terminal before the client gets it.
pub(super) type PrepareTerminalFn = fn(&OwnedFd) -> io::Result<()>;

/// Leaves the terminal unchanged.
pub(super) fn unprepared(_terminal: &OwnedFd) -> io::Result<()> {
    Ok(())
}

/// Starts an attachment on a terminal of its own, which `prepare` receives first. All output of the terminal is the
/// workload's.
pub(super) fn spawn_on_terminal(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    size: Size,
    prepare: PrepareTerminalFn,
) -> io::Result<Attached> {
    let (ours, client) = spawn_client_on_terminal(command, manner, size, prepare)?;
    let stream = client_terminal::ControllingEnd(ours.try_clone()?);
    Ok(on_terminal(Box::new(stream), client, ours))
}

/// Starts a command beside the container's own on a terminal; see [`spawn_exec`].
pub(super) fn spawn_exec_on_terminal(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    beginnings: &'static [&'static [u8]],
    size: Size,
    prepare: PrepareTerminalFn,
) -> io::Result<Attached> {
    let (ours, client) = spawn_client_on_terminal(command, manner, size, prepare)?;
    let stream = client_terminal::ControllingEnd(ours.try_clone()?);
    let stream = StartFailureFilter::of(stream, beginnings, &client);
    Ok(on_terminal(stream, client, ours))
}

fn spawn_client_on_terminal(
    command: &mut Command,
    manner: Box<dyn ClientMessages>,
    size: Size,
    prepare: PrepareTerminalFn,
) -> io::Result<(OwnedFd, Arc<ChildClient>)> {
    let (ours, theirs) = pty::open(size)?;
    prepare(&theirs)?;
    client_terminal::give(command, &theirs)?;
    let child = command.spawn();
    // This process's copies of the client's end would keep the terminal open.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok((ours, ChildClient::new(child?, manner)))
}

fn on_terminal(stdout: Box<dyn Read + Send>, client: Arc<ChildClient>, ours: OwnedFd) -> Attached {
    Attached {
        stdout,
        stderr: Box::new(io::empty()),
        lost: StreamBytes::default(),
        client: Box::new(SharedClient(client)),
        terminal: Some(ours),
    }
}

/// The client's process, and its own messages.
struct ChildClient {
    child: Mutex<Child>,
    messages: Box<dyn ClientMessages>,
    output: Mutex<ClientOutput>,
}

#[derive(Default)]
struct ClientOutput {
    /// Buffered bytes at the end of the stream, possibly a message of the client.
    words: Option<Vec<u8>>,
    /// The code that a shell would return instead of the client's.
    code: Option<u8>,
}

impl ChildClient {
    fn new(child: Child, manner: Box<dyn ClientMessages>) -> Arc<ChildClient> {
        Arc::new(ChildClient {
            child: Mutex::new(child),
            messages: manner,
            output: Mutex::default(),
        })
    }

    /// The client's exit code once it has ended; kills a client that does not end with its streams.
    fn code(&self) -> Option<u8> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + Duration::from_secs(5);
        let status = child::wait_until(&mut child, deadline).or_else(|_| {
            child.kill()?;
            child.wait()
        });
        status.ok()?.code().and_then(|code| u8::try_from(code).ok())
    }

    /// Decides the origin of the last lines, and records their meaning for the exit code.
    fn source_of(&self, words: &[u8]) -> MessageSource {
        // The client was killed while it was writing; the engine's log has the output if there is one.
        let Some(code) = self.code() else {
            return MessageSource::EngineClient;
        };
        let whose = self.messages.source_of(words, code);
        if let MessageSource::StartRefusal(code) = whose {
            self.output().code = Some(code);
        }
        whose
    }

    fn keep_output(&self, words: Vec<u8>) {
        self.output().words = Some(words);
    }

    fn output(&self) -> MutexGuard<'_, ClientOutput> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SharedClient(Arc<ChildClient>);

impl EngineClient for SharedClient {
    fn detach(&self) {
        let mut child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
    }

    fn has_ended(&self) -> bool {
        let mut child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }

    fn ended(&self) -> AttachEnd {
        // Without a code the client was killed, and more output may have followed.
        let Some(code) = self.0.code() else {
            return AttachEnd::Interrupted;
        };
        let ClientOutput {
            words,
            code: instead,
        } = std::mem::take(&mut *self.0.output());
        let code = instead.unwrap_or(code);
        match words {
            None => AttachEnd::Code(code),
            Some(bytes) => AttachEnd::Failed(ClientFailure {
                code,
                interrupted: self
                    .0
                    .messages
                    .is_interruption(&String::from_utf8_lossy(&bytes)),
                bytes: self.0.messages.display_text(bytes),
            }),
        }
    }
}

/// Standard error without the client's own message at its end.
struct ClientMessageFilter {
    stream: Option<ChildStderr>,
    /// Bytes from the start of a suspicious line on.
    buffered: Vec<u8>,
    /// Buffered bytes that turned out to be the workload's.
    ready: Vec<u8>,
    client: Arc<ChildClient>,
}

impl Read for ClientMessageFilter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let Some(stream) = &mut self.stream else {
                return Ok(0);
            };
            if !self.buffered.is_empty() && !is_ready(stream) {
                self.ready.append(&mut self.buffered);
                break;
            }
            let count = stream.read(buffer)?;
            if count == 0 {
                self.stream = None;
                self.classify_end();
                break;
            }
            if self.buffered.is_empty() && self.client_text_at(&buffer[..count]).is_none() {
                return Ok(count);
            }
            self.release_all_but_suspicious(&buffer[..count]);
        }
        let count = self.ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok(count)
    }
}

impl ClientMessageFilter {
    /// Releases bytes that are certainly the workload's: everything before the last suspicious position.
    fn release_all_but_suspicious(&mut self, chunk: &[u8]) {
        self.buffered.extend_from_slice(chunk);
        let keep = self
            .client_text_at(&self.buffered)
            .unwrap_or(self.buffered.len());
        self.ready.extend(self.buffered.drain(..keep));
        if self.buffered.len() > MAX_MESSAGE_BYTES {
            self.ready.append(&mut self.buffered);
        }
    }

    fn classify_end(&mut self) {
        if self.buffered.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.buffered);
        match self.client.source_of(&held) {
            MessageSource::Workload | MessageSource::StartRefusal(_) => self.ready = held,
            MessageSource::EngineClient => {
                let own = held.split_off(self.client.messages.client_text_start(&held));
                self.client.keep_output(own);
                self.ready = held;
            }
        }
    }

    fn client_text_at(&self, bytes: &[u8]) -> Option<usize> {
        client_text_in_chunk(bytes, &|line| self.client.messages.may_be_client_line(line))
    }
}

/// Whether data or the end of the stream is available soon.
fn is_ready(stream: &ChildStderr) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    poll(&mut fds, Some(&CLIENT_EXIT_TIMEOUT)).is_ok_and(|ready| ready > 0)
}

/// The possible start of the client's message: the start of a chunk (the client writes it in one piece) or of one of
/// its last lines.
fn client_text_in_chunk(bytes: &[u8], is_own: &dyn Fn(&[u8]) -> bool) -> Option<usize> {
    let from = bytes.len().saturating_sub(MAX_MESSAGE_BYTES);
    let mut starts = std::iter::once(0)
        .chain((from..bytes.len()).filter(|at| *at > 0 && bytes[at - 1] == b'\n'));
    starts.find(|at| {
        let line = &bytes[*at..];
        line.len() <= MAX_MESSAGE_BYTES && is_own(line)
    })
}

/// A stream without a leading message about a failed start.
struct StartFailureFilter<R> {
    stream: Option<R>,
    beginnings: &'static [&'static [u8]],
    client: Arc<ChildClient>,
    /// Whether the stream starts with anything else.
    is_through: bool,
    buffered: Vec<u8>,
}

impl<R: Read + Send + 'static> StartFailureFilter<R> {
    fn of(
        stream: R,
        beginnings: &'static [&'static [u8]],
        client: &Arc<ChildClient>,
    ) -> Box<dyn Read + Send> {
        Box::new(StartFailureFilter {
            stream: Some(stream),
            beginnings,
            client: Arc::clone(client),
            is_through: false,
            buffered: Vec::new(),
        })
    }

    /// Reads until the kind of the leading bytes is known.
    fn read_start(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(stream) = self.stream.as_mut().filter(|_| !self.is_through) {
            let count = stream.read(buffer)?;
            self.buffered.extend_from_slice(&buffer[..count]);
            let mut beginnings = self.beginnings.iter();
            let is_alike = beginnings.any(|words| self.buffered.starts_with(words));
            if count == 0 {
                self.stream = None;
                if is_alike && self.client.source_of(&self.buffered) != MessageSource::Workload {
                    self.client.keep_output(std::mem::take(&mut self.buffered));
                }
            } else if !is_alike || self.buffered.len() > MAX_MESSAGE_BYTES {
                self.is_through = true;
            }
        }
        Ok(())
    }
}

impl<R: Read + Send + 'static> Read for StartFailureFilter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_start(buffer)?;
        if self.buffered.is_empty() {
            return match &mut self.stream {
                Some(stream) => stream.read(buffer),
                None => Ok(0),
            };
        }
        let count = self.buffered.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.buffered[..count]);
        self.buffered.drain(..count);
        Ok(count)
    }
}

/// A stream without its first bytes.
struct SkippedStream<R> {
    stream: R,
    left: u64,
}

impl<R> SkippedStream<R> {
    fn new(stream: R, left: u64) -> SkippedStream<R> {
        SkippedStream { stream, left }
    }
}

impl<R: Read> Read for SkippedStream<R> {
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
        let at = |bytes: &[u8]| client_text_in_chunk(bytes, &|line| line.starts_with(b"Error: "));
        assert_eq!(at(b"plain\n"), None);
        assert_eq!(at(b"x\nError: No such container: y\n"), Some(2));
        assert_eq!(at(b"an Error: within\n"), None);
        assert_eq!(at(b"Error: unexpected EOF\n"), Some(0));
        let mut long = b"Error: \n".to_vec();
        long.extend(vec![b'x'; 2 * MAX_MESSAGE_BYTES]);
        assert_eq!(at(&long), None);
    }

    #[test]
    fn the_first_bytes_are_skipped_exactly() {
        for skip in 0..=10 {
            let mut text = Vec::new();
            let mut stream = SkippedStream::new(&b"0123456789"[..], skip);
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
