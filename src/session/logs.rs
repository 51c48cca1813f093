//! The logs of a session's services, which the engine keeps.

use super::{compose, services};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::store::Session;

/// The container of a service and its engine. `None`: the session has no such service.
pub(crate) fn service_log(
    session: &Session,
    name: &str,
) -> Result<Option<(Box<dyn Runtime>, String)>> {
    match services::container(session, name)? {
        None => compose::container(session, name),
        found => Ok(found),
    }
}

pub(super) fn no_container(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("'{name}' has no container")).hint("start it: moat up")
}
