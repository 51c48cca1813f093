//! `session`: the long-lived environment of a worktree.
//!
//! Besides each single value, this module checks that two ports of a session can never be equal, in any slot and
//! after any search for a free port.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::compose::{self, ComposeSettings};
use super::inherit::{self, Inherit};
use super::scalar_values;
use super::service::ServiceConfig;
use super::settings::report_invalid;
use crate::variable_name::is_shell_name;
use crate::yaml::{Node, NodeId, NodeValue, Placed, Section, Source, message_text};

/// The settings of a project's sessions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionSettings {
    /// The number of slots, which are numbered from 1.
    pub(crate) slots: u16,
    /// The difference between the ports of neighbouring slots.
    pub(crate) stride: u16,
    /// Whether a taken port is an error.
    pub(crate) strict_ports: bool,
    /// The number of further ports that moat tries for a taken port.
    pub(crate) search_range: u16,
    pub(crate) processes: Vec<HostProcess>,
    pub(crate) compose: Option<ComposeSettings>,
    /// The services with a configured port, and the port of slot 0.
    pub(crate) services: Vec<(String, Placed<u16>)>,
    pub(crate) inherit: Vec<Inherit>,
    pub(crate) hooks: SessionScripts,
    /// Whether each process has a tmux window.
    pub(crate) tmux: bool,
}

/// A process of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostProcess {
    pub(crate) name: String,
    pub(crate) command: String,
    /// The port of slot 0. The port of slot N is N strides higher.
    pub(crate) port: Option<Placed<u16>>,
    pub(crate) port_env: Vec<String>,
    pub(crate) extra_ports: Vec<ExtraPort>,
    /// Whether other members of the session get the port in a variable.
    pub(crate) publish_primary: bool,
    pub(crate) env: Vec<(String, String)>,
    /// Relative to the worktree.
    pub(crate) cwd: Option<PathBuf>,
}

/// A further port of a process. moat does not search for another port if this one is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExtraPort {
    pub(crate) port: Placed<u16>,
    pub(crate) port_env: Vec<String>,
}

/// Scripts on the host, which `sh -c` runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionScripts {
    pub(crate) pre_up: Option<String>,
    pub(crate) pre_start: Option<String>,
    pub(crate) post_up: Option<String>,
    pub(crate) pre_down: Option<String>,
    pub(crate) post_down: Option<String>,
    /// Timeout of each script.
    pub(crate) timeout: Duration,
}

const SESSION_KEYS: [&str; 9] = [
    "compose",
    "hooks",
    "inherit",
    "processes",
    "search_range",
    "slots",
    "stride",
    "strict_ports",
    "tmux",
];

const PROCESS_KEYS: [&str; 7] = [
    "command",
    "cwd",
    "env",
    "extra_ports",
    "port",
    "port_env",
    "publish_primary",
];

const HOOK_KEYS: [&str; 6] = [
    "post_down",
    "post_up",
    "pre_down",
    "pre_start",
    "pre_up",
    "timeout",
];

/// The maximum length of a name of a process or a service. Names are parts of file names and variables.
pub(super) const MAX_NAME_CHARS: usize = 40;

impl Default for SessionSettings {
    fn default() -> SessionSettings {
        SessionSettings {
            slots: 8,
            stride: 1,
            strict_ports: false,
            search_range: 10,
            processes: Vec::new(),
            compose: None,
            services: Vec::new(),
            inherit: inherit::defaults(),
            hooks: SessionScripts::default(),
            tmux: false,
        }
    }
}

impl Default for SessionScripts {
    fn default() -> SessionScripts {
        SessionScripts {
            pre_up: None,
            pre_start: None,
            post_up: None,
            pre_down: None,
            post_down: None,
            timeout: Duration::from_secs(600),
        }
    }
}

