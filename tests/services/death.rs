//! A service that ends during its run: moat reports and records the end, and restarts the service if moat.yaml says
//! so.

use serde_json::{Value, json};

use crate::harness::support::{settled, wait_for};
use crate::harness::{IMAGE, Runtime, until, until_some};
use crate::services::place::{Place, REDIS, SERVERS, beside};

/// Waits until the record of a service meets a condition, and returns that record.
#[track_caller]
fn wait_service(place: &Place, id: &str, is: impl Fn(&Value) -> bool) -> Value {
    until_some("the service is as expected", || {
        Some(place.service(id, "redis")).filter(&is)
    })
}

/// With `wait: false` the workload does not wait for the service, and the record still says when it became ready.
pub(crate) fn nobody_waits_for_it(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.registry(
        "redis:\n  type: service\n  description: Ready when it is told\n  image: moat-test/busybox:{version}\n  \
         default: '1'\n  ports: {default: 1}\n  command: exec sleep 100\n  ready: test -e /tmp/ready\n",
    );
    place.moat_yaml(&beside("redis", "redis: {wait: false}"));
    let id = place.behind(&wait_for("go"));
    let service = place.service(&id, "redis");
    assert_eq!(
        (&service["state"], &service["ready_at"]),
        (&json!("starting"), &Value::Null)
    );
    place.engine(&[
        "exec",
        &place.container(&id, "redis"),
        "touch",
        "/tmp/ready",
    ]);
    wait_service(&place, &id, |service| service["state"] == "ready");
    place.write("go", "");
    place.args(["wait", &id]).success();
    place.assert_nothing_left();
}

pub(crate) fn the_run_goes_on_without_it(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, REDIS]) else {
        return;
    };
    place.moat_yaml(
        "name: shop\nbase_image: moat-test/servers:1\ndependencies: [redis@7]\n\
         services: {redis: {image: 'moat-test/redis:7'}}\n",
    );
    let id = place.behind(&format!(
        "redis-cli -u $MOAT_REDIS_URL ping 2>/dev/null; {} exit 7",
        wait_for("go")
    ));
    place.wait_log(&id, "PONG");
    let shown = |id: &str| {
        let done = place.args(["services", id]).any_stdout().success();
        let text = place.normal(&done.stdout_text());
        let rows: Vec<Vec<String>> = text
            .lines()
            .map(|line| {
                let cells = line.split("  ").map(str::trim);
                cells
                    .filter(|cell| !cell.is_empty())
                    .map(str::to_owned)
                    .collect()
            })
            .collect();
        rows
    };
    let header = [
        "NAME", "SERVICE", "STATE", "ADDRESS", "READY", "RESTARTS", "ERROR",
    ];
    let rows = shown(&id);
    assert_eq!(rows[0], header);
    assert_eq!(rows[1][..4], ["redis", "redis@7", "ready", "redis:6379"]);
    assert_eq!(rows[1][5..], ["0", "-"]);

    place.kill_service(&id, "redis");
    let service = wait_service(&place, &id, |service| service["state"] == "failed");
    assert_eq!(service["exit_code"], 137, "{service:#}");
    assert_eq!(service["error"], "ended with exit code 137");
    assert_eq!(service["oom_killed"], false);
    let rows = shown(&id);
    assert_eq!(
        rows[1],
        [
            "redis",
            "redis@7",
            "failed",
            "redis:6379",
            "-",
            "0",
            "ended with exit code 137"
        ]
    );
    let documents = place.args(["services", &id, "--json"]).any_stdout();
    let documents = documents.success().json();
    let document = &documents[0];
    assert_eq!(
        json!([
            document["name"],
            document["service"],
            document["version"],
            document["image"],
            document["state"],
            document["address"],
            document["exit_code"],
            document["oom_killed"],
            document["restarts"],
            document["error"],
        ]),
        json!([
            "redis",
            "redis",
            "7",
            REDIS,
            "failed",
            "redis:6379",
            137,
            false,
            0,
            "ended with exit code 137"
        ])
    );
    let times = ["started_at", "ready_at", "ended_at"].map(|key| document[key].as_str());
    assert!(
        times.iter().all(Option::is_some) && times.is_sorted(),
        "{documents:#}"
    );
    assert_eq!(place.record(&id)["state"], "running");
    place
        .args(["services", "--quiet"])
        .stdout("redis\n")
        .success();

    place.write("go", "");
    place.args(["wait", &id]).status(7);
    let record = settled(&place, &id);
    assert_eq!(
        (&record["state"], &record["exit_code"]),
        (&"failed".into(), &7.into())
    );
    assert_eq!(record["services"][0]["state"], "failed", "{record:#}");
    assert_eq!(record["services"][0]["exit_code"], 137, "{record:#}");
    let log = place.args(["logs", &id]).stdout("PONG\n").any_stderr();
    let log = log.success().stderr_text();
    let line = "moat: redis: ended with exit code 137; the run goes on without it\n";
    assert!(log.contains(line), "{log}");
    place.assert_nothing_left();
}

