//! The services of a run: their settings, and their variables for the workload.

use serde::{Deserialize, Serialize};

use super::description::{Line, words};
use super::{ConfigLayers, Host, Planner, SecretRef, Variable};
use crate::config::{self, SERVICE_KEYS};
use crate::registry::{self, DEFAULT_PORT, RegistryEntry, ResolvedDependency};
use crate::store::ServicePort;
use crate::yaml::{Node, NodeId, NodeValue, Placed, Source, message_text, unknown_key_error};

/// Default timeout until a service is ready.
const DEFAULT_READY_TIMEOUT_SECONDS: f64 = 60.0;

/// The maximum length of an item's name, in bytes.
const MAX_ITEM_BYTES: usize = 200;

/// A service. Its serialized form contains no value of a variable.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PlannedService {
    /// The name in this run, which is also the host name.
    pub(crate) name: String,
    /// The name of the service's entry in the registry.
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) image: String,
    pub(crate) ports: Vec<ServicePort>,
    /// The arguments after the image; empty: the image's own command.
    pub(crate) command: Vec<String>,
    /// The readiness command, which runs inside the container.
    pub(crate) ready: Vec<String>,
    /// Whether the workload waits for readiness.
    pub(crate) wait: bool,
    /// Timeout until readiness.
    pub(crate) ready_seconds: f64,
    /// Variables of the service's container.
    pub(crate) env: Vec<Variable>,
    /// Variables of the container whose values moat looks up when the run starts.
    pub(crate) secrets: Vec<SecretRef>,
    /// Variables of the workload.
    pub(crate) exports: Vec<Variable>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    /// Whether moat restarts a service that ends before the run does.
    pub(crate) restart: bool,
    /// A directory of the container whose content several runs share.
    pub(crate) cache: Option<String>,
    pub(crate) provision: Option<PlannedProvision>,
    #[serde(skip)]
    pub(super) template: Option<Box<registry::ServiceTemplate>>,
}

/// The items that moat loads into a service before the workload starts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct PlannedProvision {
    /// The key of the items in moat.yaml.
    pub(crate) key: String,
    pub(crate) items: Vec<String>,
    /// The command that loads one item; the word `{item}` stands for it.
    pub(crate) command: Vec<String>,
    /// The command that prints the loaded items.
    pub(crate) list: Vec<String>,
}

impl Planner<'_> {
    /// Plans the services of a run; none on a runtime without services, where the key is refused.
    pub(super) fn services(&mut self, dependencies: &[ResolvedDependency]) -> Vec<PlannedService> {
        let mut services = plan_services(dependencies, self.files, self.host);
        if !self.runtime().has_images() {
            services.clear();
            for file in self.files {
                if let Some(service) = file.settings.services.first() {
                    self.refuse_key(file, service.at, "services", "no sidecars");
                }
            }
        }
        services
    }
}

/// Plans the resolved services with the settings of the files.
pub(super) fn plan_services(
    chosen: &[ResolvedDependency],
    files: ConfigLayers<'_>,
    host: &Host,
) -> Vec<PlannedService> {
    let mut services: Vec<PlannedService> = Vec::new();
    for entry in chosen
        .iter()
        .filter(|chosen| chosen.entry.service().is_some())
    {
        let version = entry.version.clone().unwrap_or_default();
        let name = &entry.entry.name;
        let configured = files.iter().find_map(|file| {
            let mut services = file.settings.services.iter();
            let service = services.find(|service| service.value.name == *name)?;
            Some((*file, service))
        });
        services.extend(match configured {
            None => plan_service(&entry.entry, version, name, None, host),
            Some((file, service)) => {
                let by_itself = service.value.of.as_ref();
                if let Some(of) = by_itself.filter(|of| of.value != *name) {
                    let why = format!("'{name}' is a service itself; choose another name");
                    file.source.report(of.at, why);
                }
                plan_service(&entry.entry, version, name, Some((file, service)), host)
            }
        });
    }
    for file in files {
        for service in &file.settings.services {
            let known = services
                .iter()
                .any(|known| known.name == service.value.name);
            if known {
                continue;
            }
            match entry_of(&service.value, service.at, chosen, (file, files), host) {
                None => {}
                Some((entry, version)) => services.extend(plan_service(
                    &entry,
                    version,
                    &service.value.name,
                    Some((file, service)),
                    host,
                )),
            }
        }
        check_exports(&services, file);
    }
    services
}

/// The entry and the version of a configured service.
fn entry_of(
    service: &config::ServiceConfig,
    at: NodeId,
    chosen: &[ResolvedDependency],
    (file, files): (&config::ConfigFile, ConfigLayers<'_>),
    host: &Host,
) -> Option<(RegistryEntry, String)> {
    let source = &file.source;
    let (at, of) = match &service.of {
        Some(of) => (of.at, of.value.as_str()),
        None => (at, service.name.as_str()),
    };
    let (name, version) = match of.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (of, None),
    };
    let services = chosen
        .iter()
        .filter(|chosen| chosen.entry.service().is_some());
    let Some(found) = services.clone().find(|chosen| chosen.entry.name == name) else {
        if let Some(why) = missing_dependency_error(name, version, files, host) {
            source.report(at, why);
        }
        return None;
    };
    let Some(version) = version else {
        return Some((
            found.entry.clone(),
            found.version.clone().unwrap_or_default(),
        ));
    };
    if let Err(why) = registry::check_version(&found.entry, version) {
        source.report(at, why);
        return None;
    }
    Some((found.entry.clone(), version.to_owned()))
}

