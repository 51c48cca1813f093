//! `services`: a run's changes to the registry's settings of its services.

use std::time::Duration;

use super::container::memory;
use super::scalar_values;
use super::secret::{SecretSource, Vault};
use super::settings::{report_invalid, variable_name};
use crate::yaml::{Node, NodeId, NodeValue, Placed, Source, message_text};

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceConfig {
    pub(crate) name: String,
    /// The dependency that the service is an instance of, if its name differs.
    pub(crate) of: Option<Placed<String>>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) secrets: Vec<SecretSource>,
    pub(crate) image: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) wait: Option<Placed<bool>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) restart: bool,
    /// The port of slot 0, in a session.
    pub(crate) port: Option<Placed<u16>>,
    /// Keys that only some services have; the registry checks them.
    pub(crate) rest: Vec<(String, NodeId, Node)>,
}

/// The keys that every service has.
pub(crate) const SERVICE_KEYS: [&str; 9] = [
    "cpus", "env", "image", "memory", "port", "restart", "service", "timeout", "wait",
];

/// The maximum length of a name, which is a host name on the run's network.
const MAX_NAME_CHARS: usize = 40;

pub(super) fn read(source: &Source, node: &Node) -> Vec<Placed<ServiceConfig>> {
    let mut services = Vec::new();
    for (name, at, node) in source.entries(node) {
        if !is_host_name(name) {
            let name = message_text(name);
            source.report(
                at,
                format!("bad name of a service '{name}' (a-z, 0-9 and '-', a letter first)"),
            );
            continue;
        }
        let value = service(source, name, node);
        services.push(Placed { at, value });
    }
    services
}

fn is_host_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-');
    name.len() <= MAX_NAME_CHARS
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
        && !name.ends_with('-')
        && name != "localhost"
}

fn service(source: &Source, name: &str, node: &Node) -> ServiceConfig {
    let mut service = ServiceConfig {
        name: name.to_owned(),
        of: None,
        env: Vec::new(),
        secrets: Vec::new(),
        image: None,
        memory_bytes: None,
        cpus: None,
        wait: None,
        timeout: None,
        restart: false,
        port: None,
        rest: Vec::new(),
    };
    for (key, at, node) in source.entries(node) {
        match key {
            "service" => service.of = source.text(node),
            "env" => env(source, node, &mut service),
            "image" => {
                let image = source.text(node);
                let image = image
                    .filter(|text| report_invalid(source, text, scalar_values::image).is_some());
                service.image = image.map(|image| image.value);
            }
            "memory" => service.memory_bytes = memory(source, node).map(|size| size.value),
            "cpus" => {
                let text = source.scalar(node);
                let cpus = text.and_then(|text| report_invalid(source, &text, scalar_values::cpus));
                service.cpus = cpus.map(|cpus| cpus.value);
            }
            "wait" => {
                service.wait = source.boolean(node).map(|value| Placed { at, value });
            }
            "timeout" => {
                let text = source.text(node);
                let timeout =
                    text.and_then(|text| report_invalid(source, &text, scalar_values::duration));
                service.timeout = timeout.map(|timeout| timeout.value);
            }
            "port" => service.port = super::session::port(source, node),
            "restart" => service.restart = source.boolean(node).unwrap_or_default(),
            _ => service.rest.push((key.to_owned(), at, node.clone())),
        }
    }
    service
}

/// Reads variables. A value that is the place of a secret is looked up when the run starts.
fn env(source: &Source, node: &Node, service: &mut ServiceConfig) {
    for (name, at, node) in source.entries(node) {
        if !variable_name(source, name, at) {
            continue;
        }
        let name = name.to_owned();
        match &node.value {
            NodeValue::Text(text) if Vault::is_secret_reference(text) => match Vault::parse(text) {
                Ok(vault) => service.secrets.push(SecretSource { name, vault }),
                Err(why) => source.report(node.at, why),
            },
            _ => service
                .env
                .extend(source.value_as_written(node).map(|value| (name, value))),
        }
    }
}
