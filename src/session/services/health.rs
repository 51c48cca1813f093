//! The health of services: the engine is asked once for the services of all sessions.

use std::time::Duration;

use super::super::logs::no_container;
use super::engine::engine_of;
use crate::error::Result;
use crate::runtime::{self, Exit, Inspected, Runtime, RuntimeError};
use crate::store::{ResourceStage, Session, SessionService};

/// The health of a service.
pub(crate) struct ServiceHealth {
    pub(crate) name: String,
    /// `running`, `starting`, `ended`, `stopped`, `missing` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) handle: String,
    pub(crate) exit_code: Option<u8>,
    pub(crate) ports: Vec<u16>,
    /// The reason why the engine did not respond.
    pub(crate) error: Option<String>,
}

impl ServiceHealth {
    pub(crate) fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Whether the service runs, or 'down --keep' stopped it and no `up` has requested it since.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.state, "running" | "stopped")
    }
}

/// The states of one session's containers, by service name.
pub(in crate::session) fn query_engines(
    session: &Session,
    timeout: Duration,
) -> Result<Vec<(String, Inspected)>> {
    let list = &session.services.list;
    let handles: Vec<&str> = list.iter().map(|entry| entry.handle.as_str()).collect();
    let services = &session.services;
    let runtime = runtime::of_session(&services.runtime, &services.engine, timeout)?;
    let states = runtime.inspect(&handles)?;
    let names = list.iter().map(|entry| entry.name.clone());
    Ok(names.zip(states).collect())
}

/// The health of the services of all given sessions, in their order. While an `up` is starting services of a session
/// (`is_made`), its busy engine is not asked about these: the record has their progress.
pub(in crate::session) fn service_healths(
    sessions: &[Session],
    is_made: &dyn Fn(&Session) -> bool,
    timeout: Duration,
) -> Vec<Vec<ServiceHealth>> {
    let asked = |session: &&Session| !asked_for(session, is_made(session)).is_empty();
    let mut engines: Vec<(&str, &[(String, String)])> = Vec::new();
    for session in sessions.iter().filter(asked) {
        let engine = (
            session.services.runtime.as_str(),
            session.services.engine.as_slice(),
        );
        if !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    let mut answers = Vec::new();
    for (name, settings) in engines {
        let has = |session: &&Session| {
            session.services.runtime == name && session.services.engine == settings
        };
        let entries = sessions.iter().filter(has);
        let handles: Vec<&str> = entries
            .flat_map(|session| asked_for(session, is_made(session)))
            .map(|entry| entry.handle.as_str())
            .collect();
        let runtime = runtime::of_session(name, settings, timeout);
        let states = runtime.and_then(|runtime| runtime.inspect(&handles));
        match states {
            Ok(states) => {
                let states = states.into_iter().map(Ok);
                answers.extend(handles.into_iter().zip(states));
            }
            Err(problem) => {
                let unknown = handles
                    .into_iter()
                    .map(|handle| (handle, Err(problem.clone())));
                answers.extend(unknown);
            }
        }
    }
    let health = |session: &Session| {
        let entries = session.services.list.iter();
        let health = entries.map(|entry| {
            let mut answers = answers.iter();
            let answer = answers.find(|(handle, _)| *handle == entry.handle);
            health(session, entry, answer.map(|(_, answer)| answer))
        });
        health.collect()
    };
    sessions.iter().map(health).collect()
}

/// The services that the engine is asked about; not those that an `up` under way is starting.
fn asked_for(session: &Session, is_made: bool) -> Vec<&SessionService> {
    let operation = session.operation.as_ref().filter(|_| is_made);
    let services = session.services.list.iter();
    let is_its = |entry: &&SessionService| operation.is_some_and(|own| own.id == entry.started_by);
    services.filter(|entry| !is_its(entry)).collect()
}

fn health(
    session: &Session,
    entry: &SessionService,
    answer: Option<&std::result::Result<Inspected, RuntimeError>>,
) -> ServiceHealth {
    let (state, exit_code) = match answer {
        None if entry.ready_at.is_none() => ("starting", None),
        None => ("running", None),
        Some(Err(_)) => ("unknown", None),
        Some(Ok(_)) if entry.stage == ResourceStage::Intent => ("missing", None),
        Some(Ok(Inspected::Missing)) => ("missing", None),
        Some(Ok(Inspected::Running { .. })) if entry.ready_at.is_none() => ("starting", None),
        Some(Ok(Inspected::Running { .. })) => ("running", None),
        // No `up` has started it since.
        Some(Ok(_)) if entry.ready_at.is_none() => ("stopped", None),
        Some(Ok(Inspected::Exited(exit))) => ("ended", exit.code),
        Some(Ok(Inspected::Created | Inspected::Ending { .. })) => ("stopped", None),
    };
    let error = answer.and_then(|answer| answer.as_ref().err());
    ServiceHealth {
        name: entry.name.clone(),
        state,
        handle: entry.handle.clone(),
        exit_code,
        ports: session.ports_of(&entry.name).map(|it| it.port).collect(),
        error: error.map(|problem| problem.message().to_owned()),
    }
}

/// The container of a service and its engine; `None`: there is no such service.
pub(in crate::session) fn container(
    session: &Session,
    name: &str,
) -> Result<Option<(Box<dyn Runtime>, String)>> {
    let Some(service) = session.service(name) else {
        return Ok(None);
    };
    let runtime = engine_of(session)?;
    match runtime.inspect(&[&service.handle])?[..] {
        [Inspected::Missing] => Err(no_container(name)),
        _ => Ok(Some((runtime, service.handle.clone()))),
    }
}

pub(super) fn last_lines(runtime: &dyn Runtime, handle: &str, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(services) = runtime.session_services() {
        let _ = services.read_log(handle, count, &mut |line| lines.push(line.to_owned()));
    }
    lines.split_off(lines.len().saturating_sub(count))
}

/// The exit of a container that was removed.
pub(super) fn removed_exit() -> Exit {
    Exit {
        was_removed: true,
        error: Some("another program removed its container".to_owned()),
        ..Exit::default()
    }
}
