//! How a run reaches the services of a compose file: on their networks, by their names.

use super::{containers, failed};
use crate::error::Result;
use crate::plan::host_variable;
use crate::runtime::ContainerState;
use crate::store::{Home, Session, SessionCompose};

/// What a run that is to reach them needs.
#[derive(Default)]
pub(in crate::session) struct Reach {
    /// The session's own: one that the file calls external is for others, too.
    pub(in crate::session) networks: Vec<String>,
    pub(in crate::session) services: Vec<String>,
    /// Their names, and their ports as they are inside.
    pub(in crate::session) variables: Vec<(String, String)>,
}

/// Those that run now.
pub(in crate::session) fn join_networks(
    home: &Home,
    session: &Session,
    compose: &SessionCompose,
) -> Result<Reach> {
    let mut reach = Reach::default();
    let own = format!("{}_", compose.project);
    for container in containers(home, session).map_err(failed)? {
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
