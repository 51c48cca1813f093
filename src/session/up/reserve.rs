//! Reserves the slot and the ports, and writes the first journal entry, in one step.

use std::cell::RefCell;

use super::super::member::BringUp;
use super::super::ports::{PortAllocator, free_slot};
use super::super::request::{Action, names};
use super::super::services::{ServiceAction, ServiceDecisions};
use super::super::{compose, process_end, worktree};
use super::decisions::undecided;
use super::{Decided, Reserved};
use crate::config::HostProcess;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    DownOptions, ResourceStage, Session, SessionHooks, SessionPort, SessionProcess, SessionStatus,
    Timestamp, Worktree, random_word,
};
use crate::term::escape_unsafe;

impl<'a> Decided<'a> {
    pub(super) fn reserve(mut self, undone: &'a RefCell<Result<()>>) -> Result<Reserved<'a>> {
        let before = self.claim.session().cloned();
        if let Some(session) = &before {
            self.end_leftovers(session)?;
        }
        let (claim, up) = (&mut self.claim, &self.up);
        let reservation = Reservation {
            planned: worktree::plan(up.context.home, up.repository, up.request.branch),
            up,
            services: &self.services,
            warnings: RefCell::default(),
        };
        let begun = claim.begin(DownOptions::default(), &mut |operation, session, others| {
            reservation.record(operation, session, others)
        });
        // The lock is released before warnings are printed.
        let warnings = reservation.warnings.into_inner().into_iter();
        warnings.for_each(up.request.warn);
        begun?;
        Ok(Reserved {
            decided: self,
            before,
            is_active: false,
            undone,
        })
    }

    /// Ends leftovers of exited processes, which would hold their ports.
    fn end_leftovers(&self, session: &Session) -> Result<()> {
        let decisions = &self.up.decisions;
        let starting = self.up.request.processes_to_start(decisions);
        let dead = starting.iter().map(|process| process.name.as_str());
        let dead = dead.filter(|name| !ends(&self.up, &self.services, name));
        let clients = self.services.working();
        let forgotten = undecided(session, decisions).map(|process| process.name.as_str());
        let left: Vec<&str> = dead.chain(clients).chain(forgotten).collect();
        process_end::stop(session, &left)?;
        self.services.check(session)
    }
}

/// Whether a member runs and is ended before it is started.
fn ends(up: &BringUp<'_>, services: &ServiceDecisions<'_>, name: &str) -> bool {
    up.ending()
        .chain(services.ending())
        .any(|ending| ending == name)
}

/// The first record of an `up`: it has the slot, the ports and all intents.
struct Reservation<'r> {
    up: &'r BringUp<'r>,
    services: &'r ServiceDecisions<'r>,
    planned: Worktree,
    warnings: RefCell<Vec<String>>,
}

impl Reservation<'_> {
    fn record(
        &self,
        operation: &str,
        session: Option<Session>,
        others: &[Session],
    ) -> Result<Session> {
        check_place(&self.planned, others)?;
        let mut session = match session {
            Some(mut session) => {
                let left = undecided(&session, &self.up.decisions);
                let left: Vec<String> = left.map(|it| it.name.clone()).collect();
                let processes = &mut session.processes;
                processes.retain(|process| !left.contains(&process.name));
                session.ports = self.ports(Some(&session), session.slot, others)?;
                session
            }
            None => {
                let slot = free_slot(self.up.request.settings, others)?;
                let ports = self.ports(None, slot, others)?;
                let key = self.up.repository.key(self.up.request.branch).text();
                Session {
                    ports,
                    ..new_session(&key, slot, self.planned.clone())?
                }
            }
        };
        update_session_fields(&mut session, self.up, &self.planned);
        self.services.reserve(&mut session, operation);
        for process in self.up.request.processes_to_start(&self.up.decisions) {
            record_process_intent(&mut session, process, operation);
            // The state file of an earlier process must not be taken for the new one's.
            self.up
                .context
                .home
                .prepare_process(&session.key, &process.name)?;
        }
        let of_compose = &self.up.decisions[self.up.request.settings.processes.len()..];
        compose::record_intents(&mut session, operation, of_compose);
        Ok(session)
    }

    fn ports(
        &self,
        session: Option<&Session>,
        slot: u16,
        others: &[Session],
    ) -> Result<Vec<SessionPort>> {
        let kept = names(&self.up.decisions, Action::Kept);
        let allocator = PortAllocator {
            settings: self.up.request.settings,
            services: self.up.request.services,
            slot,
            others,
            pins: self.up.request.pins,
            previous: session.map_or(&[][..], |session| &session.ports),
            running: &|name| {
                let how = self.services.how(name);
                how.map_or(kept.contains(&name), ServiceAction::has_ports)
            },
            freed: &|name| ends(self.up, self.services, name),
            remaining: &session.map(members).unwrap_or_default(),
            warn: &|text| self.warnings.borrow_mut().push(text.to_owned()),
        };
        allocator.choose()
    }
}

