//! Starts the services of a session, all at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::decisions::{ServiceAction, ServiceDecisions, SessionEngine};
use super::engine::{handle, network};
use super::health;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::plan::{self, Host};
use crate::runtime::{
    self, Exit, Inspected, Network, ResourceOwner, Runtime, RuntimeError, ServiceSpec,
};
use crate::service::{StartingService, errors, provide, readiness, service_spec};
use crate::session::marked_processes::PROCESS_MARK_VARIABLE;
use crate::session::operation::OperationContext;
use crate::session::port_probe;
use crate::store::{
    Claim, Home, PublishedPort, ResourceStage, Session, SessionPort, SessionService, Timestamp,
};

/// Poll interval of the check for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A message from a service's thread.
enum ServiceStartEvent {
    Output(String),
    /// The container exists.
    Made(String),
    Ready(String),
}

/// All services that are being started.
struct ServiceStarts<'a> {
    home: &'a Home,
    engine: &'a SessionEngine,
    session: &'a Session,
    should_continue: AtomicBool,
    /// The first failure, which cancels the other services.
    failure: Mutex<Option<Error>>,
}

/// A service that is being started.
struct ServiceStart<'a> {
    plan: &'a plan::PlannedService,
    handle: String,
    /// The port of the host to publish.
    port: u16,
    all: &'a ServiceStarts<'a>,
    tell: Sender<ServiceStartEvent>,
    started: AtomicBool,
    exit: OnceLock<Exit>,
}

impl ServiceDecisions<'_> {
    /// Creates and starts the services, and waits until all are ready.
    pub(in crate::session) fn start(
        &self,
        context: &OperationContext<'_>,
        claim: &mut Claim,
    ) -> Result<()> {
        let Some((engine, host)) = &self.engine else {
            return Ok(());
        };
        let plans = self.prepare_values(context, claim, host)?;
        let session = claim.record()?.clone();
        checkpoint("session-services-intent");
        if plans.iter().any(|(how, _)| *how == ServiceAction::Make) {
            make_network(context, engine, &session)?;
        }
        let starts = ServiceStarts {
            home: context.home,
            engine,
            session: &session,
            should_continue: AtomicBool::new(true),
            failure: Mutex::default(),
        };
        starts.run(context, claim, &plans)?;
        checkpoint("session-services-up");
        context.check()
    }

    /// Passwords are generated, secrets looked up and the published variables saved before the container is made.
    fn prepare_values(
        &self,
        context: &OperationContext<'_>,
        claim: &mut Claim,
        host: &Host,
    ) -> Result<Vec<(ServiceAction, plan::PlannedService)>> {
        let mut plans = Vec::new();
        for step in self.changes() {
            let mut plan = step.plan.clone();
            if step.action == ServiceAction::Make {
                let session = claim.record()?;
                let port = session.primary_port(&plan.name);
                let entry = session.service(&plan.name);
                let published = plan::PublishedService {
                    port: port.map(|port| port.port).unwrap_or_default(),
                    previous_variables: entry.map_or(&[], |entry| &entry.variables),
                };
                let exports = plan::resolve_service_values(&mut plan, host, Some(&published))?;
                let variables: Vec<(String, String)> = exports
                    .into_iter()
                    .map(|variable| (variable.name, variable.value.expose().to_owned()))
                    .collect();
                let set = |entry: &mut SessionService| entry.variables.clone_from(&variables);
                update_service(claim, &plan.name, &set)?;
                let session = claim.record()?;
                if let Some(entry) = session.service(&plan.name) {
                    context.home.keep_variables(&session.key, entry)?;
                }
            }
            plans.push((step.action, plan));
        }
        Ok(plans)
    }
}

fn make_network(
    context: &OperationContext<'_>,
    engine: &SessionEngine,
    session: &Session,
) -> Result<()> {
    let handle = network(session);
    let networks = engine.runtime.need_networks()?;
    if !networks.has_network(&handle)? {
        networks.make_network(&Network {
            handle,
            home_label: context.home.label()?,
            owner: ResourceOwner::Session(session.incarnation.clone()),
        })?;
    }
    checkpoint("session-network-made");
    Ok(())
}

