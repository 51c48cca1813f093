//! The terminal of an interactive run on the supervisor's side: it passes on keys, tracks the modes that the output
//! sets, and restores the user's terminal if the client is killed.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::runtime::Attached;
use crate::term::pty::Size;
use crate::term::{Terminal, write_all};

/// The controlling end of the workload's terminal.
pub(super) struct WorkloadTerminal {
    workload: OwnedFd,
}

impl WorkloadTerminal {
    /// Starts passing on keys from `input`. `None`: the workload has no terminal.
    pub(super) fn start(
        attached: &mut Attached,
        input: Option<OwnedFd>,
        person: Option<Arc<Terminal>>,
    ) -> io::Result<Option<WorkloadTerminal>> {
        let Some(workload) = attached.terminal.take() else {
            return Ok(None);
        };
        if let Some(person) = &person {
            let stdout = std::mem::replace(&mut attached.stdout, Box::new(io::empty()));
            attached.stdout = Box::new(ModeTrackingStream {
                stream: stdout,
                terminal: Arc::clone(person),
            });
        }
        if let Some(input) = input {
            let workload = workload.try_clone()?;
            std::thread::spawn(move || forward_input(&input, &workload));
        }
        Ok(Some(WorkloadTerminal { workload }))
    }

    pub(super) fn resize(&self, size: Size) {
        let _ = size.give_to(&self.workload);
    }
}

pub(super) fn terminal_error(error: &io::Error) -> Error {
    let reason = crate::error::os_error_text(error);
    let message = format!("the workload's terminal cannot be used: {reason}");
    Error::new(ErrorKind::Runtime, message)
}

/// Passes on keys until the input or the terminal is closed.
fn forward_input(input: &OwnedFd, workload: &OwnedFd) {
    let mut buffer = [0; 4096];
    loop {
        let count = match rustix::io::read(input, &mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        };
        if write_all(workload, &buffer[..count]).is_err() {
            return;
        }
    }
}

/// A stream whose bytes update the terminal's modes.
struct ModeTrackingStream {
    stream: Box<dyn Read + Send>,
    terminal: Arc<Terminal>,
}

impl Read for ModeTrackingStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.terminal.watch(&buffer[..count]);
        Ok(count)
    }
}
