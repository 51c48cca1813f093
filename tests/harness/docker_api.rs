//! Lists the resources of an engine with a label. The request goes to docker's socket, which takes a millisecond
//! instead of the fifty of a client. Without such a socket, and for podman, the client is used.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::Runtime;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Container,
    Network,
    Volume,
}

/// Returns the ids (of volumes: the names) of all resources with the label `NAME=VALUE`.
pub(crate) fn labelled(runtime: Runtime, kind: Kind, label: &str) -> Vec<String> {
    let socket = match runtime {
        Runtime::Docker | Runtime::Apple(_) => socket(),
        _ => None,
    };
    socket
        .and_then(|socket| ask(socket, kind, label))
        .unwrap_or_else(|| ask_client(runtime, kind, label))
}

fn ask_client(runtime: Runtime, kind: Kind, label: &str) -> Vec<String> {
    let list: &[&str] = match kind {
        Kind::Container => &["ps", "--all", "--quiet"],
        Kind::Network => &["network", "ls", "--quiet"],
        Kind::Volume => &["volume", "ls", "--quiet"],
    };
    let listed = runtime
        .client()
        .args(list)
        .args(["--filter", &format!("label={label}")])
        .output()
        .expect("the client");
    let said = String::from_utf8_lossy(&listed.stderr);
    // Without an answer of the engine, an empty list proves nothing.
    let answered = listed.status.success() || std::thread::panicking();
    assert!(answered, "{list:?}: {said}");
    let text = String::from_utf8_lossy(&listed.stdout);
    text.lines().map(str::to_owned).collect()
}

/// Returns the engine's answer, or `None` if it cannot be read.
fn ask(socket: &Path, kind: Kind, label: &str) -> Option<Vec<String>> {
    let (path, list, key) = match kind {
        Kind::Container => ("/containers/json?all=1&", "", "Id"),
        Kind::Network => ("/networks?", "", "Id"),
        Kind::Volume => ("/volumes?", "/Volumes", "Name"),
    };
    let filters = serde_json::json!({"label": [label]}).to_string();
    let answer = get(socket, &format!("{path}filters={}", quoted(&filters)))?;
    let list = answer.pointer(list)?;
    // docker 20 has null for no volumes.
    let Some(found) = list.as_array() else {
        return list.is_null().then(Vec::new);
    };
    found
        .iter()
        .map(|one| {
            let id = one.get(key)?.as_str()?;
            // Shortens ids as the client does.
            let is_id = key == "Id";
            Some(id.get(..12).filter(|_| is_id).unwrap_or(id).to_owned())
        })
        .collect()
}

/// HTTP/1.0, so that the answer ends with its connection.
fn get(socket: &Path, path: &str) -> Option<Value> {
    let mut connection = UnixStream::connect(socket).ok()?;
    let patience = Some(Duration::from_secs(20));
    connection.set_read_timeout(patience).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status == "200").then(|| serde_json::from_str(body).ok())?
}

fn quoted(text: &str) -> String {
    let quote = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(quote).collect()
}

/// Returns the socket of the engine that docker's client would use, as far as the environment tells it.
fn socket() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let config = set("DOCKER_CONFIG").or_else(|| Some(format!("{}/.docker", set("HOME")?)));
        let config = config.map(|dir| std::fs::read_to_string(format!("{dir}/config.json")));
        let is_elsewhere = |text: String| text.contains("currentContext");
        if set("DOCKER_CONTEXT").is_some() || config?.is_ok_and(is_elsewhere) {
            return None;
        }
        let host = set("DOCKER_HOST").unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        host.strip_prefix("unix://").map(PathBuf::from)
    };
    FOUND.get_or_init(find).as_deref()
}
