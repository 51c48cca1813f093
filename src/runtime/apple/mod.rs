//! Apple's `container` command line. The facts come from its sources, 0.1.0 to 1.2.2; none of this has run on a Mac
//! (docs/smoke-test-mac.md is a guide for a first run there).
//!
//! A run needs `create`, then `start --attach`: that process has the streams, their end and the exit code, and no
//! other command returns the code. There is no `container wait`. Output that no client is attached for is lost, and
//! moat says so. Any call may hang, so each call has a timeout. After a timeout moat checks the state, because the
//! services have usually done what was requested.

mod attach;
mod build;
mod classify;
mod client;
mod create;
mod exec;
mod images;
mod model;
mod service;
mod start;
mod start_gate;
#[cfg(test)]
mod tests;
mod version;

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::attach::{spawn, spawn_on_terminal};
use super::capabilities::{Commands, Containers, Images, Networks, Runtime, Services};
use super::client_call::{ClientCall, HOME_LABEL, RUN_LABEL, SESSION_LABEL};
use super::container_scripts::PRE_RUN_FAILED_NOTE;
use super::error::{Result, RuntimeError};
use super::{
    Attached, ContainerSpec, Inspected, Labelled, ResourceOwner, WORKSPACE, client_terminal,
    workspace_copy,
};

use crate::failpoint::{scaled_timeout, whole_seconds};
use crate::store::{ResourceKind, StreamBytes, WorkspaceMode, make_dir, remove_tree};

/// Timeouts of requests. Creating a container includes unpacking its image; a change removes a resource or creates a
/// network; the timeout of a stop comes on top of the grace period.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Poll interval for the end of a container that is being stopped.
const STOP_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Delay before a request is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Number of attempts of a request that the services may not have received.
const REQUEST_ATTEMPTS: u32 = 3;

/// The driver. `dir` is the run's directory for the files of this host that its container sees.
pub(super) struct Apple {
    dir: Option<PathBuf>,
}

/// Whether the client is installed.
pub(super) fn is_here() -> bool {
    client::program().is_some()
}

impl Apple {
    pub(super) fn new(dir: Option<PathBuf>) -> Apple {
        Apple { dir }
    }

    /// Whether this is a Mac that supports everything that moat needs, and its services answer.
    pub(super) fn answers() -> bool {
        let apple = Apple::new(None);
        cfg!(all(target_os = "macos", target_arch = "aarch64"))
            && is_here()
            && apple.probe().is_ok()
            && apple.limitation().is_none()
    }

    fn dir(&self) -> Result<&Path> {
        let missing = || RuntimeError::Refused("no run was named".to_owned());
        self.dir.as_deref().ok_or_else(missing)
    }

    /// The directory of a container, if it is the run's own container.
    fn dir_of(&self, handle: &str) -> Option<&Path> {
        let dir = self.dir.as_deref()?;
        let run = dir.parent()?.file_name()?;
        (run == handle).then_some(dir)
    }

    fn notes(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join("notes"))
    }

    /// Creates a resource with a unique name. A request without an answer may have succeeded.
    fn create_named(
        request: &ClientCall,
        timeout: Duration,
        exists: &dyn Fn() -> Result<bool>,
    ) -> Result<()> {
        let (mut left, mut was_silent) = (REQUEST_ATTEMPTS, false);
        loop {
            left -= 1;
            let mut client = client::client();
            client.args(&request.args).envs(
                request
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value.expose())),
            );
            let began = Instant::now();
            let Err(problem) = client::run(&mut client, &request.input, timeout) else {
                return Ok(());
            };
            was_silent |= problem.may_have_been_received();
            let is_doubtful = problem.is_transient() || classify::is_taken(problem.message());
            if is_doubtful && exists().is_ok_and(|exists| exists) {
                return Ok(());
            }
            if left == 0 || !problem.is_transient() || began.elapsed() >= scaled_timeout(timeout) {
                return Err(match problem {
                    // The services did not receive this attempt. They may have received an earlier one.
                    RuntimeError::Unreachable(text, hint) if was_silent => {
                        RuntimeError::Transient(format!("{text}; {hint}"))
                    }
                    problem => problem,
                });
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }

    /// Lists all containers, or all networks.
    fn list(what: ResourceKind) -> Result<Vec<Value>> {
        match what {
            ResourceKind::Network => client::ask_json(&["network", "list", "--format", "json"]),
            _ => client::ask_json(&["list", "--all", "--format", "json"]),
        }
    }

    /// The state of one container. A container counts as missing only if the list does not contain it either.
    fn inspect_one(handle: &str) -> Result<Inspected> {
        let found = match client::ask_json(&["inspect", handle]) {
            Err(RuntimeError::NotFound(_)) => Vec::new(),
            answer => answer?,
        };
        if let Some(container) = found.iter().find(|one| model::id(one) == handle) {
            return Ok(model::inspected(container));
        }
        let all = Self::list(ResourceKind::Container)?;
        match all.iter().any(|one| model::id(one) == handle) {
            true => Err(RuntimeError::Transient(format!(
                "container gives contradictory answers on whether {handle} exists"
            ))),
            false => Ok(Inspected::Missing),
        }
    }

    fn is_running(handle: &str) -> Result<bool> {
        Ok(matches!(
            Self::inspect_one(handle)?,
            Inspected::Running { .. }
        ))
    }

    /// Ignores a failed attempt to end a container that no longer runs.
    fn ignore_if_ended(handle: &str, problem: RuntimeError) -> Result<()> {
        match Self::is_running(handle)? {
            true => Err(problem),
            false => Ok(()),
        }
    }

    /// Creates the files of this host that the container needs, and builds the call.
    fn prepare_host_paths(&self, spec: &ContainerSpec) -> Result<ClientCall> {
        let dir = self.dir()?;
        let notes = self.notes()?;
        let failed = |error: io::Error| workspace_copy::failed(dir, &error);
        make_dir(dir).map_err(failed)?;
        if spec.pre_run.is_some() {
            make_dir(&notes).map_err(failed)?;
            // The workload has another user. The run's directory protects the notes.
            fs::set_permissions(&notes, fs::Permissions::from_mode(0o777)).map_err(failed)?;
        }
        // The image is checked first: if it is missing, moat pulls it and calls this function again.
        let image = self.image(spec.settings.image.name.as_deref().unwrap_or_default())?;
        let workspace = workspace_copy::workspace(dir, spec);
        if spec.settings.mounts.workspace_mode == WorkspaceMode::Volume {
            workspace_copy::make(dir, spec)?;
            workspace_copy::check_links(spec, &workspace)?;
            make_places(spec, &workspace).map_err(failed)?;
        }
        let around = create::HostPaths {
            workspace: &workspace,
            notes: &notes,
            entrypoint: model::entrypoint(&image),
        };
        create::main(spec, &around, client::version()?, &create::HERE)
    }
}

