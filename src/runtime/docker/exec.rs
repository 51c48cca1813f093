//! `docker exec`: another command in a running container.
//!
//! The client reports by its output that a command could not be started: the engine's words come out
//! of stdout (Docker 20.10.24), the client's own out of stderr. Both are the first thing on their
//! stream, and are held back until the exit code says whose they are.

use std::process::Command;

use super::super::problem::{Problem, Result};
use super::super::script::{KILL, MARKER};
use super::super::{Attached, ExecSpec, attach};
use super::arguments::obeyed_by_client;
use super::manner;

/// How the words of the engine and of the client begin.
const ENGINE: &[&[u8]] = &[b"OCI runtime exec failed: "];
const CLIENT: &[&[u8]] = &[
    b"Error response from daemon: ",
    b"Error: No such container: ",
    b"Error: No such exec instance",
    b"error during connect: ",
    b"Cannot connect to the Docker daemon",
];

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
    attach::spawn_exec(client, Box::new(manner::Exec), [ENGINE, CLIENT])
        .map_err(|error| super::failed(&error))
}

/// What is said where a command could not be started: the engine's words, without what it repeats.
pub(super) fn refusal(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let text = text.trim().trim_end_matches(": unknown");
    let text = text.rsplit("container process: ").next().unwrap_or(text);
    text.strip_prefix("Error response from daemon: ")
        .unwrap_or(text)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_could_not_be_run() {
        let words = b"OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH: unknown\n";
        assert_eq!(
            refusal(words),
            "exec: \"nosuch\": executable file not found in $PATH"
        );
        let words = b"Error response from daemon: Container x is not running\n";
        assert_eq!(refusal(words), "Container x is not running");
    }
}
