//! The monitor of a session process: this program in another role. It holds the pipes of the process, writes its log
//! and records its exit. It runs in a kernel session of its own, so that neither a closed terminal nor the end of
//! `moat up` affects it.
//!
//! A monitor starts its process only after `moat up` has written the monitor's identity to the record and has
//! released it. If `moat up` is killed before, its end of the pipe closes, and the process is never started.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::marked_processes::PROCESS_MARK_VARIABLE;
use crate::store::{
    Home, LogWriter, ProcessIdentity, ProcessState, Stream, Timestamp, write_atomically,
};

/// The hidden command.
pub(crate) const MONITOR: &str = "__keeper";

/// The monitor's answer once the process has been started.
pub(super) const STARTED_BYTE: u8 = b's';

/// Poll interval of a monitor in a tmux window that waits for its release.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Size in bytes at which a log is rotated; one previous log is kept.
const MAX_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Runs the monitor with the given arguments: the files of the log and the state, and the command. A process in a
/// tmux window has two monitors, because tmux has the output: one waits for the process (its arguments are the state,
/// the command, the file that releases it and the process that writes that file); the other one writes the output
/// that tmux passes on to the log.
pub(crate) fn monitor(args: &[OsString]) -> u8 {
    let done = match args {
        [log, state, command] => run(Path::new(log), Path::new(state), command).map(|()| 0),
        [log] => write_log(Path::new(log)).map(|()| 0),
        [state, command, go, pid, token] => {
            let number = pid.to_str().and_then(|pid| pid.parse().ok());
            let token = token.to_string_lossy().into_owned();
            let owner = number.map(|pid| ProcessIdentity { pid, token });
            wait_for_go_file(Path::new(state), command, Path::new(go), owner)
        }
        _ => return 2,
    };
    done.unwrap_or(1)
}

/// Writes the output of a tmux window to a log.
fn write_log(path: &Path) -> io::Result<()> {
    let log = open(path)?;
    copy(io::stdin(), Stream::Stdout, path, &log);
    close(&log);
    Ok(())
}

/// Starts the process once the file exists, or gives up if the process that must write the file is gone. Returns the
/// exit code of the process, which the window shows.
fn wait_for_go_file(
    state: &Path,
    command: &OsString,
    go: &Path,
    owner: Option<ProcessIdentity>,
) -> io::Result<u8> {
    ignore_signals()?;
    let variables = loop {
        match std::fs::read(go) {
            Ok(variables) => break variables,
            Err(_) if owner.as_ref().is_some_and(ProcessIdentity::is_alive) => {
                std::thread::sleep(POLL_INTERVAL)
            }
            Err(error) => return Err(error),
        }
    };
    let _ = std::fs::remove_file(go);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).process_group(0).env_clear();
    for variable in variables.split(|byte| *byte == 0) {
        if let Some(place) = variable.iter().position(|byte| *byte == b'=') {
            let (name, value) = (&variable[..place], &variable[place + 1..]);
            shell.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
    }
    // Variables that tmux sets for the terminal.
    for name in ["TERM", "TMUX", "TMUX_PANE"] {
        shell.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let mut hangups = Signals::new([SIGHUP])?;
    let child = shell.spawn()?;
    let pid = Pid::from_child(&child);
    let mut known = state_of(child.id());
    write(state, &known)?;
    // tmux has closed the window; only the monitor receives the signal.
    std::thread::spawn(move || {
        for _ in hangups.forever() {
            let _ = kill_process_group(pid, Signal::HUP);
        }
    });
    let code = crate::runtime::foreground(pid);
    known.ended_at = Some(Timestamp::now());
    known.exit_code = Some(code);
    write(state, &known)?;
    Ok(code)
}

/// A SIGTERM to the process group is meant for the process. The monitor installs a handler instead of ignoring the
/// signal, because a child inherits ignored signals.
fn ignore_signals() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Arc<Mutex<LogWriter>>> {
    let (mut log, _) = LogWriter::open(path)?;
    log.note("started");
    Ok(Arc::new(Mutex::new(log)))
}

fn close(log: &Mutex<LogWriter>) {
    log.lock().unwrap_or_else(PoisonError::into_inner).close();
}

fn state_of(pid: u32) -> ProcessState {
    ProcessState {
        mark: std::env::var(PROCESS_MARK_VARIABLE).unwrap_or_default(),
        process: ProcessIdentity::of_pid(pid).unwrap_or_else(|| ProcessIdentity {
            pid,
            // The process has ended already; its pid cannot be reused before it has been waited for.
            token: String::new(),
        }),
        started_at: Timestamp::now(),
        ended_at: None,
        exit_code: None,
    }
}

fn run(path: &Path, state: &Path, command: &OsString) -> io::Result<()> {
    let _ = rustix::process::setsid();
    ignore_signals()?;
    let mut go = [0];
    if io::stdin().read(&mut go)? == 0 {
        return Ok(());
    }
    let log = open(path)?;
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut known = state_of(child.id());
    write(state, &known)?;
    let mut stdout = io::stdout();
    let _ = stdout
        .write_all(&[STARTED_BYTE])
        .and_then(|()| stdout.flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let log = &log;
        if let Some(pipe) = out {
            scope.spawn(move || copy(pipe, Stream::Stdout, path, log));
        }
        if let Some(pipe) = err {
            scope.spawn(move || copy(pipe, Stream::Stderr, path, log));
        }
        let status = child.wait()?;
        known.ended_at = Some(Timestamp::now());
        known.exit_code = Some(code(status));
        // Descendants of the process may continue to write.
        write(state, &known)
    })?;
    close(&log);
    Ok(())
}

fn copy(mut pipe: impl Read, stream: Stream, path: &Path, log: &Mutex<LogWriter>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.append(stream, &buffer[..count]);
                log.rotate_above(MAX_LOG_BYTES, &Home::older_log(path));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn write(path: &Path, state: &ProcessState) -> io::Result<()> {
    let text = serde_json::to_string(state)?;
    write_atomically(path, text.as_bytes())
}
