//! The services of a run from its supervisor's point of view: the network, the journal, the record.

use std::sync::Arc;

use super::protocol::ToClient;
use super::supervisor::Supervisor;
use crate::container::Watched;
use crate::error::Result;
use crate::failpoint::checkpoint;
use crate::plan::Plan;
use crate::runtime::{Network, ResourceOwner, Runtime, RuntimeError};
use crate::service::{self, ServiceOwner, Services};
use crate::store::{self, Home, Resource, ResourceKind, ResourceStage, RunDir, RunRecord};

/// The resources of a run in the order of creation: its network, its services, its own container.
pub(super) fn journal(id: &str, plan: &Plan) -> Vec<Resource> {
    let resource = |kind, handle: String| Resource {
        kind,
        handle,
        stage: ResourceStage::Intent,
    };
    let mut resources = Vec::new();
    if !plan.services.is_empty() {
        resources.push(resource(ResourceKind::Network, id.to_owned()));
    }
    for service in &plan.services {
        let handle = service::handle(id, &service.name);
        resources.push(resource(ResourceKind::Container, handle));
    }
    resources.push(resource(ResourceKind::Container, id.to_owned()));
    resources
}

/// Creates the network, and starts bringing up the services in the background.
pub(super) fn start(supervisor: &Arc<Supervisor>, plan: &Plan) -> Result<()> {
    if plan.services.is_empty() {
        return Ok(());
    }
    supervisor.check_end_intent()?;
    let home_label = supervisor.run().home().label()?;
    let network = Network {
        handle: supervisor.handle(),
        home_label,
        owner: ResourceOwner::Run(supervisor.handle()),
    };
    supervisor.begin_engine_request(ResourceKind::Network, &network.handle);
    let networks = supervisor.runtime.need_networks();
    let made = networks.and_then(|networks| networks.make_network(&network));
    match &made {
        Ok(()) => supervisor.end_container_request(Some(&network.handle)),
        Err(RuntimeError::Unreachable(..)) => {
            // The engine received no request, so there is nothing to remove.
            supervisor.end_container_request(None);
            supervisor.run().stage(|record| record.resources.clear());
        }
        Err(problem) if !problem.may_have_been_received() => supervisor.end_container_request(None),
        Err(_) => {}
    }
    made?;
    checkpoint("network-made");
    let owner = Arc::clone(supervisor) as Arc<dyn ServiceOwner>;
    let services = Services::start(&owner, &plan.services)?;
    let _ = supervisor.services.set(services);
    Ok(())
}

/// Adopts the services of a run whose supervisor died. A service that cannot be adopted is still removed after the
/// run.
pub(super) fn adopt(supervisor: &Arc<Supervisor>, record: &RunRecord) {
    if record.services.is_empty() {
        return;
    }
    let owner = Arc::clone(supervisor) as Arc<dyn ServiceOwner>;
    match Services::adopt(&owner, record) {
        Ok(services) => {
            let _ = supervisor.services.set(services);
        }
        Err(error) => supervisor.notice(&error.message),
    }
}

impl ServiceOwner for Supervisor {
    fn runtime(&self) -> &dyn Runtime {
        self.runtime.as_ref()
    }

    fn home(&self) -> Home {
        self.run().home().clone()
    }

    fn dir(&self) -> RunDir {
        self.run().dir().clone()
    }

    fn run_handle(&self) -> String {
        self.handle()
    }

    fn should_continue(&self) -> bool {
        self.end_intent().is_none()
    }

    fn progress(&self, service: &str, text: &str, step: bool) {
        self.try_notify_client(&ToClient::Progress {
            item: service.to_owned(),
            text: text.to_owned(),
            is_new_step: step,
        });
    }

    fn log(&self, text: &str) {
        self.capture.note(text);
    }

    fn append_supervisor_log(&self, text: &str) {
        self.run().append_supervisor_log(text);
    }

    fn begin_container_request(&self, handle: &str) {
        self.begin_engine_request(ResourceKind::Container, handle);
    }

    fn end_container_request(&self, made: Option<&str>) {
        if let Some(handle) = made {
            self.run().stage(|record| {
                let mut resources = record.resources.iter_mut();
                // A network and a container may share a name: the network is created first.
                let made = resources
                    .find(|made| made.handle == handle && made.stage == ResourceStage::Intent);
                if let Some(made) = made {
                    made.stage = ResourceStage::Made;
                }
            });
        }
        self.end_engine_request();
    }

    fn update(&self, service: &str, change: &mut dyn FnMut(&mut store::ServiceRecord)) {
        Supervisor::update(self, |record| {
            let mut services = record.services.iter_mut();
            if let Some(service) = services.find(|known| known.name == service) {
                change(service);
            }
        });
    }
}
