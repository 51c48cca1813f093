//! The hooks of a session: scripts of the project. Their output goes to stderr, never to moat's stdout.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
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

/// A script of the project, and how it runs.
pub(super) struct Hook<'a> {
    pub(super) name: &'static str,
    /// Not set: there is none.
    pub(super) script: Option<&'a str>,
    pub(super) dir: &'a Path,
    pub(super) timeout: Duration,
}

/// A hook that runs.
struct RunningHook {
    child: Child,
    lines: mpsc::Receiver<String>,
    processes: ProcessSelection,
}

/// Runs a hook with its timeout. After a failure, all processes that the hook started are ended.
pub(super) fn run(
    context: &OperationContext<'_>,
    session: &Session,
    hook: &Hook<'_>,
) -> Result<()> {
    let Some(script) = hook.script else {
        return Ok(());
    };
    let started = hook.start(session, script);
    let mut running = started.map_err(|error| failed(hook.name, &os_error_text(&error)))?;
    let ended = hook.wait(context, &mut running);
    hook.drain(context, &running.lines);
    let ended = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => Err(failed(hook.name, &format!("it ended with {status}"))),
        Err(error) => Err(error),
    };
    running.processes.end();
    let _ = running.child.wait();
    ended
}

impl Hook<'_> {
    fn start(&self, session: &Session, script: &str) -> io::Result<RunningHook> {
        let (reader, writer) = io::pipe()?;
        let mark = session.mark(&operation_mark(self.name));
        let mut command = program::call("sh");
        program::clear_git_repository(&mut command)
            .args(["-c", script])
            .current_dir(self.dir)
            .envs(variables::shared(session))
            .env(PROCESS_MARK_VARIABLE, &mark)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let child = command.spawn()?;
        // Dropping the command closes moat's copies of the pipe's end.
        drop(command);
        let leader = ProcessIdentity::of_pid(child.id());
        Ok(RunningHook {
            child,
            lines: lines(reader),
            processes: ProcessSelection {
                mark,
                leaders: leader.into_iter().collect(),
                monitors: Vec::new(),
            },
        })
    }

    /// Passes the output on until the hook ends, its time is over or the operation is cancelled.
    fn wait(
        &self,
        context: &OperationContext<'_>,
        running: &mut RunningHook,
    ) -> Result<ExitStatus> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let mut said = 0;
            for line in running.lines.try_iter().take(LINES_PER_CHECK) {
                self.notify(context, &line);
                said += 1;
            }
            let ended = running.child.try_wait();
            let ended = ended.map_err(|error| failed(self.name, &os_error_text(&error)))?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let why = format!("it did not finish within {} s", self.timeout.as_secs());
                return Err(failed(self.name, &why).hint("set session.hooks.timeout in moat.yaml"));
            }
            context.check()?;
            if said < LINES_PER_CHECK {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }

    /// Passes the rest of the output on.
    fn drain(&self, context: &OperationContext<'_>, lines: &mpsc::Receiver<String>) {
        let rest = Instant::now() + DRAIN_TIMEOUT;
        // Lines that are already in the queue are received even with a timeout of zero.
        while let Some(left) = rest.checked_duration_since(Instant::now())
            && let Ok(line) = lines.recv_timeout(left)
        {
            self.notify(context, &line);
        }
    }

    fn notify(&self, context: &OperationContext<'_>, line: &str) {
        (context.notify)(&format!("{}: {line}", self.name));
    }
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
