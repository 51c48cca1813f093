//! A client that carries a container's output and input. The client's exit status is the only source of the
//! workload's exit code.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::super::Inspected;
use super::super::attach::{ClientMessages, MessageSource};
use super::{classify, client};

/// Number of lines at the end of a container's log that are searched for the last text on standard error. The log
/// mixes both streams, so newer lines may come from standard output.
const SEARCHED_LINES: usize = 1000;

/// Timeout of reading that log.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// The messages of a client that carries a container's output. They have the form `Error: …`, which workloads print,
/// too.
pub(super) struct AppleAttachMessages {
    pub(super) handle: String,
}

impl ClientMessages for AppleAttachMessages {
    fn may_be_client_line(&self, line: &[u8]) -> bool {
        line.starts_with(b"Error: ")
    }

    fn source_of(&self, words: &[u8], code: u8) -> MessageSource {
        if !matches!(code, 1 | 64) {
            return MessageSource::Workload;
        }
        let words = String::from_utf8_lossy(words);
        match classify::refusal(&words) {
            Some(code) => MessageSource::StartRefusal(code),
            None if self.is_in_container_log(&words) => MessageSource::Workload,
            None => MessageSource::EngineClient,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        classify::classify(words).is_transient()
    }

    /// The client prints one message, at the end of its output.
    fn client_text_start(&self, words: &[u8]) -> usize {
        let mut starts = (0..words.len()).filter(|at| *at == 0 || words[at - 1] == b'\n');
        let own = starts.rfind(|at| self.may_be_client_line(&words[*at..]));
        own.unwrap_or_default()
    }

    fn display_text(&self, words: Vec<u8>) -> Vec<u8> {
        classify::message(&String::from_utf8_lossy(&words)).into_bytes()
    }
}

impl AppleAttachMessages {
    /// Whether the container's log contains the text. The client's own messages are not in that log. The log mixes
    /// both streams, so other text may be on the same line.
    fn is_in_container_log(&self, words: &str) -> bool {
        let lines = words.lines().map(str::trim);
        let last = lines.rev().find(|line| !line.is_empty());
        let Some(last) = last else { return true };
        let count = SEARCHED_LINES.to_string();
        let args = ["logs", "-n", &count, &self.handle];
        let log =
            client::retry_transient(|| client::run(client::client().args(args), b"", LOG_TIMEOUT));
        match log {
            Ok(log) if log.stdout.lines().any(|line| line.contains(last)) => true,
            Ok(log) if log.stdout.lines().count() < SEARCHED_LINES => false,
            // The message is not text, the services did not answer, or the log has more lines than were searched.
            _ => !classify::is_start_message(words) && !self.never_started(),
        }
    }

    fn never_started(&self) -> bool {
        super::Apple::inspect_one(&self.handle).is_ok_and(|state| state == Inspected::Created)
    }
}

/// The messages of a client that runs another command in a container.
pub(super) struct AppleExecMessages {
    pub(super) handle: String,
}

impl ClientMessages for AppleExecMessages {
    fn may_be_client_line(&self, _line: &[u8]) -> bool {
        false
    }

    fn source_of(&self, words: &[u8], code: u8) -> MessageSource {
        let words = String::from_utf8_lossy(words);
        match classify::refusal(&words) {
            _ if code != 1 => MessageSource::Workload,
            Some(code) => MessageSource::StartRefusal(code),
            None if classify::is_exec_message(&words, &self.handle) => MessageSource::EngineClient,
            None => MessageSource::Workload,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        classify::classify(words).is_transient()
    }
}

/// Creates a pipe for the client, which carries the bytes of `input`. The client makes its input non-blocking, and
/// every process with the same open file would be affected.
pub(super) fn feed(input: OwnedFd) -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    let (input, writer) = (File::from(input), File::from(OwnedFd::from(writer)));
    std::thread::spawn(move || pass_on(input, writer));
    Ok(Stdio::from(reader))
}

/// Copies bytes until the input ends or the client stops reading.
fn pass_on(mut input: File, mut client: File) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if !has_input(&input, &client) {
            return;
        }
        match io::Read::read(&mut input, &mut buffer) {
            Ok(0) => return,
            Ok(count) if client.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Waits until there are bytes to read. False: the client reads no more.
fn has_input(input: &File, client: &File) -> bool {
    loop {
        let mut fds = [
            PollFd::new(input, PollFlags::IN),
            // poll(2) reports a closed other end without being asked.
            PollFd::new(client, PollFlags::empty()),
        ];
        let polled = poll(&mut fds, None);
        if !fds[1].revents().is_empty() {
            return false;
        }
        match polled {
            Ok(_) if !fds[0].revents().is_empty() => return true,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
