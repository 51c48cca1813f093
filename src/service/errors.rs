//! The errors of services: the service's name, the event, the end of its log, and a hint.

use std::fs::File;
use std::path::Path;

use super::StartingService;
use crate::error::{Error, ErrorKind};
use crate::plan::PlannedProvision;
use crate::runtime::{Exit, RuntimeError};
use crate::store::{Stream, last_lines};
use crate::term::{escape_unsafe, strip_sequences};

/// Number of log lines that are shown.
const SHOWN_LINES: usize = 20;

/// Maximum length of a shown line, in characters.
const MAX_LINE_CHARS: usize = 400;

/// The text before the end of a log.
pub(super) const LOG_END_INTRO: &str = "; the end of its log:";

/// The run was stopped, or another part of it failed: this error is not shown.
pub(crate) fn cancelled(subject: &dyn StartingService) -> Error {
    let message = format!("the service {} was cancelled", subject.name());
    Error::new(ErrorKind::Failed, message)
}

pub(crate) fn image(subject: &dyn StartingService, image: &str, problem: RuntimeError) -> Error {
    let name = subject.name();
    let error = Error::from(problem);
    let message = format!(
        "service {name}: cannot pull the image '{image}': {}",
        error.message
    );
    error.with_message(message).hint(format!(
        "name an image that is there with 'image' under services.{name} in moat.yaml (see: docker images), \
         or load one from a file: docker load -i FILE"
    ))
}

/// The runtime failed to create or start the service.
pub(crate) fn start(subject: &dyn StartingService, problem: RuntimeError) -> Error {
    let error = Error::from(problem);
    let message = format!("service {}: {}", subject.name(), error.message);
    error.with_message(message)
}

/// The exit in words.
pub(super) fn exit_text(subject: &dyn StartingService, exit: &Exit) -> String {
    match exit {
        exit if exit.oom_killed => match subject.memory_bytes() {
            Some(bytes) => format!(
                "killed by the kernel, as it needs more than its memory limit of {} MB",
                bytes >> 20
            ),
            None => "killed by the kernel: it ran out of memory".to_owned(),
        },
        Exit {
            code: Some(code), ..
        } => format!("ended with exit code {code}"),
        Exit {
            error: Some(why), ..
        } => format!("ended: {}", escape_unsafe(why)),
        _ => "ended, nobody knows how".to_owned(),
    }
}

/// The service exited before it was ready.
pub(crate) fn ended(subject: &dyn StartingService, exit: &Exit, when: &str) -> Error {
    let name = subject.name();
    let how = exit_text(subject, exit);
    let message = format!("service {name}: {how}, {when}");
    let hint = match exit.oom_killed {
        true => format!("give it more with 'memory' under services.{name} in moat.yaml"),
        false => format!("check what services.{name} in moat.yaml sets, such as env and image"),
    };
    with_log_end(subject, message, hint)
}

/// The image lacks the readiness command.
pub(super) fn no_command(subject: &dyn StartingService, words: &str) -> Error {
    let name = subject.name();
    let message = format!("service {name}: its readiness command cannot be run: {words}");
    Error::new(ErrorKind::Runtime, message).hint(format!(
        "check 'image' under services.{name} in moat.yaml; 'wait: false' there starts the run without asking"
    ))
}

/// The readiness command never succeeded.
pub(super) fn timed_out(subject: &dyn StartingService, words: &str) -> Error {
    let name = subject.name();
    let seconds = subject.ready().1.as_secs_f64();
    let mut message = format!("service {name}: not ready after {seconds:.0} s");
    if !words.is_empty() {
        message.push_str(&format!("; its readiness command said last: {words}"));
    }
    let hint = format!(
        "if it only needs longer, set 'timeout' under services.{name} in moat.yaml; \
         'wait: false' there starts the run without waiting for it"
    );
    with_log_end(subject, message, hint)
}

pub(super) fn provision(
    subject: &dyn StartingService,
    wanted: &PlannedProvision,
    (item, command): (&str, &[String]),
    code: Option<u8>,
    last: &str,
) -> Error {
    let (name, key) = (subject.name(), &wanted.key);
    let how = match code {
        Some(code) => format!("'{}' ended with exit code {code}", command.join(" ")),
        None => "it did not come to an end".to_owned(),
    };
    let message = format!("service {name}: cannot get {item}: {how}: {last}");
    with_log_end(
        subject,
        message,
        format!("check the name under services.{name}.{key} in moat.yaml"),
    )
}

fn with_log_end(subject: &dyn StartingService, mut message: String, hint: String) -> Error {
    let lines = subject.last_lines(SHOWN_LINES);
    if !lines.is_empty() {
        message.push_str(LOG_END_INTRO);
    }
    for line in lines {
        let line: String = escape_unsafe(&strip_sequences(&line))
            .chars()
            .take(MAX_LINE_CHARS)
            .collect();
        message.push_str(&format!("\n  {line}"));
    }
    Error::new(ErrorKind::Runtime, message).hint(hint)
}

/// The last lines of a service's log.
pub(super) fn lines_of(path: &Path, count: usize) -> Vec<String> {
    let of_service = |entry: &crate::store::LogEntry| entry.stream != Stream::Moat;
    let lines = File::open(path)
        .and_then(|mut file| last_lines(&mut file, count, of_service))
        .map_or_else(|_| Vec::new(), |(entries, _)| entries);
    let text = |entry: &crate::store::LogEntry| String::from_utf8_lossy(&entry.data).into_owned();
    lines.iter().map(text).collect()
}
