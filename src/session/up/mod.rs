//! `moat up`: starts a session, or its missing members. Repeating it is safe: running members are kept.
//!
//! An `up` moves from state to state: a claim, [`Decided`], [`Reserved`], and at last the active session. An error
//! drops the state that the `up` has reached, and dropping a state undoes it.

mod decisions;
mod name_check;
mod reserve;

use std::cell::RefCell;

use super::compose::ComposeServices;
use super::files::{self, Files};
use super::hooks::{self, Hook};
use super::member::{BringUp, Member};
use super::operation::OperationContext;
use super::process::Processes;
use super::repository::Repository;
use super::request::{Decision, UpRequest};
use super::services::{ServiceDecisions, Services};
use super::worktree::SessionWorktree;
use super::{compose, process_end, rollback, tmux};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::child;
use crate::store::{Claim, OpKind, Session, SessionStatus};
use crate::term::{escape_unsafe, shell_word};

pub(crate) use name_check::check_services;

use decisions::{decide, is_complete_already, removed_from_config};
use name_check::check_names;

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
    let decided = Decided::new(context, repository, request, &along)?;
    if let Some(session) = decided.complete_session() {
        files::write_variables(session)?;
        return Ok((session.clone(), decided.into_decisions()));
    }
    let ending = decided.ending();
    let undone = RefCell::new(Ok(()));
    let reserved = decided.reserve(&undone);
    let reserved = reserved.map_err(|error| cause(context, error))?;
    let _apart = child::IsolatedProcessGroup::begin();
    checkpoint("session-reserved");
    reserved
        .activate()
        .map_err(|error| match undone.replace(Ok(())) {
            Ok(()) => with_stopped_names(error, request.branch, &ending),
            Err(left) => {
                let message = format!(
                    "{}\nthe rollback is incomplete: {}",
                    error.message, left.message
                );
                let key = repository.key(request.branch).text();
                let hint = format!("see: moat wt status {key}");
                error.with_message(message).hint(hint)
            }
        })
}

/// An `up` that has the claim and knows what it does. Nothing has changed yet.
struct Decided<'a> {
    claim: Claim,
    up: BringUp<'a>,
    services: ServiceDecisions<'a>,
}

impl<'a> Decided<'a> {
    fn new(
        context: &'a OperationContext<'a>,
        repository: &'a Repository,
        request: &'a UpRequest<'a>,
        along: &[String],
    ) -> Result<Decided<'a>> {
        let key = repository.key(request.branch).text();
        let claim = context.claim(&key, OpKind::Up)?;
        let is_its = |session: &&Session| session.is_for_branch(&repository.common, request.branch);
        if let Some(other) = claim.session().filter(|session| !is_its(session)) {
            let (branch, place) = (escape_unsafe(&other.branch), other.repository.display());
            let message =
                format!("the session of '{branch}' in {place} happens to have the same key");
            return Err(Error::new(ErrorKind::Conflict, message).hint("rename this branch"));
        }
        let session = claim.session();
        let mut decisions = decide(context, session, request);
        let decided = compose::roll_back_interrupted(session)
            .and_then(|()| compose::decide(session, request, along))
            .and_then(|more| {
                decisions.extend(more);
                ServiceDecisions::decide(context, session, request)
            });
        let services = decided.map_err(|error| cause(context, error))?;
        if let Some(session) = session {
            decisions.extend(removed_from_config(context, session, &decisions));
        }
        let up = BringUp {
            context,
            repository,
            request,
            decisions,
        };
        Ok(Decided {
            claim,
            up,
            services,
        })
    }

    /// The session, if nothing has to be done.
    fn complete_session(&self) -> Option<&Session> {
        let session = self.claim.session()?;
        let is_complete = is_complete_already(session, self.up.request, &self.up.decisions);
        (is_complete && self.services.is_idle()).then_some(session)
    }

    fn into_decisions(mut self) -> Vec<Decision> {
        self.up.decisions.extend(self.services.decisions());
        self.up.decisions
    }

    /// The members that run and are ended before they are restarted.
    fn ending(&self) -> Vec<String> {
        let ending = self.up.ending().chain(self.services.ending());
        ending.map(str::to_owned).collect()
    }
}

/// An `up` whose intents are in the record. Dropping it rolls them back, unless the session is active.
struct Reserved<'a> {
    decided: Decided<'a>,
    /// The session before this `up`.
    before: Option<Session>,
    is_active: bool,
    /// The result of the rollback.
    undone: &'a RefCell<Result<()>>,
}

/// A step of an `up` after the reservation.
enum Step<'s> {
    /// A script, its name, and whether it runs in the worktree.
    Hook(&'s Option<String>, &'static str, bool),
    Member(&'s dyn Member),
}

impl Step<'_> {
    fn run(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        let (script, name, in_worktree) = match self {
            Step::Member(member) => return member.start(up, claim),
            Step::Hook(script, name, in_worktree) => (script, name, in_worktree),
        };
        let session = claim.record()?;
        let hook = Hook {
            name,
            script: script.as_deref(),
            dir: match in_worktree {
                true => &session.worktree.path,
                false => &session.main,
            },
            timeout: up.request.settings.hooks.timeout,
        };
        hooks::run(up.context, session, &hook)
    }
}

impl Reserved<'_> {
    fn activate(mut self) -> Result<(Session, Vec<Decision>)> {
        let started = self.end_restarted().and_then(|()| self.start_members());
        started.map_err(|error| cause(self.decided.up.context, error))?;
        self.is_active = true;
        let mut decisions = std::mem::take(&mut self.decided.up.decisions);
        decisions.extend(self.decided.services.decisions());
        Ok((self.decided.claim.record()?.clone(), decisions))
    }

    /// Ends the members that are restarted. The journal exists by now, and the session has its ports.
    fn end_restarted(&self) -> Result<()> {
        let Some(session) = &self.before else {
            return Ok(());
        };
        let context = self.decided.up.context;
        let ending: Vec<&str> = self.decided.up.ending().collect();
        process_end::stop(session, &ending)?;
        for name in ending {
            // The exit recorded by the old monitor must not be taken for the new process.
            context.home.prepare_process(&session.key, name)?;
        }
        self.decided.services.clear(context, session)
    }

    /// The slow part: only commands for this session wait meanwhile.
    fn start_members(&mut self) -> Result<()> {
        let Decided {
            claim,
            up,
            services,
        } = &mut self.decided;
        let hooks = &up.request.settings.hooks;
        let decisions = Some(&*services);
        let services = Services { decisions };
        let steps = [
            Step::Hook(&hooks.pre_up, "pre_up", false),
            Step::Member(&SessionWorktree),
            Step::Member(&services),
            Step::Member(&Files),
            Step::Member(&ComposeServices),
            Step::Hook(&hooks.pre_start, "pre_start", true),
            Step::Member(&Processes),
            Step::Hook(&hooks.post_up, "post_up", true),
        ];
        for step in steps {
            step.run(up, claim)?;
        }
        up.context.check()?;
        checkpoint("session-before-active");
        claim.settle(SessionStatus::Active)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.is_active {
            let Decided { claim, up, .. } = &mut self.decided;
            let operation = claim.id().to_owned();
            *self.undone.borrow_mut() = rollback::roll_back(up.context, claim, &operation);
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
