//! `moat up`: starts a session, or its missing members. Repeating it is safe: running members are kept.

mod decisions;
mod name_check;
mod reserve;

use super::operation::OperationContext;
use super::repository::Repository;
use super::request::{Decision, UpRequest};
use super::services::ServiceDecisions;
use super::{compose, files, hooks, process, process_end, rollback, tmux, worktree};
use crate::config::HostProcess;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::child;
use crate::store::{Claim, OpKind, Session, SessionStatus};
use crate::term::{escape_unsafe, shell_word};

pub(crate) use name_check::check_services;

use decisions::{decide, is_complete_already, processes_to_start, removed_from_config};
use name_check::check_names;
use reserve::reserve;

/// Starts the session of a branch. A failure restores the previous state.
pub(crate) fn up(
    context: &OperationContext<'_>,
    repository: &Repository,
    request: &UpRequest<'_>,
) -> Result<(Session, Vec<Decision>)> {
    let along = compose::dependencies_of(context, repository, request)?;
    check_names(request, &along)?;
    if request.settings.tmux {
        tmux::require()?;
    }
    let key = repository.key(request.branch).text();
    let mut claim = context.claim(&key, OpKind::Up)?;
    let is_its = |session: &&Session| session.is_for_branch(&repository.common, request.branch);
    if let Some(other) = claim.session().filter(|session| !is_its(session)) {
        let (branch, place) = (escape_unsafe(&other.branch), other.repository.display());
        let message = format!("the session of '{branch}' in {place} happens to have the same key");
        return Err(Error::new(ErrorKind::Failed, message).hint("rename this branch"));
    }
    let mut decisions = decide(context, claim.session(), request);
    let settled = compose::roll_back_interrupted(claim.session());
    let decided = settled
        .and_then(|()| compose::decide(context, claim.session(), request, &along))
        .and_then(|more| {
            decisions.extend(more);
            ServiceDecisions::decide(context, claim.session(), request)
        });
    let services = match decided {
        Ok(services) => services,
        Err(error) => {
            claim.release();
            return Err(cause(context, error));
        }
    };
    if let Some(session) = claim.session() {
        decisions.extend(removed_from_config(context, session, &decisions));
    }
    if let Some(session) = claim.session()
        && is_complete_already(session, request, &decisions)
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
        return Err(cause(context, error));
    }
    let _apart = child::IsolatedProcessGroup::begin();
    checkpoint("session-reserved");
    let ending = decisions.iter().filter(|decision| decision.ends);
    let ending = ending.map(|decision| decision.name.clone());
    let ending: Vec<String> = ending.chain(services.ending()).collect();
    let ended = end(context, before.as_ref(), &decisions, &services);
    let done = ended.and_then(|()| {
        run_steps(
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
            let error = cause(context, error);
            let operation = claim.id().to_owned();
            match rollback::roll_back(context, claim, &operation) {
                Ok(()) => Err(with_stopped_names(error, request.branch, &ending)),
                Err(left) => {
                    let message = format!(
                        "{}\nthe rollback is incomplete: {}",
                        error.message, left.message
                    );
                    Err(error
                        .with_message(message)
                        .hint(format!("see: moat wt status {key}")))
                }
            }
        }
    }
}

/// Replaces the error by the interruption, if there was one: children in the process group receive a terminal's
/// signal as well.
fn cause(context: &OperationContext<'_>, error: Error) -> Error {
    context.check().err().unwrap_or(error)
}

/// The error of an `up` that was rolled back, with the members that ran before: they were ended for a restart and
/// stay stopped.
fn with_stopped_names(error: Error, branch: &str, stopped: &[String]) -> Error {
    if stopped.is_empty() {
        return error;
    }
    let message = format!("{}\nstopped now: {}", error.message, stopped.join(", "));
    let (branch, names) = (shell_word(branch), stopped.join(","));
    let again = format!("restart what ran before: moat up {branch} --services {names}");
    let hint = match &error.hint {
        Some(hint) => format!("{hint}; {again}"),
        None => again,
    };
    error.with_message(message).hint(hint)
}

/// Ends the members that are restarted. The journal exists by now, and the session has its ports.
fn end(
    context: &OperationContext<'_>,
    before: Option<&Session>,
    decisions: &[Decision],
    services: &ServiceDecisions<'_>,
) -> Result<()> {
    let Some(session) = before else {
        return Ok(());
    };
    let ending = decisions.iter().filter(|decision| decision.ends);
    let ending: Vec<&str> = ending.map(|decision| decision.name.as_str()).collect();
    process_end::stop(session, &ending)?;
    for name in ending {
        // The exit recorded by the old monitor must not be taken for the new process.
        context.home.prepare_process(&session.key, name)?;
    }
    services.clear(context, session)
}

/// The slow part: only commands for this session wait meanwhile.
fn run_steps(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    repository: &Repository,
    request: &UpRequest<'_>,
    (decisions, services): (&mut Vec<Decision>, &ServiceDecisions<'_>),
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
        hooks::run(
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
    let starting = processes_to_start(request, decisions);
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
        .ok_or_else(|| Error::new(ErrorKind::Failed, "the session is gone"))
}
