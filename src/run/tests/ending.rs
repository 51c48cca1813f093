//! Requests to end a run, and how they meet its own end and each other.

use super::*;
use crate::runtime::AttachEnd;
use crate::runtime::fake::Answer::{DoneBut, Fails, Ignored, Sees};
use crate::runtime::fake::{not_found, refusal, running, silence, unreachable};
use crate::store::EndRequest;

/// A run that is watched, and has been seen to run.
fn watched() -> (Rig, Receiver<()>) {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    (rig, done)
}

#[test]
fn a_stop_is_recorded_before_the_engine_is_asked() {
    let (rig, done) = watched();
    let hold = rig.fake.hold("stop");
    rig.end(EndReason::UserStop);
    hold.arrived();
    let record = rig.on_disk();
    assert_eq!(
        (record.state, record.reason),
        (RunState::Stopping, Some(EndReason::UserStop))
    );
    hold.release();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
}

#[test]
fn each_request_has_its_end() {
    for (reason, expected) in [
        (
            EndReason::UserStop,
            (RunState::Stopped, EndReason::UserStop, Some(143)),
        ),
        (
            EndReason::Killed,
            (RunState::Stopped, EndReason::Killed, Some(137)),
        ),
        (
            EndReason::Timeout,
            (RunState::Failed, EndReason::Timeout, Some(143)),
        ),
    ] {
        let (rig, done) = watched();
        rig.end(reason);
        let record = rig.over(&done);
        assert_eq!(ending(&record), expected);
        assert!(record.is_clean());
    }
}

#[test]
fn a_time_that_is_up_ends_the_run() {
    let rig = Rig::started();
    let done = rig.oversee_until(Some(Instant::now()));
    let record = rig.over(&done);
    assert_eq!(
        (record.state, record.reason),
        (RunState::Failed, Some(EndReason::Timeout))
    );
    assert_eq!(record.exit_status(), 124);
}

#[test]
fn a_workload_that_had_ended_before_the_request_ended_by_itself() {
    for reason in [EndReason::UserStop, EndReason::Killed, EndReason::Timeout] {
        let (rig, done) = watched();
        let hold = rig.held_look();
        rig.fake.set(&rig.id, long_ago(7));
        rig.end(reason);
        rig.fake.detach(&rig.id, AttachEnd::Code(7));
        hold.release();
        let record = rig.over(&done);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::Exited, Some(7))
        );
    }
}

/// The waiter has its answer, and nobody has read it yet.
// new order
#[test]
fn a_stop_that_arrives_while_the_waiter_looks_counts() {
    let (rig, done) = watched();
    let looks = rig.held_look();
    rig.end(EndReason::UserStop);
    rig.fake.wait_calls("stop", 1);
    looks.release();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
}

/// The verdict is known, and the record is not written yet.
// new order
#[test]
fn a_stop_between_the_verdict_and_the_record_changes_nothing() {
    let rig = Rig::started_with(|record| record.pre_run = true);
    let verdict = rig.fake.hold("pre-run-failed");
    let done = rig.oversee();
    rig.seen_to_run();
    rig.fake.exit(&rig.id, 7);
    verdict.arrived();
    rig.end(EndReason::UserStop);
    // It has been written down that it is stopping.
    let deadline = Instant::now() + NEVER;
    while rig.on_disk().state != RunState::Stopping {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    verdict.release();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(7))
    );
}

// new order
#[test]
fn a_stop_while_what_is_left_is_removed_changes_nothing() {
    for reason in [EndReason::UserStop, EndReason::Killed, EndReason::Timeout] {
        let (rig, done) = watched();
        let removes = rig.fake.hold("remove");
        rig.fake.exit(&rig.id, 7);
        removes.arrived();
        rig.end(reason);
        removes.release();
        let record = rig.over(&done);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::Exited, Some(7))
        );
        assert!(record.is_clean());
        assert_eq!(rig.calls(&["stop", "kill"]), [""; 0]);
    }
}

#[test]
fn the_first_reason_counts_but_for_a_kill() {
    use EndReason::{Killed, Timeout, UserStop};
    for (first, second, expected) in [
        (UserStop, Timeout, UserStop),
        (Timeout, UserStop, Timeout),
        (UserStop, UserStop, UserStop),
        (UserStop, Killed, Killed),
        (Timeout, Killed, Killed),
        (Killed, UserStop, Killed),
        (Killed, Timeout, Killed),
    ] {
        let (rig, done) = watched();
        let verb = if first == Killed { "kill" } else { "stop" };
        let hold = rig.fake.hold(verb);
        rig.end(first);
        hold.arrived();
        rig.end(second);
        hold.release();
        let record = rig.over(&done);
        assert_eq!(record.reason, Some(expected), "{first:?}, {second:?}");
    }
}

