//! The keys of `moat.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use super::container::ContainerConfig;
use super::mounts::{self, FileMount, VolumeConfig};
use super::scalar_values;
use super::secret::SecretSource;
use super::service::{self, ServiceConfig};
use super::session::{self, SessionSettings};
use crate::error::{Error, Result};
use crate::store::{NAME_RULE, RunName, WorkspaceMode};
use crate::variable_name::{ENVIRONMENT_NAME_RULE, is_environment_name};
use crate::yaml::{Node, NodeValue, Placed, Section, Source, message_text};

pub(super) const PROJECT_KEYS: [&str; 19] = [
    "base_image",
    "command",
    "container",
    "dependencies",
    "env",
    "env_file",
    "hooks",
    "interactive",
    "mounts",
    "name",
    "ports",
    "runtime",
    "secrets",
    "services",
    "session",
    "start_timeout",
    "timeout",
    "volumes",
    "workspace",
];

/// The keys that make sense as defaults for all projects.
pub(super) const DEFAULT_KEYS: [&str; 7] = [
    "base_image",
    "container",
    "env",
    "mounts",
    "runtime",
    "start_timeout",
    "timeout",
];

/// A port on which the workload listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortConfig {
    pub(crate) name: String,
    pub(crate) container: u16,
    /// `None`: any free port.
    pub(crate) host: Option<u16>,
}

/// The source of the container's root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootFilesystem {
    Image(String),
    /// A directory with a root filesystem, `rootfs:/path`.
    Rootfs(PathBuf),
}

/// Scripts of the project, which `sh -e` runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hooks {
    /// As root, during the image build.
    pub(crate) post_build_root: Option<Placed<String>>,
    /// As the workload's user, during the image build.
    pub(crate) post_build: Option<Placed<String>>,
    /// As the workload's user in the workspace, before the command.
    pub(crate) pre_run: Option<Placed<String>>,
}

/// The content of a configuration file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) name: Option<Placed<RunName>>,
    pub(crate) runtime: Option<Placed<String>>,
    pub(crate) base: Option<Placed<RootFilesystem>>,
    pub(crate) dependencies: Vec<Placed<String>>,
    /// Names and values.
    pub(crate) env: Vec<Placed<(String, String)>>,
    pub(crate) env_files: Vec<Placed<String>>,
    pub(crate) secrets: Vec<Placed<SecretSource>>,
    pub(crate) mounts: Vec<Placed<FileMount>>,
    pub(crate) volumes: Vec<Placed<VolumeConfig>>,
    pub(crate) workspace_mode: Option<Placed<WorkspaceMode>>,
    pub(crate) command: Vec<String>,
    pub(crate) interactive: bool,
    pub(crate) hooks: Hooks,
    pub(crate) container: ContainerConfig,
    pub(crate) ports: Vec<Placed<PortConfig>>,
    /// The limit for the command.
    pub(crate) timeout: Option<Placed<Duration>>,
    /// The limit for everything before the command.
    pub(crate) start_timeout: Option<Placed<Duration>>,
    pub(crate) services: Vec<Placed<ServiceConfig>>,
    pub(crate) session: SessionSettings,
}

