//! docker in a context. A TCP port of this machine leads to the engine of all tests, as if to another machine.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use crate::harness::support::{kill_supervisor, list};
use crate::harness::{IMAGE, Moat, Runtime, until};

const SOCKET: &str = "/var/run/docker.sock";

/// A TCP port that forwards to the engine.
pub(super) struct Port(u16);

impl Port {
    fn open() -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(engine) = UnixStream::connect(SOCKET) else {
                    continue;
                };
                pass_on(client, engine);
            }
        });
        Port(port)
    }

    fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.0)
    }
}

fn pass_on(client: TcpStream, engine: UnixStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (engine, client);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Returns a place whose docker has the contexts `elsewhere` and `here`, and that names neither a runtime nor an
/// engine.
pub(super) fn place() -> Option<(Moat, Port)> {
    // Both contexts lead to this engine, in which the test looks for leftovers.
    let moat = Moat::on(Runtime::Docker)?;
    let port = Port::open();
    for (name, address) in [
        ("elsewhere", port.address()),
        ("here", format!("unix://{SOCKET}")),
    ] {
        docker(
            &moat,
            &[
                "context",
                "create",
                name,
                "--docker",
                &format!("host={address}"),
            ],
        );
    }
    Some((moat, port))
}

#[track_caller]
fn docker(moat: &Moat, args: &[&str]) {
    let config = moat.root().join("docker-config");
    let done = Command::new("docker")
        .args(args)
        .env("DOCKER_CONFIG", config)
        .output();
    let done = done.unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
}

const COPIED: &str = "workspace: {mode: volume}\n";

#[test]
fn a_directory_of_this_machine_cannot_be_mounted_there() {
    let Some((moat, port)) = place() else { return };
    let hint = "set workspace.mode to volume in moat.yaml";
    let address = port.address();
    for (flags, variable) in [
        (&["--context", "elsewhere"][..], ("X", "x")),
        (&[], ("DOCKER_CONTEXT", "elsewhere")),
        (&[], ("DOCKER_HOST", &address)),
    ] {
        moat.run_with(flags, ["true"])
            .env(variable.0, variable.1)
            .stderr_contains("error: the workspace cannot be mounted: ")
            .stderr_contains(&address)
            .stderr_contains(hint)
            .status(125);
    }
    moat.write("moat.yaml", COPIED);
    moat.run_with(["--context", "elsewhere", "-m", "/tmp:/t"], ["true"])
        .stderr_contains("error: /tmp:/t cannot be mounted: ")
        .status(125);
    moat.write("moat.yaml", format!("{COPIED}mounts: ['/tmp:/t']\n"));
    moat.run_with(["--context", "elsewhere"], ["true"])
        .stderr_contains("moat.yaml:2:")
        .stderr_contains("this cannot be mounted: ")
        .run();
    assert!(moat.ids().is_empty());
}

#[test]
fn contexts_that_are_not_there() {
    let Some((moat, _port)) = place() else { return };
    moat.run_with(["--context", "nowhere"], ["true"])
        .stderr("error: docker has no context 'nowhere'\n  hint: see: docker context ls\n")
        .status(125);
    let call = moat.args([
        "run",
        "--runtime",
        "bwrap",
        "--context",
        "here",
        "--",
        "true",
    ]);
    call.stderr_contains("error: --context works only on docker, and this run is on bwrap\n")
        .status(2);
}

/// A context that names the local engine changes nothing.
#[test]
fn a_context_of_this_machine() {
    let Some((moat, _port)) = place() else { return };
    moat.write("file", "x\n");
    moat.run_with(["--context", "here"], ["cat", "file"])
        .stdout("x\n")
        .success();
    let engine = moat.record(&moat.only_id())["engine"].clone();
    assert!(engine.to_string().contains("\"here\""), "{engine}");
}

/// The workspace is copied there and back, with output and exit code. Later commands ask the run's engine, whatever
/// context is current by then.
#[test]
fn a_run_elsewhere() {
    let Some((moat, _port)) = place() else { return };
    moat.write("moat.yaml", COPIED);
    moat.write("in", "carried\n");
    let out = moat.root().join("out");
    let export = ["--context", "elsewhere", "--export", out.to_str().unwrap()];
    moat.run_with(
        export,
        ["sh", "-c", "cat in; echo made >new; echo err >&2; exit 7"],
    )
    .stdout("carried\n")
    .stderr("err\n")
    .status(7);
    assert_eq!(std::fs::read_to_string(out.join("new")).unwrap(), "made\n");
    assert!(!moat.workspace().join("new").exists());
    let record = moat.record(&moat.only_id());
    assert!(
        record["engine"].to_string().contains("\"elsewhere\""),
        "{record:#}"
    );
    assert!(
        !record["engine"].to_string().contains("DOCKER_HOST"),
        "{record:#}"
    );
}

/// A run stays in the context that was current at its start, even if another one becomes current.
#[test]
fn the_current_context_is_recorded() {
    let Some((moat, _port)) = place() else { return };
    moat.write("moat.yaml", COPIED);
    docker(&moat, &["context", "use", "elsewhere"]);
    let id = moat.background("echo ready; trap 'exit 3' TERM; while :; do sleep 0.05; done");
    moat.wait_log(&id, "ready");
    docker(
        &moat,
        &[
            "context",
            "create",
            "dead",
            "--docker",
            "host=tcp://127.0.0.1:1",
        ],
    );
    docker(&moat, &["context", "use", "dead"]);
    kill_supervisor(&moat, &id);
    // `list` starts a new supervisor, which asks the run's own engine.
    list(&moat);
    until("a supervisor has adopted the run", || {
        let diary = std::fs::read_to_string(moat.run_dir(&id).join("supervisor.log"));
        diary.is_ok_and(|diary| diary.contains("adopted"))
    });
    moat.args(["exec", &id, "--", "echo", "inside"])
        .stdout("inside\n")
        .success();
    moat.args(["stop", &id]).any_stdout().success();
    let record = moat.record(&id);
    assert_eq!(
        (&record["reason"], &record["exit_code"]),
        (&"user-stop".into(), &3.into())
    );
}

/// A later command may have another HOME, with other docker contexts.
#[test]
fn a_context_is_that_of_the_home_that_started_it() {
    let Some((moat, _port)) = place() else { return };
    let own = moat.user_home().join(".docker");
    std::fs::create_dir_all(&own).unwrap();
    let from = moat.root().join("docker-config/contexts");
    let copied = Command::new("cp").arg("-r").args([&from, &own]).status();
    assert!(copied.unwrap().success());
    let flags = ["-q", "-b", "--context", "here"];
    let call = moat.run_with(flags, ["sleep", "1000"]);
    let id = call.env("DOCKER_CONFIG", "").any_stdout().success();
    let id = id.stdout_text().trim().to_owned();
    kill_supervisor(&moat, &id);
    let call = moat.args(["stop", &id]).env("HOME", moat.root());
    call.env("DOCKER_CONFIG", "").any_stdout().success();
    assert_eq!(moat.record(&id)["reason"], "user-stop");
}

/// moat builds an image on the remote engine.
#[test]
fn an_image_is_built_elsewhere() {
    let Some((moat, _port)) = place() else { return };
    moat.write(
        "moat.yaml",
        format!(
            "{COPIED}base_image: {IMAGE}\nhooks: {{post_build_root: 'echo x >/built-elsewhere'}}\n"
        ),
    );
    let call = moat.args([
        "run",
        "-q",
        "--context",
        "elsewhere",
        "--",
        "cat",
        "/built-elsewhere",
    ]);
    call.stdout("x\n").success();
    let image = moat.record(&moat.only_id())["image"]
        .as_str()
        .unwrap()
        .to_owned();
    docker(&moat, &["rmi", &image]);
}