#[test]
fn a_kill_does_not_wait_for_a_stop_that_hangs() {
    let (rig, done) = watched();
    let hangs = rig.fake.hold("stop");
    rig.end(EndReason::UserStop);
    hangs.arrived();
    rig.end(EndReason::Killed);
    // The waiter sees the end while the stop still hangs.
    rig.fake.wait_calls("kill", 1);
    assert!(rig.supervisor.exit.wait(Some(Instant::now() + NEVER)));
    hangs.release();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Killed, Some(137))
    );
}

#[test]
fn a_second_stop_does_not_cut_the_time_of_the_first_short() {
    let (rig, done) = watched();
    let hangs = rig.fake.hold("stop");
    rig.end(EndReason::UserStop);
    hangs.arrived();
    for _ in 0..3 {
        rig.end(EndReason::UserStop);
    }
    hangs.release();
    rig.over(&done);
    assert_eq!(rig.fake.count("stop"), 1);
}

#[test]
fn a_second_stop_that_gives_less_time_is_begun_at_once() {
    let (rig, done) = watched();
    let hangs = rig.fake.hold("stop");
    rig.dir.write_end_request(EndRequest::Stop(10));
    rig.end(EndReason::UserStop);
    hangs.arrived();
    rig.dir.write_end_request(EndRequest::Stop(1));
    rig.end(EndReason::UserStop);
    rig.fake.wait_calls("stop", 2);
    hangs.release();
    rig.over(&done);
    assert_eq!(rig.calls(&["stop"]), ["stop RUN 10", "stop RUN 1"]);
}

// new order
#[test]
fn a_second_stop_that_gives_more_time_changes_nothing() {
    let (rig, done) = watched();
    let hangs = rig.fake.hold("stop");
    rig.dir.write_end_request(EndRequest::Stop(2));
    rig.end(EndReason::UserStop);
    hangs.arrived();
    rig.dir.write_end_request(EndRequest::Stop(60));
    rig.end(EndReason::UserStop);
    hangs.release();
    rig.over(&done);
    assert_eq!(rig.calls(&["stop"]), ["stop RUN 2"]);
}

/// Until the record says the same, an adopting supervisor has nothing else to go by.
#[test]
fn the_word_of_a_request_stays_until_it_is_recorded() {
    let (rig, done) = watched();
    rig.dir.write_end_request(EndRequest::Stop(3));
    let hold = rig.fake.hold("stop");
    rig.end(EndReason::UserStop);
    hold.arrived();
    assert_eq!(rig.on_disk().state, RunState::Stopping);
    assert_eq!(rig.dir.end_request(), None);
    hold.release();
    rig.over(&done);
}

#[test]
fn a_stop_is_asked_for_again_until_the_engine_answers() {
    let (rig, done) = watched();
    rig.fake.script(
        "stop",
        [Fails(unreachable()), Fails(silence()), Fails(refusal())],
    );
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
    assert_eq!(rig.fake.count("stop"), 4);
    assert!(rig.diary().contains("stop: the engine is away"));
}

/// As one that has not started yet, which takes no signal.
#[test]
fn a_stop_that_had_no_effect_is_asked_for_again() {
    let (rig, done) = watched();
    rig.fake.script("stop", [Ignored, Ignored]);
    rig.end(EndReason::UserStop);
    rig.over(&done);
    assert_eq!(rig.fake.count("stop"), 3);
}

#[test]
fn a_stop_whose_answer_is_lost_is_a_stop() {
    let (rig, done) = watched();
    rig.fake.script("stop", [DoneBut(silence())]);
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
}

// new order
#[test]
fn a_container_that_is_removed_while_it_is_stopped_was_stopped() {
    let (rig, done) = watched();
    let id = rig.id.clone();
    rig.fake.script("stop", [Fails(not_found())]);
    rig.fake
        .on("stop", move |fake| fake.vanish(&id, AttachEnd::Interrupted));
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, None)
    );
    assert!(record.is_clean());
}

