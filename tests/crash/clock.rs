//! The engine may be on another machine, with another clock.

use crate::harness::support::{docker_through, settled, wait_for};
use crate::harness::{Moat, Runtime};

/// An engine whose clock is years behind when a container ends.
fn place() -> Option<Moat> {
    let moat = Moat::on(Runtime::Docker)?;
    let late = "[ \"$1\" = inspect ] || exec docker \"$@\"\n\
                docker \"$@\" | sed 's/\"FinishedAt\":\"20[0-9][0-9]/\"FinishedAt\":\"2001/'\n";
    Some(docker_through(moat, late))
}

fn loops() -> String {
    format!("echo ready; {}", wait_for("never"))
}

#[test]
fn time_that_is_up_is_said_to_be_up() {
    let Some(moat) = place() else { return };
    let call = moat.run_with(["--timeout", "1s"], ["sh", "-c", &loops()]);
    call.stdout("ready\n").any_stderr().status(124);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "timeout", "{record:#}");
}

#[test]
fn a_stop_is_said_to_be_a_stop() {
    let Some(moat) = place() else { return };
    let id = moat.background(&loops());
    moat.args(["stop", &id]).any_stdout().success();
    let record = settled(&moat, &id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into()),
        "{record:#}"
    );
}
