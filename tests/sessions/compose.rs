//! Services of a compose file, on a real engine, with the compose tool that is installed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::once::once_per_run;
use crate::harness::{Call, IMAGE, Moat, Running, Runtime, Signal, amount, skip, until};
use crate::sessions::project::{Project, tree};

/// A compose file: a database whose data is a file, and a page that is built from the worktree and mounted from it.
const FILE: &str = r#"
services:
  db:
    image: moat-test/busybox:1
    container_name: the-only-db
    init: true
    command: httpd -f -p 80 -h /data
    ports: ["5432:80"]
    volumes: ["data:/data"]
    healthcheck: {test: [CMD, "true"], interval: 1s}
  web:
    build: ./app
    image: app:dev
    init: true
    depends_on: [db]
    environment: {BRANCH: "${MOAT_BRANCH}", ODD: "1e3", MONEY: "a$$b"}
    ports: ["127.0.0.1:8080:80", "9000:9000/udp"]
    volumes: ["./mounted:/www/mounted:ro"]
  unwanted:
    image: moat-test/none:1
volumes:
  data: {name: the-only-data}
  unused: {external: true}
"#;

const DOCKERFILE: &str = "FROM moat-test/busybox:1\nCOPY page /www/page\nRUN true\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n";

const SESSION: &str = "  search_range: 1\n  compose:\n    file: docker-compose.yml\n    services:\n      db: {port: BASE}\n      web: {port: BASE1, port_env: WEB}\n";

/// Returns `None`, and skips the test, unless docker and its compose tool are installed.
fn place() -> Option<Moat> {
    let moat = Moat::on(Runtime::Docker)?;
    let answers = |words: &[&str]| {
        let output = Command::new(words[0])
            .args(&words[1..])
            .arg("version")
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = once_per_run("compose", || {
        match answers(&["docker", "compose"]) || answers(&["docker-compose"]) {
            true => Ok(()),
            false => Err("there is no compose tool (tests/setup compose)".to_owned()),
        }
    });
    if let Err(why) = found {
        skip(&why);
        return None;
    }
    Some(moat)
}

fn configured(session: &str) -> Option<Project> {
    let project = Project::at(place()?, "  slots: 8");
    let above = (project.base + 25).to_string();
    project.configure(&session.replace("BASE1", &above));
    fs::create_dir(project.repo.join("app")).unwrap();
    for (file, text) in [
        ("docker-compose.yml", FILE),
        ("app/Dockerfile", DOCKERFILE),
        ("app/page", "main\n"),
        ("mounted", "main\n"),
    ] {
        fs::write(project.repo.join(file), text).unwrap();
    }
    project.git(&["add", "--all"]);
    project.git(&["commit", "--quiet", "--message", "files"]);
    Some(project)
}

fn project() -> Option<Project> {
    configured(SESSION)
}

/// On a busy machine, builds and containers take long.
const PATIENCE: Duration = Duration::from_secs(240);

fn call<'a>(project: &'a Project, args: &[&str]) -> Call<'a> {
    project.call(args).deadline(PATIENCE)
}

#[track_caller]
fn ok(project: &Project, args: &[&str]) {
    call(project, args).success();
}

/// Runs a command with `--json`. It must print one JSON document and nothing else.
#[track_caller]
fn json(project: &Project, args: &[&str]) -> Value {
    let call = call(project, args).arg("--json");
    call.stderr("").success().json()
}

#[track_caller]
fn up(project: &Project, branch: &str) -> Value {
    json(project, &["up", branch])
}

/// Adds a service to the user's registry that is ready at once.
fn dependency(project: &Project, name: &str) {
    let dir = project.moat.home().join("registry.d");
    fs::create_dir_all(&dir).unwrap();
    let entry = format!(
        "{name}:\n  type: service\n  description: a test\n  versions: ['1']\n  default: '1'\n  image: 'moat-test/busybox:{{version}}'\n  ports: {{default: 80}}\n  command: httpd -f\n  ready: 'true'\n"
    );
    fs::write(dir.join("test.yaml"), entry).unwrap();
}

/// Returns the page that the server on this port sends.
#[track_caller]
fn get(port: u64, path: &str) -> String {
    let mut text = String::new();
    until("the server sends a page", || {
        text.clear();
        let port = u16::try_from(port).unwrap();
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return false;
        };
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut text).is_ok()
            && text.contains("\r\n\r\n")
    });
    let body = text.split_once("\r\n\r\n").unwrap().1;
    body.trim().to_owned()
}

fn port(document: &Value, name: &str) -> u64 {
    let ports = document["session"]["ports"].as_array().unwrap();
    let own = ports.iter().find(|port| port["name"] == name);
    own.unwrap()["port"].as_u64().unwrap()
}

fn service<'a>(document: &'a Value, name: &str) -> &'a Value {
    let all = document["processes"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).expect(name)
}

