//! The first process of a sandbox with a terminal. It makes the workload the terminal's foreground job, so that
//! Ctrl-C reaches only the workload, and waits for the workload.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process_group, waitpid};
use rustix::stdio::stdin;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The hidden command.
pub(crate) const COMMAND: &str = "__job";

/// Timeout until the parent has given the terminal to this process.
const FOREGROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the program in its own process group, in the foreground of the terminal. Returns the exit code.
pub(crate) fn job(args: &[OsString]) -> u8 {
    let Some((program, args)) = args.split_first() else {
        return 127;
    };
    let child = match Command::new(program).args(args).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            let reason = crate::error::os_error_text(&error);
            let _ = writeln!(io::stderr(), "bwrap: cannot start the workload: {reason}");
            return 125;
        }
    };
    foreground(Pid::from_child(&child))
}

/// Puts a child's process group into the foreground of this process's terminal, and waits for the child. Returns the
/// exit code.
pub(crate) fn foreground(pid: Pid) -> u8 {
    let _ = tcsetpgrp(stdin(), pid);
    // The child may already have stopped, because it read from the terminal in the background.
    let _ = kill_process_group(pid, Signal::CONT);
    wait(pid)
}

fn wait(pid: Pid) -> u8 {
    loop {
        match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) => match code(status) {
                Some(code) => return code,
                None => continue_stopped(pid, status),
            },
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return 255,
        }
    }
}

/// Returns the exit code of a child; `None` while the child has not ended.
fn code(status: WaitStatus) -> Option<u8> {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal)?;
    Some(u8::try_from(code).unwrap_or(255))
}

/// Continues a stopped child. No shell is there that could continue it later, so Ctrl-Z would block it for ever.
fn continue_stopped(pid: Pid, status: WaitStatus) {
    if status.stopping_signal() == Some(Signal::TSTP.as_raw()) {
        let _ = kill_process_group(pid, Signal::CONT);
    }
}

/// Waits until this process is in the foreground: reading in the background would stop it.
pub(super) fn wait_for_foreground() {
    let deadline = Instant::now() + FOREGROUND_TIMEOUT;
    // A process group outside of the sandbox has no id inside, which is an error.
    while tcgetpgrp(stdin()) != Ok(getpgrp()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
}
