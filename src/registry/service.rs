//! A service as `registry.yaml` describes it. The description is data: a new service needs no code.

use super::entry::RegistryEntry;
use super::entry_schema::{check_word, image, is_shell_word, plain_text};
use crate::variable_name::is_shell_name;
use crate::yaml::{Node, NodeValue, Placed, Section, Source, message_text};

/// The container of a service, and its ports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceTemplate {
    /// Contains `{version}`.
    pub(crate) image: String,
    /// The ports by name. The first one, `default`, is the port of the URL.
    pub(crate) ports: Vec<(String, u16)>,
    /// Variables of the container. They can contain `{user}`, `{password}` and `{database}`.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) user: Option<String>,
    pub(crate) database: Option<String>,
    /// The arguments after the image; empty: the image's own command.
    pub(crate) command: Vec<String>,
    /// The readiness command; empty: a running service is ready.
    pub(crate) ready: Vec<String>,
    /// Contains `{user}`, `{password}`, `{host}`, `{port}` and `{database}`.
    pub(crate) url: Option<String>,
    /// A directory of the container. Several runs share its content, which outlives them.
    pub(crate) cache: Option<String>,
    pub(crate) provision: Option<ProvisionTemplate>,
}

/// The items of a service, such as models, and how it loads them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProvisionTemplate {
    /// The key of `services.NAME` in moat.yaml with the list of items.
    pub(crate) key: String,
    /// The command that loads one item; the word `{item}` stands for it.
    pub(crate) command: Vec<String>,
    /// The command that prints the loaded items, one per line, with the name first.
    pub(crate) list: Vec<String>,
}

/// The keys of an entry of type service.
pub(super) const TEMPLATE_KEYS: &[&str] = &[
    "cache",
    "command",
    "database",
    "image",
    "ports",
    "provision",
    "ready",
    "url",
    "user",
];

/// The name of the main port.
pub(crate) const DEFAULT_PORT: &str = "default";

/// The placeholder for an item in the command that loads it.
pub(crate) const ITEM_PLACEHOLDER: &str = "{item}";

impl ServiceTemplate {
    /// Whether a password protects the service.
    pub(crate) fn has_password(&self) -> bool {
        self.placeholder_variable("{password}").is_some()
    }

    /// The variable whose value is exactly this placeholder.
    pub(crate) fn placeholder_variable(&self, placeholder: &str) -> Option<&str> {
        let found = self
            .variables
            .iter()
            .find(|(_, value)| value == placeholder);
        found.map(|(name, _)| name.as_str())
    }

    /// The port of the URL.
    pub(crate) fn port(&self) -> u16 {
        self.ports.first().map_or(0, |(_, port)| *port)
    }
}

pub(super) fn read(
    source: &Source,
    section: &Section<'_>,
    variables: Vec<(String, String)>,
) -> Option<ServiceTemplate> {
    let text = |key| section.text(key).map(|text: Placed<String>| text.value);
    let words = |section: &Section<'_>, key| {
        let node = section.get(key);
        node.map_or_else(Vec::new, |node| command_or_script(source, node, &variables))
    };
    let service = ServiceTemplate {
        ports: section
            .require("ports")
            .map_or_else(Vec::new, |node| ports(source, node)),
        user: text("user"),
        database: text("database"),
        command: words(section, "command"),
        ready: words(section, "ready"),
        url: text("url"),
        cache: section.text("cache").map(|text| {
            if !text.value.starts_with('/') {
                source.report(text.at, "the path must be absolute");
            }
            check_word(source, &text);
            text.value
        }),
        provision: section
            .get("provision")
            .and_then(|node| provision(source, node)),
        image: image(source, section)?,
        variables,
    };
    check(source, section, &service);
    Some(service)
}