pub(super) fn read(source: &Source, node: &Node) -> SessionSettings {
    let section = source.section(node, &SESSION_KEYS);
    let mut settings = SessionSettings::default();
    let number = |key: &str, least: i64, most: i64| {
        let found = source.whole(section.get(key)?, least, most)?;
        u16::try_from(found.value).ok()
    };
    settings.slots = number("slots", 1, 1000).unwrap_or(settings.slots);
    settings.stride = number("stride", 1, 1000).unwrap_or(settings.stride);
    settings.search_range = number("search_range", 0, 1000).unwrap_or(settings.search_range);
    settings.strict_ports = section.boolean("strict_ports").unwrap_or_default();
    settings.tmux = section.boolean("tmux").unwrap_or_default();
    if let Some(node) = section.get("inherit") {
        settings.inherit = inherit::read(source, node);
    }
    if let Some(node) = section.get("hooks") {
        settings.hooks = hooks(source, node);
    }
    for (name, at, node) in section
        .get("processes")
        .map_or_else(Vec::new, |node| source.entries(node))
    {
        if !is_name(name) {
            let name = message_text(name);
            let why = format!("bad name of a process '{name}' (a-z, 0-9 and '-', a letter first)");
            source.report(at, why);
            continue;
        }
        settings.check_variable(source, name, at);
        settings.processes.push(process(source, name, node));
    }
    if let Some(node) = section.get("compose") {
        let compose = compose::read(source, node);
        for (place, service) in compose.services.iter().enumerate() {
            settings.check_variable(source, &service.name, service.at);
            let earlier = &compose.services[..place];
            let same = |other: &&compose::ComposeServiceConfig| {
                port_variable_name(&other.name) == port_variable_name(&service.name)
            };
            if let Some(other) = earlier.iter().find(same) {
                let why = format!("'{}' has the same port variable", other.name);
                source.report(service.at, why);
            }
        }
        settings.compose = Some(compose);
    }
    settings
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    name.len() <= MAX_NAME_CHARS
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
}

fn process(source: &Source, name: &str, node: &Node) -> HostProcess {
    let section = source.section(node, &PROCESS_KEYS);
    section.require("command");
    let process = HostProcess {
        name: name.to_owned(),
        command: section
            .text("command")
            .map(|text| text.value)
            .unwrap_or_default(),
        port: section.get("port").and_then(|node| port(source, node)),
        port_env: variable_names(source, &section, "port_env"),
        extra_ports: section.get("extra_ports").map_or_else(Vec::new, |node| {
            let items = source.list(node).iter();
            items.filter_map(|item| extra_port(source, item)).collect()
        }),
        publish_primary: section.boolean("publish_primary").unwrap_or(true),
        env: env(source, &section),
        cwd: section
            .text("cwd")
            .and_then(|text| inner_path(source, &text)),
    };
    if process.port.is_none() {
        for key in ["port_env", "publish_primary"] {
            if let Some(at) = section.place(key) {
                source.report(at, format!("'{key}' has no effect without 'port'"));
            }
        }
    }
    process
}

pub(super) fn port(source: &Source, node: &Node) -> Option<Placed<u16>> {
    let found = source.whole(node, 1, 65535)?;
    let value = u16::try_from(found.value).ok()?;
    Some(Placed {
        at: found.at,
        value,
    })
}

fn extra_port(source: &Source, node: &Node) -> Option<ExtraPort> {
    let section = source.section(node, &["port", "port_env"]);
    section.require("port_env");
    Some(ExtraPort {
        port: port(source, section.require("port")?)?,
        port_env: variable_names(source, &section, "port_env"),
    })
}

/// Reads the names of variables for a port: one, or a list. A name that moat uses is refused.
pub(super) fn variable_names(source: &Source, section: &Section<'_>, key: &str) -> Vec<String> {
    let Some(node) = section.get(key) else {
        return Vec::new();
    };
    let found = match node.value {
        NodeValue::List(_) => source.texts(node),
        _ => source.text(node).into_iter().collect(),
    };
    let good = found.into_iter().filter(|name| {
        let word = name.value.as_str();
        let has_meaning = word.starts_with("MOAT_") || ["PATH", "HOME"].contains(&word);
        if has_meaning {
            source.report(
                name.at,
                format!("'{}' is a reserved name", message_text(word)),
            );
        }
        !has_meaning && variable_name(source, word, name.at)
    });
    good.map(|name| name.value).collect()
}