/// Whether the files name this dependency, in any version.
fn is_asked_for(name: &str, files: ConfigLayers<'_>) -> bool {
    let mut asked = files.iter().flat_map(|file| &file.settings.dependencies);
    asked.any(|asked| asked.value.split('@').next() == Some(name))
}

/// The error for a configured service that no dependency names, with the lines that add it. `None`: a dependency
/// names the service, and its problem was reported.
fn missing_dependency_error(
    name: &str,
    version: Option<&str>,
    files: ConfigLayers<'_>,
    host: &Host,
) -> Option<String> {
    let registry = (host.registry)().unwrap_or_default();
    let services = || registry.entries().filter(|entry| entry.service().is_some());
    let Some(entry) = services().find(|entry| entry.name == name) else {
        let known: Vec<&str> = services().map(|entry| entry.name.as_str()).collect();
        let why = unknown_key_error("service", name, &known);
        let known = known.join(", ");
        return Some(format!(
            "{why}; an instance of a service names it: 'service: NAME'; there are {known}"
        ));
    };
    if is_asked_for(name, files) {
        return None;
    }
    let version = version.or(entry.default.as_deref()).unwrap_or_default();
    Some(format!(
        "'{name}' is configured here but is not a dependency; add these lines:\n  dependencies:\n    - {name}@{version}"
    ))
}

type ServiceConfigs<'a> = (&'a config::ConfigFile, &'a Placed<config::ServiceConfig>);

fn plan_service(
    entry: &RegistryEntry,
    version: String,
    name: &str,
    configured: Option<ServiceConfigs<'_>>,
    host: &Host,
) -> Option<PlannedService> {
    let template = entry.service()?;
    let config = configured.map(|(_, service)| &service.value);
    let wait = config.and_then(|config| config.wait.as_ref());
    let waits = wait.is_none_or(|wait| wait.value);
    let provision = configured.and_then(|(file, service)| items(&service.value, template, file));
    if let (Some((file, _)), Some(wait), Some(provision)) = (configured, wait, &provision)
        && !waits
        && !provision.items.is_empty()
    {
        let key = &provision.key;
        let why = format!(
            "'wait: false' conflicts with '{key}': items are downloaded after {name} is ready"
        );
        file.source.report(wait.at, why);
    }
    Some(PlannedService {
        name: name.to_owned(),
        service: entry.name.clone(),
        image: config
            .and_then(|config| config.image.clone())
            .unwrap_or_else(|| template.image.replace("{version}", &version)),
        version,
        ports: template
            .ports
            .iter()
            .map(|(name, port)| ServicePort {
                name: name.clone(),
                port: *port,
            })
            .collect(),
        command: template.command.clone(),
        ready: template.ready.clone(),
        wait: waits,
        ready_seconds: config
            .and_then(|config| config.timeout)
            .map_or(DEFAULT_READY_TIMEOUT_SECONDS, |timeout| {
                timeout.as_secs_f64()
            }),
        env: variables(template, config),
        secrets: configured.map_or_else(Vec::new, |(file, service)| {
            let secrets = service.value.secrets.iter();
            secrets
                .map(|secret| SecretRef::new(secret, &file.dir))
                .collect()
        }),
        exports: exports(name, template),
        memory_bytes: config.and_then(|config| config.memory_bytes),
        cpus: config.and_then(|config| config.cpus),
        restart: config.is_some_and(|config| config.restart),
        // A directory of this host does not exist on the engine's machine.
        cache: template.cache.clone().filter(|_| host.remote.is_none()),
        provision: provision.filter(|provision| !provision.items.is_empty()),
        template: Some(Box::new(template.clone())),
    })
}

/// The variables of the container. The registry's own get their values when the run starts.
fn variables(
    template: &registry::ServiceTemplate,
    config: Option<&config::ServiceConfig>,
) -> Vec<Variable> {
    let given = config.map_or(&[][..], |config| &config.env);
    let secrets = config.map_or(&[][..], |config| &config.secrets);
    let is_given = |name: &String| {
        given.iter().any(|(given, _)| given == name)
            || secrets.iter().any(|secret| secret.name == *name)
    };
    let own = template
        .variables
        .iter()
        .filter(|(name, _)| !is_given(name));
    let all = own.chain(given);
    all.map(|(name, value)| Variable {
        name: name.clone(),
        value: value.as_str().into(),
    })
    .collect()
}

