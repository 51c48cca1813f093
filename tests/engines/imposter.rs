//! A docker that is podman: the program, as in the package podman-docker, or the engine at the address.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use crate::harness::{IMAGE, Moat, Runtime, until};

/// podman's service, on a socket of its own.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_named(moat: &Moat) {
    let run = [
        "run",
        "-q",
        "--runtime",
        "docker",
        "--image",
        IMAGE,
        "--",
        "true",
    ];
    let refused = moat.args(run).any_stderr().status(125);
    let said = refused.stderr_text();
    assert!(said.contains("docker is podman here"), "{refused}");
    assert!(said.contains("--runtime podman"), "{refused}");
    let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
    assert!(
        doctor
            .stdout_text()
            .contains("no  runtime docker  docker is podman here"),
        "{doctor}"
    );
}

#[test]
fn the_program_is_named() {
    if Runtime::Podman.available().is_err() {
        // Moat::on notes why.
        let _ = Moat::on(Runtime::Podman);
        return;
    }
    let moat = Moat::new();
    let bin = moat.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = bin.join("docker");
    std::fs::write(&program, "#!/bin/sh\nexec podman \"$@\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = moat.root().join("no-socket");
    let moat = moat
        .path_prepend(&bin)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()));
    assert_named(&moat);
}

#[test]
fn the_engine_is_named() {
    if Runtime::Podman.available().is_err() {
        let _ = Moat::on(Runtime::Podman);
        return;
    }
    let moat = Moat::new();
    let socket = moat.root().join("podman.sock");
    let address = format!("unix://{}", socket.display());
    let moat = moat.env("DOCKER_HOST", &address);
    let service = Command::new("podman")
        .args([
            "--log-level",
            "error",
            "system",
            "service",
            "--time",
            "0",
            &address,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _service = Service(service);
    until("podman's service listens", || socket.exists());
    assert_named(&moat);
}
