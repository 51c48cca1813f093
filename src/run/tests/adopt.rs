//! Taking over a run whose supervisor died: each state of the container, with each state that was recorded.

use super::super::adopt::go_on;
use super::*;
use crate::runtime::AttachEnd;
use crate::runtime::fake::Answer::{Fails, Ignored, Says, Sees};
use crate::runtime::fake::{exited, refusal, running, silence, unreachable};
use crate::store::{EndRequest, RunId, ServiceState};

/// A run that somebody has left, and its engine.
struct Left {
    scratch: Scratch,
    fake: Fake,
    id: RunId,
}

impl Left {
    fn with(change: impl Fn(&mut RunRecord)) -> Left {
        let scratch = Scratch::new();
        // Its owner lets go of it at once, as if it had been killed.
        let id = scratch.reserve(change).record().id.clone();
        let fake = Fake::new();
        Left { scratch, fake, id }
    }

    /// `started`: whether its workload was seen to run. The container is put there by the test.
    fn in_state(state: RunState, started: bool) -> Left {
        Left::with(|record| {
            record.state = state;
            record.reason = (state == RunState::Stopping).then_some(EndReason::UserStop);
            record.started_at = started.then_some(record.created_at);
            for resource in &mut record.resources {
                resource.stage = match state {
                    RunState::Created => ResourceStage::Intent,
                    _ => ResourceStage::Made,
                };
            }
        })
    }

    fn dir(&self) -> RunDir {
        self.scratch.run(&self.id)
    }

    fn put(&self, state: Inspected) {
        self.fake.put(self.id.as_str(), state);
    }

    fn record(&self) -> RunRecord {
        self.dir().load().record().expect("a record")
    }

    /// Adopts it, in a thread of its own. What is told at the end is the error, if there is one.
    fn adopt(&self) -> Receiver<Option<String>> {
        let (scratch, id, fake) = (self.scratch.clone(), self.id.clone(), self.fake.clone());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let run = OwnedRun::adopt(&scratch, &id).unwrap().expect("a run");
            let error = go_on(run, fake.driver(), |_| {}).err();
            let _ = tell.send(error.map(|error| error.message.clone()));
        });
        told
    }

    #[track_caller]
    fn over(&self, told: &Receiver<Option<String>>) -> RunRecord {
        match told.recv_timeout(NEVER) {
            Ok(None) => self.record(),
            Ok(Some(error)) => panic!("{error}"),
            Err(_) => panic!("it is not over: {:#?}", self.fake.calls()),
        }
    }

    /// Adopts it and sees it to its end.
    #[track_caller]
    fn adopted(&self) -> RunRecord {
        self.over(&self.adopt())
    }
}

/// Each row: the container, what was recorded, whether the workload had started, the word of a request, and the end.
macro_rules! rows {
    ($($name:ident: $container:expr, $state:ident, $started:literal, $request:expr => $end:expr;)+) => {$(
        #[test]
        fn $name() {
            let left = Left::in_state(RunState::$state, $started);
            let container: Option<Inspected> = $container;
            if let Some(container) = container {
                left.put(container);
            }
            let request: Option<EndRequest> = $request;
            if let Some(request) = request {
                left.dir().write_end_request(request);
            }
            let record = left.adopted();
            assert_eq!(ending(&record), $end);
            assert!(record.is_clean(), "{:#?}", left.fake.calls());
            assert_eq!(left.fake.left(), [""; 0]);
            assert_eq!(left.fake.count("start"), 0, "it is not started late");
        }
    )+};
}

const STOP: Option<EndRequest> = Some(EndRequest::Stop(10));
const KILL: Option<EndRequest> = Some(EndRequest::Kill);

