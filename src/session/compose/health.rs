//! The health of compose services, as far as their engine reports it.

use std::time::Duration;

use super::super::logs::no_container;
use super::super::status::{PortView, ProcessHealth};
use super::engine::{containers, containers_within, failed, is_up, state_of};
use crate::error::Result;
use crate::runtime::{self, ContainerState, Runtime, SessionContainer};
use crate::store::{ComposeService, ResourceStage, Session};

/// The containers that the engines report for several sessions; each engine is asked once.
pub(in crate::session) struct ComposeContainers {
    engines: Vec<EngineContainers>,
}

struct EngineContainers {
    settings: Vec<(String, String)>,
    found: runtime::Result<Vec<SessionContainer>>,
}

impl ComposeContainers {
    pub(in crate::session) fn query(sessions: &[Session], timeout: Duration) -> ComposeContainers {
        let mut engines: Vec<EngineContainers> = Vec::new();
        for compose in sessions
            .iter()
            .filter_map(|session| session.compose.as_ref())
        {
            let settings = &compose.engine;
            let is_known = engines.iter().any(|engine| engine.settings == *settings);
            if !is_known && !compose.services.is_empty() {
                engines.push(EngineContainers {
                    settings: settings.clone(),
                    found: runtime::compose_engine(settings, timeout).session_containers(),
                });
            }
        }
        ComposeContainers { engines }
    }

    /// The health of a session's compose services.
    pub(in crate::session) fn health(&self, session: &Session) -> Vec<ProcessHealth> {
        let Some(compose) = &session.compose else {
            return Vec::new();
        };
        let is_its = |engine: &&EngineContainers| engine.settings == compose.engine;
        let found = self.engines.iter().find(is_its).map(|engine| &engine.found);
        let health = |service: &ComposeService| {
            let mut health = ProcessHealth {
                name: service.name.clone(),
                running: Some(false),
                ..ProcessHealth::default()
            };
            match found {
                Some(Ok(found)) => {
                    if let Some(container) = state_of(found, session, &service.name) {
                        health.container = Some(container.name.clone());
                        health.running = Some(is_up(container.state, service.may_complete()));
                        let is_over = matches!(container.state, ContainerState::Ended(_));
                        health.stopped = is_over && service.operation.is_empty();
                        (health.error, health.exit_code) = match container.state {
                            ContainerState::Ended(code) => (None, code),
                            ContainerState::Unhealthy => (Some("unhealthy".to_owned()), None),
                            ContainerState::Starting => (Some("starting".to_owned()), None),
                            ContainerState::Other => (Some("not running".to_owned()), None),
                            ContainerState::Running { .. } => (None, None),
                        };
                    }
                }
                Some(Err(problem)) => {
                    health.running = None;
                    health.error = Some(crate::term::escape_unsafe(problem.message()));
                }
                None => {}
            }
            let own = session.ports_of(&service.name);
            health.ports = own
                .map(|port| PortView {
                    port: port.port,
                    primary: port.primary,
                    // The engine reports the ports while the container runs.
                    listening: health.running == Some(true) && health.exit_code.is_none(),
                    foreign_pid: None,
                })
                .collect();
            health
        };
        compose.services.iter().map(health).collect()
    }
}

/// The container of a service and its engine; `None`: the session has no such service.
pub(in crate::session) fn container(
    session: &Session,
    name: &str,
) -> Result<Option<(Box<dyn Runtime>, String)>> {
    let services = session.compose_services();
    let Some(compose) = &session.compose else {
        return Ok(None);
    };
    if !services.iter().any(|service| service.name == name) {
        return Ok(None);
    }
    let found = containers(session).map_err(failed)?;
    let Some(container) = state_of(&found, session, name) else {
        return Err(no_container(name));
    };
    let engine = runtime::open(runtime::COMPOSE_RUNTIME, &compose.engine, None);
    Ok(Some((engine, container.id.clone())))
}

/// Whether a service of a session runs; `None` if the session has no such service or the engine does not respond.
pub(in crate::session) fn runs(session: &Session, name: &str) -> Option<runtime::Result<bool>> {
    let mut services = session.compose_services().iter();
    let service = services.find(|service| service.name == name)?;
    let found = containers_within(session, runtime::QUICK_TIMEOUT);
    Some(found.map(|found| {
        let container = state_of(&found, session, name);
        container.is_some_and(|container| is_up(container.state, service.may_complete()))
    }))
}

/// Whether all services are up and none is being created.
pub(super) fn is_complete(session: &Session) -> bool {
    let Ok(found) = containers(session) else {
        return false;
    };
    // Services that the `up` was not requested do not count.
    let operation = session.operation_id();
    let own = session.compose_services().iter();
    let mut own = own.filter(|service| operation == Some(&service.operation));
    own.all(|service| {
        let container = state_of(&found, session, &service.name);
        let state = container.map(|container| container.state);
        service.stage == ResourceStage::Made
            && state.is_some_and(|state| {
                is_up(state, service.may_complete())
                    && !matches!(state, ContainerState::Unhealthy | ContainerState::Starting)
            })
    })
}