/// Creates, in a copy of the workspace, the mount points of other mounts.
fn make_places(spec: &ContainerSpec, workspace: &Path) -> io::Result<()> {
    for (target, is_dir) in create::nested_mount_points(spec, WORKSPACE) {
        let place = workspace.join(target[WORKSPACE.len()..].trim_start_matches('/'));
        if place.exists() {
            continue;
        }
        make_dir(if is_dir {
            &place
        } else {
            place.parent().unwrap_or(workspace)
        })?;
        if !is_dir {
            File::create_new(&place)?;
        }
    }
    Ok(())
}

impl Runtime for Apple {
    fn probe(&self) -> Result<String> {
        let version = client::version()?;
        // The text differs between releases; the exit code does not.
        let status = client::run(
            client::client().args(["system", "status"]),
            b"",
            Duration::from_secs(12),
        );
        match status {
            Ok(_) => Ok(version.to_string()),
            // Services that did not answer in time may still be running.
            Err(problem) if problem.is_transient() => Err(problem),
            Err(_) => Err(classify::unreachable_services(
                "'container system status' failed",
            )),
        }
    }

    fn limitation(&self) -> Option<&'static str> {
        let networks = Self::list(ResourceKind::Network);
        let none = networks.is_err_and(|problem| classify::has_no_networks(&problem));
        none.then_some(classify::NO_SERVICES_MESSAGE)
    }

    fn find_labelled(&self) -> Result<Vec<Labelled>> {
        let mut all = labelled(
            ResourceKind::Container,
            &Self::list(ResourceKind::Container)?,
        );
        match Self::list(ResourceKind::Network) {
            Err(problem) if classify::has_no_networks(&problem) => {}
            networks => all.extend(labelled(ResourceKind::Network, &networks?)),
        }
        Ok(all)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn networks(&self) -> Option<&dyn Networks> {
        Some(self)
    }

    fn services(&self) -> Option<&dyn Services> {
        Some(self)
    }

    fn commands(&self) -> Option<&dyn Commands> {
        Some(self)
    }
}

