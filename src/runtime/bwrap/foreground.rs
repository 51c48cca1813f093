//! The first process of a sandbox that has a terminal: makes the workload its foreground job, so that
//! Ctrl-C is the workload's and nobody else's, and waits for it.

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

/// How long the one above may take to give us the terminal.
const FOREGROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the program in a process group of its own, to which the terminal belongs. Its exit code.
pub(crate) fn job(args: &[OsString]) -> u8 {
    let Some((program, args)) = args.split_first() else {
        return 127;
    };
    let child = match Command::new(program).args(args).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            let reason = crate::error::os_error_text(&error);
            let _ = writeln!(io::stderr(), "bwrap: the job cannot be started: {reason}");
            return 125;
        }
    };
    foreground(Pid::from_child(&child))
}

/// Gives our terminal to a process group that a child of ours leads, and waits for that child. Its exit code.
pub(crate) fn foreground(pid: Pid) -> u8 {
    let _ = tcsetpgrp(stdin(), pid);
    // It may have been faster, and stopped for reading from a terminal that was not its own.
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

/// `None`: it has not ended.
fn code(status: WaitStatus) -> Option<u8> {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signal)?;
    Some(u8::try_from(code).unwrap_or(255))
}

/// A shell would wait until it is wanted again. There is none behind it, so Ctrl-Z would be its end.
fn continue_stopped(pid: Pid, status: WaitStatus) {
    if status.stopping_signal() == Some(Signal::TSTP.as_raw()) {
        let _ = kill_process_group(pid, Signal::CONT);
    }
}

/// Waits until the terminal is ours: who reads from another's is stopped.
pub(super) fn wait_for_foreground() {
    let deadline = Instant::now() + FOREGROUND_TIMEOUT;
    // A group outside of the sandbox has no number in here, which is an error.
    while tcgetpgrp(stdin()) != Ok(getpgrp()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
}
