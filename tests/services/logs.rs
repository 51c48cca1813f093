//! `moat logs --service`: the output of a service, followed and afterwards.

use serde_json::Value;

use crate::harness::support::wait_for;
use crate::harness::{IMAGE, Runtime, until};
use crate::services::place::Place;

/// A service that prints each line that is written to a file in its cache.
const TALKER: &str = "\
talker:
  type: service
  description: Says what it is told
  image: moat-test/busybox:{version}
  default: '1'
  ports: {default: 1}
  cache: /told
  command: |
    touch /told/lines
    echo to-stderr >&2
    exec tail -f /told/lines
  ready: test -e /told/lines
";

fn talker(runtime: Runtime) -> Option<Place> {
    let place = Place::with(runtime, &[])?;
    place.registry(TALKER);
    place.moat_yaml(&format!("base_image: {IMAGE}\ndependencies: [talker]\n"));
    Some(place)
}

/// Makes the service print this text.
fn tell(place: &Place, text: &str) {
    let path = place.home().join("cache/talker/lines");
    let mut all = std::fs::read(&path).expect("it is there");
    all.extend_from_slice(text.as_bytes());
    std::fs::write(path, all).expect("its lines");
}

pub(crate) fn what_a_service_says(runtime: Runtime) {
    let Some(place) = talker(runtime) else { return };
    let id = place.behind(&format!("{} exit 7", wait_for("go")));
    let logs = |flags: &[&str]| place.args(["logs", &id, "--service", "talker"]).args(flags);
    let follower = logs(&["-f", "--stdout"]).spawn();
    tell(&place, "one\ntwo\n");
    follower.wait_stdout("one\ntwo\n");
    until("the log has both lines", || {
        place.service_log(&id, "talker").contains("two")
    });
    logs(&[])
        .stdout("one\ntwo\n")
        .stderr("to-stderr\n")
        .success();
    logs(&["--stderr"]).stderr("to-stderr\n").success();
    logs(&["-n", "1"]).stdout("two\n").success();
    logs(&["--raw", "--stdout"]).stdout("one\ntwo\n").success();
    let json = logs(&["--json", "--stdout"]).any_stdout().success();
    let entries: Vec<Value> = json
        .stdout_text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let lines: Vec<_> = entries.iter().map(|entry| &entry["line"]).collect();
    assert_eq!(lines, ["one", "two"]);
    assert!(entries.iter().all(|entry| entry["stream"] == "stdout"));
    // The service's output is not in the workload's output.
    place.args(["logs", &id, "--raw"]).success();
    tell(&place, "last words\n");
    follower.wait_stdout("last words\n");
    place.write("go", "");
    let done = follower.wait();
    assert_eq!(
        (done.code, done.stdout_text().as_str()),
        (Some(0), "one\ntwo\nlast words\n"),
        "{done}"
    );
    place.args(["wait", &id]).status(7);
    logs(&["-f", "--stdout"])
        .stdout("one\ntwo\nlast words\n")
        .success();
}

/// An unknown service name is an error that lists the services of the run.
pub(crate) fn unknown_services(runtime: Runtime) {
    let Some(place) = talker(runtime) else { return };
    place.quiet("true").success();
    let id = place.only_id();
    place
        .args(["logs", &id, "--service", "talkr"])
        .stderr(
            "error: [ID]: unknown service 'talkr' (did you mean 'talker'?)\n  \
             hint: see them all: moat services [ID]\n",
        )
        .status(1);
    place
        .args(["logs", "--service", "../../run"])
        .stderr(
            "error: [ID]: unknown service '../../run'\n  \
             hint: see them all: moat services [ID]\n",
        )
        .status(1);
}
