//! Rolling back an `up`.

use super::*;
use crate::runtime::fake::{refusal, silence, unreachable};
use crate::store::{CreatedFile, CreatedFileKind};

/// A new session of an `up` that has made two services.
fn new_session(rig: &Rig) -> (Claim, String) {
    rig.network();
    rig.up(|id| rig.session(&[rig.service("a", id), rig.service("b", id)]))
}

#[test]
fn what_a_new_session_has_made_goes_and_the_session_with_it() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    rig.roll_back(claim, &id).unwrap();
    let mut removals = rig.calls(&REMOVALS);
    removals[..2].sort();
    assert_eq!(
        removals,
        [
            "remove moat-INC-a",
            "remove moat-INC-b",
            "remove-network moat-INC"
        ]
    );
    assert!(rig.on_disk().is_none());
    assert!(!rig.scratch.session_dir(KEY).exists());
}

#[test]
fn one_that_cannot_be_removed_breaks_the_session_and_costs_no_other() {
    for problem in [refusal(), unreachable(), silence()] {
        let rig = Rig::new();
        let (claim, id) = new_session(&rig);
        let call = format!("remove {}", rig.handle("a"));
        rig.fake.script(&call, [Answer::Fails(problem.clone())]);
        let error = rig.roll_back(claim, &id).unwrap_err();
        assert!(
            error.message.contains(problem.message()),
            "{}",
            error.message
        );
        let session = rig.broken();
        assert_eq!(session.error, Some(error.message.clone()));
        assert_eq!(names(&session), ["a", "b"], "the journal stays");
        assert_eq!(rig.fake.count(&format!("remove {}", rig.handle("b"))), 1);
        assert_eq!(rig.fake.count("remove-network"), 0, "a container is on it");
    }
}

#[test]
fn a_network_that_cannot_be_removed_breaks_the_session() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    rig.fake
        .script("remove-network", [Answer::Fails(refusal())]);
    assert!(rig.roll_back(claim, &id).is_err());
    rig.broken();
    assert_eq!(rig.fake.left().len(), 1);
}

#[test]
fn an_engine_that_cannot_be_asked_breaks_the_session() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    rig.fake
        .script("find-labelled", [Answer::Fails(unreachable())]);
    assert!(rig.roll_back(claim, &id).is_err());
    rig.broken();
    assert_eq!(rig.calls(&REMOVALS), [""; 0]);
}

