//! Rolls back an operation from the journal alone. A failure, a signal and a crash are handled alike.

use super::operation::OperationContext;
use super::{compose, files, process_end, services, tmux, worktree};
use crate::error::Result;
use crate::failpoint::checkpoint;
use crate::runtime::{REQUEST_TIMEOUT, child};
use crate::store::{
    Claim, CreatedFile, OpKind, ResourceStage, Session, SessionService, SessionStatus, Tmux,
};

/// Rolls back everything that an `up` made. A session that this `up` created is removed; an existing session returns
/// to its previous state. If a resource cannot be removed, the session is broken.
pub(super) fn roll_back(
    context: &OperationContext<'_>,
    mut claim: Claim,
    operation: &str,
) -> Result<()> {
    let Some(session) = claim.session().cloned() else {
        return Ok(());
    };
    claim.end();
    if claim.check().is_err() {
        // Another operation has claimed the record. This operation's own resources are still removed.
        roll_back_superseded(context, &session, operation);
        return claim.check();
    }
    let undone = roll_back_resources(context, &mut claim, &session, operation);
    if let Err(error) = undone {
        let why = error.message.clone();
        claim.update(&mut |session| {
            session.status = SessionStatus::Broken;
            session.error = Some(why.clone());
            session.operation = None;
        })?;
        return Err(error);
    }
    checkpoint("session-undone");
    let before = session
        .operation
        .and_then(|operation| operation.previous_status);
    let Some(before) = before else {
        return claim.remove();
    };
    claim.update(&mut |session| {
        session.status = match before {
            SessionStatus::Active if session.is_empty() => SessionStatus::Stopped,
            SessionStatus::Provisioning | SessionStatus::Stopping => SessionStatus::Stopped,
            before => before,
        };
        session.operation = None;
    })
}

fn roll_back_resources(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    session: &Session,
    operation: &str,
) -> Result<()> {
    let is_new = session
        .operation
        .as_ref()
        .is_some_and(|operation| operation.previous_status.is_none());
    let made = session
        .processes
        .iter()
        .filter(|process| process.operation == operation);
    let mut names: Vec<&str> = made.map(|process| process.name.as_str()).collect();
    names.extend(process_end::OPERATION_MARKS);
    let service_names = session.services.list.iter();
    names.extend(service_names.map(|service| service.name.as_str()));
    if is_new {
        process_end::stop_all(context.home, session)?;
    } else {
        process_end::stop(session, &names)?;
    }
    checkpoint("session-undo-processes");
    let made_tmux = |tmux: &Tmux| is_new || tmux.operation == operation;
    let ends_tmux = session.tmux.as_ref().is_some_and(made_tmux);
    match ends_tmux {
        true => tmux::end(session)?,
        false => tmux::remove_windows(session, &names)?,
    }
    claim.update(&mut |session| {
        session
            .processes
            .retain(|process| process.operation != operation || process.existed_before);
        // A member that existed before stays in the record as not running.
        let mut stopped = session.processes.iter_mut();
        for process in stopped.by_ref().filter(|it| it.operation == operation) {
            (process.process, process.monitor) = (None, None);
        }
        if ends_tmux {
            session.tmux = None;
        }
    })?;
    compose::roll_back_compose(session, operation)?;
    checkpoint("session-undo-compose");
    claim.update(&mut |session| compose::forget_rolled_back(session, operation))?;
    roll_back_services(context, claim, session, operation)?;
    let mine: Vec<&CreatedFile> = session
        .files
        .iter()
        .filter(|file| file.operation == operation)
        .collect();
    files::remove(context, &session.worktree.path, &mine)?;
    claim.update(&mut |session| session.files.retain(|file| file.operation != operation))?;
    let tree = &session.worktree;
    let mut goes = tree.operation.as_deref() == Some(operation) && tree.created_by_moat;
    if goes && tree.path.is_dir() {
        // A user may have worked in the worktree since it was created; if moat was killed, git may have continued
        // alone.
        goes = worktree::has_no_work(session);
        if !goes {
            (context.notify)(&worktree::kept_worktree_message(&tree.path));
        }
    }
    if goes {
        worktree::remove_or_warn(context, session);
        checkpoint("session-undo-worktree");
        if let Some(commit) = &tree.new_branch {
            worktree::remove_branch(&session.repository, &session.branch, commit);
        }
        claim.update(&mut |session| {
            session.worktree.stage = ResourceStage::Intent;
            session.worktree.operation = None;
            session.worktree.new_branch = None;
        })?;
    }
    Ok(())
}

