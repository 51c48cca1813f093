//! Finds the engine's address and checks whether it responds, without starting a client.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Maximum time of a local engine's answer to one read.
const TIMEOUT: Duration = Duration::from_secs(3);

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";

/// The name of the default context, which is used without any setting.
const DEFAULT_CONTEXT: &str = "default";

/// Whether the engine responds, if its address is known to be a local socket; otherwise `None`, and only the client
/// can tell. `GET /_ping` is part of every version of the engine's API.
pub(super) fn ping(engine: &[(String, String)]) -> Option<bool> {
    let address = address(engine)?;
    let Ok(socket) = UnixStream::connect(address.strip_prefix("unix://")?) else {
        return Some(false);
    };
    get(socket, "/_ping", 0).map(|_| true)
}

/// One of the settings.
fn setting<'a>(engine: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = engine.iter().find(|(setting, _)| setting == name);
    let value = found.map(|(_, value)| value.as_str());
    value.filter(|value| !value.is_empty())
}

/// The address of the engine; `None`: its context cannot be read.
pub(in super::super) fn address(engine: &[(String, String)]) -> Option<String> {
    if let Some(address) = setting(engine, "DOCKER_HOST") {
        return Some(address.to_owned());
    }
    match setting(engine, "DOCKER_CONTEXT") {
        None | Some(DEFAULT_CONTEXT) => Some(DEFAULT_ADDRESS.to_owned()),
        Some(context) => address_in(engine, context),
    }
}

/// Records the context that the client would use, because another one may be current later.
pub(in super::super) fn name_context(engine: &mut Vec<(String, String)>) {
    let is_said = ["DOCKER_HOST", "DOCKER_CONTEXT"].iter();
    if is_said
        .into_iter()
        .any(|name| setting(engine, name).is_some())
    {
        return;
    }
    // A file that names no context may name one later.
    let text = config(engine).and_then(|dir| fs::read(dir.join("config.json")).ok());
    let config: Option<DockerConfig> = text.and_then(|text| serde_json::from_slice(&text).ok());
    let named = config.and_then(|config| config.context);
    let context = named.filter(|name| !name.is_empty());
    let context = context.unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
    engine.push(("DOCKER_CONTEXT".to_owned(), context));
}

/// Records the directory of the client's configuration, because another home may be current later.
pub(in super::super) fn name_config(engine: &mut Vec<(String, String)>) {
    let context = setting(engine, "DOCKER_CONTEXT").filter(|context| *context != DEFAULT_CONTEXT);
    let is_named = setting(engine, "DOCKER_CONFIG").is_some();
    if let (Some(_), false, Some(dir)) = (context, is_named, config(engine))
        && let Some(dir) = dir.to_str()
    {
        let dir = dir.to_owned();
        engine.push(("DOCKER_CONFIG".to_owned(), dir));
    }
}

/// The address in podman's settings. The address of a named connection is known to podman only; it counts as remote.
pub(in super::super) fn podmans_address(engine: &[(String, String)]) -> Option<String> {
    if let Some(address) = setting(engine, "CONTAINER_HOST") {
        return Some(address.to_owned());
    }
    let connection = setting(engine, "CONTAINER_CONNECTION")?;
    Some(format!("CONTAINER_CONNECTION {connection}"))
}

/// Whether an address is on this machine.
pub(in super::super) fn is_local(address: &str) -> bool {
    let local = ["unix://", "npipe://", "fd://"];
    local.iter().any(|scheme| address.starts_with(scheme))
}

/// Whether a context exists.
pub(in super::super) fn has_context(engine: &[(String, String)], context: &str) -> bool {
    context == DEFAULT_CONTEXT || address_in(engine, context).is_some()
}

/// The directory of the client's configuration.
fn config(engine: &[(String, String)]) -> Option<PathBuf> {
    match setting(engine, "DOCKER_CONFIG") {
        Some(dir) => Some(dir.into()),
        None => std::env::home_dir().map(|home| home.join(".docker")),
    }
}

/// Whether the client cannot read its configuration: each call would then print a warning, which would appear in the
/// output of the workload.
pub(super) fn is_config_broken(engine: &[(String, String)]) -> bool {
    let Some(dir) = config(engine) else {
        return false;
    };
    match fs::read(dir.join("config.json")) {
        Ok(text) => serde_json::from_slice::<DockerConfig>(&text).is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether the engine is that of a context, which is part of the client's configuration.
pub(super) fn uses_context(engine: &[(String, String)]) -> bool {
    setting(engine, "DOCKER_HOST").is_none()
        && setting(engine, "DOCKER_CONTEXT").is_some_and(|context| context != DEFAULT_CONTEXT)
}

/// The address of a context. The client keeps each context in a file below a hash of its name.
fn address_in(engine: &[(String, String)], context: &str) -> Option<String> {
    let dir = config(engine)?.join("contexts/meta");
    let files = fs::read_dir(dir).ok()?.flatten();
    let texts = files.filter_map(|entry| fs::read(entry.path().join("meta.json")).ok());
    let mut contexts = texts.filter_map(|text| serde_json::from_slice::<DockerContext>(&text).ok());
    let found = contexts.find(|found| found.name == context)?;
    found.endpoints.docker?.host
}

/// The parts of the client's configuration and of a context that are needed here.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "currentContext")]
    context: Option<String>,
}

#[derive(Deserialize)]
struct DockerContext {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host")]
    host: Option<String>,
}

/// The body of the engine's answer to `GET PATH`, of at most `limit` bytes; `None` unless the engine answers with
/// status 200 in time. In HTTP/1.0 a body has no chunks, and ends with the connection.
pub(super) fn get(mut socket: UnixStream, path: &str, limit: u64) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    socket.set_write_timeout(Some(TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut status = [0; 12];
    socket.read_exact(&mut status).ok()?;
    if &status[9..] != b"200" {
        return None;
    }
    let mut rest = Vec::new();
    if limit > 0 {
        socket.take(limit).read_to_end(&mut rest).ok()?;
    }
    let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    Some(end.map(|end| rest.split_off(end + 4)).unwrap_or_default())
}