rows! {
    missing_and_never_made: None, Created, false, None => (RunState::Failed, EndReason::StartError, None);
    missing_and_never_started: None, Starting, false, None => (RunState::Failed, EndReason::StartError, None);
    missing_after_it_ran: None, Running, true, None => (RunState::Failed, EndReason::Lost, None);
    missing_and_to_be_stopped_before_it_was_made: None, Created, false, STOP => (RunState::Stopped, EndReason::UserStop, None);
    missing_and_to_be_killed_before_it_started: None, Starting, false, KILL => (RunState::Stopped, EndReason::Killed, None);
    missing_and_to_be_stopped_after_it_ran: None, Running, true, STOP => (RunState::Stopped, EndReason::UserStop, None);
    missing_while_it_was_stopping: None, Stopping, true, None => (RunState::Stopped, EndReason::UserStop, None);
    made_and_never_started: Some(Inspected::Created), Created, false, None => (RunState::Failed, EndReason::StartError, None);
    made_and_about_to_start: Some(Inspected::Created), Starting, false, None => (RunState::Failed, EndReason::StartError, None);
    made_and_to_be_stopped: Some(Inspected::Created), Starting, false, STOP => (RunState::Stopped, EndReason::UserStop, None);
    forgotten_by_the_engine_after_it_ran: Some(Inspected::Created), Running, true, None => (RunState::Failed, EndReason::Lost, None);
    forgotten_by_the_engine_and_to_be_killed: Some(Inspected::Created), Running, true, KILL => (RunState::Stopped, EndReason::Killed, None);
    ended_well_unseen: Some(long_ago(0)), Starting, false, None => (RunState::Stopped, EndReason::Exited, Some(0));
    ended_badly_unseen: Some(long_ago(7)), Starting, false, None => (RunState::Failed, EndReason::Exited, Some(7));
    ended_well_while_nobody_looked: Some(long_ago(0)), Running, true, None => (RunState::Stopped, EndReason::Exited, Some(0));
    ended_badly_while_nobody_looked: Some(long_ago(7)), Running, true, None => (RunState::Failed, EndReason::Exited, Some(7));
    ended_before_a_request_that_nobody_heard: Some(long_ago(7)), Running, true, STOP => (RunState::Failed, EndReason::Exited, Some(7));
    ended_after_a_request_that_was_heard: Some(long_ago(7)), Stopping, true, None => (RunState::Stopped, EndReason::UserStop, Some(7));
    ended_after_a_stop_and_to_be_killed: Some(long_ago(7)), Stopping, true, KILL => (RunState::Stopped, EndReason::Killed, Some(7));
    runs_and_is_to_be_stopped: Some(running()), Running, true, STOP => (RunState::Stopped, EndReason::UserStop, Some(143));
    runs_and_is_to_be_killed: Some(running()), Running, true, KILL => (RunState::Stopped, EndReason::Killed, Some(137));
    // new order
    runs_although_its_start_could_not_be_recorded_and_is_to_be_stopped: Some(running()), Created, false, STOP => (RunState::Stopped, EndReason::UserStop, Some(143));
    // new order
    runs_although_its_start_could_not_be_recorded_and_is_to_be_killed: Some(running()), Created, false, KILL => (RunState::Stopped, EndReason::Killed, Some(137));
    runs_unseen_and_is_to_be_stopped: Some(running()), Starting, false, STOP => (RunState::Stopped, EndReason::UserStop, Some(143));
    runs_although_it_was_stopping: Some(running()), Stopping, true, None => (RunState::Stopped, EndReason::UserStop, Some(143));
}

/// The stop of before is begun again, and the kill overrules it; which of them ends the workload is chance.
#[test]
fn runs_although_it_was_stopping_and_is_to_be_killed() {
    let left = Left::in_state(RunState::Stopping, true);
    left.put(running());
    left.dir().write_end_request(EndRequest::Kill);
    let record = left.adopted();
    assert_eq!(
        (record.state, record.reason),
        (RunState::Stopped, Some(EndReason::Killed))
    );
    assert!(record.is_clean());
}

#[test]
fn the_reason_of_the_predecessor_is_kept() {
    for (reason, state, code) in [
        (EndReason::Timeout, RunState::Failed, Some(143)),
        (EndReason::UserStop, RunState::Stopped, Some(143)),
        (EndReason::Killed, RunState::Stopped, Some(137)),
    ] {
        let left = Left::with(|record| {
            record.state = RunState::Stopping;
            record.reason = Some(reason);
            record.started_at = Some(record.created_at);
        });
        left.put(running());
        assert_eq!(ending(&left.adopted()), (state, reason, code));
    }
}

// new order
#[test]
fn a_time_that_was_up_before_the_container_vanished_is_the_reason() {
    let left = Left::with(|record| {
        record.state = RunState::Stopping;
        record.reason = Some(EndReason::Timeout);
        record.started_at = Some(record.created_at);
    });
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Timeout, None)
    );
    assert!(!record.log.complete, "its output is gone with it");
}

