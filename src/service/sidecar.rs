//! One service, from its creation to its end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{ServiceOwner, StartingService, ended, errors, provisioning, readiness, service_spec};
use crate::container::{Capture, OutputEvent, OutputListener, PollSchedule, Waiter, Watched};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::{checkpoint, unit_scaled};
use crate::plan;
use crate::runtime::{self, Attached, Exit, ResourceOwner, Runtime, RuntimeError, ServiceSpec};
use crate::store::{self, Home, LogWriter, ServiceState, Timestamp, make_dir};

/// Minimum and maximum backoff before a restart.
const MIN_RESTART_BACKOFF: Duration = Duration::from_millis(200);
const MAX_RESTART_BACKOFF: Duration = Duration::from_secs(30);

/// A service that was ready this long restarts with the minimum backoff.
const BACKOFF_RESET_PERIOD: Duration = Duration::from_secs(60);

/// The exit code of a killed process.
const SIGKILL_EXIT_CODE: u8 = 137;

pub(super) struct Sidecar {
    pub(super) name: String,
    handle: String,
    restart: bool,
    ready: Vec<String>,
    ready_limit: Duration,
    memory_bytes: Option<u64>,
    owner: Arc<dyn ServiceOwner>,
    capture: Arc<Capture>,
    life: Mutex<SidecarState>,
    changed: Condvar,
}

#[derive(Default)]
struct SidecarState {
    started_at: Option<Timestamp>,
    /// Whether a thread waits for its exit.
    is_watched: bool,
    /// The exit, until it has been processed.
    exit: Option<Exit>,
    /// The time of its last exit.
    ended_at: Option<Timestamp>,
    /// Whether its end was requested.
    end_requested: bool,
}

impl Sidecar {
    pub(super) fn new(
        owner: &Arc<dyn ServiceOwner>,
        record: &store::ServiceRecord,
    ) -> Result<Sidecar> {
        let path = owner.dir().service_log(&record.name);
        let opened = make_dir(path.parent().unwrap_or(&path)).and_then(|()| LogWriter::open(&path));
        let (log, kept) =
            opened.map_err(|error| Error::io(ErrorKind::Store, "open", &path, &error))?;
        Ok(Sidecar {
            name: record.name.clone(),
            handle: record.handle.clone(),
            restart: record.restart,
            ready: record.ready.clone(),
            ready_limit: Duration::try_from_secs_f64(record.ready_seconds).unwrap_or_default(),
            memory_bytes: record.memory_bytes,
            owner: Arc::clone(owner),
            capture: Arc::new(Capture::new(log, kept, false)),
            life: Mutex::new(SidecarState {
                started_at: record.started_at,
                ended_at: record.ended_at,
                ..SidecarState::default()
            }),
            changed: Condvar::new(),
        })
    }

    /// Creates the service and waits until it is ready.
    pub(super) fn bring_up(
        self: &Arc<Self>,
        plan: &plan::PlannedService,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        let brought_up = self.try_bring_up(plan, should_continue, began);
        if let Err(error) = &brought_up
            && should_continue()
        {
            // The log contains its own end already.
            let why = error.message.lines().next().unwrap_or_default();
            let why = why.trim_end_matches(errors::LOG_END_INTRO).to_owned();
            let exit = self.exit().unwrap_or_default();
            self.update(&mut |service| {
                ended(service, ServiceState::Failed);
                (service.exit_code, service.oom_killed) = (exit.code, exit.oom_killed);
                service.error = Some(why.clone());
            });
        }
        brought_up
    }

    fn try_bring_up(
        self: &Arc<Self>,
        plan: &plan::PlannedService,
        should_continue: &dyn Fn() -> bool,
        began: Instant,
    ) -> Result<()> {
        self.create(plan, should_continue)?;
        checkpoint("service-created");
        self.notify(&format!("starting {}", plan.image), true);
        self.start()
            .map_err(|problem| errors::start(self.as_ref(), problem))?;
        checkpoint("service-started");
        match plan.wait {
            true => {
                readiness::wait(self.as_ref(), should_continue)
                    .map_err(|why| why.into_error(self.as_ref()))?;
                self.is_ready(began.elapsed());
            }
            false => {
                readiness::wait_running(self.as_ref(), should_continue)
                    .map_err(|why| why.into_error(self.as_ref()))?;
                self.notify("started; the run does not wait for it", true);
            }
        }
        checkpoint("service-ready");
        if let Some(wanted) = &plan.provision {
            provisioning::provide(self.as_ref(), &plan.service, wanted, should_continue)?;
        }
        Ok(())
    }

