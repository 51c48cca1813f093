//! Runs a command to its end, with a deadline.
//!
//! No child outlives its deadline, and no thread waits for one: both pipes are read with `poll`.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::ShowFn;

/// Maximum number of bytes kept of each stream.
const MAX_OUTPUT_BYTES: usize = 16 * 1024 * 1024;

/// Poll interval of the check for cancellation.
const CANCEL_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Grace period of a command whose children were asked to end.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Whether commands are currently isolated from the terminal's signals.
static IS_ISOLATED: AtomicBool = AtomicBool::new(false);

/// While this value exists, commands run in process groups of their own: Ctrl-C then reaches only this program, which
/// needs its commands to roll back.
#[must_use]
pub(crate) struct IsolatedProcessGroup(());

impl IsolatedProcessGroup {
    pub(crate) fn begin() -> IsolatedProcessGroup {
        IS_ISOLATED.store(true, Ordering::Relaxed);
        IsolatedProcessGroup(())
    }
}

impl Drop for IsolatedProcessGroup {
    fn drop(&mut self) {
        IS_ISOLATED.store(false, Ordering::Relaxed);
    }
}

/// Isolates a command from the terminal's signals, if that is active.
pub(crate) fn isolate(command: &mut Command) {
    if IS_ISOLATED.load(Ordering::Relaxed) {
        command.process_group(0);
    }
}

/// The output of a command, and how it ended.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end with `input`. Kills it at the deadline (`TimedOut`) or when `should_continue` returns
/// false (`Interrupted`).
pub(crate) fn run(
    command: &mut Command,
    input: &[u8],
    timeout: Duration,
    should_continue: &dyn Fn() -> bool,
) -> io::Result<CommandOutput> {
    isolate(command);
    let limits = Limits::new(timeout, should_continue);
    run_with(command, input, &limits, &kill)
}

/// Runs a command without input and keeps all of its output, without a limit.
pub(super) fn run_unlimited(command: &mut Command, timeout: Duration) -> io::Result<CommandOutput> {
    let limits = Limits {
        bytes: usize::MAX,
        ..Limits::new(timeout, &|| true)
    };
    run_with(command, b"", &limits, &kill)
}

/// Runs a command that cleans up on SIGTERM: it gets SIGTERM and a grace period before it is killed.
pub(crate) fn run_with_grace(
    command: &mut Command,
    timeout: Duration,
    should_continue: &dyn Fn() -> bool,
) -> io::Result<CommandOutput> {
    let limits = Limits::new(timeout, should_continue);
    run_with(command, b"", &limits, &|child| {
        let mut asked = children(child.id());
        asked.push(Pid::from_child(child));
        ask_to_end(child, &asked);
    })
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// When a command must have ended, and how much of its output is kept.
struct Limits<'a> {
    deadline: Instant,
    /// The maximum of each stream.
    bytes: usize,
    should_continue: &'a dyn Fn() -> bool,
}

impl<'a> Limits<'a> {
    fn new(timeout: Duration, should_continue: &'a dyn Fn() -> bool) -> Limits<'a> {
        Limits {
            deadline: Instant::now() + timeout,
            bytes: MAX_OUTPUT_BYTES,
            should_continue,
        }
    }
}

fn run_with(
    command: &mut Command,
    input: &[u8],
    limits: &Limits<'_>,
    end: &dyn Fn(&mut Child),
) -> io::Result<CommandOutput> {
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let result = exchange(&mut child, input, limits);
    if result.is_err() {
        end(&mut child);
    }
    let (stdout, stderr, status) = result?;
    Ok(CommandOutput {
        success: status.success(),
        stdout,
        stderr,
    })
}

/// Runs a command with much output to its end, and passes on every line of both streams, which are merged. Otherwise
/// like [`run`]. Returns how it ended.
pub(super) fn run_lines(
    command: &mut Command,
    timeout: Duration,
    should_continue: &dyn Fn() -> bool,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    let (reader, writer) = io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    // The command holds this process's copies of the writing end, which would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let result = read_lines(reader, deadline, should_continue, on_line)
        .and_then(|()| wait_until(&mut child, deadline));
    if result.is_err() {
        end(&mut child);
    }
    result
}

/// Kills the command after asking its children to end: podman's client runs build steps itself and would leave the
/// current one behind, with its files.
fn end(child: &mut Child) {
    ask_to_end(child, &children(child.id()));
}

/// Asks these processes to end, and kills the child if it does not end with them.
fn ask_to_end(child: &mut Child, asked: &[Pid]) {
    for pid in asked {
        let _ = kill_process(*pid, Signal::TERM);
    }
    if asked.is_empty() || wait_until(child, Instant::now() + GRACE_PERIOD).is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The children of a process; none if they cannot be determined.
fn children(pid: u32) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let mut found = Vec::new();
    for task in tasks {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        found.extend(pids.filter_map(Pid::from_raw));
    }
    found
}

/// Runs a command on this process's stdout and stderr without a time limit for their readers. `show` receives its
/// stdout, and also its stderr if this process's stderr is a terminal. Returns whether it succeeded or the readers
/// are gone.
pub(super) fn run_to_own_streams(
    command: &mut Command,
    show: Option<ShowFn<'_>>,
) -> io::Result<bool> {
    command.stdin(Stdio::null());
    let Some(show) = show else {
        let status = command.status()?;
        return Ok(status.success() || status.signal() == Some(Signal::PIPE.as_raw()));
    };
    let (mut reader, writer) = io::pipe()?;
    if io::stderr().is_terminal() {
        command.stderr(writer.try_clone()?);
    }
    let mut child = command.stdout(writer).spawn()?;
    // The command holds this process's copies of the writing end, which would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut buffer = [0; 8192];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(child.wait()?.success()),
            count => show(&buffer[..count]),
        }
    }
}

