//! Waits until a service is ready: its readiness command succeeds inside the container.

use std::time::{Duration, Instant};

use super::{StartingService, errors};
use crate::error::Error;
use crate::failpoint::unit_scaled;
use crate::runtime::{CommandSpec, Exit};
use crate::term::{escape_unsafe, strip_sequences};

/// Bounds of the time between the starts of two probes, which is a quarter of the elapsed time: a quick start is
/// delayed little, and a slow start is probed rarely.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_millis(400);

/// Timeout of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a service is not ready.
pub(crate) enum NotReady {
    Ended(Exit),
    /// The timeout expired; the output of the last probe.
    TimedOut(String),
    /// The command is not in the image, or is not executable there.
    NoCommand(String),
    Cancelled,
}

impl NotReady {
    pub(crate) fn into_error(self, subject: &dyn StartingService) -> Error {
        match self {
            NotReady::Ended(exit) => errors::ended(subject, &exit, "before it was ready"),
            NotReady::TimedOut(words) => errors::timed_out(subject, &words),
            NotReady::NoCommand(words) => errors::no_command(subject, &words),
            NotReady::Cancelled => errors::cancelled(subject),
        }
    }
}

/// Waits until the command succeeds; without a command, until the container runs.
pub(crate) fn wait(
    subject: &dyn StartingService,
    should_continue: &dyn Fn() -> bool,
) -> Result<(), NotReady> {
    let mut words = String::new();
    let (ready, limit) = subject.ready();
    let deadline = Instant::now() + limit;
    let probe = |words: &mut String| match ready.is_empty() {
        true => Ok(subject.has_started()),
        false => is_ready(subject, ready, should_continue, deadline, words),
    };
    until(subject, should_continue, deadline, || probe(&mut words)).map_err(|why| match why {
        NotReady::TimedOut(_) => NotReady::TimedOut(std::mem::take(&mut words)),
        why => why,
    })
}

/// Waits until the container runs.
pub(crate) fn wait_running(
    subject: &dyn StartingService,
    should_continue: &dyn Fn() -> bool,
) -> Result<(), NotReady> {
    let deadline = Instant::now() + subject.ready().1;
    until(subject, should_continue, deadline, || {
        Ok(subject.has_started())
    })
}

fn until(
    subject: &dyn StartingService,
    should_continue: &dyn Fn() -> bool,
    deadline: Instant,
    mut probe: impl FnMut() -> Result<bool, NotReady>,
) -> Result<(), NotReady> {
    let began = Instant::now();
    loop {
        let tried = Instant::now();
        if probe()? {
            return Ok(());
        }
        if !should_continue() {
            return Err(NotReady::Cancelled);
        }
        let now = Instant::now();
        let interval =
            (began.elapsed() / 4).clamp(unit_scaled(MIN_BACKOFF), unit_scaled(MAX_BACKOFF));
        let next = (tried + interval)
            .max(now + unit_scaled(MIN_BACKOFF) / 2)
            .min(deadline);
        if let Some(exit) = subject.wait_for_exit(next) {
            return Err(NotReady::Ended(exit));
        }
        if Instant::now() >= deadline {
            return Err(NotReady::TimedOut(String::new()));
        }
    }
}

fn is_ready(
    subject: &dyn StartingService,
    ready: &[String],
    should_continue: &dyn Fn() -> bool,
    deadline: Instant,
    words: &mut String,
) -> Result<bool, NotReady> {
    let left = deadline.saturating_duration_since(Instant::now());
    let should_continue = || should_continue() && subject.exit().is_none();
    // Until the container runs, only the engine prints something.
    let runs = subject.has_started();
    let mut said = String::new();
    let runtime = subject.runtime();
    let cannot_run = |code, said: &str| {
        let commands = runtime.commands();
        commands.is_some_and(|all| all.refusal(code, said.as_bytes()).code.is_some())
    };
    let spec = CommandSpec {
        handle: &subject.handle(),
        command: ready,
        timeout: left.min(PROBE_TIMEOUT),
    };
    let tried = runtime.need_commands().and_then(|commands| {
        commands.exec(&spec, &should_continue, &mut |line| {
            let line = escape_unsafe(&strip_sequences(line));
            if !line.is_empty() {
                said = line;
            }
        })
    });
    match tried {
        // A missing command will not appear later. A stopped container prints the same error.
        Ok(Some(code)) if runs && cannot_run(code, &said) => Err(NotReady::NoCommand(said)),
        Ok(code) => {
            if runs {
                *words = said;
            }
            Ok(code == Some(0))
        }
        // A probe that was cut off printed nothing final.
        Err(problem) if problem.may_have_been_received() => Ok(false),
        Err(problem) => {
            problem.message().clone_into(words);
            Ok(false)
        }
    }
}
