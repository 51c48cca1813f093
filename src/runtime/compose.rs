//! The compose tool, of either generation, and the resources that the tool creates for sessions.
//!
//! Measured with 1.29.2. The same command lines are documented for the second generation (`docker compose`).

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::child;
use super::client_call::{HOME_LABEL, ROLE_LABEL, SERVICE_LABEL, SESSION_LABEL};
use super::error::{Result, RuntimeError};

/// Timeout of the tool for reading a file.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of the tool for creating a project, which includes pulling its images.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Number of the tool's last lines that are shown in an error.
const ERROR_LINES: usize = 12;

/// The commands of the tool, the newer generation first.
const TOOL_COMMANDS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];

/// The compose tool.
pub(crate) struct ComposeTool {
    words: &'static [&'static str],
    engine: Vec<(String, String)>,
    unset: &'static [&'static str],
}

/// The engine that the tool uses.
pub(super) struct ComposeToolEngine {
    /// The variables by which the tool finds the engine.
    pub(super) settings: Vec<(String, String)>,
    /// The variables that must not reach the tool from moat's own environment.
    pub(super) unset: &'static [&'static str],
}

/// The tool's arguments that describe a project.
pub(crate) struct ComposeProject<'a> {
    pub(crate) name: &'a str,
    /// The base directory of relative paths in its files.
    pub(crate) dir: &'a Path,
    pub(crate) files: Vec<&'a Path>,
    pub(crate) env: &'a [(String, String)],
}

/// A container of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The incarnation of the session.
    pub(crate) session: String,
    pub(crate) service: String,
    pub(crate) state: ContainerState,
    pub(crate) networks: Vec<String>,
    /// The published ports: pairs of host port and container port.
    pub(crate) ports: Vec<(u16, u16)>,
}

/// The state of a container, as its engine reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Running without a health check, or healthy.
    Running {
        tested: bool,
    },
    /// Running with an unknown health.
    Starting,
    Unhealthy,
    /// Exited with this code, if it is known.
    Ended(Option<u8>),
    /// Created, paused or restarting.
    Other,
}

/// The resources of a session to remove. A stopped container keeps its anonymous volumes, and the tool passes them on
/// to the container that replaces it.
#[derive(Clone, Copy)]
pub(crate) enum Removal<'a> {
    /// The containers of `new` services; those of `old` ones are stopped, because they may contain data.
    Services {
        new: &'a [&'a str],
        old: &'a [&'a str],
    },
    /// Nothing: all containers are stopped.
    Nothing,
    Everything,
}

impl ComposeTool {
    /// Finds the installed tool. Only the first call asks for it: an `up` needs the tool twice, and the older generation
    /// takes most of a second to answer.
    pub(super) fn find(engine: &ComposeToolEngine) -> Result<ComposeTool> {
        static INSTALLED: OnceLock<&[&str]> = OnceLock::new();
        let installed = INSTALLED.get();
        let is_possible = |words: &&[&str]| installed.is_none_or(|installed| installed == words);
        for words in TOOL_COMMANDS.into_iter().filter(is_possible) {
            let tool = ComposeTool {
                words,
                engine: engine.settings.clone(),
                unset: engine.unset,
            };
            let answers = || {
                let mut command = tool.command();
                let answer = child::run(command.arg("version"), b"", READ_TIMEOUT, &|| true);
                answer.is_ok_and(|output| output.success)
            };
            if installed.is_some() || answers() {
                let _ = INSTALLED.set(words);
                return Ok(tool);
            }
        }
        Err(RuntimeError::unreachable(
            "there is no compose tool: neither 'docker compose' nor 'docker-compose' answers",
            "install one, e.g. 'apt-get install docker-compose'",
        ))
    }

    /// The tool's name.
    pub(crate) fn name(&self) -> String {
        self.words.join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.words[0]);
        crate::program::clear_environment(&mut command, "compose");
        for name in self.unset {
            command.env_remove(name);
        }
        command
            .args(&self.words[1..])
            .envs(self.engine.iter().map(|(name, value)| (name, value)))
            // The choice of services must not depend on the caller's profiles.
            .env("COMPOSE_PROFILES", "*");
        command
    }

    fn for_project(&self, project: &ComposeProject<'_>) -> Command {
        let mut command = self.command();
        for file in &project.files {
            command.arg("-f").arg(file);
        }
        command
            .args(["-p", project.name, "--project-directory"])
            .arg(project.dir)
            .current_dir(project.dir)
            .envs(project.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The files of a project as one document, with variables and relative paths resolved. Makes nothing.
    pub(crate) fn resolve(
        &self,
        project: &ComposeProject<'_>,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<String> {
        let mut command = self.for_project(project);
        let output = child::run(command.arg("config"), b"", READ_TIMEOUT, should_continue)
            .map_err(|error| self.failed(&error))?;
        match output.success {
            true => Ok(output.stdout),
            false => Err(RuntimeError::Refused(output.stderr.trim().to_owned())),
        }
    }

    /// Runs the tool on a project, and passes on every line of its output. The last lines are part of the error.
    pub(crate) fn run(
        &self,
        project: &ComposeProject<'_>,
        args: &[&str],
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut last = VecDeque::with_capacity(ERROR_LINES);
        let mut command = self.for_project(project);
        command.args(args).env("BUILDKIT_PROGRESS", "plain");
        let status = child::run_lines(&mut command, CREATE_TIMEOUT, should_continue, &mut |line| {
            if last.len() == ERROR_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
            tell(line);
        });
        match status.map_err(|error| self.failed(&error))?.success() {
            true => Ok(()),
            false => Err(RuntimeError::Refused(last.make_contiguous().join("\n"))),
        }
    }

    fn failed(&self, error: &std::io::Error) -> RuntimeError {
        let reason = crate::error::os_error_text(error);
        RuntimeError::Transient(format!("{}: {reason}", self.name()))
    }
}

/// The labels of a session's resources.
pub(crate) fn session_labels(home: &str, incarnation: &str) -> [(&'static str, String); 3] {
    [
        (HOME_LABEL, home.to_owned()),
        (ROLE_LABEL, COMPOSE_ROLE.to_owned()),
        (SESSION_LABEL, incarnation.to_owned()),
    ]
}

/// The label with the name of a container's service.
pub(crate) const SESSION_SERVICE_LABEL: &str = SERVICE_LABEL;

pub(super) const COMPOSE_ROLE: &str = "compose";

/// An image that was built for a session, or a named volume.
pub(crate) struct SessionStorage {
    pub(crate) name: String,
    /// The incarnation of the session.
    pub(crate) session: String,
}