fn container(document: &Value, name: &str) -> String {
    service(document, name)["container"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn docker(project: &Project, args: &[&str]) -> String {
    let output = project.moat.client().args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn id(project: &Project, container: &str) -> String {
    docker(
        project,
        &[
            "inspect",
            "--format",
            "{{.Id}} {{.State.StartedAt}}",
            container,
        ],
    )
}

fn write_data(project: &Project, container: &str, text: &str) {
    let script = format!("echo {text} > /data/who");
    docker(project, &["exec", container, "sh", "-c", &script]);
}

/// Returns everything of this MOAT_HOME that is left in the engine: containers, networks, volumes and images.
fn left(project: &Project) -> Vec<String> {
    let filter = format!("label=moat.home={}", project.moat.label());
    let mut found = Vec::new();
    for kind in ["container", "network", "volume", "image"] {
        let list: &[&str] = match kind {
            "container" => &["container", "ls", "--all", "--quiet"],
            kind => &[kind, "ls", "--quiet"],
        };
        let ids = docker(project, &[list, &["--filter", &filter]].concat());
        found.extend(ids.lines().map(|id| format!("{kind} {id}")));
    }
    found
}

#[track_caller]
fn assert_nothing(project: &Project) {
    assert_eq!(left(project), Vec::<String>::new());
    project.assert_nothing();
}

fn action<'a>(document: &'a Value, name: &str) -> &'a str {
    let all = document["decisions"].as_array().unwrap();
    let own = all.iter().find(|decision| decision["name"] == name);
    own.expect(name)["action"].as_str().unwrap()
}

#[test]
fn two_sessions_have_their_own_ports_code_and_data() {
    let Some(project) = project() else { return };
    let a = up(&project, "a");
    project.git(&["worktree", "add", "--quiet", "-b", "b", "../b"]);
    let tree_b = project.repo.parent().unwrap().join("b");
    fs::write(tree_b.join("app/page"), "built on b\n").unwrap();
    fs::write(tree_b.join("mounted"), "mounted on b\n").unwrap();
    let b = up(&project, "b");
    assert_eq!(tree(&b), tree_b);
    for (document, built, mounted) in [(&a, "main", "main"), (&b, "built on b", "mounted on b")] {
        assert_eq!(document["healthy"], true, "{document}");
        assert_eq!(get(port(document, "web"), "/page"), built);
        assert_eq!(get(port(document, "web"), "/mounted"), mounted);
        let web = port(document, "web").to_string();
        assert_eq!(document["env"]["MOAT_WEB_PORT"], web);
        assert_eq!(document["env"]["WEB"], web);
        let name = document["session"]["branch"].as_str().unwrap();
        write_data(&project, &container(document, "db"), name);
        let env = docker(&project, &["exec", &container(document, "web"), "env"]);
        assert!(env.contains(&format!("BRANCH={name}\n")), "{env}");
        assert!(
            env.contains("ODD=1e3\n") && env.contains("MONEY=a$b"),
            "{env}"
        );
    }
    for (document, name) in [(&a, "a"), (&b, "b")] {
        assert_eq!(get(port(document, "db"), "/who"), name);
        let answer = json(&project, &["whose", &format!(":{}", port(document, "db"))]);
        assert_eq!(
            (&answer["branch"], &answer["name"]),
            (&name.into(), &"db".into())
        );
    }
    let (base, first) = (u64::from(project.base), port(&a, "db"));
    assert_eq!((first, port(&b, "db")), (base + 1, base + 2));
    // The file may hold secrets, so other users must not read it.
    let key = a["session"]["key"].as_str().unwrap();
    let file = project
        .moat
        .home()
        .join("sessions")
        .join(key)
        .join("compose.yaml");
    let mode = fs::metadata(file).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );

    ok(&project, &["down", "a"]);
    assert_eq!(get(port(&b, "db"), "/who"), "b");
    assert_eq!(json(&project, &["wt", "status", "b"])["healthy"], true);
    ok(&project, &["down", "b"]);
    project.git(&["worktree", "remove", "--force", "../b"]);
    assert_nothing(&project);
}

#[test]
fn what_is_stopped_keeps_its_ports_and_data() {
    let Some(project) = project() else { return };
    let first = up(&project, "a");
    write_data(&project, &container(&first, "db"), "kept");
    ok(&project, &["down", "a", "--keep"]);
    let list = project.list();
    assert_eq!(list[0]["session"]["status"], "stopped");
    let filter = format!("label=moat.home={}", project.moat.label());
    let running = docker(&project, &["ps", "--quiet", "--filter", &filter]);
    assert_eq!(running, "");
    let again = up(&project, "a");
    assert_eq!(port(&again, "db"), port(&first, "db"));
    assert_eq!(get(port(&again, "db"), "/who"), "kept");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn what_runs_is_kept_and_what_died_is_started() {
    let Some(project) = project() else { return };
    let first = json(&project, &["up", "a", "--services", "db"]);
    assert_eq!(
        (action(&first, "db"), action(&first, "web")),
        ("started", "skipped")
    );
    let db = id(&project, &container(&first, "db"));
    let second = up(&project, "a");
    assert_eq!(
        (action(&second, "db"), action(&second, "web")),
        ("kept", "started")
    );
    let web = id(&project, &container(&second, "web"));
    let third = up(&project, "a");
    assert_eq!(
        (action(&third, "db"), action(&third, "web")),
        ("kept", "kept")
    );

    docker(&project, &["kill", &container(&first, "db")]);
    let status = project
        .call(&["wt", "status", "a", "--json"])
        .status(1)
        .json();
    assert_eq!(service(&status, "db")["running"], false);
    let fourth = up(&project, "a");
    assert_eq!(
        (action(&fourth, "db"), action(&fourth, "web")),
        ("started", "kept")
    );
    assert_eq!(id(&project, &container(&fourth, "web")), web);
    assert_ne!(id(&project, &container(&fourth, "db")), db);

    let forced = json(&project, &["up", "a", "--force", "--skip", "db"]);
    assert_eq!(
        (action(&forced, "db"), action(&forced, "web")),
        ("kept", "started")
    );
    assert_ne!(id(&project, &container(&forced, "web")), web);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// When one of three services has died, the containers of the other two keep running, and the record lists all three.
#[test]
fn one_of_three_is_started_and_the_rest_is_kept() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, services: {one: , two: , three: }}")
    else {
        return;
    };
    let one = "{image: 'moat-test/busybox:1', init: true, command: sleep 1000}";
    project.commit(
        "docker-compose.yml",
        &format!("services:\n  one: {one}\n  two: {one}\n  three: {one}\n"),
    );
    let first = up(&project, "a");
    let names = ["one", "two", "three"];
    let before = names.map(|name| id(&project, &container(&first, name)));
    docker(&project, &["kill", &container(&first, "two")]);
    let again = up(&project, "a");
    let after = names.map(|name| id(&project, &container(&again, name)));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    assert_eq!(
        names.map(|name| action(&again, name)),
        ["kept", "started", "kept"]
    );
    // `down` also stops the services that the last `up` did not start.
    ok(&project, &["down", "a", "--keep"]);
    let filter = format!("label=moat.home={}", project.moat.label());
    let running = docker(&project, &["ps", "--quiet", "--filter", &filter]);
    assert_eq!(running, "");
    up(&project, "a");
    docker(&project, &["kill", &container(&first, "one")]);
    up(&project, "a");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// A service that another one depends on is started too, but gets no port.
#[test]
fn what_is_depended_on_comes_along() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}")
    else {
        return;
    };
    let made = up(&project, "a");
    assert_eq!(service(&made, "db")["running"], true);
    assert_eq!(made["processes"].as_array().unwrap().len(), 2);
    let ports = docker(&project, &["port", &container(&made, "db")]);
    assert_eq!(ports, "");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// Such a service can be named in --skip and --services like one that moat.yaml lists.
