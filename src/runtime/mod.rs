//! Drivers for the container command lines, behind one small trait.
//!
//! The only code that names an engine. Drivers are thin and know nothing of runs: they get a
//! [`ContainerSpec`] and a handle, which moat chooses, so that it is known before anything exists.
//! Whether a container is there is a value ([`Inspected::Missing`]); errors say whether the engine
//! could not be asked, or refused ([`Problem`]).

mod apple;
mod attach;
mod build_output;
mod bwrap;
pub(crate) mod child;
mod choose;
mod client_call;
mod client_terminal;
mod container_scripts;
mod docker;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod retry;
mod secret_tool;
mod workspace_copy;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use bwrap::{foreground, shim_process};
pub(crate) use choose::is_on_path;
pub(crate) use choose::{
    Capability, RUNTIME_NAMES, RUNTIMES, RuntimeName, choose, context_settings, engine_settings,
    engine_shown, open, open_within, remote_address,
};
pub(crate) use docker::compose::{
    ComposeProject, ComposeTool, ContainerState, Removal, SESSION_SERVICE_LABEL, SessionContainer,
    SessionStorage, last_lines as last_container_lines, remove_image as remove_session_image,
    remove_session, session_containers, session_labels, session_storage,
};
pub(crate) use error::{Result, RuntimeError};
pub(crate) use retry::retry;
pub(crate) use secret_tool::ask_tool;

use crate::config::Ulimit;
use crate::store::{
    BindMount, PublishedPort, ResourceKind, RunDir, StreamBytes, Timestamp, WorkspaceMode,
};
use crate::term::pty::Size;

pub(crate) use crate::config::WORKSPACE;

/// The workload's home directory, where the image's own cannot be used. Gone with the container.
pub(crate) const WORKLOAD_HOME: &str = "/home/moat";

/// Shows output on a terminal.
pub(crate) type ShowFn<'a> = &'a mut dyn FnMut(&[u8]);

/// The runtime whose engine the compose tool talks to.
pub(crate) const COMPOSE_RUNTIME: RuntimeName = RuntimeName::Docker;

/// What package managers need, and servers that begin as root to become somebody else; everything else
/// is dropped.
const CAPABILITIES: [&str; 7] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
];

/// How long an ordinary request may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one may take whose answer somebody waits for who can do without.
pub(crate) const QUICK_TIMEOUT: Duration = Duration::from_secs(3);

/// A driver for one container command line.
pub(crate) trait Runtime: Send + Sync {
    /// Asks for the version of what runs the containers. Fails with what a person can do about it.
    fn probe(&self) -> Result<String>;