/// Whether a variable of a process can have this name; reports the problem if not. A shell starts the process, and can
/// remove variables with other names.
fn variable_name(source: &Source, name: &str, at: NodeId) -> bool {
    let good = is_shell_name(name);
    if !good {
        let name = message_text(name);
        let why = format!(
            "bad variable name '{name}' (letters, digits and '_', no digit first: a shell starts the process)"
        );
        source.report(at, why);
    }
    good
}

fn env(source: &Source, section: &Section<'_>) -> Vec<(String, String)> {
    let entries = section
        .get("env")
        .map_or_else(Vec::new, |node| source.entries(node));
    let good = entries
        .into_iter()
        .filter(|(name, at, _)| variable_name(source, name, *at));
    good.filter_map(|(name, _, node)| Some((name.to_owned(), source.value_as_written(node)?)))
        .collect()
}

/// Reads a path that stays in the worktree.
pub(super) fn inner_path(source: &Source, text: &Placed<String>) -> Option<PathBuf> {
    let path = Path::new(&text.value);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays {
        let shown = message_text(&text.value);
        source.report(
            text.at,
            format!("'{shown}' is not a path inside the worktree"),
        );
    }
    stays.then(|| path.to_owned())
}

fn hooks(source: &Source, node: &Node) -> SessionScripts {
    let section = source.section(node, &HOOK_KEYS);
    let script = |key: &str| section.text(key).map(|text| text.value);
    let timeout = section
        .text("timeout")
        .and_then(|text| report_invalid(source, &text, scalar_values::duration));
    SessionScripts {
        pre_up: script("pre_up"),
        pre_start: script("pre_start"),
        post_up: script("post_up"),
        pre_down: script("pre_down"),
        post_down: script("post_down"),
        timeout: timeout.map_or_else(|| SessionScripts::default().timeout, |text| text.value),
    }
}

/// The name of the variable with the port of a process or a service.
fn port_variable_name(name: &str) -> String {
    let name = name.to_ascii_uppercase().replace(['-', '.'], "_");
    format!("MOAT_{name}_PORT")
}

/// A member of a session that has ports of the host.
pub(crate) struct PortUser<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: Option<&'a Placed<u16>>,
    pub(crate) port_env: &'a [String],
    pub(crate) extra_ports: Vec<(&'a Placed<u16>, &'a [String])>,
    /// Whether other members get its port.
    pub(crate) published: bool,
    /// Whether this is a service of the compose file.
    pub(crate) from_compose: bool,
}

impl PortUser<'_> {
    /// The name of the variable with its port.
    pub(crate) fn variable(&self) -> String {
        port_variable_name(self.name)
    }
}

/// The ports that one key of the file can lead to: `base + stride`, `base + 2 * stride`, up to `last`.
struct PortRange<'a> {
    process: &'a str,
    base: &'a Placed<u16>,
    last: u64,
}

impl SessionSettings {
    /// Whether a session gets nothing that runs.
    pub(crate) fn is_empty(&self) -> bool {
        let hooks = &self.hooks;
        let hooks = [&hooks.pre_up, &hooks.pre_start, &hooks.post_up];
        let compose = self.compose.as_ref();
        self.processes.is_empty()
            && compose.is_none_or(|compose| compose.services.is_empty())
            && hooks.iter().all(|hook| hook.is_none())
    }

    /// The highest port that a base leads to. `gives_way`: moat searches for another port if the port is taken.
    fn last(&self, base: u16, gives_way: bool) -> u64 {
        let range = if gives_way && !self.strict_ports {
            self.search_range
        } else {
            0
        };
        let steps = u64::from(self.slots) * (1 + u64::from(range));
        u64::from(base) + steps * u64::from(self.stride)
    }

