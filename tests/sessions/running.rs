//! Runs in the worktree of a session.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::harness::{IMAGE, Moat, Runtime, skip, until, until_some};
use crate::sessions::project::{Project, proxies, server, tree, web};

fn on(runtime: Runtime) -> Option<Project> {
    let moat = Moat::on(runtime)?;
    let project = Project::at(moat, &server());
    if runtime == Runtime::Docker {
        let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
        project.commit("moat.yaml", &format!("{text}base_image: {IMAGE}\n"));
    }
    Some(project)
}

#[test]
fn a_run_sees_the_worktree_and_the_variables() {
    for runtime in [Runtime::Bwrap, Runtime::Docker] {
        let Some(project) = on(runtime) else { continue };
        let script = "cat page; echo made >new; echo $MOAT_WEB_PORT ${MOAT_PROCESS:-none}; exit 7";
        let done = project
            .call(&["wt", "a", "--", "sh", "-c", script])
            .status(7);
        let made = &project.list()[0];
        assert_eq!(done.stdout_text(), format!("main\n{} none\n", web(made)));
        assert_eq!(
            fs::read_to_string(tree(made).join("new")).unwrap(),
            "made\n"
        );
        let id = project.moat.only_id();
        let answer = project.json(&["whose", &id]);
        assert_eq!(answer["run"], id);
        project.call(&["wt", "a..b", "--", "true"]).status(2);
        fs::write(project.repo.join("moat.yaml"), "session: [").unwrap();
        project.call(&["wt", "a", "--", "true"]).status(125);
        project.ok(&["down", "a", "--force"]);
        project.assert_nothing();
    }
}

/// A container is also found by the id and the name that the engine uses. When the engine does not answer, the owner
/// is unknown.
#[test]
fn whose_is_a_container() {
    let Some(project) = on(Runtime::Docker) else {
        return;
    };
    let run = project.moat.args([
        "run",
        "--background",
        "--image",
        IMAGE,
        "--",
        "sleep",
        "1000",
    ]);
    run.any_stdout().any_stderr().success();
    let id = project.moat.only_id();
    let label = format!("label=moat.run={id}");
    let full = until_some("the container is there", || {
        let mut client = Runtime::Docker.client();
        let output = client
            .args(["ps", "--quiet", "--no-trunc", "--filter", &label])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (!text.is_empty()).then_some(text)
    });
    let mut client = Runtime::Docker.client();
    let name = client
        .args(["inspect", "--format", "{{.Name}}", &full])
        .output()
        .unwrap();
    let name = String::from_utf8(name.stdout).unwrap();
    for word in [
        &full,
        &full[..12],
        &full[..4],
        name.trim().trim_start_matches('/'),
        &id,
    ] {
        // A word of digits alone is taken for a pid.
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        assert_eq!(project.json(&["whose", word])["run"], id, "{word}");
    }
    let other: String = full
        .chars()
        .map(|c| if c == 'a' { 'b' } else { 'a' })
        .collect();
    project
        .call(&["whose", &other])
        .stdout("not owned by moat\n")
        .status(1);
    project
        .call(&["whose", &other])
        .env("DOCKER_HOST", "unix:///nonexistent")
        .stdout_contains("the owner is unknown: docker")
        .status(2);
    project.ok(&["kill", &id]);
}

/// A run owns its supervisor and every process in its sandbox or container.
#[test]
fn whose_is_a_process_of_a_run() {
    for runtime in [Runtime::Bwrap, Runtime::Docker] {
        let Some(moat) = Moat::on(runtime) else {
            continue;
        };
        let odd = format!("sleep 9{}", std::process::id());
        let id = moat.background(&format!("{odd} & wait"));
        let found = until_some("the workload runs", || {
            let found = Command::new("pgrep").args(["-f", &odd]).output().unwrap();
            let text = String::from_utf8(found.stdout).unwrap();
            // Waits for the process that has these words as its own command line, which comes last.
            (text.lines().count() > 1).then_some(text)
        });
        let lock = fs::read(moat.run_dir(&id).join("owner.lock")).unwrap();
        let owner: serde_json::Value = serde_json::from_slice(&lock).unwrap();
        let owner = owner["pid"].to_string();
        let says = format!("the run {id}\n");
        for pid in found.lines().chain([&*owner]) {
            moat.args(["whose", pid]).stdout(&says).success();
        }
        // Kills the supervisor.
        let pid = rustix::process::Pid::from_raw(owner.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let last = found.lines().next_back().unwrap();
        moat.args(["whose", last]).stdout(&says).success();
        moat.args(["kill", &id]).any_stdout().any_stderr().success();
    }
}

/// A published port belongs to the run while the container has it, whichever process of the engine listens.
#[test]
fn whose_is_the_port_of_a_run() {
    let Some(moat) = Moat::on(Runtime::Docker) else {
        return;
    };
    moat.write("moat.yaml", "ports: {web: 80}\n");
    let id = moat.background("sleep 1000");
    let port = until_some("the record has the port", || {
        moat.record(&id)["ports"][0]["host"].as_u64()
    });
    let word = format!(":{port}");
    let proxies = proxies(port);
    if proxies.is_empty() {
        skip("docker has no process for a port, or not one that we may see");
    }
    for word in proxies.iter().chain([&word]) {
        let says = format!("the run {id}\n");
        moat.args(["whose", word]).stdout(says).success();
    }
    moat.args(["kill", &id]).any_stdout().any_stderr().success();
    let _stranger = until_some("the port is free", || {
        TcpListener::bind(("127.0.0.1", u16::try_from(port).unwrap())).ok()
    });
    moat.args(["whose", &word])
        .stdout("not owned by moat\n")
        .status(1);
}

/// The process runs in a container that is not moat's. An engine that does not answer makes its owner unknown.
#[test]
fn a_process_in_a_container_of_somebody_else_is_not_moats() {
    let Some(moat) = Moat::on(Runtime::Docker) else {
        return;
    };
    let client = |args: &[&str]| {
        let output = Runtime::Docker.client().args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let id = client(&["run", "--detach", "--rm", IMAGE, "sleep", "1000"]);
    let pid = client(&["inspect", "--format", "{{.State.Pid}}", &id]);
    let theirs = moat.args(["whose", &pid]).any_stdout().run();
    let silent = moat.args(["whose", &pid]);
    let silent = silent
        .env("DOCKER_HOST", "unix:///nonexistent")
        .any_stdout();
    let silent = silent.run();
    client(&["kill", &id]);
    assert_eq!(theirs.stdout_text(), "not owned by moat\n", "{theirs}");
    assert_eq!((theirs.code, silent.code), (Some(1), Some(2)), "{silent}");
}

/// A background run that a session's process started does not belong to the session, and outlives it.
#[test]
fn a_run_in_the_background_outlives_the_session_that_began_it() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    let script = format!(
        "'{}' run --quiet --background '{}' -- sleep 1000; exec sleep 1000",
        env!("CARGO_BIN_EXE_moat"),
        moat.tmp().display()
    );
    let command = serde_json::to_string(&script).unwrap();
    let project = Project::at(
        moat,
        &format!("  processes: {{one: {{command: {command}}}}}"),
    );
    project.up("a");
    let runs = || project.json(&["list", "--quiet", "--all", "--json"]);
    until("the run is running", || runs()[0]["state"] == "running");
    project.ok(&["down", "a"]);
    assert_eq!(runs()[0]["state"], "running");
    project.ok(&["kill", &project.moat.only_id()]);
    project.assert_nothing();
}
