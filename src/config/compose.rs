//! `session.compose`: the services of an existing compose file that a session has, and their ports.
//!
//! Only the compose file defines the services, and each worktree has its own version of that file. Therefore moat
//! checks for the services when a session is brought up.

use std::path::PathBuf;
use std::time::Duration;

use super::scalar_values;
use super::session::{MAX_NAME_CHARS, inner_path, port, variable_names};
use super::settings::report_invalid;
use crate::yaml::{Node, NodeId, NodeValue, Placed, Source, message_text};

/// The part of a compose file that belongs to a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComposeSettings {
    /// Relative to the worktree. A later file overrides the earlier ones.
    pub(crate) files: Vec<PathBuf>,
    /// Timeout until all services are ready.
    pub(crate) timeout: Duration,
    pub(crate) services: Vec<ComposeServiceConfig>,
}

/// A service of the compose file that the session has. Compose also starts its dependencies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComposeServiceConfig {
    pub(crate) name: String,
    pub(crate) at: NodeId,
    /// The port in slot 0; `None`: the host has no port for the service.
    pub(crate) port: Option<Placed<u16>>,
    /// The port inside the container; `None`: the only port that the compose file has for the service.
    pub(crate) container_port: Option<u16>,
    pub(crate) port_env: Vec<String>,
    pub(crate) extra_ports: Vec<ComposePort>,
}

/// A further port of a service. moat does not search for another port if this one is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ComposePort {
    pub(crate) port: Placed<u16>,
    pub(crate) container_port: u16,
    pub(crate) port_env: Vec<String>,
}

const COMPOSE_KEYS: [&str; 3] = ["file", "services", "timeout"];

const SERVICE_KEYS: [&str; 4] = ["container_port", "extra_ports", "port", "port_env"];

const PORT_KEYS: [&str; 3] = ["container_port", "port", "port_env"];

const DEFAULT_COMPOSE_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn read(source: &Source, node: &Node) -> ComposeSettings {
    let section = source.section(node, &COMPOSE_KEYS);
    let timeout = section
        .text("timeout")
        .and_then(|text| report_invalid(source, &text, scalar_values::duration));
    ComposeSettings {
        files: section
            .require("file")
            .map_or_else(Vec::new, |node| files(source, node)),
        timeout: timeout.map_or(DEFAULT_COMPOSE_TIMEOUT, |text| text.value),
        services: section
            .require("services")
            .map_or_else(Vec::new, |node| services(source, node)),
    }
}

fn files(source: &Source, node: &Node) -> Vec<PathBuf> {
    let texts = match &node.value {
        NodeValue::List(items) if items.is_empty() => {
            source.report_unexpected(node, "at least one file");
            return Vec::new();
        }
        NodeValue::List(_) => source.texts(node),
        _ => source.text(node).into_iter().collect(),
    };
    let inside = texts.iter().filter_map(|text| inner_path(source, text));
    inside.collect()
}

fn services(source: &Source, node: &Node) -> Vec<ComposeServiceConfig> {
    let entries = source.entries(node);
    if entries.is_empty() && matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
        source.report(node.at, "name at least one service of the compose file");
    }
    let mut found = Vec::new();
    for (name, at, node) in entries {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins || name.len() > MAX_NAME_CHARS || !name.bytes().all(allowed) {
            let name = message_text(name);
            source.report(at, format!("bad name of a service '{name}'"));
            continue;
        }
        found.push(service(source, name, at, node));
    }
    found
}

fn service(source: &Source, name: &str, at: NodeId, node: &Node) -> ComposeServiceConfig {
    let section = source.section(node, &SERVICE_KEYS);
    let inside = section
        .get("container_port")
        .and_then(|node| port(source, node));
    let entry = ComposeServiceConfig {
        name: name.to_owned(),
        at,
        port: section.get("port").and_then(|node| port(source, node)),
        container_port: inside.map(|port| port.value),
        port_env: variable_names(source, &section, "port_env"),
        extra_ports: section.get("extra_ports").map_or_else(Vec::new, |node| {
            let items = source.list(node).iter();
            items.filter_map(|item| extra_port(source, item)).collect()
        }),
    };
    if section.get("port").is_none() {
        for key in ["container_port", "port_env"] {
            if let Some(at) = section.place(key) {
                let why = format!("'{key}' has no effect without 'port'");
                source.report(at, why);
            }
        }
    }
    entry
}

fn extra_port(source: &Source, node: &Node) -> Option<ComposePort> {
    let section = source.section(node, &PORT_KEYS);
    section.require("container_port");
    section.require("port_env");
    Some(ComposePort {
        port: port(source, section.require("port")?)?,
        container_port: port(source, section.get("container_port")?)?.value,
        port_env: variable_names(source, &section, "port_env"),
    })
}
