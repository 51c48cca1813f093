//! Rewrites a compose file for one session. Pure.
//!
//! The input is the document that the compose tool resolves the files to, with variables and relative paths replaced.
//! The output has the requested services and their dependencies, without anything that two sessions cannot have at
//! once: names, ports of the host, tags of built images. Every resource carries labels. The older generation of the
//! tool cannot remove a port in an overlay, so the output replaces the file.

use std::path::Path;

use super::base_images::ComposeBuild;
use crate::error::{Error, ErrorKind, Result};
use crate::yaml::{Node, NodeValue, Source, message_text, unknown_key_error};

/// Maximum size in bytes of a file that moat reads; only the tool reads a larger one.
const MAX_FILE_BYTES: usize = 256 * 1024;

/// The session's requirements of the file.
pub(super) struct RewriteRequest<'a> {
    /// The name of the file in messages.
    pub(super) file: &'a str,
    pub(super) project: &'a str,
    pub(super) labels: &'a [(&'a str, String)],
    /// The label with the name of the service.
    pub(super) service_label: &'a str,
    pub(super) services: Vec<RequestedService<'a>>,
}

pub(super) struct RequestedService<'a> {
    pub(super) name: &'a str,
    pub(super) ports: Vec<RequestedPort>,
}

/// A port of the host and the container port behind it.
pub(super) struct RequestedPort {
    pub(super) host: u16,
    /// Not set: the only port that the file has for the service.
    pub(super) container: Option<u16>,
}

/// The result of a rewrite.
pub(super) struct RewrittenFile {
    pub(super) text: String,
    pub(super) services: Vec<RewrittenService>,
    pub(super) builds: Vec<ComposeBuild>,
}

/// A service of the rewritten file.
pub(super) struct RewrittenService {
    pub(super) name: String,
    /// The services that it depends on.
    pub(super) needs: Vec<String>,
    /// Whether another service waits for its completion.
    pub(super) one_shot: bool,
    /// Whether it may end with code 0 as soon as it was started: another service only needs it to start, and nothing
    /// starts it again. `docker compose up` accepts that, too.
    pub(super) may_end: bool,
    /// Whether its image is built.
    pub(super) is_built: bool,
    /// Whether another service builds its image.
    pub(super) uses_built_image: bool,
}

/// Rewrites a resolved file.
pub(super) fn rewrite(resolved: String, wanted: &RewriteRequest<'_>) -> Result<RewrittenFile> {
    let (source, root) = Source::parse(wanted.file, resolved)?;
    let nothing = NodeValue::Null.detached();
    let all = root.get("services").unwrap_or(&nothing);
    let mut members = members(wanted, all)?;
    let images = built_images(wanted, all, &members);
    for member in members.iter_mut().filter(|member| !member.is_built) {
        let image = all
            .get(&member.name)
            .and_then(|service| service.get("image"));
        member.uses_built_image =
            image.is_some_and(|image| images.iter().any(|(tag, _)| image.is_text(tag)));
    }
    let mut services = NodeValue::Null.detached();
    for member in &members {
        let service = all.get(&member.name).unwrap_or(&nothing).clone();
        let service = rewrite_service(wanted, &member.name, service, &images)?;
        services.set(&member.name, service);
    }
    let mut document = NodeValue::Null.detached();
    for (kind, used) in [
        ("networks", networks(&services)),
        ("volumes", volumes(&services)),
    ] {
        let declared = root.get(kind).unwrap_or(&nothing);
        let shared = shared(wanted, kind, declared, &used)?;
        if shared.value != NodeValue::Null {
            document.set(kind, shared);
        }
    }
    for kind in ["secrets", "configs"] {
        if let Some(declared) = root.get(kind) {
            document.set(kind, declared.clone());
        }
    }
    document.set("services", services);
    Ok(RewrittenFile {
        text: source.write(&document),
        builds: builds(all, &members),
        services: members,
    })
}

fn refuse(wanted: &RewriteRequest<'_>, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{}: {why}", wanted.file))
}

