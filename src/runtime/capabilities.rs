//! What a runtime can do: [`Runtime`] and [`Containers`], which every driver has, and one trait for each capability
//! that only some drivers have.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::compose::{ComposeTool, Removal, SessionContainer, SessionStorage};
use super::error::{Result, RuntimeError};
use super::{
    Attached, BuildEvent, CommandSpec, ContainerSpec, EngineVolume, ExecSpec, ImageBuild,
    Inspected, Labelled, Network, Refusal, ServiceSpec, ShowFn,
};
use crate::store::{ResourceKind, StreamBytes};

/// A driver for one container command line.
pub(crate) trait Runtime: Containers {
    /// Queries the version of the engine. The error has a hint for the user.
    fn probe(&self) -> Result<String>;

    /// A limitation of the engine on this host, if it has one.
    fn limitation(&self) -> Option<&'static str> {
        None
    }

    /// The containers and networks of all homes.
    fn find_labelled(&self) -> Result<Vec<Labelled>>;

    fn images(&self) -> Option<&dyn Images> {
        None
    }

    fn volumes(&self) -> Option<&dyn Volumes> {
        None
    }

    fn networks(&self) -> Option<&dyn Networks> {
        None
    }

    fn services(&self) -> Option<&dyn Services> {
        None
    }

    fn commands(&self) -> Option<&dyn Commands> {
        None
    }

    fn kept_output(&self) -> Option<&dyn KeptOutput> {
        None
    }

    fn session_services(&self) -> Option<&dyn SessionServices> {
        None
    }

    fn compose(&self) -> Option<&dyn Compose> {
        None
    }
}

/// The capabilities that a caller relies on. A plan refuses what needs a missing one. Only `moat exec` has no plan.
impl dyn Runtime + '_ {
    pub(crate) fn need_images(&self) -> Result<&dyn Images> {
        self.images().ok_or_else(|| lacks("images"))
    }

    pub(crate) fn need_volumes(&self) -> Result<&dyn Volumes> {
        self.volumes().ok_or_else(|| lacks("volumes"))
    }

    pub(crate) fn need_networks(&self) -> Result<&dyn Networks> {
        self.networks().ok_or_else(|| lacks("networks"))
    }

    pub(crate) fn need_services(&self) -> Result<&dyn Services> {
        self.services().ok_or_else(|| lacks("services"))
    }

    pub(crate) fn need_commands(&self) -> Result<&dyn Commands> {
        self.commands().ok_or_else(|| {
            RuntimeError::Refused(
                "'exec' does not work on bwrap, because no process can enter a running sandbox; \
                 use the runtime docker"
                    .to_owned(),
            )
        })
    }

    pub(crate) fn need_kept_output(&self) -> Result<&dyn KeptOutput> {
        let none = || lacks("output for a second reader");
        self.kept_output().ok_or_else(none)
    }

    pub(crate) fn need_session_services(&self) -> Result<&dyn SessionServices> {
        let none = || lacks("services of sessions");
        self.session_services().ok_or_else(none)
    }

    /// Removes a container with everything that belongs to it, or a network. A missing one is fine.
    pub(crate) fn remove_resource(&self, kind: ResourceKind, handle: &str) -> Result<()> {
        match kind {
            ResourceKind::Network => self.need_networks()?.remove_network(handle),
            ResourceKind::Container | ResourceKind::Unknown => self.remove(handle),
        }
    }
}

fn lacks(what: &str) -> RuntimeError {
    RuntimeError::Refused(format!("this runtime has no {what}"))
}

/// The containers of runs.
pub(crate) trait Containers: Send + Sync {
    /// Creates a container with its initial files, without starting it. The image must exist.
    fn create(&self, spec: &ContainerSpec) -> Result<()>;

    /// Writes the container's copy of the workspace to a file, as a tar archive of paths from `./` on. The container
    /// need not run.
    fn save_workspace(&self, handle: &str, into: File) -> Result<()>;

    /// Whether the script before the command ended the container.
    fn pre_run_failed(&self, handle: &str) -> Result<bool>;

    /// Starts a container and returns its output from the first byte on.
    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached>;

    /// Starts a container without input again, after the engine went away before it received the start request.
    /// `None`: this cannot happen with this engine.
    fn restart_interrupted(&self, _handle: &str, _has_services: bool) -> Result<Option<Attached>> {
        Ok(None)
    }

    /// The states of containers, in the order of the handles.
    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>>;

    /// Whether [`Containers::inspect`] costs next to nothing.
    fn inspect_is_cheap(&self) -> bool {
        false
    }

    /// Whether the command of a running container waits at the start gate, which only its supervisor opens.
    fn is_at_start_gate(&self, _handle: &str) -> Result<bool> {
        Ok(false)
    }

    /// Timeout of a client that starts a container. Not set: no limit.
    fn start_limit(&self) -> Option<Duration> {
        None
    }

    /// Ends the workload: SIGTERM, then SIGKILL after `grace`. Blocks until it has ended. An ended or missing
    /// container is fine.
    fn stop(&self, handle: &str, grace: Duration) -> Result<()>;

    /// Kills the workload at once. An ended or missing container is fine.
    fn kill(&self, handle: &str) -> Result<()>;

    /// Removes a container and everything that belongs to it, running or not. A missing one is fine.
    fn remove(&self, handle: &str) -> Result<()>;
}

