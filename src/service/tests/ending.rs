//! Services that end while their run goes on, those that are started again, and the end of all with the run.

use super::*;
use crate::runtime::fake::Answer::{Fails, Ignored};
use crate::runtime::fake::{exited, not_found, refusal, running, silence, unreachable};

#[test]
fn one_that_ends_while_the_run_goes_on_is_recorded() {
    let rig = Rig::new();
    let services = rig.up(&plan("db"));
    rig.fake.exit(DB, 5);
    let service = rig.in_state(ServiceState::Failed);
    assert_eq!((service.exit_code, service.restarts), (Some(5), 0));
    assert_eq!(service.error.as_deref(), Some("ended with exit code 5"));
    rig.said("the run goes on without it");
    services.end();
    assert_eq!(rig.record("db").state, ServiceState::Failed, "that stays");
}

#[test]
fn one_that_somebody_removed_has_ended() {
    let rig = Rig::new();
    let services = rig.up(&plan("db"));
    rig.fake.vanish(DB, AttachEnd::Interrupted);
    let service = rig.in_state(ServiceState::Failed);
    assert_eq!(service.exit_code, None);
    let error = service.error.unwrap();
    assert!(
        error.contains("another program removed its container"),
        "{error}"
    );
    services.end();
}

#[test]
fn one_that_is_to_be_started_again_is() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    rig.fake.exit(DB, 5);
    rig.recorded("db", |db| {
        db.restarts == 1 && db.state == ServiceState::Ready
    });
    let service = rig.record("db");
    assert_eq!((service.exit_code, service.error), (None, None));
    assert_eq!(rig.fake.count("create-service"), 1);
    assert_eq!(rig.fake.count("start-service"), 2);
    services.end();
}

/// Every time it is started.
#[test]
fn one_that_ends_again_and_again_is_started_again_and_again() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    for round in 1..=3 {
        rig.recorded("db", |db| {
            db.restarts == round - 1 && db.state == ServiceState::Ready
        });
        rig.fake.exit(DB, 1);
        rig.recorded("db", |db| db.restarts == round);
    }
    services.end();
}

/// What the engine says of the end of before is not the end of the next start.
// new order
#[test]
fn a_stale_answer_about_the_end_of_before_is_no_second_end() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    let fake = rig.fake.clone();
    let end = exited(1);
    let stale = end.clone();
    rig.fake.on("start-service", move |_| {
        let stale = || Answer::Sees(stale.clone());
        fake.script("inspect", [stale(), stale(), stale()]);
    });
    rig.fake.set(DB, end);
    rig.fake.detach(DB, AttachEnd::Code(1));
    rig.recorded("db", |db| {
        db.restarts == 1 && db.state == ServiceState::Ready
    });
    // The stale answers are used up, and it still counts as started once.
    rig.fake
        .wait_calls("inspect", rig.fake.count("inspect") + 1);
    assert_eq!(rig.record("db").restarts, 1);
    services.end();
}

#[test]
fn a_start_that_fails_is_tried_again_and_each_counts() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    rig.fake
        .script("start-service", [Fails(refusal()), Fails(unreachable())]);
    rig.fake.exit(DB, 1);
    let service = rig.recorded("db", |db| {
        db.restarts == 3 && db.state == ServiceState::Ready
    });
    assert_eq!(service.error, None);
    rig.said("ended: it will not; restarting it");
    rig.said("ended: the engine is away; restarting it");
    services.end();
}

#[test]
fn one_that_has_been_ready_for_a_good_while_begins_with_the_shortest_pause() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    // Five ends in a row make the next pause but one longer than a second, even in a unit test.
    for round in 1..=5 {
        rig.recorded("db", |db| {
            db.restarts == round - 1 && db.state == ServiceState::Ready
        });
        rig.fake.exit(DB, 1);
        rig.recorded("db", |db| db.restarts == round);
    }
    rig.in_state(ServiceState::Ready);
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(120);
    let owner: &dyn ServiceOwner = rig.owner.as_ref();
    owner.update("db", &mut |db| db.ready_at = Some(Timestamp(long_ago)));
    rig.fake.exit(DB, 1);
    rig.recorded("db", |db| {
        db.restarts == 6 && db.state == ServiceState::Ready
    });
    let began = Instant::now();
    rig.fake.exit(DB, 1);
    rig.recorded("db", |db| db.restarts == 7);
    // Without that it would be 1.28 s by now.
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    services.end();
}

