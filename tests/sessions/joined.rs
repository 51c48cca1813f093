//! Runs in a session: they share the services of that session alone, and end with it.

use std::fs;

use serde_json::Value;

use crate::harness::{Done, IMAGE, Runtime, until};
use crate::sessions::project::{Project, tree};
use crate::sessions::services::{
    REDIS, ask, assert_nothing, container, engine, lazies, on, port, redis, remember, write,
};

/// A project with a redis, whose image also has the redis client.
fn project(runtime: Runtime) -> Option<Project> {
    on(runtime, &format!("base_image: {REDIS}\n{}", redis("", "")))
}

fn client(command: &str) -> String {
    format!("redis-cli --no-auth-warning -u $MOAT_REDIS_URL {command}")
}

#[track_caller]
fn shell(project: &Project, words: &[&str], script: &str) -> Done {
    let call = [words, &["--", "sh", "-c", script]].concat();
    project.ok(&call)
}

fn shared(runtime: Runtime) {
    let Some(project) = project(runtime) else {
        return;
    };
    let (a, b) = (project.up("a"), project.up("b"));
    remember(&a, "a");
    remember(&b, "b");
    for branch in ["a", "b"] {
        let done = shell(&project, &["wt", branch], &client("GET who"));
        assert_eq!(done.stdout_text(), format!("{branch}\n"), "{done}");
    }
    // A value that one run writes is visible to the next run and to the host.
    shell(
        &project,
        &["run", "--session", "a"],
        &client("SET word from-inside"),
    );
    assert_eq!(ask(&a, "GET word"), "from-inside");
    let told =
        "echo $MOAT_SLOT $MOAT_BRANCH $MOAT_REDIS_HOST $MOAT_REDIS_PORT $MOAT_REDIS_PASSWORD";
    let done = shell(&project, &["wt", "a"], told);
    let password = a["env"]["MOAT_REDIS_PASSWORD"].as_str().unwrap();
    assert_eq!(done.stdout_text(), format!("1 a redis 6379 {password}\n"));
    // A variable that the user sets takes precedence.
    let set = [
        "run",
        "--session",
        "a",
        "-n",
        "named",
        "-e",
        "MOAT_REDIS_HOST=mine",
        "-e",
        "MOAT_SLOT=9",
    ];
    let done = shell(&project, &set, "echo $MOAT_REDIS_HOST $MOAT_SLOT");
    assert_eq!(done.stdout_text(), "mine 9\n");
    let record = project.json(&["inspect", "named"]);
    let session = &record["session"];
    assert_eq!(
        (&session["key"], &session["services"], &record["services"]),
        (
            &a["session"]["key"],
            &serde_json::json!(["redis"]),
            &serde_json::json!([])
        )
    );
    assert!(!record.to_string().contains(password), "{record}");
    // A run without a session gets a redis of its own.
    let path = tree(&a);
    let fresh = shell(
        &project,
        &["run", path.to_str().unwrap()],
        &client("GET who"),
    );
    assert_eq!(fresh.stdout_text(), "\n", "{fresh}");
    project.ok(&["down", "--all"]);
    assert_nothing(&project);
}

#[test]
fn runs_share_the_services_of_their_session() {
    shared(Runtime::Docker);
}

#[test]
fn runs_share_the_services_of_their_session_on_podman() {
    shared(Runtime::Podman);
}

/// `down` stops the runs that are running, and runs that have ended and are kept do not block it.
fn ended(runtime: Runtime, down: &[&str]) {
    let Some(project) = project(runtime) else {
        return;
    };
    let made = project.up("a");
    shell(
        &project,
        &["run", "--session", "a", "--keep", "-n", "kept"],
        "true",
    );
    let run = ["run", "--session", "a", "-b", "-n"];
    for (name, script) in [
        (
            "one",
            "trap 'echo last words; exit' TERM; while :; do sleep 0.1; done",
        ),
        ("two", "exec sleep 1000"),
    ] {
        shell(&project, &[&run[..], &[name]].concat(), script);
    }
    let path = tree(&made);
    let other = [&["run", path.to_str().unwrap(), "-b", "-n", "other"][..]].concat();
    shell(&project, &other, "exec sleep 1000");
    project.ok(down);
    for name in ["one", "two"] {
        let record = project.json(&["inspect", name]);
        assert_eq!(
            (
                &record["state"],
                &record["reason"],
                record["cleaned_at"].is_string()
            ),
            (&"stopped".into(), &"user-stop".into(), true),
            "{record}"
        );
    }
    project
        .call(&["logs", "one"])
        .stdout("last words\n")
        .success();
    // This run uses the worktree but did not join the session.
    assert_eq!(project.json(&["inspect", "other"])["state"], "running");
    project.ok(&["destroy", "-f", "kept", "one", "two", "other"]);
    if down.contains(&"--keep") {
        project.up("a");
        shell(&project, &["wt", "a"], &client("GET who"));
        project.ok(&["down", "a"]);
    }
    assert_nothing(&project);
}