/// The dependencies of the listed services, according to the files as written: the tool has not resolved them yet. An
/// unreadable file contributes none.
pub(super) fn along<'a>(
    files: impl Iterator<Item = String>,
    listed: impl Iterator<Item = &'a str> + Clone,
) -> Vec<String> {
    let files: Vec<Node> = files
        .filter(|text| text.len() <= MAX_FILE_BYTES)
        .filter_map(|text| {
            let (_, root) = Source::parse("", text).ok()?;
            root.get("services").cloned()
        })
        .collect();
    let files: Vec<&Node> = files.iter().collect();
    let mut names = with_needed(&files, listed.clone());
    names.drain(..listed.count());
    names
}

/// Adds the names of all dependencies to the given names.
fn with_needed<'a>(files: &[&Node], listed: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = listed.map(str::to_owned).collect();
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        for other in files
            .iter()
            .filter_map(|all| all.get(&name))
            .flat_map(needs)
        {
            if !names.contains(&other) {
                names.push(other);
            }
        }
    }
    names
}

/// The requested services and their dependencies.
fn members(wanted: &RewriteRequest<'_>, all: &Node) -> Result<Vec<RewrittenService>> {
    let known: Vec<&str> = entries(all).map(|(name, _)| name).collect();
    let mut members: Vec<RewrittenService> = Vec::new();
    let listed = wanted.services.iter().map(|service| service.name);
    let names = with_needed(&[all], listed);
    for name in &names {
        let Some(service) = all.get(name) else {
            return Err(refuse(wanted, &unknown_key_error("service", name, &known))
                .hint("see session.compose.services in moat.yaml"));
        };
        members.push(RewrittenService {
            one_shot: false,
            may_end: false,
            is_built: service.get("build").is_some(),
            uses_built_image: false,
            name: name.clone(),
            needs: needs(service),
        });
    }
    for member in &mut members {
        let others = names.iter().filter_map(|name| all.get(name));
        let dependencies = others.filter_map(|other| other.get("depends_on"));
        let conditions: Vec<&str> = dependencies
            .filter_map(|needs| condition(needs, &member.name))
            .collect();
        member.one_shot = conditions.contains(&"service_completed_successfully");
        let restart = all
            .get(&member.name)
            .and_then(|service| service.get("restart"));
        let restarts = restart.is_some_and(|policy| !policy.is_text("no"));
        member.may_end =
            !restarts && !conditions.is_empty() && !conditions.contains(&"service_healthy");
    }
    Ok(members)
}

/// The condition under which a service in `depends_on` lets the other one start.
fn condition<'a>(needs: &'a Node, name: &str) -> Option<&'a str> {
    if items(Some(needs)).iter().any(|item| item.is_text(name)) {
        return Some("service_started");
    }
    let need = needs.get(name)?;
    Some(
        need.get("condition")
            .and_then(text)
            .unwrap_or("service_started"),
    )
}

/// The entries of a map with text keys.
fn entries(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries: &[(Node, Node)] = match &node.value {
        NodeValue::Map(entries) => entries,
        _ => &[],
    };
    entries
        .iter()
        .filter_map(|(key, value)| Some((text(key)?, value)))
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(NodeValue::List(items)) => items,
        _ => &[],
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        NodeValue::Text(text) => Some(text),
        _ => None,
    }
}

/// The texts of a list, or the keys of a map.
fn names(node: Option<&Node>) -> Vec<String> {
    let listed = items(node).iter().filter_map(text);
    let keys = node.into_iter().flat_map(entries).map(|(key, _)| key);
    listed.chain(keys).map(str::to_owned).collect()
}

