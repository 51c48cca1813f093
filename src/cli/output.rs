//! Output to stdout and stderr. Results go to stdout; messages of moat go to stderr.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::args::Args;
use super::flags;
use super::progress::ProgressDisplay;
use crate::error::{Error, ErrorKind, FileProblem, Result};
use crate::launch::{Progress, SharedUi, Ui};
use crate::store::RunRecord;
use crate::term::{escape_unsafe, escape_unsafe_json};

/// Writes the result of a command.
pub(super) fn print_result(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Writes a result that is not text.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| write_error(&error, "stdout"))
}

/// Writes bytes of the workload to stderr.
pub(super) fn bytes_to_stderr(bytes: &[u8]) -> Result<()> {
    io::stderr()
        .lock()
        .write_all(bytes)
        .map_err(|error| write_error(&error, "stderr"))
}

fn write_error(error: &io::Error, stream: &str) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::new(
            ErrorKind::OutputClosed,
            "the reader closed stdout or stderr",
        ),
        _ => {
            let reason = crate::error::os_error_text(error);
            Error::new(
                ErrorKind::Failed,
                format!("cannot write to {stream}: {reason}"),
            )
        }
    }
}

/// Writes one JSON document.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Failed, format!("cannot write JSON: {error}")))?;
    print_result(&(escape_unsafe_json(&text) + "\n"))
}

/// Prints a notice, unless `--quiet` or `--json` is given.
pub(super) fn notice(args: &Args, text: &str) {
    CommandUi::new(args).notice(text);
}

/// Prints a notice, also with `--quiet` and `--json`.
pub(super) fn print_notice(text: &str) {
    line(text);
}

/// Prints a detail if `--verbose` is given.
pub(super) fn detail(args: &Args, text: &str) {
    CommandUi::new(args).detail(text);
}

/// Prints a warning.
pub(super) fn warning(text: &str) {
    line(&format!("warning: {text}"));
}

/// Writes a line to stderr. Ignores errors, because they cannot be reported.
fn line(text: &str) {
    let end = match is_raw() {
        // A raw terminal does not return the carriage, and the cursor can be in any column.
        true => "\r\n",
        false => "\n",
    };
    let mut out = String::new();
    if end == "\r\n" {
        out.push_str(end);
    }
    for line in text.lines() {
        out.push_str(&escape_unsafe(line));
        out.push_str(end);
    }
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// Whether stderr may be a terminal in raw mode.
static IS_RAW_TERMINAL: AtomicBool = AtomicBool::new(false);

fn is_raw() -> bool {
    IS_RAW_TERMINAL.load(Ordering::Relaxed)
}

/// An error as JSON, on one line.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    kind: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [FileProblem],
}

/// Prints an error, as text or as JSON.
pub(super) fn error(error: &Error, json: bool) {
    if error.kind == ErrorKind::OutputClosed {
        return;
    }
    if json {
        let document = ErrorDocument {
            error: ErrorBody {
                kind: error.kind.as_str(),
                message: &error.message,
                hint: error.hint.as_deref(),
                problems: &error.problems,
            },
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        let _ = writeln!(io::stderr().lock(), "{}", escape_unsafe_json(&text));
        return;
    }
    // Each of several problems has its own line, from which an editor can open the file.
    let messages = match error.problems.len() {
        0 | 1 => vec![error.message.clone()],
        _ => error.problems.iter().map(FileProblem::to_string).collect(),
    };
    let mut text = format!("error: {}", messages.join("\nerror: "));
    if let Some(hint) = &error.hint {
        text.push_str("\n  hint: ");
        text.push_str(hint);
    }
    line(&text);
}

/// Prints the errors behind an error, the nearest first.
pub(super) fn causes(error: &Error) {
    for cause in error.causes() {
        line(&format!("  caused by: {cause}"));
    }
}

/// Replaces the last `before` lines above the cursor with `lines`. For terminals only.
pub(super) fn status_lines(before: usize, lines: &[String]) {
    let mut text = match before {
        0 => String::new(),
        before => format!("\x1b[{before}A"),
    };
    text.push_str("\r\x1b[J");
    for line in lines {
        text.push_str(&escape_unsafe(line));
        text.push('\n');
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The output of a command with these arguments.
pub(super) fn ui(args: &Args) -> SharedUi {
    Arc::new(CommandUi::new(args))
}

struct CommandUi {
    is_quiet: bool,
    is_json: bool,
    is_verbose: bool,
}

impl CommandUi {
    fn new(args: &Args) -> CommandUi {
        CommandUi {
            is_quiet: args.has(&flags::QUIET),
            is_json: args.has(&flags::JSON),
            is_verbose: args.has(&flags::VERBOSE),
        }
    }
}

impl Ui for CommandUi {
    fn is_json(&self) -> bool {
        self.is_json
    }

    fn shows_notices(&self) -> bool {
        !self.is_quiet && !self.is_json
    }

    fn notice(&self, text: &str) {
        if self.shows_notices() {
            line(text);
        }
    }

    fn print_notice(&self, text: &str) {
        line(text);
    }

    fn detail(&self, text: &str) {
        if self.is_verbose {
            line(text);
        }
    }

    fn warning(&self, text: &str) {
        warning(text);
    }

    fn error(&self, failure: &Error) {
        error(failure, self.is_json);
    }

    fn print_result(&self, text: &str) -> Result<()> {
        print_result(text)
    }

    fn print_record(&self, record: &RunRecord) -> Result<()> {
        json(record)
    }

    fn progress(&self) -> Box<dyn Progress> {
        Box::new(ProgressDisplay::new(!self.shows_notices(), self.is_verbose))
    }

    fn set_raw(&self, is_raw: bool) {
        IS_RAW_TERMINAL.store(is_raw, Ordering::Relaxed);
    }

    fn is_raw(&self) -> bool {
        is_raw()
    }
}
