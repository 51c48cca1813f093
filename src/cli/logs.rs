//! `moat logs`: print the output of a run, and follow it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use super::args::Args;
use super::replay_terminal::ReplayTerminal;
use super::{flags, output, run_selection};
use crate::config::scalar_values;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::session::service_log;
use crate::store::{
    Home, LogEntry, LogReader, RunDir, RunRecord, Session, Stream, Timestamp, last_lines,
};

/// The shortest and the longest time between two reads of a followed log.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = run_selection::named_or_newest(args, &home)?;
    let dir = home.run(&id);
    let mut path = dir.log();
    let record = dir.load().record();
    if let Some(record) = &record {
        run_selection::adopt(&home, std::iter::once(record));
    }
    let mut log = record.as_ref().map(|record| &record.log);
    if let Some(name) = args.text(&flags::LOGS_SERVICE)? {
        let service = run_selection::service(record.as_ref(), &id, name)?;
        path = dir.service_log(name);
        log = Some(&service.log);
    }
    if let Some(text) = args.text(&flags::LOGS_EXEC)? {
        path = dir.exec_log(exec_number(&dir, text)?);
        log = None;
    }
    if let Some(why) = log.and_then(|log| log.missing_why.as_ref()) {
        output::notice(args, &format!("note: this log is incomplete: {why}"));
    }
    let mut printer = Printer::new(args)?;
    let mut reader = open(args, &path, &mut printer)?;
    printer.print_all(&mut reader, &path)?;
    printer.write()?;
    if args.has(&flags::LOGS_FOLLOW) {
        follow(&home, &dir, &path, &mut reader, &mut printer)?;
    }
    printer.flush()?;
    Ok(0)
}

/// Prints the output of a process or service of a session.
pub(super) fn of_process(args: &Args, home: &Home, session: &Session, process: &str) -> Result<u8> {
    if let Some((runtime, container)) = service_log(session, process)? {
        match args.has(&flags::JSON) {
            true => of_service(args, runtime.need_session_services()?.full_log(&container)?)?,
            false => print_engine_log(runtime.as_ref(), &container)?,
        }
        return Ok(0);
    }
    let services = session.services.list.iter();
    let compose = session.compose.iter().flat_map(|all| &all.services);
    let known: Vec<&str> = session
        .processes
        .iter()
        .map(|process| process.name.as_str())
        .chain(services.map(|service| service.name.as_str()))
        .chain(compose.map(|service| service.name.as_str()))
        .collect();
    let path = home.process_log(&session.key, process);
    if process.contains('/') || !path.exists() {
        return Err(Error::new(
            ErrorKind::NotFound,
            crate::yaml::unknown_key_error("process", process, &known),
        ));
    }
    let mut printer = Printer::new(args)?;
    // Open the current log before the older one: after a rotation, lines may be printed twice, but none is lost.
    let mut reader = open(args, &path, &mut printer)?;
    let older = Home::older_log(&path);
    if older.exists() {
        let mut reader = open(args, &older, &mut printer)?;
        printer.print_all(&mut reader, &older)?;
    }
    printer.print_all(&mut reader, &path)?;
    printer.flush()?;
    Ok(0)
}

/// Prints the output of a session's service byte for byte.
fn print_engine_log(runtime: &dyn Runtime, container: &str) -> Result<()> {
    let playing = ReplayTerminal::begin();
    let mut show = playing.as_ref().map(|playing| {
        move |bytes: &[u8]| {
            playing.watch(bytes);
            // If the terminal is gone, SIGHUP ends this process.
            let _ = output::bytes(bytes);
        }
    });
    let show = show.as_mut().map(|show| show as &mut dyn FnMut(&[u8]));
    Ok(runtime.need_session_services()?.show_log(container, show)?)
}

/// Prints the output of a session's service line by line, with times.
fn of_service(args: &Args, (stdout, stderr): (String, String)) -> Result<()> {
    let entries = |text: &str, stream| -> Vec<LogEntry> {
        let lines = text.split_inclusive('\n');
        lines
            .filter_map(|line| {
                let (ts, data) = line.split_once(' ')?;
                let text = data.strip_suffix('\n');
                Some(LogEntry {
                    ts: ts.to_owned(),
                    stream,
                    data: text.unwrap_or(data).as_bytes().to_vec(),
                    eol: text.is_some(),
                    lost: None,
                })
            })
            .collect()
    };
    let mut all = entries(&stdout, Stream::Stdout);
    all.extend(entries(&stderr, Stream::Stderr));
    // The times of both streams have the same format, so they can be compared as text.
    all.sort_by(|one, other| one.ts.cmp(&other.ts));
    let mut printer = Printer::new(args)?;
    for entry in &all {
        printer.print(entry)?;
    }
    printer.flush()
}