/// The engine's clock is behind ours by an hour; but the workload was seen after the request.
#[test]
fn what_was_seen_to_run_after_the_request_was_ended_by_it() {
    let (rig, done) = watched();
    let id = rig.id.clone();
    rig.fake.script("stop", [Ignored]);
    rig.fake.on("stop", move |fake| {
        fake.set(&id, long_ago(143));
        fake.detach(&id, AttachEnd::Code(143));
    });
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
}

/// Nobody could look, so the times that the engine tells decide.
// new order
#[test]
fn an_engine_that_is_away_when_the_request_comes_does_not_make_an_old_end_a_stop() {
    let rig = Rig::started();
    rig.fake.always("inspect", || Fails(unreachable()));
    rig.fake.print(&rig.id, Stream::Stdout, "out\n");
    let done = rig.oversee();
    rig.seen_to_run();
    let id = rig.id.clone();
    rig.fake.on("stop", move |fake| {
        fake.set(&id, long_ago(7));
        fake.always("inspect", || Answer::Truth);
        fake.detach(&id, AttachEnd::Code(7));
    });
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(7))
    );
}

#[test]
fn a_run_that_has_not_begun_to_start_is_not_stopped_in_the_engine() {
    let rig = Rig::new();
    rig.end(EndReason::UserStop);
    rig.supervisor.join_stops();
    assert_eq!(rig.fake.calls(), [""; 0]);
    assert!(rig.supervisor.check_end_intent().is_err());
    assert_eq!(rig.on_disk().state, RunState::Created);
}

#[test]
fn many_requests_at_once_lead_to_one_end() {
    let (rig, done) = watched();
    let looks = rig.held_look();
    std::thread::scope(|scope| {
        for reason in [
            EndReason::UserStop,
            EndReason::Timeout,
            EndReason::UserStop,
            EndReason::Killed,
            EndReason::UserStop,
            EndReason::Killed,
        ] {
            let rig = &rig;
            scope.spawn(move || rig.end(reason));
        }
    });
    looks.release();
    let record = rig.over(&done);
    assert_eq!(
        (record.state, record.reason),
        (RunState::Stopped, Some(EndReason::Killed))
    );
    assert!(record.is_clean());
    assert_eq!(rig.fake.count("remove"), 1);
}

/// The workload exits while the engine is asked to stop it, and the engine says so.
#[test]
fn an_exit_that_meets_the_stop_has_the_workloads_code_and_the_stops_reason() {
    let (rig, done) = watched();
    let id = rig.id.clone();
    rig.fake.on("stop", move |fake| fake.exit(&id, 9));
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(9))
    );
}

// new order
#[test]
fn want_of_memory_while_a_stop_is_under_way_is_the_stop() {
    let (rig, done) = watched();
    let id = rig.id.clone();
    rig.fake.on("stop", move |fake| {
        fake.set(
            &id,
            Inspected::Exited(Exit {
                oom_killed: true,
                ..fake::exit(137)
            }),
        );
        fake.detach(&id, AttachEnd::Code(137));
    });
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        (record.reason, record.oom_killed),
        (Some(EndReason::UserStop), true)
    );
}

/// Somebody starts the stop while the engine still says that the container is only created.
// new order
#[test]
fn a_stop_of_a_container_that_is_about_to_start_reaches_it_when_it_runs() {
    let rig = Rig::started();
    rig.fake.set(&rig.id, Inspected::Created);
    let done = rig.oversee();
    rig.end(EndReason::UserStop);
    rig.fake.wait_calls("stop", 2);
    rig.fake.set(&rig.id, running());
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::UserStop, Some(143))
    );
}

// new order
#[test]
fn a_stop_is_not_over_because_one_look_was_stale() {
    let (rig, done) = watched();
    // The request is heard, and the engine says once more that it runs.
    rig.fake.script("stop", [Ignored]);
    let id = rig.id.clone();
    rig.fake.on("stop", move |fake| {
        fake.script(&format!("inspect {id}"), [Sees(running()), Sees(running())]);
    });
    rig.end(EndReason::UserStop);
    rig.over(&done);
    assert_eq!(rig.fake.count("stop"), 2);
}

/// A stop that still hangs when all is over holds the supervisor up for a moment only.
#[test]
fn a_stop_that_never_returns_does_not_keep_the_run_from_its_end() {
    let (rig, done) = watched();
    let hangs = rig.fake.hold("stop");
    rig.end(EndReason::UserStop);
    hangs.arrived();
    rig.fake.exit(&rig.id, 143);
    let record = rig.over(&done);
    assert_eq!(record.reason, Some(EndReason::UserStop));
    assert!(record.is_clean());
}
