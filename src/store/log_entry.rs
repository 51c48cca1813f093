//! One line of `logs.jsonl`: `{"ts":"…Z","stream":"stdout","line":"…"}`.
//!
//! Bytes that are not UTF-8 are in `b64` instead of `line`. `"eol":false` marks a piece that did not end in a
//! newline: the last one of its stream, or a piece of a line longer than [`MAX_PIECE_BYTES`].

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The maximum number of bytes of a line in one entry.
pub(crate) const MAX_PIECE_BYTES: usize = 64 * 1024;

/// The origin of a line: the workload's two streams, or moat itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    Moat,
}

impl Stream {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Moat => "moat",
        }
    }
}

/// Byte counts of the workload's two streams: kept in a log, lost, or to be skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct StreamBytes {
    pub(crate) stdout: u64,
    pub(crate) stderr: u64,
}

impl StreamBytes {
    pub(crate) fn add(&mut self, stream: Stream, bytes: u64) {
        match stream {
            Stream::Stdout => self.stdout += bytes,
            Stream::Stderr => self.stderr += bytes,
            Stream::Moat => {}
        }
    }

    pub(crate) fn of(self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
            Stream::Moat => 0,
        }
    }
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) ts: String,
    pub(crate) stream: Stream,
    pub(crate) data: Vec<u8>,
    /// Whether the data was followed by a newline, which is not part of it.
    pub(crate) eol: bool,
    /// In an entry of moat: the bytes that were lost before it.
    pub(crate) lost: Option<StreamBytes>,
}

#[derive(Deserialize)]
struct LogEntryJson {
    ts: String,
    stream: Stream,
    line: Option<String>,
    b64: Option<String>,
    eol: Option<bool>,
    lost: Option<StreamBytes>,
}

impl LogEntry {
    /// Parses one line of the file, with or without its newline. `None`: the line is torn or foreign.
    pub(crate) fn parse(line: &[u8]) -> Option<LogEntry> {
        let json: LogEntryJson = serde_json::from_slice(line).ok()?;
        // The time is printed and written again without an escape. A full check would cost more than the rest.
        let is_in_time =
            |byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'T' | b'Z' | b'+');
        if !json.ts.bytes().all(is_in_time) {
            return None;
        }
        let data = match (json.line, json.b64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(encoded)) => BASE64.decode(encoded).ok()?,
            _ => return None,
        };
        Some(LogEntry {
            ts: json.ts,
            stream: json.stream,
            data,
            eol: json.eol.unwrap_or(true),
            lost: json.lost,
        })
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.ts)
    }

    /// Appends the entry to `out` in the file's format.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        encode(out, &self.ts, self.stream, &self.data, self.eol);
    }

    /// The number of the workload's bytes in the entry.
    pub(crate) fn bytes(&self) -> u64 {
        self.data.len() as u64 + u64::from(self.eol)
    }
}

/// Appends an entry to `out`. `ts` is a formatted time.
pub(crate) fn encode(out: &mut Vec<u8>, ts: &str, stream: Stream, data: &[u8], eol: bool) {
    open(out, ts, stream);
    match std::str::from_utf8(data) {
        Ok(text) => {
            out.extend_from_slice(b"\"line\":");
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"\"b64\":\"");
            out.extend_from_slice(BASE64.encode(data).as_bytes());
            out.push(b'"');
        }
    }
    if !eol {
        out.extend_from_slice(b",\"eol\":false");
    }
    out.extend_from_slice(b"}\n");
}

/// Appends an entry of moat that accounts for lost bytes.
pub(crate) fn encode_lost(out: &mut Vec<u8>, ts: &str, text: &str, lost: StreamBytes) {
    open(out, ts, Stream::Moat);
    out.extend_from_slice(b"\"line\":");
    let _ = serde_json::to_writer(&mut *out, text);
    let StreamBytes { stdout, stderr } = lost;
    let _ = writeln!(
        out,
        ",\"lost\":{{\"stdout\":{stdout},\"stderr\":{stderr}}}}}"
    );
}

fn open(out: &mut Vec<u8>, ts: &str, stream: Stream) {
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(ts.as_bytes());
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(b"\",");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for (data, eol) in [
            (&b"plain"[..], true),
            (b"", true),
            (b"", false),
            (b"\x1b[31m\"\\\t\r", false),
            ("h\u{e9}\u{2028}".as_bytes(), true),
            (&all[..], true),
        ] {
            let mut out = Vec::new();
            encode(&mut out, TIME, Stream::Stderr, data, eol);
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let entry = LogEntry::parse(&out).unwrap();
            assert_eq!((entry.data.as_slice(), entry.eol), (data, eol));
            assert_eq!(entry.stream, Stream::Stderr);
            assert!(entry.time().is_some());
        }
    }

    #[test]
    fn a_torn_entry_is_none() {
        let mut out = Vec::new();
        encode(&mut out, TIME, Stream::Stdout, b"text", true);
        assert!(LogEntry::parse(&out).is_some());
        for end in 0..out.len() - 2 {
            assert_eq!(LogEntry::parse(&out[..end]), None, "{end}");
        }
    }

    /// A time is printed as it is: nothing in it may move the cursor or end the string.
    #[test]
    fn an_entry_with_a_foreign_time_is_none() {
        for time in [r"2026\u001b[1m", r#"2026\",\"x"#, r"2026\n", "2026\u{e9}"] {
            let line = format!(r#"{{"ts":"{time}","stream":"stdout","line":"text"}}"#);
            assert_eq!(LogEntry::parse(line.as_bytes()), None, "{time}");
        }
    }

    #[test]
    fn lost_bytes_are_counted_per_stream() {
        let mut out = Vec::new();
        let lost = StreamBytes {
            stdout: 7,
            stderr: 9,
        };
        encode_lost(&mut out, TIME, "gone", lost);
        assert_eq!(LogEntry::parse(&out).unwrap().lost, Some(lost));
    }
}