/// Returns the number of a command that `moat exec` ran in the run.
fn exec_number(dir: &RunDir, text: &str) -> Result<u32> {
    let known = dir.execs();
    let number = text.parse().ok().filter(|number| known.contains(number));
    number.ok_or_else(|| {
        let known: Vec<String> = known.iter().map(u32::to_string).collect();
        let hint = match known.is_empty() {
            true => "'moat exec' has run no command in this run".to_owned(),
            false => format!("the commands of this run are: {}", known.join(", ")),
        };
        let shown = crate::term::escape_unsafe(text);
        Error::new(ErrorKind::NotFound, format!("no such command: '{shown}'")).hint(hint)
    })
}

/// Opens the log at its start. With `--lines`, prints the last lines and opens the log behind them.
fn open(args: &Args, path: &Path, printer: &mut Printer) -> Result<LogReader> {
    let failed = |error: &std::io::Error| Error::io(ErrorKind::Store, "read", path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let Some(text) = args.text(&flags::LINES)? else {
        return LogReader::new(file, 0).map_err(|error| failed(&error));
    };
    let count = text.parse::<usize>().map_err(|_| {
        let shown = crate::term::escape_unsafe(text);
        Error::usage(format!("bad number of lines '{shown}'")).hint("write e.g. -n 20")
    })?;
    let choice = printer.choice;
    let (entries, end) = last_lines(&mut file, count, |entry| choice.wants(entry))
        .map_err(|error| failed(&error))?;
    for entry in &entries {
        printer.print(entry)?;
    }
    LogReader::new(file, end).map_err(|error| failed(&error))
}

/// Prints new output until the run has ended and all of its output is printed.
fn follow(
    home: &Home,
    dir: &RunDir,
    path: &Path,
    reader: &mut LogReader,
    printer: &mut Printer,
) -> Result<()> {
    let mut pause = MIN_POLL_INTERVAL;
    loop {
        // Read the record first, so that the output before the end is read after it.
        let record = dir.load().record();
        let over = record
            .as_ref()
            .is_none_or(|record| is_over(record, path, dir));
        if printer.print_all(reader, path)? > 0 {
            printer.write()?;
            pause = MIN_POLL_INTERVAL;
        }
        if over {
            return Ok(());
        }
        run_selection::adopt(home, record.iter());
        std::thread::sleep(pause);
        pause = (pause * 2).min(MAX_POLL_INTERVAL);
    }
}

/// Returns whether the log is final. The log of a service grows until the supervisor of the run has ended.
fn is_over(record: &RunRecord, path: &Path, dir: &RunDir) -> bool {
    record.state.is_terminal() && (path == dir.log() || !dir.is_owned().unwrap_or_default())
}

/// The choice of log entries.
#[derive(Clone, Copy)]
struct LogFilter {
    stdout: bool,
    stderr: bool,
    /// Lines of moat itself, which a byte-exact copy must not contain.
    moat: bool,
    since: Option<Timestamp>,
}

impl LogFilter {
    fn wants(&self, entry: &LogEntry) -> bool {
        let stream = match entry.stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
            Stream::Moat => self.moat,
        };
        stream
            && self
                .since
                .is_none_or(|since| entry.time().is_some_and(|time| time >= since))
    }
}

struct Printer {
    choice: LogFilter,
    json: bool,
    raw: bool,
    timestamps: bool,
    replay: Option<Replay>,
    /// Whether stdout, or stderr, ends with an incomplete line.
    open_stdout: bool,
    open_stderr: bool,
    /// The buffered bytes for stdout.
    out: Vec<u8>,
    /// Our terminal, if stdout is one.
    playing: Option<ReplayTerminal>,
}

/// The playback of a log with its original timing, or faster.
struct Replay {
    speed: f64,
    longest: Option<Duration>,
    last: Option<Timestamp>,
}

impl Replay {
    fn new(args: &Args) -> Result<Replay> {
        let speed = match args.text(&flags::SPEED)? {
            None => 1.0,
            Some(text) => text
                .parse::<f64>()
                .ok()
                .filter(|speed| (0.01..=10_000.0).contains(speed))
                .ok_or_else(|| {
                    let shown = crate::term::escape_unsafe(text);
                    Error::usage(format!("bad speed '{shown}'"))
                        .hint("write a number such as 2 or 0.5")
                })?,
        };
        let longest = args.text(&flags::IDLE_LIMIT)?;
        Ok(Replay {
            speed,
            longest: longest.map(scalar_values::duration).transpose()?,
            last: None,
        })
    }

