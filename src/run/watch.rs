//! The waiter: the one place that waits for a container, and settles its run.
//!
//! It polls `inspect`; the end of the output wakes it at once. An engine that cannot be asked is
//! asked again, never taken for an exit. Order at the end: all output kept, log closed, final state
//! recorded, exit signal raised. Cleaning up is for who waits for the signal.

use std::sync::Arc;
use std::time::Duration;

use super::beginning;
use super::supervisor::Supervisor;
use super::verdict::verdict;
use super::workspace;
use crate::failpoint::checkpoint;
use crate::runtime::{AttachEnd, Exit, Inspected, Problem};
use crate::store::{Reason, StreamBytes, Timestamp};

/// How long reading all of the runtime's own log may take.
const CATCH_UP: Duration = Duration::from_secs(600);

/// How long the output of an exited container may take to arrive.
const DRAIN: Duration = Duration::from_secs(10);

/// Watches a started container to its end.
pub(super) fn watch(supervisor: &Arc<Supervisor>) {
    let mut watch = Watch {
        supervisor,
        pace: Pace::starting(
            supervisor.background || supervisor.publishes,
            supervisor.runtime.looks_are_cheap(),
        ),
        broken: None,
        attach_end: AttachEnd::Whole,
        away: false,
        // After an adoption nothing is, and the end may be there already.
        detached: !supervisor.capture.was_attached(),
    };
    let mut exit = watch.until_exit();
    if supervisor.capture.kept() != StreamBytes::default() {
        // An engine that died just after the start may not remember it; the output does.
        exit.started_at = exit.started_at.or(supervisor.record().started_at);
    }
    checkpoint("exited");
    watch.drain(&exit);
    watch.settle(&exit);
    checkpoint("ended");
    supervisor.exit.raise();
}

struct Watch<'a> {
    supervisor: &'a Arc<Supervisor>,
    pace: Pace,
    /// Since when output may be missing, and why.
    broken: Option<(Timestamp, String)>,
    attach_end: AttachEnd,
    /// Whether the engine was ever away, so that its own log may have a gap.
    away: bool,
    /// Whether the container's output no longer comes from its first attachment, so that its very
    /// end has to be looked up.
    detached: bool,
}

