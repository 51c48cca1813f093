//! Removing what a run made: in reverse order, once, whatever the engine answers.

use super::super::cleanup::clean_up;
use super::*;
use crate::runtime::fake::Answer::{DoneBut, Fails};
use crate::runtime::fake::{exited, not_found, refusal, silence, unreachable};
use crate::store::WorkspaceMode;

/// A run that has ended, with a network and two services beside its own container.
fn ended() -> Rig {
    ended_with(|_| {})
}

fn ended_with(change: impl Fn(&mut RunRecord)) -> Rig {
    let rig = Rig::with(|record| {
        let id = record.id.to_string();
        record.resources = vec![
            network(&id, ResourceStage::Made),
            container("a", ResourceStage::Made),
            container("b", ResourceStage::Made),
            container(&id, ResourceStage::Made),
        ];
        record.state = RunState::Failed;
        record.reason = Some(EndReason::Exited);
        record.exit_code = Some(3);
        record.started_at = Some(record.created_at);
        change(record);
    });
    for handle in ["a", "b", rig.id.as_str()] {
        rig.fake.put(handle, exited(3));
    }
    let whose = crate::runtime::ResourceOwner::Run(rig.id.clone());
    rig.fake.put_network(&rig.id, "", whose);
    rig
}

const REMOVALS: [&str; 2] = ["remove", "remove-network"];

#[test]
fn services_go_before_the_run_and_the_network_last() {
    let rig = ended();
    clean_up(&rig.supervisor);
    let removals = rig.calls(&REMOVALS);
    let (services, own) = removals.split_at(2);
    let services: std::collections::BTreeSet<String> = services.iter().cloned().collect();
    assert_eq!(services, fake::set(&["remove a", "remove b"]));
    assert_eq!(own, ["remove RUN", "remove-network RUN"]);
    let record = rig.on_disk();
    assert!(record.is_clean());
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
}

#[test]
fn whoever_comes_twice_or_together_it_is_done_once() {
    let rig = ended();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| clean_up(&rig.supervisor));
        }
    });
    clean_up(&rig.supervisor);
    assert_eq!(rig.calls(&REMOVALS).len(), 4);
}

/// Whoever does not come first waits until it is done.
#[test]
fn who_comes_second_finds_it_done() {
    let rig = ended();
    let removes = rig.fake.hold("remove a");
    let supervisor = Arc::clone(&rig.supervisor);
    let first = in_background(move || clean_up(&supervisor));
    removes.arrived();
    let supervisor = Arc::clone(&rig.supervisor);
    let second = in_background(move || clean_up(&supervisor));
    assert!(second.recv_timeout(Duration::from_millis(20)).is_err());
    removes.release();
    assert!(first.recv_timeout(NEVER).is_ok());
    assert!(second.recv_timeout(NEVER).is_ok());
    assert!(rig.on_disk().is_clean());
}

#[test]
fn one_that_cannot_be_removed_costs_no_other() {
    for refused in ["remove a", "remove b", "remove-network"] {
        let rig = ended();
        rig.fake.script(refused, [Fails(refusal())]);
        clean_up(&rig.supervisor);
        assert_eq!(rig.calls(&REMOVALS).len(), 4, "{refused}");
        assert_eq!(rig.on_disk().cleaned_at, None);
        assert_eq!(rig.fake.left().len(), 1);
        assert!(rig.notices()[0].contains("it will not"));
    }
}

/// The engine would refuse to remove it; but it may be that somebody else took the container off.
// new order
#[test]
fn a_network_is_tried_although_the_container_on_it_stays() {
    let rig = ended();
    let own = rig.call("remove");
    rig.fake.script(&own, [Fails(refusal())]);
    clean_up(&rig.supervisor);
    assert_eq!(rig.calls(&REMOVALS).len(), 4);
    assert_eq!(rig.fake.left(), [rig.id.as_str()]);
    assert_eq!(rig.on_disk().cleaned_at, None);
}

#[test]
fn what_may_pass_is_tried_again_until_it_has() {
    for problem in [silence(), unreachable()] {
        let rig = ended();
        let fails = || Fails(problem.clone());
        rig.fake
            .script("remove", [fails(), fails(), fails(), fails()]);
        rig.fake.script("remove-network", [fails(), fails()]);
        clean_up(&rig.supervisor);
        assert!(rig.on_disk().is_clean(), "{problem:?}");
        assert_eq!(rig.fake.left(), [""; 0]);
        assert_eq!(rig.notices(), [""; 0], "it has passed");
        assert!(rig.diary().contains("cannot remove"));
    }
}

