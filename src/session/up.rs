//! `moat up`: brings a session up, or what is missing of it. Safe to repeat: what runs is kept.

use std::cell::RefCell;

use super::operation::Context;
use super::ports::{Chooser, Pin, free_slot};
use super::repository::Repository;
use super::services::{How, Services};
use super::{compose, files, hook, process, status, tmux, undo, worktree};
use crate::config::{HostProcess, SessionSettings};
use crate::error::{Error, Kind, Problem, Result};
use crate::failpoint::checkpoint;
use crate::plan;
use crate::registry::DEFAULT_PORT;
use crate::store::{
    Claim, OpKind, Session, SessionHooks, SessionProcess, SessionStatus, Stage, Timestamp,
    random_word,
};
use crate::term::harmless;

/// What is asked for.
pub(crate) struct Up<'a> {
    pub(crate) branch: &'a str,
    pub(crate) settings: &'a SessionSettings,
    pub(crate) services: &'a [plan::Service],
    /// What is to know of the host for services; given the runtime, if that is settled.
    pub(crate) host: &'a dyn Fn(Option<&str>) -> Result<plan::Host>,
    pub(crate) pins: &'a [Pin],
    /// These processes and services alone; not set: all.
    pub(crate) only: Option<&'a [String]>,
    /// Not these.
    pub(crate) skip: &'a [String],
    /// Whether what runs is started again.
    pub(crate) force: bool,
}

impl Up<'_> {
    pub(super) fn wants(&self, name: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|other| other == name);
        self.only.is_none_or(named) && !named(self.skip)
    }

    /// Whether services that come with those of the compose file have names of their own.
    pub(super) fn check_along<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<()> {
        for name in names {
            let mut processes = self.settings.processes.iter();
            let mut services = self.services.iter();
            let what = if processes.any(|process| process.name == name) {
                "process"
            } else if services.any(|service| service.name == name) {
                "service"
            } else {
                continue;
            };
            let message = format!(
                "'{name}' is a {what} of the session, and a service of the compose file that others depend on"
            );
            return Err(Error::new(Kind::Config, message).hint(
                "give one of them another name, in moat.yaml or in that file; if the file has it no more: moat down",
            ));
        }
        Ok(())
    }
}

