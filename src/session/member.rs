//! What a session has, and one way to start it, to end it and to forget it.
//!
//! The record is the journal: a member writes its intents there before it makes anything, and is forgotten only after
//! it is gone.

use std::path::PathBuf;

use super::operation::OperationContext;
use super::port_probe::PortListener;
use super::repository::Repository;
use super::request::{Decision, UpRequest};
use crate::error::{Error, Result};
use crate::failpoint::checkpoint;
use crate::runtime;
use crate::store::{Claim, Home, Session};

/// A kind of resource that a session has.
pub(super) trait Member {
    /// Whether everything exists and runs that the operation in the record was to make.
    fn is_complete(&self, _home: &Home, _session: &Session) -> bool {
        true
    }

    /// Makes and starts what the `up` has decided.
    fn start(&self, _up: &mut BringUp<'_>, _claim: &mut Claim) -> Result<()> {
        Ok(())
    }

    /// Ends what runs, and keeps its data.
    fn stop(&self, _teardown: &mut Teardown<'_>) -> Result<()> {
        Ok(())
    }

    /// Removes what the scope of the teardown contains. A resource that is gone already is no failure.
    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()>;

    /// Decides whether a forced `down` continues although this member is not removed; warns if it does.
    fn abandon(&self, _teardown: &mut Teardown<'_>, error: Error) -> Result<()> {
        Err(error)
    }

    /// Updates the record after the member was stopped or removed.
    fn forget(&self, _teardown: &Teardown<'_>, _record: &mut Session) {}
}

/// The request of an `up`, and its decisions about processes and compose services.
pub(super) struct BringUp<'a> {
    pub(super) context: &'a OperationContext<'a>,
    pub(super) repository: &'a Repository,
    pub(super) request: &'a UpRequest<'a>,
    pub(super) decisions: Vec<Decision>,
}

impl BringUp<'_> {
    /// The processes and compose services that run and are ended before they are restarted.
    pub(super) fn ending(&self) -> impl Iterator<Item = &str> {
        let ending = self.decisions.iter().filter(|decision| decision.ends);
        ending.map(|decision| decision.name.as_str())
    }
}

/// What a teardown ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// Everything is stopped, and keeps its data (`down --keep`).
    Stop,
    /// Everything is removed (`down`).
    Session { remove_worktree: bool, force: bool },
    /// The work of one `up` is rolled back. `whole`: the session itself is its work.
    Operation { id: &'a str, whole: bool },
}

impl Scope<'_> {
    /// Whether what this operation made is removed.
    pub(super) fn removes(self, operation: &str) -> bool {
        match self {
            Scope::Stop => false,
            Scope::Session { .. } => true,
            Scope::Operation { id, .. } => operation == id,
        }
    }

    /// Whether an entry leaves the record: a rollback keeps those that existed before.
    pub(super) fn forgets(self, operation: &str, existed_before: bool) -> bool {
        let is_kept = existed_before && matches!(self, Scope::Operation { .. });
        self.removes(operation) && !is_kept
    }
}

/// What a teardown left in place.
#[derive(Default)]
pub(crate) struct DownOutcome {
    /// A worktree that moat created and did not remove.
    pub(crate) kept_worktree: Option<PathBuf>,
    /// The engines that did not respond and may still hold resources of the session.
    pub(crate) abandoned_engines: Vec<String>,
    /// The ports of processes on which something still listens.
    pub(crate) held_ports: Vec<PortListener>,
}

/// The end of members of a session.
pub(super) struct Teardown<'a> {
    pub(super) context: &'a OperationContext<'a>,
    /// The record before the first member ended.
    pub(super) session: &'a Session,
    pub(super) scope: Scope<'a>,
    pub(super) left: DownOutcome,
}

impl<'a> Teardown<'a> {
    pub(super) fn new(
        context: &'a OperationContext<'a>,
        session: &'a Session,
        scope: Scope<'a>,
    ) -> Teardown<'a> {
        Teardown {
            context,
            session,
            scope,
            left: DownOutcome::default(),
        }
    }

    pub(super) fn is_forced(&self) -> bool {
        matches!(self.scope, Scope::Session { force: true, .. })
    }

    /// Leaves what an engine has, if that engine does not respond at all. A resource that a responding engine refuses to
    /// remove, or cannot remove now, must not be abandoned.
    pub(super) fn abandon_engine(
        &mut self,
        name: &str,
        settings: &[(String, String)],
        error: Error,
    ) -> Result<()> {
        if runtime::is_reachable(name, settings) {
            return Err(error);
        }
        let engine = runtime::engine_shown(name, settings);
        (self.context.warn)(&format!(
            "{}; the session's resources in {engine} stay, and 'moat clean' shows them once that engine is selected and responds",
            error.message
        ));
        if self.left.abandoned_engines.last() != Some(&engine) {
            self.left.abandoned_engines.push(engine);
        }
        Ok(())
    }

    /// Marks that a member has ended.
    pub(super) fn checkpoint(&self, member: &str) {
        let verb = match self.scope {
            Scope::Operation { .. } => "undo",
            _ => "down",
        };
        checkpoint(&format!("session-{verb}-{member}"));
    }
}
