//! The services of a session that come from a compose file in its worktree.
//!
//! The compose tool reads the file and creates its services. It never removes any: removal goes through the engine,
//! by the label of the session's incarnation, and so works without the file and without the tool, and never touches
//! another project of the same name.

mod base_images;
mod decisions;
mod health;
mod networks;
mod readiness;
mod remove;
mod rewrite;
mod start;

pub(super) use decisions::{decide, dependencies_of, record_intents};
pub(super) use health::{ComposeContainers, container, is_complete, runs};
pub(super) use networks::join_networks;
pub(super) use remove::{forget_rolled_back, remove_all, roll_back_compose, roll_back_interrupted};
pub(super) use start::start;

use std::time::Duration;

use super::up::{Action, Decision};
use crate::error::{Error, ErrorKind};
use crate::runtime::{self, ContainerState, RuntimeError, SessionContainer};
use crate::store::{ComposeService, Home, ResourceStage, Session, SessionCompose};

/// The mark in the environment of the compose tool.
pub(super) const COMPOSE_MARK: &str = ".compose";

/// Poll interval of the check of started services.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Adds a hint to an engine's error.
fn failed(problem: RuntimeError) -> Error {
    let error = Error::from(problem);
    match error.kind {
        ErrorKind::Runtime if error.hint.as_ref().is_some_and(|hint| hint.contains("--runtime")) => error
            .hint("the services of session.compose need the engine of docker: start it; run 'moat doctor'"),
        _ => error,
    }
}

/// The containers of a session's compose services.
fn containers(home: &Home, session: &Session) -> runtime::Result<Vec<SessionContainer>> {
    containers_within(home, session, runtime::REQUEST_TIMEOUT)
}

fn containers_within(
    home: &Home,
    session: &Session,
    timeout: Duration,
) -> runtime::Result<Vec<SessionContainer>> {
    let Some(compose) = &session.compose else {
        return Ok(Vec::new());
    };
    let mut found = runtime::session_containers(&compose.engine, &home.hash(), timeout)?;
    found.retain(|container| container.session == session.incarnation);
    Ok(found)
}

/// The state of a service: the worst state of its containers.
fn state_of<'a>(
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
fn is_up(state: ContainerState, once: bool) -> bool {
    match state {
        ContainerState::Ended(code) => once && code == Some(0),
        ContainerState::Other => false,
        _ => true,
    }
}

fn started(decisions: &[Decision]) -> impl Iterator<Item = &str> {
    let started = |decision: &&Decision| decision.action == Action::Started;
    let started = decisions.iter().filter(started);
    started.map(|decision| decision.name.as_str())
}

fn record_intent(compose: &mut SessionCompose, name: &str, operation: &str, once: bool) {
    let mut services = compose.services.iter();
    let before = services.find(|service| service.name == name);
    let again = before.is_some_and(|before| before.existed_before || before.operation != operation);
    compose.services.retain(|service| service.name != name);
    compose.services.push(ComposeService {
        name: name.to_owned(),
        stage: ResourceStage::Intent,
        operation: operation.to_owned(),
        one_shot: once,
        existed_before: again,
    });
}

/// Indents lines below a message.
fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines
        .map(|line| format!("\n  {}", crate::term::escape_unsafe(line.trim_end())))
        .collect()
}
