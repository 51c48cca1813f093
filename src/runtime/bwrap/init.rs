//! The first process inside a sandbox. It sets limits, writes the mark of a complete sandbox, runs the script before
//! the command, then becomes the command. A command that cannot be executed gives the exit codes of a shell, 126 and
//! 127.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::Mode;
use signal_hook::consts::FORBIDDEN;

use super::limits;

/// The hidden command.
pub(crate) const COMMAND: &str = "__init";

/// Runs the command. Returns only if that fails, with the exit code. The arguments: limits, the descriptor for the
/// exit code of a failed script, the script (may be empty), the command.
pub(crate) fn init(args: &[OsString]) -> u8 {
    let [limits, note, pre_run, program, args @ ..] = args else {
        return 127;
    };
    reset_inherited();
    let mut stderr = io::stderr();
    // Before the mark: a sandbox without its limits is not complete.
    if let Err(why) = limits::apply(&limits.to_string_lossy()) {
        let _ = writeln!(stderr, "bwrap: {why}");
        return 125;
    }
    let has_terminal = rustix::termios::isatty(rustix::stdio::stdin());
    if has_terminal {
        super::foreground::wait_for_foreground();
    }
    if stderr.write_all(super::status::STARTED_MARK).is_err() {
        return 126;
    }
    if has_terminal {
        let _ = rustix::stdio::dup2_stderr(rustix::stdio::stdin());
    }
    let note = note.to_str().and_then(|note| note.parse().ok());
    if let Err(code) = prepare(pre_run, note) {
        return code;
    }
    let error = Command::new(program).args(args).exec();
    cannot_run(program, &error)
}

/// The umask of a container.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);

/// Gives the command the umask and the signal actions of a container, whatever the caller of moat has (nohup, a shell
/// with `trap ''`, a service with a umask of its own).
fn reset_inherited() {
    rustix::process::umask(UMASK);
    let always = Arc::new(AtomicBool::new(true));
    // `exec` keeps an ignored signal ignored, and replaces a handler by the default action. Until then the handler
    // does what the default action does: a signal that ends the run must not get lost here.
    for signal in (1..32).filter(|signal| !FORBIDDEN.contains(signal)) {
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&always));
    }
}

/// Runs the script, and writes its exit code if it fails.
fn prepare(script: &OsStr, note: Option<RawFd>) -> Result<(), u8> {
    // A new descriptor, which the workload does not inherit.
    let path = note.map(|fd| format!("/proc/self/fd/{fd}"));
    let file = path.and_then(|path| std::fs::File::options().append(true).open(path).ok());
    close_fds::set_fds_cloexec(3, &[]);
    if script.is_empty() {
        return Ok(());
    }
    let ran = Command::new("sh")
        .arg("-ec")
        .arg(script)
        .arg("pre_run")
        .stdin(Stdio::null())
        .status();
    let code = match ran {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => code(status),
        Err(error) => cannot_run(OsStr::new("sh"), &error),
    };
    if let Some(mut file) = file {
        let _ = writeln!(file, "{code}");
    }
    Err(code)
}

/// The exit code as in a shell: 128 and the signal's number for a death by signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn cannot_run(program: &OsStr, error: &io::Error) -> u8 {
    let name = crate::term::escape_unsafe(&program.to_string_lossy());
    let reason = crate::error::os_error_text(error);
    let _ = writeln!(io::stderr(), "moat: cannot run '{name}': {reason}");
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}
