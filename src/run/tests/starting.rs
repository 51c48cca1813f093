//! From the plan to a workload that runs: what is made in which order, and what may get in the way between.

use super::*;
use crate::runtime::fake::Answer::{DoneBut, Exits, Fails, Ignored};
use crate::runtime::fake::{image_missing, refusal, silence, unreachable};
use crate::runtime::{AttachEnd, RuntimeError};
use crate::store::ServiceState;

/// A plan of a command in an image, with these services.
pub(super) fn plan(rig: &Rig, services: &[&str]) -> Plan {
    let services = services.iter().map(|name| service(name));
    let plan = serde_json::json!({
        "name_is_project": false, "runtime": "fake", "engine": [], "image": "image:1", "dependencies": [],
        "services": services.collect::<Vec<_>>(), "workspace": rig.scratch.dir("workspace"),
        "workspace_mode": "bind", "uid": 0, "gid": 0, "command": ["true"], "env": [], "secrets": [], "mounts": [],
        "volumes": [], "tmpfs": [], "hidden": [], "ports": [], "dns": [], "ulimits": [], "interactive": false,
        "background": false, "keep": false, "rebuild": false,
    });
    serde_json::from_value(plan).unwrap()
}

fn service(name: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "service": name, "version": "1", "image": format!("{name}:1"), "ports": [], "command": [],
        "ready": ["ready"], "wait": true, "ready_seconds": 10.0, "env": [], "secrets": [], "exports": [],
        "restart": false,
    })
}

/// A run that is reserved with what its plan wants.
fn reserved(services: &'static [&'static str]) -> Rig {
    Rig::with(|record| {
        let id = record.id.to_string();
        if services.is_empty() {
            return;
        }
        let plans = services.iter().map(|name| service(name));
        let plans: Vec<crate::plan::PlannedService> = plans
            .map(|plan| serde_json::from_value(plan).unwrap())
            .collect();
        record.services = plans
            .iter()
            .map(|plan| crate::service::record(&id, plan))
            .collect();
        record.resources = vec![network(&id, ResourceStage::Intent)];
        let handles = services.iter().map(|name| format!("{id}-{name}"));
        let made = handles.map(|handle| container(&handle, ResourceStage::Intent));
        record.resources.extend(made);
        record.resources.push(container(&id, ResourceStage::Intent));
    })
}

/// The workload ends as soon as it has started.
fn ends_with(rig: &Rig, code: u8) {
    let id = rig.id.clone();
    rig.fake.on(&format!("attached {id}"), |_| {});
    let fake = rig.fake.clone();
    std::thread::spawn(move || {
        fake.wait_calls(&format!("attached {id}"), 1);
        fake.exit(&id, code);
    });
}

const STEPS: [&str; 6] = [
    "make-network",
    "create",
    "pull",
    "start",
    "remove",
    "remove-network",
];

#[test]
fn a_run_is_made_started_and_removed() {
    let rig = reserved(&[]);
    let dir = rig.dir.clone();
    let fake = rig.fake.clone();
    rig.fake.on("create", move |_| {
        let record = dir.load().record().unwrap();
        let made = &record.resources[0];
        let asked = dir.has_engine_request(made.kind, &made.handle);
        fake.note(&format!("journal {:?}, asked {asked}", made.stage));
    });
    let (dir, fake) = (rig.dir.clone(), rig.fake.clone());
    rig.fake.on("start", move |_| {
        let record = dir.load().record().unwrap();
        let made = &record.resources[0];
        let asked = dir.has_engine_request(made.kind, &made.handle);
        fake.note(&format!("journal {:?}, asked {asked}", made.stage));
    });
    ends_with(&rig, 3);
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert_eq!(rig.calls(&STEPS), ["create RUN", "start RUN", "remove RUN"]);
    assert_eq!(
        rig.calls(&["journal"]),
        ["journal Intent, asked true", "journal Made, asked false"]
    );
    assert!(record.is_clean());
}

#[test]
fn a_missing_image_is_got_and_then_it_is_made() {
    let rig = reserved(&[]);
    rig.fake.script("create", [Fails(image_missing())]);
    ends_with(&rig, 0);
    let done = rig.carry_out(plan(&rig, &[]));
    assert_eq!(ending(&rig.over(&done)).0, RunState::Stopped);
    assert_eq!(
        rig.calls(&STEPS),
        [
            "create RUN",
            "pull image:1",
            "create RUN",
            "start RUN",
            "remove RUN"
        ]
    );
}

