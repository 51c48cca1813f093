//! The published ports of the host are known after a crash, too.

use crate::harness::support::{
    Docker, EXITED_7, assert_ended, kill, kill_supervisor, list, wait_for,
};
use crate::harness::{Moat, until, until_some};

/// The port of the host in the record.
fn port(moat: &Moat, id: &str) -> Option<u64> {
    moat.record(id)["ports"][0]["host"].as_u64()
}

fn script() -> String {
    wait_for("go") + "exit 7"
}

#[test]
fn docker_killed_before_they_are_known() {
    let Some(moat) = Moat::on(Docker) else { return };
    moat.write("moat.yaml", "ports: {web: 8000}\n");
    let call = moat.run_with(["-b"], ["sh", "-c", &script()]);
    let client = call.checkpoint("attached").spawn();
    kill(moat.wait_checkpoint("attached"));
    list(&moat);
    let done = client.wait();
    assert_eq!(done.code, Some(0), "{done}");
    let id = moat.only_id();
    assert!(
        port(&moat, &id).is_some(),
        "the record has the ports when the run has started"
    );
    moat.write("go", "");
    assert_ended(&moat, &id, EXITED_7);
}

#[test]
fn docker_killed_while_it_runs() {
    let Some(moat) = Moat::on(Docker) else { return };
    moat.write("moat.yaml", "ports: {web: 8000}\n");
    let id = moat.background(&script());
    let before = until_some("the port is known", || port(&moat, &id));
    kill_supervisor(&moat, &id);
    list(&moat);
    until("a new supervisor takes over", || {
        crate::harness::support::adoptions(&moat, &id) == 1
    });
    assert_eq!(port(&moat, &id), Some(before));
    moat.write("go", "");
    assert_ended(&moat, &id, EXITED_7);
}