impl Settings {
    /// Reads all settings, and reports their problems.
    pub(super) fn read(source: &Source, section: &Section<'_>) -> Settings {
        let services = section
            .get("services")
            .map_or_else(Vec::new, |node| service::read(source, node));
        let session = section
            .get("session")
            .map_or_else(SessionSettings::default, |node| session::read(source, node))
            .with_services(source, &services);
        let settings = Settings {
            name: section.text("name").and_then(|text| name(source, text)),
            runtime: section.text("runtime"),
            base: section
                .text("base_image")
                .and_then(|text| report_invalid(source, &text, base)),
            dependencies: section.texts("dependencies"),
            env: section
                .get("env")
                .map_or_else(Vec::new, |node| env(source, node)),
            env_files: section
                .get("env_file")
                .map_or_else(Vec::new, |node| one_or_many(source, node)),
            secrets: section
                .get("secrets")
                .map_or_else(Vec::new, |node| super::secret::read(source, node)),
            mounts: section
                .get("mounts")
                .map_or_else(Vec::new, |node| mounts::mounts(source, node)),
            volumes: section
                .get("volumes")
                .map_or_else(Vec::new, |node| mounts::volumes(source, node)),
            workspace_mode: section
                .get("workspace")
                .and_then(|node| mounts::workspace_mode(source, node)),
            command: section
                .get("command")
                .map_or_else(Vec::new, |node| command(source, node)),
            interactive: section.boolean("interactive").unwrap_or_default(),
            hooks: section
                .get("hooks")
                .map_or_else(Hooks::default, |node| hooks(source, node)),
            container: section
                .get("container")
                .map_or_else(ContainerConfig::default, |node| {
                    ContainerConfig::read(source, node)
                }),
            ports: section
                .get("ports")
                .map_or_else(Vec::new, |node| ports(source, node)),
            timeout: section
                .text("timeout")
                .and_then(|text| report_invalid(source, &text, scalar_values::duration)),
            start_timeout: section
                .text("start_timeout")
                .and_then(|text| report_invalid(source, &text, scalar_values::duration)),
            services,
            session,
        };
        settings.check_conflicts(source);
        settings
    }

    fn check_conflicts(&self, source: &Source) {
        for secret in &self.secrets {
            let name = &secret.value.name;
            if let Some(earlier) = self.env.iter().find(|env| env.value.0 == *name) {
                let line = source.line_of(earlier.at);
                source.report(secret.at, format!("{name} is also in 'env' ({line})"));
            }
        }
        let mut targets: Vec<&str> = Vec::new();
        let mounts = self
            .mounts
            .iter()
            .map(|mount| (mount.at, &mount.value.target));
        let volumes = self
            .volumes
            .iter()
            .map(|volume| (volume.at, &volume.value.target));
        for (at, target) in mounts.chain(volumes) {
            if targets.contains(&target.as_str()) {
                source.report(at, format!("another mount has the target {target}"));
            }
            targets.push(target);
        }
        if let (None, Some(volume)) = (&self.name, self.volumes.first()) {
            source.report(
                volume.at,
                "volumes belong to a named project: set the key 'name'",
            );
        }
    }
}

/// Reports the error of a parser of single values.
pub(super) fn report_invalid<T>(
    source: &Source,
    text: &Placed<String>,
    parse: impl Fn(&str) -> Result<T>,
) -> Option<Placed<T>> {
    match parse(&text.value) {
        Ok(value) => Some(Placed { at: text.at, value }),
        Err(error) => {
            let hint = error.hint.map(|hint| format!(" ({hint})"));
            source.report(text.at, error.message + &hint.unwrap_or_default());
            None
        }
    }
}

fn name(source: &Source, text: Placed<String>) -> Option<Placed<RunName>> {
    let found = RunName::parse(&text.value);
    if found.is_none() {
        let name = message_text(&text.value);
        source.report(text.at, format!("bad name '{name}' ({NAME_RULE})"));
    }
    found.map(|value| Placed { at: text.at, value })
}

fn base(text: &str) -> Result<RootFilesystem> {
    match text.strip_prefix("rootfs:") {
        Some(path) if path.starts_with('/') => Ok(RootFilesystem::Rootfs(PathBuf::from(path))),
        Some(_) => Err(
            Error::usage(format!("bad base image '{}'", message_text(text)))
                .hint("write a root filesystem as rootfs:/absolute/path"),
        ),
        None => scalar_values::image(text).map(|()| RootFilesystem::Image(text.to_owned())),
    }
}

