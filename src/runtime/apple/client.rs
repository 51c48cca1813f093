//! Calls of the client. Every call has a timeout, and a query that the services did not answer is repeated.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::super::child::{self, CommandOutput};
use super::super::error::{Result, RuntimeError};
use super::classify;
use super::version::Version;
use crate::failpoint::scaled_timeout;
use crate::program::is_on_path;

/// Timeout of a query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Number of attempts of a query, and the retry delay.
const QUERY_ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The usual places of the client, for users without it on PATH.
const USUAL_PATHS: [&str; 2] = ["/usr/local/bin/container", "/opt/homebrew/bin/container"];

/// The path of the client; `None` if the client is not installed.
pub(super) fn program() -> Option<&'static str> {
    let usual = || {
        USUAL_PATHS
            .into_iter()
            .find(|path| Path::new(path).is_file())
    };
    match is_on_path("container") {
        true => Some("container"),
        false => usual(),
    }
}

/// A client without arguments. The client gets a process group of its own, so that the signals of a terminal do not
/// reach it.
pub(super) fn client() -> Command {
    let mut command = Command::new(program().unwrap_or("container"));
    command.process_group(0);
    command
}

/// The version of the client, read once.
pub(super) fn version() -> Result<Version> {
    static VERSION: OnceLock<Version> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(*version);
    }
    let output = run(client().arg("--version"), b"", Duration::from_secs(5))?;
    let version = Version::read(&output.stdout)?;
    Ok(*VERSION.get_or_init(|| version))
}

/// Runs a client until it ends.
pub(super) fn run(command: &mut Command, input: &[u8], timeout: Duration) -> Result<CommandOutput> {
    run_while(command, input, scaled_timeout(timeout), &|| true)
}

pub(super) fn run_while(
    command: &mut Command,
    input: &[u8],
    timeout: Duration,
    should_continue: &dyn Fn() -> bool,
) -> Result<CommandOutput> {
    let output = child::run(command, input, timeout, should_continue);
    let output = output.map_err(|error| failed(&error))?;
    match output.success {
        true => Ok(output),
        false => Err(classify::classify(&output.stderr)),
    }
}

/// Runs a query that prints a JSON document. All documents of the client are arrays; returns the elements.
pub(super) fn ask_json(args: &[&str]) -> Result<Vec<Value>> {
    retry_transient(|| {
        let output = run(client().args(args), b"", QUERY_TIMEOUT)?;
        // Services that are shutting down answer with incomplete documents.
        serde_json::from_str(&output.stdout).map_err(|error| {
            let what = args.first().copied().unwrap_or_default();
            RuntimeError::Transient(format!("cannot read the answer to '{what}': {error}"))
        })
    })
}

/// Repeats an attempt that failed with a transient error. A query that timed out is not repeated.
pub(super) fn retry_transient<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut left = QUERY_ATTEMPTS;
    loop {
        left -= 1;
        match attempt() {
            Err(problem)
                if left > 0 && problem.is_transient() && problem.message() != NO_ANSWER_MESSAGE =>
            {
                std::thread::sleep(RETRY_DELAY);
            }
            result => return result,
        }
    }
}

/// The message for a timeout.
const NO_ANSWER_MESSAGE: &str = "container did not answer in time";

/// The error of a client that could not run or did not answer in time.
pub(super) fn failed(error: &io::Error) -> RuntimeError {
    match error.kind() {
        io::ErrorKind::NotFound => RuntimeError::unreachable(
            "Apple's container is not installed: there is no 'container' on PATH",
            "install it from https://github.com/apple/container/releases, or choose another runtime with --runtime",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
            RuntimeError::Transient(NO_ANSWER_MESSAGE.to_owned())
        }
        _ => RuntimeError::unreachable(
            format!(
                "cannot run container: {}",
                crate::error::os_error_text(error)
            ),
            "check the 'container' on your PATH",
        ),
    }
}
