//! SIGKILL of the supervisor of a run with services, at each checkpoint: one plain command repairs everything, at the
//! first attempt.

use crate::crash::sidecars::{
    OLLAMA, POSTGRES, REDIS, TELLER, assert_over, assert_service, assert_told, place, start_until,
    volumes,
};
use crate::harness::support::{
    EXITED_7, NEVER_STARTED, adoptions, assert_log, docker_through, kill, lines, list, print_lines,
    supervisor_of,
};
use crate::harness::{Moat, until};

const LINES: u32 = 50;

/// Defines a test for each checkpoint at which the supervisor dies.
macro_rules! points {
    ($($name:ident: $scenario:ident($point:literal, $services:expr);)*) => { $(
        #[test]
        fn $name() {
            if let Some(moat) = place(&$services) {
                $scenario(&moat, $point, $services.len());
            }
        }
    )* };
}

points! {
    network_made: before_the_services("network-made", [REDIS, POSTGRES]);
    service_created: among_the_services("service-created", [REDIS, POSTGRES]);
    service_started: among_the_services("service-started", [REDIS, TELLER]);
    service_ready: among_the_services("service-ready", [REDIS, POSTGRES]);
    provisioning: among_the_services("provisioning", [REDIS, OLLAMA]);
    services_ready: after_the_services("services-ready", [REDIS, POSTGRES]);
    created: after_the_services("created", [REDIS, TELLER]);
    before_start: after_the_services("before-start", [REDIS, TELLER]);
    attached: with_the_workload("attached", [REDIS, POSTGRES]);
    exited: with_the_workload("exited", [REDIS, TELLER]);
    log_closed: with_the_workload("log-closed", [REDIS, TELLER]);
    ended: with_the_workload("ended", [REDIS, TELLER]);
    before_cleanup: with_the_workload("before-cleanup", [REDIS, TELLER]);
    workspace_saved: with_the_workload("workspace-saved", [REDIS, TELLER]);
    services_ended: with_the_workload("services-ended", [REDIS, TELLER]);
    removed: with_the_workload("removed", [REDIS, TELLER]);
}

/// The workload never ran, and will not run later.
fn die_before(moat: &Moat, point: &str, containers: usize) -> String {
    let client = start_until(moat, point, &[], "echo ran; exit 7");
    let supervisor = moat.wait_checkpoint(point);
    // While one thread waits at the checkpoint, the others continue as far as they can.
    until("all containers exist", || {
        moat.containers().len() == containers
    });
    let volumes = volumes(moat);
    kill(supervisor);
    list(moat);
    let client = client.wait();
    assert_eq!(client.code, Some(125), "the client: {client}");
    let id = moat.only_id();
    assert_over(moat, &id, NEVER_STARTED, &volumes);
    assert_log(moat, &id, "", "");
    assert_eq!(adoptions(moat, &id), 1);
    id
}

fn before_the_services(moat: &Moat, point: &str, services: usize) {
    assert!(services > 0);
    let id = die_before(moat, point, 0);
    assert_service(moat, &id, "redis", "created");
}

fn among_the_services(moat: &Moat, point: &str, services: usize) {
    die_before(moat, point, services + 1);
}

fn after_the_services(moat: &Moat, point: &str, services: usize) {
    let id = die_before(moat, point, services + 1);
    let service = assert_service(moat, &id, "redis", "stopped");
    assert!(!service["ended_at"].is_null(), "{service:#}");
    assert_eq!(service["restarts"], 0, "{service:#}");
}

/// The workload ran to its end, before or after the supervisor's death.
fn with_the_workload(moat: &Moat, point: &str, _services: usize) {
    let script = print_lines(1, LINES) + "exit 7";
    let client = start_until(moat, point, &[], &script);
    let supervisor = moat.wait_checkpoint(point);
    let volumes = volumes(moat);
    kill(supervisor);
    list(moat);
    let client = client.wait();
    assert_eq!(client.code, Some(0), "the client: {client}");
    let id = moat.only_id();
    let record = assert_over(moat, &id, EXITED_7, &volumes);
    assert_log(
        moat,
        &id,
        &lines("line-", 1, LINES),
        &lines("error-", 1, LINES),
    );
    assert_eq!(adoptions(moat, &id), 1);
    for service in record["services"].as_array().unwrap() {
        assert_eq!(service["state"], "stopped", "{service:#}");
        assert_eq!(service["log"]["complete"], true, "{service:#}");
        if service["name"] == "teller" {
            assert_told(moat, &id, 50);
        }
    }
}

/// An engine client of the dead supervisor continues: moat finds what it creates.
fn in_flight(words: &str) {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    let mark = moat.root().join("creating");
    let slow = format!(
        "case \"$*\" in {words}) touch '{}'; sleep 0.5 ;; esac\nexec docker \"$@\"\n",
        mark.display()
    );
    let moat = docker_through(moat, &slow);
    let client = moat.run_with(["-b"], ["sh", "-c", "exit 7"]).spawn();
    until("the container is about to be created", || mark.exists());
    let id = moat.only_id();
    kill(supervisor_of(&moat, &id));
    list(&moat);
    let client = client.wait();
    assert_eq!(client.code, Some(125), "the client: {client}");
    assert_over(&moat, &id, NEVER_STARTED, &[]);
    assert_eq!(adoptions(&moat, &id), 1);
}

#[test]
fn a_network_that_comes_late_is_found() {
    in_flight("'network create'*");
}

#[test]
fn a_service_that_comes_late_is_found() {
    in_flight("'create '*-redis' '*");
}
