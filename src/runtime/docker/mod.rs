//! The `docker` command line. Facts about it were measured with Docker 20.10.24 and client 28.2.2.
//!
//! `create`, then `start --attach`: one process gives the stream, its end and the exit code, and
//! `inspect` confirms it. Never `--rm` (the engine would drop its log), never `logs --timestamps`
//! as the source (it writes timestamps into the middle of lines over 16 KiB).

mod attach;
mod classify;
mod create;
mod inspect;
mod ping;

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{self, Output};
use super::problem::{Problem, Result};
use super::{Attached, ContainerSpec, Inspected, Labelled, Runtime};
use crate::store::StreamBytes;

/// The environment variables by which the client finds its engine.
pub(super) const SETTINGS: [&str; 5] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
];

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PULL_PATIENCE: Duration = Duration::from_secs(3600);

/// The driver, bound to one engine.
pub(super) struct Docker {
    engine: Vec<(String, String)>,
}

impl Docker {
    pub(super) fn new(engine: Vec<(String, String)>) -> Docker {
        Docker { engine }
    }

    /// Whether the engine answers. Asks its socket where that is a local one, which takes a
    /// millisecond instead of the client's thirty.
    pub(super) fn answers(&self) -> bool {
        ping::ping(&self.engine).unwrap_or_else(|| self.probe().is_ok())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        for name in SETTINGS {
            command.env_remove(name);
        }
        command
            .envs(self.engine.iter().map(|(name, value)| (name, value)))
            .env("DOCKER_CLI_HINTS", "false");
        command
    }

    fn call(&self, args: &[&str]) -> Result<Output> {
        self.finish(self.command().args(args), b"", PATIENCE, &|| true)
    }

    fn finish(
        &self,
        command: &mut Command,
        input: &[u8],
        patience: Duration,
        going_on: &dyn Fn() -> bool,
    ) -> Result<Output> {
        let output =
            child::run(command, input, patience, going_on).map_err(|error| failed(&error))?;
        if output.success {
            Ok(output)
        } else {
            Err(classify::classify(&output.stderr))
        }
    }
}

impl Runtime for Docker {
    fn probe(&self) -> Result<String> {
        let output = self.finish(
            self.command()
                .args(["version", "--format", "{{.Server.Version}}"]),
            b"",
            Duration::from_secs(10),
            &|| true,
        )?;
        Ok(output.stdout.trim().to_owned())
    }

    fn pull_image(&self, image: &str, going_on: &dyn Fn() -> bool) -> Result<()> {
        let mut command = self.command();
        command.args(["pull", "--quiet", "--", image]);
        match self.finish(&mut command, b"", PULL_PATIENCE, going_on) {
            Err(Problem::Refused(text) | Problem::NotFound(text) | Problem::Transient(text)) => {
                Err(Problem::ImageMissing(text))
            }
            result => result.map(|_| ()),
        }
    }

    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let request = create::request(spec)?;
        let mut command = self.command();
        command.args(&request.args).envs(request.environment);
        self.finish(&mut command, &request.input, PATIENCE, &|| true)
            .map(|_| ())
    }

    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached> {
        let mut command = self.command();
        command.args(["start", "--attach"]);
        match stdin {
            Some(stdin) => command.arg("--interactive").stdin(Stdio::from(stdin)),
            None => command.stdin(Stdio::null()),
        };
        attach::spawn(command.arg(&spec.handle), StreamBytes::default())
    }

    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached> {
        // From the beginning: it is the only position that is exact to the byte. A following
        // client leaves out a last line without a newline; once the container has ended, a plain
        // one has it.
        let running = matches!(
            self.inspect(&[handle])?.first(),
            Some(Inspected::Running { .. })
        );
        let mut command = self.command();
        command.arg("logs").stdin(Stdio::null());
        if running {
            command.arg("--follow");
        }
        attach::spawn(command.arg(handle), kept)
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        let mut command = self.command();
        command
            .args([
                "inspect",
                "--type",
                "container",
                "--format",
                inspect::FORMAT,
                "--",
            ])
            .args(handles);
        let output =
            child::run(&mut command, b"", PATIENCE, &|| true).map_err(|error| failed(&error))?;
        // With several containers, a missing one is an error beside the output of the others.
        match classify::classify(&output.stderr) {
            _ if output.success => {}
            Problem::NotFound(_) => {}
            problem => return Err(problem),
        }
        handles
            .iter()
            .map(|handle| inspect::parse(&output.stdout, handle))
            .collect()
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        let mut command = self.command();
        command.args(["stop", "-t", &grace.as_secs().to_string(), handle]);
        gone_is_fine(self.finish(&mut command, b"", grace + PATIENCE, &|| true))
    }

    fn kill(&self, handle: &str) -> Result<()> {
        gone_is_fine(self.call(&["kill", handle]))
    }

    fn remove(&self, handle: &str) -> Result<()> {
        gone_is_fine(self.call(&["rm", "--force", "--volumes", handle]))
    }

    fn find_labelled(&self, home: &str) -> Result<Vec<Labelled>> {
        let filter = format!("label={}={home}", create::HOME_LABEL);
        let format = "{{.Names}}\t{{.Label \"moat.run\"}}";
        let output = self.call(&[
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            format,
        ])?;
        let found = output.stdout.lines().filter_map(|line| {
            let (handle, run) = line.split_once('\t')?;
            Some(Labelled {
                handle: handle.to_owned(),
                run: run.to_owned(),
            })
        });
        Ok(found.collect())
    }
}

fn gone_is_fine(result: Result<Output>) -> Result<()> {
    match result {
        Err(Problem::NotFound(_)) => Ok(()),
        Err(Problem::Refused(text)) if classify::has_ended(&text) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// The client could not be run, or did not answer in time.
fn failed(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::unreachable(
            "docker is not installed: there is no 'docker' on PATH",
            "install it, or choose another runtime: --runtime bwrap",
        ),
        io::ErrorKind::TimedOut => Problem::Transient("docker did not answer in time".to_owned()),
        _ => Problem::unreachable(
            format!("cannot run docker: {}", crate::error::reason(error)),
            "check the 'docker' on your PATH",
        ),
    }
}
