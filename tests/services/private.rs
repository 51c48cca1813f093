//! A service belongs to its run: only the run's workload reaches it, and its container is labelled, limited and
//! hardened.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::support::wait_for;
use crate::harness::{Runtime, until, until_some};
use crate::services::place::{Place, REDIS, SERVERS, inspect, lookup_attempts};

const YAML: &str = "\
base_image: moat-test/servers:1
dependencies: [redis@7]
services:
  redis: {image: moat-test/redis:7, memory: 64, cpus: 0.5}
  only-here: {service: redis, image: moat-test/redis:7}
";

const BOTH: &str = "\
base_image: moat-test/servers:1
dependencies: [redis@7]
services:
  redis: {image: moat-test/redis:7}
  only-here: {service: redis, image: moat-test/redis:7}
";

/// The settings of the engine that isolate a container.
const HARDENING: [&str; 9] = [
    "CapAdd",
    "CapDrop",
    "Init",
    "IpcMode",
    "PidsLimit",
    "Privileged",
    "PublishAllPorts",
    "SecurityOpt",
    "UsernsMode",
];

fn answers(port: u16) -> bool {
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

pub(crate) fn containers_and_networks_of_services(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, REDIS]) else {
        return;
    };
    let was_open = answers(6379);
    place.moat_yaml(YAML);
    let id = place.behind(&format!("touch is-up; {}", wait_for("go")));
    until("the workload is up", || {
        place.workspace().join("is-up").exists()
    });
    let service = inspect(&place, &place.container(&id, "redis"));
    let other = inspect(&place, &place.container(&id, "only-here"));
    let main = inspect(&place, &id);

    // The host cannot reach the service.
    for container in [&service, &other] {
        let bindings = &container["HostConfig"]["PortBindings"];
        assert!(
            bindings.is_null() || *bindings == json!({}),
            "published: {bindings}"
        );
        let ports = container["NetworkSettings"]["Ports"].as_object();
        let mut ports = ports.expect("ports").iter();
        assert!(ports.all(|(_, host)| host.is_null()), "{container:#}");
        assert_ne!(container["HostConfig"]["NetworkMode"], "host");
    }
    assert!(was_open || !answers(6379), "127.0.0.1:6379 answers");

    // The container has exactly these moat labels.
    let labels = |container: &Value| -> Value {
        let all = container["Config"]["Labels"].as_object().expect("labels");
        let ours = all.iter().filter(|(name, _)| name.starts_with("moat."));
        Value::Object(
            ours.map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    };
    let home = place.label();
    assert_eq!(
        labels(&service),
        json!({
            "moat.home": home, "moat.run": id, "moat.role": "service", "moat.service": "redis",
            "moat.handle": format!("{id}-redis")
        })
    );
    assert_eq!(labels(&other)["moat.service"], "only-here");
    assert_eq!(
        labels(&main),
        json!({ "moat.home": home, "moat.run": id, "moat.role": "main", "moat.handle": id })
    );

    // Each service has its own limits.
    let limits = |container: &Value| -> Vec<u64> {
        let keys = ["Memory", "MemorySwap", "NanoCpus"].iter();
        keys.map(|key| container["HostConfig"][key].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(limits(&service), [64 << 20, 64 << 20, 500_000_000]);
    assert_eq!(limits(&other), [0, 0, 0]);
    assert_eq!(limits(&main), [0, 0, 0]);

    // The service is as hardened as the workload.
    for key in HARDENING {
        let (found, expected) = (&service["HostConfig"][key], &main["HostConfig"][key]);
        assert_eq!(found, expected, "{key}");
    }
    assert_eq!(main["HostConfig"]["CapDrop"], json!(["ALL"]));
    assert_eq!(main["HostConfig"]["Privileged"], false);

    // The run has a network of its own, with no other container.
    let network = place.engine(&["network", "inspect", &id]);
    let network: Value = serde_json::from_str(&network).expect("JSON");
    assert_eq!(
        network[0]["Labels"],
        json!({ "moat.home": home, "moat.run": id })
    );
    let on_it = network[0]["Containers"].as_object().expect("containers");
    assert_eq!(on_it.len(), 3, "{on_it:?}");
    for container in [&service, &other, &main] {
        let networks = container["NetworkSettings"]["Networks"].as_object();
        let networks: Vec<&String> = networks.expect("networks").keys().collect();
        assert_eq!(networks, [&id]);
    }

    place.write("go", "");
    place.args(["wait", &id]).success();
    place.assert_nothing_left();
}

/// Another run, which has a service with the same name, cannot reach this one.
pub(crate) fn no_other_run_reaches_them(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, REDIS]) else {
        return;
    };
    place.moat_yaml(BOTH);
    // Only the service's own workload knows its address.
    let attempts = lookup_attempts(runtime);
    let id = place.behind(&format!(
        "for attempt in {attempts}; do getent hosts only-here >found && break; sleep 0.2; done; \
         cut -d ' ' -f 1 <found >at; mv at address; {}",
        wait_for("go")
    ));
    let address = until_some("the workload has written the address", || {
        std::fs::read_to_string(place.workspace().join("address")).ok()
    });
    let address = address.trim();
    assert!(address.contains('.'), "{address}");
    place.moat_yaml(&BOTH.replace(
        "  only-here: {service: redis, image: moat-test/redis:7}\n",
        "",
    ));
    let probe = "getent hosts only-here >/dev/null && echo found; \
                 timeout 2 redis-cli -h ADDRESS ping 2>&1 | grep -q NOAUTH && echo reached; \
                 for attempt in ATTEMPTS; do \
                     redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null && break; sleep 0.2; done";
    let probe = probe
        .replace("ADDRESS", address)
        .replace("ATTEMPTS", attempts);
    place.quiet(&probe).stdout("PONG\n").success();
    place.write("go", "");
    place.args(["wait", &id]).success();
    place.assert_nothing_left();
}
