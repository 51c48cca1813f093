//! Services on podman: names on the run's network, readiness, and removal.

use crate::harness::{IMAGE, Moat, Runtime, skip};

const TWO: &str = "\
base_image: moat-test/servers:1
dependencies: [postgres@15, redis@7]
services:
  postgres: {image: moat-test/postgres:15}
  redis: {image: moat-test/redis:7}
";

/// Returns a place on podman if it has the image.
fn place(image: &str) -> Option<Moat> {
    let moat = Moat::on(Runtime::Podman)?;
    let found = moat.client().args(["image", "inspect", image]).output();
    if !found.unwrap().status.success() {
        skip(&format!("podman has no {image} (tests/setup podman)"));
        return None;
    }
    Some(moat)
}

#[track_caller]
fn assert_nothing_left(moat: &Moat) {
    assert_eq!(moat.leftovers(), Vec::<String>::new());
    assert!(moat.containers().is_empty() && moat.networks().is_empty());
}

#[test]
fn by_url_and_by_name() {
    let Some(moat) = place("moat-test/postgres:15") else {
        return;
    };
    moat.write("moat.yaml", TWO);
    let script = r#"set -eu
psql -qAt "$MOAT_POSTGRES_URL" -c 'create table t (v text)' -c "insert into t values ('from postgres')"
PGPASSWORD=$MOAT_POSTGRES_PASSWORD psql -qAt -h postgres -U "$MOAT_POSTGRES_USER" -d "$MOAT_POSTGRES_DB" -c 'select v from t'
redis-cli -u "$MOAT_REDIS_URL" set k x 2>/dev/null
redis-cli -h redis get k 2>&1 | grep -o NOAUTH | head -n 1
echo alone >&2
"#;
    // podman's messages about its networks are not in the workload's output.
    moat.args(["run", "-q", "--", "bash", "-c", script])
        .stdout("from postgres\nOK\nNOAUTH\n")
        .stderr("alone\n")
        .success();
    let record = moat.record(&moat.only_id());
    for service in record["services"].as_array().unwrap() {
        assert_eq!(service["state"], "stopped", "{record:#}");
    }
    assert_nothing_left(&moat);
}

/// A service that dies while it starts fails the run, and the error says why.
#[test]
fn a_service_that_dies_while_starting() {
    let Some(moat) = place("moat-test/redis:7") else {
        return;
    };
    moat.write(
        "moat.yaml",
        format!(
            "base_image: {IMAGE}\ndependencies: [redis@7]\nservices:\n  redis: {{image: {IMAGE}}}\n"
        ),
    );
    let done = moat
        .args(["run", "-q", "--", "true"])
        .any_stderr()
        .status(125);
    let said = done.stderr_text();
    assert!(said.contains("redis") && said.contains("127"), "{done}");
    assert_nothing_left(&moat);
}

#[test]
fn stopped_with_its_services() {
    let Some(moat) = place("moat-test/redis:7") else {
        return;
    };
    moat.write("moat.yaml", TWO);
    let call = moat.args(["run", "-q", "-b", "--", "sleep", "1000"]);
    let id = call.any_stdout().success().stdout_text().trim().to_owned();
    assert_eq!(moat.containers().len(), 3);
    moat.args(["stop", "--time", "1", &id])
        .any_stdout()
        .success();
    assert_eq!(moat.record(&id)["reason"], "user-stop");
    assert_nothing_left(&moat);
}
