//! What is known of a session: `sessions/KEY.json`.
//!
//! Whoever holds the session's operation lock is the only writer ([`super::Claim`]). The record is also the
//! journal: what is to be made stands in it before it is made, together with the operation that makes it, so
//! that a crash at any point leaves a list of all that may have to be removed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::ProcessIdentity;
use super::run_record::ResourceStage;
use super::session_compose::SessionCompose;
use super::time::Timestamp;

/// The variable that marks the processes of sessions.
pub(crate) const MARK: &str = "MOAT_PROCESS";

/// The version that this program writes.
pub(super) const SCHEMA: u32 = 1;

/// The record of one session: a branch of a repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Session {
    pub(crate) schema: u32,
    /// What its files are called.
    pub(crate) key: String,
    /// A word that no other session has or had, not even one of the same branch.
    pub(crate) incarnation: String,
    /// The directory that all worktrees of the repository share (`git rev-parse --git-common-dir`).
    pub(crate) repository: PathBuf,
    /// The main checkout, where hooks before and after the worktree run.
    pub(crate) main: PathBuf,
    pub(crate) branch: String,
    pub(crate) status: SessionStatus,
    /// From 1 on; no other session of this home has the same.
    pub(crate) slot: u16,
    /// What is being done to it. Not set: nothing is.
    pub(crate) operation: Option<Operation>,
    /// Why it is broken.
    pub(crate) error: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) worktree: Worktree,
    pub(crate) files: Vec<CreatedFile>,
    pub(crate) ports: Vec<SessionPort>,
    pub(crate) processes: Vec<SessionProcess>,
    #[serde(default)]
    pub(crate) services: SessionServices,
    /// Not set: it has no services from a compose file.
    pub(crate) compose: Option<SessionCompose>,
    pub(crate) hooks: SessionHooks,
    /// Where the windows of its processes are, if they have some.
    pub(crate) tmux: Option<Tmux>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionStatus {
    /// Being brought up, or abandoned while it was.
    Provisioning,
    Active,
    /// Being taken down, or abandoned while it was.
    Stopping,
    /// Nothing runs; slot, ports and worktree are kept.
    Stopped,
    /// Something could not be removed.
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

/// A command that changes a session, for as long as it takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Operation {
    /// Unique; what it makes carries it.
    pub(crate) id: String,
    pub(crate) kind: OpKind,
    pub(crate) since: Timestamp,
    pub(crate) owner: Option<ProcessIdentity>,
    /// The status before. Not set: this operation made the session.
    pub(crate) before: Option<SessionStatus>,
    /// Of a `down`: whether slot, ports and worktree are kept.
    pub(crate) keep: bool,
    /// Of a `down`: whether the worktree is removed, if there is no work in it.
    pub(crate) remove_worktree: bool,
    /// Of a `down`: whether it is removed whatever is in it.
    #[serde(default)]
    pub(crate) force: bool,
}

/// What a `down` is to do, which has to be in the record with its first word.
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

/// The directory where the branch is checked out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Worktree {
    pub(crate) path: PathBuf,
    /// Whether moat made it, now or for an earlier session. What is not ours is never removed.
    pub(crate) ours: bool,
    pub(crate) stage: ResourceStage,
    /// The operation that made it.
    pub(crate) operation: Option<String>,
    /// The commit at which that operation made the branch, if it did.
    pub(crate) new_branch: Option<String>,
}

/// A file that was put into the worktree.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CreatedFile {
    /// Relative to the worktree.
    pub(crate) path: PathBuf,
    pub(crate) how: CreatedFileKind,
    /// What it is a copy of, or a link to.
    pub(crate) source: Option<PathBuf>,
    pub(crate) operation: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CreatedFileKind {
    /// The variables of the session, written by moat.
    Variables,
    Copy,
    Link,
}

