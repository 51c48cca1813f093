//! From nothing to a service that can be used, and what may get in the way.

use super::*;
use crate::runtime::fake::Answer::{DoneBut, Exits, Fails, Ignored};
use crate::runtime::fake::{image_missing, last_words, refusal, silence, unreachable};

#[test]
fn a_service_is_made_started_and_asked_whether_it_is_ready() {
    let rig = Rig::new();
    rig.fake.script("exec", [not_ready(), not_ready()]);
    let services = rig.up(&plan("db"));
    let service = rig.record("db");
    assert_eq!(service.state, ServiceState::Ready);
    assert!(service.started_at.is_some() && service.ready_at.is_some());
    let steps = [
        "asks",
        "create-service",
        "answered",
        "start-service",
        "exec",
    ];
    assert_eq!(
        rig.fake.calls_of(&steps),
        [
            "asks run-db",
            "create-service run-db",
            "answered run-db",
            "start-service run-db",
            "exec run-db ready",
            "exec run-db ready",
            "exec run-db ready"
        ]
    );
    services.end();
}

#[test]
fn a_missing_image_is_got_and_then_it_is_made() {
    let rig = Rig::new();
    rig.fake.script("create-service", [Fails(image_missing())]);
    rig.up(&plan("db")).end();
    assert_eq!(
        rig.fake.calls_of(&["create-service", "pull"]),
        [
            "create-service run-db",
            "pull db:1",
            "create-service run-db"
        ]
    );
}

#[test]
fn an_image_is_asked_for_three_times_where_that_may_help() {
    for (problem, times) in [(silence(), 3), (unreachable(), 1), (refusal(), 1)] {
        let rig = Rig::new();
        rig.fake.script("create-service", [Fails(image_missing())]);
        let fails = || Fails(problem.clone());
        rig.fake.script("pull", [fails(), fails(), fails()]);
        let error = rig.fails(&plan("db"));
        assert_eq!(rig.fake.count("pull"), times, "{problem:?}");
        let why = format!(
            "service db: cannot pull the image 'db:1': {}",
            problem.message()
        );
        assert_eq!(error.message, why);
    }
}

#[test]
fn an_image_that_comes_at_the_third_try_is_fine() {
    let rig = Rig::new();
    rig.fake.script("create-service", [Fails(image_missing())]);
    rig.fake
        .script("pull", [Fails(silence()), Fails(silence())]);
    rig.up(&plan("db")).end();
    rig.said("trying again");
}

#[test]
fn one_that_the_engine_does_not_make_has_failed() {
    for (problem, answered) in [(refusal(), 1), (unreachable(), 1), (silence(), 0)] {
        let rig = Rig::new();
        rig.fake.script("create-service", [Fails(problem.clone())]);
        let error = rig.fails(&plan("db"));
        assert_eq!(error.message, format!("service db: {}", problem.message()));
        let service = rig.record("db");
        assert_eq!(service.state, ServiceState::Failed);
        assert_eq!(service.error, Some(error.message.clone()));
        // Where there is no answer, it may still come.
        assert_eq!(rig.fake.count("answered"), answered, "{problem:?}");
        assert_eq!(rig.fake.count("start-service"), 0);
    }
}

// new order
#[test]
fn one_that_was_made_without_an_answer_is_not_started() {
    let rig = Rig::new();
    rig.fake.script("create-service", [DoneBut(silence())]);
    rig.fails(&plan("db"));
    assert_eq!(rig.fake.left(), [DB], "the journal of the run has it");
    assert_eq!(rig.fake.count("start-service"), 0);
}

#[test]
fn one_that_cannot_be_started_has_failed() {
    let rig = Rig::new();
    rig.fake.script("start-service", [Fails(refusal())]);
    let error = rig.fails(&plan("db"));
    assert_eq!(error.message, "service db: it will not");
    assert_eq!(rig.record("db").state, ServiceState::Failed);
}

#[test]
fn one_whose_client_says_why_it_did_not_start_is_quoted() {
    let rig = Rig::new();
    rig.fake.script("start-service", [Ignored]);
    rig.fake.always("exec", not_ready);
    let services = rig.start(&[plan("db")]);
    rig.fake.wait_calls("attached", 1);
    let words = last_words(125, "Error: port is taken\n", false);
    rig.fake.detach(DB, words);
    let error = wait(&services).unwrap_err();
    assert!(
        error
            .message
            .starts_with("service db: ended: port is taken"),
        "{}",
        error.message
    );
    services.end();
}

