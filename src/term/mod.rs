//! The terminal: escaping of text, width, modes, tables, and suggestions for mistyped words.
//!
//! This is the lowest layer; it does not depend on the rest of moat.

mod escape_keys;
mod line_filter;
mod modes;
pub(crate) mod pty;
mod suggest;
mod table;
mod terminal;
mod text;

pub(crate) use escape_keys::{EscapeParser, EscapePrefix, KeyInput};
pub(crate) use line_filter::RepeatFilter;
pub(crate) use suggest::nearest;
pub(crate) use table::table;
pub(crate) use terminal::Terminal;
pub(crate) use text::{
    age, escape_unsafe, escape_unsafe_json, one_line, shell_word, strip_sequences,
};

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Returns the width of the terminal behind `stream` in columns, or `None` if `stream` is not a terminal.
pub(crate) fn width(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Writes all bytes, without the buffers of `std::io`. Waits if the descriptor is non-blocking and full.
pub(crate) fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The number of bytes that a terminal accepts without blocking when it is ready (Linux: WAKEUP_CHARS).
const READY_WRITE_BYTES: usize = 128;

/// Writes all bytes to a terminal. Fails with `TimedOut` if the terminal does not accept them within `timeout`.
pub(crate) fn write_within(fd: impl AsFd, bytes: &[u8], timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    for step in bytes.chunks(READY_WRITE_BYTES) {
        let left = deadline.saturating_duration_since(Instant::now());
        if !is_ready(&fd, PollFlags::OUT, left) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        write_all(&fd, step)?;
    }
    Ok(())
}

fn is_ready(fd: impl AsFd, what: PollFlags, timeout: Duration) -> bool {
    let timespec = Timespec::try_from(timeout).ok();
    poll(&mut [PollFd::new(&fd, what)], timespec.as_ref()).is_ok_and(|ready| ready > 0)
}
