//! Services cost a run no more time than they need themselves.

use serde_json::Value;

use crate::harness::{IMAGE, Runtime};
use crate::place::{MARIADB, POSTGRES, Place, REDIS, between};

/// What is measured on a busy machine is measured so often at most, until it is good enough.
const TRIES: usize = 3;

/// The services, and what each says when it can be used.
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

/// Runs with some of the services; the newest run's record.
fn run(place: &Place, services: &[(&str, &str, &str, &str)]) -> Value {
    let dependencies: Vec<&str> = services.iter().map(|service| service.1).collect();
    let configured: Vec<String> = services
        .iter()
        .map(|(name, _, image, _)| format!("  {name}: {{image: '{image}'}}\n"))
        .collect();
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [{}]\nservices:\n{}",
        dependencies.join(", "),
        configured.concat()
    ));
    let done = place.go(&["--json"], "true").any_stdout().success();
    done.json()
}

/// How long it took from the beginning of a run until its workload ran.
fn start(record: &Value) -> f64 {
    between(text(&record["created_at"]), text(&record["started_at"]))
}

/// How long after a server said that it can be used moat knew it.
fn delay(place: &Place, record: &Value, name: &str, words: &str) -> f64 {
    let id = record["id"].as_str().expect("an id");
    let log = place.service_log(id, name);
    let said = log.lines().rfind(|line| line.contains(words));
    let said: Value =
        serde_json::from_str(said.unwrap_or_else(|| panic!("{words} in {log}"))).expect("an entry");
    let ready = &place.service(id, name)["ready_at"];
    // The question may be asked and answered before the words have arrived.
    let after = between(text(&said["ts"]), text(ready));
    if after > 43_200.0 { 0.0 } else { after }
}

/// Together they take as long as the slowest of them, and readiness is noticed at once.
pub(crate) fn real_servers(runtime: Runtime) {
    let Some(place) = Place::alone(runtime, &[POSTGRES, REDIS, MARIADB]) else {
        return;
    };
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let mut alone = Vec::new();
        let mut late = Vec::new();
        for service in REAL {
            let record = run(&place, &[service]);
            alone.push(start(&record));
            late.push(delay(&place, &record, service.0, service.3));
        }
        let slowest = alone.iter().copied().fold(0.0, f64::max);
        let together = start(&run(&place, &REAL));
        let latest = late.iter().copied().fold(0.0, f64::max);
        let good = together <= slowest * 1.2 + 0.5 && latest <= 0.5;
        found.push(format!(
            "alone {alone:.2?} s, together {together:.2} s, noticed after {late:.2?} s"
        ));
        if good {
            return;
        }
    }
    panic!("{found:#?}");
}

/// The same where the time that a start takes is known, and costs nothing else.
pub(crate) fn servers_that_sleep(runtime: Runtime) {
    const SECONDS: f64 = 2.0;
    let Some(place) = Place::alone(runtime, &[]) else {
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
        let latest = late.iter().copied().fold(0.0, f64::max);
        if together <= alone * 1.2 + 0.5 && latest <= 0.5 {
            return;
        }
        found.push(format!(
            "alone {alone:.2} s, together {together:.2} s, noticed after {late:.2?} s"
        ));
    }
    panic!("{found:#?}");
}