/// Fails if another session has the worktree.
fn check_place(planned: &Worktree, others: &[Session]) -> Result<()> {
    let mut others = others.iter();
    let Some(other) = others.find(|other| other.worktree.path == planned.path) else {
        return Ok(());
    };
    let (path, branch) = (planned.path.display(), escape_unsafe(&other.branch));
    let message = format!("{path} belongs to the session of '{branch}'");
    Err(Error::new(ErrorKind::Conflict, message).hint(format!(
        "take that session down first: moat down {}",
        other.key
    )))
}

/// Sets the fields of the record that describe the session as a whole to this `up`.
fn update_session_fields(session: &mut Session, up: &BringUp<'_>, planned: &Worktree) {
    let (repository, request) = (up.repository, up.request);
    session.schema = 1;
    session.repository = repository.common.clone();
    session.main = repository.config_dir().to_owned();
    session.branch = request.branch.to_owned();
    session.error = None;
    let tree = &session.worktree;
    let half_made = tree.stage == ResourceStage::Intent && tree.operation.is_some();
    if !half_made && !tree.path.is_dir() {
        session.worktree = planned.clone();
        session.files.clear();
    }
    let hooks = &request.settings.hooks;
    session.hooks = SessionHooks {
        pre_down: hooks.pre_down.clone(),
        post_down: hooks.post_down.clone(),
        timeout_seconds: hooks.timeout.as_secs().max(1),
    };
}

/// Records the intent to start a process.
fn record_process_intent(session: &mut Session, process: &HostProcess, operation: &str) {
    let name = process.name.as_str();
    let before = session.process(name);
    let again = before.is_some_and(|before| before.existed_before || before.operation != operation);
    session.put_process(SessionProcess {
        name: name.to_owned(),
        command: process.command.clone(),
        stage: ResourceStage::Intent,
        operation: operation.to_owned(),
        existed_before: again,
        monitor: None,
        process: None,
        started_at: None,
    });
}

fn new_session(key: &str, slot: u16, worktree: Worktree) -> Result<Session> {
    let incarnation = random_word(16).map_err(|error| {
        Error::new(
            ErrorKind::Failed,
            format!(
                "cannot read random bytes: {}",
                crate::error::os_error_text(&error)
            ),
        )
    })?;
    Ok(Session {
        schema: 1,
        key: key.to_owned(),
        incarnation,
        repository: Default::default(),
        main: Default::default(),
        branch: String::new(),
        status: SessionStatus::Provisioning,
        slot,
        operation: None,
        error: None,
        created_at: Timestamp::now(),
        worktree,
        files: Vec::new(),
        ports: Vec::new(),
        processes: Vec::new(),
        compose: None,
        services: Default::default(),
        hooks: SessionHooks::default(),
        tmux: None,
    })
}

/// The names of all members in the record.
fn members(session: &Session) -> Vec<String> {
    let processes = session.processes.iter().map(|process| &process.name);
    let services = session.services.list.iter().map(|service| &service.name);
    let compose = session.compose_services().iter().map(|it| &it.name);
    processes.chain(services).chain(compose).cloned().collect()
}
