//! The waiter: the only code that waits for a container.
//!
//! It polls `inspect`, and the end of the output wakes it at once. If the engine does not respond, the waiter tries
//! again and never takes the error for an exit. The caller decides what an exit means and what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::capture::Capture;
use super::{Watched, stderr_prefix};
use crate::failpoint::unit_scaled;
use crate::runtime::{AttachEnd, Exit, Inspected, RuntimeError};
use crate::store::Timestamp;

/// Timeout of reading the runtime's own log.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(600);

/// Time for the output of an exited container to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Watches one started container until its exit.
pub(crate) struct Waiter {
    watched: Arc<dyn Watched>,
    poll_schedule: PollSchedule,
    watch_started: Instant,
    /// Since when output may be missing, and why.
    output_missing: Option<(Timestamp, String)>,
    attach_end: AttachEnd,
    /// Whether the engine was ever unreachable, so that its own log may have a gap.
    was_unreachable: bool,
    /// Whether the output no longer comes from the container's first attachment, so that the exit time must be looked
    /// up.
    is_detached: bool,
    /// Whether the container was started again.
    was_started_again: bool,
    /// Since when no client reads the output of a container whose engine keeps no log.
    unread_since: Option<Timestamp>,
}

impl Waiter {
    pub(crate) fn new(watched: Arc<dyn Watched>, pace: PollSchedule) -> Waiter {
        // After an adoption there is no attachment, and the container may have exited already.
        let adopted = !watched.capture().was_attached();
        let last = || watched.capture().last_kept().or(watched.started_at());
        Waiter {
            poll_schedule: pace,
            watch_started: Instant::now(),
            output_missing: None,
            attach_end: AttachEnd::Complete,
            was_unreachable: false,
            is_detached: adopted,
            was_started_again: false,
            unread_since: adopted.then(last).flatten(),
            watched,
        }
    }

    /// Waits for the exit.
    pub(crate) fn until_exit(&mut self) -> Exit {
        let mut exit = self.poll_until_exit();
        // An engine that died after the start may not remember it; the output proves it, or a record that the
        // container ran.
        exit.started_at = exit.started_at.or(self.watched.started_at());
        exit
    }

    fn capture(&self) -> &Arc<Capture> {
        self.watched.capture()
    }

    fn poll_until_exit(&mut self) -> Exit {
        let handle = self.watched.handle();
        let mut ended_before = false;
        loop {
            let timeout = unit_scaled(self.poll_schedule.next());
            let ended = self.capture().wait(timeout);
            self.capture().write_idle_lines();
            if ended {
                self.poll_schedule.after_stream();
            }
            if ended && ended_before {
                // No stream will wake the waiter.
                std::thread::sleep(unit_scaled(self.poll_schedule.next()));
            }
            ended_before = ended;
            match self.watched.runtime().inspect(&[&handle]) {
                Ok(states) => {
                    let state = states.into_iter().next().unwrap_or(Inspected::Missing);
                    if let Some(exit) = self.interpret_state(state, ended, &handle) {
                        return exit;
                    }
                }
                Err(problem) => self.unreachable(&problem, ended),
            }
        }
    }

    /// Evaluates an inspected state; returns the exit if the state is one.
    fn interpret_state(&mut self, state: Inspected, ended: bool, handle: &str) -> Option<Exit> {
        match state {
            Inspected::Running { started_at, ports } => {
                self.watched.saw_running(started_at, &ports);
                match ended {
                    true => self.reattach(handle),
                    false => self.poll_schedule.running(),
                }
                None
            }
            Inspected::Ending { started_at } => {
                self.watched.saw_running(started_at, &[]);
                self.capture().stop_backpressure();
                if ended {
                    self.reattach(handle);
                }
                None
            }
            Inspected::Created => self.handle_not_started(ended),
            Inspected::Exited(exit) if self.watched.is_known_exit(&exit) => {
                self.handle_not_started(ended)
            }
            Inspected::Exited(exit) => {
                if exit.started_at.is_some() {
                    self.watched.saw_running(exit.started_at, &[]);
                }
                Some(exit)
            }
            Inspected::Missing => {
                // Its last output may be on the way. A client that is asked how it ended before that is killed.
                self.capture().drain(unit_scaled(DRAIN_TIMEOUT));
                let end = self.attachment_end();
                let started_at = self.watched.started_at();
                Some(Exit {
                    started_at: started_at.or_else(|| Some(Timestamp::now())),
                    // 1 and 125 may be codes of the client itself.
                    code: end.code().filter(|code| !matches!(code, 0 | 1 | 125)),
                    was_removed: true,
                    error: Some("another program removed its container".to_owned()),
                    ..Exit::default()
                })
            }
        }
    }