pub(crate) fn started_again(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, REDIS]) else {
        return;
    };
    place.moat_yaml(
        "base_image: moat-test/servers:1\ndependencies: [redis@7]\n\
         services: {redis: {image: 'moat-test/redis:7', restart: true}}\n",
    );
    let ping = "redis-cli -u $MOAT_REDIS_URL ping 2>/dev/null";
    // With netavark before 1.9, podman's network then has another address, and names do not resolve for a minute or
    // two.
    let again = match runtime.is_podman() {
        true => "echo PONG",
        false => ping,
    };
    let id = place.behind(&format!(
        "{ping}; {} {again}; {} {again}; {} exit 7",
        wait_for("one"),
        wait_for("two"),
        wait_for("three")
    ));
    let used = |times: usize| {
        until(&format!("it is used {times} times"), || {
            let log = std::fs::read_to_string(place.run_dir(&id).join("logs.jsonl"));
            log.is_ok_and(|log| log.matches("PONG").count() == times)
        });
    };
    for (count, file) in [(1, "one"), (2, "two")] {
        used(count);
        place.kill_service(&id, "redis");
        let service = wait_service(&place, &id, |service| {
            service["restarts"] == count && service["state"] == "ready"
        });
        assert_eq!(service["exit_code"], Value::Null, "{service:#}");
        assert_eq!(service["error"], Value::Null, "{service:#}");
        assert_eq!(service["ended_at"], Value::Null, "{service:#}");
        assert!(
            service["started_at"].as_str() < service["ready_at"].as_str(),
            "{service:#}"
        );
        place.write(file, "");
    }
    used(3);
    let rows = place.args(["services", &id]).any_stdout().success();
    assert!(rows.stdout_text().contains(" 2 "), "{rows}");
    place.write("three", "");
    place.args(["wait", &id]).status(7);
    settled(&place, &id);
    let service = place.service(&id, "redis");
    assert_eq!(service["state"], "stopped", "{service:#}");
    assert_eq!(service["restarts"], 2, "{service:#}");
    let log = place.args(["logs", &id]).stdout("PONG\nPONG\nPONG\n");
    let log = log.any_stderr().success().stderr_text();
    let line = "moat: redis: ended with exit code 137; restarting it\n";
    assert_eq!(log.matches(line).count(), 2, "{log}");
    assert_eq!(log.matches("moat: redis: ready after ").count(), 3, "{log}");
    // The log has the output of every start.
    let own = place.args(["logs", &id, "--service", "redis"]).any_stdout();
    let own = own.any_stderr().success().stdout_text();
    assert_eq!(
        own.matches("Ready to accept connections").count(),
        3,
        "{own}"
    );
    assert_eq!(service["log"]["complete"], true, "{service:#}");
    place.assert_nothing_left();
}

/// While a slow engine restarts the container, moat does not count the same end twice.
pub(crate) fn started_again_by_a_slow_engine(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    place.moat_yaml(&beside(
        "redis@7",
        &format!("redis: {{image: '{REDIS}', restart: true}}"),
    ));
    let id = place.behind(&format!("{} exit 7", wait_for("go")));
    place.slow_down();
    place.kill_service(&id, "redis");
    let service = wait_service(&place, &id, |service| {
        service["restarts"].as_u64() > Some(0) && service["state"] == "ready"
    });
    assert_eq!(service["restarts"], 1, "{service:#}");
    let first = service["started_at"].as_str().expect("a time").to_owned();
    // The service ends in another way, by a signal.
    place.engine(&["kill", "--signal", "TERM", &place.container(&id, "redis")]);
    let service = wait_service(&place, &id, |service| {
        service["restarts"].as_u64() > Some(1) && service["state"] == "ready"
    });
    assert_eq!(service["restarts"], 2, "{service:#}");
    assert!(service["started_at"].as_str() > Some(&first), "{service:#}");
    place.write("go", "");
    place.args(["wait", &id]).status(7);
    settled(&place, &id);
    let log = place
        .args(["logs", &id])
        .any_stderr()
        .success()
        .stderr_text();
    let ends: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("redis: ended"))
        .collect();
    assert_eq!(
        ends,
        [
            "moat: redis: ended with exit code 137; restarting it",
            "moat: redis: ended with exit code 0; restarting it"
        ]
    );
    place.assert_nothing_left();
}

/// A service that ends after every start is restarted with a growing backoff, and ends with its run.
pub(crate) fn started_again_and_again(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.registry(
        "short:\n  type: service\n  description: Soon over\n  image: moat-test/busybox:{version}\n  default: '1'\n  \
         ports: {default: 1}\n  command: [sh, -c, 'echo up; sleep 2; exit 3']\n  ready: [\"true\"]\n"
    );
    place.moat_yaml(&format!(
        "base_image: {IMAGE}\ndependencies: [short]\nservices: {{short: {{restart: true}}}}\n"
    ));
    let id = place.behind(&format!("{} exit 7", wait_for("go")));
    until("the service was started three times", || {
        place.service(&id, "short")["restarts"].as_u64() >= Some(2)
    });
    place.write("go", "");
    place.args(["wait", &id]).status(7);
    settled(&place, &id);
    place.assert_nothing_left();
}

pub(crate) fn a_run_without_services(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[]) else {
        return;
    };
    place.moat_yaml(&format!("base_image: {IMAGE}\n"));
    place.quiet("true").success();
    let id = place.only_id();
    place
        .args(["services", &id, "--json"])
        .stdout("[]\n")
        .success();
    place
        .args(["services"])
        .stderr("[ID] has no services\n")
        .success();
    place.args(["services", "--quiet"]).success();
    assert!(place.networks().is_empty());
}