/// It is removed by somebody else right after it was got.
// new order
#[test]
fn an_image_that_is_missing_again_after_it_was_got_is_not_got_for_ever() {
    let rig = reserved(&[]);
    rig.fake
        .script("create", [Fails(image_missing()), Fails(image_missing())]);
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!((rig.fake.count("pull"), rig.fake.count("start")), (1, 0));
    assert!(record.is_clean());
}

#[test]
fn an_image_that_cannot_be_had_is_asked_for_three_times_where_that_may_help() {
    for (problem, times) in [(silence(), 3), (unreachable(), 1), (refusal(), 1)] {
        let rig = reserved(&[]);
        rig.fake.script("create", [Fails(image_missing())]);
        let fails = || Fails(problem.clone());
        rig.fake.script("pull", [fails(), fails(), fails()]);
        let done = rig.carry_out(plan(&rig, &[]));
        let record = rig.over(&done);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::StartError, None)
        );
        assert_eq!(rig.fake.count("pull"), times, "{problem:?}");
        assert!(record.is_clean());
    }
}

#[test]
fn an_engine_that_was_not_reached_has_nothing_to_remove() {
    let rig = reserved(&[]);
    rig.fake.always("create", || Fails(unreachable()));
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert!(record.is_clean() && record.resources.is_empty());
    assert_eq!(rig.fake.count("remove"), 0);
}

#[test]
fn what_the_engine_refuses_to_make_is_removed_all_the_same() {
    let rig = reserved(&[]);
    rig.fake.script("create", [Fails(refusal())]);
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(rig.calls(&STEPS), ["create RUN", "remove RUN"]);
    assert!(record.is_clean());
    rig.told(
        "why",
        |told| matches!(told, ToClient::Failed { message, .. } if message == "it will not"),
    );
}

#[test]
fn what_was_made_without_an_answer_is_removed() {
    let rig = reserved(&[]);
    rig.fake.script("create", [DoneBut(silence())]);
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(rig.fake.left(), [""; 0]);
    assert!(record.is_clean());
}

#[test]
fn what_may_be_made_without_an_answer_keeps_the_run_unclean() {
    let rig = reserved(&[]);
    rig.fake.script("create", [Fails(silence())]);
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(record.cleaned_at, None);
    assert!(rig.dir.has_engine_request(ResourceKind::Container, &rig.id));
}

#[test]
fn a_container_that_cannot_be_started_is_removed() {
    for answer in [Fails(refusal()), Fails(unreachable()), DoneBut(silence())] {
        let rig = reserved(&[]);
        rig.fake.script("start", [answer]);
        let done = rig.carry_out(plan(&rig, &[]));
        let record = rig.over(&done);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::StartError, None)
        );
        assert_eq!(rig.fake.left(), [""; 0]);
        assert!(record.is_clean());
    }
}

#[test]
fn a_client_that_says_why_it_did_not_start_it_is_quoted() {
    let rig = reserved(&[]);
    rig.fake.script("start", [Ignored]);
    let (id, fake) = (rig.id.clone(), rig.fake.clone());
    std::thread::spawn(move || {
        fake.wait_calls(&format!("attached {id}"), 1);
        fake.detach(&id, fake::last_words(125, "Error: no such device\n", false));
    });
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(record.error.as_deref(), Some("no such device"));
}

/// Each row: the call during which somebody asks for the end, and what is asked of the engine after that.
macro_rules! stops {
    ($($name:ident: $call:literal, $missing:literal => $after:expr;)+) => {$(
        #[test]
        fn $name() {
            let rig = reserved(&[]);
            if $missing {
                rig.fake.script("create", [Fails(image_missing())]);
            }
            let hold = rig.fake.hold($call);
            let done = rig.carry_out(plan(&rig, &[]));
            hold.arrived();
            rig.fake.note("asked to end");
            rig.end(EndReason::UserStop);
            hold.release();
            let record = rig.over(&done);
            assert_eq!((record.state, record.reason), (RunState::Stopped, Some(EndReason::UserStop)));
            assert!(record.is_clean());
            assert_eq!(rig.fake.left(), [""; 0]);
            let calls = rig.calls(&["create", "pull", "start", "remove", "asked"]);
            let asked = calls.iter().position(|call| call == "asked to end").unwrap();
            assert_eq!(calls[asked + 1..], $after);
        }
    )+};
}

stops! {
    a_stop_while_it_is_made_is_no_start: "create", false => ["remove RUN"];
    a_stop_while_its_image_is_got_makes_nothing: "pull", true => ["remove RUN"];
    a_stop_while_it_starts_ends_it: "start", false => ["remove RUN"];
}

