//! The ports that a run publishes, and its name servers.

use super::Planner;
use super::description::{Line, words};
use crate::config::{PortConfig, scalar_values};
use crate::error::{Error, Result};
use crate::plan::RunRequest;
use crate::store::{NetworkSettings, PublishedPort};

const LACK: &str = "no network";

impl Planner<'_> {
    pub(super) fn network(&mut self) -> Result<NetworkSettings> {
        let has_network = self.runtime().has_images();
        if !has_network {
            self.refuse_flag("--publish", !self.flags.ports.is_empty(), LACK)?;
            for file in self.files {
                let settings = &file.settings;
                if let Some(port) = settings.ports.first() {
                    self.refuse_key(file, port.at, "ports", LACK);
                }
                if let Some(server) = settings.container.dns.first() {
                    self.refuse_key(file, server.at, "dns", LACK);
                }
            }
        }
        let mut servers = self.settings().map(|settings| &settings.container.dns);
        let servers = servers.find(|servers| has_network && !servers.is_empty());
        Ok(NetworkSettings {
            ports: self.ports(),
            dns: servers.map_or_else(Vec::new, |servers| {
                servers.iter().map(|server| server.value).collect()
            }),
        })
    }

    /// The ports of flags, and those of files that no flag publishes.
    fn ports(&self) -> Vec<PublishedPort> {
        let flags = &self.flags.ports;
        let of_files = self.settings().flat_map(|settings| &settings.ports);
        let other = of_files.filter(|port| {
            !flags
                .iter()
                .any(|flag| flag.container == port.value.container)
        });
        let mut ports = flags.clone();
        ports.extend(other.map(|port| published(&port.value)));
        ports
    }
}

fn published(port: &PortConfig) -> PublishedPort {
    PublishedPort {
        name: port.name.clone(),
        container: port.container,
        host: port.host,
    }
}

/// The ports of `--publish`.
pub(super) fn ports_of_flags(request: &RunRequest) -> Result<Vec<PublishedPort>> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for text in &request.publish {
        let (host, container) = scalar_values::publish(text)?;
        if ports.iter().any(|earlier| earlier.container == container) {
            let message = format!("two flags publish the port {container}");
            return Err(Error::usage(message).hint("leave out one of them"));
        }
        ports.push(PublishedPort {
            name: container.to_string(),
            container,
            host,
        });
    }
    Ok(ports)
}

pub(super) fn describe(network: &NetworkSettings) -> Vec<Line> {
    let ports = network.ports.iter().map(|port| {
        let host = match port.host {
            Some(host) => host.to_string(),
            None => "a free port".to_owned(),
        };
        (
            "port",
            format!("{} {} on 127.0.0.1, {host}", port.name, port.container),
        )
    });
    let dns = words(network.dns.iter().map(ToString::to_string));
    ports.chain([("dns", dns)]).collect()
}