#[test]
fn a_removal_whose_answer_is_lost_is_made_again_and_fine() {
    let rig = ended();
    rig.fake
        .script("remove", [DoneBut(silence()), DoneBut(silence())]);
    rig.fake.script("remove-network", [DoneBut(silence())]);
    clean_up(&rig.supervisor);
    assert!(rig.on_disk().is_clean());
}

#[test]
fn an_engine_that_stays_away_leaves_the_run_unclean_and_the_next_one_cleans_it() {
    let rig = ended_with(|record| record.resources.drain(..3).for_each(drop));
    rig.fake.always("remove", || Fails(unreachable()));
    clean_up(&rig.supervisor);
    assert_eq!(rig.on_disk().cleaned_at, None);
    assert_eq!(rig.notices().len(), 1);
    rig.fake.always("remove", || Answer::Truth);
    rig.supervisor.run().release();
    let id = rig.on_disk().id;
    let run = OwnedRun::adopt(&rig.scratch, &id).unwrap().unwrap();
    super::super::adopt::go_on(run, rig.fake.driver(), |_| {}).unwrap();
    assert!(rig.on_disk().is_clean());
    assert!(!rig.fake.left().contains(&rig.id));
}

/// Drivers say that it is fine; and where one says that there is no such thing, it is gone as well.
#[test]
fn what_is_not_there_counts_as_removed() {
    let rig = ended();
    rig.fake.script(
        "remove",
        [Fails(not_found()), Fails(not_found()), Fails(not_found())],
    );
    rig.fake.script("remove-network", [Fails(not_found())]);
    clean_up(&rig.supervisor);
    assert!(rig.on_disk().is_clean(), "{:?}", rig.notices());
}

#[test]
fn what_was_to_be_made_and_never_asked_for_is_removed_all_the_same() {
    let rig = ended_with(|record| {
        for resource in &mut record.resources {
            resource.stage = ResourceStage::Intent;
        }
    });
    clean_up(&rig.supervisor);
    assert_eq!(rig.calls(&REMOVALS).len(), 4);
    assert!(rig.on_disk().is_clean());
}

#[test]
fn what_was_removed_before_is_not_removed_again() {
    let rig = ended_with(|record| {
        record.resources[1].stage = ResourceStage::Removed;
        record.resources[0].stage = ResourceStage::Removed;
    });
    clean_up(&rig.supervisor);
    assert_eq!(rig.calls(&REMOVALS), ["remove b", "remove RUN"]);
    assert!(rig.on_disk().is_clean());
}

/// The answer to its making was lost, and it is there.
#[test]
fn what_came_late_is_removed() {
    let rig = ended_with(|record| record.resources[1].stage = ResourceStage::Intent);
    rig.dir.begin_engine_request(ResourceKind::Container, "a");
    clean_up(&rig.supervisor);
    assert!(rig.on_disk().is_clean());
    assert_eq!(rig.fake.left(), [""; 0]);
    assert!(!rig.dir.has_engine_request(ResourceKind::Container, "a"));
}

#[test]
fn what_may_still_come_keeps_the_run_unclean() {
    let rig = ended_with(|record| {
        record.resources[0].stage = ResourceStage::Intent;
        record.resources[1].stage = ResourceStage::Intent;
    });
    rig.dir.begin_engine_request(ResourceKind::Container, "a");
    rig.fake.vanish("a", crate::runtime::AttachEnd::Interrupted);
    clean_up(&rig.supervisor);
    assert_eq!(rig.on_disk().cleaned_at, None);
    assert_eq!(rig.fake.count("remove a"), 0);
    assert_eq!(rig.fake.left(), [""; 0], "all else is gone");
    assert!(
        rig.dir.has_engine_request(ResourceKind::Container, "a"),
        "the next one looks"
    );
}

/// Of another name, as the network of the same handle is there.
// new order
#[test]
fn a_container_that_may_still_come_is_told_from_a_network_of_its_name() {
    let rig = ended_with(|record| record.resources[3].stage = ResourceStage::Intent);
    rig.dir.begin_engine_request(ResourceKind::Network, &rig.id);
    rig.fake
        .vanish(&rig.id, crate::runtime::AttachEnd::Interrupted);
    clean_up(&rig.supervisor);
    assert!(
        rig.on_disk().is_clean(),
        "nobody has asked for the container"
    );
}

