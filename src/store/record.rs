//! What is known of a run: `run.json`.
//!
//! The schema has a version. A record of a newer version is read (unknown fields and words are
//! tolerated) but never written. The supervisor that holds the run's owner lock is the only writer.

use std::path::PathBuf;

use serde::Serialize;

use super::id::{Name, RunId};
use super::time::Timestamp;
use crate::json::{reads, words};

/// The version that this program writes.
pub(crate) const SCHEMA: u32 = 1;

/// The record of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    pub(crate) id: RunId,
    pub(crate) name: Name,
    pub(crate) state: State,
    pub(crate) runtime: String,
    /// The settings that chose the engine, as environment variables; the others were unset.
    pub(crate) engine: Vec<(String, String)>,
    pub(crate) image: Option<String>,
    pub(crate) workspace: PathBuf,
    /// The session that it is in: that takes it along when it is taken down.
    pub(crate) session: Option<RunSession>,
    pub(crate) command: Vec<String>,
    /// Names only: values are never written to disk.
    pub(crate) env: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    /// Those of the project: `PROJECT/NAME`.
    pub(crate) volumes: Vec<String>,
    /// As they are known: those of the host when the workload runs.
    pub(crate) ports: Vec<Port>,
    pub(crate) workspace_mode: WorkspaceMode,
    /// Whether a script runs before the command.
    pub(crate) pre_run: bool,
    pub(crate) background: bool,
    pub(crate) interactive: bool,
    /// Whether the workload has a terminal; then its output is one stream.
    pub(crate) terminal: bool,
    pub(crate) keep: bool,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) timeout_seconds: Option<f64>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// When the last resource was gone. Not set: something may be left.
    pub(crate) cleaned_at: Option<Timestamp>,
    /// The workload's own code. Not set: it never ran, or the code cannot be known.
    pub(crate) exit_code: Option<u8>,
    pub(crate) reason: Option<Reason>,
    pub(crate) oom_killed: bool,
    /// Why the run failed, where the exit code does not say it.
    pub(crate) error: Option<String>,
    pub(crate) log: LogState,
    /// The sidecars.
    pub(crate) services: Vec<Service>,
    pub(crate) resources: Vec<Resource>,
}

reads!(Record {
    schema,
    id,
    name,
    state,
    runtime,
    engine,
    image,
    workspace,
    session: default,
    command,
    env,
    mounts,
    volumes: default,
    ports: default,
    workspace_mode: default,
    pre_run: default,
    background,
    interactive,
    terminal: default,
    keep,
    memory_bytes,
    cpus,
    timeout_seconds,
    created_at,
    started_at,
    finished_at,
    cleaned_at,
    exit_code,
    reason,
    oom_killed,
    error,
    log,
    services: default,
    resources
});

/// A run's place in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RunSession {
    pub(crate) key: String,
    pub(crate) incarnation: String,
    /// That of its services, if the run is on it.
    pub(crate) network: Option<String>,
    /// Those of the services of its compose file that the run is on.
    pub(crate) compose_networks: Vec<String>,
    /// Those that the run is told of.
    pub(crate) services: Vec<String>,
}

reads!(RunSession {
    key,
    incarnation,
    network,
    compose_networks,
    services
});

impl Record {
    /// Whether nothing is left of what the run made.
    pub(crate) fn is_clean(&self) -> bool {
        let removed = |resource: &Resource| resource.stage == Stage::Removed;
        self.cleaned_at.is_some() && self.resources.iter().all(removed)
    }

    /// Whether what the workload left in its copy of the workspace may be nowhere but where it worked.
    pub(crate) fn has_unsaved_copy(&self) -> bool {
        let worked = self.workspace_mode == WorkspaceMode::Volume && self.started_at.is_some();
        worked && self.cleaned_at.is_none()
    }

    /// The exit code of `moat run` and `moat wait` for this run, once it has ended.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.reason, self.exit_code) {
            (Some(Reason::Timeout), _) => 124,
            (_, Some(code)) => code,
            // Ended before it started.
            (Some(Reason::UserStop), None) => 143,
            (Some(Reason::Killed), None) => 137,
            (_, None) => 125,
        }
    }
}

/// What is known of a sidecar.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    /// What it is called in this run; its host name, too.
    pub(crate) name: String,
    /// What it is called in the registry.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) handle: String,
    pub(crate) ports: Vec<ServicePort>,
    /// Names only.
    pub(crate) env: Vec<String>,
    /// What succeeds inside when it can be used, and how long that may take.
    pub(crate) ready: Vec<String>,
    pub(crate) ready_seconds: f64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) restart: bool,
    pub(crate) state: ServiceState,
    /// When it started last, and since when it has been ready.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ready_at: Option<Timestamp>,
    /// When it ended last.
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) exit_code: Option<u8>,
    pub(crate) oom_killed: bool,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// Why it could not be used.
    pub(crate) error: Option<String>,
    pub(crate) log: LogState,
}

