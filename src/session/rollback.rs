//! Rolls back an operation from the journal alone. A failure, a signal and a crash are handled alike.

use super::member::{Scope, Teardown};
use super::operation::OperationContext;
use super::{teardown, work, worktree};
use crate::error::Result;
use crate::failpoint::checkpoint;
use crate::runtime::child;
use crate::store::{Claim, OpKind, Session, SessionStatus};

/// Rolls back everything that an `up` made. A session that this `up` created is removed; an existing session returns
/// to its previous state. If a resource cannot be removed, the session is broken.
pub(super) fn roll_back(
    context: &OperationContext<'_>,
    claim: &mut Claim,
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
    let own = session.operation.as_ref();
    let before = own.and_then(|operation| operation.previous_status);
    let scope = Scope::Operation {
        id: operation,
        whole: own.is_some() && before.is_none(),
    };
    if let Err(error) = Teardown::new(context, &session, scope).run(claim) {
        claim.break_session(&error)?;
        return Err(error);
    }
    checkpoint("session-undone");
    let is_empty = claim.session().is_some_and(Session::is_empty);
    match before {
        None => claim.remove(),
        Some(SessionStatus::Active) if is_empty => claim.settle(SessionStatus::Stopped),
        Some(SessionStatus::Provisioning | SessionStatus::Stopping) => {
            claim.settle(SessionStatus::Stopped)
        }
        Some(before) => claim.settle(before),
    }
}

/// Removes resources by their incarnation, and the worktree unless another session has claimed it.
fn roll_back_superseded(context: &OperationContext<'_>, session: &Session, operation: &str) {
    let scope = Scope::Operation {
        id: operation,
        whole: true,
    };
    Teardown::new(context, session, scope).run_without_record();
    let tree = &session.worktree;
    let is_free = matches!(context.home.owner_of_worktree(&tree.path), Ok(None));
    let is_mine = tree.created_by_moat && tree.operation.as_deref() == Some(operation);
    if is_free && is_mine && work::of_session(session).is_none() {
        worktree::remove_or_warn(context, session);
    }
}

/// Settles a session whose operation was killed. An `up` whose members all run counts as complete, even if hooks were
/// still to run; any other `up` is rolled back; a `down` is completed. Returns what it did.
pub(crate) fn recover(context: &OperationContext<'_>, key: &str) -> Result<&'static str> {
    let mut claim = context.claim(key, OpKind::Up)?;
    let _apart = child::IsolatedProcessGroup::begin();
    let Some(session) = claim.session().cloned() else {
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
    if teardown::is_complete(context.home, &session) {
        claim.settle(SessionStatus::Active)?;
        return Ok("everything is running: active");
    }
    roll_back(context, &mut claim, &operation.id)?;
    Ok("rolled back")
}
