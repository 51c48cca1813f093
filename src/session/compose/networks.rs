//! Connects a run to the services of a compose file: to their networks, under their names.

use super::engine::{containers, failed};
use crate::error::Result;
use crate::plan::host_variable;
use crate::runtime::ContainerState;
use crate::store::{Session, SessionCompose};

/// The settings of a run that reaches compose services.
#[derive(Default)]
pub(in crate::session) struct Reach {
    /// The session's own networks. An external network of the file is shared with others and is left out.
    pub(in crate::session) networks: Vec<String>,
    pub(in crate::session) services: Vec<String>,
    /// The names of the services and their ports inside the networks.
    pub(in crate::session) variables: Vec<(String, String)>,
}

/// The services that run now.
pub(in crate::session) fn join_networks(
    session: &Session,
    compose: &SessionCompose,
) -> Result<Reach> {
    let mut reach = Reach::default();
    let own = format!("{}_", compose.project);
    for container in containers(session).map_err(failed)? {
        let mut networks = container.networks;
        networks.retain(|network| network.starts_with(&own));
        let runs = !matches!(
            container.state,
            ContainerState::Ended(_) | ContainerState::Other
        );
        if !runs || networks.is_empty() || reach.services.contains(&container.service) {
            continue;
        }
        let variable = host_variable(&container.service);
        reach.variables.push((variable, container.service.clone()));
        for port in &session.ports {
            let mut published = container.ports.iter();
            if let Some((_, inside)) = published.find(|(host, _)| *host == port.port) {
                let names = port.variables.iter();
                let told = names.map(|name| (name.clone(), inside.to_string()));
                reach.variables.extend(told);
            }
        }
        networks.retain(|network| !reach.networks.contains(network));
        reach.networks.extend(networks);
        reach.services.push(container.service);
    }
    Ok(reach)
}