#[test]
fn one_that_ends_before_it_is_ready_has_failed_with_its_code_and_its_last_words() {
    for code in [0, 3] {
        let rig = Rig::new();
        rig.fake.always("exec", not_ready);
        let services = rig.start(&[plan("db")]);
        rig.fake.wait_calls("exec", 1);
        rig.fake.print(DB, Stream::Stderr, "cannot open data\n");
        rig.fake.exit(DB, code);
        let error = wait(&services).unwrap_err();
        let what = format!("service db: ended with exit code {code}, before it was ready");
        assert!(error.message.starts_with(&what), "{}", error.message);
        assert!(
            error.message.ends_with("\n  cannot open data"),
            "{}",
            error.message
        );
        services.end();
        let service = rig.record("db");
        assert_eq!(
            (service.state, service.exit_code),
            (ServiceState::Failed, Some(code))
        );
    }
}

#[test]
fn one_that_needs_more_memory_is_told_what_to_change() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let services = rig.start(&[plan_with(|plan| plan.memory_bytes = Some(64 << 20))]);
    rig.fake.wait_calls("exec", 1);
    let oom_killed = true;
    let exit = fake::exit(137);
    rig.fake.set(
        DB,
        Inspected::Exited(crate::runtime::Exit { oom_killed, ..exit }),
    );
    rig.fake.detach(DB, AttachEnd::Code(137));
    let error = wait(&services).unwrap_err();
    assert!(
        error.message.contains("memory limit of 64 MB"),
        "{}",
        error.message
    );
    services.end();
    assert!(rig.record("db").oom_killed);
}

#[test]
fn a_readiness_command_that_is_not_there_is_not_waited_for() {
    let answers: [fn() -> Answer; 2] = [
        || Exits(Some(126), "ready: not found"),
        || Exits(Some(127), "ready: not found"),
    ];
    for answer in answers {
        let rig = Rig::new();
        rig.fake.always("exec", not_ready);
        let services = rig.start(&[plan("db")]);
        // While it does not run yet, the engine says the same.
        rig.recorded("db", |db| db.started_at.is_some());
        rig.fake.always("exec", answer);
        let error = wait(&services).unwrap_err();
        let why = "service db: its readiness command cannot be run: ready: not found";
        assert_eq!(error.message, why);
        services.end();
    }
}

#[test]
fn one_that_is_never_ready_has_its_time() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let error = rig.fails(&plan_with(|plan| plan.ready_seconds = 0.3));
    assert!(
        error.message.starts_with("service db: not ready after 0 s"),
        "{}",
        error.message
    );
    assert!(
        error
            .message
            .contains("its readiness command said last: not yet")
    );
    assert!(rig.fake.count("exec") > 1);
}

/// A question that the engine could not answer is no answer of the service.
// new order
#[test]
fn an_engine_that_cannot_ask_it_is_no_reason_to_give_it_up() {
    let rig = Rig::new();
    rig.fake.script(
        "exec",
        [Fails(silence()), Fails(unreachable()), Fails(refusal())],
    );
    rig.up(&plan("db")).end();
    assert_eq!(rig.fake.count("exec"), 4);
}

/// Its end is seen while the question is on its way; what that says then is not the reason.
// new order
#[test]
fn one_that_ends_while_it_is_asked_has_ended() {
    let rig = Rig::new();
    let asks = rig.fake.hold("exec");
    rig.fake
        .script("exec", [Exits(Some(1), "no such container")]);
    let services = rig.start(&[plan("db")]);
    asks.arrived();
    rig.fake.exit(DB, 9);
    asks.release();
    let error = wait(&services).unwrap_err();
    assert!(
        error.message.contains("ended with exit code 9"),
        "{}",
        error.message
    );
    services.end();
}

#[test]
fn one_without_a_question_is_ready_when_it_runs() {
    let rig = Rig::new();
    rig.up(&plan_with(|plan| plan.ready = Vec::new())).end();
    assert_eq!(rig.fake.count("exec"), 0);
}

#[test]
fn one_that_nobody_waits_for_is_up_when_it_runs_and_ready_later() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let services = rig.up(&plan_with(|plan| plan.wait = false));
    assert_eq!(rig.record("db").state, ServiceState::Starting);
    rig.fake.always("exec", || Answer::Truth);
    rig.in_state(ServiceState::Ready);
    services.end();
    assert_eq!(rig.record("db").state, ServiceState::Stopped);
}