    /// The container has not started yet. If the client that starts it has ended, it never will.
    fn handle_not_started(&mut self, ended: bool) -> Option<Exit> {
        if !ended {
            let limit = self.watched.runtime().start_limit();
            if limit.is_some_and(|limit| self.watch_started.elapsed() >= limit) {
                // That ends the output, and the waiter comes here again.
                self.capture().detach();
            }
            return None;
        }
        let end = self.attachment_end();
        if self.restart_after_interruption(&end) {
            return None;
        }
        Some(match end.code() {
            // The code that a shell returns for a command that cannot run. An engine may treat this as a failed
            // start.
            Some(code @ (126 | 127)) => Exit {
                started_at: Some(Timestamp::now()),
                code: Some(code),
                ..Exit::default()
            },
            _ => Exit {
                error: end
                    .error()
                    .or(Some("the container was not started".to_owned())),
                ..Exit::default()
            },
        })
    }

    /// The engine went away during the start request and now reports that the container has not started: the request
    /// is repeated once. A container that was seen running is never started again.
    fn restart_after_interruption(&mut self, end: &AttachEnd) -> bool {
        let interrupted = matches!(end, AttachEnd::Failed(words) if words.interrupted);
        let has_run = self.watched.started_at().is_some();
        if !interrupted || has_run || std::mem::replace(&mut self.was_started_again, true) {
            return false;
        }
        match self.watched.restart_interrupted() {
            Ok(Some(attached)) => {
                let why = end.error().unwrap_or_default();
                self.watched
                    .append_supervisor_log(&format!("start: {why}; trying again"));
                (self.watch_started, self.attach_end) = (Instant::now(), AttachEnd::Complete);
                let tell = Arc::clone(&self.watched).listener();
                self.capture().attach(attached, tell);
                true
            }
            Ok(None) => false,
            Err(problem) => {
                self.watched
                    .append_supervisor_log(&format!("start: {}", problem.message()));
                false
            }
        }
    }

    fn attachment_end(&mut self) -> AttachEnd {
        if let Some(end) = self.capture().attachment_end() {
            self.attach_end = end;
        }
        self.attach_end.clone()
    }

    /// The output has ended but the container has not: the client was killed, or the engine restarted.
    fn reattach(&mut self, handle: &str) {
        let end = self.attachment_end();
        if self.watched.runtime().kept_output().is_none() {
            return self.mark_output_lost(&end);
        }
        self.is_detached = true;
        Arc::clone(&self.watched).is_detached();
        if let Some(why) = end.error() {
            self.note_break(&why);
        }
        let kept = self.capture().kept();
        let output = self.watched.runtime().need_kept_output();
        match output.and_then(|output| output.reattach(handle, kept)) {
            Ok(attached) => {
                let tell = Arc::clone(&self.watched).listener();
                self.capture().attach(attached, tell);
            }
            Err(problem) => self.unreachable(&problem, true),
        }
    }

    /// No client reads the output any more, and the engine keeps no log.
    fn mark_output_lost(&mut self, end: &AttachEnd) {
        // The reported state may lag behind the end of the client that waited for it.
        if self.output_missing.is_some() || end.code().is_some() {
            return;
        }
        let why = match end.error() {
            Some(words) => format!("no client read the container's output any more ({words})"),
            None => "no client read the container's output any more".to_owned(),
        };
        self.watched.notice(&format!(
            "{why}, and the engine keeps no log: output is missing from here on, and the exit code will be unknown"
        ));
        self.output_missing = Some((self.unread_since.unwrap_or_else(Timestamp::now), why));
    }

    /// The engine does not respond. While output flows, nothing is missing.
    fn unreachable(&mut self, problem: &RuntimeError, ended: bool) {
        self.poll_schedule.after_stream();
        self.was_unreachable = true;
        if !ended {
            return;
        }
        let end = self.attachment_end();
        // A client that ended with 0 has passed on everything. Other codes may be its own.
        let own = end.code().is_none_or(|code| matches!(code, 1 | 125..=127));
        if self.is_detached || own {
            self.is_detached = true;
            self.note_break(problem.message());
        } else {
            self.watched.append_supervisor_log(problem.message());
        }
    }

    /// Reports once that the output is interrupted.
    fn note_break(&mut self, why: &str) {
        if self.output_missing.is_none() {
            self.output_missing = Some((Timestamp::now(), why.to_owned()));
            self.watched.notice(&format!(
                "the engine does not respond ({why}); the run continues, and moat keeps trying"
            ));
        }
    }

    /// Captures the remaining output and closes the log. Returns since when and why output may be missing. If only
    /// the attached client knows the exit code, `exit` has it afterwards.
    pub(crate) fn drain(&mut self, exit: &mut Exit) -> Option<(Timestamp, String)> {
        self.read_to_end(exit);
        let broken = self.output_missing.take();
        if let Some((since, why)) = &broken {
            let text = format!("output since {since} may be missing: {why}");
            self.capture().note(&text);
        }
        self.capture().close_log();
        broken
    }

