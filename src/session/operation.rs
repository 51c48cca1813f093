//! The context that every operation on a session needs.

use std::time::{Duration, Instant};

use super::process_end;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Claim, Home, OpKind, Session};
use rustix::process::Signal;

/// Time that a `down` waits for an operation that it has cancelled.
const OPERATION_END_TIMEOUT: Duration = Duration::from_secs(30);

/// The caller of an operation: where its notices go, and whether it was cancelled.
pub(crate) struct OperationContext<'a> {
    pub(crate) home: &'a Home,
    /// False once the operation is cancelled (SIGINT, SIGTERM, SIGHUP); the operation then rolls back.
    pub(crate) should_continue: &'a dyn Fn() -> bool,
    /// Prints a notice, and the output of hooks.
    pub(crate) notify: &'a dyn Fn(&str),
    /// Prints a warning, also with --quiet.
    pub(crate) warn: &'a dyn Fn(&str),
}

impl OperationContext<'_> {
    /// Fails if the operation is cancelled.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.should_continue)() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        }
    }

    /// Claims the session for this operation, or fails with the operation that holds the claim.
    pub(super) fn claim(&self, key: &str, kind: OpKind) -> Result<Claim> {
        self.try_claim(key, kind)?.ok_or_else(|| {
            let session = self.home.session(key).ok().flatten();
            busy(session.as_ref())
        })
    }

    /// Claims the session unless another operation holds the claim. A killed operation may have left a hook or git
    /// running; both are ended first.
    fn try_claim(&self, key: &str, kind: OpKind) -> Result<Option<Claim>> {
        let claim = self.home.claim_session(key, kind)?;
        let session = claim.as_ref().and_then(Claim::session);
        if let Some(session) = session.filter(|session| session.operation.is_some()) {
            process_end::stop(session, &process_end::OPERATION_MARKS)?;
        }
        Ok(claim)
    }

    /// Claims the session, after cancelling an `up` under way and waiting for any other operation.
    pub(super) fn take_over(&self, key: &str, kind: OpKind) -> Result<Claim> {
        let deadline = Instant::now() + OPERATION_END_TIMEOUT;
        let mut asked = None;
        loop {
            if let Some(claim) = self.try_claim(key, kind)? {
                return Ok(claim);
            }
            let session = self.home.session(key)?;
            let operation = session
                .as_ref()
                .and_then(|session| session.operation.as_ref());
            // A `down` completes in any case, and a signal would also end the remaining sessions of a `down --all`.
            if let Some(operation) = operation
                && operation.kind == OpKind::Up
                && asked.as_ref() != Some(&operation.id)
                && let Some(owner) = &operation.owner
            {
                // Only the process that wrote the record is signalled: its start token is checked.
                if owner.signal(Signal::TERM) {
                    (self.notify)(&format!(
                        "asked the running 'moat up' (process {}) to end",
                        owner.pid
                    ));
                }
                asked = Some(operation.id.clone());
            }
            if Instant::now() >= deadline {
                return Err(busy(session.as_ref()));
            }
            self.check()?;
        }
    }
}

fn busy(session: Option<&Session>) -> Error {
    let operation = session.and_then(|session| session.operation.as_ref().map(|op| (session, op)));
    let Some((session, operation)) = operation else {
        return Error::new(
            ErrorKind::Busy,
            "another moat command is changing the session",
        )
        .hint("try again in a moment");
    };
    let who = match &operation.owner {
        Some(owner) => format!(" (process {})", owner.pid),
        None => String::new(),
    };
    let branch = crate::term::escape_unsafe(&session.branch);
    let kind = operation.kind.as_str();
    let message = format!(
        "'{branch}' is busy: moat {kind}{who} since {}",
        operation.since
    );
    Error::new(ErrorKind::Busy, message).hint(format!(
        "wait for that command, or cancel it: moat down {}",
        session.key
    ))
}
