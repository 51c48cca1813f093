//! The record of a run: who may write it, what never changes in it, and how what is not of this version is read.

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use super::scratch::Scratch;
use super::{
    EndReason, EndRequest, Loaded, NewRun, OwnedRun, ResourceKind, ResourceStage, RunDir, RunEnd,
    RunRecord, RunState, WorkspaceMode,
};

const NEVER: Duration = Duration::from_secs(20);

fn ended(run: &mut OwnedRun, reason: EndReason, code: Option<u8>) {
    let end = |record: &mut RunRecord| {
        (record.state, record.reason) = (RunState::Failed, Some(reason));
        record.exit_code = code;
    };
    run.update(end).unwrap();
}

fn on_disk(dir: &RunDir) -> RunRecord {
    dir.load().record().expect("a record")
}

#[test]
fn a_terminal_state_is_never_overwritten() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    ended(&mut run, EndReason::Exited, Some(3));
    for state in RunState::ALL {
        let change = |record: &mut RunRecord| {
            (record.state, record.reason) = (state, Some(EndReason::UserStop));
            record.exit_code = Some(0);
            record.error = Some("written".to_owned());
        };
        run.update(change).unwrap();
        let record = on_disk(run.dir());
        assert_eq!(
            (record.state, record.reason, record.exit_code),
            (RunState::Failed, Some(EndReason::Exited), Some(3))
        );
        assert_eq!(
            record.error.as_deref(),
            Some("written"),
            "all else may change"
        );
    }
}

// new order
#[test]
fn the_end_is_final_even_where_it_could_not_be_written_at_first() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    let dir = run.dir().clone();
    dir.break_record();
    let end = |record: &mut RunRecord| record.state = RunState::Failed;
    assert!(run.update(end).is_err());
    // A stop that comes now does not turn it round.
    assert!(
        run.update(|record| record.state = RunState::Stopping)
            .is_err()
    );
    dir.mend_record();
    run.update(|_| {}).unwrap();
    assert_eq!(on_disk(&dir).state, RunState::Failed);
}

#[test]
fn what_is_staged_is_written_with_the_next_update() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    run.stage(|record| record.resources[0].stage = ResourceStage::Made);
    assert_eq!(on_disk(run.dir()).resources[0].stage, ResourceStage::Intent);
    run.update(|record| record.state = RunState::Starting)
        .unwrap();
    let record = on_disk(run.dir());
    assert_eq!(record.resources[0].stage, ResourceStage::Made);
    assert_eq!(record.state, RunState::Starting);
}

#[test]
fn a_name_belongs_to_one_active_run_and_is_free_at_its_end() {
    let scratch = Scratch::new();
    let mut first = scratch.reserve(|_| {});
    let name = first.record().name.clone();
    let again = |or_numbered| {
        let template = first_record(&scratch);
        OwnedRun::reserve(
            &scratch,
            NewRun {
                name: Some(name.clone()),
                may_add_number: or_numbered,
                record: move |id, name| RunRecord {
                    id,
                    name,
                    ..template.clone()
                },
            },
        )
    };
    let error = again(false).unwrap_err();
    assert!(error.message.contains(name.as_str()), "{}", error.message);
    let numbered = again(true).unwrap();
    assert_eq!(numbered.record().name, name.numbered(2));
    ended(&mut first, EndReason::Exited, Some(0));
    assert_eq!(again(false).unwrap().record().name, name);
}

fn first_record(scratch: &Scratch) -> RunRecord {
    let id = scratch.run_ids().unwrap().remove(0);
    on_disk(&scratch.run(&id))
}

#[test]
fn a_name_that_could_not_be_had_leaves_nothing() {
    let scratch = Scratch::new();
    let first = scratch.reserve(|_| {});
    let template = first.record().clone();
    let new = NewRun {
        name: Some(template.name.clone()),
        may_add_number: false,
        record: |id, name| RunRecord {
            id,
            name,
            ..template.clone()
        },
    };
    assert!(OwnedRun::reserve(&scratch, new).is_err());
    let runs = fs::read_dir(first.dir().path().parent().unwrap()).unwrap();
    assert_eq!(runs.count(), 1);
}

#[test]
fn who_waits_for_an_owner_learns_the_end_when_it_lets_go() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    let dir = run.dir().clone();
    let (tell, told) = mpsc::channel();
    let waits = dir.clone();
    std::thread::spawn(move || tell.send(waits.wait_unowned().unwrap()));
    ended(&mut run, EndReason::Exited, Some(3));
    assert!(
        told.recv_timeout(Duration::from_millis(30)).is_err(),
        "it still has it"
    );
    run.release();
    let end = told.recv_timeout(NEVER).unwrap();
    assert_eq!(end.map(|end| end.exit_status), Some(3));
    assert!(!dir.is_owned().unwrap());
}

/// Whoever has opened the lock by then reads the end there.
#[test]
fn the_end_of_a_run_that_is_removed_at_once_is_known_to_who_waits() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    let dir = run.dir().clone();
    let (tell, told) = mpsc::channel();
    let waits = dir.clone();
    let (began, begun) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = began.send(());
        tell.send(waits.wait_unowned().unwrap())
    });
    begun.recv_timeout(NEVER).unwrap();
    ended(&mut run, EndReason::Killed, Some(137));
    fs::remove_file(dir.record()).unwrap();
    run.release();
    let end = told.recv_timeout(NEVER).unwrap().unwrap();
    assert_eq!(end, RunEnd::of(run.record()).unwrap());
}