/// The services that a service requires.
fn needs(service: &Node) -> Vec<String> {
    let mut found = names(service.get("depends_on"));
    for link in names(service.get("links")) {
        found.extend(link.split(':').next().map(str::to_owned));
    }
    for from in names(service.get("volumes_from")) {
        // `container:NAME` is no service of the file.
        let name = from.split(':').next().filter(|name| *name != "container");
        found.extend(name.map(str::to_owned));
    }
    for key in ["network_mode", "ipc", "pid"] {
        let mode = service.get(key).and_then(text);
        let name = mode.and_then(|mode| mode.strip_prefix("service:"));
        found.extend(name.map(str::to_owned));
    }
    found
}

/// The tags of built images and their replacements: two worktrees build different images.
fn built_images(
    wanted: &RewriteRequest<'_>,
    all: &Node,
    members: &[RewrittenService],
) -> Vec<(String, String)> {
    let built = members.iter().filter(|member| member.is_built);
    built
        .filter_map(|member| {
            let image = all.get(&member.name)?.get("image").and_then(text)?;
            Some((image.to_owned(), own_image(wanted, &member.name)))
        })
        .collect()
}

/// The build settings of a service, and the Dockerfile's path.
fn builds(all: &Node, members: &[RewrittenService]) -> Vec<ComposeBuild> {
    let build = |member: &RewrittenService| {
        let service = all.get(&member.name)?;
        let build = service.get("build")?;
        let word = |key: &str| build.get(key).and_then(text);
        let context = Path::new(text(build).or(word("context")).unwrap_or("."));
        Some(ComposeBuild {
            service: member.name.clone(),
            image: service.get("image").and_then(text).map(str::to_owned),
            dockerfile: context.join(word("dockerfile").unwrap_or("Dockerfile")),
            inline: word("dockerfile_inline").map(str::to_owned),
        })
    };
    members.iter().filter_map(build).collect()
}

/// Image names are lower case.
fn own_image(wanted: &RewriteRequest<'_>, service: &str) -> String {
    let service = service.to_ascii_lowercase();
    format!(
        "{}/{}",
        wanted.project,
        service.trim_matches(['.', '_', '-'])
    )
}

fn rewrite_service(
    wanted: &RewriteRequest<'_>,
    name: &str,
    mut service: Node,
    images: &[(String, String)],
) -> Result<Node> {
    let own = wanted.services.iter().find(|service| service.name == name);
    let ports = own.map_or(&[][..], |service| &service.ports);
    check_ports(wanted, name, &service, ports)?;
    let mut published = Vec::new();
    for port in ports {
        let inside = container_port(wanted, name, &service, port.container)?;
        let text = format!("127.0.0.1:{}:{inside}", port.host);
        published.push(Node::text(&text));
    }
    for key in ["container_name", "ports", "profiles"] {
        service.remove(key);
    }
    if !published.is_empty() {
        service.set("ports", NodeValue::List(published).detached());
    }
    let image = service.get("image").and_then(text);
    let renamed = image.and_then(|image| images.iter().find(|(built, _)| built == image));
    let mut own = renamed.map(|(_, own)| own.clone());
    if let Some(build) = service.get("build") {
        let mut build = match text(build) {
            // The short form is the context alone.
            Some(context) => {
                let mut build = NodeValue::Null.detached();
                build.set("context", Node::text(context));
                build
            }
            None => build.clone(),
        };
        label(&mut build, wanted.labels);
        // Further tags would be shared with other sessions.
        build.remove("tags");
        service.set("build", build);
        own = own.or_else(|| Some(own_image(wanted, name)));
    }
    if let Some(own) = own {
        service.set("image", Node::text(&own));
    }
    label(&mut service, wanted.labels);
    label(&mut service, &[(wanted.service_label, name.to_owned())]);
    Ok(service)
}

