//! Settling a session whose operation was killed, and who may change a session at all.

use super::super::rollback::recover;
use super::*;
use crate::runtime::fake::unreachable;

/// An `up` that was killed when its service was made, and all else was done.
fn killed_up(rig: &Rig) -> String {
    rig.network();
    let (mut claim, id) = rig.up(|id| rig.session(&[rig.service("a", id)]));
    claim
        .update(&mut |session| session.operation.as_mut().unwrap().owner = Some(dead()))
        .unwrap();
    std::fs::write(rig.scratch.dir("tree").join(".env.moat"), "").unwrap();
    id
}

fn recovered(rig: &Rig) -> Result<&'static str, Error> {
    rig.with(|context| recover(context, KEY))
}

#[test]
fn an_up_whose_services_all_run_is_done() {
    let rig = Rig::new();
    killed_up(&rig);
    recovered(&rig).unwrap();
    let session = rig.on_disk().unwrap();
    assert_eq!(session.status, SessionStatus::Active);
    assert!(session.operation.is_none());
    assert_eq!(rig.calls(&REMOVALS), [""; 0]);
}

#[test]
fn an_up_whose_service_does_not_run_is_rolled_back() {
    for ended in [true, false] {
        let rig = Rig::new();
        killed_up(&rig);
        match ended {
            true => rig.fake.set(&rig.handle("a"), exited(1)),
            false => rig.fake.forget(&rig.handle("a")),
        }
        recovered(&rig).unwrap();
        assert!(rig.on_disk().is_none());
        assert_eq!(rig.fake.left(), [""; 0]);
    }
}

#[test]
fn an_up_that_had_not_written_its_variables_is_rolled_back() {
    let rig = Rig::new();
    killed_up(&rig);
    std::fs::remove_file(rig.scratch.dir("tree").join(".env.moat")).unwrap();
    recovered(&rig).unwrap();
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.left(), [""; 0]);
}

/// Nobody can say whether its services run, or remove them.
// new order
#[test]
fn an_up_whose_engine_is_away_loses_nothing_of_its_journal() {
    let rig = Rig::new();
    killed_up(&rig);
    rig.fake.always("inspect", || Answer::Fails(unreachable()));
    rig.fake
        .always("find-labelled", || Answer::Fails(unreachable()));
    assert!(recovered(&rig).is_err());
    assert_eq!(names(&rig.broken()), ["a"]);
    assert_eq!(rig.fake.left().len(), 2);
}

#[test]
fn a_down_that_was_killed_is_completed() {
    let rig = Rig::new();
    rig.network();
    rig.existing(SessionStatus::Active, |_| {
        rig.session(&[rig.service("a", "earlier")])
    });
    drop(rig.down(DownOptions::default()));
    recovered(&rig).unwrap();
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn what_nobody_is_at_is_left_alone() {
    let rig = Rig::new();
    recovered(&rig).unwrap();
    rig.existing(SessionStatus::Active, |_| {
        rig.session(&[rig.service("a", "earlier")])
    });
    recovered(&rig).unwrap();
    assert_eq!(rig.on_disk().unwrap().status, SessionStatus::Active);
    assert_eq!(rig.calls(&REMOVALS), [""; 0]);
}

#[test]
fn one_operation_at_a_time_has_the_session() {
    let rig = Rig::new();
    rig.existing(SessionStatus::Active, |_| rig.session(&[]));
    let first = rig.scratch.claim_session(KEY, OpKind::Up).unwrap().unwrap();
    assert!(
        rig.scratch
            .claim_session(KEY, OpKind::Down)
            .unwrap()
            .is_none()
    );
    assert!(rig.scratch.session_is_busy(KEY).unwrap());
    drop(first);
    assert!(
        rig.scratch
            .claim_session(KEY, OpKind::Down)
            .unwrap()
            .is_some()
    );
}

/// What it made before it was killed is its own still.
#[test]
fn an_up_that_goes_on_after_a_crash_is_the_same_operation() {
    let rig = Rig::new();
    let id = killed_up(&rig);
    let (claim, again) = rig.up(|_| rig.on_disk().unwrap());
    assert_eq!(again, id);
    let operation = rig.on_disk().unwrap().operation.unwrap();
    assert_eq!(
        operation.previous_status, None,
        "it still makes the session"
    );
    assert_eq!(operation.owner, ProcessIdentity::current());
    rig.roll_back(claim, &again).unwrap();
    assert!(rig.on_disk().is_none());
}

// new order
#[test]
fn an_up_after_a_down_that_was_killed_is_another_operation_on_a_stopped_session() {
    let rig = Rig::new();
    rig.existing(SessionStatus::Active, |_| rig.session(&[]));
    let claim = rig.down(DownOptions::default());
    let id = claim.id().to_owned();
    drop(claim);
    let (_claim, other) = rig.up(|_| rig.on_disk().unwrap());
    assert_ne!(other, id);
    let operation = rig.on_disk().unwrap().operation.unwrap();
    assert_eq!(operation.previous_status, Some(SessionStatus::Stopped));
}

#[test]
fn a_record_that_somebody_else_wrote_is_not_written_over() {
    let rig = Rig::new();
    let (mut claim, _) = rig.up(|_| rig.session(&[]));
    let mut theirs = rig.on_disk().unwrap();
    theirs.incarnation = "theirs".to_owned();
    rig.scratch.write_session(&theirs);
    assert!(claim.update(&mut |session| session.slot = 9).is_err());
    let on_disk = rig.on_disk().unwrap();
    assert_eq!((on_disk.incarnation.as_str(), on_disk.slot), ("theirs", 1));
    assert!(claim.remove().is_err());
    assert!(rig.on_disk().is_some());
}

#[test]
fn a_record_that_was_removed_is_not_made_again_by_an_update() {
    let rig = Rig::new();
    let (mut claim, _) = rig.up(|_| rig.session(&[]));
    rig.scratch.remove_session(KEY);
    assert!(claim.update(&mut |session| session.slot = 9).is_err());
    assert!(rig.on_disk().is_none());
}

/// Each write is flushed to the disk.
#[test]
fn a_record_that_does_not_change_is_not_written_again() {
    use std::os::unix::fs::MetadataExt;
    let rig = Rig::new();
    let (mut claim, _) = rig.up(|_| rig.session(&[]));
    let file = || {
        std::fs::metadata(rig.scratch.root().join(format!("sessions/{KEY}.json")))
            .unwrap()
            .ino()
    };
    let before = file();
    claim
        .update(&mut |session| session.processes.clear())
        .unwrap();
    assert_eq!(file(), before);
    rig.scratch.remove_session(KEY);
    assert!(
        claim.update(&mut |_| {}).is_err(),
        "it is checked all the same"
    );
}

#[test]
fn a_claim_without_a_session_leaves_nothing() {
    let rig = Rig::new();
    let claim = rig.scratch.claim_session(KEY, OpKind::Up).unwrap().unwrap();
    drop(claim);
    assert_eq!(rig.scratch.session_files(), [""; 0]);
}
