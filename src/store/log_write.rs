//! Writes `logs.jsonl`: complete lines in the order of their arrival, one `write` for each batch.
//!
//! A full disk does not end a run: the lost bytes are counted, the file is truncated to its last complete entry, and
//! once space returns an entry of moat says what is missing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::log_entry::{self, LogEntry, MAX_PIECE_BYTES, Stream, StreamBytes};
use super::log_read::StreamReader;
use super::time::Timestamp;

/// Delay before the next attempt on a full disk.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Size of a batch in bytes before it is written. Short lines grow a lot in JSON.
const BATCH_BYTES: usize = 32 * 1024;

/// Free bytes that a log needs after an outage before it continues: otherwise it would take the little space with
/// which the runtime keeps output flowing.
const MIN_FREE_BYTES: u64 = 1024 * 1024;

/// The only writer of a run's log. Its holder owns the run.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    /// The length of the file up to its last complete entry.
    length: u64,
    /// Entries that are encoded but not written, and the number of the workload's bytes in them.
    out: Vec<u8>,
    pending: StreamBytes,
    /// The start of an unfinished line of each stream.
    open_stdout: Vec<u8>,
    open_stderr: Vec<u8>,
    /// The time of the last output.
    appended: Instant,
    /// Whether pieces are written without waiting for the end of their line.
    in_pieces: bool,
    outage: Option<Outage>,
    first_outage: Option<(Timestamp, String)>,
    kept_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Outage {
    since: Timestamp,
    lost: StreamBytes,
    tried: Instant,
}