impl Watch<'_> {
    fn until_exit(&mut self) -> Exit {
        let handle = self.supervisor.handle();
        let mut ended_before = false;
        loop {
            let ended = self.supervisor.capture.wait(self.pace.next());
            if ended {
                self.pace.after_stream();
            }
            if ended && ended_before {
                // No stream will wake us.
                std::thread::sleep(self.pace.next());
            }
            ended_before = ended;
            match self.supervisor.runtime.inspect(&[&handle]) {
                Ok(states) => {
                    let state = states.into_iter().next().unwrap_or(Inspected::Missing);
                    if let Some(exit) = self.judge(state, ended, &handle) {
                        return exit;
                    }
                }
                Err(problem) => self.unreachable(&problem, ended),
            }
        }
    }

    /// What a look at the container says; its end, if that is what it says.
    fn judge(&mut self, state: Inspected, ended: bool, handle: &str) -> Option<Exit> {
        match state {
            Inspected::Running { started_at, ports } => {
                self.supervisor.has_ports(&ports);
                self.supervisor.has_started(started_at);
                match ended {
                    true => self.reattach(handle),
                    false => self.pace.running(),
                }
                None
            }
            Inspected::Ending { started_at } => {
                self.supervisor.has_started(started_at);
                self.supervisor.capture.let_go();
                if ended {
                    self.reattach(handle);
                }
                None
            }
            Inspected::Exited(exit) => {
                if exit.started_at.is_some() {
                    self.supervisor.has_started(exit.started_at);
                }
                Some(exit)
            }
            // The client that should have started it has ended: it will not start any more.
            Inspected::Created if ended => {
                let end = self.attachment_end();
                Some(Exit {
                    error: end
                        .error()
                        .or(Some("the container was not started".to_owned())),
                    ..Exit::default()
                })
            }
            Inspected::Created => None,
            Inspected::Missing => {
                let end = self.attachment_end();
                let started_at = self.supervisor.record().started_at;
                Some(Exit {
                    started_at: started_at.or_else(|| Some(Timestamp::now())),
                    // 1 and 125 may be the client's own.
                    code: end.code().filter(|code| !matches!(code, 0 | 1 | 125)),
                    vanished: true,
                    error: Some("its container was removed by somebody else".to_owned()),
                    ..Exit::default()
                })
            }
        }
    }

    fn attachment_end(&mut self) -> AttachEnd {
        if let Some(end) = self.supervisor.capture.attachment_end() {
            self.attach_end = end;
        }
        self.attach_end.clone()
    }

    /// The output has ended, the container has not: somebody killed the client, or the engine
    /// restarted under it.
    fn reattach(&mut self, handle: &str) {
        let end = self.attachment_end();
        self.detached = true;
        if let Some(why) = end.error() {
            self.note_break(&why);
        }
        let kept = self.supervisor.capture.kept();
        match self.supervisor.runtime.reattach(handle, kept) {
            Ok(attached) => {
                let tell = self.supervisor.on_output();
                self.supervisor.capture.attach(attached, tell);
            }
            Err(problem) => self.unreachable(&problem, true),
        }
    }

    /// The engine cannot be asked. As long as the output flows, nothing is missing.
    fn unreachable(&mut self, problem: &Problem, ended: bool) {
        self.pace.after_stream();
        self.away = true;
        if !ended {
            return;
        }
        let end = self.attachment_end();
        // A client that ended well has said all there is. These codes may be its own.
        let own = end.code().is_none_or(|code| matches!(code, 1 | 125..=127));
        if self.detached || own {
            self.detached = true;
            self.note_break(problem.message());
        } else {
            self.supervisor.run().diary(problem.message());
        }
    }

    /// Says once, while the output is interrupted, that it is.
    fn note_break(&mut self, why: &str) {
        if self.broken.is_none() {
            self.broken = Some((Timestamp::now(), why.to_owned()));
            self.supervisor.notice(&format!(
                "the engine does not answer ({why}); the run goes on, and moat keeps asking"
            ));
        }
    }

    /// Keeps all output that there is.
    fn drain(&mut self, exit: &Exit) {
        let whole = self.supervisor.capture.drain(DRAIN);
        let mut end = self.attachment_end();
        let look = self.detached || !whole || is_doubtful(&end, exit);
        if look && exit.started_at.is_some() {
            end = self.catch_up(end);
        }
        let interrupted = matches!(&end, AttachEnd::Failed(words) if words.interrupted);
        let why = if let Some(why) = self.supervisor.capture.failure() {
            why
        } else if interrupted || ((self.detached || is_doubtful(&end, exit)) && self.away) {
            "the engine was away".to_owned()
        } else if exit.started_at.is_some() && exit.code.is_none() {
            "the end of the workload is not known".to_owned()
        } else {
            return;
        };
        self.broken.get_or_insert((Timestamp::now(), why));
    }

    /// Reads the runtime's own log once more, from where ours ends. What the end of the attachment
    /// was, now that it is known who said its last words.
    fn catch_up(&mut self, end: AttachEnd) -> AttachEnd {
        let capture = &self.supervisor.capture;
        let handle = self.supervisor.handle();
        let attached = match self.supervisor.runtime.reattach(&handle, capture.kept()) {
            Ok(attached) => attached,
            Err(problem) => {
                let why = problem.message().to_owned();
                self.broken.get_or_insert((Timestamp::now(), why));
                return end;
            }
        };
        let (attached, beginning) = beginning::remember(attached, &end);
        capture.attach(attached, self.supervisor.on_output());
        let drained = capture.drain(CATCH_UP);
        let why = match capture.attachment_end() {
            Some(AttachEnd::Whole | AttachEnd::Code(0)) if drained => None,
            end => Some(end.and_then(|end| end.error()).unwrap_or_else(|| {
                "the runtime's own log could not be read to its end".to_owned()
            })),
        };
        if let Some(why) = why {
            self.broken.get_or_insert((Timestamp::now(), why));
        }
        match end {
            AttachEnd::Failed(words) if beginning.is(&words.bytes) => AttachEnd::Code(words.code),
            end => end,
        }
    }

    /// Closes the log and records the end.
    fn settle(&mut self, exit: &Exit) {
        let capture = &self.supervisor.capture;
        if let Some((since, why)) = &self.broken {
            capture.note(&format!("output since {since} may be missing: {why}"));
        }
        capture.close_log();
        checkpoint("log-closed");
        let outage = capture.outage();
        let (state, mut reason) = verdict(exit, self.supervisor.intent());
        let hook = reason == Reason::Exited && workspace::hook_failed(self.supervisor, exit);
        if hook {
            reason = Reason::HookFailed;
        }
        self.supervisor.conclude(|record| {
            if let Some((since, why)) = &outage {
                record.log.mark_missing(*since, why);
            }
            if let Some((since, why)) = &self.broken {
                record.log.mark_missing(*since, why);
            }
            // Engines and files have clocks of their own, some of them coarse.
            record.started_at = exit.started_at.map(|at| at.max(record.created_at));
            let finished = exit.finished_at.unwrap_or_else(Timestamp::now);
            let earliest = record.started_at.unwrap_or(record.created_at);
            record.finished_at = Some(finished.max(earliest));
            record.exit_code = exit.code;
            record.oom_killed = exit.oom_killed;
            record.error = exit.error.clone().map(|text| crate::term::harmless(&text));
            if let (true, Some(code)) = (hook, exit.code) {
                record.error = Some(format!("the hook pre_run failed with exit code {code}"));
            }
            (record.state, record.reason) = (state, Some(reason));
        });
    }
}

/// Whether an attachment may have ended before the workload's output did.
fn is_doubtful(end: &AttachEnd, exit: &Exit) -> bool {
    match end {
        AttachEnd::Whole => false,
        AttachEnd::Code(code) => Some(*code) != exit.code,
        AttachEnd::Cut | AttachEnd::Failed(_) => true,
    }
}

/// How long to wait between looks. While the output flows its end wakes the waiter anyway, so looks
/// are rare: with docker each costs 17 ms of CPU (client 28.2.2), and an idle run may cost 0.5 % of
/// a core in all.
struct Pace {
    next: Duration,
    most: Duration,
    cheap: bool,
}

impl Pace {
    /// `awaited`: somebody waits for the start, and nothing else would tell of it.
    fn starting(awaited: bool, cheap: bool) -> Pace {
        let (next, most) = match (awaited, cheap) {
            (_, true) => (1, 20),
            (true, false) => (100, 100),
            (false, false) => (400, 1000),
        };
        Pace {
            next: Duration::from_millis(next),
            most: Duration::from_millis(most),
            cheap,
        }
    }

    fn running(&mut self) {
        // A client that does not read keeps the end of the output from waking us.
        let most = Duration::from_secs(if self.cheap { 1 } else { 15 });
        if self.most != most {
            (self.next, self.most) = (Duration::from_secs(1), most);
        }
    }

    fn after_stream(&mut self) {
        let most = Duration::from_secs(2);
        if self.most != most {
            (self.next, self.most) = (Duration::from_millis(20), most);
        }
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (self.next * 2).min(self.most);
        now
    }
}