#[test]
fn one_that_nobody_waits_for_and_that_is_never_ready_is_left_alone() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let services = rig.up(&plan_with(|plan| {
        (plan.wait, plan.ready_seconds) = (false, 0.3)
    }));
    rig.said("not ready in time; the run continues without waiting");
    assert_eq!(rig.record("db").state, ServiceState::Starting);
    services.end();
}

// new order
#[test]
fn one_that_nobody_waits_for_and_that_ends_before_it_is_ready_costs_the_run_nothing() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let services = rig.up(&plan_with(|plan| plan.wait = false));
    rig.fake.exit(DB, 4);
    rig.said("ended with exit code 4; the run goes on without it");
    assert_eq!(rig.in_state(ServiceState::Failed).exit_code, Some(4));
    services.end();
}

/// Each row: the call during which the run is ended, and what must not be asked any more.
macro_rules! cancelled {
    ($($name:ident: $call:literal, $missing:literal, $not:literal;)+) => {$(
        #[test]
        fn $name() {
            let rig = Rig::new();
            if $missing {
                rig.fake.script("create-service", [Fails(image_missing())]);
            }
            rig.fake.always("exec", not_ready);
            let hold = rig.fake.hold($call);
            let services = rig.start(&[plan("db")]);
            hold.arrived();
            let before = rig.fake.count($not);
            rig.owner.is_wanted.store(false, Ordering::SeqCst);
            hold.release();
            let error = wait(&services).unwrap_err();
            assert_eq!(error.message, "the service db was cancelled");
            assert_eq!(rig.fake.count($not), before);
            services.end();
            // Nobody is to blame.
            assert_ne!(rig.record("db").state, ServiceState::Failed);
        }
    )+};
}

cancelled! {
    a_run_that_ends_while_the_image_is_got_makes_no_service: "pull", true, "create-service";
    a_run_that_ends_while_it_is_asked_asks_no_more: "exec", false, "exec";
}

#[test]
fn a_run_that_has_ended_asks_the_engine_for_nothing() {
    let rig = Rig::new();
    rig.owner.is_wanted.store(false, Ordering::SeqCst);
    rig.fails(&plan("db"));
    assert_eq!(rig.fake.count("create-service"), 0);
}

#[test]
fn the_first_failure_is_the_error_and_the_others_give_up() {
    let rig = Rig::new();
    rig.fake.always("exec run-slow", not_ready);
    rig.fake.script("create-service run-db", [Fails(refusal())]);
    let (services, result) = rig.bring_up(&[plan("slow"), plan("db")]);
    assert_eq!(result.unwrap_err().message, "service db: it will not");
    services.end();
    assert_eq!(rig.record("db").state, ServiceState::Failed);
    assert_ne!(
        rig.record("slow").state,
        ServiceState::Failed,
        "it is not to blame"
    );
}

#[test]
fn one_that_is_up_and_ends_before_the_others_are_fails_the_start() {
    let rig = Rig::new();
    rig.fake.always("exec run-slow", not_ready);
    let services = rig.start(&[plan("slow"), plan("db")]);
    rig.in_state(ServiceState::Ready);
    rig.fake.exit(DB, 1);
    let error = wait(&services).unwrap_err();
    assert!(
        error.message.contains("before the run began"),
        "{}",
        error.message
    );
    rig.said("the run does not begin without it");
    services.end();
}

// new order
#[test]
fn one_that_is_started_again_does_not_fail_the_start() {
    let rig = Rig::new();
    rig.fake.always("exec run-slow", not_ready);
    let services = rig.start(&[plan("slow"), restarting()]);
    rig.in_state(ServiceState::Ready);
    rig.fake.exit(DB, 1);
    rig.recorded("db", |db| {
        db.restarts == 1 && db.state == ServiceState::Ready
    });
    rig.fake.always("exec run-slow", || Answer::Truth);
    assert!(wait(&services).is_ok());
    services.end();
}

// new order
#[test]
fn what_else_fails_ends_the_wait_for_all() {
    let rig = Rig::new();
    rig.fake.always("exec", not_ready);
    let services = rig.start(&[plan("slow"), plan("db")]);
    rig.fake.wait_calls("exec run-slow", 1);
    let why = Error::new(crate::error::ErrorKind::Image, "no image");
    services.cancel(&why);
    assert!(services.has_failed_service());
    assert_eq!(wait(&services).unwrap_err().message, "no image");
    services.end();
}
