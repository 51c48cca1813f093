//! `moat down`: removes a session, or with `keep` stops its processes and services. It reads the record alone, so
//! editing moat.yaml after `up` changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::operation::OperationContext;
use super::{compose, files, hooks, process_end, runs, services, tmux, worktree};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::{self, child};
use crate::store::{Claim, CreatedFile, DownOptions, OpKind, Session, SessionStatus};

/// The options of a `down`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DownRequest {
    /// Keep the slot, the ports and the worktree.
    pub(crate) keep: bool,
    /// Fail instead of keeping a worktree that holds uncommitted work.
    pub(crate) delete_worktree: bool,
    /// Remove the worktree even if it holds uncommitted work, and ignore engines that do not respond.
    pub(crate) force: bool,
}

/// What a `down` left in place.
#[derive(Default)]
pub(crate) struct DownOutcome {
    /// A worktree that moat created and did not remove.
    pub(crate) kept_worktree: Option<PathBuf>,
    /// The engines that did not respond and may still hold resources of the session.
    pub(crate) abandoned_engines: Vec<String>,
}

/// Removes a session.
pub(crate) fn down(
    context: &OperationContext<'_>,
    key: &str,
    request: DownRequest,
) -> Result<DownOutcome> {
    let before = context.home.session(key)?;
    let mut claim = context.take_over(key, OpKind::Down)?;
    let _apart = child::IsolatedProcessGroup::begin();
    let Some(session) = claim.session().cloned() else {
        claim.release();
        let Some(before) = before else {
            return Err(Error::new(ErrorKind::Failed, "there is no such session")
                .hint("list the sessions: moat wt list"));
        };
        // The `up` that was asked to end has rolled back by itself, except for files that a user changed.
        let tree = before.worktree;
        let stays = tree.created_by_moat && tree.path.is_dir();
        if stays {
            (context.notify)(&worktree::kept_worktree_message(&tree.path));
        }
        return Ok(DownOutcome {
            kept_worktree: stays.then_some(tree.path),
            ..DownOutcome::default()
        });
    };
    let tree = &session.worktree;
    let is_there = tree.created_by_moat && tree.path.is_dir();
    let dirty = is_there && !request.keep && !request.force && !worktree::has_no_work(&session);
    let branch = crate::term::shell_word(&session.branch);
    if dirty && request.delete_worktree {
        let message = format!("{} has uncommitted work", tree.path.display());
        return Err(Error::new(ErrorKind::NotConfirmed, message).hint(format!(
            "commit the work, or discard it: moat down {branch} --delete-worktree --force"
        )));
    }
    if request.delete_worktree && !tree.created_by_moat {
        let message = format!(
            "moat did not create {} and will not remove it",
            tree.path.display()
        );
        return Err(Error::usage(message).hint(format!(
            "repeat without --delete-worktree: moat down {branch}"
        )));
    }
    let remove_worktree = tree.created_by_moat && !request.keep && !dirty;
    let ending = DownOptions {
        keep: request.keep,
        remove_worktree,
        force: request.force,
    };
    claim.begin(ending, &mut |_, session, _| {
        session.ok_or_else(|| Error::new(ErrorKind::Failed, "there is no such session"))
    })?;
    checkpoint("session-down-begun");
    run_hook(context, &session, "pre_down", &session.hooks.pre_down, true);
    let kept = dirty.then(|| tree.path.clone());
    if let Some(path) = &kept {
        (context.notify)(&worktree::kept_worktree_message(path));
    }
    let mut left = finish(context, claim)?;
    left.kept_worktree = left.kept_worktree.or(kept);
    Ok(left)
}

/// Runs a hook of `down`. A failing hook only produces a warning. A signal does not interrupt a hook, just as it
/// interrupts no other step of the removal; the hook has its own timeout.
fn run_hook(
    context: &OperationContext<'_>,
    session: &Session,
    name: &str,
    script: &Option<String>,
    in_worktree: bool,
) {
    let dir = match in_worktree && session.worktree.path.is_dir() {
        true => &session.worktree.path,
        false => &session.main,
    };
    let timeout = Duration::from_secs(session.hooks.timeout_seconds);
    let to_its_end = OperationContext {
        should_continue: &|| true,
        ..*context
    };
    if let Err(error) = hooks::run(
        &to_its_end,
        session,
        (name, script.as_deref()),
        dir,
        timeout,
    ) {
        (context.warn)(&error.message);
    }
}