#[test]
fn what_is_depended_on_can_be_left_out_and_asked_for() {
    let session = "  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}";
    let Some(project) = configured(session) else {
        return;
    };
    for flag in ["--services", "--skip"] {
        let done = call(&project, &["up", "a", flag, "unwanted"]).status(2);
        let said = done.stderr_text();
        assert!(
            said.contains("unknown process or service 'unwanted'"),
            "{said}"
        );
        assert_nothing(&project);
    }
    let made = json(&project, &["up", "a", "--services", "db"]);
    assert_eq!(
        (action(&made, "db"), action(&made, "web")),
        ("started", "skipped")
    );
    ok(&project, &["down", "a"]);
    let made = json(&project, &["up", "a", "--skip", "db"]);
    assert_eq!(action(&made, "web"), "started");
    assert_eq!(made["processes"].as_array().unwrap().len(), 1, "{made}");
    let both = json(&project, &["up", "a", "--services", "db"]);
    assert_eq!(service(&both, "db")["running"], true);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn one_that_is_to_end_has_done_its_work() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}")
    else {
        return;
    };
    project.commit(
        "docker-compose.yml",
        "services:\n  migrate: {image: 'moat-test/busybox:1', command: 'true'}\n  web:\n    image: moat-test/busybox:1\n    init: true\n    command: httpd -f -p 80\n    expose: ['80']\n    depends_on: {migrate: {condition: service_completed_successfully}}\n",
    );
    let made = up(&project, "a");
    assert_eq!(made["healthy"], true, "{made}");
    assert_eq!(action(&up(&project, "a"), "migrate"), "kept");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// The same under plain `depends_on`: then it is started again by the next `up`, as by `docker compose up`.
#[test]
fn one_that_ends_may_be_needed_without_a_condition() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}")
    else {
        return;
    };
    let file = |command: &str| {
        format!(
            "services:\n  migrate: {{image: 'moat-test/busybox:1', command: {command}}}\n  web:\n    image: moat-test/busybox:1\n    init: true\n    command: httpd -f -p 80\n    expose: ['80']\n    depends_on: [migrate]\n"
        )
    };
    project.commit("docker-compose.yml", &file("'true'"));
    assert_eq!(up(&project, "a")["healthy"], true);
    ok(&project, &["wt", "status", "a"]);
    ok(&project, &["down", "a"]);
    project.commit("docker-compose.yml", &file("'false'"));
    let done = call(&project, &["up", "b"]).status(1);
    let said = done.stderr_text();
    assert!(said.contains("'migrate' ended with code 1"), "{said}");
    assert_nothing(&project);
}

