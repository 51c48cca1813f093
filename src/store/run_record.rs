//! The record of a run: `run.json`.
//!
//! The schema has a version. A record of a newer version is read (unknown fields and words are tolerated) but never
//! written. The supervisor that holds the run's owner lock is the only writer.

use serde::{Deserialize, Serialize};

use super::id::{RunId, RunName};
use super::run_settings::{RunSettings, WorkspaceMode};
use super::time::Timestamp;

/// The schema version that this program writes.
pub(crate) const SCHEMA: u32 = 2;

/// The record of one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RunRecord {
    pub(crate) schema: u32,
    pub(crate) id: RunId,
    pub(crate) name: RunName,
    pub(crate) state: RunState,
    /// What the user asked for; host ports that the engine chooses are known once the workload runs.
    #[serde(flatten)]
    pub(crate) settings: RunSettings,
    /// Names only: values are never written to disk.
    pub(crate) env: Vec<String>,
    /// The project's volumes: `PROJECT/NAME`.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    /// Whether a script runs before the command.
    #[serde(default)]
    pub(crate) pre_run: bool,
    /// Whether the workload has a terminal; its output is then one stream.
    #[serde(default)]
    pub(crate) terminal: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// The time at which the last resource was removed. Not set: resources may remain.
    pub(crate) cleaned_at: Option<Timestamp>,
    /// The workload's own exit code. Not set: it never ran, or the code is unknown.
    pub(crate) exit_code: Option<u8>,
    pub(crate) reason: Option<EndReason>,
    pub(crate) oom_killed: bool,
    /// The reason for a failure that the exit code does not express.
    pub(crate) error: Option<String>,
    pub(crate) log: LogState,
    /// The sidecars.
    #[serde(default)]
    pub(crate) services: Vec<ServiceRecord>,
    pub(crate) resources: Vec<Resource>,
}

impl RunRecord {
    /// Whether no resource of the run is left.
    pub(crate) fn is_clean(&self) -> bool {
        let removed = |resource: &Resource| resource.stage == ResourceStage::Removed;
        self.cleaned_at.is_some() && self.resources.iter().all(removed)
    }

    /// Whether the workload's copy of the workspace may exist only in the container.
    pub(crate) fn has_unsaved_copy(&self) -> bool {
        let worked = self.settings.mounts.workspace_mode == WorkspaceMode::Volume
            && self.started_at.is_some();
        worked && self.cleaned_at.is_none()
    }

    /// The exit code of `moat run` and `moat wait` for this run, once it has ended.
    pub(crate) fn exit_status(&self) -> u8 {
        match (self.reason, self.exit_code) {
            (Some(EndReason::Timeout), _) => 124,
            (_, Some(code)) => code,
            // The run was ended before it started.
            (Some(EndReason::UserStop), None) => 143,
            (Some(EndReason::Killed), None) => 137,
            (_, None) => 125,
        }
    }
}

/// The record of a sidecar.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ServiceRecord {
    /// Its name in this run, which is also its host name.
    pub(crate) name: String,
    /// Its name in the registry.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) handle: String,
    pub(crate) ports: Vec<ServicePort>,
    /// Names only.
    pub(crate) env: Vec<String>,
    /// The readiness command and its timeout.
    pub(crate) ready: Vec<String>,
    pub(crate) ready_seconds: f64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) restart: bool,
    pub(crate) state: ServiceState,
    /// The time of the last start, and of readiness since then.
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ready_at: Option<Timestamp>,
    /// The time of the last exit.
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) exit_code: Option<u8>,
    pub(crate) oom_killed: bool,
    /// The number of restarts.
    pub(crate) restarts: u32,
    /// The reason why it failed.
    pub(crate) error: Option<String>,
    pub(crate) log: LogState,
}

/// A port that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// The state of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServiceState {
    /// Not created yet.
    Created,
    /// Running, but not ready.
    Starting,
    /// Ready.
    Ready,
    /// Exited unexpectedly, or never became ready.
    Failed,
    /// Ended with its run.
    Stopped,
    #[serde(other)]
    Unknown,
}

impl ServiceState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ServiceState::Created => "created",
            ServiceState::Starting => "starting",
            ServiceState::Ready => "ready",
            ServiceState::Failed => "failed",
            ServiceState::Stopped => "stopped",
            ServiceState::Unknown => "unknown",
        }
    }
}

/// The state of a run. `stopped` and `failed` are final and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunState {
    Created,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    /// A state of a newer version.
    #[serde(other)]
    Unknown,
}

impl RunState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RunState::Created => "created",
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Stopping => "stopping",
            RunState::Stopped => "stopped",
            RunState::Failed => "failed",
            RunState::Unknown => "unknown",
        }
    }
}

