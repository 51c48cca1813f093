//! The record of a session: `sessions/KEY.json`.
//!
//! The holder of the session's operation lock is the only writer ([`super::Claim`]). The record is also the journal:
//! a resource is in it before it is made, with the operation that makes it, so that a crash at any point leaves a
//! list of all resources to remove.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::ProcessIdentity;
use super::run_record::ResourceStage;
use super::session_compose::{ComposeService, SessionCompose};
use super::time::Timestamp;

/// The variable that marks the processes of sessions.
pub(crate) const PROCESS_MARK_VARIABLE: &str = "MOAT_PROCESS";

/// The file of variables in the worktree of a session, for tools that read `.env`-style files.
pub(crate) const VARIABLES_FILE: &str = ".env.moat";

/// The schema version that this program writes.
pub(super) const SCHEMA: u32 = 1;

/// The record of one session: a branch of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) schema: u32,
    /// The name of its files.
    pub(crate) key: String,
    /// The incarnation: a random word that is unique, even among sessions of the same branch.
    pub(crate) incarnation: String,
    /// The directory that all worktrees of the repository share (`git rev-parse --git-common-dir`).
    pub(crate) repository: PathBuf,
    /// The main checkout, in which hooks before and after the worktree's life run.
    pub(crate) main: PathBuf,
    pub(crate) branch: String,
    pub(crate) status: SessionStatus,
    /// Counted from 1; unique in this home.
    pub(crate) slot: u16,
    /// The operation under way. Not set: none is.
    pub(crate) operation: Option<Operation>,
    /// The reason why the session is broken.
    pub(crate) error: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) worktree: Worktree,
    pub(crate) files: Vec<CreatedFile>,
    pub(crate) ports: Vec<SessionPort>,
    pub(crate) processes: Vec<SessionProcess>,
    #[serde(default)]
    pub(crate) services: SessionServices,
    /// Not set: the session has no compose services.
    pub(crate) compose: Option<SessionCompose>,
    pub(crate) hooks: SessionHooks,
    /// The tmux session with the windows of its processes, if there is one.
    pub(crate) tmux: Option<Tmux>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionStatus {
    /// `up` is under way or was abandoned.
    Provisioning,
    Active,
    /// `down` is under way or was abandoned.
    Stopping,
    /// Stopped by `down --keep`; slot, ports and worktree are kept.
    Stopped,
    /// A resource could not be removed.
    #[serde(other)]
    Broken,
}

impl SessionStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            SessionStatus::Provisioning => "provisioning",
            SessionStatus::Active => "active",
            SessionStatus::Stopping => "stopping",
            SessionStatus::Stopped => "stopped",
            SessionStatus::Broken => "broken",
        }
    }
}

/// A command that changes a session, for the duration of the command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Operation {
    /// Unique; its resources carry it.
    pub(crate) id: String,
    pub(crate) kind: OpKind,
    pub(crate) since: Timestamp,
    pub(crate) owner: Option<ProcessIdentity>,
    /// The previous status. Not set: this operation created the session.
    #[serde(alias = "before")]
    pub(crate) previous_status: Option<SessionStatus>,
    /// Of a `down`: whether slot, ports and worktree are kept.
    pub(crate) keep: bool,
    /// Of a `down`: whether the worktree is removed if it holds no work.
    pub(crate) remove_worktree: bool,
    /// Of a `down`: whether the worktree is removed in any case.
    #[serde(default)]
    pub(crate) force: bool,
}

/// The options of a `down`, which are in the record from its first write on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DownOptions {
    pub(crate) keep: bool,
    pub(crate) remove_worktree: bool,
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OpKind {
    Up,
    Down,
}

impl OpKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            OpKind::Up => "up",
            OpKind::Down => "down",
        }
    }
}

/// The directory in which the branch is checked out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Worktree {
    pub(crate) path: PathBuf,
    /// Whether moat created it, now or for an earlier session. A foreign worktree is never removed.
    #[serde(alias = "ours")]
    pub(crate) created_by_moat: bool,
    pub(crate) stage: ResourceStage,
    /// The operation that created it.
    pub(crate) operation: Option<String>,
    /// The commit at which that operation created the branch, if it did.
    pub(crate) new_branch: Option<String>,
}

/// A file or directory that was created in the worktree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct CreatedFile {
    /// Relative to the worktree.
    pub(crate) path: PathBuf,
    #[serde(alias = "how")]
    pub(crate) kind: CreatedFileKind,
    /// The source of a copy, or the target of a link.
    pub(crate) source: Option<PathBuf>,
    pub(crate) operation: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CreatedFileKind {
    /// The variables of the session, written by moat.
    Variables,
    /// A copy of a file or a directory. It has its name only once it is complete.
    #[serde(alias = "tree")]
    Copy,
    Link,
}

