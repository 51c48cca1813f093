//! The engine of the compose services: its containers, their states, and the tool that creates them.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, ComposeTool, ContainerState, RuntimeError, SessionContainer};
use crate::store::Session;

/// Poll interval of the check of started services.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Adds a hint to an engine's error.
pub(super) fn failed(problem: RuntimeError) -> Error {
    let error = Error::from(problem);
    match error.kind {
        ErrorKind::Runtime if error.hint.as_ref().is_some_and(|hint| hint.contains("--runtime")) => error
            .hint("the services of session.compose need the engine of docker: start it; run 'moat doctor'"),
        _ => error,
    }
}

/// The containers of a session's compose services.
pub(super) fn containers(session: &Session) -> runtime::Result<Vec<SessionContainer>> {
    containers_within(session, runtime::REQUEST_TIMEOUT)
}

pub(super) fn containers_within(
    session: &Session,
    timeout: Duration,
) -> runtime::Result<Vec<SessionContainer>> {
    let Some(compose) = &session.compose else {
        return Ok(Vec::new());
    };
    let mut found = runtime::compose_engine(&compose.engine, timeout).session_containers()?;
    found.retain(|container| container.session == session.incarnation);
    Ok(found)
}

/// The state of a service: the worst state of its containers.
pub(super) fn state_of<'a>(
    containers: &'a [SessionContainer],
    session: &Session,
    name: &str,
) -> Option<&'a SessionContainer> {
    let rank = |container: &&SessionContainer| match container.state {
        ContainerState::Ended(_) => 0,
        ContainerState::Other => 1,
        ContainerState::Unhealthy => 2,
        ContainerState::Starting => 3,
        ContainerState::Running { .. } => 4,
    };
    containers
        .iter()
        .filter(|container| container.session == session.incarnation && container.service == name)
        .min_by_key(rank)
}

/// Whether a service is up; a one-shot service that has completed counts.
pub(super) fn is_up(state: ContainerState, once: bool) -> bool {
    match state {
        ContainerState::Ended(code) => once && code == Some(0),
        ContainerState::Other => false,
        _ => true,
    }
}

/// Indents lines below a message.
pub(super) fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines
        .map(|line| format!("\n  {}", crate::term::escape_unsafe(line.trim_end())))
        .collect()
}

/// The compose tool, if it is installed and its engine is on this machine.
pub(super) fn tool(engine: &[(String, String)]) -> Result<ComposeTool> {
    if let Some(address) = runtime::remote_address(runtime::COMPOSE_RUNTIME, engine) {
        let address = crate::term::escape_unsafe(&address);
        let message =
            format!("the engine is on another machine ({address}): its ports are not on this one");
        return Err(Error::new(ErrorKind::Runtime, message)
            .hint("session.compose needs an engine on this machine: unset DOCKER_HOST, or choose another context"));
    }
    Ok(runtime::compose_engine(engine, runtime::REQUEST_TIMEOUT).tool()?)
}