#[test]
fn a_workload_that_runs_is_watched_and_its_output_kept_once() {
    let left = Left::in_state(RunState::Running, true);
    left.put(running());
    left.fake
        .print_unheard(left.id.as_str(), Stream::Stdout, "kept\nnew\n");
    let path = left.dir().log();
    let (mut log, _) = crate::store::LogWriter::open(&path).unwrap();
    log.append(Stream::Stdout, b"kept\n");
    log.close();
    let told = left.adopt();
    left.fake.wait_calls("attached", 1);
    left.fake.print(left.id.as_str(), Stream::Stdout, "more\n");
    left.fake.exit(left.id.as_str(), 3);
    let record = left.over(&told);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert_eq!(logged(&path, Stream::Stdout), "kept\nnew\nmore\n");
    assert!(record.log.complete);
}

#[test]
fn a_workload_that_started_unseen_is_recorded_as_running() {
    let left = Left::in_state(RunState::Starting, false);
    left.put(running());
    let told = left.adopt();
    left.fake.wait_calls("attached", 1);
    assert_eq!(left.record().state, RunState::Running);
    left.fake.exit(left.id.as_str(), 0);
    assert!(left.over(&told).started_at.is_some());
}

#[test]
fn an_engine_that_cannot_be_asked_changes_nothing() {
    for problem in [unreachable(), silence(), refusal()] {
        let left = Left::in_state(RunState::Running, true);
        left.put(running());
        left.fake.script("inspect", [Fails(problem.clone())]);
        let before = std::fs::metadata(left.dir().log()).unwrap().len();
        let error = left.adopt().recv_timeout(NEVER).unwrap();
        assert_eq!(error.as_deref(), Some(problem.message()));
        let record = left.record();
        assert_eq!((record.state, record.reason), (RunState::Running, None));
        assert_eq!(std::fs::metadata(left.dir().log()).unwrap().len(), before);
        // The next one can take it over.
        assert!(left.dir().is_abandoned(&record).unwrap());
    }
}

/// It answers at first, and then no more for a while.
// new order
#[test]
fn an_engine_that_goes_away_during_the_adoption_is_waited_for() {
    let left = Left::in_state(RunState::Running, true);
    left.put(running());
    left.fake.script(
        "inspect",
        [Sees(running()), Fails(unreachable()), Fails(silence())],
    );
    let told = left.adopt();
    left.fake.wait_calls("attached", 1);
    left.fake.exit(left.id.as_str(), 5);
    let record = left.over(&told);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(5))
    );
    assert!(!record.log.complete, "it may have lost some meanwhile");
}

// new order
#[test]
fn a_container_that_starts_while_the_adopter_looks_is_watched() {
    let left = Left::in_state(RunState::Starting, false);
    left.put(Inspected::Created);
    left.fake.on("inspect", |_| {});
    let id = left.id.clone();
    left.fake
        .on("inspect", move |fake| fake.set(id.as_str(), running()));
    let told = left.adopt();
    left.fake.wait_calls("attached", 1);
    left.fake.exit(left.id.as_str(), 4);
    let record = left.over(&told);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(4))
    );
}

// new order
#[test]
fn a_container_that_ends_while_the_adopter_looks_has_its_code() {
    let left = Left::in_state(RunState::Running, true);
    left.put(running());
    let id = left.id.clone();
    left.fake.script("inspect", [Sees(running())]);
    left.fake
        .on("inspect", move |fake| fake.set(id.as_str(), long_ago(6)));
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(6))
    );
}

// new order
#[test]
fn a_container_that_is_removed_while_the_adopter_looks_is_lost() {
    let left = Left::in_state(RunState::Running, true);
    left.put(running());
    let id = left.id.clone();
    left.fake.script("inspect", [Sees(running())]);
    left.fake.on("inspect", move |fake| {
        fake.vanish(id.as_str(), AttachEnd::Interrupted)
    });
    let record = left.adopted();
    assert_eq!(ending(&record), (RunState::Failed, EndReason::Lost, None));
    assert!(!record.log.complete && record.is_clean());
}

#[test]
fn what_was_asked_for_and_comes_late_is_found() {
    let left = Left::in_state(RunState::Created, false);
    let id = left.id.clone();
    left.dir()
        .begin_engine_request(ResourceKind::Container, id.as_str());
    // The look, the look whether it may come, and the next look.
    left.fake.on("inspect", |_| {});
    left.fake.on("inspect", |_| {});
    left.fake.on("inspect", move |fake| {
        fake.put(id.as_str(), Inspected::Created)
    });
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert!(record.is_clean());
    assert_eq!(left.fake.left(), [""; 0]);
}

