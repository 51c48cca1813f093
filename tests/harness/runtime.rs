//! The runtimes of the tests, and whether they are available.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::IMAGE;
use super::once::once_per_run;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Docker,
    /// docker of the user whom tests/setup creates: `rootlesskit` maps root of its containers to that user.
    DockerRootless,
    /// podman as root.
    Podman,
    /// podman as a user that tests/setup creates.
    PodmanRootless,
    Bwrap,
    /// This version of Apple's `container`, as the stand-in in testdata/bin, on top of docker.
    Apple(&'static str),
}

/// The user of the runtimes without root, and that user's home (tests/setup podman).
pub(super) const USER: &str = "moat-podman";
const USER_HOME: &str = "/home/moat-podman";

impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Docker | Runtime::DockerRootless => "docker",
            Runtime::Podman | Runtime::PodmanRootless => "podman",
            Runtime::Bwrap => "bwrap",
            Runtime::Apple(_) => "apple",
        }
    }

    /// Whether the runtime creates containers from images.
    pub(crate) fn has_images(self) -> bool {
        self != Runtime::Bwrap
    }

    pub(crate) fn is_podman(self) -> bool {
        matches!(self, Runtime::Podman | Runtime::PodmanRootless)
    }

    /// Whether its calls are those of another user.
    pub(super) fn is_rootless(self) -> bool {
        matches!(self, Runtime::PodmanRootless | Runtime::DockerRootless)
    }

    /// Returns the reason why the runtime is not available, or `Ok`. Checks it once.
    pub(crate) fn available(self) -> Result<(), String> {
        static FOUND: [OnceLock<Result<(), String>>; 6] = [const { OnceLock::new() }; 6];
        let (which, name) = match self {
            Runtime::Docker => (0, "docker"),
            Runtime::Podman => (1, "podman"),
            Runtime::PodmanRootless => (2, "podman-rootless"),
            Runtime::Bwrap => (3, "bwrap"),
            Runtime::Apple(_) => (4, "apple"),
            Runtime::DockerRootless => (5, "docker-rootless"),
        };
        FOUND[which]
            .get_or_init(|| once_per_run(name, || self.look()))
            .clone()
    }

    fn look(self) -> Result<(), String> {
        match self {
            Runtime::Bwrap => answers(Command::new("bwrap").args([
                "--unshare-all",
                "--ro-bind",
                "/",
                "/",
                "/bin/true",
            ])),
            Runtime::Apple(_) => {
                look_for(Runtime::Docker)?;
                answers(Command::new("python3").arg("--version"))
            }
            engine => look_for(engine),
        }
    }

    /// Returns a call of the runtime's client as the user of the tests' runs.
    pub(crate) fn client(self) -> Command {
        let mut command = match self {
            Runtime::PodmanRootless | Runtime::DockerRootless => {
                let mut command = Command::new(AS_USER[0]);
                command.args(&AS_USER[1..]).arg(self.name());
                command.env("HOME", USER_HOME).current_dir("/");
                command
            }
            // The stand-in for apple uses docker.
            Runtime::Apple(_) => Command::new("docker"),
            _ => Command::new(self.name()),
        };
        for name in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
            command.env_remove(name);
        }
        command.envs(self.environment());
        if self.is_podman() {
            command.args(["--log-level", "error"]);
        }
        command
    }

    /// The wrapper of moat's calls.
    pub(super) fn wrapper(self) -> &'static [&'static str] {
        match self {
            _ if self.is_rootless() => &AS_USER,
            _ => &[],
        }
    }

    /// The variables with which a client finds the user's engine and images, whatever HOME is.
    pub(super) fn environment(self) -> Vec<(&'static str, String)> {
        match self {
            Runtime::PodmanRootless => vec![
                ("XDG_RUNTIME_DIR", format!("{USER_HOME}/run")),
                ("XDG_DATA_HOME", format!("{USER_HOME}/.local/share")),
                (
                    "CONTAINERS_STORAGE_CONF",
                    format!("{USER_HOME}/storage.conf"),
                ),
            ],
            Runtime::DockerRootless => {
                let socket = format!("unix://{USER_HOME}/rootless-docker/docker.sock");
                vec![("DOCKER_HOST", socket)]
            }
            _ => Vec::new(),
        }
    }
}

/// The command that runs another command as that user.
const AS_USER: [&str; 6] = [
    "setpriv",
    "--reuid=moat-podman",
    "--regid=moat-podman",
    "--init-groups",
    "--",
    "env",
];

fn look_for(engine: Runtime) -> Result<(), String> {
    if engine.is_rootless() {
        let program = env!("CARGO_BIN_EXE_moat");
        answers(
            Command::new(AS_USER[0])
                .args(&AS_USER[1..5])
                .args(["test", "-x", program]),
        )
        .map_err(|why| {
            format!("no user {USER} who can run {program} (tests/setup podman): {why}")
        })?;
    }
    answers(engine.client().arg("version"))?;
    answers(engine.client().args(["image", "inspect", IMAGE])).map_err(|why| {
        let setup = match engine {
            Runtime::DockerRootless => "rootless-docker",
            engine if engine.is_podman() => "podman",
            _ => "images",
        };
        format!("no image {IMAGE} (tests/setup {setup}): {why}")
    })
}

/// Whether a command succeeds in reasonable time.
fn answers(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("{program}: {error}"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("'{program}': {status}")),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("'{program}' does not answer"));
            }
        }
    }
}
