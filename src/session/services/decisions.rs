//! Decides what an `up` does about each service, and on which engine. Read-only.

use super::engine::{engine_of, handle};
use super::health;
use super::remove::{remove, stop};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Host};
use crate::runtime::{Capability, Inspected, REQUEST_TIMEOUT, Runtime};
use crate::session::operation::OperationContext;
use crate::session::port_probe;
use crate::session::ports::PinnedPort;
use crate::session::request::{Action, Decision, UpRequest};
use crate::store::{ResourceStage, Session, SessionService, SessionStatus, fnv1a};

/// The action for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum ServiceAction {
    /// Not requested and not running.
    Skip,
    /// Not requested and stopped; its container stays, with its data.
    Leave,
    /// Running.
    Keep,
    /// Running, but never seen ready.
    Wait,
    /// Stopped; its container exists, with its data.
    Start,
    /// Running; it is restarted, with its data.
    Restart,
    Make,
}

pub(in crate::session) struct ServiceStep<'a> {
    pub(super) plan: &'a plan::PlannedService,
    pub(super) action: ServiceAction,
    why: String,
    /// Whether the service runs and is stopped before it is started or recreated.
    ends_first: bool,
}

/// The actions for all services of a session.
pub(in crate::session) struct ServiceDecisions<'a> {
    pub(super) steps: Vec<ServiceStep<'a>>,
    /// Not set: no action needs an engine.
    pub(super) engine: Option<(SessionEngine, Host)>,
}

/// The engine of a session's services.
pub(super) struct SessionEngine {
    pub(super) name: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) runtime: Box<dyn Runtime>,
}

impl ServiceAction {
    fn action(self) -> Action {
        match self {
            ServiceAction::Skip | ServiceAction::Leave => Action::Skipped,
            ServiceAction::Keep => Action::Kept,
            ServiceAction::Wait
            | ServiceAction::Start
            | ServiceAction::Restart
            | ServiceAction::Make => Action::Started,
        }
    }

    /// Whether the container, and so its ports, is kept.
    pub(in crate::session) fn has_ports(self) -> bool {
        !matches!(self, ServiceAction::Skip | ServiceAction::Make)
    }
}