#[test]
fn logs_are_those_of_the_service() {
    let Some(project) = configured("  compose: {file: docker-compose.yml, services: {talk: }}")
    else {
        return;
    };
    project.commit(
        "docker-compose.yml",
        "services:\n  talk: {image: 'moat-test/busybox:1', init: true, command: \"sh -c 'echo one; echo two >&2; printf %040000d 0 >&2; echo >&2; exec sleep 1000'\"}\n",
    );
    up(&project, "a");
    // The engine stores a long line in pieces.
    let zeros = "0".repeat(40_000);
    let done = call(&project, &["wt", "logs", "a", "talk"]).success();
    let expected = ("one\n".to_owned(), format!("two\n{zeros}\n"));
    assert!(
        (done.stdout_text(), done.stderr_text()) == expected,
        "{done}"
    );
    let done = project
        .call(&["wt", "logs", "a", "talk", "--json"])
        .success();
    assert!(
        done.stdout_text()
            .contains(r#""stream":"stderr","line":"two""#),
        "{}",
        done.stdout_text()
    );
    let done = call(&project, &["wt", "logs", "a", "tall"]).status(1);
    assert!(
        done.stderr_text().contains("did you mean 'talk'"),
        "{}",
        done.stderr_text()
    );
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// The checkpoints of `up` and `down` around each compose resource that is created or removed.
const UP: [&str; 5] = [
    "session-compose-resolved",
    "session-compose-intent",
    "session-compose-built",
    "session-compose-up",
    "session-compose-ready",
];
const DOWN: [&str; 2] = ["session-down-processes", "session-down-compose"];

/// A project that takes little time, with an image that is built so that every checkpoint is reached.
fn small() -> Option<Project> {
    let session = "  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}";
    let project = configured(session)?;
    project.commit(
        "docker-compose.yml",
        "services:\n  web:\n    build: ./app\n    init: true\n    expose: [80]\n    volumes: ['data:/data']\n    healthcheck: {test: [CMD, 'true'], interval: 1s}\nvolumes: {data: }\n",
    );
    Some(project)
}

#[track_caller]
fn killed(project: &Project, command: &str, at: &str) {
    call(project, &[command, "a"]).killed_at(at);
    assert_eq!(project.list()[0]["abandoned"], true, "{at}");
}

#[test]
fn an_up_that_was_killed_is_taken_down() {
    for &at in amount(&[UP[1], UP[3]][..], &UP) {
        let Some(project) = small() else { return };
        killed(&project, "up", at);
        ok(&project, &["down", "a"]);
        assert_nothing(&project);
    }
}

#[test]
fn an_up_that_was_killed_is_recovered() {
    for &at in amount(&[UP[0], UP[2], UP[4]][..], &UP) {
        let Some(project) = small() else { return };
        killed(&project, "up", at);
        ok(&project, &["wt", "recover"]);
        if let Some(session) = project.list().first() {
            let fine = (&session["healthy"], at);
            assert_eq!(fine, (&true.into(), "session-compose-ready"));
            ok(&project, &["down", "a"]);
        }
        assert_nothing(&project);
    }
}

#[test]
fn an_up_that_was_killed_goes_on() {
    for &at in amount(&[UP[1], UP[2], UP[4]][..], &UP) {
        let Some(project) = small() else { return };
        killed(&project, "up", at);
        let made = up(&project, "a");
        assert_eq!(made["healthy"], true, "{at}");
        assert_eq!(get(port(&made, "web"), "/page"), "main");
        ok(&project, &["down", "a"]);
        assert_nothing(&project);
    }
}

#[test]
fn a_down_that_was_killed_is_carried_to_its_end() {
    for at in DOWN {
        let Some(project) = small() else { return };
        up(&project, "a");
        killed(&project, "down", at);
        ok(&project, &["wt", "recover"]);
        assert_nothing(&project);
    }
}

/// A rollback can be killed at any point, like the `up` before it.
#[test]
fn taking_back_can_be_killed_too() {
    for at in ["session-undo-processes", "session-undo-compose"] {
        let Some(project) = small() else { return };
        project.commit("app/page", "main\n# again\n");
        let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
        fs::write(
            project.repo.join("moat.yaml"),
            text + "  hooks: {post_up: 'false'}\n",
        )
        .unwrap();
        killed(&project, "up", at);
        ok(&project, &["wt", "recover"]);
        // At the first checkpoint the rollback has removed nothing yet, so all of the session still runs.
        if let Some(session) = project.list().first() {
            let fine = (&session["healthy"], at);
            assert_eq!(fine, (&true.into(), "session-undo-processes"));
            ok(&project, &["down", "a"]);
        }
        assert_nothing(&project);
    }
}

/// A build that takes long and whose command line no other test uses.
fn slow_build(project: &Project) -> String {
    let sleep = format!("sleep {}", 100_000 + u32::from(project.base));
    let text = format!("FROM moat-test/busybox:1\nRUN {sleep}\n");
    project.commit("app/Dockerfile", &text);
    sleep
}

fn is_running(command: &str) -> bool {
    let output = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().any(|line| line.trim() == command)
}

/// The compose tool keeps running when moat is killed; the command that settles the session ends the tool.
#[test]
fn a_tool_that_outlives_moat_makes_nothing_more() {
    let Some(project) = project() else { return };
    let build = slow_build(&project);
    let mut running = call(&project, &["up", "a"]).spawn();
    until("the build runs", || is_running(&build));
    running.kill();
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
    until("the end of the build", || !is_running(&build));
}

#[test]
fn an_up_that_is_interrupted_takes_it_back() {
    let Some(project) = project() else { return };
    let build = slow_build(&project);
    // Once as Ctrl-C on the terminal, which the compose tool receives too, and once for moat alone.
    for interrupt in [Running::signal_group, Running::signal] {
        let running = call(&project, &["up", "a"]).spawn();
        until("the build runs", || is_running(&build));
        interrupt(&running, Signal::INT);
        assert_eq!(running.wait().code, Some(130));
        assert_nothing(&project);
        until("the end of the build", || !is_running(&build));
    }
}

/// After Ctrl-C during `down`, services still get their whole grace period.
#[test]
fn an_interrupt_cuts_no_end_short() {
    let session = "  compose: {file: docker-compose.yml, services: {slow: }}";
    let Some(project) = configured(session) else {
        return;
    };
    let out = project.moat.root().join("out");
    fs::create_dir(&out).unwrap();
    let script = "trap 'echo >/out/begun; sleep 3; echo >/out/done; exit 0' TERM; while :; do sleep 0.1; done";
    project.commit(
        "docker-compose.yml",
        &format!("services:\n  slow:\n    image: moat-test/busybox:1\n    init: true\n    command: [sh, -c, \"{script}\"]\n    volumes: ['{}:/out']\n", out.display()),
    );
    up(&project, "a");
    let down = call(&project, &["down", "a"]).spawn();
    until("the service was told to end", || out.join("begun").exists());
    down.signal_group(Signal::INT);
    let done = down.wait();
    assert!(out.join("done").exists(), "{done}");
    project.call(&["down", "--all"]).run();
    assert_nothing(&project);
}

#[test]
fn the_loser_removes_its_own_and_fails() {
    let Some(project) = small() else { return };
    let (first, second) = crate::sessions::races::overtaken(&project, "session-compose-ready");
    assert_ne!(container(&first, "web"), container(&second, "web"));
    assert_eq!(get(port(&second, "web"), "/page"), "main");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// Creates a directory with only these programs, for PATH.
fn programs(project: &Project, names: &[&str]) -> PathBuf {
    let dir = project.moat.root().join("bin");
    fs::create_dir(&dir).unwrap();
    for name in names {
        let paths = std::env::var("PATH").unwrap();
        let mut found = paths.split(':').map(|dir| Path::new(dir).join(name));
        let found = found.find(|path| path.exists()).expect(name);
        symlink(found, dir.join(name)).unwrap();
    }
    dir
}

#[test]
fn down_needs_neither_the_file_nor_the_tool() {
    let Some(project) = project() else { return };
    let made = up(&project, "a");
    fs::remove_file(tree(&made).join("docker-compose.yml")).unwrap();
    project.configure("  slots: 8");
    let key = made["session"]["key"].as_str().unwrap();
    let dir = project.moat.home().join("sessions").join(key);
    fs::remove_file(dir.join("compose.yaml")).unwrap();
    let path = programs(&project, &["git", "docker", "sh"]);
    project
        .call(&["down", "a", "--force"])
        .env("PATH", &path)
        .success();
    assert_nothing(&project);
}

#[test]
fn without_a_tool_nothing_is_made() {
    let Some(project) = project() else { return };
    let path = programs(&project, &["git", "docker", "sh"]);
    let plugins = Command::new("docker").args(["compose", "version"]).output();
    if plugins.is_ok_and(|output| output.status.success()) {
        skip("the compose tool is part of docker here");
        return;
    }
    let done = call(&project, &["up", "a"]).env("PATH", &path).status(1);
    assert!(
        done.stderr_text().contains("there is no compose tool"),
        "{}",
        done.stderr_text()
    );
    assert_nothing(&project);
}

#[test]
fn without_an_engine_nothing_is_made() {
    let Some(project) = project() else { return };
    let away = format!("unix://{}", project.moat.root().join("none").display());
    let done = project
        .call(&["up", "a"])
        .env("DOCKER_HOST", away)
        .status(1);
    let said = done.stderr_text();
    assert!(
        said.contains("cannot be reached") && said.contains("start it"),
        "{said}"
    );
    assert_nothing(&project);
}

#[test]
fn ports_that_are_taken_give_way_or_are_refused() {
    let Some(project) = project() else { return };
    let strict = SESSION.replace("search_range: 1", "strict_ports: true");
    let above = (project.base + 25).to_string();
    let stranger = TcpListener::bind(("127.0.0.1", project.base + 1)).unwrap();
    project.configure(&strict.replace("BASE1", &above));
    let done = call(&project, &["up", "a"]).status(1);
    let why = format!(
        "port {} of 'db' is held by process {}",
        project.base + 1,
        std::process::id()
    );
    assert!(done.stderr_text().contains(&why), "{}", done.stderr_text());
    assert_nothing(&project);

    let pin = u64::from(project.base + 49);
    let made = json(&project, &["up", "a", "--port", &format!("db={pin}")]);
    assert_eq!(port(&made, "db"), pin);
    get(pin, "/");
    ok(&project, &["down", "a"]);

    project.configure(&SESSION.replace("BASE1", &above));
    let made = up(&project, "a");
    assert_eq!(port(&made, "db"), u64::from(project.base + 9));
    get(port(&made, "db"), "/");
    drop(stranger);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

#[test]
fn one_that_dies_fails_with_its_last_words() {
    let Some(project) = project() else { return };
    for (change, expected) in [
        (
            "command: sh -c 'echo out of memory; exit 3'",
            &["'db' ended with code 3", "out of memory"][..],
        ),
        (
            "command: sh -c 'echo not yet; sleep 1000'\n    healthcheck: {test: [CMD, 'false'], interval: 1s, retries: 1}",
            &["'db' is unhealthy", "not yet"],
        ),
    ] {
        project.commit(
            "docker-compose.yml",
            &format!("services:\n  db:\n    image: moat-test/busybox:1\n    init: true\n    expose: [80]\n    {change}\n  web: {{build: ./app, init: true, expose: [80]}}\n"),
        );
        let done = call(&project, &["up", "a"]).real_time().status(1);
        let said = done.stderr_text();
        for part in expected {
            assert!(said.contains(part), "{said}");
        }
        assert_nothing(&project);
    }
}

#[test]
fn a_service_that_is_never_ready_is_given_up() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, timeout: 2s, services: {slow: }}")
    else {
        return;
    };
    project.commit(
        "docker-compose.yml",
        "services:\n  slow: {image: 'moat-test/busybox:1', init: true, command: \"sh -c 'echo warming up; sleep 1000'\", healthcheck: {test: [CMD, 'false'], interval: 60s}}\n",
    );
    let done = call(&project, &["up", "a"]).status(1);
    let said = done.stderr_text();
    assert!(
        said.contains("'slow' is not ready after 2 s") && said.contains("warming up"),
        "{said}"
    );
    assert_nothing(&project);
}

/// Each mistake in a compose file, with the error that names it.
#[test]
fn a_file_that_no_two_sessions_can_have_is_refused() {
    let session = "  compose: {file: docker-compose.yml, services: {db: {port: BASE}}}";
    let Some(project) = configured(session) else {
        return;
    };
    let image = "image: 'moat-test/busybox:1'";
    for (file, expected) in [
        (
            format!("services: {{dbb: {{{image}}}}}"),
            "unknown service 'db' (did you mean 'dbb'?)",
        ),
        (
            format!("services: {{db: {{{image}}}}}"),
            "'db' has no port there",
        ),
        (
            format!("services: {{db: {{{image}, ports: [1, 2]}}}}"),
            "'db' has several ports there: 1, 2",
        ),
        (
            format!("services: {{db: {{{image}, network_mode: host}}}}"),
            "'network_mode: host'",
        ),
        (
            format!("services: {{db: {{{image}, network_mode: none, expose: [1]}}}}"),
            "no ports of its own",
        ),
        (
            format!(
                "services: {{db: {{{image}, expose: [1]}}, web: {{{image}, expose: [1]}}}}\nnetworks: {{default: {{ipam: {{config: [{{subnet: 10.9.0.0/24}}]}}}}}}"
            ),
            "a fixed subnet",
        ),
        (
            format!(
                "services: {{db: {{{image}, expose: [1], volumes: ['d:/d']}}}}\nvolumes: {{d: {{driver_opts: {{type: none, o: bind, device: /tmp}}}}}}"
            ),
            "has a fixed location",
        ),
        (
            format!("services: {{db: {{{image}, expose: [1], scale: 2}}}}"),
            "'db' has several containers",
        ),
        (
            format!("services: {{db: {{{image}, expose: [1], deploy: {{replicas: 2}}}}}}"),
            "'db' has several containers",
        ),
        ("services: [".to_owned(), "cannot read docker-compose.yml"),
        (
            "services: {db: {what: 1}}".to_owned(),
            "cannot read docker-compose.yml",
        ),
        (String::new(), "cannot read docker-compose.yml"),
    ] {
        project.commit("docker-compose.yml", &(file.clone() + "\n"));
        let done = call(&project, &["up", "a"]).status(1);
        let said = done.stderr_text();
        assert!(
            said.contains(expected) && said.contains("hint: "),
            "{file}\n{said}"
        );
        assert_nothing(&project);
    }
    project.git(&["rm", "--quiet", "docker-compose.yml"]);
    project.git(&["commit", "--quiet", "--message", "none"]);
    let done = call(&project, &["up", "a"]).status(1);
    assert!(
        done.stderr_text()
            .contains("there is no 'docker-compose.yml' in"),
        "{}",
        done.stderr_text()
    );
    assert_nothing(&project);
}

#[test]
fn names_and_ports_that_are_not_there_are_refused() {
    let Some(project) = configured(
        "  compose: {file: docker-compose.yml, services: {db: {port: BASE, container_port: 81}, web: }}",
    ) else {
        return;
    };
    for (args, expected) in [
        (
            &["up", "a", "--services", "bd"][..],
            "unknown process or service 'bd' (did you mean 'db'?)",
        ),
        (
            &["up", "a", "--port", "web=4000"],
            "'web' has no port that could be chosen",
        ),
    ] {
        let done = call(&project, args).status(2);
        assert!(
            done.stderr_text().contains(expected),
            "{}",
            done.stderr_text()
        );
    }
    let done = call(&project, &["up", "a"]).status(1);
    assert!(
        done.stderr_text()
            .contains("'db' has no port 81 (it has 80)"),
        "{}",
        done.stderr_text()
    );
    assert_nothing(&project);
}

/// In a session the base image has another tag than in the file; a build would use any image that has the file's tag.
#[test]
fn one_that_is_built_from_another_is_refused() {
    let session = "  compose: {file: docker-compose.yml, services: {base: , web: }}";
    let Some(project) = configured(session) else {
        return;
    };
    project.commit(
        "docker-compose.yml",
        "services:\n  base: {build: ./app, image: 'app:latest'}\n  web: {build: {context: ., dockerfile: Web}}\n",
    );
    project.commit("Web", "FROM app\nRUN true\n");
    let done = call(&project, &["up", "a"]).status(1);
    let said = done.stderr_text();
    assert!(
        said.contains("'web' builds FROM 'app', which 'base' builds") && said.contains("'target'"),
        "{said}"
    );
    assert_nothing(&project);
    project.commit(
        "Web",
        "FROM moat-test/busybox:1 AS app\nFROM app\nCMD [\"sleep\", \"1000\"]\n",
    );
    ok(&project, &["up", "a"]);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// Changes the record of a session on disk, without moat.
fn edit(project: &Project, document: &Value, change: impl FnOnce(&mut Value)) {
    let key = document["session"]["key"].as_str().unwrap();
    let path = project.moat.home().join(format!("sessions/{key}.json"));
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(&path, record.to_string()).unwrap();
}

/// `clean` removes the containers and networks of a session without a record, but not its volumes, which may hold
/// data. The session's engine is named only in the record of another session.
#[test]
fn clean_finds_what_a_lost_session_had() {
    let Some(project) = project() else { return };
    let (a, b) = (up(&project, "a"), up(&project, "b"));
    write_data(&project, &container(&a, "db"), "precious");
    let away = format!("unix://{}", project.moat.root().join("none").display());
    let db = docker(
        &project,
        &["inspect", "--format", "{{.Id}}", &container(&b, "db")],
    );
    for word in [&db, &container(&b, "db")] {
        let whose = project.call(&["whose", word, "--json"]);
        let owner = whose.env("DOCKER_HOST", &away).success().json();
        assert_eq!(owner["branch"], "b", "{owner}");
    }
    let key = a["session"]["key"].as_str().unwrap();
    fs::remove_file(project.moat.home().join(format!("sessions/{key}.json"))).unwrap();
    let clean = |args: &[&str]| {
        let call = call(&project, &[&["clean"], args].concat());
        call.env("DOCKER_HOST", &away).success().stdout_text()
    };
    let shown = clean(&["--dry-run"]);
    let incarnation = a["session"]["incarnation"].as_str().unwrap().to_lowercase();
    for kind in ["container", "network", "image", "kept"] {
        let is_its = |line: &str| line.starts_with(kind) && line.contains(&incarnation);
        assert!(shown.lines().any(is_its), "{kind}: {shown}");
    }
    // An engine with two addresses is searched once.
    let socket = "/var/run/docker.sock";
    if Path::new(socket).exists() {
        edit(&project, &b, |record| {
            let host = format!("unix://{socket}");
            record["compose"]["engine"] = serde_json::json!([["DOCKER_HOST", host]]);
        });
        let done = call(&project, &["clean", "--dry-run"]).success();
        let text = done.stdout_text();
        let lines = text.lines().filter(|line| line.contains(&incarnation));
        assert_eq!(lines.count(), 5, "{text}");
    }
    clean(&["--force"]);
    let project_a = a["session"]["compose"]["project"].as_str().unwrap();
    let volume = format!("{project_a}_data");
    let filter = format!(
        "label=moat.session={}",
        a["session"]["incarnation"].as_str().unwrap()
    );
    for kind in ["ps", "network", "image"] {
        let list: &[&str] = if kind == "ps" {
            &["ps", "--all"]
        } else {
            &[kind, "ls"]
        };
        let left = docker(
            &project,
            &[list, &["--quiet", "--filter", &filter]].concat(),
        );
        assert_eq!(left, "", "{kind}");
    }
    assert!(left(&project).contains(&format!("volume {volume}")));
    assert_eq!(json(&project, &["wt", "status", "b"])["healthy"], true);
    let volumes = json(&project, &["volumes"]);
    let names: Vec<&Value> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert!(names.contains(&&Value::from(volume.as_str())), "{volumes}");
    ok(&project, &["volumes", "rm", "--force", &volume]);
    ok(&project, &["down", "b"]);
    project.git(&["worktree", "remove", "--force", tree(&a).to_str().unwrap()]);
    assert_eq!(left(&project), Vec::<String>::new());
}

/// An image committed from a session's container has the session's labels, and an image may have further names.
#[test]
fn images_that_somebody_has_named_stay() {
    let Some(project) = configured("  compose: {file: docker-compose.yml, services: {web: }}")
    else {
        return;
    };
    for lost in [false, true] {
        let made = up(&project, "a");
        let incarnation = made["session"]["incarnation"].as_str().unwrap();
        let own = made["session"]["compose"]["project"].as_str().unwrap();
        let mine = ["snapshot", "tagged"].map(|name| format!("{own}-{name}:mine"));
        let built = format!("{own}/web");
        docker(&project, &["commit", &container(&made, "web"), &mine[0]]);
        docker(&project, &["tag", &built, &mine[1]]);
        if lost {
            let key = made["session"]["key"].as_str().unwrap();
            fs::remove_file(project.moat.home().join(format!("sessions/{key}.json"))).unwrap();
            ok(&project, &["clean", "--force"]);
            let tree = tree(&made);
            project.git(&["worktree", "remove", "--force", tree.to_str().unwrap()]);
        } else {
            ok(&project, &["down", "a"]);
        }
        let filter = format!("label=moat.session={incarnation}");
        let format = "{{.Repository}}:{{.Tag}}";
        let list = ["image", "ls", "--format", format, "--filter", &filter];
        let text = docker(&project, &list);
        let mut names: Vec<&str> = text.lines().collect();
        names.sort_unstable();
        docker(&project, &["image", "rm", &mine[0], &mine[1]]);
        assert_eq!(names, mine);
        let volume = format!("{own}_data");
        if lost {
            ok(&project, &["volumes", "rm", "--force", &volume]);
        }
        assert_eq!(left(&project), Vec::<String>::new());
    }
}

/// `down --force` gives up a session whose engine is gone for good.
#[test]
fn a_session_whose_engine_is_gone_can_be_given_up() {
    let Some(project) = project() else { return };
    let made = up(&project, "a");
    let away = format!("unix://{}", project.moat.root().join("none").display());
    edit(&project, &made, |record| {
        record["compose"]["engine"] = serde_json::json!([["DOCKER_HOST", away]]);
    });
    let done = call(&project, &["down", "a"]).status(1);
    assert!(done.stderr_text().contains("moat down a --force"), "{done}");
    let status = project.call(&["wt", "status", "a", "--json"]).status(1);
    assert_eq!(status.json()["session"]["status"], "broken");
    // The warning also appears with --quiet and --json.
    let down = ["down", "a", "--force", "--quiet", "--json"];
    let done = call(&project, &down).success();
    let engine = format!("docker (DOCKER_HOST={away})");
    assert_eq!(
        done.json()["abandoned_engines"],
        serde_json::json!([engine])
    );
    let said = done.stderr_text();
    let left_there = format!("the session's resources in {engine} stay");
    assert!(
        said.starts_with("warning: ") && said.contains(&left_there),
        "{done}"
    );
    assert_eq!(project.list(), Vec::<Value>::new());
    ok(&project, &["clean", "--force"]);
    let volume = format!(
        "{}_data",
        made["session"]["compose"]["project"].as_str().unwrap()
    );
    ok(&project, &["volumes", "rm", "--force", &volume]);
    assert_nothing(&project);
}

/// An engine that hangs blocks neither a list of sessions nor 'moat whose'. Both call unknown what only the engine
/// knows.
#[test]
fn an_engine_that_hangs_makes_it_unknown() {
    let Some(project) =
        configured("  compose: {file: docker-compose.yml, services: {db: {port: BASE}}}")
    else {
        return;
    };
    dependency(&project, "lazy");
    let file = project.repo.join("moat.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, "dependencies: [lazy]\n".to_owned() + &text).unwrap();
    let made = call(&project, &["up", "a", "--json"]).success().json();
    let socket = project.moat.root().join("hangs");
    let _listener = UnixListener::bind(&socket).unwrap();
    let hangs = format!("unix://{}", socket.display());
    let session = &made["session"];
    let real = (
        session["compose"]["engine"].clone(),
        session["services"]["engine"].clone(),
    );
    edit(&project, &made, |record| {
        record["compose"]["engine"] = serde_json::json!([["DOCKER_HOST", hangs]]);
        record["services"]["engine"] = record["compose"]["engine"].clone();
    });
    let began = Instant::now();
    let why = format!("in docker (DOCKER_HOST={hangs}) is unknown: docker did not answer in time");
    let list = call(&project, &["wt", "list"]).success();
    assert!(list.stdout_text().contains("0/2 (2 unknown)"), "{list}");
    assert_eq!(list.stderr_text().matches(&why).count(), 1, "{list}");
    let list = call(&project, &["wt", "list", "--json"]).success();
    assert!(list.stderr_text().contains(&why), "{list}");
    let seen = &list.json()[0];
    assert_eq!(
        (
            &service(seen, "db")["running"],
            &seen["services"][0]["state"]
        ),
        (&Value::Null, &"unknown".into())
    );
    call(&project, &["whose", &format!(":{}", port(&made, "db"))]).status(2);
    let status = call(&project, &["wt", "status", "a"]).status(1);
    assert_eq!(
        status.stdout_text().matches(": unknown").count(),
        2,
        "{status}"
    );
    let recovered = call(&project, &["wt", "recover"]).success();
    assert!(
        recovered.stderr_text().contains("nothing to recover"),
        "{recovered}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    edit(&project, &made, |record| {
        record["compose"]["engine"] = real.0;
        record["services"]["engine"] = real.1;
    });
    assert_eq!(project.list()[0]["healthy"], true);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// A process that listens on the port of a service does not become a process of the session, whether the user or moat
/// started it.
#[test]
fn sync_takes_no_process_for_a_service() {
    let Some(project) = project() else { return };
    let made = json(&project, &["up", "a", "--skip", "db,web"]);
    let mut stranger = Command::new("sh")
        .args(["-c", crate::sessions::project::SERVER])
        .current_dir(tree(&made))
        .env("PORT", port(&made, "db").to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let address = ("127.0.0.1", u16::try_from(port(&made, "db")).unwrap());
    until("the foreign process listens", || {
        TcpStream::connect(address).is_ok()
    });
    let done = project.call(&["wt", "sync", "a"]).status(1);
    let why = "of 'db', which is a service of the compose file";
    assert!(done.stderr_text().contains(why), "{done}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(project.list()[0]["processes"], serde_json::json!([]));
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// A container with the compose project's name, but without moat's label.
#[test]
fn a_project_of_the_same_name_survives() {
    let Some(project) = project() else { return };
    let made = up(&project, "a");
    let name = made["session"]["compose"]["project"].as_str().unwrap();
    let label = format!("com.docker.compose.project={name}");
    let foreign = docker(
        &project,
        &[
            "run",
            "--detach",
            "--init",
            "--label",
            &label,
            "--label",
            "com.docker.compose.service=db",
            "moat-test/busybox:1",
            "sleep",
            "1000",
        ],
    );
    assert!(!foreign.is_empty());
    ok(&project, &["down", "a"]);
    let state = docker(
        &project,
        &["inspect", "--format", "{{.State.Status}}", &foreign],
    );
    docker(&project, &["rm", "--force", &foreign]);
    assert_eq!(state, "running");
    assert_nothing(&project);
}

#[test]
fn data_survives_an_up_that_fails() {
    let Some(project) = project() else { return };
    let first = up(&project, "a");
    write_data(&project, &container(&first, "db"), "precious");
    ok(&project, &["down", "a", "--keep"]);
    let file = tree(&first).join("docker-compose.yml");
    fs::write(&file, FILE.replace("httpd -f -p 80 -h /data", "'false'")).unwrap();
    call(&project, &["up", "a"]).status(1);
    fs::write(&file, FILE).unwrap();
    let again = up(&project, "a");
    assert_eq!(get(port(&again, "db"), "/who"), "precious");
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// An anonymous volume is handed on to each new container, and is removed with the session. Relative paths in a
/// compose file are relative to the file.
#[test]
fn data_without_a_name_is_kept_until_the_end() {
    let session = "  compose: {file: deploy/compose.yml, services: {web: {port: BASE}}}\n  strict_ports: true\n  hooks: {post_up: 'test ! -e fail'}";
    let Some(project) = configured(session) else {
        return;
    };
    fs::create_dir(project.repo.join("deploy")).unwrap();
    project.commit("deploy/page", "deployed\n");
    project.commit(
        "deploy/compose.yml",
        "services:\n  web:\n    image: moat-test/busybox:1\n    init: true\n    command: httpd -f -p 80 -h /\n    expose: [80]\n    volumes: ['/data', './page:/page:ro']\n",
    );
    let first = up(&project, "a");
    let name = container(&first, "web");
    let format = "{{range .Mounts}}{{println .Name}}{{end}}";
    let volume = docker(&project, &["inspect", "--format", format, &name]);
    assert_eq!(volume.len(), 64, "{volume}");
    write_data(&project, &name, "kept");
    let expect = |document: &Value| {
        assert_eq!(port(document, "web"), port(&first, "web"));
        assert_eq!(get(port(document, "web"), "/data/who"), "kept");
        assert_eq!(get(port(document, "web"), "/page"), "deployed");
    };
    expect(&json(&project, &["up", "a", "--force"]));
    ok(&project, &["down", "a", "--keep"]);
    expect(&up(&project, "a"));
    fs::write(tree(&first).join("fail"), "").unwrap();
    let done = call(&project, &["up", "a", "--force"]).status(1);
    let said = done.stderr_text();
    assert!(said.contains("stopped now: web\n"), "{said}");
    let status = project.call(&["wt", "status", "a", "--json"]).status(1);
    assert_eq!(service(&status.json(), "web")["running"], false);
    fs::remove_file(tree(&first).join("fail")).unwrap();
    expect(&up(&project, "a"));
    ok(&project, &["down", "a"]);
    let there = docker(&project, &["volume", "ls", "--quiet"]);
    assert!(!there.contains(&volume), "{volume} is left");
    assert_nothing(&project);
}

/// The compose example of docs/examples, with images that the test machine has.
#[test]
fn the_example_serves_each_branch_its_own_page() {
    let Some(moat) = place() else { return };
    let moat = moat
        .env("DB_IMAGE", "moat-test/redis:7")
        .env("WEB_IMAGE", "moat-test/servers:1");
    let project = Project::at(moat, "  slots: 5");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sessions-compose");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(example.join("."))
        .arg(&project.repo)
        .status();
    assert!(copied.unwrap().success());
    // Ports that no other test uses.
    let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
    let (web, db) = (project.base.to_string(), (project.base + 25).to_string());
    let text = text.replace("port: 4100", &format!("port: {web}"));
    let text = text.replace("port: 4200", &format!("port: {db}"));
    let text = text.replace("slots: 5", "slots: 5\n  search_range: 1");
    project.commit("moat.yaml", &text);
    let branches = &["a", "b", "c", "d", "e"][..amount(3, 5)];
    let made: Vec<Value> = branches.iter().map(|branch| up(&project, branch)).collect();
    for visit in [1, 2] {
        for (branch, session) in branches.iter().zip(&made) {
            let page = get(port(session, "web"), "/");
            assert_eq!(page, format!("hello from {branch}: visit {visit}"));
        }
    }
    ok(&project, &["down", "c"]);
    for (branch, session) in branches.iter().zip(&made).filter(|it| *it.0 != "c") {
        let page = get(port(session, "web"), "/");
        assert_eq!(page, format!("hello from {branch}: visit 3"));
    }
    ok(&project, &["down", "--all"]);
    assert_nothing(&project);
}

/// `up` restores a worktree that the user removed, and recreates the services that mount it.
#[test]
fn services_of_a_worktree_that_was_gone_see_the_new_one() {
    let Some(project) = project() else { return };
    let first = up(&project, "a");
    fs::remove_dir_all(tree(&first)).unwrap();
    let again = up(&project, "a");
    assert_eq!(action(&again, "web"), "started");
    fs::write(tree(&again).join("mounted"), "new\n").unwrap();
    assert_eq!(get(port(&again, "web"), "/mounted"), "new");
    ok(&project, &["down", "a", "--force"]);
    assert_nothing(&project);
}

#[test]
fn a_process_and_a_service_of_one_name_are_refused() {
    let session = "  hooks: {pre_up: 'touch ../began'}\n  processes: {db: {command: sleep 1000}}\n  compose: {file: docker-compose.yml, services: {web: {port: BASE}}}";
    let Some(project) = configured(session) else {
        return;
    };
    let refused = |what: &str| {
        let done = call(&project, &["up", "a"]).status(1);
        let why =
            format!("'db' names both a {what} of the session and a dependency in the compose file");
        assert!(done.stderr_text().contains(&why), "{done}");
        assert!(!project.repo.join("../began").exists(), "{done}");
        assert_nothing(&project);
    };
    refused("process");
    // The same conflict with a service from `dependencies`.
    dependency(&project, "db");
    let file = project.repo.join("moat.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("  processes: {db: {command: sleep 1000}}\n", "");
    fs::write(&file, "dependencies: [db]\n".to_owned() + &text).unwrap();
    refused("service");
    // 'check' finds the conflict when moat.yaml lists the compose service.
    let listed = text.replace("{web: ", "{db: , web: ");
    fs::write(&file, "dependencies: [db]\n".to_owned() + &listed).unwrap();
    let done = project.call(&["check"]).status(1);
    let said = done.stdout_text();
    assert!(said.contains("would set MOAT_DB_PORT"), "{said}");
}

/// A run in the session joins the networks of the compose services and of the services from `dependencies`.
#[test]
fn a_run_reaches_them_by_their_names() {
    let Some(project) = project() else {
        return;
    };
    dependency(&project, "lazy");
    let yaml = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
    let more = format!("base_image: {IMAGE}\ndependencies: [lazy]\n");
    project.commit("moat.yaml", &(more + &yaml));
    let made = up(&project, "a");
    up(&project, "b");
    let shell = |branch: &str, script: &str| {
        let call = call(&project, &["wt", branch, "--", "sh", "-c", script]);
        call.success().stdout_text()
    };
    let told = "echo $MOAT_DB_HOST $MOAT_DB_PORT $MOAT_WEB_PORT $WEB $MOAT_LAZY_HOST";
    assert_eq!(shell("a", told), "db 80 80 80 lazy\n");
    fs::write(tree(&made).join("app/page"), "of a\n").unwrap();
    ok(&project, &["up", "a", "--force", "--services", "web"]);
    let page = "wget -qO- http://$MOAT_WEB_HOST:$MOAT_WEB_PORT/page";
    assert_eq!(
        (shell("a", page), shell("b", page)),
        ("of a\n".into(), "main\n".into())
    );
    shell("a", "wget -qO- http://lazy/ 2>&1 | grep 404");
    let run = [
        "run",
        "--session",
        "a",
        "-b",
        "-n",
        "one",
        "--",
        "sleep",
        "1000",
    ];
    project.ok(&run);
    let record = project.json(&["inspect", "one"]);
    let session = &record["session"];
    assert!(session["network"].is_string(), "{session}");
    assert_eq!(
        session["compose_networks"].as_array().unwrap().len(),
        1,
        "{session}"
    );
    ok(&project, &["down", "--all", "--force"]);
    assert_eq!(project.json(&["inspect", "one"])["state"], "stopped");
    project.ok(&["destroy", "one"]);
    assert_nothing(&project);
}

/// A service that is stopped since `down --keep` and skipped by `up` does not make the session unhealthy. A process
/// that has left moat.yaml is reported next to the compose services.
#[test]
fn what_is_stopped_or_left_over_is_told_as_that() {
    let both = "  processes: {idle: {command: exec sleep 1000}, other: {command: exec sleep 1000}}\n  compose: {file: docker-compose.yml, services: {web: }}";
    let Some(project) = configured(both) else {
        return;
    };
    let file =
        "services:\n  web: {image: 'moat-test/busybox:1', init: true, command: sleep 1000}\n";
    project.commit("docker-compose.yml", file);
    up(&project, "a");
    ok(&project, &["down", "a", "--keep"]);
    let made = json(&project, &["up", "a", "--skip", "web"]);
    assert_eq!(made["healthy"], true, "{made}");
    let status = call(&project, &["wt", "status", "a"]).success();
    assert!(status.stdout_text().contains("web: stopped\n"), "{status}");
    project.configure(&both.replace(", other: {command: exec sleep 1000}", ""));
    let made = up(&project, "a");
    assert_eq!(action(&made, "web"), "started");
    assert_eq!(action(&made, "other"), "kept", "{made}");
    // A service that ends by itself does make the session unhealthy.
    docker(&project, &["kill", &container(&made, "web")]);
    call(&project, &["wt", "status", "a"]).status(1);
    ok(&project, &["down", "a"]);
    assert_nothing(&project);
}

/// When a compose network has no route to the outside, the run still reaches the internet through its own network.
#[test]
fn a_run_beside_them_has_a_network_of_its_own() {
    let Some(project) = project() else {
        return;
    };
    let above = "  compose:\n    file: docker-compose.yml\n    services: {db: {}}\n";
    let file = "services:\n  db: {image: 'moat-test/busybox:1', init: true, command: httpd -f}\nnetworks: {default: {internal: true}}\n";
    project.configure(above);
    project.commit("docker-compose.yml", file);
    let yaml = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
    project.commit("moat.yaml", &format!("base_image: {IMAGE}\n{yaml}"));
    up(&project, "a");
    let script = "ls /sys/class/net | grep -c eth; wget -qO- http://db/ 2>&1 | grep -o 404";
    let done = call(&project, &["wt", "a", "--", "sh", "-c", script]).success();
    assert_eq!(done.stdout_text(), "2\n404\n", "{done}");
    ok(&project, &["down", "--all", "--force"]);
    assert_nothing(&project);
}