    /// Returns the pause before an entry, after `--speed` and `--idle-limit`.
    fn pause_before(&mut self, entry: &LogEntry) -> Option<Duration> {
        let now = entry.time()?;
        let before = self.last.replace(now)?;
        let gap = now.0.duration_since(before.0).ok()?;
        let gap = self.longest.map_or(gap, |longest| gap.min(longest));
        Some(gap.div_f64(self.speed)).filter(|gap| !gap.is_zero())
    }
}

/// The size of the buffer for stdout, in bytes.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

impl Printer {
    fn new(args: &Args) -> Result<Printer> {
        let (stdout, stderr) = (args.has(&flags::STDOUT), args.has(&flags::STDERR));
        let both = stdout == stderr;
        let replay = args
            .has(&flags::REPLAY)
            .then(|| Replay::new(args))
            .transpose()?;
        let raw = args.has(&flags::RAW) || replay.is_some();
        let since = args.text(&flags::SINCE)?;
        let since = since
            .map(|text| scalar_values::since(text, SystemTime::now(), &TimeZone::system()))
            .transpose()?;
        Ok(Printer {
            choice: LogFilter {
                stdout: stdout || both,
                stderr: stderr || both,
                moat: both && !raw,
                since,
            },
            json: args.has(&flags::JSON),
            raw,
            timestamps: args.has(&flags::TIMESTAMPS),
            replay,
            open_stdout: false,
            open_stderr: false,
            out: Vec::new(),
            playing: ReplayTerminal::begin(),
        })
    }

    /// Prints all available entries, and returns their number.
    fn print_all(&mut self, reader: &mut LogReader, path: &Path) -> Result<usize> {
        let mut count = 0;
        loop {
            let entry = reader
                .next_entry()
                .map_err(|error| Error::io(ErrorKind::Store, "read", path, &error))?;
            let Some(entry) = entry else { return Ok(count) };
            count += 1;
            if self.choice.wants(&entry) {
                self.print(&entry)?;
            }
        }
    }

    fn print(&mut self, entry: &LogEntry) -> Result<()> {
        let pause = self
            .replay
            .as_mut()
            .and_then(|replay| replay.pause_before(entry));
        if let Some(pause) = pause {
            self.write()?;
            std::thread::sleep(pause);
        }
        if self.json {
            entry.write_json(&mut self.out);
        } else if entry.stream == Stream::Stdout {
            let open = self.open_stdout;
            self.open_stdout = !entry.eol;
            let line = self.line(entry, open);
            self.out.extend_from_slice(&line);
        } else {
            let open = self.open_stderr;
            self.open_stderr = !entry.eol;
            let line = self.line(entry, open);
            self.watch(&line);
            // Flush stdout first, to keep the order of the two streams.
            self.write()?;
            output::bytes_to_stderr(&line)?;
        }
        if self.out.len() >= WRITE_BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Returns an entry as text. `open`: the entry continues a line.
    fn line(&self, entry: &LogEntry, open: bool) -> Vec<u8> {
        let mut line = Vec::with_capacity(entry.data.len() + 40);
        if self.timestamps && !open && !self.raw {
            line.extend_from_slice(entry.ts.as_bytes());
            line.push(b' ');
        }
        if entry.stream == Stream::Moat {
            line.extend_from_slice(b"moat: ");
        }
        line.extend_from_slice(&entry.data);
        line.extend(entry.eol.then_some(b'\n'));
        line
    }

    fn write(&mut self) -> Result<()> {
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            return Ok(());
        }
        self.watch(&out);
        output::bytes(&out)
    }

    fn watch(&self, bytes: &[u8]) {
        if let Some(playing) = &self.playing {
            playing.watch(bytes);
        }
    }

    /// Writes the rest, and ends incomplete lines unless the output must be exact.
    fn flush(&mut self) -> Result<()> {
        if self.open_stdout && !self.raw && !self.json {
            self.out.push(b'\n');
            self.open_stdout = false;
        }
        self.write()?;
        if self.open_stderr && !self.raw && !self.json {
            self.open_stderr = false;
            output::bytes_to_stderr(b"\n")?;
        }
        Ok(())
    }
}
