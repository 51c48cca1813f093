//! Container services of sessions, on a real engine: each session has its own services, the host reaches them on the
//! loopback interface, and none of their resources or data is left over or lost.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Call, IMAGE, Moat, Running, Runtime, Signal, amount, until};
use crate::sessions::project::{IDLE, Project, is_busy, proxies, tree};

pub(crate) const REDIS: &str = "moat-test/redis:7";
const POSTGRES: &str = "moat-test/postgres:15";

/// A project whose sessions have these services. BASE in the text stands for a port.
fn project(yaml: &str) -> Option<Project> {
    on(Runtime::Docker, yaml)
}

pub(crate) fn on(runtime: Runtime, yaml: &str) -> Option<Project> {
    let moat = Moat::on(runtime)?;
    for image in [REDIS, POSTGRES]
        .into_iter()
        .filter(|image| yaml.contains(image))
    {
        let mut look = moat.client();
        let there = look
            .args(["image", "inspect", "--format", "there", image])
            .output();
        if !there.is_ok_and(|there| there.status.success()) {
            crate::harness::skip(&format!("{image} is not there (tests/setup images)"));
            return None;
        }
    }
    let project = Project::at(moat, "  search_range: 1");
    write(&project, yaml);
    project.commit("file", "with moat.yaml\n");
    Some(project)
}

pub(crate) fn write(project: &Project, yaml: &str) {
    let yaml = yaml.replace("BASE", &project.base.to_string());
    fs::write(project.repo.join("moat.yaml"), yaml).unwrap();
}

/// A moat.yaml with a redis, more settings below `redis:`, and the text below `session:`.
pub(crate) fn redis(more: &str, session: &str) -> String {
    format!(
        "dependencies: [redis@7]\nservices:\n  redis: {{image: {REDIS}, port: BASE{more}}}\nsession:\n  search_range: 1\n{session}"
    )
}

/// Adds a service to the user's registry that starts at once and runs this command.
fn lazy(project: &Project, command: &str, ready: &str) {
    lazies(project, &["lazy"], command, ready);
}

/// Adds several such services.
pub(crate) fn lazies(project: &Project, names: &[&str], command: &str, ready: &str) {
    let entry = |name: &&str| {
        format!(
            "{name}:\n  type: service\n  description: a test\n  versions: [\"1\"]\n  default: \"1\"\n  image: \"moat-test/busybox:{{version}}\"\n  ports: {{default: 80}}\n  command: {command}\n  ready: {ready}\n"
        )
    };
    let entries: String = names.iter().map(entry).collect();
    project.moat.registry(&entries);
}

fn service<'a>(document: &'a Value, name: &str) -> &'a Value {
    let services = document["services"].as_array().unwrap();
    let mut services = services.iter();
    services.find(|service| service["name"] == name).unwrap()
}

