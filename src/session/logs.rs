//! What services have printed: their engine keeps that.

use super::{compose, services};
use crate::error::Result;
use crate::store::{Home, Session};

/// All that a service has printed, each line with its time: stdout, and stderr. `None`: the session has no such service.
pub(crate) fn service_log(
    home: &Home,
    session: &Session,
    name: &str,
) -> Result<Option<(String, String)>> {
    match services::log(session, name)? {
        None => compose::log(home, session, name),
        log => Ok(log),
    }
}