fn env(source: &Source, node: &Node) -> Vec<Placed<(String, String)>> {
    let mut variables = Vec::new();
    for (name, at, node) in source.entries(node) {
        if !variable_name(source, name, at) {
            continue;
        }
        if let Some(value) = source.value_as_written(node) {
            let value = (name.to_owned(), value);
            variables.push(Placed { at, value });
        }
    }
    variables
}

/// Whether a variable of a container can have this name; reports the problem if not.
pub(super) fn variable_name(source: &Source, name: &str, at: crate::yaml::NodeId) -> bool {
    let good = is_environment_name(name);
    if !good {
        let name = message_text(name);
        let why = format!("bad variable name '{name}' ({ENVIRONMENT_NAME_RULE})");
        source.report(at, why);
    }
    good
}

fn one_or_many(source: &Source, node: &Node) -> Vec<Placed<String>> {
    match node.value {
        NodeValue::List(_) => source.texts(node),
        _ => source.text(node).into_iter().collect(),
    }
}

fn command(source: &Source, node: &Node) -> Vec<String> {
    let NodeValue::List(items) = &node.value else {
        source.report_unexpected(node, "a list of words, such as [npm, test]");
        return Vec::new();
    };
    if items.is_empty() {
        source.report_unexpected(node, "the words of a command");
    }
    let mut words = Vec::new();
    for (place, item) in items.iter().enumerate() {
        // Arguments may be empty, the program may not.
        match place {
            0 => words.extend(source.text(item).map(|text| text.value)),
            _ => words.extend(source.value_as_written(item)),
        }
    }
    words
}

/// The maximum size of a script, in bytes. The script is one word of a command line, and Linux limits a word to 128
/// KiB.
const MAX_SCRIPT_BYTES: usize = 120 * 1024;

fn hooks(source: &Source, node: &Node) -> Hooks {
    let section = source.section(node, &["post_build", "post_build_root", "pre_run"]);
    let pre_run = section.text("pre_run");
    if let Some(script) = &pre_run
        && script.value.len() > MAX_SCRIPT_BYTES
    {
        let kib = MAX_SCRIPT_BYTES / 1024;
        let why = format!(
            "'pre_run' is longer than {kib} KiB; put the script into a file and call the file"
        );
        source.report(script.at, why);
    }
    Hooks {
        post_build_root: section.text("post_build_root"),
        post_build: section.text("post_build"),
        pre_run,
    }
}

fn ports(source: &Source, node: &Node) -> Vec<Placed<PortConfig>> {
    let mut ports: Vec<Placed<PortConfig>> = Vec::new();
    for (name, at, node) in source.entries(node) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(allowed) {
            let name = message_text(name);
            source.report(
                at,
                format!("bad name of a port '{name}' (letters, digits, '_', '-')"),
            );
            continue;
        }
        let Some((host, container)) = port(source, node) else {
            continue;
        };
        let twice = ports.iter().find(|earlier| {
            earlier.value.container == container || (host.is_some() && earlier.value.host == host)
        });
        if let Some(earlier) = twice {
            let other = &earlier.value.name;
            source.report(node.at, format!("'{other}' already has that port"));
            continue;
        }
        ports.push(Placed {
            at: node.at,
            value: PortConfig {
                name: name.to_owned(),
                container,
                host,
            },
        });
    }
    ports
}

/// Reads `3000`, or `"8080:3000"` with the port of the host first.
fn port(source: &Source, node: &Node) -> Option<(Option<u16>, u16)> {
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.filter(|_| digits)
    };
    let text = match &node.value {
        NodeValue::Whole(_) => source.value_as_written(node)?,
        NodeValue::Text(text) => text.clone(),
        _ => String::new(),
    };
    let found = match text.split_once(':') {
        Some((host, container)) => number(host).map(Some).zip(number(container)),
        None => number(&text).map(|container| (None, container)),
    };
    if found.is_none() {
        source.report_unexpected(
            node,
            "a port from 1 to 65535, or \"HOST:CONTAINER\" with two of them",
        );
    }
    found
}
