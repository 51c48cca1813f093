//! `services` in moat.yaml: valid settings work, and each error names the place, the reason and the correct form.

use serde_json::json;

use crate::harness::Moat;

/// Returns a place whose runtime is named but never reached.
fn unreached() -> Moat {
    Moat::new().env("MOAT_RUNTIME", "docker")
}

/// Asserts that `check` and `run` report these errors for a moat.yaml.
#[track_caller]
fn says(moat: &Moat, yaml: &str, message: &str) {
    moat.write("moat.yaml", yaml);
    moat.args(["check"]).stdout(message).status(1);
    // Each error begins a line; indented lines continue it.
    let lines: Vec<String> = message
        .lines()
        .map(|line| match line.starts_with(' ') {
            true => format!("{line}\n"),
            false => format!("error: {line}\n"),
        })
        .collect();
    let call = moat.args(["run", "--", "true"]);
    call.stderr(lines.concat()).status(125);
    assert!(!moat.home().exists(), "MOAT_HOME was made");
}

/// The same as [`says`], with `dependencies: [ollama, postgres, redis]` in front.
#[track_caller]
fn of_services(services: &str, message: &str) {
    let yaml = format!("dependencies: [ollama, postgres, redis]\nservices:\n  {services}\n");
    says(&unreached(), &yaml, message);
}

#[test]
fn everything_that_a_service_can_have() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "dependencies: [postgres@15, ollama@0.18.1]\n\
         services:\n  \
           postgres: {image: my/pg:1, memory: 512, cpus: 1.5, wait: true, timeout: 90s, restart: true, env: {A: b}}\n  \
           analytics: {service: postgres@16, memory: 1g, cpus: 2, wait: false}\n  \
           reports: {service: postgres}\n  \
           ollama: {models: []}\n  \
           more: {service: ollama, models: [tiny]}\n",
    );
    moat.args(["check"]).stderr("nothing is wrong\n").success();
    let call = moat.args(["run", "--dry-run", "--json", "--", "true"]);
    let plan = call.any_stdout().success().json();
    let services = plan["services"].as_array().expect("services");
    let brief: Vec<_> = services
        .iter()
        .map(|service| {
            json!([
                service["name"],
                service["service"],
                service["version"],
                service["image"],
                service["memory_bytes"],
                service["cpus"],
                service["ready_seconds"],
                service["restart"],
                service["wait"],
                service["provision"]["items"],
            ])
        })
        .collect();
    assert_eq!(
        json!(brief),
        json!([
            [
                "postgres", "postgres", "15", "my/pg:1", 536870912, 1.5, 90.0, true, true, null
            ],
            [
                "ollama",
                "ollama",
                "0.18.1",
                "ollama/ollama:0.18.1",
                null,
                null,
                60.0,
                false,
                true,
                null
            ],
            [
                "analytics",
                "postgres",
                "16",
                "postgres:16",
                1073741824,
                2.0,
                60.0,
                false,
                false,
                null
            ],
            [
                "reports",
                "postgres",
                "15",
                "postgres:15",
                null,
                null,
                60.0,
                false,
                true,
                null
            ],
            [
                "more",
                "ollama",
                "0.18.1",
                "ollama/ollama:0.18.1",
                null,
                null,
                60.0,
                false,
                true,
                ["tiny"]
            ],
        ])
    );
    let text = moat.args(["run", "--dry-run", "--", "true"]).any_stdout();
    let text = text.success().stdout_text();
    for line in [
        "service      postgres (postgres@15), image my/pg:1, restarted when it ends\n",
        "service      analytics (postgres@16), image postgres:16, which the workload does not wait for\n",
        "             models: tiny\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn unknown_keys() {
    of_services(
        "postgres: {memroy: 512, imgae: x, models: [a]}",
        "moat.yaml:3:14: unknown key 'memroy' (did you mean 'memory'?)\n\
         moat.yaml:3:27: unknown key 'imgae' (did you mean 'image'?)\n\
         moat.yaml:3:37: unknown key 'models'\n",
    );
    of_services(
        "ollama: {model: [a]}",
        "moat.yaml:3:12: unknown key 'model' (did you mean 'models'?)\n",
    );
}

#[test]
fn values_of_the_wrong_type() {
    of_services(
        "ollama: {models: tiny}",
        "moat.yaml:3:20: 'models' must be a list: [tiny]\n",
    );
    of_services(
        "ollama: {models: {a: b}}",
        "moat.yaml:3:20: 'models' must be a list\n",
    );
    of_services(
        "postgres: 3",
        "moat.yaml:3:13: expected keys and values, found the number 3\n",
    );
    of_services(
        "postgres: {timeout: 5, cpus: x, wait: 1, restart: yes please, memory: 3, image: '', env: 3, service: 4}",
        "moat.yaml:3:23: expected text, found the number 5\n\
         moat.yaml:3:32: bad number of cpus 'x' (write a number of at least 0.01, e.g. 2 or 0.5)\n\
         moat.yaml:3:41: expected true or false, found the number 1\n\
         moat.yaml:3:53: expected true or false, found 'yes please'\n\
         moat.yaml:3:73: bad memory size '3': it is less than 6m (write a number of megabytes, or a number with k, m, g or t: 512m, 2g, 1GiB)\n\
         moat.yaml:3:83: expected text, found an empty text\n\
         moat.yaml:3:92: expected keys and values, found the number 3\n\
         moat.yaml:3:104: expected text, found the number 4\n",
    );
    of_services(
        "postgres: {env: {A=B: x, C: [y], D: env://1=}, image: 'a b', timeout: soon}",
        "moat.yaml:3:20: bad variable name 'A=B' (not empty, no '=' and no NUL)\n\
         moat.yaml:3:31: expected a single value, found a list\n\
         moat.yaml:3:39: bad variable name '1=' (write env://NAME, file://PATH, op://VAULT/ITEM/FIELD or ssm://PARAMETER)\n\
         moat.yaml:3:57: bad image 'a b' (write NAME, NAME:TAG or NAME@sha256:DIGEST)\n\
         moat.yaml:3:73: bad duration 'soon' (write a number with its unit, e.g. 90s, 10m, 1h30m; at most a year)\n",
    );
}