/// Whether the service can have its ports in each session.
fn check_ports(
    wanted: &RewriteRequest<'_>,
    name: &str,
    service: &Node,
    ports: &[RequestedPort],
) -> Result<()> {
    let mode = service.get("network_mode").and_then(text);
    if mode == Some("host") {
        let why = format!(
            "'{name}' has 'network_mode: host', so its ports are the machine's, and no two sessions can have them"
        );
        return Err(refuse(wanted, &why).hint(
            "remove 'network_mode' from the service, or the service from session.compose.services",
        ));
    }
    let is_elsewhere = mode.is_some_and(|mode| mode.contains(':') || mode == "none");
    if is_elsewhere && !ports.is_empty() {
        let mode = message_text(mode.unwrap_or_default());
        let why = format!("'{name}' has 'network_mode: {mode}', and so no ports of its own");
        return Err(
            refuse(wanted, &why).hint("remove its 'port' from session.compose in moat.yaml")
        );
    }
    if !ports.is_empty() && copies(service) > 1 {
        let why = format!("'{name}' has several containers, and two cannot have one port");
        return Err(refuse(wanted, &why).hint(
            "remove 'scale' and 'deploy.replicas' from the service, or its 'port' from session.compose in moat.yaml",
        ));
    }
    Ok(())
}

/// The number of containers of a service. The tool's generation decides which of the two keys counts.
fn copies(service: &Node) -> i64 {
    let replicas = service
        .get("deploy")
        .and_then(|deploy| deploy.get("replicas"));
    let counts = service.get("scale").into_iter().chain(replicas);
    let counts = counts.map(|count| match count.value {
        NodeValue::Whole(count) => count,
        _ => 1,
    });
    counts.max().unwrap_or(1)
}

/// Adds labels to a map or list of labels.
fn label(node: &mut Node, labels: &[(&str, String)]) {
    let mut all = node
        .get("labels")
        .cloned()
        .unwrap_or_else(|| NodeValue::Null.detached());
    for (name, value) in labels {
        match &mut all.value {
            NodeValue::List(items) => items.push(Node::text(&format!("{name}={value}"))),
            _ => all.set(name, Node::text(value)),
        }
    }
    node.set("labels", all);
}

/// The container port behind a port of the host: the requested one, if the file has it or has no ports; otherwise the
/// only one that the file has.
fn container_port(
    wanted: &RewriteRequest<'_>,
    name: &str,
    service: &Node,
    asked: Option<u16>,
) -> Result<u16> {
    let published: Vec<u16> = items(service.get("ports"))
        .iter()
        .filter_map(target)
        .collect();
    let exposed: Vec<u16> = items(service.get("expose"))
        .iter()
        .filter_map(target)
        .collect();
    let has = |port: &u16| published.contains(port) || exposed.contains(port);
    let list = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        ports.join(", ")
    };
    if let Some(port) = asked {
        if has(&port) || published.is_empty() && exposed.is_empty() {
            return Ok(port);
        }
        let ports = list(&[published, exposed].concat());
        return Err(refuse(
            wanted,
            &format!("'{name}' has no port {port} (it has {ports})"),
        )
        .hint("correct its container_port in moat.yaml, or 'expose' it in that file"));
    }
    let mut ports = if published.is_empty() {
        exposed
    } else {
        published
    };
    ports.sort_unstable();
    ports.dedup();
    match ports[..] {
        [port] => Ok(port),
        [] => Err(
            refuse(wanted, &format!("'{name}' has no port there")).hint(format!(
                "say where it listens: session.compose.services.{name}.container_port in moat.yaml"
            )),
        ),
        _ => Err(refuse(
            wanted,
            &format!("'{name}' has several ports there: {}", list(&ports)),
        )
        .hint(format!(
            "choose one: session.compose.services.{name}.container_port in moat.yaml"
        ))),
    }
}

/// The container port of an entry of `ports` or `expose`, if it is a TCP port.
fn target(entry: &Node) -> Option<u16> {
    match &entry.value {
        NodeValue::Whole(port) => u16::try_from(*port).ok(),
        NodeValue::Text(text) => {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let port = ports.rsplit(':').next()?;
            port.parse().ok().filter(|_| protocol == "tcp")
        }
        NodeValue::Map(_) => {
            let is_tcp = entry.get("protocol").is_none_or(|word| word.is_text("tcp"));
            target(entry.get("target")?).filter(|_| is_tcp)
        }
        _ => None,
    }
}