pub(crate) fn container(document: &Value, name: &str) -> String {
    service(document, name)["container"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn port(document: &Value, name: &str) -> u16 {
    u16::try_from(service(document, name)["ports"][0].as_u64().unwrap()).unwrap()
}

/// Returns the answer of a session's redis to one command.
#[track_caller]
pub(crate) fn ask(document: &Value, command: &str) -> String {
    let env = |name: &str| document["env"][name].as_str().expect(name).to_owned();
    let address = (
        env("MOAT_REDIS_HOST"),
        env("MOAT_REDIS_PORT").parse::<u16>().unwrap(),
    );
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "AUTH {}\r\n{command}\r\n",
        env("MOAT_REDIS_PASSWORD")
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "+OK", "the password");
    let line = lines.next().unwrap().unwrap();
    match line.starts_with('$') && line != "$-1" {
        true => lines.next().unwrap().unwrap(),
        false => line,
    }
}

/// Stores a word in the redis of a session, on its disk too.
#[track_caller]
pub(crate) fn remember(document: &Value, word: &str) {
    assert_eq!(ask(document, &format!("SET who {word}")), "+OK");
    assert_eq!(ask(document, "SAVE"), "+OK");
}

#[track_caller]
pub(crate) fn engine(project: &Project, args: &[&str]) -> String {
    let done = project.moat.client().args(args).output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{args:?}: {words}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

#[track_caller]
pub(crate) fn assert_nothing(project: &Project) {
    project.assert_nothing();
    assert_eq!(project.moat.containers(), Vec::<String>::new());
    assert_eq!(project.moat.networks(), Vec::<String>::new());
}

fn life(runtime: Runtime) {
    let hooks = format!(
        "  hooks: {{pre_start: 'echo \"$MOAT_REDIS_URL\" >../../../hook'}}\n  processes: {{idle: {{command: 'echo \"$MOAT_REDIS_URL\" >../../../process; {IDLE}'}}}}\n"
    );
    let Some(project) = on(runtime, &redis("", &hooks)) else {
        return;
    };
    let base = project.base;
    let done = project.call(&["up", "a"]).success();
    assert!(done.stderr_text().contains("redis: ready after"), "{done}");
    let made = project.list()[0].clone();
    assert_eq!(made["healthy"], true, "{made:#}");
    assert_eq!(
        (
            service(&made, "redis")["state"].as_str(),
            port(&made, "redis")
        ),
        (Some("running"), base + 1)
    );
    // Hooks, processes, `wt env`, .env.moat and `shell` all get the same variables.
    let password = made["env"]["MOAT_REDIS_PASSWORD"].as_str().unwrap();
    let url = format!("redis://default:{password}@127.0.0.1:{}", base + 1);
    assert_eq!(made["env"]["MOAT_REDIS_URL"], *url);
    assert_eq!(project.json(&["wt", "env", "a"])["MOAT_REDIS_URL"], *url);
    let read = |name: &str| fs::read_to_string(tree(&made).join(name)).unwrap_or_default();
    assert_eq!(read("../../../hook").trim(), url);
    until("the process has begun", || {
        read("../../../process").trim() == url
    });
    assert!(
        read(".env.moat").contains(&format!("MOAT_REDIS_URL={url}\n")),
        "{}",
        read(".env.moat")
    );
    let shell = project
        .call(&["shell", "a"])
        .env("SHELL", "/usr/bin/env")
        .success();
    assert!(shell.stdout_text().contains(&url), "{shell}");
    remember(&made, "a");
    // The port is published on the loopback interface alone, and the container has moat's labels.
    let handle = container(&made, "redis");
    let ports = engine(&project, &["port", &handle]);
    assert_eq!(ports, format!("6379/tcp -> 127.0.0.1:{}", base + 1));
    let labels = engine(
        &project,
        &["inspect", "--format", "{{json .Config.Labels}}", &handle],
    );
    let incarnation = made["session"]["incarnation"].as_str().unwrap();
    assert!(
        labels.contains(&format!("\"moat.session\":\"{incarnation}\"")),
        "{labels}"
    );
    // The record contains no value of a variable.
    let key = made["session"]["key"].as_str().unwrap();
    let record =
        fs::read_to_string(project.moat.home().join(format!("sessions/{key}.json"))).unwrap();
    assert!(!record.contains(password), "{record}");
    // A second `up` does nothing, and says so.
    let again = project.up("a");
    assert_eq!(
        (container(&again, "redis"), &again["decisions"][1]["action"]),
        (handle.clone(), &"kept".into())
    );
    assert_eq!(ask(&again, "GET who"), "a");
    // 'moat whose' finds the owner by the port and by the container.
    for word in [format!(":{}", base + 1), handle.clone()] {
        let owner = project.json(&["whose", &word]);
        assert_eq!(
            (&owner["owned"], &owner["name"]),
            (&true.into(), &"redis".into()),
            "{owner}"
        );
    }
    let mut client = project.moat.client();
    client.args(["inspect", "--format", "{{.State.Pid}}", &handle]);
    let pid = String::from_utf8(client.output().unwrap().stdout).unwrap();
    assert_eq!(project.json(&["whose", pid.trim()])["branch"], "a");
    for proxy in proxies((base + 1).into()) {
        assert_eq!(project.json(&["whose", &proxy])["name"], "redis");
    }
    let log = project.ok(&["wt", "logs", "a", "redis"]);
    assert!(
        log.stdout_text().contains("Ready to accept connections"),
        "{log}"
    );
    let list = &project.list()[0];
    assert_eq!(service(list, "redis")["state"], "running");
    project
        .call(&["wt", "list"])
        .stdout_contains(&format!("redis:{}", base + 1))
        .success();
    // `down --keep` stops the service; the next `up` starts it with the same port and data.
    project.ok(&["down", "a", "--keep"]);
    assert_eq!(service(&project.list()[0], "redis")["state"], "stopped");
    assert!(TcpStream::connect(("127.0.0.1", base + 1)).is_err());
    let back = project.up("a");
    assert_eq!(
        (container(&back, "redis"), port(&back, "redis")),
        (handle, base + 1)
    );
    assert_eq!(ask(&back, "GET who"), "a");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn a_service_lives_with_its_session() {
    life(Runtime::Docker);
}

#[test]
fn a_service_lives_with_its_session_on_podman() {
    life(Runtime::Podman);
}

#[test]
fn five_sessions_have_their_own_content_and_one_goes_alone() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    let branches = ["a", "b", "c", "d", "e"];
    let made = project.up_at_once(&branches, || ());
    for (branch, session) in branches.iter().zip(&made) {
        assert_eq!(ask(session, &format!("SET who {branch}")), "+OK");
    }
    project.ok(&["down", "c"]);
    for (branch, session) in branches
        .iter()
        .zip(&made)
        .filter(|(branch, _)| **branch != "c")
    {
        assert_eq!(ask(session, "GET who"), *branch);
    }
    assert_eq!(project.moat.containers().len(), 4);
    project.ok(&["down", "--all"]);
    assert_nothing(&project);
}

/// Fills all slots with sessions whose service needs 5 s until it is ready.
#[test]
fn eight_at_once() {
    let Some(project) = project(
        "dependencies: [lazy]\nservices: {lazy: {port: BASE}}\nsession: {search_range: 1}\n",
    ) else {
        return;
    };
    let command = "[sh, -c, 'sleep 5; touch /tmp/ready; exec sleep 1000']";
    lazy(&project, command, "[test, -e, /tmp/ready]");
    let began = Instant::now();
    crate::sessions::races::eight(&project, |_| (), |made| port(made, "lazy").into());
    // One after the other would take 40 s.
    let most = Duration::from_secs(if is_busy() { 30 } else { 15 });
    assert!(began.elapsed() < most, "{:?}", began.elapsed());
    project.ok(&["down", "--all"]);
    assert_nothing(&project);
}

/// When one of three services has died, the containers of the other two keep running, and the record lists all three.
#[test]
fn one_of_three_is_started_and_the_rest_is_kept() {
    let Some(project) = project("dependencies: [one, two, three]\nsession: {search_range: 1}\n")
    else {
        return;
    };
    let names = ["one", "two", "three"];
    lazies(&project, &names, "[sleep, '1000']", "[\"true\"]");
    let first = project.up("a");
    let lives = |document: &Value, name: &str| {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";
        let handle = container(document, name);
        engine(&project, &["inspect", "--format", format, &handle])
    };
    let before = names.map(|name| lives(&first, name));
    engine(&project, &["kill", &container(&first, "two")]);
    let again = project.up("a");
    let after = names.map(|name| lives(&again, name));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    assert!(after.iter().all(|one| one.ends_with(" true")), "{after:?}");
    let actions = again["decisions"].as_array().unwrap().iter();
    let actions: Vec<_> = actions.map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["kept", "started", "kept"]);
    // `down` also stops the services that the last `up` did not start.
    project.ok(&["down", "a", "--keep"]);
    for name in names {
        assert!(lives(&again, name).ends_with(" false"), "{name}");
    }
    project.up("a");
    engine(&project, &["kill", &container(&first, "one")]);
    project.up("a");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

/// A rollback removes only what this `up` created. Services of a compose file that ran before stay.
#[test]
fn a_failed_up_leaves_what_ran_beside_it() {
    let session = "  compose: {file: compose.yml, services: {web: {}}}\n  processes: {git: {command: exec sleep 1000}}\n  hooks: {post_up: 'test ! -e fail'}\n";
    let Some(project) = project(&redis("", session)) else {
        return;
    };
    if std::process::Command::new("docker-compose")
        .arg("version")
        .output()
        .is_err()
    {
        crate::harness::skip("there is no compose tool (tests/setup compose)");
        return;
    }
    project.commit(
        "compose.yml",
        &format!("services:\n  web: {{image: {IMAGE}, init: true, command: sleep 1000}}\n"),
    );
    let up = ["up", "a", "--skip", "redis", "--json"];
    let first = project.call(&up).success().json();
    let ids = |project: &Project| {
        let mark = first["session"]["incarnation"].as_str().unwrap();
        let filter = format!("label=moat.session={mark}");
        engine(project, &["ps", "--quiet", "--filter", &filter])
    };
    let before = ids(&project);
    assert!(!before.is_empty());
    std::fs::write(tree(&first).join("fail"), "").unwrap();
    project
        .call(&["up", "a"])
        .any_stderr()
        .any_stdout()
        .status(1);
    assert_eq!(ids(&project), before);
    let status = project.call(&["wt", "status", "a", "--json"]).any_stdout();
    let status = status.run().json();
    let processes = status["processes"].as_array().unwrap();
    assert!(
        processes.iter().all(|one| one["running"] == true),
        "{status:#}"
    );
    project.ok(&["down", "a", "--force"]);
    assert_nothing(&project);
}

#[test]
fn a_database_is_reached_from_a_hook() {
    let hook = "  hooks: {pre_start: 'command -v psql || exit 0; psql \"$MOAT_POSTGRES_URL\" -c \"create table if not exists t()\"'}\n";
    let yaml = format!(
        "dependencies: [postgres@15]\nservices: {{postgres: {{image: {POSTGRES}}}}}\nsession:\n{hook}"
    );
    let Some(project) = project(&yaml) else {
        return;
    };
    let made = project.up("a");
    // Without `port` in moat.yaml the service gets any free port, and keeps it.
    let port = port(&made, "postgres");
    project.ok(&["down", "a", "--keep"]);
    assert_eq!(self::port(&project.up("a"), "postgres"), port);
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

const UP: [&str; 7] = [
    "session-reserved",
    "session-services-intent",
    "session-network-made",
    "session-service-created",
    "session-service-started",
    "session-service-ready",
    "session-services-up",
];

#[test]
fn an_up_that_was_killed_is_taken_down() {
    for &at in amount(&[UP[1], UP[3], UP[5]][..], &UP) {
        let Some(project) = project(&redis("", "")) else {
            return;
        };
        project.moat.args(["up", "a"]).killed_at(at);
        project.ok(&["down", "a"]);
        assert_nothing(&project);
    }
}

#[test]
fn an_up_that_was_killed_is_recovered() {
    let points = amount(&[UP[0], UP[2], UP[4], UP[6]][..], &UP);
    for at in points.iter().copied().chain(["session-before-active"]) {
        let Some(project) = project(&redis("", "")) else {
            return;
        };
        project.moat.args(["up", "a"]).killed_at(at);
        project.ok(&["wt", "recover"]);
        if let Some(session) = project.list().first() {
            assert_eq!(
                (&session["healthy"], at),
                (&true.into(), "session-before-active")
            );
            assert_eq!(ask(session, "PING"), "+PONG");
            project.ok(&["down", "a"]);
        }
        assert_nothing(&project);
    }
}

#[test]
fn an_up_that_was_killed_goes_on() {
    for &at in amount(&[UP[1], UP[3], UP[5], UP[6]][..], &UP) {
        let Some(project) = project(&redis("", "")) else {
            return;
        };
        project.moat.args(["up", "a"]).killed_at(at);
        let made = project.up("a");
        assert_eq!(made["healthy"], true, "{at}: {made:#}");
        assert_eq!(ask(&made, "PING"), "+PONG");
        project.ok(&["down", "a"]);
        assert_nothing(&project);
    }
}

#[test]
fn a_down_that_was_killed_comes_to_its_end() {
    for at in [
        "session-down-begun",
        "session-down-processes",
        "session-down-services",
    ] {
        for how in [&["wt", "recover"][..], &["down", "a"]] {
            let Some(project) = project(&redis("", "")) else {
                return;
            };
            project.up("a");
            project.moat.args(["down", "a"]).killed_at(at);
            project.ok(how);
            assert_nothing(&project);
        }
    }
}

/// A service that existed before a killed command stays, with its data.
#[test]
fn a_kept_service_outlives_whatever_is_killed() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    let made = project.up("a");
    remember(&made, "a");
    for at in ["session-down-processes", "session-down-services"] {
        project.moat.args(["down", "a", "--keep"]).killed_at(at);
        project.ok(&["wt", "recover"]);
        assert_eq!(project.list()[0]["session"]["status"], "stopped");
        for at in [
            "session-services-intent",
            "session-service-started",
            "session-service-ready",
        ] {
            project.moat.args(["up", "a"]).killed_at(at);
            project.ok(&["wt", "recover"]);
            assert_eq!(
                service(&project.list()[0], "redis")["state"],
                "stopped",
                "{at}"
            );
        }
        let back = project.up("a");
        assert_eq!(ask(&back, "GET who"), "a");
    }
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn a_port_of_a_stranger_gives_way() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    let stranger = TcpListener::bind(("127.0.0.1", project.base + 1)).unwrap();
    project
        .call(&["up", "a"])
        .stderr_contains("is held by process")
        .success();
    let made = project.list()[0].clone();
    assert_eq!(port(&made, "redis"), project.base + 9);
    remember(&made, "a");
    project.ok(&["down", "a", "--keep"]);
    drop(stranger);
    // The service keeps its new port. If another process takes that port, moat does not discard the data to change
    // it.
    let stranger = TcpListener::bind(("127.0.0.1", project.base + 9)).unwrap();
    let done = project
        .call(&["up", "a"])
        .stderr_contains("is held by process")
        .stderr_contains("delete its data")
        .status(1);
    assert!(
        done.stderr_text().contains(&std::process::id().to_string()),
        "{done}"
    );
    drop(stranger);
    assert_eq!(ask(&project.up("a"), "GET who"), "a");
    // Choosing another port for a service that has data needs --force.
    let wanted = format!("redis={}", project.base + 40);
    project
        .call(&["up", "a", "--port", &wanted])
        .stderr_contains("--force")
        .status(1);
    let moved = project.json(&["up", "a", "--force", "--port", &wanted]);
    assert_eq!(
        (port(&moved, "redis"), ask(&moved, "GET who")),
        (project.base + 40, "$-1".to_owned())
    );
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn strict_ports_count_for_services() {
    let Some(project) = project(&redis("", "  strict_ports: true\n")) else {
        return;
    };
    let _stranger = TcpListener::bind(("127.0.0.1", project.base + 1)).unwrap();
    project
        .call(&["up", "a"])
        .stderr_contains("is held by process")
        .status(1);
    assert_nothing(&project);
}

/// If a service ends or is never ready, `up` shows its last output and rolls back.
#[test]
fn a_service_that_is_not_well_is_taken_back() {
    let session = "session: {processes: {idle: {command: exec sleep 1000}}}";
    let yaml = format!(
        "dependencies: [lazy, redis@7]\nservices:\n  lazy: {{timeout: 2s}}\n  redis: {{image: {REDIS}}}\n{session}\n"
    );
    let Some(project) = project(&yaml) else {
        return;
    };
    for (command, ready, why) in [
        (
            "[sh, -c, 'echo no room; exit 3']",
            "[\"true\"]",
            "ended with exit code 3",
        ),
        (
            "[sh, -c, 'echo no room; exec sleep 1000']",
            "[\"false\"]",
            "not ready after 2 s",
        ),
    ] {
        lazy(&project, command, ready);
        project
            .call(&["up", "a"])
            .stderr_contains(why)
            .stderr_contains("no room")
            .status(1);
        assert_nothing(&project);
    }
    // A service that existed before stays.
    write(&project, &redis("", ""));
    let made = project.up("a");
    remember(&made, "a");
    let broken = format!(
        "dependencies: [lazy, redis@7]\nservices:\n  lazy: {{timeout: 1s}}\n  redis: {{image: {REDIS}, port: BASE}}\nsession: {{search_range: 1}}\n"
    );
    write(&project, &broken);
    project
        .call(&["up", "a"])
        .stderr_contains("not ready after 1 s")
        .status(1);
    let session = &project.list()[0];
    assert_eq!(
        (
            &session["healthy"],
            session["services"].as_array().unwrap().len()
        ),
        (&true.into(), 1)
    );
    assert_eq!(ask(session, "GET who"), "a");
    // The session comes up without the service.
    project.ok(&["up", "a", "--skip", "lazy"]);
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

fn logs(runtime: Runtime) {
    let Some(project) = on(runtime, "dependencies: [lazy]\n") else {
        return;
    };
    lazy(
        &project,
        "[sh, -c, 'echo one; sleep 0.1; echo two >&2; exec sleep 1000']",
        "[\"true\"]",
    );
    project.up("a");
    let (mut log, mut lines) = (String::new(), Vec::new());
    until("the log has both lines", || {
        log = project
            .ok(&["wt", "logs", "a", "lazy", "--json"])
            .stdout_text();
        let entries = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines = entries.collect::<Vec<Value>>();
        lines.len() == 2
    });
    for (line, stream, text) in [(&lines[0], "stdout", "one"), (&lines[1], "stderr", "two")] {
        assert_eq!(
            (&line["stream"], &line["line"]),
            (&stream.into(), &text.into()),
            "{log}"
        );
        assert!(line["ts"].as_str().unwrap().starts_with("20"), "{log}");
    }
    let done = project.ok(&["wt", "logs", "a", "lazy"]);
    assert_eq!(
        (done.stdout_text(), done.stderr_text()),
        ("one\n".into(), "two\n".into())
    );
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn logs_have_streams_and_times() {
    logs(Runtime::Docker);
}

#[test]
fn logs_have_streams_and_times_on_podman() {
    logs(Runtime::Podman);
}

/// When a service was removed to recreate it, and that failed, the session lists it as missing.
#[test]
fn one_that_ran_before_a_failed_up_is_missing_then() {
    let Some(project) = project("dependencies: [lazy]\n") else {
        return;
    };
    lazy(&project, "sleep 1000", "'true'");
    let first = project.ok(&["up", "a", "--json"]).json();
    assert_eq!(first["healthy"], true);
    lazy(&project, "exit 3", "'true'");
    let done = project.call(&["up", "a", "--force"]).status(1);
    let said = done.stderr_text();
    assert!(
        said.contains("stopped now: lazy\n") && said.contains("moat up a --services lazy"),
        "{said}"
    );
    let status = project.call(&["wt", "status", "a", "--json"]).status(1);
    assert_eq!(service(&status.json(), "lazy")["state"], "missing");
    lazy(&project, "sleep 1000", "'true'");
    let again = project.ok(&["up", "a", "--json"]).json();
    assert_eq!(again["healthy"], true, "{again}");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn taking_back_can_be_killed_too() {
    for at in ["session-undo-processes", "session-undo-services"] {
        let yaml = "dependencies: [lazy]\nservices: {lazy: {timeout: 1s}}\nsession: {slots: 2}\n";
        let Some(project) = project(yaml) else {
            return;
        };
        lazy(&project, "[sleep, '1000']", "[\"false\"]");
        project.moat.args(["up", "a"]).killed_at(at);
        project.ok(&["wt", "recover"]);
        assert_nothing(&project);
    }
}

#[test]
fn an_interrupt_takes_back_what_is_not_ready_yet() {
    let yaml = "dependencies: [lazy]\nsession: {slots: 2}\n";
    let Some(project) = project(yaml) else {
        return;
    };
    lazy(&project, "[sleep, '1000']", "[\"false\"]");
    interrupted_at_each(
        &project,
        || project.moat.args(["up", "a"]),
        |up| {
            up.wait_stderr("lazy: starting");
            until("the container exists", || {
                !project.moat.containers().is_empty()
            });
        },
    );
}

/// Interrupts `up` where `wait` returns: once as Ctrl-C on the terminal, which all its children receive too, and once
/// alone.
fn interrupted_at_each<'a>(
    project: &'a Project,
    call: impl Fn() -> Call<'a>,
    wait: impl Fn(&Running),
) {
    for interrupt in [Running::signal_group, Running::signal] {
        let up = call().spawn();
        wait(&up);
        interrupt(&up, Signal::INT);
        let done = up.wait();
        assert_eq!(done.code, Some(130), "{done}");
        assert_nothing(project);
    }
}

/// Ctrl-C on the terminal must not reach the engine clients that remove things, or git, which looks for uncommitted
/// work.
#[test]
fn an_interrupt_leaves_who_takes_away_alone() {
    let Some(project) = project("dependencies: [lazy]\nsession: {slots: 2}\n") else {
        return;
    };
    lazy(&project, "[sleep, '1000']", "[\"true\"]");
    let seen = project.moat.root().join("seen");
    let slow = |program: &str, word: &str| {
        let script = format!(
            "case \" $* \" in *' {word} '*) touch {}; sleep 1;; esac; exec REAL \"$@\"",
            seen.display()
        );
        project.stand_in(program, &script)
    };
    let interrupted = |args: &[&str], path: &str| {
        let running = project.moat.args(args).env("PATH", path).spawn();
        until("the client is at work", || seen.exists());
        running.signal_group(Signal::INT);
        let done = running.wait();
        assert_eq!(done.code, Some(130), "{done}");
        fs::remove_file(&seen).unwrap();
        done
    };
    for (program, word) in [("docker", "rm"), ("git", "status")] {
        project.up("a");
        let done = interrupted(&["down", "a"], &slow(program, word));
        assert!(!done.stderr_text().contains("is kept"), "{done}");
        assert_nothing(&project);
        fs::remove_file(project.moat.root().join("stand-ins").join(program)).unwrap();
    }
    let done = interrupted(&["up", "a"], &slow("docker", "create"));
    assert!(done.stderr_text().contains("error: interrupted"), "{done}");
    assert_nothing(&project);
}

#[test]
fn an_interrupt_ends_a_pull() {
    let yaml = "dependencies: [lazy]\nservices: {lazy: {image: 'moat-test/never:1'}}\n";
    let Some(project) = project(yaml) else {
        return;
    };
    lazy(&project, "[sleep, '1000']", "[\"true\"]");
    // The engine client hangs in the pull, so that no image registry is asked.
    let pulls = project.moat.root().join("pulls");
    let script = format!(
        "case \" $* \" in *' pull '*) touch {}; exec sleep 1000;; esac; exec REAL \"$@\"",
        pulls.display()
    );
    let path = project.stand_in("docker", &script);
    interrupted_at_each(
        &project,
        || project.moat.args(["up", "a"]).env("PATH", &path),
        |_| {
            until("the image is pulled", || pulls.exists());
            fs::remove_file(&pulls).unwrap();
        },
    );
}

/// The same with containers instead of processes.
#[test]
fn an_up_begins_when_the_one_before_has_ended() {
    let hook = "  hooks: {post_up: 'test -e $HOME/second || { echo waiting; sleep 1000; }'}\n";
    let Some(project) = project(&redis("", hook)) else {
        return;
    };
    let made = crate::sessions::races::again_while_one_ends(&project);
    assert_eq!(ask(&made, "PING"), "+PONG");
    assert_eq!(project.moat.containers().len(), 1);
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

/// W1: an `up` that lost its session removes only the containers that it created itself.
#[test]
fn the_loser_removes_its_own_and_fails() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    let (first, second) = crate::sessions::races::overtaken(&project, "session-services-up");
    assert_ne!(container(&first, "redis"), container(&second, "redis"));
    assert_eq!(ask(&second, "PING"), "+PONG");
    assert_eq!(project.moat.containers().len(), 1);
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

/// A service that left moat.yaml keeps its ports as long as it exists.
#[test]
fn ports_of_a_service_that_left_the_file_are_not_given_away() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    remember(&project.up("a"), "a");
    project.ok(&["down", "a", "--keep"]);
    write(
        &project,
        "dependencies: [lazy]\nservices: {lazy: {port: BASE}}\nsession: {search_range: 1}\n",
    );
    lazy(&project, "[sleep, '1000']", "[\"true\"]");
    let other = project.up("a");
    assert_eq!(port(&other, "lazy"), project.base + 9);
    project.ok(&["down", "a", "--keep"]);
    write(&project, &redis("", ""));
    let back = project.up("a");
    assert_eq!(port(&back, "redis"), project.base + 1);
    assert_eq!(ask(&back, "GET who"), "a");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

/// `down` goes by the label of the incarnation, never by a name.
#[test]
fn a_container_of_somebody_else_with_the_same_name_survives() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    project
        .moat
        .args(["up", "a"])
        .killed_at("session-services-intent");
    let session = project.list()[0].clone();
    let name = container(&session, "redis");
    engine(
        &project,
        &["run", "--detach", "--name", &name, IMAGE, "sleep", "1000"],
    );
    let done = project.call(&["up", "a"]).run();
    assert_eq!(done.code, Some(1), "{done}");
    project.call(&["down", "a"]).run();
    let running = engine(
        &project,
        &["inspect", "--format", "{{.State.Running}}", &name],
    );
    engine(&project, &["rm", "--force", &name]);
    assert_eq!(running, "true");
    assert_nothing(&project);
}

#[test]
fn what_died_or_was_removed_comes_back_and_an_edited_file_waits_for_force() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    let made = project.up("a");
    remember(&made, "a");
    let handle = container(&made, "redis");
    engine(&project, &["kill", &handle]);
    let dead = project.list()[0].clone();
    assert_eq!(
        (&dead["healthy"], &service(&dead, "redis")["exit_code"]),
        (&false.into(), &137.into())
    );
    project.call(&["wt", "status", "a"]).status(1);
    let back = project.up("a");
    assert_eq!(back["decisions"][0]["reason"], "had exited with code 137");
    assert_eq!(ask(&back, "GET who"), "a");
    write(&project, &redis(", memory: 200m", ""));
    let kept = project.up("a");
    let why = kept["decisions"][0]["reason"].as_str().unwrap();
    assert!(why.contains("still with its old settings"), "{why}");
    assert_eq!(ask(&kept, "GET who"), "a");
    let anew = project.json(&["up", "a", "--force"]);
    assert_eq!(ask(&anew, "GET who"), "$-1");
    engine(
        &project,
        &["rm", "--force", "--volumes", &container(&anew, "redis")],
    );
    let again = project.up("a");
    assert_eq!(again["decisions"][0]["reason"], "its container was gone");
    assert_eq!(ask(&again, "PING"), "+PONG");
    // Running processes already have the first password, so a recreated service keeps it.
    for later in [&anew, &again] {
        assert_eq!(
            later["env"]["MOAT_REDIS_URL"],
            made["env"]["MOAT_REDIS_URL"]
        );
    }
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn without_an_engine_it_is_said_before_anything_is_made() {
    let moat = Moat::new().env("MOAT_RUNTIME", "bwrap");
    let project = Project::at(moat, "  search_range: 1");
    write(&project, &redis("", "  hooks: {pre_up: touch made}\n"));
    project
        .call(&["up", "a"])
        .stderr_contains("cannot start the services of the session (redis): the runtime is bwrap")
        .stderr_contains("--skip redis")
        .status(1);
    assert!(!project.repo.join("made").exists());
    project.assert_nothing();
    project.ok(&["up", "a", "--skip", "redis"]);
    project.ok(&["down", "a"]);
    let moat = Moat::new()
        .env("MOAT_RUNTIME", "docker")
        .env("DOCKER_HOST", "unix:///nowhere.sock");
    let project = Project::at(moat, "  search_range: 1");
    write(&project, &redis("", ""));
    project
        .call(&["up", "a"])
        .stderr_contains("cannot start the services")
        .status(1);
    project.assert_nothing();
}

#[test]
fn names_and_ports_are_checked() {
    let moat = Moat::new().env("MOAT_RUNTIME", "docker");
    let project = Project::at(moat, "  search_range: 1");
    write(&project, &redis("", ""));
    project
        .call(&["up", "a", "--skip", "redsi"])
        .stderr_contains("redis")
        .status(2);
    project
        .call(&["up", "a", "--port", "redsi=4"])
        .stderr_contains("redis")
        .status(2);
    let table = project.json(&["check", "--ports"]);
    assert_eq!(table["ports"][0]["name"], "redis");
    assert_eq!(table["ports"][0]["slots"][1], project.base + 2);
    for (session, why) in [
        (
            "  processes: {web: {command: x, port: BASE}}\n",
            "its ports begin at",
        ),
        (
            "  processes: {redis: {command: x}}\n",
            "has the variable MOAT_REDIS_PORT",
        ),
    ] {
        write(&project, &redis("", session));
        project.call(&["check"]).stdout_contains(why).status(1);
        project.call(&["up", "a"]).stderr_contains(why).run();
    }
    // The conflict remains when moat.yaml does not configure the service.
    write(
        &project,
        "dependencies: [redis]\nsession: {processes: {redis: {command: x}}}\n",
    );
    let done = project
        .call(&["up", "a"])
        .stderr_contains("would set MOAT_REDIS_PORT")
        .run();
    assert_ne!(done.code, Some(0));
    write(
        &project,
        "dependencies: [redis]\nservices: {redis: {port: 0}}\n",
    );
    project
        .call(&["check"])
        .stdout_contains("1 to 65535")
        .status(1);
    let left: Vec<_> = project.list();
    assert!(left.is_empty());
}

/// `clean` removes what is left of a session whose record was deleted.
#[test]
fn clean_removes_what_belongs_to_no_session() {
    let Some(project) = project(&redis("", "")) else {
        return;
    };
    project.up("a");
    project.up("b");
    let made = project.list()[0].clone();
    let key = made["session"]["key"].as_str().unwrap();
    fs::remove_file(project.moat.home().join(format!("sessions/{key}.json"))).unwrap();
    let done = project.ok(&["clean", "--force", "--json"]).json();
    assert_eq!(
        done["containers"],
        serde_json::json!([container(&made, "redis")])
    );
    assert_eq!(done["networks"].as_array().unwrap().len(), 1);
    assert_eq!(
        project.moat.containers().len(),
        1,
        "the other session's container"
    );
    project.git(&[
        "worktree",
        "remove",
        "--force",
        tree(&made).to_str().unwrap(),
    ]);
    fs::remove_dir_all(project.moat.home().join("sessions").join(key)).unwrap();
    let _ = fs::remove_file(project.moat.home().join(format!("sessions/{key}.lock")));
    project.ok(&["down", "b"]);
    assert_nothing(&project);
}

/// `--force` abandons only an engine that does not respond. What an engine refuses now, it may do later.
#[test]
fn force_gives_up_nothing_that_an_engine_refuses() {
    let Some(project) = project("dependencies: [lazy]\n") else {
        return;
    };
    lazy(&project, "sleep 1000", "[\"true\"]");
    project.up("a");
    let path = project.stand_in(
        "docker",
        "if [ \"$1\" = rm ]; then echo 'Error response from daemon: removal of container x is already in progress' >&2; exit 1; fi; exec REAL \"$@\"",
    );
    let down = project.call(&["down", "a", "--force"]).env("PATH", &path);
    down.stderr_contains("already in progress").status(1);
    assert_eq!(project.list()[0]["session"]["status"], "broken");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}
