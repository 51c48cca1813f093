//! Errors between moat and an engine.

use crate::error::{Error, ErrorKind};

pub(crate) type Result<T> = std::result::Result<T, RuntimeError>;

/// An engine's failure, classified by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeError {
    /// The container does not exist.
    NotFound(String),
    /// The image does not exist; pulling it may help. The second text names the command line.
    ImageMissing(String, &'static str),
    /// The engine is missing, down, or denies access, and has not received the request. The second text is the hint.
    Unreachable(String, String),
    /// A repetition may succeed. There may have been no answer at all.
    Transient(String),
    /// A repetition will fail. The engine's own message.
    Refused(String),
}

impl RuntimeError {
    pub(crate) fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> RuntimeError {
        RuntimeError::Unreachable(message.into(), hint.into())
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            RuntimeError::Unreachable(..) | RuntimeError::Transient(_)
        )
    }

    /// Whether the engine may have received the request and may carry it out.
    pub(crate) fn may_have_been_received(&self) -> bool {
        matches!(self, RuntimeError::Transient(_))
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            RuntimeError::NotFound(text)
            | RuntimeError::ImageMissing(text, _)
            | RuntimeError::Unreachable(text, _)
            | RuntimeError::Transient(text)
            | RuntimeError::Refused(text) => text,
        }
    }
}

impl std::error::Error for RuntimeError {}

/// The class, which the message for the user does not contain, and the engine's text.
impl std::fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self {
            RuntimeError::NotFound(_) => "not found",
            RuntimeError::ImageMissing(..) => "image missing",
            RuntimeError::Unreachable(..) => "engine unreachable",
            RuntimeError::Transient(_) => "transient failure",
            RuntimeError::Refused(_) => "request refused",
        };
        write!(f, "{class}: {}", self.message())
    }
}

impl From<RuntimeError> for Error {
    fn from(problem: RuntimeError) -> Error {
        let source = problem.clone();
        let message = crate::term::escape_unsafe(problem.message());
        let error = match problem {
            RuntimeError::ImageMissing(_, client) => {
                Error::new(ErrorKind::Image, message).hint(format!(
                    "name an image that is there (see: {client} image list), load one from a file \
                 ('{client} image load -i FILE'), or use --runtime bwrap, which needs none",
                ))
            }
            RuntimeError::Unreachable(_, hint) if !hint.is_empty() => {
                Error::new(ErrorKind::Runtime, message).hint(hint)
            }
            _ => Error::new(ErrorKind::Runtime, message),
        };
        error.caused_by(source)
    }
}