#[test]
fn the_end_of_the_run_kills_it_and_keeps_its_last_words() {
    let rig = Rig::new();
    let services = rig.up(&plan("db"));
    let fake = rig.fake.clone();
    rig.fake
        .on("kill", move |_| fake.print(DB, Stream::Stdout, "bye\n"));
    services.end();
    let service = rig.record("db");
    assert_eq!(service.state, ServiceState::Stopped);
    assert!(service.ended_at.is_some() && service.log.complete);
    let log = crate::store::scratch::logged(&rig.owner.dir.service_log("db"), Stream::Stdout);
    assert_eq!(log, "bye\n");
}

/// It had died, and nobody had looked.
#[test]
fn one_that_ended_just_before_the_run_has_failed() {
    let rig = Rig::new();
    let services = rig.up(&plan("db"));
    let fake = rig.fake.clone();
    rig.fake.script("kill", [Ignored]);
    rig.fake.on("kill", move |_| fake.exit(DB, 6));
    services.end();
    let service = rig.record("db");
    assert_eq!(
        (service.state, service.exit_code),
        (ServiceState::Failed, Some(6))
    );
}

#[test]
fn one_that_is_waiting_for_its_next_start_is_not_started_any_more() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    for round in 1..=4 {
        rig.recorded("db", |db| {
            db.restarts == round - 1 && db.state == ServiceState::Ready
        });
        rig.fake.exit(DB, 1);
        rig.recorded("db", |db| {
            db.state == ServiceState::Failed || db.restarts == round
        });
        if round < 4 {
            rig.recorded("db", |db| db.restarts == round);
        }
    }
    // It waits 160 ms now.
    let starts = rig.fake.count("start-service");
    services.end();
    std::thread::sleep(Duration::from_millis(250));
    assert!(rig.fake.count("start-service") <= starts + 1);
    assert_ne!(rig.record("db").state, ServiceState::Ready);
}

/// The start is under way when the run ends.
// new order
#[test]
fn one_that_is_being_started_again_when_the_run_ends_does_not_become_ready() {
    let rig = Rig::new();
    let services = rig.up(&restarting());
    let starts = rig.fake.hold("start-service");
    rig.fake.exit(DB, 1);
    starts.arrived();
    services.end();
    starts.release();
    rig.fake.wait_calls("attached", 2);
    rig.fake.exit(DB, 0);
    assert_eq!(rig.record("db").state, ServiceState::Stopped);
}

// new order
#[test]
fn an_engine_that_does_not_kill_it_holds_nobody_up() {
    for problem in [refusal(), unreachable(), silence(), not_found()] {
        let rig = Rig::new();
        let services = rig.up(&plan("db"));
        rig.fake.script("kill", [Fails(problem.clone())]);
        let done = in_background({
            let services = Arc::clone(&services);
            move || services.end()
        });
        rig.said(&format!("diary db: {}", problem.message()));
        // It ends all the same, as its container is removed.
        rig.fake.exit(DB, 137);
        assert!(done.recv_timeout(NEVER).is_ok());
        assert_eq!(rig.record("db").state, ServiceState::Stopped);
    }
}

#[test]
fn the_end_of_several_is_one_wait() {
    let rig = Rig::new();
    let (services, result) = rig.bring_up(&[plan("a"), plan("b"), plan("db")]);
    result.unwrap();
    // All are asked before the first has ended.
    let holds = ["kill run-a", "kill run-b", "kill run-db"].map(|call| rig.fake.hold(call));
    let done = in_background(move || services.end());
    for hold in &holds {
        hold.arrived();
    }
    for hold in holds {
        hold.release();
    }
    assert!(done.recv_timeout(NEVER).is_ok());
    for name in ["a", "b", "db"] {
        assert_eq!(rig.record(name).state, ServiceState::Stopped);
    }
}

