//! Drivers for the container command lines, behind [`Runtime`] and one small trait for each capability.
//!
//! Only this module names an engine. Drivers are thin and know nothing of runs: they receive a [`ContainerSpec`] and
//! a handle, which moat chooses, so that it is known before the container exists. A missing container is a value
//! ([`Inspected::Missing`]); errors say whether the engine was unreachable or refused the request ([`RuntimeError`]).

mod apple;
mod attach;
mod build_output;
mod bwrap;
mod capabilities;
pub(crate) mod child;
mod choose;
mod client_call;
mod client_terminal;
mod compose;
mod container_scripts;
mod docker;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod retry;
mod secret_tool;
mod workspace_copy;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use bwrap::{foreground, shim_process};
pub(crate) use capabilities::{
    Commands, Compose, Containers, Images, Networks, Runtime, Services, SessionServices, Volumes,
};
pub(crate) use choose::{
    Capability, RUNTIME_NAMES, RUNTIMES, RuntimeName, choose, compose_engine, context_settings,
    engine_settings, engine_shown, open, open_within, remote_address,
};
pub(crate) use compose::{
    ComposeProject, ComposeTool, ContainerState, Removal, SESSION_SERVICE_LABEL, SessionContainer,
    SessionStorage, session_labels,
};
pub(crate) use docker::{EngineFacts, UserMapping, podman_error};
pub(crate) use error::{Result, RuntimeError};
pub(crate) use retry::retry;
pub(crate) use secret_tool::ask_tool;

use crate::secret::Secret;
use crate::store::{
    BindMount, IdentitySettings, PublishedPort, ResourceKind, RunDir, RunSettings, StreamBytes,
    Timestamp, WorkspaceMode,
};
use crate::term::pty::Size;

pub(crate) use crate::config::WORKSPACE;

/// The workload's home directory if the image has none. Removed with the container.
pub(crate) const WORKLOAD_HOME: &str = "/home/moatuser";

/// Shows output on a terminal.
pub(crate) type ShowFn<'a> = &'a mut dyn FnMut(&[u8]);

/// The runtime whose engine the compose tool uses.
pub(crate) const COMPOSE_RUNTIME: RuntimeName = RuntimeName::Docker;

/// The capabilities that package managers need, and servers that start as root and change their user; all others are
/// dropped.
const KEPT_LINUX_CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
];

/// Timeout of an ordinary request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of a request whose answer a waiting user can do without.
pub(crate) const QUICK_TIMEOUT: Duration = Duration::from_secs(3);

/// The specification of a container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerSpec<'a> {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) run_label: String,
    /// The network with its services, or with those of its session. Not set: the engine's own.
    pub(crate) network: Option<String>,
    /// Further networks, which may lead nowhere else; only on engines that support services of sessions.
    pub(crate) extra_networks: Vec<String>,
    pub(crate) settings: Cow<'a, RunSettings>,
    /// A script for `sh -e` that runs before the command.
    pub(crate) pre_run: Option<&'a str>,
    pub(crate) env: Vec<(String, Secret)>,
    /// All bind mounts, the outer ones first.
    pub(crate) binds: Vec<BindMount>,
    pub(crate) volumes: Vec<VolumeMount>,
    /// Whether the image has a home directory for the user.
    pub(crate) has_home: bool,
    /// The size of its terminal, if it gets one.
    pub(crate) terminal: Option<Size>,
}

impl ContainerSpec<'_> {
    fn workdir(&self) -> &str {
        let workdir = self.settings.mounts.workdir.as_deref();
        workdir.unwrap_or(WORKSPACE)
    }

    /// The workload's user.
    fn user(&self) -> User {
        let IdentitySettings { uid, gid, .. } = self.settings.identity;
        User { uid, gid }
    }

    /// The mount points inside the workspace, relative to it.
    fn mounted_in_workspace(&self) -> Vec<String> {
        let mounts = self.binds.iter().map(|mount| &mount.target);
        let volumes = self.volumes.iter().map(|volume| &volume.target);
        in_workspace(mounts.chain(volumes).chain(&self.settings.mounts.tmpfs))
    }

    /// The hidden directories. A copy of the workspace does not contain them.
    fn hidden_paths(&self) -> impl Iterator<Item = &String> {
        let copied = self.settings.mounts.workspace_mode == WorkspaceMode::Volume;
        let mounted = |path: &str| self.binds.iter().any(|mount| is_below(path, &mount.target));
        let covered = self.settings.mounts.hidden.iter();
        covered.filter(move |path| !copied || mounted(path))
    }

    /// The paths that a copy of the workspace leaves out, relative to it.
    fn not_copied(&self) -> Vec<String> {
        let mut paths = in_workspace(self.settings.mounts.hidden.iter());
        paths.extend(self.mounted_in_workspace());
        paths
    }
}

