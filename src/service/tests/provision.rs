//! What a service is to come with: got once, asked for again where that may help, and given up with the service.

use super::super::StartingService;
use super::*;
use crate::plan::PlannedProvision;
use crate::runtime::fake::Answer::{Exits, Fails};
use crate::runtime::fake::{refusal, silence, unreachable};

fn with(items: &[&str]) -> PlannedService {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    plan_with(|plan| {
        plan.provision = Some(PlannedProvision {
            key: "models".to_owned(),
            items: words(items),
            command: words(&["get", "{item}"]),
            list: words(&["list"]),
        });
    })
}

#[test]
fn what_is_not_there_is_got_when_it_is_ready() {
    let rig = Rig::new();
    rig.up(&with(&["small", "large"])).end();
    assert_eq!(
        rig.fake.calls_of(&["exec"]),
        [
            "exec run-db ready",
            "exec run-db list",
            "exec run-db get small",
            "exec run-db list",
            "exec run-db get large"
        ]
    );
}

#[test]
fn what_is_there_is_not_got_again() {
    for listed in ["small", "small:latest 2 GB", "other\nsmall"] {
        let rig = Rig::new();
        rig.fake
            .script("exec run-db list", [Exits(Some(0), listed)]);
        rig.up(&with(&["small"])).end();
        assert_eq!(rig.fake.count("exec run-db get"), 0, "{listed}");
    }
}

#[test]
fn a_list_that_fails_is_no_list() {
    for answer in [
        Exits(Some(1), "small"),
        Fails(silence()),
        Exits(Some(0), "smaller"),
    ] {
        let rig = Rig::new();
        rig.fake.script("exec run-db list", [answer]);
        rig.up(&with(&["small"])).end();
        assert_eq!(rig.fake.count("exec run-db get"), 1);
    }
}

#[test]
fn a_command_that_fails_is_the_end_of_it() {
    let rig = Rig::new();
    let says = Exits(Some(1), "pulling manifest\nno such model");
    rig.fake.script("exec run-db get", [says]);
    let error = rig.fails(&with(&["small"]));
    assert_eq!(
        error.message,
        "service db: cannot get small: 'get small' ended with exit code 1: pulling manifest; no such model"
    );
    assert_eq!(
        rig.fake.count("exec run-db get"),
        1,
        "it is the command's own failure"
    );
}

#[test]
fn an_engine_that_fails_is_asked_again_where_that_may_help() {
    for (problem, times) in [(silence(), 3), (unreachable(), 1), (refusal(), 1)] {
        let rig = Rig::new();
        let fails = || Fails(problem.clone());
        rig.fake
            .script("exec run-db get", [fails(), fails(), fails()]);
        let error = rig.fails(&with(&["small"]));
        assert_eq!(rig.fake.count("exec run-db get"), times, "{problem:?}");
        assert!(
            error.message.ends_with(problem.message()),
            "{}",
            error.message
        );
    }
}

#[test]
fn what_comes_at_the_second_try_is_there() {
    let rig = Rig::new();
    rig.fake.script("exec run-db get", [Fails(silence())]);
    rig.up(&with(&["small"])).end();
    rig.said("trying again");
}

// new order
#[test]
fn a_service_that_ends_while_something_is_got_is_why_it_fails() {
    let rig = Rig::new();
    let gets = rig.fake.hold("exec run-db get");
    rig.fake.script("exec run-db get", [Exits(Some(137), "")]);
    let services = rig.start(&[with(&["small", "large"])]);
    gets.arrived();
    rig.fake.exit(DB, 2);
    // Until somebody has seen the end.
    let deadline = Instant::now() + NEVER;
    while services.sidecars[0].exit().is_none() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    gets.release();
    let error = wait(&services).unwrap_err();
    assert!(
        error
            .message
            .contains("ended with exit code 2, before it was provisioned"),
        "{}",
        error.message
    );
    assert_eq!(rig.fake.count("exec run-db get large"), 0);
    services.end();
}

#[test]
fn a_run_that_ends_while_something_is_got_gets_nothing_more() {
    let rig = Rig::new();
    let gets = rig.fake.hold("exec run-db get");
    let services = rig.start(&[with(&["small", "large"])]);
    gets.arrived();
    rig.owner.is_wanted.store(false, Ordering::SeqCst);
    gets.release();
    assert!(wait(&services).is_err());
    assert_eq!(rig.fake.count("exec run-db get"), 1);
    services.end();
}

/// Another run gets the same: it is waited for, and not got twice.
#[test]
fn what_another_run_is_getting_is_waited_for() {
    let rig = Rig::new();
    let other = rig.owner.home.lock_creation("db-small", &|| true).unwrap();
    let services = rig.start(&[with(&["small"])]);
    rig.said("getting small (1 of 1)");
    assert_eq!(rig.fake.count("exec run-db list"), 0);
    rig.fake
        .script("exec run-db list", [Exits(Some(0), "small")]);
    drop(other);
    wait(&services).unwrap();
    assert_eq!(rig.fake.count("exec run-db get"), 0);
    services.end();
}

// new order
#[test]
fn a_run_that_ends_while_it_waits_for_another_ones_is_not_held_up() {
    let rig = Rig::new();
    let _other = rig.owner.home.lock_creation("db-small", &|| true).unwrap();
    let services = rig.start(&[with(&["small"])]);
    rig.said("getting small (1 of 1)");
    rig.owner.is_wanted.store(false, Ordering::SeqCst);
    assert!(wait(&services).is_err());
    assert_eq!(rig.fake.count("exec run-db get"), 0);
    services.end();
}