#[test]
fn a_stop_before_anything_is_made_makes_nothing() {
    for reason in [EndReason::UserStop, EndReason::Killed] {
        let rig = reserved(&["db"]);
        rig.end(reason);
        let done = rig.carry_out(plan(&rig, &["db"]));
        let record = rig.over(&done);
        assert_eq!(
            (record.state, record.reason),
            (RunState::Stopped, Some(reason))
        );
        assert_eq!(record.exit_code, None);
        let error = record.error.as_deref();
        assert_eq!(error, Some("the run was stopped before it started"));
        assert_eq!(
            rig.calls(&["create", "create-service", "make-network", "start"]),
            [""; 0]
        );
        assert!(record.is_clean());
    }
}

// new order
#[test]
fn a_second_request_while_it_is_made_does_not_make_it_start() {
    let rig = reserved(&[]);
    let hold = rig.fake.hold("create");
    let done = rig.carry_out(plan(&rig, &[]));
    hold.arrived();
    rig.end(EndReason::UserStop);
    rig.end(EndReason::Killed);
    hold.release();
    let record = rig.over(&done);
    assert_eq!(
        (record.state, record.reason),
        (RunState::Stopped, Some(EndReason::Killed))
    );
    assert_eq!(record.exit_status(), 137);
    assert_eq!(rig.calls(&["start", "kill", "stop"]), [""; 0]);
}

#[test]
fn services_are_ready_before_the_workload_starts() {
    let rig = reserved(&["db"]);
    let handle = format!("{}-db", rig.id);
    let not_yet = || Exits(Some(1), "not yet");
    rig.fake.script("exec", [not_yet(), not_yet()]);
    ends_with(&rig, 0);
    let done = rig.carry_out(plan(&rig, &["db"]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
    let calls = rig.calls(&["make-network", "start-service", "exec", "start"]);
    assert_eq!(calls[0], "make-network RUN");
    assert_eq!(calls.last().unwrap(), "start RUN");
    assert_eq!(rig.fake.count("exec"), 3);
    assert_eq!(record.services[0].state, ServiceState::Stopped);
    let service = format!("remove {handle}").replace(&rig.id, "RUN");
    let removals = rig.calls(&["remove", "remove-network"]);
    assert_eq!(
        removals,
        [service.as_str(), "remove RUN", "remove-network RUN"]
    );
    assert!(record.is_clean());
}

/// What was asked for and not answered is all that there may be.
#[test]
fn a_network_that_cannot_be_made_is_the_end_of_it() {
    for (problem, resources, clean) in [
        (unreachable(), 0, true),
        (refusal(), 3, true),
        (silence(), 3, false),
    ] {
        let rig = reserved(&["db"]);
        rig.fake.script("make-network", [Fails(problem.clone())]);
        let done = rig.carry_out(plan(&rig, &["db"]));
        let record = rig.over(&done);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::StartError, None)
        );
        assert_eq!(record.resources.len(), resources, "{problem:?}");
        assert_eq!(record.cleaned_at.is_some(), clean, "{problem:?}");
        assert_eq!(rig.calls(&["create", "create-service"]), [""; 0]);
    }
}

