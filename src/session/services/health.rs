//! How the services of sessions are: the engine is asked once for all of them.

use std::time::Duration;

use super::super::logs::no_container;
use super::engine_of;
use crate::error::Result;
use crate::runtime::{self, Exit, Inspected, Runtime, RuntimeError};
use crate::store::{ResourceStage, Session, SessionPort, SessionService};

/// How a service is.
pub(crate) struct ServiceHealth {
    pub(crate) name: String,
    /// `running`, `starting`, `ended`, `stopped`, `missing` or `unknown`.
    pub(crate) state: &'static str,
    pub(crate) handle: String,
    pub(crate) exit_code: Option<u8>,
    pub(crate) ports: Vec<u16>,
    /// Why the engine could not be asked.
    pub(crate) error: Option<String>,
}

impl ServiceHealth {
    pub(crate) fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// Whether it runs, or was stopped by 'down --keep' and is not wanted since.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.state, "running" | "stopped")
    }
}

/// The states of the containers of one session, by the names of its services.
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

/// How the services of all these sessions are, in the order of the sessions. In those that `is_made` an `up` is under way:
/// the engine, which has its hands full then, is not asked for what that starts, as the record says how far it is.
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

/// Those services that the engine is asked for; in a session that is just being brought up, what that does not start.
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
        // Nobody has started it since.
        Some(Ok(_)) if entry.ready_at.is_none() => ("stopped", None),
        Some(Ok(Inspected::Exited(exit))) => ("ended", exit.code),
        Some(Ok(Inspected::Created | Inspected::Ending { .. })) => ("stopped", None),
    };
    let own = |port: &&SessionPort| port.process == entry.name;
    let error = answer.and_then(|answer| answer.as_ref().err());
    ServiceHealth {
        name: entry.name.clone(),
        state,
        handle: entry.handle.clone(),
        exit_code,
        ports: session
            .ports
            .iter()
            .filter(own)
            .map(|port| port.port)
            .collect(),
        error: error.map(|problem| problem.message().to_owned()),
    }
}

/// The container of a service, and its engine; `None`: there is no such service.
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
    let _ = runtime.read_log(handle, count, &mut |line| lines.push(line.to_owned()));
    lines.split_off(lines.len().saturating_sub(count))
}

/// The end of a container that somebody removed.
pub(super) fn removed_exit() -> Exit {
    Exit {
        vanished: true,
        error: Some("its container was removed by somebody else".to_owned()),
        ..Exit::default()
    }
}