/// Completes the `down` in the record. If a resource cannot be removed, the session is broken and keeps its slot.
/// Returns the worktree only if it was not removed although it should have been.
pub(super) fn finish(context: &OperationContext<'_>, mut claim: Claim) -> Result<DownOutcome> {
    let Some(session) = claim.session().cloned() else {
        return Ok(DownOutcome::default());
    };
    claim.end();
    let keep = session
        .operation
        .as_ref()
        .is_some_and(|operation| operation.keep);
    let left = match remove_everything(context, &mut claim, &session, keep) {
        Ok(left) => left,
        Err(error) => {
            let (why, kind) = (error.message.clone(), error.kind);
            claim.update(&mut |session| {
                session.status = SessionStatus::Broken;
                session.error = Some(why.clone());
                session.operation = None;
            })?;
            let branch = crate::term::shell_word(&session.branch);
            let again = format!("try again: moat down {branch}");
            return Err(error.hint(match kind {
                ErrorKind::Runtime if !keep => format!(
                    "start that engine and {again}; if the engine is gone for good, abandon its resources (and uncommitted work in the worktree): moat down {branch} --force"
                ),
                _ => again,
            }));
        }
    };
    run_hook(
        context,
        &session,
        "post_down",
        &session.hooks.post_down,
        false,
    );
    checkpoint("session-down-before-end");
    if !keep {
        claim.remove()?;
        return Ok(left);
    }
    claim.update(&mut |session| {
        session.status = SessionStatus::Stopped;
        session.operation = None;
    })?;
    Ok(left)
}

fn remove_everything(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    session: &Session,
    keep: bool,
) -> Result<DownOutcome> {
    let mut left = DownOutcome::default();
    let operation = session.operation.as_ref();
    let force = operation.is_some_and(|operation| operation.force && !keep);
    process_end::stop_all(context.home, session)?;
    checkpoint("session-down-processes");
    tmux::end(session)?;
    checkpoint("session-down-tmux");
    claim.update(&mut |session| {
        session.processes.clear();
        session.tmux = None;
    })?;
    match runs::end_runs_of(context, session) {
        Err(error) if force => (context.warn)(&error.message),
        ended => ended?,
    }
    checkpoint("session-down-runs");
    // A resource that a responding engine refuses to remove, or cannot remove now, must not be abandoned.
    let give_up = |name: &str, engine: &[(String, String)], result: Result<()>| match result {
        Err(error) if force && !runtime::is_reachable(name, engine) => {
            let engine = runtime::engine_shown(name, engine);
            (context.warn)(&format!(
                "{}; the session's resources in {engine} stay, and 'moat clean' shows them once that engine is selected and responds",
                error.message
            ));
            Ok(Some(engine))
        }
        result => result.map(|()| None),
    };
    if let Some(compose) = &session.compose {
        let taken = compose::remove_all(session, keep);
        let engine = give_up(runtime::COMPOSE_RUNTIME.as_str(), &compose.engine, taken)?;
        left.abandoned_engines.extend(engine);
    }
    checkpoint("session-down-compose");
    claim.update(&mut |session| match &mut session.compose {
        Some(compose) if keep => {
            compose.request_pending = false;
            let services = compose.services.iter_mut();
            services.for_each(|service| service.operation.clear());
        }
        compose => *compose = None,
    })?;
    if keep {
        let list = session.services.list.iter();
        let names: Vec<&str> = list.map(|service| service.name.as_str()).collect();
        services::stop(context, session, &names)?;
        checkpoint("session-down-services");
        claim.update(&mut |session| {
            for service in &mut session.services.list {
                service.ready_at = None;
            }
        })?;
        return Ok(left);
    }
    let taken = services::remove(context, session, None);
    let engine = give_up(&session.services.runtime, &session.services.engine, taken)?;
    left.abandoned_engines.extend(engine);
    left.abandoned_engines.dedup();
    checkpoint("session-down-services");
    claim.update(&mut |session| session.services = Default::default())?;
    let tree = &session.worktree;
    let made: Vec<&CreatedFile> = session.files.iter().collect();
    let removed = files::remove(context, &tree.path, &made);
    // These files are removed together with the worktree, or the message about the kept worktree names them.
    if !operation.is_some_and(|operation| operation.force && operation.remove_worktree) {
        removed?;
    }
    claim.update(&mut |session| session.files.clear())?;
    checkpoint("session-down-files");
    if let Some(operation) = operation.filter(|operation| operation.remove_worktree) {
        // Repeated here: no process of the session can create new ones any more.
        if tree.path.is_dir() && !operation.force && !worktree::has_no_work(session) {
            (context.notify)(&worktree::kept_worktree_message(&tree.path));
            left.kept_worktree = Some(tree.path.clone());
            return Ok(left);
        }
        if !worktree::remove_or_warn(context, session) {
            left.kept_worktree = Some(tree.path.clone());
            return Ok(left);
        }
        checkpoint("session-down-worktree");
    }
    Ok(left)
}