/// A port of the host that belongs to the session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionPort {
    /// The process that listens on it.
    #[serde(alias = "process")]
    pub(crate) name: String,
    /// The variables that contain it, including the process's own ones.
    pub(crate) variables: Vec<String>,
    /// The port of slot 0, as configured.
    pub(crate) base: u16,
    pub(crate) port: u16,
    /// The container port behind a service's port.
    #[serde(default)]
    pub(crate) container: Option<u16>,
    /// Whether a compose service has it.
    #[serde(default, alias = "of_compose")]
    pub(crate) from_compose: bool,
    pub(crate) primary: bool,
    /// Whether the other processes see its variables.
    pub(crate) published: bool,
    /// Whether `--port` chose it.
    pub(crate) pinned: bool,
}

/// A process of the host that belongs to the session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionProcess {
    pub(crate) name: String,
    /// Empty for an adopted process that the user started by hand.
    pub(crate) command: String,
    pub(crate) stage: ResourceStage,
    pub(crate) operation: String,
    /// Whether a process with this name existed before that operation.
    #[serde(default, alias = "again")]
    pub(crate) existed_before: bool,
    /// The monitor that holds its pipes and writes its log.
    #[serde(alias = "keeper")]
    pub(crate) monitor: Option<ProcessIdentity>,
    /// The leader of its process group, which has the command's pid.
    pub(crate) process: Option<ProcessIdentity>,
    pub(crate) started_at: Option<Timestamp>,
}

/// The services of a session and their engine, recorded before the first one is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionServices {
    /// Empty: the session has no services.
    pub(crate) runtime: String,
    /// The settings that choose the engine, as environment variables.
    pub(crate) engine: Vec<(String, String)>,
    pub(crate) list: Vec<SessionService>,
}

/// A container that belongs to the session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionService {
    pub(crate) name: String,
    /// Its name in the registry.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) handle: String,
    /// The hash of the settings that it was made with.
    #[serde(alias = "settings")]
    pub(crate) settings_hash: String,
    pub(crate) stage: ResourceStage,
    /// The operation that created it, and the one that started it last.
    pub(crate) operation: String,
    /// Whether a service with this name existed before it was created.
    #[serde(default, alias = "again")]
    pub(crate) existed_before: bool,
    pub(crate) started_by: String,
    /// Not set: it has not been ready since its last start.
    pub(crate) ready_at: Option<Timestamp>,
    /// The published variables. They contain passwords and are not part of the record.
    #[serde(skip)]
    pub(crate) variables: Vec<(String, String)>,
}

/// A tmux session that was made or was about to be made. It is identified by the incarnation in one of its options.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Tmux {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) operation: String,
}

/// The hooks that a `down` needs, as they were at `up`: later edits change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionHooks {
    pub(crate) pre_down: Option<String>,
    pub(crate) post_down: Option<String>,
    pub(crate) timeout_seconds: u64,
}

impl Session {
    /// The value of [`PROCESS_MARK_VARIABLE`] in the environment of its processes: INCARNATION/NAME.
    pub(crate) fn mark(&self, process: &str) -> String {
        format!("{}/{process}", self.incarnation)
    }

    /// Whether the session is this branch's: another branch may have the same key, which contains 32 bits of each
    /// hash.
    pub(crate) fn is_for_branch(&self, repository: &Path, branch: &str) -> bool {
        self.repository == repository && self.branch == branch
    }

    /// Whether a run can start in it. Not during an operation, which may roll back or remove it.
    pub(crate) fn accepts_runs(&self) -> bool {
        let was_up =
            |operation: &Operation| operation.previous_status == Some(SessionStatus::Active);
        match self.status {
            SessionStatus::Active => true,
            SessionStatus::Provisioning => self.operation.as_ref().is_some_and(was_up),
            _ => false,
        }
    }

    /// The primary port of a process.
    pub(crate) fn primary_port(&self, process: &str) -> Option<&SessionPort> {
        self.ports_of(process).find(|port| port.primary)
    }

    /// The ports of a process or a service.
    pub(crate) fn ports_of(&self, name: &str) -> impl Iterator<Item = &SessionPort> {
        self.ports.iter().filter(move |port| port.name == name)
    }

    /// The operation under way.
    pub(crate) fn operation_id(&self) -> Option<&str> {
        Some(&self.operation.as_ref()?.id)
    }

    pub(crate) fn compose_services(&self) -> &[ComposeService] {
        let compose = self.compose.as_ref();
        compose.map_or(&[], |compose| &compose.services)
    }

    /// Whether none of its members is expected to run.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty()
            && self.services.list.is_empty()
            && self.compose_services().is_empty()
    }

    pub(crate) fn service(&self, name: &str) -> Option<&SessionService> {
        let mut services = self.services.list.iter();
        services.find(|service| service.name == name)
    }

    pub(crate) fn process_mut(&mut self, name: &str) -> Option<&mut SessionProcess> {
        let mut processes = self.processes.iter_mut();
        processes.find(|process| process.name == name)
    }

    /// Adds a process, in the place of an earlier one with this name.
    pub(crate) fn put_process(&mut self, process: SessionProcess) {
        self.processes.retain(|other| other.name != process.name);
        self.processes.push(process);
    }

    pub(crate) fn process(&self, name: &str) -> Option<&SessionProcess> {
        self.processes.iter().find(|process| process.name == name)
    }
}