/// The networks of the services.
fn networks(services: &Node) -> Vec<String> {
    let mut used: Vec<String> = Vec::new();
    for (_, service) in entries(services) {
        let mut own = names(service.get("networks"));
        if own.is_empty() && service.get("network_mode").is_none() {
            own.push("default".to_owned());
        }
        used.extend(own);
    }
    used
}

/// The named volumes of the services.
fn volumes(services: &Node) -> Vec<String> {
    let mut used = Vec::new();
    for (_, service) in entries(services) {
        for volume in items(service.get("volumes")) {
            let source = match text(volume) {
                Some(short) => short.split_once(':').map(|(source, _)| source),
                None => volume.get("source").and_then(text),
            };
            let is_name = |source: &&str| !source.starts_with(['/', '.', '~']);
            used.extend(source.filter(is_name).map(str::to_owned));
        }
    }
    used
}

/// The networks or volumes in use. External ones stay as they are; the others become the session's own.
fn shared(
    wanted: &RewriteRequest<'_>,
    kind: &str,
    declared: &Node,
    used: &[String],
) -> Result<Node> {
    let mut kept = NodeValue::Null.detached();
    for name in used {
        let is_declared = declared.get(name).is_some();
        if !is_declared && kind == "volumes" {
            // Of an unknown form; the tool reports it.
            continue;
        }
        let mut entry = declared
            .get(name)
            .cloned()
            .unwrap_or_else(|| NodeValue::Null.detached());
        let external = entry.get("external").map(|external| &external.value);
        let is_external = !matches!(
            external,
            None | Some(NodeValue::Null | NodeValue::Bool(false))
        );
        if !is_external {
            check_subnet(wanted, kind, name, &entry)?;
            check_options(wanted, kind, name, &entry)?;
            entry.remove("name");
            entry.remove("external");
            label(&mut entry, wanted.labels);
        } else if kind == "networks" && is_host_resource(name, &entry) {
            let why = format!(
                "the network '{name}' is the machine's own, which two sessions cannot share"
            );
            return Err(refuse(wanted, &why).hint("put its services on a network of their own"));
        }
        kept.set(name, entry);
    }
    Ok(kept)
}

fn is_host_resource(name: &str, entry: &Node) -> bool {
    let named = entry
        .get("name")
        .or_else(|| entry.get("external")?.get("name"));
    named.and_then(text).unwrap_or(name) == "host"
}

fn check_subnet(wanted: &RewriteRequest<'_>, kind: &str, name: &str, entry: &Node) -> Result<()> {
    let config = entry.get("ipam").and_then(|ipam| ipam.get("config"));
    let is_fixed = items(config)
        .iter()
        .any(|pool| pool.get("subnet").is_some());
    if kind != "networks" || !is_fixed {
        return Ok(());
    }
    let why =
        format!("the network '{name}' has a fixed subnet (ipam), which two sessions cannot share");
    Err(refuse(wanted, &why)
        .hint("leave the choice of addresses to the engine, and use the names of services"))
}

/// A driver's options may name something that exists once on this machine: a directory or an interface.
fn check_options(wanted: &RewriteRequest<'_>, kind: &str, name: &str, entry: &Node) -> Result<()> {
    let has = |option: &str| {
        let options = entry.get("driver_opts");
        options.and_then(|options| options.get(option)).is_some()
    };
    let (why, hint) = if kind == "volumes" && has("device") {
        let why = format!(
            "the volume '{name}' has a fixed location (driver_opts: device), which two sessions would share"
        );
        (
            why,
            "remove 'device', or declare the volume 'external' if the sessions may share it",
        )
    } else if kind == "networks" && has("com.docker.network.bridge.name") {
        let why = format!(
            "the network '{name}' has a fixed interface (driver_opts), which two sessions cannot share"
        );
        (why, "leave the choice of its name to the engine")
    } else {
        return Ok(());
    };
    Err(refuse(wanted, &why).hint(hint))
}

#[cfg(test)]
mod tests;