#[test]
fn a_down_takes_runs_along() {
    ended(Runtime::Docker, &["down", "a"]);
}

#[test]
fn a_down_takes_runs_along_on_podman() {
    ended(Runtime::Podman, &["down", "a"]);
}

#[test]
fn a_down_that_keeps_takes_runs_along() {
    ended(Runtime::Docker, &["down", "a", "--keep"]);
}

/// The session is taken down when the run is reserved but has no other resources yet.
#[test]
fn a_run_that_is_about_to_begin_is_taken_along() {
    let Some(project) = project(Runtime::Docker) else {
        return;
    };
    project.up("a");
    let words = ["run", "--session", "a", "--", "true"];
    let run = project.moat.args(words).checkpoint("reserved");
    let run = run.any_stderr().spawn();
    project.moat.wait_checkpoint("reserved");
    let down = project.moat.args(["down", "a"]).any_stderr().spawn();
    until("the session is stopping", || {
        let mut sessions = project.list().into_iter();
        sessions.all(|one| one["session"]["status"] == "stopping")
    });
    project.moat.release_checkpoint("reserved");
    // Either `down` stops the run, or the run finds that the session no longer takes runs.
    let done = run.wait();
    assert!(matches!(done.code, Some(125 | 143)), "{done}");
    assert_eq!(down.wait().code, Some(0));
    project.ok(&["destroy", &project.moat.only_id()]);
    assert_nothing(&project);
}

/// The run has checked that the session takes runs, and is reserved after the session is gone.
#[test]
fn a_run_that_comes_too_late_does_not_begin() {
    let Some(project) = project(Runtime::Docker) else {
        return;
    };
    project.up("a");
    let words = ["run", "--session", "a", "--", "true"];
    let run = project.moat.args(words).checkpoint("session-joined");
    let run = run.any_stderr().spawn();
    project.moat.wait_checkpoint("session-joined");
    project.ok(&["down", "a", "--keep"]);
    project.moat.release_checkpoint("session-joined");
    let done = run.wait();
    assert!(
        done.code == Some(125)
            && done
                .stderr_text()
                .contains("its session was taken down before the run began"),
        "{done}"
    );
    project.ok(&["down", "a"]);
    project.ok(&["destroy", &project.moat.only_id()]);
    assert_nothing(&project);
}

