//! What every operation on a session needs.

use std::time::{Duration, Instant};

use super::process;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Claim, Home, OpKind, Session};
use rustix::process::Signal;

/// How long a `down` waits for the operation that it has asked to end.
const OPERATION_END_TIMEOUT: Duration = Duration::from_secs(30);

/// Who asks, and who is told.
pub(crate) struct OperationContext<'a> {
    pub(crate) home: &'a Home,
    /// False: somebody wants it to end (SIGINT, SIGTERM, SIGHUP). What was made is undone then.
    pub(crate) should_continue: &'a dyn Fn() -> bool,
    /// Says something to a person; what hooks print, too.
    pub(crate) say: &'a dyn Fn(&str),
    /// Says what must be known, whoever asks not to be told of all.
    pub(crate) warn: &'a dyn Fn(&str),
}

impl OperationContext<'_> {
    /// Fails if it is to end.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.should_continue)() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Failed, "interrupted")),
        }
    }

    /// Takes the right to change a session, or says who has it.
    pub(super) fn claim(&self, key: &str, kind: OpKind) -> Result<Claim> {
        self.try_claim(key, kind)?.ok_or_else(|| {
            let session = self.home.session(key).ok().flatten();
            busy(session.as_ref())
        })
    }

    /// Takes the right, unless somebody has it. What was killed may have left a hook, or git: nothing that follows runs beside it.
    fn try_claim(&self, key: &str, kind: OpKind) -> Result<Option<Claim>> {
        let claim = self.home.claim_session(key, kind)?;
        let session = claim.as_ref().and_then(Claim::session);
        if let Some(session) = session.filter(|session| session.operation.is_some()) {
            process::stop(session, &process::OPERATION_MARKS)?;
        }
        Ok(claim)
    }

    /// Takes the right to change a session, but asks an `up` that is under way to end, and waits for whatever is.
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
            // A `down` comes to its end anyhow; of one with --all the signal would be the end before the others' turn.
            if let Some(operation) = operation
                && operation.kind == OpKind::Up
                && asked.as_ref() != Some(&operation.id)
                && let Some(owner) = &operation.owner
            {
                // Only the process that wrote this: its start token is checked.
                if owner.signal(Signal::TERM) {
                    (self.say)(&format!(
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
            ErrorKind::Failed,
            "another moat command is changing the session",
        )
        .hint("try again in a moment");
    };
    let who = match &operation.owner {
        Some(owner) => format!(" (process {})", owner.pid),
        None => String::new(),
    };
    let branch = crate::term::harmless(&session.branch);
    let kind = operation.kind.as_str();
    let message = format!(
        "'{branch}' is busy: moat {kind}{who} since {}",
        operation.since
    );
    Error::new(ErrorKind::Failed, message)
        .hint(format!("wait for it, or end it: moat down {}", session.key))
}