    fn create(
        &self,
        plan: &plan::PlannedService,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<()> {
        let run = self.owner.run_handle();
        let spec = service_spec(
            &self.owner.home(),
            plan,
            self.handle.clone(),
            run.clone(),
            ResourceOwner::Run(run),
        )?;
        match self.pull_service_image(&spec, should_continue)? {
            Err(RuntimeError::ImageMissing(..)) => {
                self.notify(&format!("pulling the image {}", spec.image), true);
                let note =
                    |why: &str| self.append_supervisor_log(&format!("{}: {why}", spec.image));
                let pulled = runtime::retry(should_continue, &note, &mut || {
                    let images = self.owner.runtime().need_images()?;
                    images.pull_image(&spec.image, should_continue)
                });
                pulled.map_err(|problem| errors::image(self, &spec.image, problem))?;
                let made = self.pull_service_image(&spec, should_continue)?;
                made.map_err(|problem| errors::start(self, problem))
            }
            made => made.map_err(|problem| errors::start(self, problem)),
        }
    }

    /// The outer error: the run was cancelled.
    fn pull_service_image(
        &self,
        spec: &ServiceSpec,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<std::result::Result<(), RuntimeError>> {
        if !should_continue() {
            return Err(errors::cancelled(self));
        }
        self.owner.begin_container_request(&self.handle);
        let services = self.owner.runtime().need_services();
        let made = services.and_then(|services| services.create_service(spec));
        match &made {
            Ok(()) => self.owner.end_container_request(Some(&self.handle)),
            Err(problem) if !problem.may_have_been_received() => {
                self.owner.end_container_request(None)
            }
            Err(_) => {}
        }
        Ok(made)
    }

    /// Starts the container, first or again, and watches it.
    fn start(self: &Arc<Self>) -> std::result::Result<(), RuntimeError> {
        let services = self.owner.runtime().need_services()?;
        let attached = services.start_service(&self.handle, &self.owner.run_handle())?;
        {
            let mut life = self.life();
            life.started_at = None;
            life.exit = None;
        }
        let listener = Arc::clone(self).listener();
        self.capture.attach(attached, listener);
        self.watch();
        Ok(())
    }

    /// Waits for its exit in a thread.
    fn watch(self: &Arc<Self>) {
        self.life().is_watched = true;
        let sidecar = Arc::clone(self);
        std::thread::spawn(move || {
            let pace = PollSchedule::starting(true, sidecar.owner.runtime().inspect_is_cheap());
            let mut watch = Waiter::new(Arc::clone(&sidecar) as Arc<dyn Watched>, pace);
            let mut exit = watch.until_exit();
            let missing = watch.drain(&mut exit);
            let outage = sidecar.capture.outage();
            if missing.is_some() || outage.is_some() {
                sidecar.update(&mut |service| {
                    for (since, why) in [&outage, &missing].into_iter().flatten() {
                        service.log.mark_missing(*since, why);
                    }
                });
            }
            {
                let mut life = sidecar.life();
                life.ended_at = exit.finished_at;
                life.exit = Some(exit);
                life.is_watched = false;
            }
            sidecar.changed.notify_all();
        });
    }

    fn is_ready(&self, after: Duration) {
        self.update(&mut |service| {
            // A service whose end was requested is no longer ready.
            if self.life().end_requested {
                return;
            }
            service.state = ServiceState::Ready;
            service.ready_at = Some(Timestamp::now());
            service.error = None;
        });
        let seconds = after.as_secs_f64();
        self.notify(&format!("ready after {seconds:.1} s"), true);
    }

    /// Continues with a service that another supervisor left in this state.
    pub(super) fn resume(self: &Arc<Self>, state: ServiceState) {
        // Otherwise it has exited, and the record says so.
        if state != ServiceState::Failed {
            self.watch();
        }
        let sidecar = Arc::clone(self);
        std::thread::spawn(move || {
            match state {
                ServiceState::Starting => sidecar.wait_until_ready(Instant::now()),
                ServiceState::Failed if sidecar.ends_within(unit_scaled(MIN_RESTART_BACKOFF)) => {
                    return;
                }
                ServiceState::Failed => sidecar.start_again(),
                _ => {}
            }
            sidecar.supervise_until_end(&|_| false);
        });
    }

    /// Supervises a service that is up, until its run ends. `fails_the_run` is called when the service has ended for
    /// good; it returns whether that fails a run that is still starting.
    pub(super) fn supervise_until_end(self: &Arc<Self>, fails_the_run: &dyn Fn(&Exit) -> bool) {
        let mut pause = unit_scaled(MIN_RESTART_BACKOFF);
        while let Some(exit) = self.wait_for_end() {
            let fails = !self.restart && fails_the_run(&exit);
            let was_good = self.record_unexpected_exit(&exit, fails);
            if !self.restart || self.ends_within(pause) {
                return;
            }
            pause = match was_good {
                true => unit_scaled(MIN_RESTART_BACKOFF),
                false => (pause * 2).min(unit_scaled(MAX_RESTART_BACKOFF)),
            };
            self.start_again();
        }
    }

    /// Its exit; `None`: the end was requested.
    fn wait_for_end(&self) -> Option<Exit> {
        let mut life = self.life();
        while life.exit.is_none() && !life.end_requested {
            let waited = self.changed.wait(life);
            life = waited.unwrap_or_else(PoisonError::into_inner);
        }
        match life.end_requested {
            true => None,
            false => life.exit.take(),
        }
    }

    /// Records and reports its exit; returns whether it had been ready long enough.
    fn record_unexpected_exit(&self, exit: &Exit, fails_the_run: bool) -> bool {
        let how = errors::exit_text(self, exit);
        let mut was_good = false;
        self.update(&mut |service| {
            let good = service
                .ready_at
                .is_some_and(|since| since.age() >= BACKOFF_RESET_PERIOD);
            was_good = good;
            died(service, exit, &how);
        });
        let then = match (self.restart, fails_the_run) {
            (true, _) => "restarting it",
            (false, true) => "the run does not begin without it",
            (false, false) => "the run goes on without it",
        };
        self.notify(&format!("{how}; {then}"), true);
        was_good
    }

    /// Waits for the next start, or until the run ends.
    fn ends_within(&self, pause: Duration) -> bool {
        self.wait(|life| life.end_requested, Instant::now() + pause)
    }

    fn start_again(self: &Arc<Self>) {
        let began = Instant::now();
        self.update(&mut |service| {
            if self.life().end_requested {
                return;
            }
            service.restarts += 1;
            service.state = ServiceState::Starting;
            (service.ready_at, service.ended_at) = (None, None);
            service.exit_code = None;
        });
        if let Err(problem) = self.start() {
            // Counts as an immediate exit: the next backoff is longer.
            self.life().exit = Some(Exit {
                error: Some(problem.message().to_owned()),
                ..Exit::default()
            });
            return;
        }
        self.wait_until_ready(began);
    }

    pub(super) fn wait_until_ready(&self, began: Instant) {
        match readiness::wait(self, &|| self.should_continue()) {
            Ok(()) => self.is_ready(began.elapsed()),
            Err(readiness::NotReady::TimedOut(_)) => self.notify(
                "not ready in time; the run continues without waiting for it",
                true,
            ),
            // The exit has not been processed yet.
            Err(_) => {}
        }
    }

    /// Marks its end as requested.
    pub(super) fn expect_end(&self) {
        self.life().end_requested = true;
        self.changed.notify_all();
    }

    /// Ends it, and waits until its last output is kept or the deadline has passed.
    pub(super) fn end(&self, deadline: Instant) {
        self.capture.stop_backpressure();
        if self.life().is_watched {
            if let Err(problem) = self.owner.runtime().kill(&self.handle) {
                self.owner
                    .append_supervisor_log(&format!("{}: {}", self.name, problem.message()));
            }
            self.capture.wake_waiter();
            self.wait(|life| !life.is_watched, deadline);
        }
        // A killed process has no other code: with another one it had exited before, unnoticed.
        let exit = self.exit();
        let own = exit.filter(|exit| exit.code.is_some_and(|code| code != SIGKILL_EXIT_CODE));
        self.update(&mut |service| {
            let is_up = matches!(service.state, ServiceState::Starting | ServiceState::Ready);
            match &own {
                Some(exit) if is_up => died(service, exit, &errors::exit_text(self, exit)),
                None if is_up => ended(service, ServiceState::Stopped),
                _ => {}
            }
        });
    }

    /// Waits for a condition; false: the deadline has passed.
    fn wait(&self, so: impl Fn(&SidecarState) -> bool, deadline: Instant) -> bool {
        let mut life = self.life();
        while !so(&life) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(life, left);
            life = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn should_continue(&self) -> bool {
        self.owner.should_continue() && !self.life().end_requested
    }

    pub(super) fn update(&self, change: &mut dyn FnMut(&mut store::ServiceRecord)) {
        self.owner.update(&self.name, change);
    }

    fn life(&self) -> MutexGuard<'_, SidecarState> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StartingService for Sidecar {
    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&self) -> String {
        self.handle.clone()
    }

    fn runtime(&self) -> &dyn Runtime {
        self.owner.runtime()
    }

    fn home(&self) -> Home {
        self.owner.home()
    }

    fn ready(&self) -> (&[String], Duration) {
        (&self.ready, self.ready_limit)
    }

    fn memory_bytes(&self) -> Option<u64> {
        self.memory_bytes
    }

    fn has_started(&self) -> bool {
        self.life().started_at.is_some()
    }

    fn wait_for_exit(&self, until: Instant) -> Option<Exit> {
        self.wait(|life| life.exit.is_some(), until);
        self.exit()
    }

    fn exit(&self) -> Option<Exit> {
        self.life().exit.clone()
    }

    fn notify(&self, text: &str, step: bool) {
        self.owner.progress(&self.name, text, step);
        if step {
            self.owner.log(&format!("{}: {text}", self.name));
        }
    }

    fn log_output(&self, line: &str) {
        self.owner.log(&format!("{}: {line}", self.name));
        self.capture.note(line);
    }

    fn log_note(&self, text: &str) {
        self.append_supervisor_log(text);
    }

    fn last_lines(&self, count: usize) -> Vec<String> {
        errors::lines_of(&self.owner.dir().service_log(&self.name), count)
    }
}

/// Records an unexpected exit.
fn died(service: &mut store::ServiceRecord, exit: &Exit, how: &str) {
    service.state = ServiceState::Failed;
    service.ended_at = Some(exit.finished_at.unwrap_or_else(Timestamp::now));
    service.exit_code = exit.code;
    service.oom_killed = exit.oom_killed;
    service.error = Some(how.to_owned());
}

impl Watched for Sidecar {
    fn handle(&self) -> String {
        self.handle.clone()
    }

    fn runtime(&self) -> &dyn Runtime {
        self.owner.runtime()
    }

    fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    fn listener(self: Arc<Self>) -> OutputListener {
        Arc::new(|_: OutputEvent| {})
    }

    fn started_at(&self) -> Option<Timestamp> {
        self.life().started_at
    }

    fn saw_running(&self, started_at: Option<Timestamp>, _ports: &[(u16, u16)]) {
        let at = started_at.unwrap_or_else(Timestamp::now);
        if self.life().started_at.replace(at).is_some() {
            return;
        }
        self.changed.notify_all();
        self.update(&mut |service| {
            service.started_at = Some(at);
            if service.state == ServiceState::Created {
                service.state = ServiceState::Starting;
            }
        });
    }

    fn restart_interrupted(&self) -> runtime::Result<Option<Attached>> {
        match self.should_continue() {
            true => {
                let services = self.owner.runtime().need_services()?;
                services.restart_interrupted_service(&self.handle, &self.owner.run_handle())
            }
            false => Ok(None),
        }
    }

    fn is_known_exit(&self, end: &Exit) -> bool {
        // Records have a lower resolution than engines.
        let written = |at: Option<Timestamp>| at.map(|at| at.to_string());
        end.finished_at.is_some() && written(end.finished_at) == written(self.life().ended_at)
    }

    fn notice(&self, text: &str) {
        self.append_supervisor_log(text);
    }

    fn append_supervisor_log(&self, text: &str) {
        self.owner
            .append_supervisor_log(&format!("{}: {text}", self.name));
    }
}