/// What is broken is taken down when the engine is well again.
// new order
#[test]
fn what_could_not_be_rolled_back_is_taken_down_later() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    rig.fake.script(
        "remove",
        [Answer::Fails(silence()), Answer::Fails(silence())],
    );
    assert!(rig.roll_back(claim, &id).is_err());
    rig.broken();
    let claim = rig.down(DownOptions::default());
    rig.with(|context| super::super::down::finish(context, claim))
        .unwrap();
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn what_belongs_to_others_is_not_touched() {
    let rig = Rig::new();
    let home = rig.scratch.label().unwrap();
    let (claim, id) = new_session(&rig);
    let own = || ResourceOwner::Session(rig.incarnation.clone());
    let other = || ResourceOwner::Session("other".to_owned());
    // The same name with another label, the same label with another name, and another home.
    let twin = rig.handle("c");
    rig.fake.put_labelled(&twin, running(), &home, other());
    rig.fake
        .put_labelled("project-web-1", running(), &home, own());
    let foreign = rig.handle("d");
    rig.fake
        .put_labelled(&foreign, running(), "elsewhere", own());
    rig.fake
        .put_labelled("moat-other-a", running(), &home, other());
    rig.roll_back(claim, &id).unwrap();
    let mut left = rig.fake.left();
    left.sort();
    let mut expected = [&twin, "project-web-1", &foreign, "moat-other-a"];
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// What the session has made before the home got its identity is in its record.
#[test]
fn what_has_a_former_label_of_the_home_goes_with_its_session() {
    let rig = Rig::new();
    rig.network();
    let former = rig.scratch.label().unwrap();
    rig.existing(SessionStatus::Active, |_| {
        rig.session(&[rig.service("a", "earlier")])
    });
    let other = || ResourceOwner::Session("other".to_owned());
    rig.fake
        .put_labelled("moat-other-a", running(), &former, other());
    rig.scratch.replace_identity();
    let claim = rig.down(DownOptions::default());
    rig.with(|context| super::super::down::finish(context, claim))
        .unwrap();
    assert_eq!(rig.fake.left(), ["moat-other-a"]);
    assert!(rig.on_disk().is_none());
}

#[test]
fn a_session_that_was_there_before_keeps_what_it_had() {
    let rig = Rig::new();
    rig.network();
    rig.existing(SessionStatus::Active, |_| {
        rig.session(&[
            rig.service("old", "earlier"),
            rig.service("started", "earlier"),
        ])
    });
    let (claim, id) = rig.up(|id| {
        let mut session = rig.on_disk().unwrap();
        session.services.list[1].started_by = id.to_owned();
        session.services.list.push(rig.service("new", id));
        session
    });
    rig.roll_back(claim, &id).unwrap();
    let calls: Vec<String> = rig
        .calls(&REMOVALS)
        .iter()
        .map(|call| call.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(calls, ["remove moat-INC-new", "stop moat-INC-started"]);
    let session = rig.on_disk().unwrap();
    assert_eq!(names(&session), ["old", "started"]);
    assert_eq!(session.status, SessionStatus::Active);
    assert!(session.operation.is_none());
}

#[test]
fn one_that_is_made_again_is_gone_and_stays_in_the_record() {
    let rig = Rig::new();
    rig.existing(SessionStatus::Stopped, |_| {
        rig.session(&[rig.service("a", "earlier")])
    });
    let (claim, id) = rig.up(|id| {
        let mut session = rig.on_disk().unwrap();
        let service = &mut session.services.list[0];
        (service.operation, service.existed_before) = (id.to_owned(), true);
        service.stage = ResourceStage::Intent;
        session
    });
    rig.roll_back(claim, &id).unwrap();
    let session = rig.on_disk().unwrap();
    let service = &session.services.list[0];
    assert_eq!(
        (service.stage, service.ready_at),
        (ResourceStage::Made, None)
    );
    assert_eq!(session.status, SessionStatus::Stopped);
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn a_session_that_has_nothing_left_is_stopped() {
    for (before, after) in [
        (SessionStatus::Active, SessionStatus::Stopped),
        (SessionStatus::Stopped, SessionStatus::Stopped),
        (SessionStatus::Provisioning, SessionStatus::Stopped),
        (SessionStatus::Stopping, SessionStatus::Stopped),
        (SessionStatus::Broken, SessionStatus::Broken),
    ] {
        let rig = Rig::new();
        rig.existing(before, |_| rig.session(&[]));
        let (claim, id) = rig.up(|id| {
            let mut session = rig.on_disk().unwrap();
            session.services.list.push(rig.service("new", id));
            session
        });
        rig.roll_back(claim, &id).unwrap();
        assert_eq!(rig.on_disk().unwrap().status, after, "{before:?}");
        assert_eq!(rig.fake.left(), [""; 0]);
    }
}

/// Another program removed the record and made a session of its own.
#[test]
fn the_loser_removes_its_own_and_nothing_of_the_winner() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    let home = rig.scratch.label().unwrap();
    let winner = ResourceOwner::Session("winner".to_owned());
    rig.fake
        .put_labelled("moat-winner-a", running(), &home, winner);
    let mut theirs = rig.on_disk().unwrap();
    theirs.incarnation = "winner".to_owned();
    rig.scratch.write_session(&theirs);
    let error = rig.roll_back(claim, &id).unwrap_err();
    assert!(error.message.contains("session"), "{}", error.message);
    assert_eq!(rig.fake.left(), ["moat-winner-a"]);
    let session = rig.on_disk().unwrap();
    assert_eq!(session.incarnation, "winner");
    assert_eq!(session.status, theirs.status, "their record is as it was");
}

/// Its journal is gone, so nothing else names the container.
#[test]
fn the_loser_warns_of_what_it_cannot_remove() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    let mut theirs = rig.on_disk().unwrap();
    theirs.incarnation = "winner".to_owned();
    rig.scratch.write_session(&theirs);
    let call = format!("remove {}", rig.handle("a"));
    rig.fake.script(&call, [Answer::Fails(refusal())]);
    assert!(rig.roll_back(claim, &id).is_err());
    let said = rig.said.lock().unwrap().join("\n");
    assert!(said.contains(&rig.handle("a")), "{said}");
}

// new order
#[test]
fn a_record_that_was_removed_meanwhile_costs_no_removal() {
    let rig = Rig::new();
    let (claim, id) = new_session(&rig);
    rig.scratch.remove_session(KEY);
    assert!(rig.roll_back(claim, &id).is_err());
    assert_eq!(rig.fake.left(), [""; 0]);
    assert!(rig.on_disk().is_none(), "nobody makes it again");
}

/// The engine goes on with what a killed command has asked for.
#[test]
fn a_container_that_comes_late_is_found() {
    let rig = Rig::new();
    let (mut claim, id) = rig.up(|id| rig.session(&[rig.service("a", id)]));
    claim
        .update(&mut |session| {
            session.operation.as_mut().unwrap().owner = Some(dead());
            session.services.list[0].stage = ResourceStage::Intent;
        })
        .unwrap();
    let handle = rig.handle("a");
    rig.fake.forget(&handle);
    let (home, own) = (
        rig.scratch.label().unwrap(),
        ResourceOwner::Session(rig.incarnation.clone()),
    );
    rig.fake.on("find-labelled", |_| {});
    rig.fake.on("find-labelled", move |fake| {
        fake.put_labelled(&handle, exited(0), &home, own);
    });
    rig.roll_back(claim, &id).unwrap();
    assert_eq!(rig.fake.left(), [""; 0]);
    assert!(rig.on_disk().is_none());
}

/// Our own request has its answer by now.
#[test]
fn nobody_waits_for_what_this_process_has_asked_for_itself() {
    let rig = Rig::new();
    let (mut claim, id) = rig.up(|id| rig.session(&[rig.service("a", id)]));
    let intent = ResourceStage::Intent;
    claim
        .update(&mut |session| session.services.list[0].stage = intent)
        .unwrap();
    rig.roll_back(claim, &id).unwrap();
    assert_eq!(rig.fake.count("find-labelled"), 1);
}

// new order
#[test]
fn an_engine_that_goes_away_while_late_ones_are_waited_for_breaks_the_session() {
    let rig = Rig::new();
    let (mut claim, id) = rig.up(|id| rig.session(&[rig.service("a", id)]));
    claim
        .update(&mut |session| {
            session.operation.as_mut().unwrap().owner = Some(dead());
            session.services.list[0].stage = ResourceStage::Intent;
        })
        .unwrap();
    rig.fake.script(
        "find-labelled",
        [Answer::Truth, Answer::Fails(unreachable())],
    );
    assert!(rig.roll_back(claim, &id).is_err());
    assert_eq!(names(&rig.broken()), ["a"], "it may still come");
}

#[test]
fn files_go_after_the_services_and_only_if_they_are_as_they_were_made() {
    let rig = Rig::new();
    let main = rig.scratch.dir("main");
    let tree = rig.scratch.dir("tree");
    for (name, there, original) in [("same", "x", "x"), ("changed", "y", "x")] {
        std::fs::write(tree.join(name), there).unwrap();
        std::fs::write(main.join(name), original).unwrap();
    }
    let file = |name: &str, id: &str| CreatedFile {
        path: PathBuf::from(name),
        kind: CreatedFileKind::Copy,
        source: Some(main.join(name)),
        operation: id.to_owned(),
    };
    let (claim, id) = rig.up(|id| {
        let mut session = rig.session(&[rig.service("a", id)]);
        session.files = vec![file("same", id), file("changed", id)];
        session
    });
    let same = tree.join("same");
    rig.fake.on("remove", move |fake| {
        fake.note(&format!("file {}", same.exists()))
    });
    rig.roll_back(claim, &id).unwrap();
    assert_eq!(rig.fake.count("file true"), 1);
    assert!(!tree.join("same").exists() && tree.join("changed").exists());
}

// new order
#[test]
fn files_stay_where_the_services_could_not_be_removed() {
    let rig = Rig::new();
    let tree = rig.scratch.dir("tree");
    std::fs::write(tree.join(".env.moat"), "").unwrap();
    let (claim, id) = rig.up(|id| {
        let mut session = rig.session(&[rig.service("a", id)]);
        session.files = vec![CreatedFile {
            path: PathBuf::from(".env.moat"),
            kind: CreatedFileKind::Variables,
            source: None,
            operation: id.to_owned(),
        }];
        session
    });
    rig.fake.script("remove", [Answer::Fails(refusal())]);
    assert!(rig.roll_back(claim, &id).is_err());
    assert!(tree.join(".env.moat").exists());
    assert_eq!(rig.broken().files.len(), 1);
}

/// They may use the services.
#[cfg(target_os = "linux")]
#[test]
fn processes_end_before_the_services_go() {
    let rig = Rig::new();
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .env(
            crate::store::PROCESS_MARK_VARIABLE,
            format!("{}/web", rig.incarnation),
        )
        .spawn()
        .unwrap();
    let (claim, id) = new_session(&rig);
    let process = ProcessIdentity::of_pid(child.id()).unwrap();
    rig.fake.on("find-labelled", move |fake| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid));
        let is_over = stat.is_ok_and(|stat| stat.contains(") Z"));
        fake.note(&format!("over {is_over}"));
    });
    rig.roll_back(claim, &id).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success());
    assert_eq!(rig.fake.count("over true"), 1);
}
