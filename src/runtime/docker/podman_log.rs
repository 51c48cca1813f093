//! Reads podman's own log of a container while it grows.
//!
//! `podman logs --follow` loses lines of fast output (4.3.1 lost 90 % of 300,000 lines), so the file is read here.
//! Each piece is a line in CRI format (podman 4.3.1, conmon 2.1.6): `2026-11-21T04:00:00.000000000+00:00 stdout F
//! text`; `F` ends a line of the output, `P` continues it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::Attached;
use super::super::attach::{self, HasEndedFn};
use super::Dialect;
use super::client_messages::DockerAttachMessages;
use crate::store::StreamBytes;

/// Maximum delay of output, in addition to reading.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Follows a log until the client that waits for the container's exit has ended. If the log is no file of this
/// machine, it stays silent until then; the complete log is available afterwards.
pub(super) fn follow(
    waiting: &mut Command,
    dialect: Dialect,
    log: &Path,
    kept: StreamBytes,
) -> io::Result<Attached> {
    let manner = Box::new(DockerAttachMessages(dialect));
    attach::spawn_silent(waiting, manner, kept, |[out, err]| {
        [
            LogFile::open(log, b" stdout ", out),
            LogFile::open(log, b" stderr ", err),
        ]
    })
}

/// One of the two streams in the file.
struct LogFile {
    file: BufReader<Box<dyn Read + Send>>,
    /// ` stdout ` or ` stderr `, as it follows the time.
    stream: &'static [u8],
    /// A line of the file, possibly incomplete.
    line: Vec<u8>,
    /// The part of the line that is returned next.
    given: Range<usize>,
    /// Whether the file is complete.
    has_ended: HasEndedFn,
}

impl LogFile {
    fn open(path: &Path, stream: &'static [u8], has_ended: HasEndedFn) -> Box<LogFile> {
        let file: Box<dyn Read + Send> = match File::open(path) {
            Ok(file) => Box::new(file),
            Err(_) => Box::new(io::empty()),
        };
        Box::new(LogFile {
            file: BufReader::new(file),
            stream,
            line: Vec::new(),
            given: 0..0,
            has_ended,
        })
    }

    /// Reads until there is data to return. False: the log has ended.
    fn advance(&mut self) -> io::Result<bool> {
        self.line.clear();
        loop {
            // Checked first: output that is written before the end is then read below.
            let ends = (self.has_ended)();
            self.file.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                if ends {
                    return Ok(false);
                }
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            self.given = piece(&self.line, self.stream);
            if !self.given.is_empty() {
                return Ok(true);
            }
            self.line.clear();
        }
    }
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given.is_empty() && !self.advance()? {
            return Ok(0);
        }
        let count = self.given.len().min(buffer.len());
        let end = self.given.start + count;
        buffer[..count].copy_from_slice(&self.line[self.given.start..end]);
        self.given.start = end;
        Ok(count)
    }
}

/// The part of a line that belongs to a stream.
fn piece(line: &[u8], stream: &[u8]) -> Range<usize> {
    let nothing = 0..0;
    let Some(time) = line.iter().position(|byte| *byte == b' ') else {
        return nothing;
    };
    let Some(rest) = line[time..].strip_prefix(stream) else {
        return nothing;
    };
    let text = line.len() - rest.len() + b"F ".len();
    match rest {
        [b'F', b' ', ..] => text..line.len(),
        [b'P', b' ', ..] => text..line.len() - b"\n".len(),
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn text_of<'a>(line: &'a str, stream: &str) -> &'a str {
        &line[piece(line.as_bytes(), stream.as_bytes())]
    }

    #[test]
    fn pieces_are_told_apart() {
        for (line, out) in [
            ("2026-11-21T04:00:00.1+00:00 stdout F text\n", "text\n"),
            ("2026-11-21T04:00:00.1+00:00 stdout P text\n", "text"),
            ("2026-11-21T04:00:00.1+00:00 stdout F \n", "\n"),
            ("2026-11-21T04:00:00.1+00:00 stdout P \n", ""),
            (
                "2026-11-21T04:00:00.1+00:00 stdout F  stderr F x\n",
                " stderr F x\n",
            ),
            ("2026-11-21T04:00:00.1+00:00 stderr F text\n", ""),
            ("2026-11-21T04:00:00.1+00:00 stdout X text\n", ""),
            ("2026-11-21T04:00:00.1+00:00 stdout F\n", ""),
            ("stdout\n", ""),
            ("\n", ""),
        ] {
            assert_eq!(text_of(line, " stdout "), out, "{line:?}");
        }
    }

    #[test]
    fn a_line_is_waited_for_until_the_end() {
        let path = std::env::temp_dir().join(format!("moat-log-{}", std::process::id()));
        let mut written = fs::File::create(&path).unwrap();
        written.write_all(b"t stdout F one\nt stdout P tw").unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        let has_ended = Box::new(move || has_ended.load(Ordering::SeqCst));
        let mut log = LogFile::open(&path, b" stdout ", has_ended);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            log.read_to_end(&mut all).unwrap();
            all
        });
        std::thread::sleep(2 * POLL_INTERVAL);
        written
            .write_all(b"o\nt stderr F no\nt stdout F !\nt stdout F half")
            .unwrap();
        ended.store(true, Ordering::SeqCst);
        assert_eq!(reader.join().unwrap(), b"one\ntwo!\n");
        fs::remove_file(path).unwrap();
    }
}
