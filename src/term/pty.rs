//! Pseudo terminals: pairs of descriptors, of which one behaves as a terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use serde::{Deserialize, Serialize};

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// The size for a terminal that does not report its size, such as a serial line.
impl Default for Size {
    fn default() -> Size {
        Size {
            rows: 24,
            columns: 80,
        }
    }
}

impl Size {
    /// Returns the size of a terminal, or `None` if the descriptor is not a terminal or has no size.
    pub(crate) fn of(terminal: impl AsFd) -> Option<Size> {
        let size = tcgetwinsize(terminal).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some(Size {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }

    /// Sets the size of a pseudo terminal; the kernel sends SIGWINCH to its foreground processes.
    pub(crate) fn give_to(self, terminal: impl AsFd) -> io::Result<()> {
        let size = Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(terminal, size)?)
    }
}

/// The flags for our end. Only Linux sets CLOEXEC atomically; elsewhere a child that starts just then inherits the end.
#[cfg(target_os = "linux")]
const OPEN_FLAGS: OpenptFlags = OpenptFlags::RDWR
    .union(OpenptFlags::NOCTTY)
    .union(OpenptFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_FLAGS: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY);

/// Opens a new pseudo terminal. Returns our end and the end that behaves as a terminal.
pub(crate) fn open(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OPEN_FLAGS)?;
    fcntl_setfd(&ours, FdFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = other_end(&ours)?;
    size.give_to(&ours)?;
    Ok((ours, theirs))
}

/// Opens the end that behaves as a terminal.
pub(crate) fn other_end(ours: impl AsFd) -> io::Result<OwnedFd> {
    let name = rustix::pty::ptsname(ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, Mode::empty())?)
}
