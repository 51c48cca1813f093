//! The beginning of a container's standard error when it is read again.
//!
//! The last words of an engine's client may also be output of the workload. They are left out of the output; if they
//! were the workload's, the engine's log, read from that position on, begins with them.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::{AttachEnd, Attached};

/// The first bytes of a stream, as far as it was read.
#[derive(Clone, Default)]
pub(super) struct StderrPrefix(Arc<Mutex<Vec<u8>>>);

impl StderrPrefix {
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .starts_with(bytes)
    }
}

/// Records as much of an attachment's standard error as an earlier client printed at its end.
pub(super) fn record_prefix(attached: Attached, earlier: &AttachEnd) -> (Attached, StderrPrefix) {
    let beginning = StderrPrefix::default();
    let AttachEnd::Failed(words) = earlier else {
        return (attached, beginning);
    };
    let stderr = Box::new(PrefixRecorder {
        stream: attached.stderr,
        left: words.bytes.len(),
        beginning: beginning.clone(),
    });
    (Attached { stderr, ..attached }, beginning)
}

struct PrefixRecorder {
    stream: Box<dyn Read + Send>,
    left: usize,
    beginning: StderrPrefix,
}

impl Read for PrefixRecorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let first = count.min(self.left);
        if first > 0 {
            self.left -= first;
            let seen = &self.beginning.0;
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&buffer[..first]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_are_remembered_and_all_are_read() {
        let beginning = StderrPrefix::default();
        let mut stream = PrefixRecorder {
            stream: Box::new(&b"Error: x\nmore"[..]),
            left: 9,
            beginning: beginning.clone(),
        };
        let mut buffer = [0; 4];
        let mut read = Vec::new();
        loop {
            let count = stream.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, b"Error: x\nmore");
        assert!(beginning.matches(b"Error: x\n"));
        assert!(!beginning.matches(b"Error: y\n") && !beginning.matches(b"Error: x\nm"));
    }
}