    /// What that cannot do here, though others of its kind can.
    fn limitation(&self) -> Option<&'static str> {
        None
    }

    /// Gets an image from its registry. Gives up when `should_continue` says no.
    fn pull_image(&self, image: &str, should_continue: &dyn Fn() -> bool) -> Result<()>;

    /// Whether an image is there.
    fn has_image(&self, image: &str) -> Result<bool>;

    /// Builds an image, and tells of every line that the builder prints. Gives up when `should_continue`
    /// says no. [`Problem::Refused`]: a step failed.
    fn build_image(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()>;

    /// Makes a volume that outlives containers, if there is none of that name.
    fn make_volume(&self, volume: &EngineVolume) -> Result<()>;

    /// The volumes of this home.
    fn volumes(&self, home: &str) -> Result<Vec<EngineVolume>>;

    /// Removes a volume. Fine if it is gone.
    fn remove_volume(&self, handle: &str) -> Result<()>;

    /// Makes a network that only who is put on it is on.
    fn make_network(&self, network: &Network) -> Result<()>;

    fn has_network(&self, handle: &str) -> Result<bool>;

    /// Removes a network that nobody is on any more. Fine if it is gone.
    fn remove_network(&self, handle: &str) -> Result<()>;

    /// Takes a container off a network. Fine if it is not on it.
    fn disconnect(&self, _network: &str, _container: &str) -> Result<()> {
        Ok(())
    }

    /// Makes the container of a service, which is not started. Image and network must be there.
    fn create_service(&self, spec: &ServiceSpec) -> Result<()>;

    /// Starts the container of a service, for the first time or again, and gives its output from
    /// there on.
    fn start_service(&self, handle: &str) -> Result<Attached>;

    /// Starts the container of a service to which nobody listens: what it prints is in the engine's log.
    fn start_detached(&self, _handle: &str) -> Result<()> {
        Err(not_in_sessions())
    }

    /// Tells of every line that a container has printed so far, of so many at least.
    fn read_log(&self, _handle: &str, _last: usize, _tell: &mut dyn FnMut(&str)) -> Result<()> {
        Err(not_in_sessions())
    }

    /// Passes all that a container has printed so far on to our stdout and stderr, as it is and in its order. With
    /// `show`, which is for a terminal, stdout goes there; and stderr, where that is a terminal, too.
    fn show_log(&self, _handle: &str, _show: Option<ShowFn<'_>>) -> Result<()> {
        Err(not_in_sessions())
    }

    /// All that a container has printed so far, each line with its time, as is each piece of 16 KiB of a longer one:
    /// stdout, and stderr.
    fn full_log(&self, _handle: &str) -> Result<(String, String)> {
        Err(not_in_sessions())
    }

    /// Runs a command in a running container to its end, and tells of every line that it prints on
    /// either stream. Gives up when `should_continue` says no, or time is up: [`Problem::Transient`]. Its
    /// exit code, or the client's own; `None`: a signal ended it.
    fn exec(
        &self,
        handle: &str,
        command: &[String],
        timeout: Duration,
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>>;

    /// Starts a command in a running container, beside what runs there. [`AttachEnd::Code`] is its
    /// exit code; [`AttachEnd::Failed`]: it could not be started, and [`Runtime::refusal`] says why.
    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached>;

    /// Ends such a command, with all that it has started. Fails if there is none, be it not yet.
    /// `signal`: as kill(1) names it.
    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()>;

    /// What it means that a command in a running container ended with this code and these words of
    /// whoever was to start it.
    fn refusal(&self, code: u8, words: &[u8]) -> Refusal;

    /// Makes a container that is not started, with all that belongs into it. The image must be there.
    fn create(&self, spec: &ContainerSpec) -> Result<()>;

    /// Writes what is in the container's own copy of the workspace to a file, as a tar archive of
    /// paths from `./` on. The container need not run.
    fn save_workspace(&self, handle: &str, into: File) -> Result<()>;

    /// Whether it was the script before the command that ended the container.
    fn pre_run_failed(&self, handle: &str) -> Result<bool>;

    /// Starts a container and gives its output from the first byte on.
    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached>;

    /// Starts a container that gets no input once more, after the engine went away before it had heard
    /// that it is to start. `None`: that does not happen with this engine.
    fn restart_interrupted(&self, _handle: &str, _has_services: bool) -> Result<Option<Attached>> {
        Ok(None)
    }

    /// Gives the output of a container that was started before, without the bytes already kept.
    /// It may end before the container does (see [`Runtime::inspect`]); then reattach again.
    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached>;

    /// The state of containers, in the order asked for.
    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>>;

    /// Whether [`Runtime::inspect`] costs next to nothing.
    fn inspect_is_cheap(&self) -> bool {
        false
    }

    /// Whether the engine keeps output and exit code for who asks later. Else only who is attached has
    /// them, and [`Runtime::reattach`] gives nothing.
    fn keeps_output(&self) -> bool {
        true
    }

    /// Whether the command of a running container waits for something that only its supervisor does.
    fn is_at_start_gate(&self, _handle: &str) -> Result<bool> {
        Ok(false)
    }

    /// How long a client may take to start a container before it is given up. Not set: as long as it likes.
    fn start_limit(&self) -> Option<Duration> {
        None
    }

    /// Asks the workload to end, and kills it after `grace`. Blocks until it has ended.
    /// Fine if it has ended already, or is gone.
    fn stop(&self, handle: &str, grace: Duration) -> Result<()>;

    /// Kills the workload at once. Fine if it has ended already, or is gone.
    fn kill(&self, handle: &str) -> Result<()>;

    /// Removes a container with all that belongs to it, running or not. Fine if it is gone.
    fn remove(&self, handle: &str) -> Result<()>;

    /// The containers and networks that carry the label of this home.
    fn find_labelled(&self, home: &str) -> Result<Vec<Labelled>>;
}

/// All that a driver needs to know to make a container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerSpec {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) run_label: String,
    pub(crate) image: Option<String>,
    /// The network that it is on, beside its services or those of its session. Not set: the engine's own.
    pub(crate) network: Option<String>,
    /// Those that it is on besides, which may lead nowhere else; only where the engine can have services of sessions.
    pub(crate) more_networks: Vec<String>,
    /// The directory that is shown as the root, where there are no images.
    pub(crate) rootfs: Option<PathBuf>,
    pub(crate) workspace: PathBuf,
    pub(crate) workspace_mode: WorkspaceMode,
    pub(crate) command: Vec<String>,
    /// A script for `sh -e` that runs before the command.
    pub(crate) pre_run: Option<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<BindMount>,
    pub(crate) volumes: Vec<VolumeMount>,
    /// Directories that are empty, in memory, and the workload's own.
    pub(crate) scratch: Vec<String>,
    /// Directories that are covered with an empty one, so that nothing below can be reached.
    pub(crate) covered: Vec<String>,
    pub(crate) user: User,
    /// Whether the image has a home directory for the user.
    pub(crate) has_home: bool,
    /// Published on 127.0.0.1.
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    /// The most processes and threads. Not set: enough for builds, too few for a fork bomb.
    pub(crate) pids: Option<u32>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) stdin: bool,
    /// The size of the terminal that it gets, if it gets one.
    pub(crate) terminal: Option<Size>,
}

