//! Programs with a terminal of their own: this program, re-executed, acquires the terminal and becomes the program.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// The hidden command: becomes the given program, in a kernel session of its own whose terminal is stdin.
pub(crate) const COMMAND: &str = "__tty";

pub(crate) fn become_program(args: &[OsString]) -> u8 {
    let Some((program, args)) = args.split_first() else {
        return 2;
    };
    let _ = rustix::process::setsid();
    let _ = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin());
    let error = Command::new(program).args(args).exec();
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

/// A command for a program that gets a terminal.
pub(super) fn command(program: &str) -> Command {
    let ourselves = match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => std::env::current_exe().unwrap_or_else(|_| "moat".into()),
    };
    let mut command = Command::new(ourselves);
    command.arg(COMMAND).arg(program);
    command
}

/// Gives a program a terminal as all of its standard streams.
pub(super) fn give(command: &mut Command, terminal: &OwnedFd) -> io::Result<()> {
    command
        .stdin(Stdio::from(terminal.try_clone()?))
        .stdout(Stdio::from(terminal.try_clone()?))
        .stderr(Stdio::from(terminal.try_clone()?));
    Ok(())
}

/// Disables output processing of a terminal: for a program that makes its terminal raw except for that part, so that
/// every line would end in two carriage returns.
pub(super) fn leave_output_alone(terminal: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.output_modes = OutputModes::empty();
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

/// The controlling end of a pseudo terminal, as a stream that ends when the other end is closed everywhere.
pub(super) struct ControllingEnd(pub(super) OwnedFd);

impl Read for ControllingEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                // Linux reports EIO instead of the end of file.
                Err(Errno::IO) => return Ok(0),
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}