impl RunState {
    pub(crate) const ALL: [RunState; 6] = [
        RunState::Created,
        RunState::Starting,
        RunState::Running,
        RunState::Stopping,
        RunState::Stopped,
        RunState::Failed,
    ];

    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, RunState::Stopped | RunState::Failed)
    }

    pub(crate) fn parse(word: &str) -> Option<RunState> {
        RunState::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// The reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EndReason {
    /// The workload exited by itself.
    Exited,
    /// The user stopped it.
    UserStop,
    /// The user killed it.
    Killed,
    /// `--timeout` expired.
    Timeout,
    /// The kernel killed it because it ran out of memory.
    Oom,
    /// It could not be started.
    StartError,
    /// The script before the command failed; the exit code is the script's.
    HookFailed,
    /// Its container vanished, or its exit is unknown.
    Lost,
    #[serde(other)]
    Unknown,
}

impl EndReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            EndReason::Exited => "exited",
            EndReason::UserStop => "user-stop",
            EndReason::Killed => "killed",
            EndReason::Timeout => "timeout",
            EndReason::Oom => "oom",
            EndReason::StartError => "start-error",
            EndReason::HookFailed => "hook-failed",
            EndReason::Lost => "lost",
            EndReason::Unknown => "unknown",
        }
    }
}

/// Whether the log has all output of the workload, and if not, since when and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct LogState {
    pub(crate) complete: bool,
    pub(crate) missing_since: Option<Timestamp>,
    pub(crate) missing_why: Option<String>,
}

impl LogState {
    pub(crate) fn complete() -> LogState {
        LogState {
            complete: true,
            ..LogState::default()
        }
    }

    /// Records the first gap: readers need to know until when the log is complete.
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

/// A journal entry: a resource that a run makes and must remove.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Resource {
    pub(crate) kind: ResourceKind,
    /// The resource's handle. moat chooses it, so that it is known before the resource exists.
    pub(crate) handle: String,
    pub(crate) stage: ResourceStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResourceKind {
    Container,
    Network,
    #[serde(other)]
    Unknown,
}

impl ResourceKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ResourceKind::Container => "container",
            ResourceKind::Network => "network",
            ResourceKind::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResourceStage {
    /// About to be made: the resource may or may not exist.
    Intent,
    Made,
    Removed,
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::store::{OpKind, SessionStatus, Stream};

    /// The derived JSON and `as_str` must name each variant alike.
    fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, word: &str) {
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, format!("{word:?}"));
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
    }

    #[test]
    fn words_are_the_same_in_json_and_in_text() {
        for state in RunState::ALL.into_iter().chain([RunState::Unknown]) {
            check(state, state.as_str());
        }
        use ServiceState as S;
        for state in [
            S::Created,
            S::Starting,
            S::Ready,
            S::Failed,
            S::Stopped,
            S::Unknown,
        ] {
            check(state, state.as_str());
        }
        use EndReason as R;
        for reason in [
            R::Exited,
            R::UserStop,
            R::Killed,
            R::Timeout,
            R::Oom,
            R::StartError,
            R::HookFailed,
            R::Lost,
            R::Unknown,
        ] {
            check(reason, reason.as_str());
        }
        use ResourceKind as K;
        for kind in [K::Container, K::Network, K::Unknown] {
            check(kind, kind.as_str());
        }
        use SessionStatus as Status;
        for status in [
            Status::Provisioning,
            Status::Active,
            Status::Stopping,
            Status::Stopped,
            Status::Broken,
        ] {
            check(status, status.as_str());
        }
        for kind in [OpKind::Up, OpKind::Down] {
            check(kind, kind.as_str());
        }
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Moat] {
            check(stream, stream.as_str());
        }
    }

    #[test]
    fn a_word_of_a_newer_version_is_unknown() {
        let word = "\"paused\"";
        assert_eq!(
            serde_json::from_str::<RunState>(word).unwrap(),
            RunState::Unknown
        );
        assert_eq!(
            serde_json::from_str::<EndReason>(word).unwrap(),
            EndReason::Unknown
        );
        assert_eq!(
            serde_json::from_str::<ResourceStage>(word).unwrap(),
            ResourceStage::Unknown
        );
        let kind: ResourceKind = serde_json::from_str(word).unwrap();
        assert_eq!(kind, ResourceKind::Unknown);
        let state: ServiceState = serde_json::from_str(word).unwrap();
        assert_eq!(state, ServiceState::Unknown);
        let status: SessionStatus = serde_json::from_str(word).unwrap();
        assert_eq!(status, SessionStatus::Broken);
        assert!(serde_json::from_str::<Stream>(word).is_err());
    }
}
