//! What can go wrong between moat and an engine.

use crate::error::{Error, Kind};

pub(crate) type Result<T> = std::result::Result<T, Problem>;

/// An engine's failure, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The container is not there.
    NotFound(String),
    /// The image is not there; getting it may help. The second text names the command line.
    ImageMissing(String, &'static str),
    /// The engine cannot be asked: absent, down, or not permitted. It has not heard the request. The
    /// second text says what to do.
    Unreachable(String, String),
    /// It may work when tried again. There may have been no answer at all.
    Transient(String),
    /// It will not work when tried again. The engine's own words.
    Refused(String),
}

impl Problem {
    pub(crate) fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem::Unreachable(message.into(), hint.into())
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Problem::Unreachable(..) | Problem::Transient(_))
    }

    /// Whether the engine may have heard the request, and go on with it.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Problem::Transient(_))
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Problem::NotFound(text)
            | Problem::ImageMissing(text, _)
            | Problem::Unreachable(text, _)
            | Problem::Transient(text)
            | Problem::Refused(text) => text,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        let message = crate::term::harmless(problem.message());
        match problem {
            Problem::ImageMissing(_, client) => Error::new(Kind::Image, message).hint(format!(
                "name an image that is there (see: {client} image list), load one from a file \
                 ('{client} image load -i FILE'), or use --runtime bwrap, which needs none",
            )),
            Problem::Unreachable(_, hint) if !hint.is_empty() => {
                Error::new(Kind::Runtime, message).hint(hint)
            }
            _ => Error::new(Kind::Runtime, message),
        }
    }
}