/// Whether a path is inside a directory, and is not the directory itself.
pub(crate) fn is_below(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// The paths below the workspace, relative to it.
fn in_workspace(paths: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let below = |path: &str| Some(path.strip_prefix(WORKSPACE)?.strip_prefix('/')?.to_owned());
    paths.filter_map(|path| below(path.as_ref())).collect()
}

/// The specification of a service's container.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSpec {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) owner: ResourceOwner,
    /// Its host name on the network.
    pub(crate) name: String,
    pub(crate) network: String,
    /// Published on 127.0.0.1.
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) image: String,
    /// The arguments after the image; empty: the image's own command.
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, Secret)>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) cache: Option<BindMount>,
}

/// A short command in a running container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandSpec<'a> {
    pub(crate) handle: &'a str,
    pub(crate) command: &'a [String],
    pub(crate) timeout: Duration,
}

/// A command that runs in a container beside the container's own.
#[derive(Debug)]
pub(crate) struct ExecSpec {
    pub(crate) handle: String,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Not set: the working directory of the container's own command.
    pub(crate) workdir: Option<String>,
    /// A unique word that identifies its processes.
    pub(crate) marker: String,
    pub(crate) stdin: Option<OwnedFd>,
    /// The size of its terminal, if it gets one; it has no other input then.
    pub(crate) terminal: Option<Size>,
}

/// The reason why a command could not run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For display.
    pub(crate) reason: String,
    /// The code that a shell would return, 126 or 127, if the command is not executable or missing.
    pub(crate) code: Option<u8>,
}

/// The network of a run or of a session.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) owner: ResourceOwner,
}

/// The owner of a container or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResourceOwner {
    /// The run's id.
    Run(String),
    /// The session's incarnation.
    Session(String),
}

impl ResourceOwner {
    /// The label of the owner, and its value.
    fn label(&self) -> (&'static str, &str) {
        match self {
            ResourceOwner::Run(id) => (client_call::RUN_LABEL, id),
            ResourceOwner::Session(incarnation) => (client_call::SESSION_LABEL, incarnation),
        }
    }

    /// From the values of both labels.
    fn of(run: String, session: String) -> ResourceOwner {
        match session.is_empty() {
            true => ResourceOwner::Run(run),
            false => ResourceOwner::Session(session),
        }
    }
}

/// A mounted volume of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeMount {
    pub(crate) handle: String,
    pub(crate) target: String,
    pub(crate) readonly: bool,
}

/// A volume of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineVolume {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    /// `PROJECT/NAME`.
    pub(crate) name: String,
}

/// The request to build an image.
#[derive(Clone, Debug)]
pub(crate) struct ImageBuild {
    pub(crate) tag: String,
    pub(crate) home_label: String,
    pub(crate) dockerfile: PathBuf,
    pub(crate) context: PathBuf,
    /// The images that the build uses, as far as the engine has them: `NAME=ID`, with blanks between them.
    pub(crate) inputs: String,
    /// Whether to ignore the builder's cache.
    pub(crate) no_cache: bool,
    /// The name servers for a builder with a network of its own.
    pub(crate) dns: Vec<IpAddr>,
}

/// An event of a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildEvent<'a> {
    /// A step starts, or is named as the failed one: `3/9 RUN …`.
    Step(&'a str),
    /// Any other line.
    Line(&'a str),
}

/// The user and group of the workload: the workspace's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A container's output, and the process behind it.
pub(crate) struct Attached {
    pub(crate) stdout: Box<dyn Read + Send>,
    pub(crate) stderr: Box<dyn Read + Send>,
    /// The number of lost bytes before the first one.
    pub(crate) lost: StreamBytes,
    pub(crate) client: Box<dyn EngineClient>,
    /// The controlling end of its terminal, if it has one: for keys and size changes.
    pub(crate) terminal: Option<OwnedFd>,
}

/// The process behind an attachment. It is not the workload: its end means that the streams have ended.
pub(crate) trait EngineClient: Send + Sync {
    /// Ends the attachment. The container continues.
    fn detach(&self);

    /// Whether it has ended.
    fn has_ended(&self) -> bool;

    /// How it ended; blocks until it has. Call this when the streams have ended.
    fn ended(&self) -> AttachEnd;
}

/// How an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttachEnd {
    /// With the workload's streams: there is no more output.
    Complete,
    /// With an exit code that it reports for the workload; [`Containers::inspect`] confirms the code.
    Code(u8),
    /// It was killed. There may be more output.
    Interrupted,
    /// With a message of its own, unless the workload wrote it. There may be more output.
    Failed(ClientFailure),
}

