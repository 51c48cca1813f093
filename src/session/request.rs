//! The request of an `up`, and the decisions about its members.

use super::ports::PinnedPort;
use crate::config::{HostProcess, SessionSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::plan;

/// The options of an `up`.
pub(crate) struct UpRequest<'a> {
    pub(crate) branch: &'a str,
    pub(crate) settings: &'a SessionSettings,
    pub(crate) services: &'a [plan::PlannedService],
    /// Reads the facts about the host that services need; the argument is the runtime if it is known.
    pub(crate) host: &'a dyn Fn(Option<&str>) -> Result<plan::Host>,
    pub(crate) pins: &'a [PinnedPort],
    /// Only these processes and services; not set: all.
    pub(crate) only: Option<&'a [String]>,
    /// Names to leave out.
    pub(crate) skip: &'a [String],
    /// Whether running members are restarted.
    pub(crate) force: bool,
    /// Receives each port that differs from moat.yaml.
    pub(crate) warn: &'a dyn Fn(String),
}

impl UpRequest<'_> {
    pub(super) fn wants(&self, name: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|other| other == name);
        self.only.is_none_or(named) && !named(self.skip)
    }

    pub(super) fn has_process(&self, name: &str) -> bool {
        let mut processes = self.settings.processes.iter();
        processes.any(|process| process.name == name)
    }

    /// The processes of moat.yaml that are started.
    pub(super) fn processes_to_start(&self, decisions: &[Decision]) -> Vec<&HostProcess> {
        let processes = self.settings.processes.iter();
        let is_started =
            |process: &&HostProcess| started(decisions).any(|name| name == process.name);
        processes.filter(is_started).collect()
    }

    /// Whether the dependencies of compose services have unique names.
    pub(super) fn check_along<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<()> {
        for name in names {
            let mut services = self.services.iter();
            let what = if self.has_process(name) {
                "process"
            } else if services.any(|service| service.name == name) {
                "service"
            } else {
                continue;
            };
            let message = format!(
                "'{name}' names both a {what} of the session and a dependency in the compose file"
            );
            return Err(Error::new(ErrorKind::Config, message).hint(
                "rename one of them, in moat.yaml or in the compose file; if the compose file no longer has it: moat down",
            ));
        }
        Ok(())
    }
}

/// The decision about a process or a service, with its reason.
pub(crate) struct Decision {
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) reason: String,
    /// Whether it runs and is ended before restarting it.
    pub(super) ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Kept,
    Started,
    Skipped,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Action::Kept => "kept",
            Action::Started => "started",
            Action::Skipped => "skipped",
        }
    }
}

pub(super) fn names(decisions: &[Decision], action: Action) -> Vec<&str> {
    let chosen = decisions
        .iter()
        .filter(|decision| decision.action == action);
    chosen.map(|decision| decision.name.as_str()).collect()
}

/// The names that are started.
pub(super) fn started(decisions: &[Decision]) -> impl Iterator<Item = &str> {
    let started = |decision: &&Decision| decision.action == Action::Started;
    let started = decisions.iter().filter(started);
    started.map(|decision| decision.name.as_str())
}