/// Output and exit code that the engine keeps for later queries. Otherwise only the attached client has them.
pub(crate) trait KeptOutput {
    /// Returns the output of a container that was started before, without the bytes already kept. It may end before
    /// the container does (see [`Containers::inspect`]); then reattach again.
    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached>;
}

/// Images, from which containers are created.
pub(crate) trait Images {
    /// Pulls an image from its registry. Gives up when `should_continue` returns false.
    fn pull_image(&self, image: &str, should_continue: &dyn Fn() -> bool) -> Result<()>;

    /// Whether an image exists.
    fn has_image(&self, image: &str) -> Result<bool>;

    /// The identity of an image that the engine has.
    fn image_id(&self, _image: &str) -> Option<String> {
        None
    }

    /// The label with the [`ImageBuild::inputs`] of an image that moat built.
    fn build_inputs(&self, _image: &str) -> Option<String> {
        None
    }

    /// Builds an image, and passes on every line of the builder. Gives up when `should_continue` returns false.
    /// [`RuntimeError::Refused`]: a step failed.
    fn build_image(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()>;
}

/// Volumes that outlive containers.
pub(crate) trait Volumes {
    /// Creates a volume, unless it exists.
    fn make_volume(&self, volume: &EngineVolume) -> Result<()>;

    /// Whether there is such a volume.
    fn has_volume(&self, handle: &str) -> Result<bool>;

    /// The volumes of all homes.
    fn find_volumes(&self) -> Result<Vec<EngineVolume>>;

    /// Removes a volume; a missing one is fine.
    fn remove_volume(&self, handle: &str) -> Result<()>;
}

/// Networks of runs and sessions.
pub(crate) trait Networks {
    /// Creates a network; only containers that are explicitly connected are on it.
    fn make_network(&self, network: &Network) -> Result<()>;

    fn has_network(&self, handle: &str) -> Result<bool>;

    /// Removes a network without containers; a missing one is fine.
    fn remove_network(&self, handle: &str) -> Result<()>;
}

/// The containers of services.
pub(crate) trait Services {
    /// Creates the container of a service without starting it. Image and network must exist.
    fn create_service(&self, spec: &ServiceSpec) -> Result<()>;

    /// Starts the container of a run's service, first or again, and returns its output from then on. `run`: the
    /// container of the run.
    fn start_service(&self, handle: &str, run: &str) -> Result<Attached>;

    /// Starts it again, after the engine went away before it received the start request. `None`: this cannot happen
    /// with this engine.
    fn restart_interrupted_service(&self, _handle: &str, _run: &str) -> Result<Option<Attached>> {
        Ok(None)
    }
}

/// Services of sessions, which outlive the command that started them: their output is in the engine's log.
pub(crate) trait SessionServices {
    /// Starts the container of a service without an attachment.
    fn start_detached(&self, handle: &str) -> Result<()>;

    /// Passes on every line that a container has printed so far, at least the last `last`.
    fn read_log(&self, handle: &str, last: usize, tell: &mut dyn FnMut(&str)) -> Result<()>;

    /// Passes everything that a container has printed so far on to this process's stdout and stderr, unchanged and in
    /// order. `show`, which is for a terminal, receives stdout; and stderr if that is a terminal as well.
    fn show_log(&self, handle: &str, show: Option<ShowFn<'_>>) -> Result<()>;

    /// Everything that a container has printed so far, each line with its time (each piece of 16 KiB of a longer
    /// one): stdout, then stderr.
    fn full_log(&self, handle: &str) -> Result<(String, String)>;

    /// Disconnects a run from the network of its session; an unconnected one is fine.
    fn disconnect(&self, network: &str, container: &str) -> Result<()>;
}

/// Commands in running containers.
pub(crate) trait Commands {
    /// Runs a command to its end, and passes on every line of both streams. Gives up when `should_continue` returns
    /// false or the timeout expires: [`RuntimeError::Transient`]. Returns the command's exit code, or the client's own;
    /// `None`: a signal ended it.
    fn exec(
        &self,
        spec: &CommandSpec<'_>,
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>>;

    /// Starts a command beside the container's own. [`super::AttachEnd::Code`] is its exit code;
    /// [`super::AttachEnd::Failed`]: it could not be started, and [`Commands::refusal`] says why.
    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached>;

    /// Ends such a command with all of its descendants. Fails if there is none (yet). `signal`: a name for kill(1).
    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()>;

    /// Interprets the exit code and the message of a client that had to run a command in a container.
    fn refusal(&self, code: u8, words: &[u8]) -> Refusal;
}

/// Resources of the compose tool. The tool creates them; the engine finds and removes them by label.
pub(crate) trait Compose {
    /// The installed tool.
    fn tool(&self) -> Result<ComposeTool>;

    /// The containers of the compose services of all sessions of all homes, running or not.
    fn session_containers(&self) -> Result<Vec<SessionContainer>>;

    /// The images that were built for the sessions of a home, and their named volumes.
    fn session_storage(&self, home: &str) -> Result<(Vec<SessionStorage>, Vec<SessionStorage>)>;

    /// The last lines of a container, both streams merged.
    fn last_lines(&self, id: &str, count: usize) -> Vec<String>;

    /// Removes the resources with a session's label; returns whether there were any.
    fn remove_session(&self, incarnation: &str, what: Removal<'_>) -> Result<bool>;

    /// Removes a name of an image; the image goes with its last name. A missing one is fine.
    fn remove_image(&self, name: &str) -> Result<()>;
}