/// Runs a command between two streams. `Some`: it failed, with this stderr.
pub(super) fn run_between(
    command: &mut Command,
    input: Stdio,
    output: Stdio,
    timeout: Duration,
) -> io::Result<Option<String>> {
    let mut child = command
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()?;
    // The command holds this process's copies of the streams, which would keep them open.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let result = exchange(&mut child, b"", &Limits::new(timeout, &|| true));
    if result.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (_, stderr, status) = result?;
    Ok((!status.success()).then_some(stderr))
}

/// The first bytes of a command's output, at most this many. The command is killed afterwards.
pub(super) fn run_first_bytes(
    command: &mut Command,
    count: usize,
    timeout: Duration,
) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut stdout, mut bytes) = (child.stdout.take(), Vec::new());
    let mut read = Ok(());
    while read.is_ok() && stdout.is_some() && bytes.len() < count {
        read = wait_readable(&stdout, &None::<io::PipeReader>, deadline)
            .and_then(|()| read_ready(&mut stdout, &mut bytes, MAX_OUTPUT_BYTES));
    }
    let _ = child.kill();
    let _ = child.wait();
    read.map(|()| bytes)
}

fn read_lines(
    reader: io::PipeReader,
    deadline: Instant,
    should_continue: &dyn Fn() -> bool,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let mut stream = Some(reader);
    let mut line = Vec::new();
    while stream.is_some() {
        wait_readable(&stream, &None::<io::PipeReader>, deadline)?;
        let mut bytes = Vec::new();
        read_ready(&mut stream, &mut bytes, MAX_OUTPUT_BYTES)?;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || line.len() > MAX_LINE_BYTES {
                on_line(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        if !should_continue() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    if !line.is_empty() {
        on_line(String::from_utf8_lossy(&line).trim_end());
    }
    Ok(())
}

/// Maximum length of a line in bytes; a longer one is passed on in pieces.
const MAX_LINE_BYTES: usize = 64 * 1024;

fn exchange(
    child: &mut Child,
    input: &[u8],
    limits: &Limits<'_>,
) -> io::Result<(String, String, ExitStatus)> {
    if let Some(mut stdin) = child.stdin.take() {
        // A few lines of environment: less than a pipe's capacity.
        match io::Write::write_all(&mut stdin, input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    while stdout.is_some() || stderr.is_some() {
        wait_readable(&stdout, &stderr, limits.deadline)?;
        read_ready(&mut stdout, &mut out, limits.bytes)?;
        read_ready(&mut stderr, &mut err, limits.bytes)?;
        if !(limits.should_continue)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    let status = wait_until(child, limits.deadline)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((text(out), text(err), status))
}

fn wait_readable(
    stdout: &Option<impl AsFd>,
    stderr: &Option<impl AsFd>,
    deadline: Instant,
) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut fds = Vec::with_capacity(2);
    fds.extend(stdout.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
    fds.extend(stderr.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
    let timeout = Timespec::try_from(left.min(CANCEL_POLL_INTERVAL))
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut fds, Some(&timeout)) {
        Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads once if data is available; at the end of the stream, drops it.
fn read_ready<R: Read + AsFd>(
    stream: &mut Option<R>,
    into: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    let Some(reader) = stream else { return Ok(()) };
    let mut fds = [PollFd::new(&*reader, PollFlags::IN)];
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&none)).unwrap_or(0) == 0 {
        return Ok(());
    }
    let mut buffer = [0; 8192];
    match reader.read(&mut buffer) {
        Ok(0) => *stream = None,
        Ok(count) if into.len() < limit => into.extend_from_slice(&buffer[..count]),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Waits for a child that is about to end.
pub(crate) fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