#[test]
fn a_run_that_is_owned_or_over_is_not_abandoned() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    let dir = run.dir().clone();
    assert!(!dir.is_abandoned(run.record()).unwrap());
    assert_eq!(dir.owner().unwrap(), super::ProcessIdentity::current());
    run.release();
    assert!(dir.is_abandoned(run.record()).unwrap());
    let mut over = run.record().clone();
    over.state = RunState::Stopped;
    assert!(
        dir.is_abandoned(&over).unwrap(),
        "it may have left something"
    );
    over.cleaned_at = Some(over.created_at);
    assert!(!dir.is_abandoned(&over).unwrap());
    over.cleaned_at = None;
    over.schema = 99;
    assert!(!dir.is_abandoned(&over).unwrap(), "it is not ours to end");
}

#[test]
fn the_word_of_a_request_is_the_last_one_and_is_taken_once() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let dir = run.dir();
    assert_eq!(dir.take_end_request(), None);
    for how in [EndRequest::Stop(10), EndRequest::Kill, EndRequest::Stop(0)] {
        dir.write_end_request(how);
        assert_eq!(dir.end_request(), Some(how));
    }
    assert_eq!(dir.take_end_request(), Some(EndRequest::Stop(0)));
    assert_eq!(dir.end_request(), None);
}

#[test]
fn what_an_engine_is_asked_for_is_known_by_its_kind_and_whole_name() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let dir = run.dir();
    dir.begin_engine_request(ResourceKind::Container, "run-db");
    dir.begin_engine_request(ResourceKind::Network, "run");
    assert!(dir.has_engine_request(ResourceKind::Container, "run-db"));
    assert!(dir.has_engine_request(ResourceKind::Network, "run"));
    for (kind, handle) in [
        (ResourceKind::Container, "run"),
        (ResourceKind::Container, "run-d"),
        (ResourceKind::Network, "run-db"),
    ] {
        assert!(!dir.has_engine_request(kind, handle), "{handle}");
    }
    dir.end_engine_request();
    assert!(!dir.has_engine_request(ResourceKind::Network, "run"));
}

/// What was killed long ago has nothing in flight any more.
// new order
#[test]
fn what_an_engine_was_asked_for_long_ago_does_not_come_any_more() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let dir = run.dir();
    dir.begin_engine_request(ResourceKind::Container, "run");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(120);
    dir.age_engine_request(long_ago);
    assert!(!dir.has_engine_request(ResourceKind::Container, "run"));
}

/// As version 0.1 wrote it when it knew no sessions, volumes, ports, hooks, terminals and services.
#[test]
fn members_that_an_older_version_did_not_know_have_their_defaults() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let mut json = serde_json::to_value(run.record()).unwrap();
    let members = json.as_object_mut().unwrap();
    for name in [
        "session",
        "volumes",
        "ports",
        "workspace_mode",
        "pre_run",
        "terminal",
        "services",
    ] {
        assert!(members.remove(name).is_some(), "{name}");
    }
    fs::write(run.dir().record(), json.to_string()).unwrap();
    let record = on_disk(run.dir());
    assert!(
        record.settings.identity.session.is_none()
            && record.volumes.is_empty()
            && record.settings.network.ports.is_empty()
    );
    assert_eq!(record.settings.mounts.workspace_mode, WorkspaceMode::Bind);
    assert!(!record.pre_run && !record.terminal && record.services.is_empty());
}

#[test]
fn words_and_members_of_a_newer_version_are_read_and_left_alone() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let mut json = serde_json::to_value(run.record()).unwrap();
    json["schema"] = 99.into();
    json["state"] = "hibernating".into();
    json["reason"] = "solar-flare".into();
    json["resources"][0]["kind"] = "tunnel".into();
    json["resources"][0]["stage"] = "evaporated".into();
    json["a member of tomorrow"] = serde_json::json!({"x": [1]});
    fs::write(run.dir().record(), json.to_string()).unwrap();
    let record = on_disk(run.dir());
    assert_eq!(
        (record.state, record.reason),
        (RunState::Unknown, Some(EndReason::Unknown))
    );
    let resource = &record.resources[0];
    assert_eq!(
        (resource.kind, resource.stage),
        (ResourceKind::Unknown, ResourceStage::Unknown)
    );
    let id = record.id.clone();
    drop(run);
    assert!(OwnedRun::adopt(&scratch, &id).is_err(), "nobody writes it");
}

#[test]
fn a_record_that_is_torn_or_of_another_run_is_unreadable_and_not_missing() {
    let scratch = Scratch::new();
    let run = scratch.reserve(|_| {});
    let whole = fs::read_to_string(run.dir().record()).unwrap();
    let other = whole.replace(run.record().id.as_str(), "run_0123456789ab");
    for text in ["", "{", &whole[..whole.len() / 2], "[]", &other] {
        fs::write(run.dir().record(), text).unwrap();
        assert!(matches!(run.dir().load(), Loaded::Unreadable(_)), "{text}");
        assert!(run.dir().require().is_err());
    }
    fs::remove_file(run.dir().record()).unwrap();
    assert!(
        matches!(run.dir().load(), Loaded::Unreadable(_)),
        "its directory is there"
    );
    fs::remove_dir_all(run.dir().path()).unwrap();
    assert!(matches!(run.dir().load(), Loaded::Missing));
}

#[test]
fn the_first_gap_of_a_log_counts() {
    let scratch = Scratch::new();
    let mut run = scratch.reserve(|_| {});
    let first = run.record().created_at;
    let later = super::Timestamp(first.0 + Duration::from_secs(5));
    run.update(|record| {
        record.log.mark_missing(first, "first");
        record.log.mark_missing(later, "second");
    })
    .unwrap();
    let log = on_disk(run.dir()).log;
    assert_eq!(
        (log.complete, log.missing_since, log.missing_why.as_deref()),
        (false, Some(first), Some("first"))
    );
}
