//! The public settings of a run, in groups: what a plan, a record and a container's specification share.
//!
//! No group contains the value of a variable or the place of a secret. The JSON of all groups is flat, so that a
//! setting can move to another group. A record of schema 1 lacks some fields; these have defaults.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The public settings of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RunSettings {
    #[serde(flatten)]
    pub(crate) identity: IdentitySettings,
    #[serde(flatten)]
    pub(crate) image: ImageSettings,
    #[serde(flatten)]
    pub(crate) mounts: MountSettings,
    #[serde(flatten)]
    pub(crate) network: NetworkSettings,
    #[serde(flatten)]
    pub(crate) limits: LimitSettings,
    #[serde(flatten)]
    pub(crate) io: IoSettings,
    /// Empty: the image's own command.
    pub(crate) command: Vec<String>,
}

/// Where a run belongs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct IdentitySettings {
    pub(crate) runtime: String,
    /// The settings that choose the engine, as environment variables; all others are unset.
    pub(crate) engine: Vec<(String, String)>,
    /// The session of the run; `moat down` ends its runs.
    #[serde(default)]
    pub(crate) session: Option<RunSession>,
    /// The workload's user; 0 in a record of schema 1.
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
}

/// A run's place in a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct RunSession {
    pub(crate) key: String,
    pub(crate) incarnation: String,
    /// The network of the session's services, if the run is on it.
    pub(crate) network: Option<String>,
    /// The networks of the session's compose services that the run is on.
    pub(crate) compose_networks: Vec<String>,
    /// The services whose variables the run has.
    pub(crate) services: Vec<String>,
}

/// The root filesystem of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ImageSettings {
    #[serde(rename = "image")]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    /// The root filesystem of a sandbox, if it is not this system's.
    #[serde(default)]
    pub(crate) rootfs: Option<PathBuf>,
    /// Whether moat builds or pulls the image again.
    #[serde(default)]
    pub(crate) rebuild: bool,
}

/// A dependency of the project that the image contains.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None`: the newest version, or the distribution's.
    pub(crate) version: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The dependency that requires this one, if the project does not name it.
    pub(crate) required_by: Option<String>,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        match &self.required_by {
            Some(because) => write!(f, " (required by {because})"),
            None => Ok(()),
        }
    }
}

/// The directories of the host that a workload sees, and the empty ones.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct MountSettings {
    pub(crate) workspace: PathBuf,
    #[serde(default)]
    pub(crate) workspace_mode: WorkspaceMode,
    /// The working directory of the command; `None`: the workspace.
    #[serde(default)]
    pub(crate) workdir: Option<String>,
    #[serde(rename = "mounts")]
    pub(crate) binds: Vec<BindMount>,
    /// Empty directories in memory, which belong to the workload's user.
    #[serde(default)]
    pub(crate) tmpfs: Vec<String>,
    /// Paths of the container that an empty directory hides.
    #[serde(default)]
    pub(crate) hidden: Vec<String>,
}

/// How the workload sees the workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkspaceMode {
    /// The directory itself.
    #[default]
    Bind,
    /// A copy; the directory stays unchanged.
    Volume,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct BindMount {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) readonly: bool,
}

/// What a workload reaches, and what reaches it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct NetworkSettings {
    /// The published ports; host ports that the engine chooses are known once the workload runs.
    #[serde(default)]
    pub(crate) ports: Vec<PublishedPort>,
    /// The name servers; empty: the engine's.
    #[serde(default)]
    pub(crate) dns: Vec<IpAddr>,
}

/// A container port that is published on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct PublishedPort {
    pub(crate) name: String,
    pub(crate) container: u16,
    /// Not set: the engine chooses a free port.
    pub(crate) host: Option<u16>,
}

/// The limits of a run: what the workload may use, and how long the run and its container exist.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct LimitSettings {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    /// The maximum number of processes and threads. Not set: enough for builds, too few for a fork bomb.
    #[serde(default)]
    pub(crate) pids: Option<u32>,
    /// The size of `/dev/shm`; `None`: the runtime's.
    #[serde(default)]
    pub(crate) shm_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) ulimits: Vec<Ulimit>,
    /// The limit for the command, from its start.
    pub(crate) timeout_seconds: Option<f64>,
    /// The limit for everything before the command: image, services, container.
    #[serde(default)]
    pub(crate) start_timeout_seconds: Option<f64>,
    /// Whether the container stays when the run has ended.
    pub(crate) keep: bool,
}

impl LimitSettings {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.timeout_seconds?).ok()
    }

    pub(crate) fn start_timeout(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.start_timeout_seconds?).ok()
    }
}

/// A resource limit of each process; `None`: unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// What connects a run with its user.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct IoSettings {
    pub(crate) background: bool,
    pub(crate) interactive: bool,
}