/// What became of a process or a service, and why.
pub(crate) struct Decision {
    pub(crate) process: String,
    pub(crate) action: Action,
    pub(crate) why: String,
    /// Whether it runs, and is ended before it is started again.
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

/// Brings the session of a branch up. A failure leaves what was there before, and nothing else.
pub(crate) fn up(
    context: &Context<'_>,
    repository: &Repository,
    request: &Up<'_>,
) -> Result<(Session, Vec<Decision>)> {
    let along = compose::along(context, repository, request)?;
    check_names(request, &along)?;
    if request.settings.tmux {
        tmux::require()?;
    }
    let key = repository.key(request.branch).text();
    let mut claim = context.claim(&key, OpKind::Up)?;
    let is_its = |session: &&Session| session.is_of(&repository.common, request.branch);
    if let Some(other) = claim.session().filter(|session| !is_its(session)) {
        let (branch, place) = (harmless(&other.branch), other.repository.display());
        let message = format!("the session of '{branch}' in {place} happens to have the same key");
        return Err(Error::new(Kind::Failed, message).hint("give this branch another name"));
    }
    let mut decisions = decide(context, claim.session(), request);
    let settled = compose::settle(claim.session());
    let decided = settled
        .and_then(|()| compose::decide(context, claim.session(), request, &along))
        .and_then(|more| {
            decisions.extend(more);
            Services::decide(context, claim.session(), request)
        });
    let services = match decided {
        Ok(services) => services,
        Err(error) => {
            claim.release();
            return Err(error);
        }
    };
    if let Some(session) = claim.session()
        && is_settled(session, request, &decisions)
        && services.is_idle()
    {
        files::write_variables(session)?;
        decisions.extend(services.decisions());
        return Ok((session.clone(), decisions));
    }
    let before = claim.session().cloned();
    let work = (&*decisions, &services);
    if let Err(error) = reserve(context, &mut claim, repository, request, work) {
        claim.release();
        return Err(error);
    }
    checkpoint("session-reserved");
    let ending = decisions.iter().filter(|decision| decision.ends);
    let ending = ending.map(|decision| decision.process.clone());
    let ending: Vec<String> = ending.chain(services.ending()).collect();
    let ended = end(context, before.as_ref(), &decisions, &services);
    let done = ended.and_then(|()| {
        carry_out(
            context,
            &mut claim,
            repository,
            request,
            (&mut decisions, &services),
        )
    });
    match done {
        Ok(session) => {
            decisions.extend(services.decisions());
            Ok((session, decisions))
        }
        Err(error) => {
            let operation = claim.id().to_owned();
            match undo::undo(context, claim, &operation) {
                Ok(()) => Err(with_stopped(error, request.branch, &ending)),
                Err(left) => {
                    let message = format!(
                        "{}\nnot all of it could be taken back: {}",
                        error.message, left.message
                    );
                    let branch = harmless(request.branch);
                    Err(error
                        .with_message(message)
                        .hint(format!("see: moat wt status {branch}")))
                }
            }
        }
    }
}

/// The error of an `up` that is taken back, with what ran before: it was ended to be started again, and stays so.
fn with_stopped(error: Error, branch: &str, stopped: &[String]) -> Error {
    if stopped.is_empty() {
        return error;
    }
    let message = format!("{}\nstopped now: {}", error.message, stopped.join(", "));
    let (branch, names) = (crate::term::harmless(branch), stopped.join(","));
    let again = format!("start again what ran before: moat up {branch} --services {names}");
    let hint = match &error.hint {
        Some(hint) => format!("{hint}; {again}"),
        None => again,
    };
    error.with_message(message).hint(hint)
}

fn check_names(request: &Up<'_>, along: &[String]) -> Result<()> {
    let holders = request.settings.port_holders();
    let services = request.services.iter();
    let known: Vec<&str> = holders
        .iter()
        .map(|holder| holder.name)
        .chain(services.map(|service| service.name.as_str()))
        .chain(along.iter().map(String::as_str))
        .collect();
    check_services(request.settings, request.services)?;
    request.check_along(along.iter().map(String::as_str))?;
    let asked = request.only.unwrap_or_default().iter().chain(request.skip);
    for name in asked {
        if !known.contains(&name.as_str()) {
            return Err(Error::usage(crate::yaml::unknown("process", name, &known)));
        }
    }
    Ok(())
}

/// Whether a service of the dependencies would be told of as a process or a service of the compose file is.
pub(crate) fn check_services(settings: &SessionSettings, services: &[plan::Service]) -> Result<()> {
    let holders = settings.port_holders();
    for service in services {
        let variable = plan::port_variable(&service.name, DEFAULT_PORT);
        if let Some(holder) = holders.iter().find(|it| it.variable() == variable) {
            let problem = Problem {
                file: "moat.yaml".to_owned(),
                line: None,
                column: None,
                message: format!(
                    "'{}' of the session and the service '{}' would both set {variable}",
                    holder.name, service.name
                ),
            };
            return Err(Error::problems(vec![problem]).hint("give one another name"));
        }
    }
    Ok(())
}

fn decide(context: &Context<'_>, session: Option<&Session>, request: &Up<'_>) -> Vec<Decision> {
    // Who works in a directory that is gone cannot go on.
    let homeless = session.is_some_and(|session| !session.worktree.path.is_dir());
    let decide = |process: &HostProcess| {
        let entry = session.and_then(|session| session.process(&process.name));
        let running = session
            .zip(entry)
            .filter(|(session, entry)| status::runs(context.home, session, entry))
            .map(|(_, entry)| entry);
        let (action, why) = match (running, request.wants(&process.name)) {
            (None, false) => (Action::Skipped, "not asked for".to_owned()),
            (Some(_), true) if homeless => (Action::Started, "its worktree was gone".to_owned()),
            (Some(_), true) if request.force => (Action::Started, "--force".to_owned()),
            (Some(entry), _) if !entry.command.is_empty() && entry.command != process.command => (
                Action::Kept,
                "it runs, with the command of before; --force starts it again".to_owned(),
            ),
            (Some(_), _) => (Action::Kept, "it runs".to_owned()),
            (None, true) => (Action::Started, why_not(context, session, entry)),
        };
        Decision {
            process: process.name.clone(),
            ends: action == Action::Started && running.is_some(),
            action,
            why,
        }
    };
    request.settings.processes.iter().map(decide).collect()
}

/// Why a process does not run.
fn why_not(
    context: &Context<'_>,
    session: Option<&Session>,
    entry: Option<&SessionProcess>,
) -> String {
    let (Some(session), Some(entry)) = (session, entry) else {
        return "it did not run".to_owned();
    };
    let state = context.home.process_state(session, &entry.name);
    match state.and_then(|state| state.exit_code) {
        Some(code) => format!("it had ended with code {code}"),
        None => "it had gone".to_owned(),
    }
}

/// Whether there is nothing to do.
fn is_settled(session: &Session, request: &Up<'_>, decisions: &[Decision]) -> bool {
    let pinned = |pin: &Pin| {
        session
            .primary_port(&pin.process)
            .is_some_and(|port| port.port == pin.port)
    };
    session.status == SessionStatus::Active
        && session.operation.is_none()
        && session.worktree.path.is_dir()
        && request.pins.iter().all(pinned)
        && decisions
            .iter()
            .all(|decision| decision.action != Action::Started)
}

/// The processes that are to be started.
fn starting<'a>(request: &Up<'_>, decisions: &'a [Decision]) -> Vec<&'a str> {
    let mut names = names(decisions, Action::Started);
    let processes = &request.settings.processes;
    names.retain(|name| processes.iter().any(|process| process.name == *name));
    names
}

fn names(decisions: &[Decision], action: Action) -> Vec<&str> {
    let chosen = decisions
        .iter()
        .filter(|decision| decision.action == action);
    chosen.map(|decision| decision.process.as_str()).collect()
}

/// All that the record has, by name.
fn members(session: &Session) -> Vec<String> {
    let processes = session.processes.iter().map(|process| &process.name);
    let services = session.services.list.iter().map(|service| &service.name);
    let compose = session.compose.iter().flat_map(|all| &all.services);
    let compose = compose.map(|service| &service.name);
    processes.chain(services).chain(compose).cloned().collect()
}

/// Ends what runs and is to be started again. There is a journal by now, and it has its ports.
fn end(
    context: &Context<'_>,
    before: Option<&Session>,
    decisions: &[Decision],
    services: &Services<'_>,
) -> Result<()> {
    let Some(session) = before else {
        return Ok(());
    };
    let ending = decisions.iter().filter(|decision| decision.ends);
    let ending: Vec<&str> = ending.map(|decision| decision.process.as_str()).collect();
    process::stop(session, &ending)?;
    for name in ending {
        // What it said at its end must not be taken for the word of the next one.
        context.home.prepare_process(&session.key, name)?;
    }
    services.clear(context, session)
}

/// Slot, ports and the journal's first entry, all at once.
fn reserve(
    context: &Context<'_>,
    claim: &mut Claim,
    repository: &Repository,
    request: &Up<'_>,
    (decisions, services): (&[Decision], &Services<'_>),
) -> Result<()> {
    let starting = starting(request, decisions);
    let ends = |name: &str| {
        let mut decisions = decisions.iter();
        services.ends(name) || decisions.any(|decision| decision.process == name && decision.ends)
    };
    if let Some(session) = claim.session() {
        // What is left of those that have ended would hold their ports.
        let dead = starting.iter().copied().filter(|name| !ends(name));
        let clients = services.working();
        let left: Vec<&str> = dead.chain(clients).collect();
        process::stop(session, &left)?;
        services.check(session)?;
    }
    // Nobody else waits while somebody is told.
    let warnings = RefCell::new(Vec::new());
    let kept = names(decisions, Action::Kept);
    let main = repository.config_dir();
    let planned = worktree::plan(context.home, repository, request.branch);
    let home = context.home.clone();
    let begun = claim.begin(&mut |operation, session, others| {
        if let Some(other) = others
            .iter()
            .find(|other| other.worktree.path == planned.path)
        {
            let branch = harmless(&other.branch);
            let message = format!(
                "{} belongs to the session of '{branch}'",
                planned.path.display()
            );
            return Err(Error::new(Kind::Failed, message).hint("take that down first: moat down"));
        }
        let slot = match &session {
            Some(session) => session.slot,
            None => free_slot(request.settings, others)?,
        };
        let earlier = session.as_ref().map_or(&[][..], |session| &session.ports);
        let left = session.as_ref().map(members).unwrap_or_default();
        let chooser = Chooser {
            settings: request.settings,
            services: request.services,
            slot,
            others,
            pins: request.pins,
            earlier,
            runs: &|name| {
                services
                    .how(name)
                    .map_or(kept.contains(&name), How::has_ports)
            },
            frees: &ends,
            left: &left,
            warn: &|text| warnings.borrow_mut().push(text.to_owned()),
        };
        let ports = chooser.choose()?;
        let mut session = match session {
            Some(session) => session,
            None => blank(
                &repository.key(request.branch).text(),
                slot,
                planned.clone(),
            )?,
        };
        session.schema = 1;
        session.repository = repository.common.clone();
        session.main = main.to_owned();
        session.branch = request.branch.to_owned();
        session.ports = ports;
        session.error = None;
        let half_made =
            session.worktree.stage == Stage::Intent && session.worktree.operation.is_some();
        if !half_made && !session.worktree.path.is_dir() {
            session.worktree = planned.clone();
            session.files.clear();
        }
        let hooks = &request.settings.hooks;
        session.hooks = SessionHooks {
            pre_down: hooks.pre_down.clone(),
            post_down: hooks.post_down.clone(),
            timeout_seconds: hooks.timeout.as_secs().max(1),
        };
        services.reserve(&mut session, operation);
        for name in &starting {
            let process = request
                .settings
                .processes
                .iter()
                .find(|process| process.name == *name);
            let before = session.process(name);
            let again = before.is_some_and(|before| before.again || before.operation != operation);
            session.processes.retain(|process| process.name != *name);
            session.processes.push(SessionProcess {
                name: (*name).to_owned(),
                command: process
                    .map(|process| process.command.clone())
                    .unwrap_or_default(),
                stage: Stage::Intent,
                operation: operation.to_owned(),
                again,
                keeper: None,
                process: None,
                started_at: None,
            });
            // What an earlier one said of itself must not be taken for this one's word.
            home.prepare_process(&session.key, name)?;
        }
        compose::intend(
            &mut session,
            operation,
            &decisions[request.settings.processes.len()..],
        );
        Ok(session)
    });
    for warning in warnings.take() {
        (context.say)(&warning);
    }
    begun
}

fn blank(key: &str, slot: u16, worktree: crate::store::Worktree) -> Result<Session> {
    let incarnation = random_word(16).map_err(|error| {
        Error::new(
            Kind::Failed,
            format!("cannot read random bytes: {}", crate::error::reason(&error)),
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

/// The slow part: nobody waits for us meanwhile but those who want this very session.
fn carry_out(
    context: &Context<'_>,
    claim: &mut Claim,
    repository: &Repository,
    request: &Up<'_>,
    (decisions, services): (&mut Vec<Decision>, &Services<'_>),
) -> Result<Session> {
    let hooks = &request.settings.hooks;
    let run_hook = |claim: &Claim, name: &str, script: &Option<String>, in_worktree: bool| {
        let Some(session) = claim.session() else {
            return Ok(());
        };
        let dir = if in_worktree {
            &session.worktree.path
        } else {
            &session.main
        };
        hook::run(
            context,
            session,
            (name, script.as_deref()),
            dir,
            hooks.timeout,
        )
    };
    run_hook(claim, "pre_up", &hooks.pre_up, false)?;
    worktree::make(context, claim, repository)?;
    services.start(context, claim)?;
    files::make(context, claim, repository, &request.settings.inherit)?;
    compose::start(context, claim, request, decisions)?;
    run_hook(claim, "pre_start", &hooks.pre_start, true)?;
    let starting = starting(request, decisions);
    let processes: Vec<&HostProcess> = request
        .settings
        .processes
        .iter()
        .filter(|process| starting.contains(&process.name.as_str()))
        .collect();
    for process in &processes {
        process::start(context, claim, process, request.settings.tmux)?;
    }
    if let Some(session) = claim.session() {
        process::watch(context, session, &processes)?;
    }
    checkpoint("session-processes-up");
    run_hook(claim, "post_up", &hooks.post_up, true)?;
    context.check()?;
    checkpoint("session-before-active");
    claim.update(&mut |session| {
        session.status = SessionStatus::Active;
        session.operation = None;
    })?;
    claim
        .session()
        .cloned()
        .ok_or_else(|| Error::new(Kind::Failed, "the session is gone"))
}