impl Containers for Apple {
    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let made = self.prepare_host_paths(spec).and_then(|request| {
            Self::create_named(&request, CREATE_TIMEOUT, &|| exists(&spec.handle))
        });
        if let (Err(RuntimeError::Unreachable(..)), Some(dir)) = (&made, &self.dir) {
            // The client did not send the request, so no later removal of a container removes this directory.
            remove_tree(dir).map_err(|error| workspace_copy::failed(dir, &error))?;
        }
        made
    }

    fn save_workspace(&self, _handle: &str, into: File) -> Result<()> {
        workspace_copy::save(self.dir()?, into)
    }

    fn pre_run_failed(&self, _handle: &str) -> Result<bool> {
        Ok(self.notes()?.join(PRE_RUN_FAILED_NOTE).exists())
    }

    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached> {
        let failed = |error: io::Error| client::failed(&error);
        let attached = match (spec.terminal, stdin) {
            (Some(size), _) => {
                let mut client = on_terminal();
                client.args(["start", "--attach", "--interactive", &spec.handle]);
                let manner = manner(&spec.handle);
                spawn_on_terminal(
                    &mut client,
                    manner,
                    size,
                    client_terminal::leave_output_alone,
                )
                .map_err(failed)?
            }
            (None, stdin) => {
                let mut client = client::client();
                client.args(["start", "--attach"]);
                match stdin {
                    Some(stdin) => client
                        .arg("--interactive")
                        .stdin(attach::feed(stdin).map_err(failed)?),
                    None => client.stdin(Stdio::null()),
                };
                attach_client(client.arg(&spec.handle), &spec.handle)?
            }
        };
        match &spec.network {
            Some(network) => open_start_gate_later(attached, &spec.handle, network),
            None => Ok(attached),
        }
    }

    fn restart_interrupted(&self, handle: &str, has_services: bool) -> Result<Option<Attached>> {
        std::thread::sleep(RETRY_DELAY);
        // After a restart of the services, the state says nothing about earlier starts; the container's log does.
        if !start::has_never_run(handle) {
            return Ok(None);
        }
        let attached = start_without_input(handle)?;
        let begun = match has_services {
            true => open_start_gate_later(attached, handle, handle),
            false => Ok(attached),
        };
        begun.map(Some)
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        handles
            .iter()
            .map(|handle| Self::inspect_one(handle))
            .collect()
    }

    fn is_at_start_gate(&self, handle: &str) -> Result<bool> {
        start::is_at_start_gate(handle)
    }

    /// A time limit, because the client may hang although the container runs.
    fn start_limit(&self) -> Option<Duration> {
        Some(start::limit())
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        let seconds = whole_seconds(grace).to_string();
        let mut client = client::client();
        client.args(["stop", "--time", &seconds, handle]);
        let began = Instant::now();
        // If the services' answer is lost, the client waits for its own timeout, which is much too long.
        let looked = Cell::new(began);
        let should_continue = || {
            if looked.get().elapsed() < STOP_POLL_INTERVAL {
                return true;
            }
            let has_ended = matches!(
                Self::inspect_one(handle),
                Ok(Inspected::Exited(_) | Inspected::Missing)
            );
            looked.set(Instant::now());
            !has_ended
        };
        match client::run_while(
            &mut client,
            b"",
            grace + scaled_timeout(STOP_TIMEOUT),
            &should_continue,
        ) {
            Ok(_) => Ok(()),
            // The container outlived its grace period, so moat kills it, whatever the client's error was.
            Err(_) if began.elapsed() >= grace && Self::is_running(handle)? => self.kill(handle),
            Err(problem) => Self::ignore_if_ended(handle, problem),
        }
    }

    fn kill(&self, handle: &str) -> Result<()> {
        match client::run(client::client().args(["kill", handle]), b"", CHANGE_TIMEOUT) {
            Ok(_) => Ok(()),
            Err(problem) => Self::ignore_if_ended(handle, problem),
        }
    }

    fn remove(&self, handle: &str) -> Result<()> {
        let removed = client::run(
            client::client().args(["delete", "--force", handle]),
            b"",
            CHANGE_TIMEOUT,
        );
        if let Err(problem) = removed
            && exists(handle)?
        {
            return Err(match problem {
                problem @ RuntimeError::Unreachable(..) => problem,
                problem => RuntimeError::Transient(problem.message().to_owned()),
            });
        }
        let Some(dir) = self.dir_of(handle) else {
            return Ok(());
        };
        if let Ok(staging) = self.staging() {
            self.remove_staging(&staging)?;
        }
        remove_tree(dir).map_err(|error| workspace_copy::failed(dir, &error))
    }
}

fn labelled(kind: ResourceKind, all: &[Value]) -> Vec<Labelled> {
    let label = |one, name| model::label(one, name).unwrap_or_default().to_owned();
    let found = all.iter().filter_map(|one| {
        Some(Labelled {
            kind,
            handle: model::id(one).to_owned(),
            id: model::id(one).to_owned(),
            home_label: model::label(one, HOME_LABEL)?.to_owned(),
            owner: ResourceOwner::of(label(one, RUN_LABEL), label(one, SESSION_LABEL)),
        })
    });
    found.collect()
}

fn exists(handle: &str) -> Result<bool> {
    Ok(Apple::inspect_one(handle)? != Inspected::Missing)
}

/// Starts a container without input.
fn start_without_input(handle: &str) -> Result<Attached> {
    let mut client = client::client();
    client.args(["start", "--attach", handle]);
    attach_client(client.stdin(Stdio::null()), handle)
}

/// Opens the start gate of a run's own container that has services, on a thread.
fn open_start_gate_later(attached: Attached, run: &str, network: &str) -> Result<Attached> {
    match start::open_start_gate(run, network, &attached) {
        Ok(()) => Ok(attached),
        Err(problem) => {
            attached.client.detach();
            Err(problem)
        }
    }
}

/// A client with a terminal.
fn on_terminal() -> Command {
    client_terminal::command(client::program().unwrap_or("container"))
}

fn manner(handle: &str) -> Box<attach::AppleAttachMessages> {
    Box::new(attach::AppleAttachMessages {
        handle: handle.to_owned(),
    })
}

/// Starts a client that carries a container's output.
fn attach_client(client: &mut Command, handle: &str) -> Result<Attached> {
    spawn(client, manner(handle), StreamBytes::default()).map_err(|error| client::failed(&error))
}
