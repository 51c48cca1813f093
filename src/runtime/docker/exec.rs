//! `docker exec`: another command in a running container.
//!
//! A failed start shows in the output: the engine's message is on stdout (Docker 20.10.24), the client's own on
//! stderr. Both come first on their stream, and are buffered until the exit code shows their origin.

use std::process::{Command, Stdio};

use super::super::container_scripts::{EXEC_MARKER_VARIABLE, KILL_SCRIPT};
use super::super::error::{Result, RuntimeError};
use super::super::{
    Attached, CommandSpec, Commands, ExecSpec, REQUEST_TIMEOUT, Refusal, attach, child,
    client_terminal,
};
use super::client_messages;
use super::create_args::is_obeyed_name;
use super::{Dialect, Docker};
use crate::term::pty::Size;

/// Prefixes of the engine's and the client's messages.
const ENGINE_PREFIXES: &[&[u8]] = &[b"OCI runtime exec failed: "];
const CLIENT_PREFIXES: &[&[u8]] = &[
    b"Error response from daemon: ",
    b"Error: No such container: ",
    b"Error: No such exec instance",
    b"error during connect: ",
    b"Cannot connect to the Docker daemon",
    // Prefixes of podman's messages.
    b"Error: runc: ",
    b"Error: crun: ",
    b"Error: OCI runtime ",
    b"Error: no container with name or ID ",
    b"Error: can only create exec sessions on running containers",
];

/// A terminal has one stream for all of them.
const ALL_PREFIXES: &[&[u8]] = &[
    ENGINE_PREFIXES[0],
    CLIENT_PREFIXES[0],
    CLIENT_PREFIXES[1],
    CLIENT_PREFIXES[2],
    CLIENT_PREFIXES[3],
    CLIENT_PREFIXES[4],
    CLIENT_PREFIXES[5],
    CLIENT_PREFIXES[6],
    CLIENT_PREFIXES[7],
    CLIENT_PREFIXES[8],
    CLIENT_PREFIXES[9],
];

/// The detach keys of docker, which cannot be disabled. They must be ASCII here, because the engine receives them as
/// JSON. Nobody types these keys in this order, and holding a key down repeats only one of them. The engine delays the
/// first of the keys until the next key, so it is the null character, which few programs act upon at once.
const DOCKER_DETACH_KEYS: &str = "ctrl-@,ctrl-_,ctrl-^,ctrl-@,ctrl-],ctrl-^,ctrl-_,ctrl-@";

/// podman has no detach keys if they are empty.
const PODMAN_DETACH_KEYS: &str = "";

impl Docker {
    fn exec_messages(&self, spec: &ExecSpec) -> client_messages::DockerExecMessages {
        let (driver, handle) = (self.clone(), spec.handle.clone());
        // A paused container runs, but accepts no command.
        let is_well = move || {
            let inspect = [
                "inspect",
                "--type",
                "container",
                "--format",
                "{{.State.Status}}",
            ];
            let state = driver.run_client(&[&inspect[..], &["--", &handle]].concat());
            state.is_ok_and(|state| state.stdout.trim() == "running")
        };
        client_messages::DockerExecMessages {
            dialect: self.dialect,
            is_container_running: Box::new(is_well),
        }
    }
}

impl Commands for Docker {
    fn exec(
        &self,
        spec: &CommandSpec<'_>,
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>> {
        let mut client = self.command();
        client.args(["exec", spec.handle]).args(spec.command);
        let status = child::run_lines(&mut client, spec.timeout, should_continue, tell);
        let status = status.map_err(|error| self.dialect.failed(&error))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()))
    }

    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached> {
        if let Some(size) = spec.terminal {
            let mut client = self.with_engine(client_terminal::command(self.dialect.program()));
            command(&mut client, self.dialect, spec)?;
            return spawn_on_terminal(self.exec_messages(spec), &mut client, size);
        }
        let mut client = self.command();
        command(&mut client, self.dialect, spec)?;
        match &spec.stdin {
            Some(stdin) => {
                let stdin = stdin
                    .try_clone()
                    .map_err(|error| self.dialect.failed(&error))?;
                client.stdin(Stdio::from(stdin))
            }
            None => client.stdin(Stdio::null()),
        };
        spawn(self.exec_messages(spec), &mut client)
    }

    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()> {
        let mut client = self.command();
        kill(&mut client, handle, marker, signal);
        self.run_command(&mut client, REQUEST_TIMEOUT, &|| true)
            .map(|_| ())
    }

    fn refusal(&self, code: u8, words: &[u8]) -> Refusal {
        refusal(code, words)
    }
}

