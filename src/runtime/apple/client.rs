//! Calling the client: every call has a deadline, and a question that the services did not answer is asked
//! again.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::super::child::{self, CommandOutput};
use super::super::choose::is_on_path;
use super::super::error::{Result, RuntimeError};
use super::classify;
use super::version::Version;
use crate::failpoint::scaled_timeout;

/// How long the client may take to answer a question.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a question is asked, and how long to wait in between.
const QUERY_ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Where the client is installed, for who does not have that on PATH.
const USUAL_PATHS: [&str; 2] = ["/usr/local/bin/container", "/opt/homebrew/bin/container"];

/// What the client is called; `None`: it is not here.
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

/// A client that is yet to get its arguments. In a process group of its own: what a terminal sends is not
/// for it.
pub(super) fn client() -> Command {
    let mut command = Command::new(program().unwrap_or("container"));
    command.process_group(0);
    command
}

/// The version of the client, asked once.
pub(super) fn version() -> Result<Version> {
    static VERSION: OnceLock<Version> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(*version);
    }
    let output = run(client().arg("--version"), b"", Duration::from_secs(5))?;
    let version = Version::read(&output.stdout)?;
    Ok(*VERSION.get_or_init(|| version))
}

/// Runs a client to its end.
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

/// Asks for a JSON document, which changes nothing. All that the client prints are arrays: these are its elements.
pub(super) fn ask_json(args: &[&str]) -> Result<Vec<Value>> {
    retry_transient(|| {
        let output = run(client().args(args), b"", QUERY_TIMEOUT)?;
        // The services answer in pieces when they are about to go.
        serde_json::from_str(&output.stdout).map_err(|error| {
            let what = args.first().copied().unwrap_or_default();
            RuntimeError::Transient(format!("the answer to '{what}' cannot be read: {error}"))
        })
    })
}

/// Tries again what may pass. Who did not answer at all within the deadline is not asked again.
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

/// What is said of who did not answer.
const NO_ANSWER_MESSAGE: &str = "container did not answer in time";

/// The client could not be run, or did not answer in time.
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
