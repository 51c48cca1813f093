//! The sidecars of a run: started in parallel, waited for, provisioned, watched, restarted if configured, and ended
//! with their run.
//!
//! This module knows its run only through the trait [`ServiceOwner`]. Resources are in the run's journal before they
//! are made, so removing them needs none of this code.

pub(crate) mod errors;
mod provisioning;
pub(crate) mod readiness;
mod sidecar;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::unit_scaled;
use crate::plan;
use crate::runtime::{Exit, Inspected, ResourceOwner, Runtime, ServiceSpec};
use crate::store::{
    self, BindMount, Home, RunDir, RunRecord, RunState, ServiceState, Timestamp, make_dir,
};
pub(crate) use provisioning::provide;
use sidecar::Sidecar;

/// Time for the exit of a service to arrive after its run has ended.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A service of a run or of a session while it is brought up: what waiting, provisioning and error messages need.
pub(crate) trait StartingService {
    fn name(&self) -> &str;

    /// The handle of its container.
    fn handle(&self) -> String;

    fn runtime(&self) -> &dyn Runtime;

    fn home(&self) -> Home;

    /// The readiness command and its timeout.
    fn ready(&self) -> (&[String], Duration);

    fn memory_bytes(&self) -> Option<u64>;

    fn has_started(&self) -> bool;

    /// Waits briefly, or until the container has exited; returns the exit.
    fn wait_for_exit(&self, until: Instant) -> Option<Exit>;

    /// The exit, if it was noticed.
    fn exit(&self) -> Option<Exit>;

    /// Reports progress. `step`: a new step begins.
    fn notify(&self, text: &str, step: bool);

    /// Logs output of the provisioning.
    fn log_output(&self, _line: &str) {}

    /// Adds a line to the supervisor log.
    fn log_note(&self, _text: &str) {}

    /// The end of its log.
    fn last_lines(&self, count: usize) -> Vec<String>;
}

/// The specification of its container. `plan` has all values.
pub(crate) fn service_spec(
    home: &Home,
    plan: &plan::PlannedService,
    handle: String,
    network: String,
    whose: ResourceOwner,
) -> Result<ServiceSpec> {
    let cache = match &plan.cache {
        None => None,
        Some(target) => {
            let source = home.cache(&plan.service);
            make_dir(&source)
                .map_err(|error| Error::io(ErrorKind::Store, "create", &source, &error))?;
            Some(BindMount {
                source: std::fs::canonicalize(&source).unwrap_or(source),
                target: target.clone(),
                readonly: false,
            })
        }
    };
    let variables = plan.env.iter();
    Ok(ServiceSpec {
        handle,
        home_label: home.label()?,
        network,
        owner: whose,
        name: plan.name.clone(),
        image: plan.image.clone(),
        command: plan.command.clone(),
        env: variables
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        ports: Vec::new(),
        memory_bytes: plan.memory_bytes,
        cpus: plan.cpus,
        cache,
    })
}

/// The supervisor of the run that the services belong to.
pub(crate) trait ServiceOwner: Send + Sync {
    fn runtime(&self) -> &dyn Runtime;

    fn home(&self) -> Home;

    fn dir(&self) -> RunDir;

    /// The handle of the run's container and network, and the value of their label.
    fn run_handle(&self) -> String;

    /// Whether the run continues to need its services.
    fn should_continue(&self) -> bool;

    /// Reports progress of a service. `step`: a new step begins.
    fn progress(&self, service: &str, text: &str, step: bool);

    /// Adds a line to the run's log.
    fn log(&self, text: &str);

    /// Adds a line to the supervisor log.
    fn append_supervisor_log(&self, text: &str);

    /// The engine is about to be asked for a container; it has answered, and the container exists.
    fn begin_container_request(&self, handle: &str);
    fn end_container_request(&self, made: Option<&str>);

    /// Changes the record of a service.
    fn update(&self, service: &str, change: &mut dyn FnMut(&mut store::ServiceRecord));
}

/// The handle of a service's container.
pub(crate) fn handle(run: &str, service: &str) -> String {
    format!("{run}-{service}")
}

/// The record of a service that will be created.
pub(crate) fn record(run: &str, plan: &plan::PlannedService) -> store::ServiceRecord {
    store::ServiceRecord {
        name: plan.name.clone(),
        service: plan.service.clone(),
        version: plan.version.clone(),
        image: plan.image.clone(),
        handle: handle(run, &plan.name),
        ports: plan.ports.clone(),
        env: plan
            .env
            .iter()
            .map(|variable| variable.name.clone())
            .collect(),
        ready: plan.ready.clone(),
        ready_seconds: plan.ready_seconds,
        memory_bytes: plan.memory_bytes,
        cpus: plan.cpus,
        restart: plan.restart,
        state: ServiceState::Created,
        started_at: None,
        ready_at: None,
        ended_at: None,
        exit_code: None,
        oom_killed: false,
        restarts: 0,
        error: None,
        log: store::LogState::complete(),
    }
}

/// The services of one run, while it has a supervisor.
pub(crate) struct Services {
    sidecars: Vec<Arc<Sidecar>>,
    outcome: Arc<Outcome>,
}