impl ContainerSpec {
    /// Where in the workspace something else is mounted, relative to it.
    fn mounted_in_workspace(&self) -> Vec<String> {
        let mounts = self.mounts.iter().map(|mount| &mount.target);
        let volumes = self.volumes.iter().map(|volume| &volume.target);
        in_workspace(mounts.chain(volumes).chain(&self.scratch))
    }

    /// What is covered. Where the workspace is a copy, what of it would be was not copied.
    fn hidden_paths(&self) -> impl Iterator<Item = &String> {
        let copied = self.workspace_mode == WorkspaceMode::Volume;
        let mounted = |path: &str| {
            self.mounts
                .iter()
                .any(|mount| is_below(path, &mount.target))
        };
        let covered = self.covered.iter();
        covered.filter(move |path| !copied || mounted(path))
    }

    /// What is no part of a copy of the workspace, relative to it.
    fn not_copied(&self) -> Vec<String> {
        let mut paths = in_workspace(self.covered.iter());
        paths.extend(self.mounted_in_workspace());
        paths
    }
}

/// Whether a path is in a directory, and is not that directory itself.
pub(crate) fn is_below(path: &str, dir: &str) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Those paths that are below the workspace, relative to it.
fn in_workspace(paths: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let below = |path: &str| Some(path.strip_prefix(WORKSPACE)?.strip_prefix('/')?.to_owned());
    paths.filter_map(|path| below(path.as_ref())).collect()
}

/// All that a driver needs to know to make the container of a service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSpec {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) whose: ResourceOwner,
    /// Its host name on the network.
    pub(crate) name: String,
    pub(crate) network: String,
    /// Published on 127.0.0.1.
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) image: String,
    /// What follows the image; empty: the image's own command.
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) cache: Option<BindMount>,
}

/// A command that is to run in a container beside what runs there.
#[derive(Debug)]
pub(crate) struct ExecSpec {
    pub(crate) handle: String,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Not set: where the container's own command began.
    pub(crate) workdir: Option<String>,
    /// A word by which it is found again.
    pub(crate) marker: String,
    pub(crate) stdin: Option<OwnedFd>,
    /// The size of the terminal that it gets, if it gets one; then it has no other input.
    pub(crate) terminal: Option<Size>,
}

/// Why a command could not be run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For people.
    pub(crate) why: String,
    /// What a shell would exit with, 126 or 127, if it is the command that cannot be run.
    pub(crate) code: Option<u8>,
}

/// The network of a run or of a session.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) handle: String,
    pub(crate) home_label: String,
    pub(crate) whose: ResourceOwner,
}

/// Whose a container or a network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResourceOwner {
    /// Its id.
    Run(String),
    /// Its incarnation.
    Session(String),
}