/// Removes the containers that the operation created, and stops those that it started.
fn roll_back_services(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    session: &Session,
    operation: &str,
) -> Result<()> {
    let list = &session.services.list;
    let is_made = |service: &SessionService| service.operation == operation;
    // Runs may be connected to the network of a session that had services before.
    if list
        .iter()
        .all(|service| is_made(service) && !service.existed_before)
    {
        services::remove(context, session, None)?;
    } else {
        let names = |chosen: &dyn Fn(&SessionService) -> bool| -> Vec<&str> {
            let chosen = list.iter().filter(|service| chosen(service));
            chosen.map(|service| service.name.as_str()).collect()
        };
        let made = names(&is_made);
        if !made.is_empty() {
            services::remove(context, session, Some(&made))?;
        }
        let started = names(&|service| service.started_by == operation && !is_made(service));
        services::stop(context, session, &started)?;
    }
    checkpoint("session-undo-services");
    claim.update(&mut |session| {
        let list = &mut session.services.list;
        list.retain(|service| !is_made(service) || service.existed_before);
        for service in list.iter_mut().filter(|service| is_made(service)) {
            // The container existed before and is gone now.
            service.stage = ResourceStage::Made;
            service.ready_at = None;
        }
        if session.services.list.is_empty() {
            session.services = Default::default();
        }
    })
}

/// Removes resources by their incarnation, and the worktree unless another session has claimed it.
fn roll_back_superseded(context: &OperationContext<'_>, session: &Session, operation: &str) {
    let _ = process_end::stop_all(context.home, session);
    let _ = tmux::end(session);
    let _ = compose::roll_back_compose(session, operation);
    let _ = services::remove(context, session, None);
    let tree = &session.worktree;
    let is_free = matches!(context.home.owner_of_worktree(&tree.path), Ok(None));
    let is_mine = tree.created_by_moat && tree.operation.as_deref() == Some(operation);
    if is_free && is_mine && worktree::has_no_work(session) {
        let _ = worktree::remove(context.home, &session.repository, &tree.path);
    }
}

/// Settles a session whose operation was killed. An `up` whose members all run counts as complete, even if hooks were
/// still to run; any other `up` is rolled back; a `down` is completed. Returns what it did.
pub(crate) fn recover(context: &OperationContext<'_>, key: &str) -> Result<&'static str> {
    let mut claim = context.claim(key, OpKind::Up)?;
    let _apart = child::IsolatedProcessGroup::begin();
    let Some(session) = claim.session().cloned() else {
        claim.release();
        return Ok("there is no such session");
    };
    let Some(operation) = session.operation.clone() else {
        return Ok("nothing to recover");
    };
    if operation.kind == OpKind::Down {
        return Ok(match super::down::finish(context, claim)?.kept_worktree {
            None => "taken down",
            Some(_) => "taken down; the worktree is kept",
        });
    }
    if is_complete(context, &session) {
        claim.update(&mut |session| {
            session.status = SessionStatus::Active;
            session.operation = None;
        })?;
        return Ok("everything is running: active");
    }
    roll_back(context, claim, &operation.id)?;
    Ok("rolled back")
}

/// Whether everything that an `up` was asked for exists.
fn is_complete(context: &OperationContext<'_>, session: &Session) -> bool {
    // Members that the `up` was not requested do not count.
    let operation = session.operation.as_ref().map(|operation| &operation.id);
    let runs = |process: &crate::store::SessionProcess| {
        Some(&process.operation) != operation || super::status::runs(context.home, session, process)
    };
    let is_its = |name: &str| {
        let service = session.service(name);
        service.is_some_and(|service| Some(&service.started_by) == operation)
    };
    let variables = session.worktree.path.join(files::VARIABLES_FILE);
    let health =
        services::service_healths(std::slice::from_ref(session), &|_| false, REQUEST_TIMEOUT);
    session.worktree.stage == ResourceStage::Made
        && variables.is_file()
        && compose::is_complete(context.home, session)
        && session.processes.iter().all(runs)
        && health
            .iter()
            .flatten()
            .all(|health| !is_its(&health.name) || health.is_running())
}
