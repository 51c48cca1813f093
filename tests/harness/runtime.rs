//! The runtimes that tests run on, and whether they are there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::IMAGE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Docker,
    Bwrap,
    /// Apple's `container` of that version, as the stand-in in testdata/bin speaks it, on top of docker.
    Apple(&'static str),
}

impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Bwrap => "bwrap",
            Runtime::Apple(_) => "apple",
        }
    }

    /// Whether its containers are made from images.
    pub(crate) fn has_images(self) -> bool {
        self != Runtime::Bwrap
    }

    /// Why it cannot be used here, if it cannot. Asked once per test binary.
    pub(crate) fn available(self) -> Result<(), String> {
        static DOCKER: OnceLock<Result<(), String>> = OnceLock::new();
        static BWRAP: OnceLock<Result<(), String>> = OnceLock::new();
        static APPLE: OnceLock<Result<(), String>> = OnceLock::new();
        match self {
            Runtime::Docker => DOCKER.get_or_init(look_for_docker),
            Runtime::Bwrap => BWRAP.get_or_init(look_for_bwrap),
            Runtime::Apple(_) => APPLE.get_or_init(look_for_stand_in),
        }
        .clone()
    }
}

fn look_for_docker() -> Result<(), String> {
    answers("docker", &["version"])?;
    answers("docker", &["image", "inspect", IMAGE])
        .map_err(|why| format!("no image {IMAGE} (tests/setup images): {why}"))
}

/// The directory of the stand-in.
pub(super) fn stand_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bin")
}

fn look_for_stand_in() -> Result<(), String> {
    look_for_docker()?;
    answers("python3", &["--version"])
}

fn look_for_bwrap() -> Result<(), String> {
    answers(
        "bwrap",
        &["--unshare-all", "--ro-bind", "/", "/", "/bin/true"],
    )
}

/// Whether a command succeeds in reasonable time.
fn answers(program: &str, args: &[&str]) -> Result<(), String> {
    let child = Command::new(program)
        .args(args)
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("{program}: {error}"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("'{program} {}': {status}", args[0])),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("'{program} {}' does not answer", args[0]));
            }
        }
    }
}