impl ServiceStarts<'_> {
    /// Starts all services at once, and waits for them.
    fn run(
        self,
        context: &OperationContext<'_>,
        claim: &mut Claim,
        plans: &[(ServiceAction, plan::PlannedService)],
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            for (how, plan) in plans {
                let port = self.session.primary_port(&plan.name);
                let starting = ServiceStart {
                    plan,
                    handle: handle(self.session, &plan.name),
                    port: port.map(|port| port.port).unwrap_or_default(),
                    all: &self,
                    tell: tell.clone(),
                    started: AtomicBool::new(false),
                    exit: OnceLock::new(),
                };
                scope.spawn(move || {
                    starting
                        .bring_up(*how)
                        .map_err(|error| starting.all.fail(error))
                });
            }
            drop(tell);
            self.record(context, claim, &told);
        });
        let failure = self.failure.into_inner();
        failure
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    /// Records the progress of the services until all have ended.
    fn record(
        &self,
        context: &OperationContext<'_>,
        claim: &mut Claim,
        told: &Receiver<ServiceStartEvent>,
    ) {
        loop {
            let noted = match told.recv_timeout(POLL_INTERVAL) {
                Ok(ServiceStartEvent::Output(words)) => {
                    (context.notify)(&words);
                    Ok(())
                }
                Ok(ServiceStartEvent::Made(name)) => {
                    update_service(claim, &name, &|entry| entry.stage = ResourceStage::Made)
                }
                Ok(ServiceStartEvent::Ready(name)) => {
                    let now = Some(Timestamp::now());
                    update_service(claim, &name, &|entry| entry.ready_at = now)
                }
                Err(RecvTimeoutError::Timeout) => context.check(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = noted {
                self.fail(error);
            }
        }
    }

    fn fail(&self, error: Error) {
        // A service that was cancelled because of this failure has nothing to add.
        if self.should_continue.swap(false, Ordering::AcqRel) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

fn update_service(
    claim: &mut Claim,
    name: &str,
    change: &dyn Fn(&mut SessionService),
) -> Result<()> {
    claim.update(&mut |session| {
        let mut services = session.services.list.iter_mut();
        services.find(|service| service.name == name).map(change);
    })
}

impl ServiceStart<'_> {
    fn should_continue(&self) -> bool {
        self.all.should_continue.load(Ordering::Acquire)
    }

    fn send_event(&self, event: ServiceStartEvent) {
        let _ = self.tell.send(event);
    }

    fn bring_up(&self, how: ServiceAction) -> Result<()> {
        let began = Instant::now();
        if how == ServiceAction::Make {
            self.create()?;
            self.send_event(ServiceStartEvent::Made(self.plan.name.clone()));
            checkpoint("session-service-created");
        }
        if how != ServiceAction::Wait {
            self.notify(&format!("starting {}", self.plan.image), true);
            let services = self.runtime().need_session_services();
            let started = services.and_then(|services| services.start_detached(&self.handle));
            started.map_err(|problem| self.not_started(problem))?;
        }
        self.started.store(true, Ordering::Release);
        checkpoint("session-service-started");
        let should_continue = || self.should_continue();
        match self.plan.wait {
            true => {
                readiness::wait(self, &should_continue).map_err(|why| why.into_error(self))?;
                let seconds = began.elapsed().as_secs_f64();
                self.notify(&format!("ready after {seconds:.1} s"), true);
            }
            false => {
                readiness::wait_running(self, &should_continue)
                    .map_err(|why| why.into_error(self))?;
                self.notify("started; not waiting until it is ready", true);
            }
        }
        if let Some(wanted) = &self.plan.provision {
            provide(self, &self.plan.service, wanted, &should_continue)?;
        }
        checkpoint("session-service-ready");
        self.send_event(ServiceStartEvent::Ready(self.plan.name.clone()));
        Ok(())
    }

    fn create(&self) -> Result<()> {
        let (engine, session) = (self.all.engine, self.all.session);
        let whose = ResourceOwner::Session(session.incarnation.clone());
        let network = network(session);
        let mut spec = service_spec(
            self.all.home,
            self.plan,
            self.handle.clone(),
            network,
            whose,
        )?;
        let published = |port: &SessionPort| {
            Some(PublishedPort {
                name: String::new(),
                container: port.container?,
                host: Some(port.port),
            })
        };
        let own = session.ports_of(&self.plan.name);
        spec.ports = own.filter_map(published).collect();
        // A client that outlives moat is found by its mark. podman is not marked: it starts processes that all
        // containers share.
        let mut settings = engine.settings.clone();
        settings.push((
            PROCESS_MARK_VARIABLE.to_owned(),
            session.mark(&self.plan.name),
        ));
        let marked = runtime::of_session(&engine.name, &settings, runtime::REQUEST_TIMEOUT)?;
        match self.pull_service_image(marked.as_ref(), &spec)? {
            Err(RuntimeError::ImageMissing(..)) => {
                self.notify(&format!("pulling the image {}", spec.image), true);
                let images = marked.need_images()?;
                let pulled = images.pull_image(&spec.image, &|| self.should_continue());
                pulled.map_err(|problem| errors::image(self, &spec.image, problem))?;
                let made = self.pull_service_image(marked.as_ref(), &spec)?;
                made.map_err(|problem| errors::start(self, problem))
            }
            made => made.map_err(|problem| errors::start(self, problem)),
        }
    }

    /// The outer error: the operation was cancelled.
    fn pull_service_image(
        &self,
        runtime: &dyn Runtime,
        spec: &ServiceSpec,
    ) -> Result<std::result::Result<(), RuntimeError>> {
        match self.should_continue() {
            true => Ok(runtime
                .need_services()
                .and_then(|services| services.create_service(spec))),
            false => Err(errors::cancelled(self)),
        }
    }

    /// The engine is the last to notice that a port is in use.
    fn not_started(&self, problem: RuntimeError) -> Error {
        let error = errors::start(self, problem);
        if self.port == 0 || !port_probe::is_taken(self.port) {
            return error;
        }
        let (name, port) = (&self.plan.name, self.port);
        let message = format!("{}; port {port} is in use now", error.message);
        Error::new(ErrorKind::Conflict, message).hint(format!(
            "stop the process that uses it, or choose a port: --port {name}=PORT"
        ))
    }
}

impl StartingService for ServiceStart<'_> {
    fn name(&self) -> &str {
        &self.plan.name
    }

    fn handle(&self) -> String {
        self.handle.clone()
    }

    fn runtime(&self) -> &dyn Runtime {
        self.all.engine.runtime.as_ref()
    }

    fn home(&self) -> Home {
        self.all.home.clone()
    }

    fn ready(&self) -> (&[String], Duration) {
        let limit = Duration::try_from_secs_f64(self.plan.ready_seconds);
        (&self.plan.ready, limit.unwrap_or_default())
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.plan.memory_bytes
    }

    fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    fn wait_for_exit(&self, until: Instant) -> Option<Exit> {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        // An engine that does not respond is no exit.
        let states = self.runtime().inspect(&[&self.handle]).unwrap_or_default();
        match states.into_iter().next() {
            Some(Inspected::Exited(exit)) => Some(self.exit.get_or_init(|| exit).clone()),
            Some(Inspected::Missing) => Some(self.exit.get_or_init(health::removed_exit).clone()),
            _ => None,
        }
    }

    fn exit(&self) -> Option<Exit> {
        self.exit.get().cloned()
    }

    fn notify(&self, text: &str, step: bool) {
        if step {
            self.send_event(ServiceStartEvent::Output(format!(
                "{}: {text}",
                self.plan.name
            )));
        }
    }

    fn last_lines(&self, count: usize) -> Vec<String> {
        health::last_lines(self.runtime(), &self.handle, count)
    }
}
