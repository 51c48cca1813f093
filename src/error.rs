//! Errors as values: a kind (which decides the exit code), a message, and a hint.
//!
//! An error is built where the facts are known and printed in one place, `cli::output`. The message says what
//! happened; the hint names the command or the key that helps.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;

/// The kind of an error: it decides the exit code, and is `kind` in the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The command line is wrong.
    Usage,
    /// No run matches the argument.
    NoSuchRun,
    /// Several runs match the argument.
    AmbiguousRun,
    /// A configuration file is wrong.
    Config,
    /// The workspace or the source of a mount is not usable.
    Workspace,
    /// The runtime is missing, unreachable, or refused the request.
    Runtime,
    /// The image cannot be pulled or built.
    Image,
    /// `$MOAT_HOME` cannot be read or written, or contains an unreadable file.
    Store,
    /// A confirmation is required, and there is no terminal on which to ask.
    NotConfirmed,
    /// The session, service, volume or entry does not exist.
    NotFound,
    /// Another process of moat works on the same thing; later it may succeed.
    Busy,
    /// Something else has the name, port or data, or its state does not allow the request.
    Conflict,
    /// A signal, another command or a timeout ended the request.
    Interrupted,
    /// The output has no reader any more. Not a failure: `moat list | head` is fine.
    OutputClosed,
    /// Any other failure.
    Failed,
}

impl ErrorKind {
    /// The stable word for scripts, in `{"error":{"kind":…}}`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Usage => "usage",
            ErrorKind::NoSuchRun => "no-such-run",
            ErrorKind::AmbiguousRun => "ambiguous-run",
            ErrorKind::Config => "config",
            ErrorKind::Workspace => "workspace",
            ErrorKind::Runtime => "runtime",
            ErrorKind::Image => "image",
            ErrorKind::Store => "store",
            ErrorKind::NotConfirmed => "not-confirmed",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Busy => "busy",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::OutputClosed => "output-closed",
            ErrorKind::Failed => "failed",
        }
    }

    /// The kind that prints as `word`; [`ErrorKind::Failed`] for a word of another version.
    pub(crate) fn from_word(word: &str) -> ErrorKind {
        use ErrorKind::{
            AmbiguousRun, Busy, Config, Conflict, Image, Interrupted, NoSuchRun, NotConfirmed,
            NotFound, Runtime, Store, Usage, Workspace,
        };
        [
            Usage,
            NoSuchRun,
            AmbiguousRun,
            Config,
            Workspace,
            Runtime,
            Image,
            Store,
            NotConfirmed,
            NotFound,
            Busy,
            Conflict,
            Interrupted,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
        .unwrap_or(ErrorKind::Failed)
    }
}

/// One error: what happened, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    pub(crate) kind: ErrorKind,
    /// One line, or one line for each of several problems.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The problems in files, with their positions. The message contains them as well.
    pub(crate) problems: Vec<FileProblem>,
    /// The error behind this one; `--verbose` prints it.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// A problem in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileProblem {
    /// The file's name in messages.
    pub(crate) file: String,
    /// Counted from 1; not set if no line is at fault.
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    pub(crate) message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", self.message)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            hint: None,
            problems: Vec::new(),
            source: None,
        }
    }

    /// The errors behind this one, the nearest first.
    pub(crate) fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        std::iter::successors(std::error::Error::source(self), |cause| cause.source())
    }

    /// Adds the error behind this one.
    #[must_use]
    pub(crate) fn caused_by(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        self.source = Some(Arc::new(source));
        self
    }

    /// Replaces the message.
    pub(crate) fn with_message(mut self, message: String) -> Error {
        self.message = message;
        self
    }

    /// The error for problems in configuration files, all at once.
    pub(crate) fn problems(problems: Vec<FileProblem>) -> Error {
        let lines: Vec<String> = problems.iter().map(FileProblem::to_string).collect();
        let mut error = Error::new(ErrorKind::Config, lines.join("\n"));
        error.problems = problems;
        error
    }

    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Usage, message)
    }

    /// An error of a file operation: `cannot VERB PATH: REASON`.
    pub(crate) fn io(
        kind: ErrorKind,
        verb: &str,
        path: &std::path::Path,
        error: &io::Error,
    ) -> Error {
        let reason = os_error_text(error);
        let message = format!("cannot {verb} {}: {reason}", path.display());
        // An `io::Error` cannot be cloned; its number says all.
        let source = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error.to_string()),
        };
        Error::new(kind, message).caused_by(source)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The operating system's text for an error, lower case and without the number.
pub(crate) fn os_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}
