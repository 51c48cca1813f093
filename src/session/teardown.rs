//! The loop that ends the members of a session, for `down`, for `up` that failed and for `recover`.

use super::compose::ComposeServices;
use super::files::Files;
use super::member::{Member, Scope, Teardown};
use super::process::Processes;
use super::runs::Runs;
use super::services::Services;
use super::worktree::SessionWorktree;
use crate::error::Result;
use crate::store::{Claim, Home, Session};

const SERVICES: Services<'_> = Services { decisions: None };

/// The members in the order in which they end: the users of a resource before the resource.
const MEMBERS: [&dyn Member; 6] = [
    &Processes,
    &Runs,
    &ComposeServices,
    &SERVICES,
    &Files,
    &SessionWorktree,
];

impl Teardown<'_> {
    /// Ends the members, and forgets each in the record. The first one that cannot end stops the loop.
    pub(super) fn run(&mut self, claim: &mut Claim) -> Result<()> {
        for member in MEMBERS {
            let ended = match self.scope {
                Scope::Stop => member.stop(self),
                _ => member.remove(self),
            };
            match ended {
                Err(error) if self.is_forced() => member.abandon(self, error)?,
                ended => ended?,
            }
            claim.update(&mut |record| member.forget(self, record))?;
        }
        Ok(())
    }

    /// Removes the processes and the engine resources of a session whose record belongs to another operation. No record
    /// names what cannot be removed, so a warning does.
    pub(super) fn run_without_record(&mut self) {
        let members: [&dyn Member; 3] = [&Processes, &ComposeServices, &SERVICES];
        for error in members
            .map(|member| member.remove(self))
            .into_iter()
            .filter_map(Result::err)
        {
            (self.context.warn)(&error.message);
        }
    }
}

/// Whether everything exists and runs that the operation in the record was to make.
pub(super) fn is_complete(home: &Home, session: &Session) -> bool {
    let mut members = MEMBERS.iter().rev();
    members.all(|member| member.is_complete(home, session))
}
