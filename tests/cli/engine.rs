//! Runtimes that are unknown, absent, or cannot be reached.

use std::os::unix::net::UnixListener;

use crate::cli::fixture::refused;
use crate::harness::{Moat, Runtime, skip};

#[test]
fn unknown_runtimes() {
    let moat = Moat::new();
    refused(
        &moat,
        moat.args(["run", "--runtime", "xen", "--", "true"]),
        2,
        "error: not a valid value of --runtime\n  hint: use one of: apple, docker, podman, bwrap",
    );
    for (word, shown) in [("podmen", "podmen"), ("x\u{1b}[2J", "x\\u{1b}[2J")] {
        let call = moat.args(["run", "--", "true"]).env("MOAT_RUNTIME", word);
        let message = format!(
            "error: unknown runtime '{shown}'\n  hint: supported here: apple, docker, podman, bwrap"
        );
        refused(&moat, call, 125, &message);
    }
}

#[test]
fn no_runtime_at_all() {
    let moat = Moat::new();
    let call = moat.args(["run", "--", "true"]).env("PATH", "");
    refused(
        &moat,
        call,
        125,
        "error: no runtime answers here: neither docker nor podman nor bwrap\n  \
         hint: install one, e.g. 'apt-get install bubblewrap', or start docker; run 'moat doctor'",
    );
    let call = moat.args(["doctor"]).env("PATH", "");
    let done = call.any_stdout().any_stderr().status(1);
    let text = done.stdout_text() + &done.stderr_text();
    for part in [
        "apt-get install bubblewrap",
        "docker is not installed",
        "podman is not installed",
        "bwrap is not installed",
        "git is not installed",
        "tmux is not installed",
        "neither 'docker compose' nor 'docker-compose' answers",
        "hint: install git 2.31 or newer",
        "No runtime works on this host",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

/// An engine that does not answer is named, if it was chosen by name.
#[test]
fn an_engine_that_hangs_is_named() {
    let moat = Moat::new();
    let go = moat.root().join("go");
    let script = format!(
        "until [ -e {} ]; do sleep 0.05; done; exit 1\n",
        go.display()
    );
    let moat = crate::harness::support::docker_through(moat, &script);
    let socket = moat.root().join("engine.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let run = moat.args(["run", "--runtime", "docker", "--", "true"]);
    let client = run
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .spawn();
    client.wait_stderr("Still waiting for docker to answer.\n");
    std::fs::write(go, "").expect("a file");
    assert_eq!(client.wait().code, Some(125));
}

/// Runs do not need these tools: doctor reports a missing tool without failing, and a tool does not replace a runtime.
#[test]
fn what_sessions_need_is_told() {
    let moat = Moat::new();
    let bin = moat.root().join("programs");
    std::fs::create_dir(&bin).expect("a directory");
    let program = |name: &str, said: &str| {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho '{said}'\n")).expect("a program");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it can be run");
    };
    let doctor = |code: i32| {
        let call = moat.args(["doctor", "--json"]).env("PATH", &bin);
        let checks = call.any_stdout().status(code).json();
        ["git", "tmux", "compose tool"].map(|what| {
            let checks = checks.as_array().expect("an array");
            let check = checks.iter().find(|check| check["check"] == what);
            let check = check.unwrap_or_else(|| panic!("{what} is missing in {checks:#?}"));
            assert_eq!(
                (&check["optional"], check["hint"].is_null()),
                (&true.into(), check["ok"] == true)
            );
            check["detail"].as_str().expect("a text").to_owned()
        })
    };
    program("git", "git version 2.39.5");
    program("docker-compose", "1.29.2");
    let found = [
        "git version 2.39.5",
        "tmux is not installed",
        "docker-compose",
    ];
    assert_eq!(doctor(1), found);
    program("docker", "20.10.1");
    program("tmux", "tmux 3.3a");
    assert_eq!(doctor(0)[1..], ["tmux 3.3a", "docker compose"]);
}

/// A run that could not be started is recorded as failed and clean, and the error says where to look.
#[track_caller]
fn assert_start_error(moat: &Moat, done: &crate::harness::Done) {
    assert_eq!(done.stdout_text(), "", "{done}");
    for id in moat.ids() {
        let record = moat.record(&id);
        assert_eq!(record["state"], "failed", "{record}");
        assert_eq!(record["reason"], "start-error", "{record}");
        assert!(record["error"].is_string(), "{record}");
        assert!(
            moat.run_dir(&id).join("logs.jsonl").exists(),
            "every run has a log"
        );
        // A run that did not start holds no name.
        let name = record["name"].as_str().expect("a name").to_owned();
        assert!(!moat.home().join("names").join(name).exists());
    }
}

#[test]
fn a_runtime_that_is_absent() {
    for (runtime, message, hint) in [
        (
            Runtime::Docker,
            "error: docker is not installed: there is no 'docker' on PATH\n",
            "  hint: install it, or choose another runtime: --runtime bwrap\n",
        ),
        (
            Runtime::Podman,
            "error: podman is not installed: there is no 'podman' on PATH\n",
            "  hint: install it, or choose another runtime: --runtime bwrap\n",
        ),
        (
            Runtime::Bwrap,
            "error: bwrap is not installed: there is no 'bwrap' on PATH\n",
            "  hint: install it: apt-get install bubblewrap (or dnf, pacman, apk)\n",
        ),
    ] {
        let moat = Moat::new();
        let done = moat
            .args(["run", "--quiet", "--runtime", runtime.name(), "--", "true"])
            .env("PATH", "")
            .stderr_contains(message)
            .stderr_contains(hint)
            .status(125);
        assert_start_error(&moat, &done);
    }
}

#[test]
fn an_engine_that_does_not_answer() {
    if let Err(why) = Runtime::Docker.available() {
        return skip(&why);
    }
    let moat = Moat::new();
    let dir = moat.root().join("sockets");
    std::fs::create_dir(&dir).expect("a directory");
    // A socket on which no process listens.
    drop(UnixListener::bind(dir.join("dead.sock")).expect("a socket"));
    for socket in ["missing.sock", "dead.sock"] {
        let host = format!("unix://{}", dir.join(socket).display());
        let done = moat
            .args(["run", "--runtime", "docker", "--", "true"])
            .env("DOCKER_HOST", &host)
            .stderr_contains("error: docker's engine cannot be reached: ")
            .stderr_contains(&format!("[ROOT]/sockets/{socket}"))
            .stderr_contains(
                "  hint: start it (e.g. 'systemctl start docker'), set DOCKER_HOST, or use --runtime bwrap\n",
            )
            .status(125);
        assert_start_error(&moat, &done);
    }
}

/// A place without podman.
fn without_podman() -> Moat {
    let moat = Moat::new();
    let bin = moat.root().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    let podman = bin.join("podman");
    std::fs::write(&podman, "#!/bin/sh\nexit 125\n").expect("a program");
    std::fs::set_permissions(&podman, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    moat.path_prepend(bin)
}

/// Without a choice, moat tries docker first, then podman.
#[test]
fn podman_is_used_where_docker_is_down() {
    if let Err(why) = Runtime::Podman.available() {
        return skip(&why);
    }
    let moat = Moat::new();
    let image = ["run", "-q", "--image", crate::harness::IMAGE, "--"];
    moat.args(image)
        .args(["echo", "hi"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .stdout("hi\n")
        .success();
    assert_eq!(moat.record(&moat.only_id())["runtime"], "podman");
}

/// If no runtime is chosen, moat skips an engine that is down.
#[test]
fn the_first_that_answers_is_used() {
    if let Err(why) = Runtime::Bwrap.available() {
        return skip(&why);
    }
    let moat = without_podman();
    moat.args(["run", "-q", "--", "echo", "hi"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .stdout("hi\n")
        .success();
    assert_eq!(moat.record(&moat.only_id())["runtime"], "bwrap");
}

#[test]
fn a_socket_that_may_not_be_used() {
    if let Err(why) = Runtime::Docker.available() {
        return skip(&why);
    }
    let moat = Moat::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    for dir in [
        moat.root().to_owned(),
        moat.workspace(),
        moat.tmp(),
        moat.user_home(),
    ] {
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("its mode");
    }
    let dir = moat.root().join("sockets");
    std::fs::create_dir(&dir).expect("a directory");
    let path = dir.join("docker.sock");
    let _listener = UnixListener::bind(&path).expect("a socket");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("its mode");
    std::fs::set_permissions(&dir, mode).expect("its mode");
    let host = format!("unix://{}", path.display());
    let call = moat
        .args(["run", "--runtime", "docker", "--", "true"])
        .env("DOCKER_HOST", host);
    let done = match crate::cli::home::as_nobody(&call) {
        Ok(done) => done,
        Err(why) => return skip(&why),
    };
    assert_eq!(done.code, Some(125), "{done}");
    let text = done.stderr_text();
    assert!(
        text.starts_with("error: docker's socket cannot be used: "),
        "{text}"
    );
    assert!(
        text.contains(
            "hint: add yourself to the group 'docker', set DOCKER_HOST, or use --runtime bwrap"
        ),
        "{text}"
    );
    assert_start_error(&moat, &done);
}

/// If no registry answers, the hint says what to do instead.
#[test]
fn an_image_that_cannot_be_had() {
    let Some(moat) = Moat::on(Runtime::Docker) else {
        return;
    };
    let done = moat
        .run_with(["--image", "127.0.0.1:1/no-such:1", "-n", "x"], ["true"])
        .stderr_contains("error: cannot pull the image '127.0.0.1:1/no-such:1': ")
        .stderr_contains(
            "  hint: name an image that is there (see: docker image list), load one from a file \
             ('docker image load -i FILE'), or use --runtime bwrap, which needs none\n",
        )
        .status(125);
    assert_start_error(&moat, &done);
    assert!(moat.containers().is_empty());
    assert!(moat.record(&moat.only_id())["cleaned_at"].is_string());
}

/// An error about wrong settings of an engine has a hint.
#[test]
fn settings_that_lead_nowhere() {
    for (runtime, variable, value, part) in [
        (
            Runtime::Docker,
            "DOCKER_CONTEXT",
            "nowhere",
            "docker context ls",
        ),
        (
            Runtime::Podman,
            "CONTAINER_HOST",
            "foo://x",
            "write CONTAINER_HOST as unix://PATH",
        ),
        (
            Runtime::Podman,
            "CONTAINER_CONNECTION",
            "nowhere",
            "set workspace.mode to volume",
        ),
    ] {
        if let Err(why) = runtime.available() {
            skip(&why);
            continue;
        }
        let moat = Moat::new();
        let flags = ["--runtime", runtime.name(), "--image", "x"];
        if value == "foo://x" {
            moat.write("moat.yaml", "workspace: {mode: volume}\n");
        }
        moat.run_with(flags, ["true"])
            .env(variable, value)
            .stderr_contains(part)
            .status(125);
    }
}

/// Returns the runtime of a run for which no runtime is chosen.
#[test]
fn the_default_is_shown() {
    let moat = Moat::new();
    for (word, shown) in [
        ("bwrap", "bwrap".into()),
        ("nonsense", serde_json::Value::Null),
    ] {
        let status = moat.args(["status", "--json"]).env("MOAT_RUNTIME", word);
        let status = status.any_stdout().success().json();
        assert_eq!(status["default_runtime"], shown, "{status}");
    }
}