/// The possible failure of the process behind an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientFailure {
    /// Its exit code, which is the workload's if the workload wrote the message.
    pub(crate) code: u8,
    /// The message, unchanged. It is not in the output.
    pub(crate) bytes: Vec<u8>,
    /// Whether it says that the engine went away: the engine's log may then have a gap as well.
    pub(crate) interrupted: bool,
}

impl AttachEnd {
    /// The exit code that it reports for the workload.
    pub(crate) fn code(&self) -> Option<u8> {
        match self {
            AttachEnd::Code(code) => Some(*code),
            _ => None,
        }
    }

    /// Its message about a failure of its own, as the engine worded it.
    pub(crate) fn error(&self) -> Option<String> {
        match self {
            AttachEnd::Failed(words) => {
                let words = String::from_utf8_lossy(&words.bytes);
                let words = words.trim();
                Some(words.strip_prefix("Error: ").unwrap_or(words).to_owned())
            }
            _ => None,
        }
    }
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Inspected {
    /// The container does not exist (any more).
    Missing,
    /// The container was never started.
    Created,
    Running {
        started_at: Option<Timestamp>,
        /// Pairs of container port and published host port.
        ports: Vec<(u16, u16)>,
    },
    /// The workload has exited, but some of its output is still pending.
    Ending {
        started_at: Option<Timestamp>,
    },
    Exited(Exit),
}

/// The exit of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exit {
    /// Not set: the workload never ran.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// Not set: the code is unknown.
    pub(crate) code: Option<u8>,
    /// Whether another program removed the container: the code is then the one that the client reported.
    pub(crate) was_removed: bool,
    pub(crate) oom_killed: bool,
    /// The reason why it failed to start, as the engine worded it.
    pub(crate) error: Option<String>,
}

/// A container or a network found by its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) kind: ResourceKind,
    pub(crate) handle: String,
    /// The engine's own name for it.
    pub(crate) id: String,
    /// The label of the home that made it.
    pub(crate) home_label: String,
    pub(crate) owner: ResourceOwner,
}

/// Runs this program in one of the roles that drivers need; returns its exit code.
pub(crate) fn run_hidden_role(name: &str, args: &[OsString]) -> Option<u8> {
    match name {
        bwrap::SHIM => Some(bwrap::shim(args)),
        bwrap::INIT => Some(bwrap::init(args)),
        bwrap::JOB => Some(bwrap::job(args)),
        client_terminal::COMMAND => Some(client_terminal::become_program(args)),
        _ => None,
    }
}

/// The runtime of a session's services.
pub(crate) fn of_session(
    name: &str,
    engine: &[(String, String)],
    timeout: Duration,
) -> Result<Box<dyn Runtime>> {
    #[cfg(test)]
    if let Some(engine) = fake::named(name) {
        return Ok(engine);
    }
    Ok(open_within(parse_runtime(name)?, engine, timeout))
}

/// Whether the engine of a session responds.
pub(crate) fn is_reachable(name: &str, engine: &[(String, String)]) -> bool {
    let probed = of_session(name, engine, REQUEST_TIMEOUT).and_then(|runtime| runtime.probe());
    probed.is_ok()
}

/// The runtime that created a run.
pub(crate) fn of_run(
    dir: &RunDir,
    name: &str,
    engine: &[(String, String)],
) -> Result<Box<dyn Runtime>> {
    Ok(open(parse_runtime(name)?, engine, Some(dir)))
}

fn parse_runtime(name: &str) -> Result<RuntimeName> {
    RuntimeName::parse(name).ok_or_else(|| {
        RuntimeError::unreachable(
            format!("this moat has no runtime '{name}'"),
            "use the version that made it",
        )
    })
}
