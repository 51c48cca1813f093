//! Reads `logs.jsonl`: forwards from an offset, or the last N lines without reading the rest.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::log_entry::{LogEntry, Stream};

/// Reads entries forwards. An incomplete entry is left for the next call.
#[derive(Debug)]
pub(crate) struct LogReader {
    reader: BufReader<File>,
    line: Vec<u8>,
    offset: u64,
}

impl LogReader {
    pub(crate) fn new(mut file: File, offset: u64) -> io::Result<LogReader> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(LogReader {
            reader: BufReader::with_capacity(256 * 1024, file),
            line: Vec::new(),
            offset,
        })
    }

    /// The next complete line of the file; `None` at the end (for now).
    pub(crate) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line)?;
        if self.line.last() != Some(&b'\n') {
            if !self.line.is_empty() {
                // Read again from its start: the writer may cut it off and write another one.
                self.reader.seek(SeekFrom::Start(self.offset))?;
            }
            return Ok(None);
        }
        self.offset += self.line.len() as u64;
        Ok(Some(&self.line))
    }

    /// The next readable entry; `None` at the end (for now).
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<LogEntry>> {
        while let Some(line) = self.next_line()? {
            if let Some(entry) = LogEntry::parse(line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// The bytes of one stream as the workload wrote them.
#[derive(Debug)]
pub(crate) struct StreamReader {
    reader: LogReader,
    stream: Stream,
    skip: u64,
}

impl StreamReader {
    pub(super) fn new(file: File, stream: Stream) -> io::Result<StreamReader> {
        Ok(StreamReader {
            reader: LogReader::new(file, 0)?,
            stream,
            skip: 0,
        })
    }

    /// Skips this many bytes; lost bytes count.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.skip += bytes;
    }

    /// The next bytes, from one entry; `None` at the end.
    pub(crate) fn next_bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(entry) = self.reader.next_entry()? {
            let lost = entry.lost.map_or(0, |lost| lost.of(self.stream));
            self.skip = self.skip.saturating_sub(lost);
            if entry.stream != self.stream {
                continue;
            }
            let mut bytes = entry.data;
            bytes.extend(entry.eol.then_some(b'\n'));
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            // At most the bytes that exist.
            bytes.drain(..skipped as usize);
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Maximum number of bytes of other entries that are searched for an earlier piece of a line. The pieces of a line
/// are adjacent unless the streams alternate.
const MAX_PIECE_DISTANCE_BYTES: usize = 1024 * 1024;

/// The last `count` lines of a log for which `wanted` is true, oldest first, and the offset after them. A line in
/// several pieces counts once. Reads backwards, and only as far as necessary.
pub(crate) fn last_lines(
    file: &mut File,
    count: usize,
    wanted: impl Fn(&LogEntry) -> bool,
) -> io::Result<(Vec<LogEntry>, u64)> {
    let mut lines = ReverseLines::new(file)?;
    let end = lines.end;
    let mut selection = LastLines::new(count);
    let mut idle = 0;
    while let Some(line) = lines.previous()? {
        let taken = selection.entries.len();
        if let Some(entry) = LogEntry::parse(&line).filter(&wanted)
            && !selection.add(entry)
        {
            break;
        }
        idle = match selection.entries.len() == taken && selection.is_full() {
            true => idle + line.len(),
            false => 0,
        };
        if idle > MAX_PIECE_DISTANCE_BYTES {
            break;
        }
    }
    Ok((selection.finish(), end))
}

/// Collects entries from the end of a log until `count` lines are complete.
struct LastLines {
    count: usize,
    lines: usize,
    /// The streams whose oldest line may have earlier pieces.
    unfinished: Vec<Stream>,
    entries: Vec<LogEntry>,
}

impl LastLines {
    fn new(count: usize) -> LastLines {
        LastLines {
            count,
            lines: 0,
            unfinished: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Adds an entry, going backwards. False: no older entry is needed.
    fn add(&mut self, entry: LogEntry) -> bool {
        let known = self.unfinished.contains(&entry.stream);
        // An entry with a newline ends a line. One without does so only as the last of its stream.
        if entry.eol || !known {
            if entry.eol {
                self.unfinished.retain(|stream| *stream != entry.stream);
            }
            if self.lines == self.count {
                return !self.unfinished.is_empty();
            }
            self.lines += 1;
            self.unfinished.push(entry.stream);
        }
        self.entries.push(entry);
        true
    }

    fn is_full(&self) -> bool {
        self.lines == self.count
    }

    fn finish(mut self) -> Vec<LogEntry> {
        self.entries.reverse();
        self.entries
    }
}

/// The lines of a file from the last to the first.
struct ReverseLines<'a> {
    file: &'a mut File,
    /// The end of the complete lines; a torn line after it is ignored.
    end: u64,
    /// The end of the unread part.
    position: u64,
    /// Bytes that were read but not returned; they start at `position`.
    buffer: Vec<u8>,
}

const BLOCK_BYTES: u64 = 64 * 1024;

impl<'a> ReverseLines<'a> {
    fn new(file: &'a mut File) -> io::Result<ReverseLines<'a>> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut lines = ReverseLines {
            file,
            end: length,
            position: length,
            buffer: Vec::new(),
        };
        lines.drop_torn_end()?;
        Ok(lines)
    }

    fn drop_torn_end(&mut self) -> io::Result<()> {
        loop {
            if let Some(newline) = last_newline(&self.buffer) {
                self.buffer.truncate(newline + 1);
                self.end = self.position + self.buffer.len() as u64;
                return Ok(());
            }
            if !self.read_block()? {
                self.buffer.clear();
                self.end = 0;
                return Ok(());
            }
        }
    }

    /// The line before the one returned last, without its newline.
    fn previous(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.is_empty() && self.position == 0 {
            return Ok(None);
        }
        loop {
            if let Some(newline) = last_newline(&self.buffer) {
                return Ok(Some(self.buffer.split_off(newline + 1)));
            }
            if !self.read_block()? {
                return Ok(Some(std::mem::take(&mut self.buffer)));
            }
        }
    }

    /// Prepends the block before `position` to the buffer. False at the start of the file.
    fn read_block(&mut self) -> io::Result<bool> {
        let size = self.position.min(BLOCK_BYTES);
        if size == 0 {
            return Ok(false);
        }
        self.position -= size;
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut block = Vec::with_capacity(self.buffer.len() + size as usize);
        (&mut *self.file).take(size).read_to_end(&mut block)?;
        block.extend_from_slice(&self.buffer);
        self.buffer = block;
        Ok(true)
    }
}

fn last_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::super::log_entry::{StreamBytes, encode};
    use super::*;

    fn log(entries: &[(Stream, &str, bool)], torn: &str) -> File {
        let mut bytes = Vec::new();
        for (stream, text, eol) in entries {
            encode(&mut bytes, "2026Z", *stream, text.as_bytes(), *eol);
        }
        bytes.extend_from_slice(torn.as_bytes());
        let path = std::env::temp_dir().join(format!(
            "moat-read-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, bytes).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    fn last(file: &mut File, count: usize) -> Vec<String> {
        last_lines(file, count, |_| true)
            .unwrap()
            .0
            .into_iter()
            .map(|entry| String::from_utf8(entry.data).unwrap())
            .collect()
    }

    use Stream::{Stderr, Stdout};

    #[test]
    fn the_last_lines_in_their_order() {
        let mut file = log(
            &[
                (Stdout, "1", true),
                (Stderr, "2", true),
                (Stdout, "3", true),
            ],
            "",
        );
        assert_eq!(last(&mut file, 2), ["2", "3"]);
        assert_eq!(last(&mut file, 9), ["1", "2", "3"]);
        assert!(last(&mut file, 0).is_empty());
        assert!(last(&mut log(&[], ""), 5).is_empty());
    }

    #[test]
    fn a_torn_end_is_left_out() {
        let mut file = log(&[(Stdout, "1", true), (Stdout, "2", true)], "{\"ts\":\"x");
        assert_eq!(last(&mut file, 1), ["2"]);
        assert!(last(&mut log(&[], "{\"torn"), 1).is_empty());
    }

    #[test]
    fn pieces_count_as_one_line() {
        let mut file = log(
            &[
                (Stdout, "0", true),
                (Stdout, "a", false),
                (Stderr, "e", true),
                (Stdout, "b", false),
                (Stdout, "c", true),
                (Stdout, "end", false),
            ],
            "",
        );
        assert_eq!(last(&mut file, 1), ["end"]);
        assert_eq!(last(&mut file, 2), ["a", "b", "c", "end"]);
        assert_eq!(last(&mut file, 3), ["a", "e", "b", "c", "end"]);
        assert_eq!(last(&mut file, 4).len(), 6);
    }

    /// A full disk: the writer truncates a partially written entry.
    #[test]
    fn a_torn_end_that_is_cut_off_under_the_reader_is_forgotten() {
        let path = std::env::temp_dir().join(format!("moat-cut-{}", std::process::id()));
        let entry = |text: &str| {
            let mut bytes = Vec::new();
            encode(&mut bytes, "2026Z", Stdout, text.as_bytes(), true);
            bytes
        };
        let torn = &entry("lost, as there was no space for it")[..20];
        std::fs::write(&path, [&entry("1"), torn].concat()).unwrap();
        let mut reader = LogReader::new(File::open(&path).unwrap(), 0).unwrap();
        let mut next = || reader.next_entry().unwrap().map(|entry| entry.data);
        assert_eq!((next(), next()), (Some(b"1".to_vec()), None));
        std::fs::write(&path, [entry("1"), entry("2"), entry("3")].concat()).unwrap();
        assert_eq!(next(), Some(b"2".to_vec()));
        assert_eq!(next(), Some(b"3".to_vec()));
        assert_eq!(next(), None);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_stream_is_read_from_any_byte_on() {
        let entries = [
            (Stdout, "ab", true),
            (Stderr, "x", true),
            (Stdout, "cd", false),
            (Stdout, "e", true),
        ];
        for skip in 0..=7 {
            let mut stream = StreamReader::new(log(&entries, ""), Stdout).unwrap();
            stream.skip(skip);
            let mut read = Vec::new();
            while let Some(bytes) = stream.next_bytes().unwrap() {
                read.extend(bytes);
            }
            assert_eq!(read, b"ab\ncde\n"[skip as usize..]);
        }
    }

    #[test]
    fn lost_bytes_count_as_read() {
        let mut file = log(&[(Stdout, "ab", true)], "");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let lost = StreamBytes {
            stdout: 4,
            stderr: 9,
        };
        crate::store::log_entry::encode_lost(&mut bytes, "2026Z", "lost", lost);
        encode(&mut bytes, "2026Z", Stdout, b"hi", true);
        let mut stream = StreamReader::new(log(&[], &String::from_utf8(bytes).unwrap()), Stdout);
        let stream = stream.as_mut().unwrap();
        stream.skip(8);
        assert_eq!(stream.next_bytes().unwrap(), Some(b"i\n".to_vec()));
    }

    #[test]
    fn long_logs_are_read_in_blocks() {
        let text = "x".repeat(50_000);
        let all: Vec<_> = (0..20).map(|_| (Stdout, text.as_str(), true)).collect();
        assert_eq!(last(&mut log(&all, ""), 7).len(), 7);
    }
}
