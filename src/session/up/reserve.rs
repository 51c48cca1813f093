//! Reserves the slot and the ports, and writes the first journal entry, in one step.

use std::cell::RefCell;

use super::super::operation::OperationContext;
use super::super::ports::{PortAllocator, free_slot};
use super::super::repository::Repository;
use super::super::request::{Action, Decision, UpRequest, names};
use super::super::services::{ServiceAction, ServiceDecisions};
use super::super::{compose, process_end, worktree};
use super::decisions::{processes_to_start, undecided};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    Claim, DownOptions, ResourceStage, Session, SessionHooks, SessionProcess, SessionStatus,
    Timestamp, Worktree, random_word,
};
use crate::term::escape_unsafe;

pub(super) fn reserve(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    repository: &Repository,
    request: &UpRequest<'_>,
    (decisions, services): (&[Decision], &ServiceDecisions<'_>),
) -> Result<()> {
    let starting = processes_to_start(request, decisions);
    let ends = |name: &str| {
        let mut decisions = decisions.iter();
        services.ends(name) || decisions.any(|decision| decision.name == name && decision.ends)
    };
    if let Some(session) = claim.session() {
        // Leftovers of exited processes would hold their ports.
        let dead = starting.iter().copied().filter(|name| !ends(name));
        let clients = services.working();
        let forgotten = undecided(session, decisions).map(|process| process.name.as_str());
        let left: Vec<&str> = dead.chain(clients).chain(forgotten).collect();
        process_end::stop(session, &left)?;
        services.check(session)?;
    }
    // The lock is released before warnings are printed.
    let warnings = RefCell::new(Vec::new());
    let kept = names(decisions, Action::Kept);
    let planned = worktree::plan(context.home, repository, request.branch);
    let home = context.home.clone();
    let begun = claim.begin(
        DownOptions::default(),
        &mut |operation, mut session, others| {
            check_place(&planned, others)?;
            if let Some(session) = &mut session {
                let over: Vec<String> = undecided(session, decisions)
                    .map(|it| it.name.clone())
                    .collect();
                session
                    .processes
                    .retain(|process| !over.contains(&process.name));
            }
            let slot = match &session {
                Some(session) => session.slot,
                None => free_slot(request.settings, others)?,
            };
            let chooser = PortAllocator {
                settings: request.settings,
                services: request.services,
                slot,
                others,
                pins: request.pins,
                previous: session.as_ref().map_or(&[][..], |session| &session.ports),
                running: &|name| {
                    services
                        .how(name)
                        .map_or(kept.contains(&name), ServiceAction::has_ports)
                },
                freed: &ends,
                remaining: &session.as_ref().map(members).unwrap_or_default(),
                warn: &|text| warnings.borrow_mut().push(text.to_owned()),
            };
            let ports = chooser.choose()?;
            let mut session = match session {
                Some(session) => session,
                None => new_session(
                    &repository.key(request.branch).text(),
                    slot,
                    planned.clone(),
                )?,
            };
            session.ports = ports;
            update_session_fields(&mut session, repository, request, &planned);
            services.reserve(&mut session, operation);
            for name in &starting {
                record_process_intent(&mut session, request, name, operation);
                // The state file of an earlier process must not be taken for the new one's.
                home.prepare_process(&session.key, name)?;
            }
            let of_compose = &decisions[request.settings.processes.len()..];
            compose::record_intents(&mut session, operation, of_compose);
            Ok(session)
        },
    );
    warnings.take().into_iter().for_each(request.warn);
    begun
}

/// Fails if another session has the worktree.
fn check_place(planned: &Worktree, others: &[Session]) -> Result<()> {
    let mut others = others.iter();
    let Some(other) = others.find(|other| other.worktree.path == planned.path) else {
        return Ok(());
    };
    let (path, branch) = (planned.path.display(), escape_unsafe(&other.branch));
    let message = format!("{path} belongs to the session of '{branch}'");
    Err(Error::new(ErrorKind::Failed, message).hint(format!(
        "take that session down first: moat down {}",
        other.key
    )))
}

/// Sets the fields of the record that describe the session as a whole to this `up`.
fn update_session_fields(
    session: &mut Session,
    repository: &Repository,
    request: &UpRequest<'_>,
    planned: &Worktree,
) {
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
fn record_process_intent(
    session: &mut Session,
    request: &UpRequest<'_>,
    name: &str,
    operation: &str,
) {
    let mut processes = request.settings.processes.iter();
    let process = processes.find(|process| process.name == name);
    let before = session.process(name);
    let again = before.is_some_and(|before| before.existed_before || before.operation != operation);
    session.processes.retain(|process| process.name != name);
    session.processes.push(SessionProcess {
        name: name.to_owned(),
        command: process
            .map(|process| process.command.clone())
            .unwrap_or_default(),
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
    let compose = session.compose.iter().flat_map(|all| &all.services);
    let compose = compose.map(|service| &service.name);
    processes.chain(services).chain(compose).cloned().collect()
}