impl LogWriter {
    /// Opens a log for appending, cutting off a torn last entry. Also returns the number of bytes of each stream that
    /// the log accounts for: a reader of the runtime's own log skips them.
    pub(crate) fn open(path: &Path) -> io::Result<(LogWriter, StreamBytes)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let (length, kept) = measure_complete_entries(&file)?;
        let written = file.metadata()?.modified().ok().map(Timestamp);
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        let writer = LogWriter {
            path: path.to_owned(),
            file,
            length,
            out: Vec::new(),
            pending: StreamBytes::default(),
            open_stdout: Vec::new(),
            open_stderr: Vec::new(),
            appended: Instant::now(),
            in_pieces: false,
            outage: None,
            first_outage: None,
            kept_until: written.filter(|_| length > 0),
        };
        Ok((writer, kept))
    }

    /// Writes every piece at once from now on, with its time: output on a terminal does not wait for the end of a
    /// line.
    pub(crate) fn write_partial_lines(&mut self) {
        self.in_pieces = true;
    }

    /// Keeps bytes of the workload. A line is written when it ends or exceeds [`MAX_PIECE_BYTES`].
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let ts = Timestamp::now().to_string();
        let mut open = std::mem::take(self.open_line(stream));
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if open.is_empty() && line.len() <= MAX_PIECE_BYTES {
                self.encode(&ts, stream, line, true);
            } else {
                open.extend_from_slice(line);
                self.encode_pieces(&ts, stream, &mut open);
                self.encode(&ts, stream, &open, true);
                open.clear();
            }
            rest = after;
            if self.out.len() > BATCH_BYTES {
                self.flush();
            }
        }
        open.extend_from_slice(rest);
        self.encode_pieces(&ts, stream, &mut open);
        if self.in_pieces && !open.is_empty() {
            self.encode(&ts, stream, &open, false);
            open.clear();
        }
        *self.open_line(stream) = open;
        self.appended = Instant::now();
        self.flush();
    }

    /// Writes unfinished lines as they are, if there was no output for `age`: a question waits for its answer on the
    /// same line.
    pub(crate) fn write_idle_lines(&mut self, age: Duration) {
        if self.appended.elapsed() >= age {
            self.end_stream(Stream::Stdout);
            self.end_stream(Stream::Stderr);
        }
    }

    /// Ends a stream: an unfinished line is written as it is.
    pub(crate) fn end_stream(&mut self, stream: Stream) {
        let open = std::mem::take(self.open_line(stream));
        if !open.is_empty() {
            self.encode(&Timestamp::now().to_string(), stream, &open, false);
            self.flush();
        }
    }

    /// Accounts for lost bytes of the workload with a line of moat's own.
    pub(crate) fn note_lost(&mut self, text: &str, lost: StreamBytes) {
        let ts = Timestamp::now().to_string();
        log_entry::encode_lost(&mut self.out, &ts, text, lost);
        self.flush();
    }

    /// Adds a line of moat's own.
    pub(crate) fn note(&mut self, text: &str) {
        self.encode(
            &Timestamp::now().to_string(),
            Stream::Moat,
            text.as_bytes(),
            true,
        );
        self.flush();
    }

    /// Rotates the log if it is longer than `bytes`: the current file replaces `older`. Unfinished lines continue in
    /// the new file. If rotation fails, the log continues as it is.
    pub(crate) fn rotate_above(&mut self, limit: u64, older: &Path) {
        if self.length <= limit || std::fs::rename(&self.path, older).is_err() {
            return;
        }
        match super::atomic_file::create(&self.path) {
            Ok(file) => {
                self.file = file;
                self.length = 0;
            }
            Err(_) => drop(std::fs::rename(older, &self.path)),
        }
    }

    /// Syncs everything to disk.
    pub(crate) fn close(&mut self) {
        self.end_stream(Stream::Stdout);
        self.end_stream(Stream::Stderr);
        self.end_outage(true);
        let _ = self.file.sync_data();
    }

    /// Reads one stream of the log as it is now.
    pub(crate) fn stream(&self, stream: Stream) -> io::Result<StreamReader> {
        StreamReader::new(File::open(&self.path)?, stream)
    }

    /// The time of the last entry at the time of opening; `None`: the log was empty.
    pub(crate) fn kept_until(&self) -> Option<Timestamp> {
        self.kept_until
    }

    /// Since when and why bytes are missing. The first gap counts.
    pub(crate) fn first_outage(&self) -> Option<&(Timestamp, String)> {
        self.first_outage.as_ref()
    }

    fn open_line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stderr => &mut self.open_stderr,
            _ => &mut self.open_stdout,
        }
    }

    /// Encodes pieces until the rest fits into one entry.
    fn encode_pieces(&mut self, ts: &str, stream: Stream, line: &mut Vec<u8>) {
        while line.len() > MAX_PIECE_BYTES {
            let end = piece_end(line);
            self.encode(ts, stream, &line[..end], false);
            line.drain(..end);
        }
    }

    fn encode(&mut self, ts: &str, stream: Stream, data: &[u8], eol: bool) {
        log_entry::encode(&mut self.out, ts, stream, data, eol);
        self.pending.add(stream, data.len() as u64 + u64::from(eol));
    }

    fn flush(&mut self) {
        if self.outage.is_some() && !self.end_outage(false) {
            self.discard_pending();
        } else if let Err(error) = self.write_out() {
            self.first_outage
                .get_or_insert_with(|| (Timestamp::now(), crate::error::os_error_text(&error)));
            self.outage = Some(Outage {
                since: Timestamp::now(),
                lost: StreamBytes::default(),
                tried: Instant::now(),
            });
            self.discard_pending();
        }
        self.pending = StreamBytes::default();
        self.out.clear();
    }

    fn discard_pending(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.lost.stdout += self.pending.stdout;
            outage.lost.stderr += self.pending.stderr;
        }
    }

    /// Writes the entry that accounts for an outage, if a retry is due. True: there is no outage (any more).
    fn end_outage(&mut self, now: bool) -> bool {
        let Some(outage) = &mut self.outage else {
            return true;
        };
        if !now && outage.tried.elapsed() < RETRY_DELAY {
            return false;
        }
        outage.tried = Instant::now();
        let space =
            rustix::fs::fstatvfs(&self.file).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        if !now && space.is_ok_and(|space| space < MIN_FREE_BYTES) {
            return false;
        }
        let (since, lost) = (outage.since, outage.lost);
        let text = format!(
            "{} bytes of stdout and {} bytes of stderr since {since} are missing: the log could not be written",
            lost.stdout, lost.stderr
        );
        let entries = std::mem::take(&mut self.out);
        log_entry::encode_lost(&mut self.out, &Timestamp::now().to_string(), &text, lost);
        let over = self.write_out().is_ok();
        self.out = entries;
        if over {
            self.outage = None;
        }
        over
    }

    /// Writes all of `out` or nothing.
    fn write_out(&mut self) -> io::Result<()> {
        match self.file.write_all(&self.out) {
            Ok(()) => {
                self.length += self.out.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.length)?;
                self.file.seek(SeekFrom::Start(self.length))?;
                Err(error)
            }
        }
    }
}

