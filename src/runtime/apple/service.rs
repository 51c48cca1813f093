//! Services and their networks.

use super::super::choose::RuntimeName;
use super::super::error::{Result, RuntimeError};
use super::super::{Attached, Containers, Network, Networks, ServiceSpec, Services};
use super::{
    Apple, CHANGE_TIMEOUT, CREATE_TIMEOUT, RETRY_DELAY, classify, client, create, exists, model,
    start, start_without_input,
};

impl Networks for Apple {
    fn make_network(&self, network: &Network) -> Result<()> {
        let request = create::network(network);
        let made = Self::create_named(&request, CHANGE_TIMEOUT, &|| {
            self.has_network(&network.handle)
        });
        made.map_err(|problem| match problem {
            problem if classify::has_no_networks(&problem) => RuntimeError::unreachable(
                classify::NO_SERVICES_MESSAGE,
                format!(
                    "remove the services from moat.yaml, or use --runtime {}",
                    RuntimeName::Docker
                ),
            ),
            RuntimeError::Transient(text) => RuntimeError::Transient(format!(
                "{text}; there may be too many networks (list them: container network list)"
            )),
            problem => problem,
        })
    }

    fn has_network(&self, handle: &str) -> Result<bool> {
        match client::ask_json(&["network", "inspect", handle]) {
            Err(RuntimeError::NotFound(_)) => Ok(false),
            Err(problem) if classify::has_no_networks(&problem) => Ok(false),
            answer => Ok(answer?.iter().any(|one| model::id(one) == handle)),
        }
    }

    fn remove_network(&self, handle: &str) -> Result<()> {
        let removed = client::run(
            client::client().args(["network", "delete", handle]),
            b"",
            CHANGE_TIMEOUT,
        );
        match removed {
            Err(problem) if self.has_network(handle)? => {
                // The attached client ends a little later than the container.
                Err(RuntimeError::Transient(problem.message().to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl Services for Apple {
    fn create_service(&self, spec: &ServiceSpec) -> Result<()> {
        self.image(&spec.image)?;
        let request = create::service(spec, client::version()?, &create::HERE)?;
        Self::create_named(&request, CREATE_TIMEOUT, &|| exists(&spec.handle))
    }

    fn start_service(&self, handle: &str, run: &str) -> Result<Attached> {
        let attached = start_without_input(handle)?;
        start::wait_for_address(handle, &attached);
        // A restarted service has another address, and its run continues.
        if let Err(problem) = start::rewrite_hosts(run, &attached) {
            // Without the new address the service is useless. moat starts a service again whose container has ended.
            let _ = self.kill(handle);
            attached.client.detach();
            return Err(problem);
        }
        Ok(attached)
    }

    fn restart_interrupted_service(&self, handle: &str, run: &str) -> Result<Option<Attached>> {
        std::thread::sleep(RETRY_DELAY);
        self.start_service(handle, run).map(Some)
    }
}
