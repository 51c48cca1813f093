//! `container`: limits and settings of the container.

use std::net::IpAddr;

use super::scalar_values;
use super::settings::report_invalid;
use crate::store::Ulimit;
use crate::yaml::{Node, NodeValue, Placed, Source, message_text};

/// The names of limits that engines support.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The kernel's maximum.
const MAX_PIDS: i64 = 4_194_304;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ContainerConfig {
    pub(crate) memory_bytes: Option<Placed<u64>>,
    pub(crate) cpus: Option<Placed<f64>>,
    pub(crate) pids: Option<Placed<u32>>,
    pub(crate) dns: Vec<Placed<IpAddr>>,
    pub(crate) ulimits: Vec<Placed<Ulimit>>,
    /// Trust the host's certificate authorities.
    pub(crate) host_ca: Option<Placed<bool>>,
}

impl ContainerConfig {
    pub(super) fn read(source: &Source, node: &Node) -> ContainerConfig {
        let keys = ["cpus", "dns", "host_ca", "memory", "pids", "ulimits"];
        let section = source.section(node, &keys);
        ContainerConfig {
            memory_bytes: section.get("memory").and_then(|node| memory(source, node)),
            cpus: section
                .get("cpus")
                .and_then(|node| source.scalar(node))
                .and_then(|text| report_invalid(source, &text, scalar_values::cpus)),
            pids: section
                .get("pids")
                .and_then(|node| source.whole(node, 1, MAX_PIDS))
                .and_then(|pids| {
                    Some(Placed {
                        at: pids.at,
                        value: u32::try_from(pids.value).ok()?,
                    })
                }),
            dns: section
                .get("dns")
                .map_or_else(Vec::new, |node| dns(source, node)),
            ulimits: section
                .get("ulimits")
                .map_or_else(Vec::new, |node| ulimits(source, node)),
            host_ca: section.get("host_ca").and_then(|node| {
                Some(Placed {
                    at: node.at,
                    value: source.boolean(node)?,
                })
            }),
        }
    }
}

/// Reads a number of megabytes, or a size with its unit.
pub(super) fn memory(source: &Source, node: &Node) -> Option<Placed<u64>> {
    let text = source.scalar(node)?;
    report_invalid(source, &text, scalar_values::memory)
}

fn dns(source: &Source, node: &Node) -> Vec<Placed<IpAddr>> {
    let mut servers: Vec<Placed<IpAddr>> = Vec::new();
    for text in source.texts(node) {
        match text.value.parse::<IpAddr>() {
            Ok(value) if servers.iter().any(|other| other.value == value) => {
                source.report(text.at, format!("{value} is listed twice"));
            }
            Ok(value) => servers.push(Placed { at: text.at, value }),
            Err(_) => {
                let text_shown = message_text(&text.value);
                source.report(text.at, format!("'{text_shown}' is not an IP address"));
            }
        }
    }
    servers
}

fn ulimits(source: &Source, node: &Node) -> Vec<Placed<Ulimit>> {
    let mut limits = Vec::new();
    for (name, at, node) in source.entries(node) {
        if !ULIMITS.contains(&name) {
            source.report(at, crate::yaml::unknown_key_error("limit", name, &ULIMITS));
            continue;
        }
        if let Some((soft, hard)) = soft_and_hard(source, node) {
            limits.push(Placed {
                at,
                value: Ulimit {
                    name: name.to_owned(),
                    soft,
                    hard,
                },
            });
        }
    }
    limits
}

type UlimitValue = Option<u64>;

/// Reads one number for both, or each by its name; -1 is unlimited.
fn soft_and_hard(source: &Source, node: &Node) -> Option<(UlimitValue, UlimitValue)> {
    let limit = |node: &Node| {
        let number = source.whole(node, -1, i64::MAX)?;
        Some(u64::try_from(number.value).ok())
    };
    if !matches!(node.value, NodeValue::Map(_)) {
        return limit(node).map(|both| (both, both));
    }
    let section = source.section(node, &["hard", "soft"]);
    let soft = section.require("soft").and_then(limit);
    let hard = section.require("hard").and_then(limit);
    let (soft, hard) = (soft?, hard?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        source.report(node.at, "the soft limit is above the hard limit");
        return None;
    }
    Some((soft, hard))
}
