//! What the end of a container means for its run. Pure.

use std::time::{Duration, SystemTime};

use crate::runtime::Exit;
use crate::store::{Reason, State};

/// That somebody ended the run, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) reason: Reason,
    pub(super) asked: Asked,
    /// How long the workload has to end by itself, if that was said.
    pub(super) grace: Option<Duration>,
}

/// When the end of a run was asked for, as far as that matters: what had ended before ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The workload was seen to run later than that.
    BeforeTheEnd,
    /// At this time by our clock, which may not be that of the engine.
    At(SystemTime),
}

impl Asked {
    pub(super) fn now() -> Asked {
        Asked::At(SystemTime::now())
    }
}

/// How coarse times of files and engines may be. An end that lies clearly before the request was
/// the workload's own doing.
const COARSE: Duration = Duration::from_millis(20);

/// The final state, and why.
pub(super) fn verdict(exit: &Exit, intent: Option<Intent>) -> (State, Reason) {
    let intent = intent.filter(|intent| !ended_before(exit, intent.asked));
    match (intent.map(|intent| intent.reason), exit) {
        (Some(Reason::Timeout), _) => (State::Failed, Reason::Timeout),
        (Some(reason), _) => (State::Stopped, reason),
        // A child of the workload may have been killed, and the workload have gone on.
        (None, exit) if exit.oom_killed && exit.code == Some(137) => (State::Failed, Reason::Oom),
        (
            None,
            Exit {
                started_at: None, ..
            },
        ) => (State::Failed, Reason::StartError),
        (None, exit) if exit.vanished || exit.code.is_none() => (State::Failed, Reason::Lost),
        (None, Exit { code: Some(0), .. }) => (State::Stopped, Reason::Exited),
        (None, _) => (State::Failed, Reason::Exited),
    }
}

fn ended_before(exit: &Exit, asked: Asked) -> bool {
    let Asked::At(at) = asked else {
        return false;
    };
    exit.finished_at
        .and_then(|finished| at.duration_since(finished.0).ok())
        .is_some_and(|before| before > COARSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

    fn exit(code: Option<u8>) -> Exit {
        Exit {
            started_at: Some(Timestamp::now()),
            code,
            ..Exit::default()
        }
    }

    #[test]
    fn ends_mean_what_they_say() {
        let oom = Exit {
            oom_killed: true,
            ..exit(Some(137))
        };
        for (exit, expected) in [
            (exit(Some(0)), (State::Stopped, Reason::Exited)),
            (exit(Some(7)), (State::Failed, Reason::Exited)),
            (exit(None), (State::Failed, Reason::Lost)),
            (Exit::default(), (State::Failed, Reason::StartError)),
            (oom, (State::Failed, Reason::Oom)),
        ] {
            assert_eq!(verdict(&exit, None), expected);
        }
    }

    #[test]
    fn a_stop_counts_unless_the_workload_had_ended() {
        let now = SystemTime::now();
        let stop = Intent {
            reason: Reason::UserStop,
            asked: Asked::At(now),
            grace: None,
        };
        let mut exit = exit(Some(7));
        exit.finished_at = Some(Timestamp(now + Duration::from_millis(5)));
        assert_eq!(
            verdict(&exit, Some(stop)),
            (State::Stopped, Reason::UserStop)
        );
        exit.finished_at = Some(Timestamp(now - Duration::from_secs(1)));
        assert_eq!(verdict(&exit, Some(stop)), (State::Failed, Reason::Exited));
        let timeout = Intent {
            reason: Reason::Timeout,
            asked: Asked::At(now),
            grace: None,
        };
        let seen = Intent {
            asked: Asked::BeforeTheEnd,
            ..stop
        };
        // The engine's clock is behind.
        assert_eq!(
            verdict(&exit, Some(seen)),
            (State::Stopped, Reason::UserStop)
        );
        exit.finished_at = None;
        assert_eq!(
            verdict(&exit, Some(timeout)),
            (State::Failed, Reason::Timeout)
        );
    }
}