#[test]
fn what_was_asked_for_and_does_not_come_keeps_the_run_unclean() {
    let left = Left::in_state(RunState::Created, false);
    left.dir()
        .begin_engine_request(ResourceKind::Container, left.id.as_str());
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(record.cleaned_at, None);
    assert_eq!(left.fake.count("remove"), 0);
    // It comes after all; the next adopter finds it.
    left.put(Inspected::Created);
    let record = left.adopted();
    assert!(record.is_clean());
    assert_eq!(left.fake.left(), [""; 0]);
}

/// Two that were asked for, of which the engine has made one.
// new order
#[test]
fn a_network_that_may_still_come_keeps_the_run_unclean_and_nothing_else() {
    let left = Left::with(|record| {
        let id = record.id.to_string();
        record
            .resources
            .insert(0, network(&id, ResourceStage::Intent));
    });
    left.dir()
        .begin_engine_request(ResourceKind::Network, left.id.as_str());
    left.put(Inspected::Created);
    let record = left.adopted();
    assert_eq!(record.cleaned_at, None);
    assert_eq!(left.fake.left(), [""; 0], "the container is gone");
    let stages: Vec<ResourceStage> = record.resources.iter().map(|made| made.stage).collect();
    assert_eq!(stages, [ResourceStage::Intent, ResourceStage::Intent]);
}

#[test]
fn a_run_that_ended_and_left_something_is_cleaned_up_and_no_more() {
    for container in [
        None,
        Some(Inspected::Created),
        Some(exited(3)),
        Some(running()),
    ] {
        let left = Left::with(|record| {
            record.state = RunState::Failed;
            record.reason = Some(EndReason::Exited);
            record.exit_code = Some(3);
        });
        if let Some(container) = container {
            left.put(container);
        }
        let record = left.adopted();
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::Exited, Some(3))
        );
        assert!(record.is_clean());
        assert_eq!(left.fake.left(), [""; 0]);
        assert_eq!(left.fake.count("reattach"), 0, "its log is closed");
    }
}

/// Somebody asked for an end when it had come already.
// new order
#[test]
fn a_request_does_not_change_the_end_of_a_run_that_is_to_be_cleaned_up() {
    let left = Left::with(|record| {
        record.state = RunState::Failed;
        record.reason = Some(EndReason::Exited);
        record.exit_code = Some(3);
    });
    left.dir().write_end_request(EndRequest::Kill);
    left.put(exited(3));
    assert_eq!(
        ending(&left.adopted()),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
}

#[test]
fn a_run_that_is_over_needs_nobody() {
    let left = Left::with(|record| {
        record.state = RunState::Stopped;
        record.cleaned_at = Some(record.created_at);
    });
    assert!(OwnedRun::adopt(&left.scratch, &left.id).unwrap().is_none());
}

#[test]
fn a_run_that_has_an_owner_needs_nobody() {
    let left = Left::in_state(RunState::Running, true);
    let _owner = OwnedRun::adopt(&left.scratch, &left.id).unwrap().unwrap();
    assert!(OwnedRun::adopt(&left.scratch, &left.id).unwrap().is_none());
}

#[test]
fn of_many_adopters_one_has_the_run() {
    let left = Left::in_state(RunState::Running, true);
    let adopters = std::thread::scope(|scope| {
        let adopt = || OwnedRun::adopt(&left.scratch, &left.id).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(adopt)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect::<Vec<_>>()
    });
    assert_eq!(adopters.len(), 1);
}

#[test]
fn a_run_of_a_newer_version_is_left_alone() {
    let left = Left::with(|record| record.schema = 99);
    let error = OwnedRun::adopt(&left.scratch, &left.id).unwrap_err();
    assert!(error.message.contains("newer moat"), "{}", error.message);
}

#[test]
fn a_kept_container_stays_where_its_workload_ran() {
    for (started, stays) in [(true, true), (false, false)] {
        let left = Left::with(|record| {
            record.settings.limits.keep = true;
            record.state = RunState::Failed;
            record.reason = Some(EndReason::Lost);
            record.started_at = started.then_some(record.created_at);
        });
        left.put(exited(3));
        let record = left.adopted();
        assert!(record.cleaned_at.is_some());
        assert_eq!(left.fake.left().len(), usize::from(stays));
    }
}

#[test]
fn a_time_that_passed_while_nobody_looked_is_up() {
    let left = Left::with(|record| {
        record.state = RunState::Running;
        record.settings.limits.timeout_seconds = Some(5.0);
        let began = Timestamp(SystemTime::now() - Duration::from_secs(60));
        (record.created_at, record.started_at) = (began, Some(began));
    });
    left.put(running());
    let record = left.adopted();
    assert_eq!(
        (record.state, record.reason),
        (RunState::Failed, Some(EndReason::Timeout))
    );
}

#[test]
fn a_workload_whose_terminal_is_gone_is_stopped() {
    let left = Left::with(|record| {
        record.state = RunState::Running;
        record.started_at = Some(record.created_at);
        (record.settings.io.interactive, record.terminal) = (true, true);
    });
    left.put(running());
    let record = left.adopted();
    assert_eq!(record.reason, Some(EndReason::UserStop));
    let log = logged(&left.dir().log(), Stream::Moat);
    assert!(log.contains("the workload lost its terminal"), "{log}");
}

#[test]
fn the_end_of_the_input_is_noted() {
    let left = Left::with(|record| {
        record.state = RunState::Running;
        record.started_at = Some(record.created_at);
        record.settings.io.interactive = true;
    });
    left.put(long_ago(0));
    left.adopted();
    let log = logged(&left.dir().log(), Stream::Moat);
    assert!(log.contains("the workload's input ended then"), "{log}");
}

fn with_service(record: &mut RunRecord) {
    let service = r#"{"name": "db", "service": "db", "version": "1", "image": "db:1", "handle": "db", "ports": [],
        "env": [], "ready": [], "ready_seconds": 10, "memory_bytes": null, "cpus": null, "restart": false,
        "state": "ready", "started_at": null, "ready_at": null, "ended_at": null, "exit_code": null,
        "oom_killed": false, "restarts": 0, "error": null,
        "log": {"complete": true, "missing_since": null, "missing_why": null}}"#;
    record.services = vec![serde_json::from_str(service).unwrap()];
    record
        .resources
        .insert(0, container("db", ResourceStage::Made));
}