#[test]
fn a_service_that_fails_is_why_nothing_starts() {
    let rig = reserved(&["db"]);
    rig.fake.script("create-service", [Fails(refusal())]);
    let done = rig.carry_out(plan(&rig, &["db"]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(record.error.as_deref(), Some("service db: it will not"));
    assert_eq!(rig.fake.count("start"), 0);
    assert_eq!(record.services[0].state, ServiceState::Failed);
    assert!(record.is_clean());
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn an_image_of_the_workload_that_cannot_be_had_ends_the_wait_for_its_services() {
    let rig = reserved(&["db"]);
    rig.fake.script("create", [Fails(image_missing())]);
    rig.fake.script("pull image:1", [Fails(refusal())]);
    rig.fake.always("exec", || Exits(Some(1), "not yet"));
    let done = rig.carry_out(plan(&rig, &["db"]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(record.error.as_deref(), Some("it will not"));
    assert!(record.is_clean());
}

#[test]
fn a_stop_while_a_service_becomes_ready_is_the_reason_and_not_the_service() {
    let rig = reserved(&["db"]);
    rig.fake.always("exec", || Exits(Some(1), "not yet"));
    let done = rig.carry_out(plan(&rig, &["db"]));
    rig.fake.wait_calls("exec", 2);
    rig.end(EndReason::UserStop);
    let record = rig.over(&done);
    assert_eq!(
        (record.state, record.reason),
        (RunState::Stopped, Some(EndReason::UserStop))
    );
    assert_eq!(rig.fake.count("start"), 0);
    assert!(record.is_clean());
    assert_eq!(rig.fake.left(), [""; 0]);
}

/// The start timeout ends whatever comes before the command, and nothing after it.
#[test]
fn a_start_that_takes_too_long_is_given_up() {
    let rig = reserved(&["db"]);
    rig.fake.always("exec", || Exits(Some(1), "not yet"));
    let mut slow = plan(&rig, &["db"]);
    slow.settings.limits.start_timeout_seconds = Some(0.05);
    let record = rig.over(&rig.carry_out(slow));
    assert_eq!(
        (record.state, record.reason, record.exit_status()),
        (RunState::Failed, Some(EndReason::Timeout), 124)
    );
    assert_eq!(record.error.as_deref(), Some("its start timeout expired"));
    assert_eq!(rig.fake.count("start"), 0);
    assert!(record.is_clean());
    assert_eq!(rig.fake.left(), [""; 0]);

    let rig = reserved(&[]);
    let hold = rig.fake.hold("pull");
    rig.fake.script("create", [Fails(image_missing())]);
    let mut slow = plan(&rig, &[]);
    slow.settings.limits.start_timeout_seconds = Some(0.05);
    let done = rig.carry_out(slow);
    hold.arrived();
    std::thread::sleep(std::time::Duration::from_millis(100));
    hold.release();
    assert_eq!(rig.over(&done).reason, Some(EndReason::Timeout));

    let rig = reserved(&[]);
    let mut quick = plan(&rig, &[]);
    quick.settings.limits.start_timeout_seconds = Some(0.5);
    let id = rig.id.clone();
    let fake = rig.fake.clone();
    std::thread::spawn(move || {
        fake.wait_calls(&format!("attached {id}"), 1);
        std::thread::sleep(std::time::Duration::from_millis(700));
        fake.exit(&id, 0);
    });
    let record = rig.over(&rig.carry_out(quick));
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
}

// new order
#[test]
fn a_service_that_dies_while_the_workload_is_made_keeps_it_from_starting() {
    let rig = reserved(&["db"]);
    let handle = format!("{}-db", rig.id);
    let makes = rig.fake.hold("create");
    let done = rig.carry_out(plan(&rig, &["db"]));
    makes.arrived();
    rig.told(
        "it is ready",
        |told| matches!(told, ToClient::Progress { text, .. } if text.starts_with("ready")),
    );
    rig.fake.exit(&handle, 1);
    rig.told("it ended", |told| {
        matches!(told, ToClient::Progress { text, .. } if text.contains("the run does not begin without it"))
    });
    makes.release();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert_eq!(rig.fake.count("start"), 0);
    assert!(record.error.unwrap().contains("before the run began"));
    assert_eq!(rig.fake.left(), [""; 0]);
}

#[test]
fn a_service_that_dies_when_the_workload_runs_is_no_end_of_it() {
    let rig = reserved(&["db"]);
    let handle = format!("{}-db", rig.id);
    let done = rig.carry_out(plan(&rig, &["db"]));
    rig.seen_to_run();
    rig.fake.exit(&handle, 1);
    rig.told("it ended", |told| {
        matches!(told, ToClient::Progress { text, .. } if text.contains("the run goes on without it"))
    });
    rig.fake.exit(&rig.id, 0);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
    assert_eq!(record.services[0].state, ServiceState::Failed);
    assert_eq!(record.services[0].exit_code, Some(1));
}

// new order
#[test]
fn a_container_that_vanishes_before_it_is_started_fails_to_start() {
    let rig = reserved(&[]);
    let id = rig.id.clone();
    rig.fake.on("start", move |fake| {
        fake.vanish(&id, AttachEnd::Interrupted)
    });
    let done = rig.carry_out(plan(&rig, &[]));
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    assert!(
        matches!(fake::not_found(), RuntimeError::NotFound(text) if Some(&text) == record.error.as_ref())
    );
}

#[test]
fn a_session_that_is_gone_takes_no_run() {
    let rig = reserved(&[]);
    let mut plan = plan(&rig, &[]);
    plan.settings.identity.session = Some(crate::store::RunSession {
        key: "gone".to_owned(),
        incarnation: "x".to_owned(),
        network: None,
        compose_networks: Vec::new(),
        services: Vec::new(),
    });
    let done = rig.carry_out(plan);
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::StartError, None)
    );
    let error = record.error.as_deref();
    assert_eq!(
        error,
        Some("its session was taken down before the run began")
    );
    assert_eq!(rig.fake.count("create"), 0);
}