    fn read_to_end(&mut self, exit: &mut Exit) {
        let whole = self.capture().drain(unit_scaled(DRAIN_TIMEOUT));
        let mut end = self.attachment_end();
        if exit.started_at.is_some() && exit.code.is_none() && !exit.was_removed {
            exit.code = end.code();
        }
        if self.watched.runtime().kept_output().is_none() {
            return self.record_unread_output(&end, exit);
        }
        let look = self.is_detached || !whole || may_miss_output(&end, exit);
        if look && exit.started_at.is_some() {
            end = self.catch_up(end);
        }
        let interrupted = matches!(&end, AttachEnd::Failed(words) if words.interrupted);
        let why = if let Some(why) = self.capture().failure() {
            why
        } else if interrupted
            || ((self.is_detached || may_miss_output(&end, exit)) && self.was_unreachable)
        {
            "the engine was unreachable".to_owned()
        } else if exit.started_at.is_some() && exit.code.is_none() {
            "the workload's exit is unknown".to_owned()
        } else {
            return;
        };
        self.output_missing.get_or_insert((Timestamp::now(), why));
    }

    /// Without a log of the engine, output that no client read is lost.
    fn record_unread_output(&mut self, end: &AttachEnd, exit: &mut Exit) {
        if exit.started_at.is_none() || exit.code.is_some() {
            return;
        }
        let why = match end {
            AttachEnd::Interrupted => {
                "the client that read the container's output was killed".to_owned()
            }
            end => end.error().unwrap_or_else(|| {
                "no client read the container's output when it exited".to_owned()
            }),
        };
        let since = self.unread_since.unwrap_or_else(Timestamp::now);
        let (_, why) = self.output_missing.get_or_insert((since, why));
        exit.error
            .get_or_insert_with(|| format!("the exit code is unknown: {why}"));
    }

    /// Reads the runtime's own log from the end of moat's log on. Returns how the attachment ended, now that the
    /// origin of its last words is known.
    fn catch_up(&mut self, end: AttachEnd) -> AttachEnd {
        let capture = self.capture();
        let handle = self.watched.handle();
        let output = self.watched.runtime().need_kept_output();
        let attached = match output.and_then(|output| output.reattach(&handle, capture.kept())) {
            Ok(attached) => attached,
            Err(problem) => {
                let why = problem.message().to_owned();
                self.output_missing.get_or_insert((Timestamp::now(), why));
                return end;
            }
        };
        let (attached, beginning) = stderr_prefix::record_prefix(attached, &end);
        capture.attach(attached, Arc::clone(&self.watched).listener());
        let drained = capture.drain(CATCH_UP_TIMEOUT);
        let why = match capture.attachment_end() {
            Some(AttachEnd::Complete | AttachEnd::Code(0)) if drained => None,
            end => Some(end.and_then(|end| end.error()).unwrap_or_else(|| {
                "the runtime's own log could not be read completely".to_owned()
            })),
        };
        if let Some(why) = why {
            self.output_missing.get_or_insert((Timestamp::now(), why));
        }
        match end {
            AttachEnd::Failed(words) if beginning.matches(&words.bytes) => {
                AttachEnd::Code(words.code)
            }
            end => end,
        }
    }
}

/// Whether an attachment may have ended before the workload's output did.
fn may_miss_output(end: &AttachEnd, exit: &Exit) -> bool {
    match end {
        AttachEnd::Complete => false,
        AttachEnd::Code(code) => Some(*code) != exit.code,
        AttachEnd::Interrupted | AttachEnd::Failed(_) => true,
    }
}

/// The poll schedule. While output flows its end wakes the waiter anyway, so polls are rare: with docker each costs
/// 17 ms of CPU (client 28.2.2), and an idle run may cost 0.5 % of a core in all.
pub(crate) struct PollSchedule {
    interval: Duration,
    max_interval: Duration,
    cheap: bool,
}

impl PollSchedule {
    /// `awaited`: a caller waits for the start, and only a poll shows it.
    pub(crate) fn starting(awaited: bool, cheap: bool) -> PollSchedule {
        let (next, most) = match (awaited, cheap) {
            (_, true) => (1, 20),
            (true, false) => (100, 100),
            (false, false) => (400, 1000),
        };
        PollSchedule {
            interval: Duration::from_millis(next),
            max_interval: Duration::from_millis(most),
            cheap,
        }
    }

    pub(super) fn running(&mut self) {
        // A client that does not read keeps the end of the output from waking the waiter.
        let most = Duration::from_secs(if self.cheap { 1 } else { 15 });
        if self.max_interval != most {
            (self.interval, self.max_interval) = (Duration::from_secs(1), most);
        }
    }

    pub(super) fn after_stream(&mut self) {
        let most = Duration::from_secs(2);
        if self.max_interval != most {
            (self.interval, self.max_interval) = (Duration::from_millis(20), most);
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let now = self.interval;
        self.interval = (self.interval * 2).min(self.max_interval);
        now
    }
}
