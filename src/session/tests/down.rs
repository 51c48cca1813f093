//! Taking a session down, from the record alone.

use super::super::down::{DownRequest, down, finish};
use super::*;
use crate::runtime::fake::{refusal, silence, unreachable};
use crate::store::{EndReason, RunSession, RunState};

fn active(rig: &Rig) {
    rig.network();
    rig.existing(SessionStatus::Active, |_| {
        rig.session(&[rig.service("a", "earlier"), rig.service("b", "earlier")])
    });
}

const KEEP: DownOptions = DownOptions {
    keep: true,
    remove_worktree: false,
    force: false,
};

const FORCE: DownOptions = DownOptions {
    keep: false,
    remove_worktree: false,
    force: true,
};

#[test]
fn all_of_it_goes() {
    let rig = Rig::new();
    active(&rig);
    let claim = rig.down(DownOptions::default());
    let left = rig.with(|context| finish(context, claim)).unwrap();
    assert!(left.kept_worktree.is_none() && left.abandoned_engines.is_empty());
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn what_is_kept_is_stopped() {
    let rig = Rig::new();
    active(&rig);
    let claim = rig.down(KEEP);
    rig.with(|context| finish(context, claim)).unwrap();
    let session = rig.on_disk().unwrap();
    assert_eq!(session.status, SessionStatus::Stopped);
    assert!(session.operation.is_none());
    assert!(
        session
            .services
            .list
            .iter()
            .all(|service| service.ready_at.is_none())
    );
    assert_eq!((rig.fake.count("stop"), rig.fake.count("remove")), (2, 0));
    assert_eq!(rig.fake.left().len(), 3);
}

#[test]
fn one_that_cannot_be_stopped_breaks_the_session_and_costs_no_other() {
    for problem in [refusal(), unreachable(), silence()] {
        let rig = Rig::new();
        active(&rig);
        let claim = rig.down(KEEP);
        let call = format!("stop {}", rig.handle("a"));
        rig.fake.script(&call, [Answer::Fails(problem)]);
        assert!(rig.with(|context| finish(context, claim)).is_err());
        let session = rig.broken();
        assert!(
            session
                .services
                .list
                .iter()
                .all(|service| service.ready_at.is_some())
        );
        assert_eq!(rig.fake.count("stop"), 2);
    }
}

#[test]
fn one_that_cannot_be_removed_breaks_the_session_and_says_what_to_do() {
    let rig = Rig::new();
    active(&rig);
    let claim = rig.down(DownOptions::default());
    rig.fake
        .script("find-labelled", [Answer::Fails(unreachable())]);
    let error = rig.with(|context| finish(context, claim)).err().unwrap();
    let hint = error.hint.clone().unwrap();
    assert!(hint.contains("moat down branch --force"), "{hint}");
    assert_eq!(names(&rig.broken()), ["a", "b"]);
}

#[test]
fn an_engine_that_is_gone_is_given_up_where_that_is_forced() {
    let rig = Rig::new();
    active(&rig);
    let claim = rig.down(FORCE);
    rig.fake
        .always("find-labelled", || Answer::Fails(unreachable()));
    rig.fake.always("probe", || Answer::Fails(unreachable()));
    let left = rig.with(|context| finish(context, claim)).unwrap();
    assert_eq!(left.abandoned_engines, [rig.engine.as_str()]);
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.left().len(), 3, "it keeps what it has");
}

/// It answers, and only does not remove it: that is no reason to leave it there.
// new order
#[test]
fn an_engine_that_answers_is_not_given_up_even_where_that_is_forced() {
    for problem in [refusal(), silence(), unreachable()] {
        let rig = Rig::new();
        active(&rig);
        let claim = rig.down(FORCE);
        rig.fake.script("remove", [Answer::Fails(problem.clone())]);
        assert!(
            rig.with(|context| finish(context, claim)).is_err(),
            "{problem:?}"
        );
        rig.broken();
        assert_eq!(rig.fake.count("probe"), 1);
    }
}

// new order
#[test]
fn what_is_kept_is_not_given_up_by_force() {
    let rig = Rig::new();
    active(&rig);
    let claim = rig.down(DownOptions {
        force: true,
        ..KEEP
    });
    rig.fake
        .always("find-labelled", || Answer::Fails(unreachable()));
    rig.fake.always("probe", || Answer::Fails(unreachable()));
    assert!(rig.with(|context| finish(context, claim)).is_err());
    rig.broken();
}