/// An engine that cannot say whether it is there is no reason to leave it.
// new order
#[test]
fn what_may_have_come_is_removed_where_the_engine_cannot_say() {
    let rig = ended_with(|record| record.resources[1].stage = ResourceStage::Intent);
    rig.dir.begin_engine_request(ResourceKind::Container, "a");
    rig.fake.script("inspect", [Fails(silence())]);
    clean_up(&rig.supervisor);
    assert_eq!(rig.fake.count("remove a"), 1);
    assert!(rig.on_disk().is_clean());
}

#[test]
fn what_a_newer_version_made_is_not_touched() {
    let rig = ended_with(|record| record.resources[1].kind = ResourceKind::Unknown);
    clean_up(&rig.supervisor);
    assert_eq!(rig.fake.count("remove a"), 0);
    assert_eq!(rig.on_disk().cleaned_at, None);
}

/// It is gone from the engine, and the record says nothing of that.
// new order
#[test]
fn a_removal_that_cannot_be_recorded_is_made_again_by_the_next_one() {
    let rig = ended();
    let dir = rig.dir.clone();
    rig.fake.on("remove-network", move |_| dir.break_record());
    clean_up(&rig.supervisor);
    rig.dir.mend_record();
    assert_eq!(rig.on_disk().cleaned_at, None);
    rig.supervisor.run().release();
    let id = rig.on_disk().id;
    let run = OwnedRun::adopt(&rig.scratch, &id).unwrap().unwrap();
    super::super::adopt::go_on(run, rig.fake.driver(), |_| {}).unwrap();
    assert!(rig.on_disk().is_clean());
    assert_eq!(rig.calls(&REMOVALS).len(), 8);
}

fn copied() -> Rig {
    ended_with(|record| record.settings.mounts.workspace_mode = WorkspaceMode::Volume)
}

#[test]
fn a_copy_of_the_workspace_is_saved_before_its_container_goes() {
    let rig = copied();
    clean_up(&rig.supervisor);
    let own = rig.calls(&["save-workspace", "remove RUN", "remove-network"]);
    assert_eq!(own[0], "save-workspace RUN");
    assert!(rig.dir.workspace().exists());
    assert!(rig.on_disk().is_clean());
}

#[test]
fn nothing_of_the_run_goes_before_its_workspace_is_saved() {
    let rig = copied();
    rig.fake.script("save-workspace", [Fails(refusal())]);
    clean_up(&rig.supervisor);
    assert_eq!(
        rig.fake.left().len(),
        2,
        "its container and its network stay"
    );
    assert_eq!(rig.on_disk().cleaned_at, None);
    assert!(rig.notices()[0].contains("the workspace could not be saved"));
    assert!(!rig.dir.workspace().exists());
}

// new order
#[test]
fn saving_is_tried_again_while_the_engine_is_away() {
    let rig = copied();
    rig.fake
        .script("save-workspace", [Fails(unreachable()), Fails(silence())]);
    clean_up(&rig.supervisor);
    assert!(rig.dir.workspace().exists() && rig.on_disk().is_clean());
    assert_eq!(rig.fake.count("save-workspace"), 3);
}

#[test]
fn a_copy_that_nobody_will_ever_have_keeps_nothing_from_being_removed() {
    let rig = copied();
    let own = rig.id.clone();
    rig.fake
        .vanish(&own, crate::runtime::AttachEnd::Interrupted);
    clean_up(&rig.supervisor);
    let record = rig.on_disk();
    assert!(record.is_clean());
    let error = record.error.unwrap();
    assert!(
        error.contains("the copy of the workspace is lost"),
        "{error}"
    );
}

// new order
#[test]
fn a_copy_that_was_saved_by_the_predecessor_is_not_written_over() {
    let rig = copied();
    std::fs::write(rig.dir.workspace(), "saved").unwrap();
    clean_up(&rig.supervisor);
    assert_eq!(rig.fake.count("save-workspace"), 0);
    assert_eq!(
        std::fs::read_to_string(rig.dir.workspace()).unwrap(),
        "saved"
    );
    assert!(rig.on_disk().is_clean());
}

/// While that goes on, the services go.
// new order
#[test]
fn services_do_not_wait_for_the_workspace() {
    let rig = copied();
    let saves = rig.fake.hold("save-workspace");
    let supervisor = Arc::clone(&rig.supervisor);
    let done = in_background(move || clean_up(&supervisor));
    saves.arrived();
    rig.fake.wait_calls("remove a", 1);
    rig.fake.wait_calls("remove b", 1);
    assert_eq!(rig.calls(&["remove RUN"]), [""; 0]);
    saves.release();
    assert!(done.recv_timeout(NEVER).is_ok());
    assert!(rig.on_disk().is_clean());
}
