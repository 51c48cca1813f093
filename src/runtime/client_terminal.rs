//! Programs that are to have a terminal of their own: this program in the role of the one that gets it
//! for them.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// The hidden command: becomes the program behind it, in a session of its own whose terminal is stdin.
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

/// A call of a program that gets a terminal.
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

/// Keeps a terminal from changing what is written to it: for a program that makes it raw and leaves that
/// part alone, so that every line would end in two carriage returns.
pub(super) fn leave_output_alone(terminal: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.output_modes = OutputModes::empty();
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

/// Our end of a pseudo terminal, as a stream that ends when nobody has the other end any more.
pub(super) struct ControllingEnd(pub(super) OwnedFd);

impl Read for ControllingEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                // Linux says so instead of "end of file".
                Err(Errno::IO) => return Ok(0),
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}