reads!(Service {
    name,
    service,
    version,
    image,
    handle,
    ports,
    env,
    ready,
    ready_seconds,
    memory_bytes,
    cpus,
    restart,
    state,
    started_at,
    ready_at,
    ended_at,
    exit_code,
    oom_killed,
    restarts,
    error,
    log
});

/// A port that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u16,
}

reads!(ServicePort { name, port });

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceState {
    /// It is to be made.
    Created,
    /// It runs, and cannot be used yet.
    Starting,
    /// It can be used.
    Ready,
    /// It ended while it was needed, or never could be used.
    Failed,
    /// It was ended with its run.
    Stopped,
    Unknown,
}

words!(ServiceState {
    Created: "created",
    Starting: "starting",
    Ready: "ready",
    Failed: "failed",
    Stopped: "stopped",
    Unknown: "unknown",
    ..Unknown
});

/// Where a run is in its life. The last two are terminal and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    /// A state of a newer version.
    Unknown,
}

words!(State {
    Created: "created",
    Starting: "starting",
    Running: "running",
    Stopping: "stopping",
    Stopped: "stopped",
    Failed: "failed",
    Unknown: "unknown",
    ..Unknown
});

impl State {
    pub(crate) const ALL: [State; 6] = [
        State::Created,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Stopped,
        State::Failed,
    ];

    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, State::Stopped | State::Failed)
    }

    pub(crate) fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The workload ended by itself.
    Exited,
    /// Somebody stopped it.
    UserStop,
    /// Somebody killed it.
    Killed,
    /// `--timeout` expired.
    Timeout,
    /// The kernel killed it for want of memory.
    Oom,
    /// It could not be started.
    StartError,
    /// The script before the command failed; the code is its own.
    HookFailed,
    /// Its container vanished, or its end cannot be known.
    Lost,
    Unknown,
}

words!(Reason {
    Exited: "exited",
    UserStop: "user-stop",
    Killed: "killed",
    Timeout: "timeout",
    Oom: "oom",
    StartError: "start-error",
    HookFailed: "hook-failed",
    Lost: "lost",
    Unknown: "unknown",
    ..Unknown
});

/// Whether the log holds all that the workload wrote, and if not, since when and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LogState {
    pub(crate) complete: bool,
    pub(crate) missing_since: Option<Timestamp>,
    pub(crate) missing_why: Option<String>,
}

reads!(LogState {
    complete,
    missing_since,
    missing_why
});

impl LogState {
    pub(crate) fn complete() -> LogState {
        LogState {
            complete: true,
            ..LogState::default()
        }
    }

    /// Keeps the first gap: "complete until then" is what a reader needs to know.
    pub(crate) fn mark_missing(&mut self, since: Timestamp, why: &str) {
        if self.complete {
            *self = LogState {
                complete: false,
                missing_since: Some(since),
                missing_why: Some(why.to_owned()),
            };
        }
    }
}

/// How the workload sees the workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WorkspaceMode {
    /// The directory itself.
    #[default]
    Bind,
    /// A copy of it; the directory stays as it is.
    Volume,
}

words!(WorkspaceMode {
    Bind: "bind",
    Volume: "volume"
});

/// A port of the container that is published on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) container: u16,
    /// Not set: the engine chooses one that is free.
    pub(crate) host: Option<u16>,
}

reads!(Port {
    name,
    container,
    host
});

/// One bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) readonly: bool,
}

reads!(Mount {
    source,
    target,
    readonly
});

/// An entry of the journal: something that a run makes, and must unmake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resource {
    pub(crate) kind: ResourceKind,
    /// What the runtime calls it. Chosen by moat, so that it is known before it exists.
    pub(crate) handle: String,
    pub(crate) stage: Stage,
}

reads!(Resource {
    kind,
    handle,
    stage
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Container,
    Network,
    Unknown,
}

words!(ResourceKind {
    Container: "container",
    Network: "network",
    Unknown: "unknown",
    ..Unknown
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// About to be made: it may or may not exist.
    Intent,
    Made,
    Removed,
    Unknown,
}

words!(Stage {
    Intent: "intent",
    Made: "made",
    Removed: "removed",
    Unknown: "unknown",
    ..Unknown
});
