//! `moat down`: removes a session, or with `keep` stops its processes and services. It reads the record alone, so
//! editing moat.yaml after `up` changes nothing.

use std::time::Duration;

use super::hooks::{self, Hook};
use super::member::{DownOutcome, Scope, Teardown};
use super::operation::OperationContext;
use super::work::{self, WorkFound};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::child;
use crate::store::{Claim, DownOptions, OpKind, Session, SessionStatus};
use crate::term::shell_word;

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
        let before = before.ok_or_else(no_session)?;
        // The `up` that was asked to end has rolled back by itself, except for files that a user changed.
        let found = work::of_session(&before);
        let tree = before.worktree;
        let stays = tree.created_by_moat && tree.path.is_dir();
        if stays {
            let work = found.unwrap_or(WorkFound::Changes);
            (context.notify)(&work.kept_message(&tree.path));
        }
        return Ok(DownOutcome {
            kept_worktree: stays.then_some(tree.path),
            ..DownOutcome::default()
        });
    };
    let tree = &session.worktree;
    let is_there = tree.created_by_moat && tree.path.is_dir();
    let is_going = is_there && !request.keep && !request.force;
    let work = is_going.then(|| work::of_session(&session)).flatten();
    if request.delete_worktree {
        check_worktree(&session, work.as_ref())?;
    }
    let ending = DownOptions {
        keep: request.keep,
        remove_worktree: tree.created_by_moat && !request.keep && work.is_none(),
        force: request.force,
    };
    claim.begin(ending, &mut |_, session, _| session.ok_or_else(no_session))?;
    checkpoint("session-down-begun");
    run_hook(context, &session, &pre_down(&session));
    if let Some(work) = &work {
        (context.notify)(&work.kept_message(&tree.path));
    }
    let kept = work.map(|_| tree.path.clone());
    let mut left = finish(context, claim)?;
    left.kept_worktree = left.kept_worktree.or(kept);
    Ok(left)
}

fn no_session() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such session")
        .hint("list the sessions: moat wt list")
}

/// Fails if the worktree cannot be deleted as the user requested.
fn check_worktree(session: &Session, work: Option<&WorkFound>) -> Result<()> {
    let (path, branch) = (session.worktree.path.display(), shell_word(&session.branch));
    if let Some(work) = work {
        let message = match work {
            WorkFound::Changes => format!("{path} has uncommitted work"),
            work => format!("{path} stays: {}", work.reason()),
        };
        let first = match work {
            WorkFound::Submodule(_) => {
                "commit and push the work in the submodule, then remove all".to_owned()
            }
            WorkFound::Locked(_) => {
                "unlock it with 'git worktree unlock', or remove it with its work".to_owned()
            }
            _ => "commit the work, or discard it".to_owned(),
        };
        return Err(Error::new(ErrorKind::NotConfirmed, message).hint(format!(
            "{first}: moat down {branch} --delete-worktree --force"
        )));
    }
    if !session.worktree.created_by_moat {
        let message = format!("moat did not create {path} and will not remove it");
        return Err(Error::usage(message).hint(format!(
            "repeat without --delete-worktree: moat down {branch}"
        )));
    }
    Ok(())
}

/// Runs a hook of `down`. A failing hook only produces a warning. A signal does not interrupt a hook, just as it
/// interrupts no other step of the removal; the hook has its own timeout.
fn run_hook(context: &OperationContext<'_>, session: &Session, hook: &Hook<'_>) {
    let to_its_end = OperationContext {
        should_continue: &|| true,
        ..*context
    };
    if let Err(error) = hooks::run(&to_its_end, session, hook) {
        (context.warn)(&error.message);
    }
}

fn pre_down(session: &Session) -> Hook<'_> {
    let tree = &session.worktree.path;
    Hook {
        name: "pre_down",
        script: session.hooks.pre_down.as_deref(),
        dir: if tree.is_dir() { tree } else { &session.main },
        timeout: Duration::from_secs(session.hooks.timeout_seconds),
    }
}

fn post_down(session: &Session) -> Hook<'_> {
    Hook {
        name: "post_down",
        script: session.hooks.post_down.as_deref(),
        dir: &session.main,
        timeout: Duration::from_secs(session.hooks.timeout_seconds),
    }
}

/// Completes the `down` in the record. If a resource cannot be removed, the session is broken and keeps its slot.
/// Returns the worktree only if it was not removed although it should have been.
pub(super) fn finish(context: &OperationContext<'_>, mut claim: Claim) -> Result<DownOutcome> {
    let Some(session) = claim.session().cloned() else {
        return Ok(DownOutcome::default());
    };
    claim.end();
    let operation = session.operation.as_ref();
    let scope = match operation {
        Some(operation) if operation.keep => Scope::Stop,
        _ => Scope::Session {
            remove_worktree: operation.is_some_and(|operation| operation.remove_worktree),
            force: operation.is_some_and(|operation| operation.force),
        },
    };
    let keep = matches!(scope, Scope::Stop);
    let mut teardown = Teardown::new(context, &session, scope);
    if let Err(error) = teardown.run(&mut claim) {
        claim.break_session(&error)?;
        let branch = shell_word(&session.branch);
        let again = format!("try again: moat down {branch}");
        return Err(match error.kind {
            ErrorKind::Runtime if !keep => error.hint(format!(
                "start that engine and {again}; if the engine is gone for good, abandon its resources (and uncommitted work in the worktree): moat down {branch} --force"
            )),
            _ => error.hint(again),
        });
    }
    run_hook(context, &session, &post_down(&session));
    checkpoint("session-down-before-end");
    match keep {
        true => claim.settle(SessionStatus::Stopped)?,
        false => claim.remove()?,
    }
    Ok(teardown.left)
}