/// Models can only be downloaded after the service is ready.
#[test]
fn wait_false_and_models() {
    of_services(
        "ollama: {wait: false, models: [tiny]}",
        "moat.yaml:3:12: 'wait: false' conflicts with 'models': items are downloaded after ollama is ready\n",
    );
}

#[test]
fn configured_and_not_asked_for() {
    let moat = unreached();
    says(
        &moat,
        "services:\n  redis: {memory: 64}\n",
        "moat.yaml:2:3: 'redis' is configured here but is not a dependency; add these lines:\n  \
         dependencies:\n    - redis@7\n",
    );
    says(
        &moat,
        "dependencies: [redis]\nservices:\n  a: {service: postgres@15}\n  b: {service: ollama}\n",
        "moat.yaml:3:16: 'postgres' is configured here but is not a dependency; add these lines:\n  \
         dependencies:\n    - postgres@15\n\
         moat.yaml:4:16: 'ollama' is configured here but is not a dependency; add these lines:\n  \
         dependencies:\n    - ollama@0.18.1\n",
    );
    // In JSON the lines are one text.
    moat.write("moat.yaml", "services: {redis: {}}\n");
    let report = moat.args(["check", "--json"]).any_stdout().status(1).json();
    assert_eq!(
        report["problems"][0]["message"],
        "'redis' is configured here but is not a dependency; add these lines:\n  dependencies:\n    - redis@7"
    );
}

#[test]
fn versions_that_do_not_exist() {
    let versions = "the versions are 0.16.3, 0.17.7, 0.18.0, 0.18.1 (default 0.18.1)\n";
    let moat = unreached();
    says(
        &moat,
        "dependencies: [ollama@0.9]\n",
        &format!("moat.yaml:1:16: ollama@0.9 does not exist; {versions}"),
    );
    // The service may also be configured: the version is the only error.
    says(
        &moat,
        "dependencies: [ollama@0.9]\nservices:\n  ollama: {models: [tiny]}\n  more: {service: ollama}\n",
        &format!("moat.yaml:1:16: ollama@0.9 does not exist; {versions}"),
    );
    of_services(
        "more: {service: ollama@0.9}",
        &format!("moat.yaml:3:19: ollama@0.9 does not exist; {versions}"),
    );
}

#[test]
fn instances_of_what_is_not_there() {
    const KNOWN: &str = "an instance of a service names it: 'service: NAME'; there are elasticsearch, mailpit, mariadb, \
                         ministack, mysql, ollama, postgres, rabbitmq, redis, valkey";
    of_services(
        "a: {service: postgers}",
        &format!(
            "moat.yaml:3:16: unknown service 'postgers' (did you mean 'postgres'?); {KNOWN}\n"
        ),
    );
    of_services(
        "posgres: {memory: 64}",
        &format!("moat.yaml:3:3: unknown service 'posgres' (did you mean 'postgres'?); {KNOWN}\n"),
    );
    // A tool is not a service.
    let moat = unreached();
    says(
        &moat,
        "dependencies: [jq]\nservices: {a: {service: jq}}\n",
        &format!("moat.yaml:2:25: unknown service 'jq'; {KNOWN}\n"),
    );
    of_services(
        "postgres: {service: redis}",
        "moat.yaml:3:23: 'postgres' is a service itself; choose another name\n",
    );
}

#[test]
fn names_of_instances() {
    let long = "a".repeat(41);
    for bad in [
        "A",
        "a_b",
        "1a",
        "-a",
        "a-",
        "a.b",
        "a b",
        "localhost",
        &long,
        "é",
        "''",
    ] {
        let shown = bad.trim_matches('\'');
        of_services(
            &format!("{bad}: {{service: redis}}"),
            &format!(
                "moat.yaml:3:3: bad name of a service '{shown}' (a-z, 0-9 and '-', a letter first)\n"
            ),
        );
    }
}

/// Two services that would set the same variables of the workload.
#[test]
fn names_that_clash() {
    let moat = unreached();
    says(
        &moat,
        "dependencies: [mailpit]\nservices:\n  mailpit-web: {service: mailpit}\n",
        "moat.yaml:3:3: this service and 'mailpit' would both set MOAT_MAILPIT_WEB_PORT; choose another name\n",
    );
}

#[test]
fn without_an_engine() {
    let moat = Moat::new().env("MOAT_RUNTIME", "bwrap");
    says(
        &moat,
        "dependencies: [postgres@15, redis]\n",
        "moat.yaml:1:16: 'postgres@15' is a service, and bwrap runs none; use the runtime docker\n\
         moat.yaml:1:29: 'redis' is a service, and bwrap runs none; use the runtime docker\n",
    );
    says(
        &moat,
        "dependencies: [redis]\nservices:\n  redis: {memory: 64}\n",
        "moat.yaml:1:16: 'redis' is a service, and bwrap runs none; use the runtime docker\n\
         moat.yaml:3:3: 'services' does not work on bwrap, which has no sidecars; use the runtime docker\n",
    );
}