/// A port of the host that belongs to the session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SessionPort {
    /// The process that listens on it.
    pub(crate) process: String,
    /// The variables that tell of it, the process's own names included.
    pub(crate) variables: Vec<String>,
    /// The port of slot 0, as configured.
    pub(crate) base: u16,
    pub(crate) port: u16,
    /// The port of the container that it leads to, if it is a service's.
    #[serde(default)]
    pub(crate) container: Option<u16>,
    /// Whether it is that of a service of a compose file.
    #[serde(default)]
    pub(crate) of_compose: bool,
    pub(crate) primary: bool,
    /// Whether others than the process are told of it.
    pub(crate) published: bool,
    /// Whether `--port` chose it.
    pub(crate) pinned: bool,
}

/// A process of the host that belongs to the session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SessionProcess {
    pub(crate) name: String,
    /// Empty for one that was started by hand.
    pub(crate) command: String,
    pub(crate) stage: ResourceStage,
    pub(crate) operation: String,
    /// Whether there was one of its name before that operation.
    #[serde(default)]
    pub(crate) again: bool,
    /// Who holds its pipes and writes its log.
    pub(crate) keeper: Option<ProcessIdentity>,
    /// The leader of its process group, which has the command's pid.
    pub(crate) process: Option<ProcessIdentity>,
    pub(crate) started_at: Option<Timestamp>,
}

/// The services of a session, and where they run. That something may have been made there is known before it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SessionServices {
    /// Empty: it has none.
    pub(crate) runtime: String,
    /// The settings that choose the engine, as environment variables.
    pub(crate) engine: Vec<(String, String)>,
    pub(crate) list: Vec<SessionService>,
}

/// A container that belongs to the session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SessionService {
    pub(crate) name: String,
    /// What it is called in the registry.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) handle: String,
    /// What tells whether it would be made the same way now.
    pub(crate) settings: String,
    pub(crate) stage: ResourceStage,
    /// The operation that made it, and the one that started it last.
    pub(crate) operation: String,
    /// Whether there was one of its name before it was made.
    #[serde(default)]
    pub(crate) again: bool,
    pub(crate) started_by: String,
    /// Not set: it has not been ready since it was started last.
    pub(crate) ready_at: Option<Timestamp>,
    /// What others are told of it. There are passwords among this, so the record does not have it.
    #[serde(skip)]
    pub(crate) variables: Vec<(String, String)>,
}

/// A session of tmux that was made, or was to be made. Which one it is tells the incarnation, which is an option of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Tmux {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) operation: String,
}

/// The scripts that a `down` needs, as they were at `up`: a file that was edited meanwhile changes nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SessionHooks {
    pub(crate) pre_down: Option<String>,
    pub(crate) post_down: Option<String>,
    pub(crate) timeout_seconds: u64,
}

impl Session {
    /// What the environment of each of its processes carries as its [`MARK`]: INCARNATION/NAME.
    pub(crate) fn mark(&self, process: &str) -> String {
        format!("{}/{process}", self.incarnation)
    }

    /// Whether it is this branch's: another one may have the same key, which has 32 bits of each.
    pub(crate) fn is_of(&self, repository: &Path, branch: &str) -> bool {
        self.repository == repository && self.branch == branch
    }

    /// Whether a run can begin in it. Not while it is made, as that may be taken back, or taken down.
    pub(crate) fn takes_runs(&self) -> bool {
        let was_up = |operation: &Operation| operation.before == Some(SessionStatus::Active);
        match self.status {
            SessionStatus::Active => true,
            SessionStatus::Provisioning => self.operation.as_ref().is_some_and(was_up),
            _ => false,
        }
    }

    /// The port that a process listens on first of all.
    pub(crate) fn primary_port(&self, process: &str) -> Option<&SessionPort> {
        let is_it = |port: &&SessionPort| port.primary && port.process == process;
        self.ports.iter().find(is_it)
    }

    /// Whether nothing of it is meant to run.
    pub(crate) fn is_empty(&self) -> bool {
        let compose = self.compose.iter();
        self.processes.is_empty()
            && self.services.list.is_empty()
            && compose
                .flat_map(|compose| &compose.services)
                .next()
                .is_none()
    }

    pub(crate) fn service(&self, name: &str) -> Option<&SessionService> {
        let mut services = self.services.list.iter();
        services.find(|service| service.name == name)
    }

    pub(crate) fn process(&self, name: &str) -> Option<&SessionProcess> {
        self.processes.iter().find(|process| process.name == name)
    }
}
