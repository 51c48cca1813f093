//! The hooks of a session: scripts of the project. Their output goes to stderr, never to moat's stdout.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::marked_processes::{PROCESS_MARK_VARIABLE, ProcessSelection};
use super::operation::OperationContext;
use super::variables;
use crate::error::{Error, ErrorKind, Result, os_error_text};
use crate::program;
use crate::store::{ProcessIdentity, Session};

/// Poll interval of the check for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Time that a background process of a hook may hold the hook's output open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// Number of lines that are passed on between two checks for cancellation; also the size of the queue.
const LINES_PER_CHECK: usize = 100;

/// Longest line in bytes; a longer one is passed on in pieces.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Prefix of the mark of a hook's processes. No process name of a session begins like this.
pub(super) fn operation_mark(name: &str) -> String {
    format!(".{name}")
}

/// Runs a hook with its timeout. After a failure, all processes that the hook started are ended.
pub(super) fn run(
    context: &OperationContext<'_>,
    session: &Session,
    (name, script): (&str, Option<&str>),
    dir: &Path,
    timeout: Duration,
) -> Result<()> {
    let Some(script) = script else {
        return Ok(());
    };
    let (reader, writer) = std::io::pipe().map_err(|error| failed(name, &os_error_text(&error)))?;
    let copy = writer
        .try_clone()
        .map_err(|error| failed(name, &os_error_text(&error)))?;
    let mark = session.mark(&operation_mark(name));
    let mut command = program::call("sh");
    program::clear_git_repository(&mut command)
        .args(["-c", script])
        .current_dir(dir)
        .envs(variables::shared(session))
        .env(PROCESS_MARK_VARIABLE, &mark)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(writer);
    let mut child = command
        .spawn()
        .map_err(|error| failed(name, &os_error_text(&error)))?;
    // Dropping the command closes moat's copies of the pipe's end.
    drop(command);
    let leader = ProcessIdentity::of_pid(child.id());
    let lines = lines(reader);
    let deadline = Instant::now() + timeout;
    let ended = loop {
        let mut said = 0;
        for line in lines.try_iter().take(LINES_PER_CHECK) {
            (context.notify)(&format!("{name}: {line}"));
            said += 1;
        }
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(failed(name, &os_error_text(&error))),
            Ok(None) if Instant::now() >= deadline => {
                let seconds = timeout.as_secs();
                break Err(
                    failed(name, &format!("it did not finish within {seconds} s"))
                        .hint("set session.hooks.timeout in moat.yaml"),
                );
            }
            Ok(None) => {}
        }
        if let Err(error) = context.check() {
            break Err(error);
        }
        if said < LINES_PER_CHECK {
            std::thread::sleep(POLL_INTERVAL);
        }
    };
    let rest = Instant::now() + DRAIN_TIMEOUT;
    // Lines that are already in the queue are received even with a timeout of zero.
    while let Some(left) = rest.checked_duration_since(Instant::now())
        && let Ok(line) = lines.recv_timeout(left)
    {
        (context.notify)(&format!("{name}: {line}"));
    }
    let ended = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => Err(failed(name, &format!("it ended with {status}"))),
        Err(error) => Err(error),
    };
    let rest = ProcessSelection {
        mark,
        leaders: leader.into_iter().collect(),
        monitors: Vec::new(),
    };
    rest.end();
    let _ = child.wait();
    ended
}

fn failed(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Failed, format!("the hook {name} failed: {why}"))
}

fn lines(reader: std::io::PipeReader) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_PER_CHECK);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while (&mut reader)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}
