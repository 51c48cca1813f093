//! What the exit of a container means for its run. Pure.

use std::time::{Duration, SystemTime};

use crate::runtime::Exit;
use crate::store::{EndReason, RunState};

/// The requested end of a run, with the time of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndIntent {
    pub(super) reason: EndReason,
    pub(super) requested: StopRequestTime,
    /// The grace period, if the request has one.
    pub(super) grace: Option<Duration>,
}

/// The time of a request as far as it matters: a workload that exited before exited by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopRequestTime {
    /// The workload was seen running after the request.
    BeforeExit,
    /// The request's time by this process's clock, which may differ from the engine's.
    At(SystemTime),
}

impl StopRequestTime {
    pub(super) fn now() -> StopRequestTime {
        StopRequestTime::At(SystemTime::now())
    }
}

/// Tolerance between the times of files and engines. An exit that is clearly earlier than the request was the
/// workload's own.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(20);

/// The final state and its reason.
pub(super) fn verdict(exit: &Exit, intent: Option<EndIntent>) -> (RunState, EndReason) {
    let intent = intent.filter(|intent| !ended_before(exit, intent.requested));
    match (intent.map(|intent| intent.reason), exit) {
        (Some(EndReason::Timeout), _) => (RunState::Failed, EndReason::Timeout),
        (Some(reason), _) => (RunState::Stopped, reason),
        // A child of the workload may have been killed while the workload continued.
        (None, exit) if exit.oom_killed && exit.code == Some(137) => {
            (RunState::Failed, EndReason::Oom)
        }
        (
            None,
            Exit {
                started_at: None, ..
            },
        ) => (RunState::Failed, EndReason::StartError),
        (None, exit) if exit.was_removed || exit.code.is_none() => {
            (RunState::Failed, EndReason::Lost)
        }
        (None, Exit { code: Some(0), .. }) => (RunState::Stopped, EndReason::Exited),
        (None, _) => (RunState::Failed, EndReason::Exited),
    }
}

fn ended_before(exit: &Exit, asked: StopRequestTime) -> bool {
    let StopRequestTime::At(at) = asked else {
        return false;
    };
    exit.finished_at
        .and_then(|finished| at.duration_since(finished.0).ok())
        .is_some_and(|before| before > CLOCK_TOLERANCE)
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
            (exit(Some(0)), (RunState::Stopped, EndReason::Exited)),
            (exit(Some(7)), (RunState::Failed, EndReason::Exited)),
            (exit(None), (RunState::Failed, EndReason::Lost)),
            (Exit::default(), (RunState::Failed, EndReason::StartError)),
            (oom, (RunState::Failed, EndReason::Oom)),
        ] {
            assert_eq!(verdict(&exit, None), expected);
        }
    }

    #[test]
    fn a_stop_counts_unless_the_workload_had_ended() {
        let now = SystemTime::now();
        let stop = EndIntent {
            reason: EndReason::UserStop,
            requested: StopRequestTime::At(now),
            grace: None,
        };
        let mut exit = exit(Some(7));
        exit.finished_at = Some(Timestamp(now + Duration::from_millis(5)));
        assert_eq!(
            verdict(&exit, Some(stop)),
            (RunState::Stopped, EndReason::UserStop)
        );
        exit.finished_at = Some(Timestamp(now - Duration::from_secs(1)));
        assert_eq!(
            verdict(&exit, Some(stop)),
            (RunState::Failed, EndReason::Exited)
        );
        let timeout = EndIntent {
            reason: EndReason::Timeout,
            requested: StopRequestTime::At(now),
            grace: None,
        };
        let seen = EndIntent {
            requested: StopRequestTime::BeforeExit,
            ..stop
        };
        // The engine's clock is behind.
        assert_eq!(
            verdict(&exit, Some(seen)),
            (RunState::Stopped, EndReason::UserStop)
        );
        exit.finished_at = None;
        assert_eq!(
            verdict(&exit, Some(timeout)),
            (RunState::Failed, EndReason::Timeout)
        );
    }
}