impl<'a> ServiceDecisions<'a> {
    pub(in crate::session) fn decide(
        context: &OperationContext<'_>,
        session: Option<&Session>,
        request: &UpRequest<'a>,
    ) -> Result<ServiceDecisions<'a>> {
        let mut plans = request.services.iter();
        let wants_any = plans.any(|plan| request.wants(&plan.name));
        let is_asked = |it: &&Session| !it.services.list.is_empty() && !request.services.is_empty();
        let states = match session.filter(is_asked) {
            Some(session) => match health::query_engines(session, REQUEST_TIMEOUT) {
                // Without a requested service, no engine is needed.
                Err(_) if !wants_any => Vec::new(),
                states => states?,
            },
            None => Vec::new(),
        };
        let mut steps = Vec::new();
        for plan in request.services {
            let name = &plan.name;
            let entry = session.and_then(|session| session.service(name));
            let entry = entry.filter(|entry| entry.stage == ResourceStage::Made);
            let mut states = states.iter();
            let state = states.find_map(|(of, state)| (of == name).then_some(state));
            let (how, why) = decide(session, entry.zip(state), plan, request);
            let runs = matches!(state, Some(Inspected::Running { .. }));
            let ends = runs && matches!(how, ServiceAction::Restart | ServiceAction::Make);
            steps.push(ServiceStep {
                plan,
                action: how,
                why,
                ends_first: ends,
            });
        }
        let mut decided = ServiceDecisions {
            steps,
            engine: None,
        };
        let works: Vec<&str> = decided.working().collect();
        if !works.is_empty() {
            decided.engine = Some(SessionEngine::find(session, request, &works)?);
        }
        context.check()?;
        Ok(decided)
    }

    pub(in crate::session) fn decisions(&self) -> impl Iterator<Item = Decision> {
        self.steps.iter().map(|step| Decision {
            ends: step.ends_first,
            name: step.plan.name.clone(),
            action: step.action.action(),
            reason: step.why.clone(),
        })
    }

    pub(in crate::session) fn is_idle(&self) -> bool {
        self.engine.is_none()
    }

    /// The action for one service; `None`: there is no such service.
    pub(in crate::session) fn how(&self, name: &str) -> Option<ServiceAction> {
        let mut steps = self.steps.iter();
        steps.find_map(|step| (step.plan.name == name).then_some(step.action))
    }

    /// The steps that change a container.
    pub(super) fn changes(&self) -> impl Iterator<Item = &ServiceStep<'a>> {
        let is_change = |step: &&ServiceStep<'_>| step.action.action() == Action::Started;
        self.steps.iter().filter(is_change)
    }

    /// The services that change.
    pub(in crate::session) fn working(&self) -> impl Iterator<Item = &str> {
        self.changes().map(|step| step.plan.name.as_str())
    }

    /// The services that run and are stopped before they are started or recreated.
    pub(in crate::session) fn ending(&self) -> impl Iterator<Item = &str> {
        let ending = self.steps.iter().filter(|step| step.ends_first);
        ending.map(|step| step.plan.name.as_str())
    }

    /// Checks, before anything is stopped or made, that stopped services can have their ports again.
    pub(in crate::session) fn check(&self, session: &Session) -> Result<()> {
        self.check_ports(session, ServiceAction::Start)
    }

    fn check_ports(&self, session: &Session, which: ServiceAction) -> Result<()> {
        for step in self.steps.iter().filter(|step| step.action == which) {
            let name = step.plan.name.as_str();
            let mut own = session.ports_of(name);
            if let Some(port) = own.find(|port| port_probe::is_taken(port.port)) {
                return Err(port_listener_error(name, port.port));
            }
        }
        Ok(())
    }

    /// Removes the containers that are recreated, and stops those that are restarted.
    pub(in crate::session) fn clear(
        &self,
        context: &OperationContext<'_>,
        session: &Session,
    ) -> Result<()> {
        let chosen = |how: ServiceAction| {
            let steps = self.steps.iter().filter(move |step| step.action == how);
            steps.map(|step| step.plan.name.as_str())
        };
        let made = chosen(ServiceAction::Make);
        let made: Vec<&str> = made.filter(|it| session.service(it).is_some()).collect();
        if !made.is_empty() {
            remove(context, session, Some(&made))?;
        }
        let restarted: Vec<&str> = chosen(ServiceAction::Restart).collect();
        stop(context, session, &restarted)?;
        self.check_ports(session, ServiceAction::Restart)
    }

    /// Records the intents of creation and start.
    pub(in crate::session) fn reserve(&self, session: &mut Session, operation: &str) {
        let Some((engine, _)) = &self.engine else {
            return;
        };
        session.services.runtime.clone_from(&engine.name);
        session.services.engine.clone_from(&engine.settings);
        for step in self.changes() {
            let name = &step.plan.name;
            if step.action == ServiceAction::Make {
                let entry = entry(session, step.plan, operation);
                session.services.list.retain(|other| other.name != *name);
                session.services.list.push(entry);
                continue;
            }
            let mut entries = session.services.list.iter_mut();
            if let Some(entry) = entries.find(|entry| entry.name == *name) {
                operation.clone_into(&mut entry.started_by);
                entry.ready_at = None;
            }
        }
    }
}

/// The user of a port that a container needs again.
fn port_listener_error(name: &str, port: u16) -> Error {
    let holder = port_probe::listener_name(port);
    let message = format!("port {port} of '{name}' is held by {holder}");
    Error::new(ErrorKind::Conflict, message).hint(format!(
        "stop that process, or recreate {name} on another port and delete its data: --force --port {name}=PORT"
    ))
}

fn entry(session: &Session, plan: &plan::PlannedService, operation: &str) -> SessionService {
    let before = session.service(&plan.name);
    SessionService {
        name: plan.name.clone(),
        service: plan.service.clone(),
        version: plan.version.clone(),
        image: plan.image.clone(),
        handle: handle(session, &plan.name),
        settings_hash: settings_hash(plan),
        stage: ResourceStage::Intent,
        operation: operation.to_owned(),
        existed_before: before
            .is_some_and(|before| before.existed_before || before.operation != operation),
        started_by: operation.to_owned(),
        ready_at: None,
        variables: before.map_or_else(Vec::new, |before| before.variables.clone()),
    }
}

/// A hash of the settings of a container. Of secrets, it contains the names only.
fn settings_hash(plan: &plan::PlannedService) -> String {
    let mut parts = vec![plan.image.clone()];
    parts.extend(plan.command.iter().cloned());
    for variable in &plan.env {
        parts.push(format!("{}={}", variable.name, variable.value.expose()));
    }
    parts.extend(plan.secrets.iter().map(|secret| secret.name.clone()));
    let limits = [
        plan.memory_bytes.map(|bytes| bytes.to_string()),
        plan.cpus.map(|cpus| cpus.to_string()),
    ];
    parts.extend(limits.map(Option::unwrap_or_default));
    format!("{:016x}", fnv1a(parts.join("\0").as_bytes()))
}