fn variable_part(text: &str) -> String {
    let letter = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    text.chars().map(letter).collect()
}

/// The variable with a port of a service.
pub(crate) fn port_variable(service: &str, port: &str) -> String {
    match port {
        DEFAULT_PORT => format!("MOAT_{}_PORT", variable_part(service)),
        port => format!(
            "MOAT_{}_{}_PORT",
            variable_part(service),
            variable_part(port)
        ),
    }
}

/// The variable with the host name of a service.
pub(crate) fn host_variable(service: &str) -> String {
    format!("MOAT_{}_HOST", variable_part(service))
}

/// The variables for the workload, with placeholders for values that are not known yet.
fn exports(name: &str, template: &registry::ServiceTemplate) -> Vec<Variable> {
    let mut exports = Vec::new();
    let variable = |name: String, value: &str| Variable {
        name,
        value: value.into(),
    };
    let own = |what: &str| format!("MOAT_{}_{what}", variable_part(name));
    exports.push(variable(host_variable(name), "{host}"));
    for (port, number) in &template.ports {
        exports.push(variable(port_variable(name, port), &number.to_string()));
    }
    let mut add = |what: &str, value: &str| exports.push(variable(own(what), value));
    if template.user.is_some() {
        add("USER", "{user}");
    }
    if template.has_password() {
        add("PASSWORD", "{password}");
    }
    if template.database.is_some() {
        add("DB", "{database}");
    }
    if let Some(url) = &template.url {
        add("URL", url);
    }
    exports
}

/// Reports services with equal variables: `a-b`, and `a` with a port `b`.
fn check_exports(services: &[PlannedService], file: &config::ConfigFile) {
    for service in services {
        let mut others = services.iter().filter(|other| other.name != service.name);
        let clash = others.find_map(|other| {
            let names = |name: &Variable| service.exports.iter().any(|own| own.name == name.name);
            let found = other.exports.iter().find(|name| names(name))?;
            Some((other, found.name.clone()))
        });
        let mut placed = file.settings.services.iter();
        let place = placed.find(|placed| placed.value.name == service.name);
        if let (Some((other, name)), Some(place)) = (clash, place) {
            let why = format!(
                "this service and '{}' would both set {name}; choose another name",
                other.name
            );
            file.source.report(place.at, why);
        }
    }
}

/// Reads the keys that only this service has: its items.
fn items(
    service: &config::ServiceConfig,
    template: &registry::ServiceTemplate,
    file: &config::ConfigFile,
) -> Option<PlannedProvision> {
    let source = &file.source;
    let provision = template.provision.as_ref();
    let mut known = SERVICE_KEYS.to_vec();
    known.extend(provision.map(|provision| provision.key.as_str()));
    let mut found = None;
    for (key, at, node) in &service.rest {
        match provision.filter(|provision| provision.key == *key) {
            Some(provision) => {
                found = Some(PlannedProvision {
                    key: key.clone(),
                    items: list(source, key, node),
                    command: provision.command.clone(),
                    list: provision.list.clone(),
                });
            }
            None => source.report(*at, unknown_key_error("key", key, &known)),
        }
    }
    found
}

fn list(source: &Source, key: &str, node: &Node) -> Vec<String> {
    let nodes = match &node.value {
        NodeValue::List(nodes) => nodes,
        NodeValue::Map(_) | NodeValue::Null => {
            source.report(node.at, format!("'{key}' must be a list"));
            return Vec::new();
        }
        _ => {
            let found = source.value_as_written(node).unwrap_or_default();
            let found = message_text(&found);
            source.report(node.at, format!("'{key}' must be a list: [{found}]"));
            return Vec::new();
        }
    };
    let mut items: Vec<String> = Vec::new();
    for text in nodes.iter().filter_map(|node| source.text(node)) {
        if !is_item(&text.value) {
            let item = message_text(&text.value);
            source.report(
                text.at,
                format!("bad item '{item}' of '{key}' (letters, digits, '.', '_', ':', '/', '@', '-', a letter or digit first)"),
            );
        } else if items.contains(&text.value) {
            source.report(text.at, format!("'{}' is listed twice", text.value));
        }
        items.push(text.value);
    }
    items
}

/// Whether an item can be an argument: neither an option nor a word that a shell would expand.
fn is_item(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
    text.len() <= MAX_ITEM_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
}

/// Describes a service and the variables that it gives to the workload.
pub(super) fn describe(service: &PlannedService) -> Line {
    let mut text = format!(
        "{} ({}@{}), image {}",
        service.name, service.service, service.version, service.image
    );
    if !service.wait {
        text.push_str(", which the workload does not wait for");
    }
    if service.restart {
        text.push_str(", restarted when it ends");
    }
    if let Some(provision) = &service.provision {
        text.push_str(&format!(
            "\n{}: {}",
            provision.key,
            provision.items.join(" ")
        ));
    }
    let exports = words(service.exports.iter().map(|variable| &variable.name));
    text.push_str(&format!("\ntells the workload: {exports}"));
    ("service", text)
}
