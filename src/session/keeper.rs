//! Who stays with a process of a session: holds its pipes, writes its log, and notes how it ended. This program
//! in another role, in a session of its own, so that no terminal and no end of `moat up` concerns it.
//!
//! It begins only when it is told to, which `moat up` does once the keeper's identity is in the record. If
//! `moat up` is killed before, its end of the pipe closes, and nothing is ever started.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::members::MARK;
use crate::store::{LogWriter, Process, ProcessState, Stream, Timestamp, write_atomically};

/// The hidden command.
pub(crate) const KEEPER: &str = "__keeper";

/// What the keeper answers once the process has been started.
pub(super) const STARTED: u8 = b's';

/// Keeps the process described by the arguments: the files of its log and its state, and its command.
pub(crate) fn keep(args: &[OsString]) -> u8 {
    let [log, state, command] = args else {
        return 2;
    };
    u8::from(run(Path::new(log), Path::new(state), command).is_err())
}

fn run(log: &Path, state: &Path, command: &OsString) -> io::Result<()> {
    let _ = rustix::process::setsid();
    // Who ends the process group means the process. A handler, as what is ignored is inherited.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let mut go = [0];
    if io::stdin().read(&mut go)? == 0 {
        return Ok(());
    }
    let (mut log, _) = LogWriter::open(log)?;
    log.note("started");
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let process = Process::of(child.id()).unwrap_or_else(|| Process {
        pid: child.id(),
        // It has ended already; nobody can take its pid before we have waited for it.
        token: String::new(),
    });
    let mut known = ProcessState {
        mark: std::env::var(MARK).unwrap_or_default(),
        process,
        started_at: Timestamp::now(),
        ended_at: None,
        exit_code: None,
    };
    write(state, &known)?;
    let mut stdout = io::stdout();
    let _ = stdout.write_all(&[STARTED]).and_then(|()| stdout.flush());
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let log = Arc::new(Mutex::new(log));
    let readers = [
        child
            .stdout
            .take()
            .map(|pipe| copy(pipe, Stream::Stdout, &log)),
        child
            .stderr
            .take()
            .map(|pipe| copy(pipe, Stream::Stderr, &log)),
    ];
    let status = child.wait()?;
    known.ended_at = Some(Timestamp::now());
    known.exit_code = Some(code(status));
    write(state, &known)?;
    // What it has started may go on to speak.
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    log.lock().unwrap_or_else(PoisonError::into_inner).close();
    Ok(())
}

fn copy(
    mut pipe: impl Read + Send + 'static,
    stream: Stream,
    log: &Arc<Mutex<LogWriter>>,
) -> std::thread::JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.append(stream, &buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn write(path: &Path, state: &ProcessState) -> io::Result<()> {
    let text = serde_json::to_string(state)?;
    write_atomically(path, text.as_bytes())
}