/// Created, where the start could not be recorded, as on a full disk.
#[test]
fn a_workload_that_was_never_let_go_is_killed() {
    for state in [RunState::Created, RunState::Starting, RunState::Stopping] {
        let left = Left::with(|record| {
            with_service(record);
            record.state = state;
        });
        left.fake.put("db", running());
        left.put(running());
        left.fake.always("is-held-back", || Says(true));
        let record = left.adopted();
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::StartError, None)
        );
        assert_eq!(left.fake.count(&format!("kill {}", left.id)), 1);
        assert_eq!(left.fake.left(), [""; 0]);
    }
}

// new order
#[test]
fn a_workload_that_is_let_go_while_the_adopter_looks_is_watched() {
    let left = Left::with(|record| {
        with_service(record);
        record.state = RunState::Starting;
    });
    left.fake.put("db", running());
    left.put(running());
    left.fake.script("is-held-back", [Says(true), Says(false)]);
    let told = left.adopt();
    left.fake.wait_calls(&format!("attached {}", left.id), 1);
    left.fake.exit(left.id.as_str(), 3);
    let record = left.over(&told);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
}

#[test]
fn a_service_of_an_adopted_run_is_watched_and_ended_with_it() {
    let left = Left::with(|record| {
        with_service(record);
        record.state = RunState::Running;
        record.started_at = Some(record.created_at);
    });
    left.fake.put("db", running());
    left.put(long_ago(0));
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
    assert_eq!(record.services[0].state, ServiceState::Stopped);
    let ends = left.fake.calls_of(&["kill db", "remove"]);
    let own = format!("remove {}", left.id);
    assert_eq!(ends, ["kill db", "remove db", own.as_str()]);
}

/// An adopter that cannot kill what is held back has done nothing yet.
// new order
#[test]
fn a_workload_that_is_held_back_and_cannot_be_killed_is_left_to_the_next_adopter() {
    let left = Left::with(|record| {
        with_service(record);
        record.state = RunState::Starting;
    });
    left.fake.put("db", running());
    left.put(running());
    left.fake.always("is-held-back", || Says(true));
    left.fake.script("kill", [Fails(unreachable())]);
    let error = left.adopt().recv_timeout(NEVER).unwrap();
    assert_eq!(error.as_deref(), Some("the engine is away"));
    assert_eq!(left.record().state, RunState::Starting);
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
}

/// The adopter is asked for an end that the engine ignores at first.
// new order
#[test]
fn a_kill_that_had_no_effect_is_asked_for_again_by_the_adopter() {
    let left = Left::in_state(RunState::Running, true);
    left.put(running());
    left.dir().write_end_request(EndRequest::Kill);
    left.fake.script("kill", [Ignored, Fails(silence())]);
    let record = left.adopted();
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Killed, Some(137))
    );
    assert_eq!(left.fake.count("kill"), 3);
}
