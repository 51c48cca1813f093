//! Services delay a run only by the time that the services themselves need.

use serde_json::Value;

use crate::harness::{IMAGE, Runtime};
use crate::services::place::{MARIADB, POSTGRES, Place, REDIS, between};

/// The number of attempts: on a busy machine one measurement may be too slow.
const TRIES: usize = 8;

/// The services, and the line that each prints when it accepts connections.
const REAL: [(&str, &str, &str, &str); 3] = [
    (
        "postgres",
        "postgres@15",
        POSTGRES,
        "database system is ready to accept connections",
    ),
    ("redis", "redis@7", REDIS, "Ready to accept connections"),
    ("mariadb", "mariadb@10.11", MARIADB, "ready for connections"),
];

fn text(time: &Value) -> &str {
    time.as_str().expect("a time")
}

/// Runs with the services, and returns the run's record.
fn run(place: &Place) -> Value {
    let dependencies = REAL.map(|service| service.1);
    let configured = REAL.map(|(name, _, image, _)| format!("  {name}: {{image: '{image}'}}\n"));
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [{}]\nservices:\n{}",
        dependencies.join(", "),
        configured.concat()
    ));
    let done = place.go(&["--json"], "true").any_stdout().success();
    done.json()
}

/// Returns the seconds from the creation of a run to the start of its workload.
fn start(record: &Value) -> f64 {
    between(text(&record["created_at"]), text(&record["started_at"]))
}

/// Returns the seconds from a server's own message that it is ready until moat recorded it.
fn delay(place: &Place, record: &Value, name: &str, words: &str) -> f64 {
    let id = record["id"].as_str().expect("an id");
    let log = place.service_log(id, name);
    let said = log.lines().rfind(|line| line.contains(words));
    let said: Value =
        serde_json::from_str(said.unwrap_or_else(|| panic!("{words} in {log}"))).expect("an entry");
    let ready = &place.service(id, name)["ready_at"];
    // The readiness command may succeed before the message has arrived.
    let after = between(text(&said["ts"]), text(ready));
    if after > 43_200.0 { 0.0 } else { after }
}

/// The services start in parallel, moat notices at once that they are ready, and waits for nothing else. The time
/// that the servers themselves need is not limited.
pub(crate) fn real_servers(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[POSTGRES, REDIS, MARIADB]) else {
        return;
    };
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let record = run(&place);
        let after = |time: &Value| between(text(&record["created_at"]), text(time));
        let of = |name: &str, what: &str| {
            let service = place.service(text(&record["id"]), name);
            after(&service[what])
        };
        let began = REAL.map(|service| of(service.0, "started_at"));
        let ready = REAL.map(|service| of(service.0, "ready_at"));
        let late = REAL.map(|service| delay(&place, &record, service.0, service.3));
        let runs = after(&record["started_at"]);
        // redis is ready at once.
        let together = longest(&began) < ready[0].min(ready[2]);
        if together && longest(&late) <= 0.5 && runs - longest(&ready) <= 1.0 {
            return;
        }
        found.push(format!(
            "began after {began:.2?} s, ready after {ready:.2?} s, the workload after {runs:.2} s, noticed after {late:.2?} s"
        ));
    }
    panic!("{found:#?}");
}

fn longest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

/// The same with services that need a known time and no processor.
pub(crate) fn servers_that_sleep(runtime: Runtime) {
    const SECONDS: f64 = 2.0;
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.registry(&format!(
        "sleeper:\n  type: service\n  description: Takes its time\n  image: moat-test/busybox:{{version}}\n  \
         default: '1'\n  ports: {{default: 1}}\n  \
         command: sleep {SECONDS}; touch /tmp/ready; echo ready; exec sleep 100\n  \
         ready: test -e /tmp/ready\n"
    ));
    let start_with = |services: &[&str]| {
        let services: String = services
            .iter()
            .map(|name| format!("  {name}: {{service: sleeper}}\n"))
            .collect();
        place.moat_yaml(&format!(
            "base_image: {IMAGE}\ndependencies: [sleeper]\nservices:\n  sleeper: {{}}\n{services}"
        ));
        let done = place.go(&["--json"], "true").any_stdout().success();
        done.json()
    };
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let alone = start(&start_with(&[]));
        assert!(alone >= SECONDS, "{alone}");
        let record = start_with(&["two", "three"]);
        let together = start(&record);
        let late = ["sleeper", "two", "three"].map(|name| delay(&place, &record, name, "ready"));
        if together <= alone * 1.2 + 0.5 && longest(&late) <= 0.5 {
            return;
        }
        found.push(format!(
            "alone {alone:.2} s, together {together:.2} s, noticed after {late:.2?} s"
        ));
    }
    panic!("{found:#?}");
}