/// Completes the call of a client that runs a command.
fn command(client: &mut Command, dialect: Dialect, spec: &ExecSpec) -> Result<()> {
    client.arg("exec");
    if spec.terminal.is_some() {
        client.args(["--interactive", "--tty", "--detach-keys"]);
        client.arg(match dialect {
            Dialect::Docker => DOCKER_DETACH_KEYS,
            Dialect::Podman => PODMAN_DETACH_KEYS,
        });
    } else if spec.stdin.is_some() {
        client.arg("--interactive");
    }
    if let Some(dir) = &spec.workdir {
        client.args(["--workdir", dir]);
    }
    client.args(["--env", &marker(&spec.marker)]);
    for (name, value) in &spec.env {
        if is_obeyed_name(dialect, name) {
            let engine = dialect.program();
            let message = format!(
                "{name} cannot be set this way on {engine}, whose client obeys it; write: env {name}=VALUE CMD"
            );
            return Err(RuntimeError::Refused(message));
        }
        client.args(["--env", name]).env(name, value);
    }
    client.arg(&spec.handle).args(&spec.command);
    Ok(())
}

/// Completes the call of a client that ends such a command.
fn kill(client: &mut Command, handle: &str, marker_word: &str, signal: &str) {
    let marker = marker(marker_word);
    client.args([
        "exec",
        handle,
        "/bin/sh",
        "-c",
        KILL_SCRIPT,
        "moat",
        &marker,
        signal,
    ]);
}

fn marker(word: &str) -> String {
    format!("{EXEC_MARKER_VARIABLE}={word}")
}

/// Starts a client.
fn spawn(manner: client_messages::DockerExecMessages, client: &mut Command) -> Result<Attached> {
    let dialect = manner.dialect;
    attach::spawn_exec(client, Box::new(manner), [ENGINE_PREFIXES, CLIENT_PREFIXES])
        .map_err(|error| dialect.failed(&error))
}

/// Starts a client on a terminal of its own.
fn spawn_on_terminal(
    manner: client_messages::DockerExecMessages,
    client: &mut Command,
    size: Size,
) -> Result<Attached> {
    let dialect = manner.dialect;
    attach::spawn_exec_on_terminal(
        client,
        Box::new(manner),
        ALL_PREFIXES,
        size,
        attach::unprepared,
    )
    .map_err(|error| dialect.failed(&error))
}

/// The messages of the engine and of shells about a missing or non-executable command.
const NOT_FOUND_MESSAGES: [&str; 2] = ["not found", "no such file"];
const NOT_EXECUTABLE_MESSAGES: [&str; 3] =
    ["permission denied", "is a directory", "exec format error"];

/// The message of the engine about a missing working directory.
const NO_WORKDIR_MESSAGES: [&str; 1] = ["chdir to cwd"];

/// podman's addition, which is the same for a missing directory.
const PODMAN_MESSAGES: [&str; 2] = [
    ": OCI runtime attempted to invoke a command that was not found",
    ": OCI permission denied",
];

/// The engine's message without its repetitions, and the command's exit code.
fn refusal(code: u8, words: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(words);
    let text = text.trim().trim_end_matches(": unknown");
    let text = PODMAN_MESSAGES
        .iter()
        .fold(text, |text, end| text.trim_end_matches(end));
    let text = text.rsplit("container process: ").next().unwrap_or(text);
    let prefixes = ["Error response from daemon: ", "Error: "];
    let why = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    let why = why.unwrap_or(text);
    let lower = why.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    // The engine's choice of the code depends on its version.
    let code = match code {
        126 | 127 if has(&NO_WORKDIR_MESSAGES) => None,
        126 | 127 if has(&NOT_FOUND_MESSAGES) => Some(127),
        126 | 127 if has(&NOT_EXECUTABLE_MESSAGES) => Some(126),
        _ => None,
    };
    let why = why.to_owned();
    Refusal { reason: why, code }
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
                127,
                "OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory: unknown".to_owned(),
                "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory",
                None,
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
            assert_eq!((refusal.reason.as_str(), refusal.code), (why, meaning));
        }
    }
}
