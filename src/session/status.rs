//! The state of a session. The record holds the expected state; observed states are compared with it.

use std::time::Duration;

use super::compose::ComposeContainers;
use super::port_probe::{self, PortListener};
use super::process::{is_process_of, leader_process};
use super::services::{self, ServiceHealth};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime;
use crate::store::{Home, OpKind, ProcessIdentity, Session, SessionProcess, SessionStatus};

/// A session with the health of its processes and services.
pub(crate) struct SessionView {
    pub(crate) session: Session,
    /// Whether the process of the recorded operation is gone: it was killed.
    pub(crate) abandoned: bool,
    pub(crate) processes: Vec<ProcessHealth>,
    pub(crate) services: Vec<ServiceHealth>,
}

/// The health of a process or service.
#[derive(Default)]
pub(crate) struct ProcessHealth {
    pub(crate) name: String,
    /// Not set: its engine does not respond.
    pub(crate) running: Option<bool>,
    pub(crate) pid: Option<u32>,
    /// The name of the container of a service.
    pub(crate) container: Option<String>,
    /// Whether 'down --keep' stopped it, and no `up` has requested it since.
    pub(crate) stopped: bool,
    /// A problem that exists although the process may run.
    pub(crate) error: Option<String>,
    /// The exit, if a monitor or the engine recorded it.
    pub(crate) exit_code: Option<u8>,
    pub(crate) ports: Vec<PortView>,
}

/// A port as the record has it, and its listener.
pub(crate) struct PortView {
    pub(crate) port: u16,
    pub(crate) primary: bool,
    /// Whether the process itself listens.
    pub(crate) listening: bool,
    /// The pid of a foreign process that listens; 0 for a process of another user.
    pub(crate) foreign_pid: Option<u32>,
}

impl SessionView {
    /// The engines that do not report the state of the session's services, and the reasons.
    pub(crate) fn unreachable_engines(&self) -> Vec<(String, &str)> {
        let own = &self.session.services;
        let of_services = self
            .services
            .iter()
            .find_map(|health| health.error.as_deref());
        let of_services =
            of_services.map(|why| (runtime::engine_shown(&own.runtime, &own.engine), why));
        let mut unknown = self.processes.iter();
        let unknown = unknown.find(|health| health.running.is_none());
        let compose = self
            .session
            .compose
            .as_ref()
            .zip(unknown)
            .map(|(own, health)| {
                let engine = runtime::engine_shown(runtime::COMPOSE_RUNTIME.as_str(), &own.engine);
                (engine, health.error.as_deref().unwrap_or_default())
            });
        of_services.into_iter().chain(compose).collect()
    }

    /// Whether the session is in its expected state.
    pub(crate) fn is_healthy(&self) -> bool {
        let stolen =
            |health: &ProcessHealth| health.ports.iter().any(|port| port.foreign_pid.is_some());
        let is_stopped = self.session.status == SessionStatus::Stopped;
        self.session.operation.is_none()
            && self.session.status != SessionStatus::Broken
            && self.session.worktree.path.is_dir()
            && self.processes.iter().all(|health| {
                let runs = health.running == Some(true);
                is_stopped || health.stopped || runs && health.error.is_none() && !stolen(health)
            })
            && self.services.iter().all(ServiceHealth::is_well)
    }
}

/// Views sessions at once. State on an engine that does not respond in time is unknown.
pub(crate) fn view(
    home: &Home,
    sessions: Vec<Session>,
    timeout: Duration,
) -> Result<Vec<SessionView>> {
    let ports: Vec<u16> = sessions
        .iter()
        .flat_map(|session| &session.ports)
        .map(|port| port.port)
        .collect();
    let listeners = port_probe::listeners(&ports);
    let is_made = |session: &Session| {
        let operation = session.operation.as_ref();
        operation.is_some_and(|operation| operation.kind == OpKind::Up)
            && home.session_is_busy(&session.key).unwrap_or_default()
    };
    let made: Vec<&Session> = sessions.iter().filter(|session| is_made(session)).collect();
    let is_made = |session: &Session| made.iter().any(|other| other.key == session.key);
    let (seen, services) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| ComposeContainers::query(&sessions, timeout));
        let services = services::service_healths(&sessions, &is_made, timeout);
        (seen.join(), services)
    });
    let seen = seen.map_err(|_| Error::new(ErrorKind::Failed, "panic"))?;
    let mut views = Vec::new();
    for (mut session, services) in sessions.into_iter().zip(services) {
        let mut abandoned = session.operation.is_some() && !home.session_is_busy(&session.key)?;
        if abandoned && let Some(now) = home.session(&session.key)? {
            // The operation may have completed between the two reads. The record is written before the lock is
            // released.
            abandoned = now.operation_id() == session.operation_id();
            session = now;
        }
        let processes = session
            .processes
            .iter()
            .map(|process| health(home, &session, process, &listeners));
        views.push(SessionView {
            abandoned,
            processes: processes.chain(seen.health(&session)).collect(),
            services,
            session,
        });
    }
    Ok(views)
}

fn health(
    home: &Home,
    session: &Session,
    process: &SessionProcess,
    listeners: &[PortListener],
) -> ProcessHealth {
    let leader = leader_process(home, session, process);
    let state = home.process_state(session, &process.name);
    let running = leader.as_ref().is_some_and(ProcessIdentity::is_alive);
    let ports = session.ports_of(&process.name).map(|port| {
        let mut view = PortView {
            port: port.port,
            primary: port.primary,
            listening: false,
            foreign_pid: None,
        };
        for listener in listeners
            .iter()
            .filter(|listener| listener.port == port.port)
        {
            match listener.pid {
                Some(pid) if is_process_of(session, &process.name, pid) => view.listening = true,
                pid => view.foreign_pid = Some(pid.unwrap_or(0)),
            }
        }
        view
    });
    ProcessHealth {
        name: process.name.clone(),
        running: Some(running),
        pid: leader.filter(|_| running).map(|leader| leader.pid),
        exit_code: state.filter(|_| !running).and_then(|state| state.exit_code),
        ports: ports.collect(),
        ..ProcessHealth::default()
    }
}