fn decide(
    session: Option<&Session>,
    known: Option<(&SessionService, &Inspected)>,
    plan: &plan::PlannedService,
    request: &UpRequest<'_>,
) -> (ServiceAction, String) {
    let name = &plan.name;
    let wanted = request.wants(name);
    let Some((entry, state)) = known else {
        return match wanted {
            true => (ServiceAction::Make, "was not running".to_owned()),
            false => (ServiceAction::Skip, "not requested".to_owned()),
        };
    };
    let is_same = entry.settings_hash == settings_hash(plan);
    let moves = |pin: &PinnedPort| {
        let port = session.and_then(|session| session.primary_port(name));
        pin.process == *name && port.is_none_or(|port| port.port != pin.port)
    };
    let anew = request.force && (!is_same || request.pins.iter().any(moves));
    let (how, mut why) = match state {
        Inspected::Missing if wanted => {
            return (ServiceAction::Make, "its container was gone".to_owned());
        }
        Inspected::Running { .. } if !wanted => return (ServiceAction::Keep, "it runs".to_owned()),
        Inspected::Missing => return (ServiceAction::Skip, "not requested".to_owned()),
        _ if !wanted => return (ServiceAction::Leave, "not requested".to_owned()),
        _ if anew => return (ServiceAction::Make, "--force: recreated".to_owned()),
        Inspected::Running { .. } if request.force => {
            (ServiceAction::Restart, "--force".to_owned())
        }
        Inspected::Running { .. } if entry.ready_at.is_none() => {
            (ServiceAction::Wait, "it was not ready yet".to_owned())
        }
        Inspected::Running { .. } => (ServiceAction::Keep, "it runs".to_owned()),
        _ if session.is_some_and(|session| session.status == SessionStatus::Stopped) => {
            (ServiceAction::Start, "it was stopped".to_owned())
        }
        Inspected::Exited(exit) => match exit.code {
            Some(code) => (ServiceAction::Start, format!("had exited with code {code}")),
            None => (ServiceAction::Start, "it had ended".to_owned()),
        },
        _ => (ServiceAction::Start, "was not running".to_owned()),
    };
    if !is_same {
        why.push_str(", still with its old settings; --force recreates it and deletes its data");
    }
    (how, why)
}

impl SessionEngine {
    /// The engine that the session uses already, or the one that runs would use.
    fn find(
        session: Option<&Session>,
        request: &UpRequest<'_>,
        works: &[&str],
    ) -> Result<(SessionEngine, Host)> {
        let has_one = |session: &&Session| !session.services.runtime.is_empty();
        let recorded = session.filter(has_one);
        let host = (request.host)(recorded.map(|session| session.services.runtime.as_str()));
        let unfit = |why: &str| {
            let names = works.join(", ");
            let message = format!("cannot start the services of the session ({names}): {why}");
            let skip = works.join(",");
            Error::new(ErrorKind::Runtime, message).hint(format!(
                "start docker or podman here (run 'moat doctor'), or leave them out: --skip {skip}"
            ))
        };
        let host = host.map_err(|error| match error.kind {
            ErrorKind::Runtime => unfit(&error.message),
            _ => error,
        })?;
        if let Some(session) = recorded {
            let engine = SessionEngine {
                name: session.services.runtime.clone(),
                settings: session.services.engine.clone(),
                runtime: engine_of(session)?,
            };
            return Ok((engine, host));
        }
        let name = host.runtime;
        if !name.has_images() || !name.supports(Capability::SessionServices) {
            return Err(unfit(&format!(
                "the runtime is {name}, which has no services"
            )));
        }
        if let Some(elsewhere) = &host.remote {
            return Err(unfit(&format!(
                "the engine is on another machine ({elsewhere}), whose ports are not this host's"
            )));
        }
        let runtime = crate::runtime::open(name, &host.engine, None);
        runtime
            .probe()
            .map_err(|problem| unfit(problem.message()))?;
        let engine = SessionEngine {
            name: name.to_string(),
            settings: host.engine.clone(),
            runtime,
        };
        Ok((engine, host))
    }
}