impl ResourceOwner {
    /// The label that says it, and its value.
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

/// A volume of the engine, mounted.
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

/// How to build an image.
#[derive(Clone, Debug)]
pub(crate) struct ImageBuild {
    pub(crate) tag: String,
    pub(crate) home_label: String,
    pub(crate) dockerfile: PathBuf,
    pub(crate) context: PathBuf,
    /// Whether to use nothing of what was built before.
    pub(crate) fresh: bool,
    /// Whom a builder with a network of its own asks for names.
    pub(crate) dns: Vec<IpAddr>,
}

/// What a builder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuildEvent<'a> {
    /// A step begins, or is named as the one that failed: `3/9 RUN …`.
    Step(&'a str),
    /// Any other line.
    Line(&'a str),
}

/// The user and group that the workload runs as: the workspace's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A container's output, and what ends with it.
pub(crate) struct Attached {
    pub(crate) stdout: Box<dyn Read + Send>,
    pub(crate) stderr: Box<dyn Read + Send>,
    /// Bytes before the first ones that nobody has any more.
    pub(crate) lost: StreamBytes,
    pub(crate) client: Box<dyn EngineClient>,
    /// Our end of its terminal, if it has one: to type on, and to change its size.
    pub(crate) terminal: Option<OwnedFd>,
}

/// The process behind an attachment. Not the workload: its end says that the streams have ended.
pub(crate) trait EngineClient: Send + Sync {
    /// Ends the attachment. The container goes on.
    fn detach(&self);

    /// Whether it has ended.
    fn has_ended(&self) -> bool;

    /// How it ended; blocks until it has. Call when the streams have ended.
    fn ended(&self) -> AttachEnd;
}

/// How an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttachEnd {
    /// With the workload's streams themselves: there is no more output.
    Complete,
    /// With an exit code that it claims for the workload; [`Runtime::inspect`] confirms it.
    Code(u8),
    /// Somebody killed it. There may be more output.
    Interrupted,
    /// With words that are its own, unless they were the workload's last. There may be more output.
    Failed(ClientFailure),
}

/// What the process behind an attachment may have said about a failure of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientFailure {
    /// Its exit code, which would be the workload's if the words were.
    pub(crate) code: u8,
    /// As they came. They are not in the output.
    pub(crate) bytes: Vec<u8>,
    /// Whether they mean that the engine went away: then its log may have a gap, too.
    pub(crate) interrupted: bool,
}

impl AttachEnd {
    /// The exit code that it claims for the workload.
    pub(crate) fn code(&self) -> Option<u8> {
        match self {
            AttachEnd::Code(code) => Some(*code),
            _ => None,
        }
    }

    /// What it said about a failure of its own, in the engine's words.
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
    /// There is no such container (any more).
    Missing,
    /// It was never started.
    Created,
    Running {
        started_at: Option<Timestamp>,
        /// The ports of the container, and those of the host where they are published.
        ports: Vec<(u16, u16)>,
    },
    /// The workload has ended, but not all of its output has been taken from it yet.
    Ending {
        started_at: Option<Timestamp>,
    },
    Exited(Exit),
}

/// The end of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Exit {
    /// Not set: the workload never ran.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// Not set: nobody can know it.
    pub(crate) code: Option<u8>,
    /// Whether the container was removed by somebody else: then the code is what was heard.
    pub(crate) vanished: bool,
    pub(crate) oom_killed: bool,
    /// Why it failed to start, in the engine's words.
    pub(crate) error: Option<String>,
}

/// A container or a network found by its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) kind: ResourceKind,
    pub(crate) handle: String,
    /// The engine's own name for it.
    pub(crate) id: String,
    pub(crate) whose: ResourceOwner,
}

fn not_in_sessions() -> RuntimeError {
    RuntimeError::Refused("this runtime has no services of sessions".to_owned())
}

/// What this program does when a driver starts it in one of its own roles; its exit code.
pub(crate) fn run_hidden_role(name: &str, args: &[OsString]) -> Option<u8> {
    match name {
        bwrap::SHIM => Some(bwrap::shim(args)),
        bwrap::INIT => Some(bwrap::init(args)),
        bwrap::JOB => Some(bwrap::job(args)),
        client_terminal::COMMAND => Some(client_terminal::become_program(args)),
        _ => None,
    }
}

/// The runtime that has the services of a session.
pub(crate) fn of_session(
    name: &str,
    engine: &[(String, String)],
    timeout: Duration,
) -> Result<Box<dyn Runtime>> {
    Ok(open_within(parse_runtime(name)?, engine, timeout))
}

/// Whether the engine of a session answers at all.
pub(crate) fn is_reachable(name: &str, engine: &[(String, String)]) -> bool {
    let probed = of_session(name, engine, REQUEST_TIMEOUT).and_then(|runtime| runtime.probe());
    probed.is_ok()
}

/// The runtime that a run was made with.
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
