//! The scripts of a project around a session. Their output goes to stderr, never to our stdout.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::marked_processes::{MARK, ProcessSelection};
use super::operation::OperationContext;
use super::repository::clear_git_environment;
use super::variables;
use crate::error::{Error, ErrorKind, Result, reason};
use crate::store::{ProcessIdentity, Session};

/// How often to ask whether to go on.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long what a script has left in the background may hold its output open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// How many lines are said before it is asked again whether to go on, and wait to be said.
const LINES_PER_CHECK: usize = 100;

/// What is longer is passed on in pieces, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// The mark of what is not one of its processes: no name begins like this.
pub(super) fn operation_mark(name: &str) -> String {
    format!(".{name}")
}

/// Runs a script of the session, for so long at most. Whatever is left of it after a failure is ended.
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
    let (reader, writer) = std::io::pipe().map_err(|error| failed(name, &reason(&error)))?;
    let copy = writer
        .try_clone()
        .map_err(|error| failed(name, &reason(&error)))?;
    let mark = session.mark(&operation_mark(name));
    let mut command = Command::new("sh");
    clear_git_environment(&mut command)
        .args(["-c", script])
        .current_dir(dir)
        .envs(variables::shared(session))
        .env(MARK, &mark)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(writer);
    let mut child = command
        .spawn()
        .map_err(|error| failed(name, &reason(&error)))?;
    // With it go our copies of the pipe's end.
    drop(command);
    let leader = ProcessIdentity::of(child.id());
    let lines = lines(reader);
    let deadline = Instant::now() + timeout;
    let ended = loop {
        let mut said = 0;
        for line in lines.try_iter().take(LINES_PER_CHECK) {
            (context.say)(&format!("{name}: {line}"));
            said += 1;
        }
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(failed(name, &reason(&error))),
            Ok(None) if Instant::now() >= deadline => {
                let seconds = timeout.as_secs();
                break Err(failed(name, &format!("it took longer than {seconds} s"))
                    .hint("set session.hooks.timeout in moat.yaml"));
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
    // What is there is received even without any time.
    while let Some(left) = rest.checked_duration_since(Instant::now())
        && let Ok(line) = lines.recv_timeout(left)
    {
        (context.say)(&format!("{name}: {line}"));
    }
    let ended = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => Err(failed(name, &format!("it ended with {status}"))),
        Err(error) => Err(error),
    };
    let rest = ProcessSelection {
        mark,
        leaders: leader.into_iter().collect(),
        keepers: Vec::new(),
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