    /// All members of `session` that have ports: the processes, then the services of the compose file.
    pub(crate) fn port_users(&self) -> Vec<PortUser<'_>> {
        let processes = self.processes.iter().map(|process| PortUser {
            name: &process.name,
            port: process.port.as_ref(),
            port_env: &process.port_env,
            extra_ports: process
                .extra_ports
                .iter()
                .map(|extra| (&extra.port, &*extra.port_env))
                .collect(),
            published: process.publish_primary,
            from_compose: false,
        });
        let compose = self.compose.iter().flat_map(|compose| &compose.services);
        let services = compose.map(|service| PortUser {
            name: &service.name,
            port: service.port.as_ref(),
            port_env: &service.port_env,
            extra_ports: service
                .extra_ports
                .iter()
                .map(|extra| (&extra.port, &*extra.port_env))
                .collect(),
            published: true,
            from_compose: true,
        });
        processes.chain(services).collect()
    }

    /// Reports a name whose variable another member has.
    fn check_variable(&self, source: &Source, name: &str, at: NodeId) {
        let variable = port_variable_name(name);
        let holders = self.port_users();
        if let Some(other) = holders.iter().find(|other| other.variable() == variable) {
            let why = format!("'{}' already has the variable {variable}", other.name);
            source.report(at, why);
        }
    }

    fn port_ranges(&self) -> Vec<PortRange<'_>> {
        let mut all = Vec::new();
        for holder in self.port_users() {
            let extra = holder.extra_ports.iter().map(|(port, _)| (*port, false));
            let primary = holder.port.into_iter().map(|port| (port, true));
            for (base, gives_way) in primary.chain(extra) {
                all.push(PortRange {
                    process: holder.name,
                    base,
                    last: self.last(base.value, gives_way),
                });
            }
        }
        all.extend(self.services.iter().map(|(name, base)| PortRange {
            process: name,
            base,
            last: self.last(base.value, true),
        }));
        all.sort_by_key(|territory| territory.base.value);
        all
    }

    /// Adds the services. Reports equal names, ports that can collide, and ports that do not exist.
    pub(super) fn with_services(
        mut self,
        source: &Source,
        services: &[Placed<ServiceConfig>],
    ) -> Self {
        for service in services {
            self.check_variable(source, &service.value.name, service.at);
            let port = service.value.port.clone();
            self.services
                .extend(port.map(|port| (service.value.name.clone(), port)));
        }
        self.check_ranges_disjoint(source);
        self
    }

    fn check_ranges_disjoint(&self, source: &Source) {
        let all = self.port_ranges();
        for (place, one) in all.iter().enumerate() {
            if one.last > 65535 {
                let why = format!(
                    "the ports of '{}' reach {}, above the highest port 65535: lower this port, 'slots', 'stride' or 'search_range'",
                    one.process, one.last
                );
                source.report(one.base.at, why);
            }
            for other in &all[place + 1..] {
                let apart = other.base.value - one.base.value;
                let first = u64::from(other.base.value) + u64::from(self.stride);
                if apart % self.stride == 0 && one.last >= first {
                    let why = format!(
                        "its ports begin at {first}, but those of '{}' ({}) can reach {}: set them further apart, or lower 'slots' or 'search_range'",
                        one.process, one.base.value, one.last
                    );
                    source.report(other.base.at, why);
                }
            }
        }
    }

    /// The slot and the process of a port: the inverse of `base + slot * stride`.
    pub(crate) fn slot_of(&self, port: u16) -> Option<(u16, &str)> {
        self.port_ranges().iter().find_map(|territory| {
            let above = port.checked_sub(territory.base.value)?;
            let fits = above > 0 && above % self.stride == 0 && u64::from(port) <= territory.last;
            // The search for a free port moves by one stride per slot, so the slot does not change.
            fits.then(|| {
                (
                    (above / self.stride - 1) % self.slots + 1,
                    territory.process,
                )
            })
        })
    }

    /// The port of a slot before any search.
    pub(crate) fn nominal(&self, base: u16, slot: u16) -> Option<u16> {
        base.checked_add(slot.checked_mul(self.stride)?)
    }
}