fn kill_supervisor(project: &Project, id: &str) {
    let owner = fs::read_to_string(project.moat.run_dir(id).join("owner.lock")).unwrap();
    let owner: Value = serde_json::from_str(&owner).unwrap();
    let pid = rustix::process::Pid::from_raw(owner["pid"].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// With its supervisor killed, a run cannot be asked to stop; `down` ends it all the same.
#[test]
fn a_run_without_a_supervisor_is_taken_along() {
    let Some(project) = project(Runtime::Docker) else {
        return;
    };
    project.up("a");
    shell(
        &project,
        &["run", "--session", "a", "-b"],
        "exec sleep 1000",
    );
    let id = project.moat.only_id();
    kill_supervisor(&project, &id);
    project.ok(&["down", "a"]);
    assert_eq!(project.json(&["inspect", &id])["state"], "stopped");
    project.ok(&["destroy", &id]);
    assert_nothing(&project);
}

#[test]
fn what_a_run_cannot_have_of_a_session_is_said() {
    let Some(project) = project(Runtime::Docker) else {
        return;
    };
    let run = |flags: &[&str]| {
        let words = [&["run", "--session", "a"], flags, &["--", "true"]].concat();
        project.call(&words)
    };
    let none = "there is no session of 'a'";
    run(&[]).stderr_contains(none).status(125);
    let made = project.up("a");
    run(&["."]).stderr_contains("exclude each other").status(2);
    // The session's service has died.
    engine(&project, &["kill", &container(&made, "redis")]);
    let done = run(&[]).status(125);
    assert!(
        done.stderr_text()
            .contains("redis of 'a' is not running\n  hint: start it: moat up a"),
        "{done}"
    );
    project.up("a");
    // The branch's moat.yaml wants another version, or an additional service.
    let yaml = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
    lazies(&project, &["lazy"], "[sleep, '1000']", "[\"true\"]");
    for (change, why) in [
        (
            ("redis@7]", "redis@6]"),
            "redis is redis 7 in the session, but redis 6 in this run",
        ),
        (("redis@7]", "redis@7, lazy]"), "there is no lazy"),
    ] {
        fs::write(
            tree(&made).join("moat.yaml"),
            yaml.replace(change.0, change.1),
        )
        .unwrap();
        run(&[])
            .stderr_contains(&format!(
                "note: the run does not reach the services of 'a', and has its own: {why}\n"
            ))
            .success();
    }
    fs::write(
        tree(&made).join("moat.yaml"),
        format!("base_image: {IMAGE}\n"),
    )
    .unwrap();
    // The moat.yaml of the branch asks for no service; the run reaches all of the session's services.
    let done = run(&["--dry-run"]).success();
    let key = made["session"]["key"].as_str().unwrap();
    assert!(
        done.stdout_text()
            .contains(&format!("session      {key}, with its redis\n")),
        "{done}"
    );
    shell(
        &project,
        &["wt", "a"],
        "echo PING | nc redis 6379 | grep NOAUTH",
    );
    fs::write(tree(&made).join("moat.yaml"), "").unwrap();
    // A run on another engine than the services.
    run(&["--runtime", "bwrap"])
        .stderr_contains("does not reach the services of 'a': the services run on ")
        .success();
    write(&project, "base_image: [\n");
    project.ok(&["down", "a", "--keep"]);
    let done = run(&[]).status(125);
    assert!(
        done.stderr_text()
            .contains("the session of 'a' is stopped\n  hint: start it: moat up a"),
        "{done}"
    );
    project.ok(&["down", "a", "--force"]);
    assert_nothing(&project);
}

/// The rollback removes a service that the failed `up` had recreated. It keeps the network, because runs are
/// connected to it.
#[test]
fn an_up_that_fails_leaves_runs_alone() {
    let yaml = format!(
        "base_image: {IMAGE}\ndependencies: [lazy]\nservices: {{lazy: {{timeout: 2s}}}}\nsession: {{search_range: 1}}\n"
    );
    let Some(project) = on(Runtime::Docker, "") else {
        return;
    };
    lazies(&project, &["lazy"], "[httpd, -f]", "[\"true\"]");
    project.commit("moat.yaml", &yaml);
    project.up("a");
    let words = ["run", "--session", "a", "-b", "-n", "one"];
    shell(&project, &words, "exec sleep 1000");
    lazies(&project, &["lazy"], "[sleep, '1000']", "[\"false\"]");
    project.call(&["up", "a", "--force"]).status(1);
    let list = project.list();
    assert_eq!(list[0]["session"]["status"], "active", "{:#}", list[0]);
    lazies(&project, &["lazy"], "[httpd, -f]", "[\"true\"]");
    project.up("a");
    let get = "wget -qO- http://lazy/ 2>&1 | grep 404";
    shell(&project, &["exec", "one"], get);
    project.ok(&["down", "a"]);
    assert_eq!(project.json(&["inspect", "one"])["state"], "stopped");
    project.ok(&["destroy", "one"]);
    assert_nothing(&project);
}

/// `down` asks all other runs to stop when one cannot be asked.
#[test]
fn all_runs_are_asked_to_end() {
    let Some(project) = project(Runtime::Docker) else {
        return;
    };
    project.up("a");
    let mut ids: Vec<String> = ["one", "two", "three"]
        .into_iter()
        .map(|name| {
            let words = ["run", "--session", "a", "-b", "-n", name];
            let done = shell(&project, &words, "exec sleep 1000");
            done.stdout_text().trim().to_owned()
        })
        .collect();
    ids.sort();
    // A record that a newer moat wrote, of a run without a supervisor.
    kill_supervisor(&project, &ids[0]);
    let path = project.moat.run_dir(&ids[0]).join("run.json");
    let schema = |number: u32| {
        let text = fs::read_to_string(&path).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        let before = record["schema"].as_u64().unwrap();
        record["schema"] = number.into();
        fs::write(&path, record.to_string()).unwrap();
        u32::try_from(before).unwrap()
    };
    let before = schema(99);
    project
        .call(&["down", "a"])
        .stderr_contains("newer")
        .status(1);
    for id in &ids[1..] {
        assert_eq!(project.json(&["inspect", id])["state"], "stopped");
    }
    schema(before);
    project.ok(&["down", "a"]);
    project.ok(&["destroy", &ids[0], &ids[1], &ids[2]]);
    assert_nothing(&project);
}

#[test]
fn a_down_that_was_killed_takes_runs_along_at_last() {
    for at in ["session-down-begun", "session-down-runs"] {
        for how in [&["wt", "recover"][..], &["down", "a"]] {
            let Some(project) = project(Runtime::Docker) else {
                return;
            };
            project.up("a");
            let words = ["run", "--session", "a", "-b", "-n", "one"];
            shell(&project, &words, "exec sleep 1000");
            project.moat.args(["down", "a"]).killed_at(at);
            project.ok(how);
            assert_eq!(project.json(&["inspect", "one"])["state"], "stopped");
            project.ok(&["destroy", "one"]);
            assert_nothing(&project);
        }
    }
}

/// The variables of a run describe several instances, a second port, and values that look like an address.
#[test]
fn what_a_run_is_told_is_as_it_is_inside() {
    let Some(project) = on(Runtime::Docker, "") else {
        return;
    };
    let entry = "multi:\n  type: service\n  description: a test\n  versions: ['1']\n  default: '1'\n  image: 'moat-test/busybox:{version}'\n  ports: {default: 80, web: 81}\n  user: root\n  database: moat\n  env: {M_USER: '{user}', M_PW: '{password}', M_DB: '{database}'}\n  command: [httpd, -f]\n  ready: 'true'\n  url: multi://{user}:{password}@{host}:{port}/{database}\n";
    let dir = project.moat.home().join("registry.d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("multi.yaml"), entry).unwrap();
    let outside = project.base + 26;
    let yaml = format!(
        "base_image: {IMAGE}\ndependencies: [multi]\nservices:\n  multi: {{port: {}}}\n  cache: {{service: multi, port: {}, env: {{M_USER: 127.0.0.1, M_PW: '{outside}:p@/', M_DB: 'd:b/%'}}}}\nsession: {{search_range: 1}}\n",
        project.base,
        outside - 1
    );
    project.commit("moat.yaml", &yaml);
    let made = project.up("a");
    assert_eq!(port(&made, "cache"), outside);
    let env = made["env"]["MOAT_CACHE_URL"].as_str().unwrap();
    let secret = format!("127.0.0.1:{outside}%3Ap%40%2F");
    assert_eq!(
        env,
        format!("multi://{secret}@127.0.0.1:{outside}/d%3Ab%2F%25")
    );
    let told = "echo $MOAT_CACHE_URL $MOAT_CACHE_PASSWORD $MOAT_CACHE_HOST:$MOAT_CACHE_PORT:$MOAT_CACHE_WEB_PORT $MOAT_MULTI_HOST:$MOAT_MULTI_PORT; wget -qO- http://$MOAT_CACHE_HOST:$MOAT_CACHE_PORT/ 2>&1 | grep -o 404";
    let done = shell(&project, &["run", "--session", "a"], told);
    assert_eq!(
        done.stdout_text(),
        format!("multi://{secret}@cache:80/d%3Ab%2F%25 {outside}:p@/ cache:80:81 multi:80\n404\n")
    );
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}

/// Until `up` has finished, it may roll back what it has created, so no run joins those services.
#[test]
fn a_run_does_not_join_what_is_being_made() {
    let Some(project) = on(Runtime::Docker, "") else {
        return;
    };
    lazies(&project, &["lazy"], "[httpd, -f]", "[\"true\"]");
    let yaml = format!("base_image: {IMAGE}\ndependencies: [lazy]\nsession: {{search_range: 1}}\n");
    project.commit("moat.yaml", &yaml);
    project.ok(&["up", "a", "--skip", "lazy"]);
    let at = "session-services-up";
    let up = project.moat.args(["up", "a"]).checkpoint(at);
    let up = up.any_stdout().any_stderr().spawn();
    project.moat.wait_checkpoint(at);
    project
        .call(&["run", "--session", "a", "--", "true"])
        .stderr_contains("lazy of 'a' is not running")
        .status(125);
    project.moat.release_checkpoint(at);
    assert_eq!(up.wait().code, Some(0));
    let done = shell(&project, &["run", "--session", "a"], "echo $MOAT_LAZY_HOST");
    assert_eq!(done.stdout_text(), "lazy\n");
    project.ok(&["down", "a"]);
    assert_nothing(&project);
}
