//! `moat down`: takes a session away, or, with `keep`, what runs of it. It goes by the record alone: a file that
//! was edited since `up` changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use super::operation::OperationContext;
use super::{compose, files, hooks, process, runs, services, tmux, worktree};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::{self, child};
use crate::store::{Claim, CreatedFile, DownOptions, OpKind, Session, SessionStatus};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DownRequest {
    /// Slot, ports and worktree stay.
    pub(crate) keep: bool,
    /// Refuse, rather than keep a worktree with work in it.
    pub(crate) delete_worktree: bool,
    /// Remove the worktree even with work in it, and do not mind an engine that cannot be asked.
    pub(crate) force: bool,
}

/// What stays of a session that is taken down.
#[derive(Default)]
pub(crate) struct DownOutcome {
    /// A worktree that was moat's.
    pub(crate) worktree: Option<PathBuf>,
    /// The engines that could not be asked, and keep what they have of it.
    pub(crate) engines: Vec<String>,
}

/// Takes a session down.
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
                .hint("see what there is: moat wt list"));
        };
        // The `up` that we asked to end has taken it back itself, but for what somebody has worked on.
        let tree = before.worktree;
        let stays = tree.ours && tree.path.is_dir();
        if stays {
            (context.say)(&worktree::kept_worktree_message(&tree.path));
        }
        return Ok(DownOutcome {
            worktree: stays.then_some(tree.path),
            ..DownOutcome::default()
        });
    };
    let tree = &session.worktree;
    let is_there = tree.ours && tree.path.is_dir();
    let dirty = is_there && !request.keep && !request.force && !worktree::has_no_work(&session);
    let branch = crate::term::word(&session.branch);
    if dirty && request.delete_worktree {
        let message = format!("{} has work that is not committed", tree.path.display());
        return Err(Error::new(ErrorKind::NotConfirmed, message).hint(format!(
            "commit it, or lose it: moat down {branch} --delete-worktree --force"
        )));
    }
    if request.delete_worktree && !tree.ours {
        let message = format!(
            "{} was not made by moat, which so does not remove it",
            tree.path.display()
        );
        return Err(Error::usage(message).hint(format!("leave it out: moat down {branch}")));
    }
    let remove_worktree = tree.ours && !request.keep && !dirty;
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
        (context.say)(&worktree::kept_worktree_message(path));
    }
    let mut left = finish(context, claim)?;
    left.worktree = left.worktree.or(kept);
    Ok(left)
}

/// Hooks of a `down` only warn: it goes on. A signal does not cut them short, as it does nothing else of the end of a
/// session: they have their time.
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

/// Carries a `down` that is in the record to its end. Where something cannot be removed, the session is broken,
/// and keeps its slot. Gives the worktree only if it stays although it was to go.
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
            let branch = crate::term::word(&session.branch);
            let again = format!("try again: moat down {branch}");
            return Err(error.hint(match kind {
                ErrorKind::Runtime if !keep => format!(
                    "start that engine, and {again}; if it is gone for good, give up what it has, and a worktree with work in it: moat down {branch} --force"
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
    process::stop_all(context.home, session)?;
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
    // What an engine that answers has refused, or could not do just now, is no reason to leave it there.
    let give_up = |name: &str, engine: &[(String, String)], result: Result<()>| match result {
        Err(error) if force && !runtime::is_reachable(name, engine) => {
            let engine = runtime::engine_shown(name, engine);
            (context.warn)(&format!(
                "{}; what the session has in {engine} stays, and is shown by 'moat clean' when that is chosen and answers",
                error.message
            ));
            Ok(Some(engine))
        }
        result => result.map(|()| None),
    };
    if let Some(compose) = &session.compose {
        let taken = compose::remove_all(session, keep);
        let engine = give_up(runtime::COMPOSE_RUNTIME.as_str(), &compose.engine, taken)?;
        left.engines.extend(engine);
    }
    checkpoint("session-down-compose");
    claim.update(&mut |session| match &mut session.compose {
        Some(compose) if keep => {
            compose.asked = false;
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
    left.engines.extend(engine);
    left.engines.dedup();
    checkpoint("session-down-services");
    claim.update(&mut |session| session.services = Default::default())?;
    let tree = &session.worktree;
    let made: Vec<&CreatedFile> = session.files.iter().collect();
    let removed = files::remove(context, &tree.path, &made);
    // With the worktree they go anyway, or that is told.
    if !operation.is_some_and(|operation| operation.force && operation.remove_worktree) {
        removed?;
    }
    claim.update(&mut |session| session.files.clear())?;
    checkpoint("session-down-files");
    if let Some(operation) = operation.filter(|operation| operation.remove_worktree) {
        // Again, now that nothing of the session runs any more that could make some.
        if tree.path.is_dir() && !operation.force && !worktree::has_no_work(session) {
            (context.say)(&worktree::kept_worktree_message(&tree.path));
            left.worktree = Some(tree.path.clone());
            return Ok(left);
        }
        if !worktree::remove_or_warn(context, session) {
            left.worktree = Some(tree.path.clone());
            return Ok(left);
        }
        checkpoint("session-down-worktree");
    }
    Ok(left)
}
