//! A client that carries a container's output, and its input. Its exit status is the only place where the
//! workload's exit code ever is.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::super::attach::{Manner, Whose};
use super::{call, classify};

/// How many of the last lines of a container's log are looked through for what its client said last.
const LAST_LINES: &str = "100";

/// How a client speaks that carries the output of a container: `Error: …`, which workloads say, too.
pub(super) struct Attachment {
    pub(super) handle: String,
}

impl Manner for Attachment {
    fn is_own(&self, line: &[u8]) -> bool {
        line.starts_with(b"Error: ")
    }

    fn judge(&self, words: &[u8], code: u8) -> Whose {
        if !matches!(code, 1 | 64) {
            return Whose::Workloads;
        }
        let words = String::from_utf8_lossy(words);
        match classify::refusal(&words) {
            Some(code) => Whose::Refusal(code),
            None if self.were_workloads(&words) => Whose::Workloads,
            None => Whose::Clients,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        classify::classify(words).may_pass()
    }
}

impl Attachment {
    /// Whether the container's log has them: the client's own are not in it.
    fn were_workloads(&self, words: &str) -> bool {
        let first = words.lines().next().unwrap_or_default().trim_end();
        let log = call::run(
            call::client().args(["logs", "-n", LAST_LINES, &self.handle]),
            b"",
            Duration::from_secs(10),
        );
        log.is_ok_and(|log| log.stdout.lines().any(|line| line.trim_end() == first))
    }
}

/// How a client speaks that carries another command.
pub(super) struct Exec;

impl Manner for Exec {
    fn is_own(&self, _line: &[u8]) -> bool {
        false
    }

    fn judge(&self, words: &[u8], code: u8) -> Whose {
        let words = String::from_utf8_lossy(words);
        match classify::refusal(&words) {
            _ if code != 1 => Whose::Workloads,
            Some(code) => Whose::Refusal(code),
            None => Whose::Clients,
        }
    }

    fn is_interruption(&self, words: &str) -> bool {
        classify::classify(words).may_pass()
    }
}

/// A pipe of the client's own with what comes from `input`: it makes its input non-blocking, and with it
/// that of everybody who has the same.
pub(super) fn feed(input: OwnedFd) -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    let (input, writer) = (File::from(input), File::from(OwnedFd::from(writer)));
    std::thread::spawn(move || pass_on(input, writer));
    Ok(Stdio::from(reader))
}

/// Passes on what comes, until nothing more comes or nobody reads.
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

/// Waits until there is something to read; false: there is nobody any more to read it.
fn has_input(input: &File, client: &File) -> bool {
    loop {
        let mut fds = [
            PollFd::new(input, PollFlags::IN),
            // That the other end is closed is told without being asked for.
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