fn ports(source: &Source, node: &Node) -> Vec<(String, u16)> {
    let entries = source.entries(node);
    if entries
        .first()
        .is_none_or(|(name, ..)| *name != DEFAULT_PORT)
    {
        source.report_unexpected(node, "ports by name, the first one named 'default'");
    }
    let mut ports = Vec::new();
    for (name, at, node) in entries {
        let good = is_shell_word(name) && name.bytes().all(|byte| byte.is_ascii_lowercase());
        if !good {
            let name = message_text(name);
            source.report(at, format!("bad name of a port '{name}' (a-z)"));
        }
        let number = source.whole(node, 1, i64::from(u16::MAX));
        if let Some(port) = number.and_then(|number| u16::try_from(number.value).ok()) {
            ports.push((name.to_owned(), port));
        }
    }
    ports
}

/// Reads a list of words, or a script for `sh -c`. A script reads values from the variables of its container, because
/// every user who lists processes can read words.
fn command_or_script(source: &Source, node: &Node, variables: &[(String, String)]) -> Vec<String> {
    if let NodeValue::List(_) = node.value {
        let words = source.texts(node);
        for word in &words {
            let secret = ["{user}", "{password}", "{database}"];
            if secret.iter().any(|part| word.value.contains(part)) {
                source.report(
                    word.at,
                    "a list of words cannot contain a placeholder: write a script as one text",
                );
            }
        }
        return plain_text(words);
    }
    let Some(text) = source.text(node) else {
        return Vec::new();
    };
    let mut script = text.value;
    for placeholder in ["{user}", "{password}", "{database}"] {
        if !script.contains(placeholder) {
            continue;
        }
        let of_a_shell =
            |(name, value): &&(String, String)| value == placeholder && is_shell_name(name);
        match variables.iter().find(of_a_shell) {
            Some((name, _)) => script = script.replace(placeholder, &format!("\"${{{name}}}\"")),
            None => source.report(text.at, missing_variable_error(placeholder)),
        }
    }
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

fn missing_variable_error(placeholder: &str) -> String {
    format!("{placeholder} needs a variable under 'env' with exactly this value")
}

fn provision(source: &Source, node: &Node) -> Option<ProvisionTemplate> {
    let section = source.section(node, &["command", "key", "list"]);
    let key = section.require("key").and_then(|node| source.text(node))?;
    check_word(source, &key);
    let command = section.require("command").map(|node| source.texts(node))?;
    if command
        .iter()
        .filter(|word| word.value == ITEM_PLACEHOLDER)
        .count()
        != 1
    {
        let why = format!("the command must have one word {ITEM_PLACEHOLDER}");
        source.report(section.at, why);
    }
    Some(ProvisionTemplate {
        key: key.value,
        command: plain_text(command),
        list: plain_text(section.texts("list")),
    })
}

/// Checks the rules that involve several keys.
fn check(source: &Source, section: &Section<'_>, service: &ServiceTemplate) {
    let url = service.url.as_deref().unwrap_or_default();
    let values = service.variables.iter().map(|(_, value)| value.as_str());
    let uses = |placeholder| {
        url.contains(placeholder) || values.clone().any(|value| value.contains(placeholder))
    };
    for (placeholder, key, value) in [
        ("{user}", "user", &service.user),
        ("{database}", "database", &service.database),
    ] {
        if uses(placeholder) && value.is_none() {
            source.report(section.at, format!("{placeholder} needs the key '{key}'"));
        }
    }
    if uses("{password}") && !service.has_password() {
        source.report(section.at, missing_variable_error("{password}"));
    }
    let known = ["{user}", "{password}", "{host}", "{port}", "{database}"];
    let rest = known
        .iter()
        .fold(url.to_owned(), |rest, part| rest.replace(part, ""));
    if let Some(at) = section.place("url").filter(|_| rest.contains(['{', '}'])) {
        let known = known.join(", ");
        source.report(
            at,
            format!("the url can contain only the placeholders {known}"),
        );
    }
}

impl RegistryEntry {
    /// The service that the entry describes, if it is one.
    pub(crate) fn service(&self) -> Option<&ServiceTemplate> {
        match &self.kind {
            super::EntryKind::Service(service) => Some(service),
            _ => None,
        }
    }
}
