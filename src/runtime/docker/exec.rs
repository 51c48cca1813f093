//! `docker exec`: another command in a running container.
//!
//! The client reports by its output that a command could not be started: the engine's words come out
//! of stdout (Docker 20.10.24), the client's own out of stderr. Both are the first thing on their
//! stream, and are held back until the exit code says whose they are.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError};

use super::super::problem::{Problem, Result};
use super::super::{Attached, ExecSpec, Refusal};
use super::arguments::obeyed_by_client;
use super::attach::DockerClient;
use crate::store::StreamBytes;

/// How the words of the engine and of the client begin.
const ENGINE: &[&[u8]] = &[b"OCI runtime exec failed: "];
const CLIENT: &[&[u8]] = &[
    b"Error response from daemon: ",
    b"Error: No such container: ",
    b"Error: No such exec instance",
    b"error during connect: ",
    b"Cannot connect to the Docker daemon",
];

/// The most that is held back, in bytes.
const HELD: usize = 4096;

/// The variable by which a command, and all that it starts, is found again.
const MARKER: &str = "MOAT_EXEC";

/// Sends the signal `$2` to every process that has the marker `$1`, and fails if there is none. A
/// process that is not ours to read is none of them.
const KILL: &str = "found=; for process in /proc/[0-9]*; do \
    tr '\\0' '\\n' < $process/environ 2> /dev/null | grep -qxF \"$1\" && \
    kill -$2 ${process#/proc/} && found=1; done; [ \"$found\" ]";

/// Completes a client that runs a command.
pub(super) fn command(client: &mut Command, spec: &ExecSpec) -> Result<()> {
    client.arg("exec");
    if spec.stdin.is_some() {
        client.arg("--interactive");
    }
    if let Some(dir) = &spec.workdir {
        client.args(["--workdir", dir]);
    }
    client.args(["--env", &marker(&spec.marker)]);
    for (name, value) in &spec.env {
        if obeyed_by_client(name) {
            let message = format!(
                "{name} cannot be set this way on docker, whose client obeys it; write: env {name}=VALUE CMD"
            );
            return Err(Problem::Refused(message));
        }
        client.args(["--env", name]).env(name, value);
    }
    client.arg(&spec.handle).args(&spec.command);
    Ok(())
}

/// Completes a client that ends such a command.
pub(super) fn kill(client: &mut Command, handle: &str, marker_word: &str, signal: &str) {
    let marker = marker(marker_word);
    client.args([
        "exec", handle, "/bin/sh", "-c", KILL, "moat", &marker, signal,
    ]);
}

fn marker(word: &str) -> String {
    format!("{MARKER}={word}")
}

/// Starts a client.
pub(super) fn spawn(client: &mut Command) -> Result<Attached> {
    let spawned = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| super::failed(&error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Err(super::failed(&io::ErrorKind::BrokenPipe.into()));
    };
    let client = DockerClient::new(child);
    Ok(Attached {
        stdout: FirstWords::of(stdout, ENGINE, &client),
        stderr: FirstWords::of(stderr, CLIENT, &client),
        lost: StreamBytes::default(),
        client: client.handle(),
        terminal: None,
    })
}

/// A stream that does not begin with words about a failure to start.
struct FirstWords<R> {
    stream: Option<R>,
    beginnings: &'static [&'static [u8]],
    client: Arc<DockerClient>,
    /// Whether the stream has begun with something else.
    is_through: bool,
    held: Vec<u8>,
}

impl<R: Read + Send + 'static> FirstWords<R> {
    fn of(
        stream: R,
        beginnings: &'static [&'static [u8]],
        client: &Arc<DockerClient>,
    ) -> Box<dyn Read + Send> {
        Box::new(FirstWords {
            stream: Some(stream),
            beginnings,
            client: Arc::clone(client),
            is_through: false,
            held: Vec::new(),
        })
    }

    /// Reads until it is known what the stream begins with.
    fn begin(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(stream) = self.stream.as_mut().filter(|_| !self.is_through) {
            let count = stream.read(buffer)?;
            self.held.extend_from_slice(&buffer[..count]);
            let mut beginnings = self.beginnings.iter();
            let is_alike = beginnings.any(|words| self.held.starts_with(words));
            if count == 0 {
                self.stream = None;
                if is_alike {
                    self.judge();
                }
            } else if !is_alike || self.held.len() > HELD {
                self.is_through = true;
            }
        }
        Ok(())
    }

    /// The client has ended, and what was held back is all there is.
    fn judge(&mut self) {
        if let Some(1 | 126 | 127) = self.client.code() {
            let words = &self.client.words;
            let held = std::mem::take(&mut self.held);
            *words.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        }
    }
}

impl<R: Read + Send + 'static> Read for FirstWords<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.begin(buffer)?;
        if self.held.is_empty() {
            return match &mut self.stream {
                Some(stream) => stream.read(buffer),
                None => Ok(0),
            };
        }
        let count = self.held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.held[..count]);
        self.held.drain(..count);
        Ok(count)
    }
}

/// How the engine and shells say that a command is not there, and that it cannot be run.
const MISSING: [&str; 2] = ["not found", "no such file"];
const UNUSABLE: [&str; 3] = ["permission denied", "is a directory", "exec format error"];

/// The engine's words, without what it repeats, and what they mean for the command.
pub(super) fn refusal(code: u8, words: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(words);
    let text = text.trim().trim_end_matches(": unknown");
    let text = text.rsplit("container process: ").next().unwrap_or(text);
    let why = text
        .strip_prefix("Error response from daemon: ")
        .unwrap_or(text);
    let lower = why.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    // Whichever of the two the engine chose: versions differ.
    let code = match code {
        126 | 127 if has(&MISSING) => Some(127),
        126 | 127 if has(&UNUSABLE) => Some(126),
        _ => None,
    };
    let why = why.to_owned();
    Refusal { why, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_could_not_be_run() {
        let start =
            "OCI runtime exec failed: exec failed: unable to start container process: exec: ";
        for (code, words, why, meaning) in [
            (
                126,
                format!("{start}\"nosuch\": executable file not found in $PATH: unknown\n"),
                "exec: \"nosuch\": executable file not found in $PATH",
                Some(127),
            ),
            (
                126,
                format!("{start}\"/etc/passwd\": permission denied: unknown\n"),
                "exec: \"/etc/passwd\": permission denied",
                Some(126),
            ),
            (
                126,
                "OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown"
                    .to_owned(),
                "OCI runtime exec failed: exec failed: cannot exec in a stopped container",
                None,
            ),
            (
                1,
                "Error response from daemon: Container x is not running\n".to_owned(),
                "Container x is not running",
                None,
            ),
        ] {
            let refusal = refusal(code, words.as_bytes());
            assert_eq!((refusal.why.as_str(), refusal.code), (why, meaning));
        }
    }
}