#[test]
fn one_that_never_came_up_is_not_killed() {
    let rig = Rig::new();
    rig.fake.script("create-service", [Fails(refusal())]);
    rig.fails(&plan("db"));
    assert_eq!(rig.fake.count("kill"), 0);
}

#[test]
fn an_adopted_service_that_is_ready_is_not_started_again() {
    let rig = Rig::new();
    rig.fake.put(DB, running());
    let services = rig.adopt(|db| db.state = ServiceState::Ready);
    rig.fake.wait_calls("attached", 1);
    services.end();
    assert_eq!(rig.fake.calls_of(&["start-service", "exec"]), [""; 0]);
    assert_eq!(rig.record("db").state, ServiceState::Stopped);
}

#[test]
fn an_adopted_service_that_was_starting_becomes_ready() {
    let rig = Rig::new();
    rig.fake.put(DB, running());
    let services = rig.adopt(|db| db.state = ServiceState::Starting);
    rig.in_state(ServiceState::Ready);
    services.end();
    assert_eq!(rig.fake.count("start-service"), 0);
}

#[test]
fn an_adopted_service_whose_start_nobody_recorded_is_looked_after() {
    let rig = Rig::new();
    rig.fake.put(DB, running());
    let services = rig.adopt(|db| (db.state, db.started_at) = (ServiceState::Created, None));
    rig.recorded("db", |db| db.started_at.is_some());
    rig.fake.exit(DB, 2);
    rig.in_state(ServiceState::Failed);
    services.end();
}

#[test]
fn an_adopted_service_that_never_started_is_not_started_now() {
    for container in [None, Some(Inspected::Created)] {
        let rig = Rig::new();
        if let Some(container) = container {
            rig.fake.put(DB, container);
        }
        let services = rig.adopt(|db| (db.state, db.started_at) = (ServiceState::Created, None));
        services.end();
        assert_eq!(rig.fake.calls_of(&["start-service", "kill"]), [""; 0]);
        assert_eq!(rig.record("db").state, ServiceState::Created);
    }
}

#[test]
fn an_adopted_service_that_died_unseen_is_recorded() {
    for restart in [false, true] {
        let rig = Rig::new();
        rig.fake.put(DB, exited(8));
        let services = rig.adopt(|db| (db.state, db.restart) = (ServiceState::Ready, restart));
        match restart {
            false => {
                assert_eq!(rig.in_state(ServiceState::Failed).exit_code, Some(8));
            }
            true => {
                rig.recorded("db", |db| {
                    db.restarts == 1 && db.state == ServiceState::Ready
                });
            }
        }
        services.end();
    }
}

#[test]
fn an_adopted_service_that_was_about_to_be_started_again_is() {
    let rig = Rig::new();
    rig.fake.put(DB, exited(1));
    let services = rig.adopt(|db| (db.state, db.restart) = (ServiceState::Failed, true));
    rig.recorded("db", |db| {
        db.restarts == 1 && db.state == ServiceState::Ready
    });
    services.end();
}

// new order
#[test]
fn an_adopted_service_that_has_ended_with_its_run_is_left_alone() {
    for state in [
        ServiceState::Stopped,
        ServiceState::Failed,
        ServiceState::Unknown,
    ] {
        let rig = Rig::new();
        rig.fake.put(DB, exited(1));
        let services = rig.adopt(|db| db.state = state);
        services.end();
        assert_eq!(
            rig.fake.calls_of(&["start-service", "kill", "inspect"]),
            [""; 0]
        );
        assert_eq!(rig.record("db").state, state);
    }
}

/// The engine is away when the adopter comes: that is no end of the service.
// new order
#[test]
fn an_adopted_service_whose_engine_is_away_has_not_ended() {
    let rig = Rig::new();
    rig.fake.put(DB, running());
    rig.fake
        .script("inspect", [Fails(unreachable()), Fails(silence())]);
    let services = rig.adopt(|db| db.state = ServiceState::Ready);
    rig.fake.wait_calls("attached", 1);
    assert_eq!(rig.record("db").state, ServiceState::Ready);
    services.end();
    assert_eq!(rig.record("db").state, ServiceState::Stopped);
}