/// The outcome of bringing them up.
#[derive(Default)]
struct Outcome {
    state: Mutex<BringUpProgress>,
    changed: Condvar,
}

#[derive(Default)]
struct BringUpProgress {
    /// The number of services that are not up yet.
    pending: usize,
    /// The error of the first one that failed.
    error: Option<Error>,
    /// Whether all were up and the run has continued.
    is_over: bool,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, BringUpProgress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_failed(&self) -> bool {
        self.lock().error.is_some()
    }

    fn record_result(&self, result: Result<()>) {
        let mut progress = self.lock();
        progress.pending -= 1;
        if let (Err(error), None) = (result, &progress.error) {
            progress.error = Some(error);
        }
        self.changed.notify_all();
    }

    /// Records the exit of a service that was up. Returns whether the start fails: others are not up yet.
    fn record_exit(&self, why: impl FnOnce() -> Error) -> bool {
        let mut progress = self.lock();
        if !progress.is_over {
            progress.error.get_or_insert_with(why);
        }
        !progress.is_over
    }
}

impl Services {
    /// Starts bringing up services, all at once. Their network must exist.
    pub(crate) fn start(
        owner: &Arc<dyn ServiceOwner>,
        plans: &[plan::PlannedService],
    ) -> Result<Services> {
        let outcome = Arc::new(Outcome::default());
        outcome.lock().pending = plans.len();
        let records = plans.iter().map(|plan| record(&owner.run_handle(), plan));
        let sidecars = records
            .map(|record| Sidecar::new(owner, &record).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        for (sidecar, plan) in sidecars.iter().zip(plans) {
            let (sidecar, plan) = (Arc::clone(sidecar), plan.clone());
            let outcome = Arc::clone(&outcome);
            std::thread::spawn(move || {
                let should_continue = || sidecar.should_continue() && !outcome.has_failed();
                let result = sidecar.bring_up(&plan, &should_continue);
                // From here on only the runtime has the values.
                let waits = plan.wait;
                drop(plan);
                let is_up = result.is_ok();
                outcome.record_result(result);
                if is_up && !waits {
                    sidecar.wait_until_ready(Instant::now());
                }
                if is_up {
                    sidecar.supervise_until_end(&|exit| {
                        outcome.record_exit(|| {
                            errors::ended(sidecar.as_ref(), exit, "before the run began")
                        })
                    });
                }
            });
        }
        Ok(Services { sidecars, outcome })
    }

    /// Continues with the services of a run whose supervisor died. Running ones are not started again.
    pub(crate) fn adopt(owner: &Arc<dyn ServiceOwner>, record: &RunRecord) -> Result<Services> {
        let mut sidecars = Vec::new();
        for service in &record.services {
            let should_resume = match service.state {
                ServiceState::Starting | ServiceState::Ready => true,
                // The start may be unrecorded if the supervisor died.
                ServiceState::Created => has_started(owner.runtime(), &service.handle),
                // The service was about to be restarted.
                ServiceState::Failed => service.restart && may_use_services(record.state),
                ServiceState::Stopped | ServiceState::Unknown => false,
            };
            if should_resume {
                let sidecar = Arc::new(Sidecar::new(owner, service)?);
                sidecar.resume(service.state);
                sidecars.push(sidecar);
            }
        }
        let outcome = Arc::default();
        Ok(Services { sidecars, outcome })
    }

    /// Whether a service failed; the others are then cancelled.
    pub(crate) fn has_failed_service(&self) -> bool {
        self.outcome.has_failed()
    }

    /// Cancels the services because another part of the run failed.
    pub(crate) fn cancel(&self, why: &Error) {
        self.outcome.lock().error.get_or_insert_with(|| why.clone());
    }

    /// Waits until all are up or all threads have ended; returns the first failure.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut state = self.outcome.lock();
        while state.pending > 0 {
            let waited = self.outcome.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_over = state.error.is_none();
        state.error.clone().map_or(Ok(()), Err)
    }

    /// Kills the services after the run, and keeps their last output.
    pub(crate) fn end(&self) {
        for sidecar in &self.sidecars {
            sidecar.expect_end();
        }
        std::thread::scope(|scope| {
            for sidecar in &self.sidecars {
                scope.spawn(|| sidecar.end(Instant::now() + unit_scaled(END_TIMEOUT)));
            }
        });
    }
}

fn has_started(runtime: &dyn Runtime, handle: &str) -> bool {
    let states = runtime.inspect(&[handle]).unwrap_or_default();
    let state = states.into_iter().next().unwrap_or(Inspected::Missing);
    !matches!(state, Inspected::Created | Inspected::Missing)
}

/// Whether there may be a workload that needs its services.
fn may_use_services(run: RunState) -> bool {
    !run.is_terminal() && run != RunState::Created
}

/// Records that a service ended with its run, or failed.
fn ended(service: &mut store::ServiceRecord, state: ServiceState) {
    service.state = state;
    service.ended_at.get_or_insert_with(Timestamp::now);
}