/// The position at which a long line is cut: at [`MAX_PIECE_BYTES`], or up to three bytes before, so that no
/// character of valid UTF-8 is split.
fn piece_end(line: &[u8]) -> usize {
    (MAX_PIECE_BYTES - 3..=MAX_PIECE_BYTES)
        .rev()
        .find(|end| line[*end] & 0xc0 != 0x80)
        .unwrap_or(MAX_PIECE_BYTES)
}

/// The length of the complete entries at the start of a log, and the bytes that they account for.
fn measure_complete_entries(file: &File) -> io::Result<(u64, StreamBytes)> {
    let mut reader = BufReader::with_capacity(MAX_PIECE_BYTES, file);
    let (mut length, mut kept) = (0, StreamBytes::default());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((length, kept));
        }
        length += read;
        let Some(entry) = LogEntry::parse(&line) else {
            continue;
        };
        kept.add(entry.stream, entry.bytes());
        if let Some(lost) = entry.lost {
            kept.stdout += lost.stdout;
            kept.stderr += lost.stderr;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("moat-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn entries(path: &Path) -> Vec<LogEntry> {
        let text = std::fs::read(path).unwrap();
        text.split_inclusive(|byte| *byte == b'\n')
            .map(|line| LogEntry::parse(line).unwrap())
            .collect()
    }

    #[test]
    fn an_idle_line_does_not_wait_for_its_end() {
        let path = scratch("idle");
        let (mut log, _) = LogWriter::open(&path).unwrap();
        log.append(Stream::Stdout, b"sure? ");
        log.write_idle_lines(Duration::from_secs(60));
        assert!(entries(&path).is_empty());
        log.write_idle_lines(Duration::ZERO);
        assert_eq!(entries(&path).len(), 1);
        log.append(Stream::Stdout, b"yes\n");
        log.write_idle_lines(Duration::ZERO);
        log.close();
        let read = entries(&path);
        let ends: Vec<(Vec<u8>, bool)> = read
            .into_iter()
            .map(|entry| (entry.data, entry.eol))
            .collect();
        assert_eq!(ends, [(b"sure? ".to_vec(), false), (b"yes".to_vec(), true)]);
        // An adopting supervisor continues after the unfinished line.
        assert_eq!(LogWriter::open(&path).unwrap().1.stdout, 10);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn lines_pieces_and_the_unfinished_end() {
        let path = scratch("pieces");
        let (mut log, kept) = LogWriter::open(&path).unwrap();
        assert_eq!(kept, StreamBytes::default());
        log.append(Stream::Stdout, b"a\nb");
        log.append(Stream::Stderr, b"c");
        log.append(Stream::Stdout, b"b\n\n");
        log.append(Stream::Stdout, &vec![b'x'; 3 * MAX_PIECE_BYTES]);
        log.close();
        let read = entries(&path);
        let stdout: Vec<u8> = read
            .iter()
            .filter(|entry| entry.stream == Stream::Stdout)
            .flat_map(|entry| {
                let mut data = entry.data.clone();
                data.extend(entry.eol.then_some(b'\n'));
                data
            })
            .collect();
        let mut expected = b"a\nbb\n\n".to_vec();
        expected.extend(vec![b'x'; 3 * MAX_PIECE_BYTES]);
        assert_eq!(stdout, expected);
        assert!(read.iter().all(|entry| entry.data.len() <= MAX_PIECE_BYTES));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_torn_end_is_cut_and_counted_out() {
        let path = scratch("torn");
        let (mut log, _) = LogWriter::open(&path).unwrap();
        log.append(Stream::Stdout, b"one\ntwo\n");
        log.close();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let (mut log, kept) = LogWriter::open(&path).unwrap();
        assert_eq!(kept.stdout, 4);
        log.append(Stream::Stdout, b"two\n");
        log.close();
        assert_eq!(entries(&path).len(), 2);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn pieces_do_not_split_characters() {
        let mut line = vec![b'x'; MAX_PIECE_BYTES - 1];
        line.extend_from_slice("\u{20ac}\u{20ac}".as_bytes());
        assert_eq!(piece_end(&line), MAX_PIECE_BYTES - 1);
        assert!(std::str::from_utf8(&line[..piece_end(&line)]).is_ok());
        assert_eq!(piece_end(&vec![0x80; MAX_PIECE_BYTES + 9]), MAX_PIECE_BYTES);
    }
}