/// A `down` that was killed at any step goes on from the journal.
#[test]
fn a_down_that_was_killed_is_completed() {
    type Step = fn(&Rig);
    let steps: [(&str, Step); 4] = [
        ("before anything", |_| {}),
        ("after a container", |rig| rig.fake.forget(&rig.handle("a"))),
        ("after the containers", |rig| {
            rig.fake.forget(&rig.handle("a"));
            rig.fake.forget(&rig.handle("b"));
        }),
        ("after the network", |rig| {
            for handle in [rig.handle("a"), rig.handle("b")] {
                rig.fake.forget(&handle);
            }
            use crate::runtime::Networks;
            let network = format!("moat-{}", rig.incarnation);
            rig.fake.remove_network(&network).unwrap();
        }),
    ];
    for (when, step) in steps {
        let rig = Rig::new();
        active(&rig);
        // Its lock goes with the process.
        drop(rig.down(DownOptions::default()));
        step(&rig);
        let claim = rig.down(DownOptions::default());
        rig.with(|context| finish(context, claim)).unwrap();
        assert!(rig.on_disk().is_none(), "{when}");
        assert_eq!(rig.fake.left(), [""; 0], "{when}");
    }
}

/// The journal says that there are none any more.
// new order
#[test]
fn a_down_that_was_killed_after_the_services_asks_the_engine_for_nothing() {
    let rig = Rig::new();
    active(&rig);
    let mut claim = rig.down(DownOptions::default());
    claim
        .update(&mut |session| session.services = Default::default())
        .unwrap();
    drop(claim);
    let claim = rig.down(DownOptions::default());
    rig.with(|context| finish(context, claim)).unwrap();
    assert!(rig.on_disk().is_none());
    assert_eq!(rig.fake.calls(), [""; 0]);
}

fn ended_run(rig: &Rig) -> String {
    let place = RunSession {
        key: KEY.to_owned(),
        incarnation: rig.incarnation.clone(),
        network: Some(format!("moat-{}", rig.incarnation)),
        compose_networks: Vec::new(),
        services: Vec::new(),
    };
    let run = rig.scratch.reserve(|record| {
        record.settings.identity.runtime.clone_from(&rig.engine);
        record.settings.identity.session = Some(place.clone());
        record.settings.limits.keep = true;
        record.state = RunState::Stopped;
        record.reason = Some(EndReason::Exited);
        record.cleaned_at = Some(record.created_at);
    });
    run.record().id.to_string()
}

/// podman removes no network with a container on it.
#[test]
fn a_kept_container_of_a_run_is_taken_off_the_network_before_that_goes() {
    let rig = Rig::new();
    active(&rig);
    let id = ended_run(&rig);
    let claim = rig.down(DownOptions::default());
    rig.with(|context| finish(context, claim)).unwrap();
    let calls = rig.calls(&["disconnect", "remove-network"]);
    assert_eq!(
        calls,
        [
            format!("disconnect moat-INC {id}"),
            "remove-network moat-INC".to_owned()
        ]
    );
}

// new order
#[test]
fn a_kept_container_that_cannot_be_taken_off_keeps_the_session_unless_that_is_forced() {
    for (options, gone) in [(DownOptions::default(), false), (FORCE, true)] {
        let rig = Rig::new();
        active(&rig);
        ended_run(&rig);
        let claim = rig.down(options);
        rig.fake.script("disconnect", [Answer::Fails(refusal())]);
        let done = rig.with(|context| finish(context, claim));
        assert_eq!(done.is_ok(), gone);
        assert_eq!(rig.on_disk().is_none(), gone);
        if !gone {
            assert_eq!(names(&rig.broken()), ["a", "b"]);
            assert_eq!(rig.fake.count("remove"), 0, "runs may use the services");
        }
    }
}

#[test]
fn a_hook_that_fails_holds_nothing_up() {
    let rig = Rig::new();
    rig.network();
    rig.existing(SessionStatus::Active, |_| {
        let mut session = rig.session(&[rig.service("a", "earlier")]);
        session.hooks.post_down = Some("exit 3".to_owned());
        session
    });
    let claim = rig.down(DownOptions::default());
    rig.with(|context| finish(context, claim)).unwrap();
    assert!(rig.on_disk().is_none());
    assert!(!rig.said.lock().unwrap().is_empty());
}

#[test]
fn a_session_that_is_not_there_cannot_be_taken_down() {
    let rig = Rig::new();
    let error = rig.with(|context| down(context, KEY, DownRequest::default()));
    let error = error.err().unwrap();
    assert_eq!(error.message, "there is no such session");
}

#[test]
fn a_down_begins_with_the_record_and_ends_without_it() {
    let rig = Rig::new();
    active(&rig);
    let scratch = rig.scratch.clone();
    rig.fake.on("find-labelled", move |fake| {
        let session = scratch.session(KEY).unwrap().unwrap();
        fake.note(&format!("status {:?}", session.status));
    });
    rig.with(|context| down(context, KEY, DownRequest::default()))
        .unwrap();
    assert_eq!(rig.fake.count("status Stopping"), 1);
    assert!(rig.on_disk().is_none());
}
