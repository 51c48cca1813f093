//! Whether the engine's local socket answers, without starting a client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const DEFAULT: &str = "unix:///var/run/docker.sock";

/// True or false if a local socket is known to be the engine's address; else `None`.
///
/// `GET /_ping` is part of every version of the engine's API. A context may point anywhere, so
/// with one only the client can tell.
pub(super) fn ping(engine: &[(String, String)]) -> Option<bool> {
    let setting = |name| {
        let found = engine.iter().find(|(setting, _)| setting == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    };
    if setting("DOCKER_CONTEXT").is_some() {
        return None;
    }
    let address = match setting("DOCKER_HOST") {
        Some(address) => address,
        None if has_context(setting("DOCKER_CONFIG")) => return None,
        None => DEFAULT,
    };
    let path = address.strip_prefix("unix://")?;
    ask(path)
}

/// Whether the client's configuration names a context.
fn has_context(config: Option<&str>) -> bool {
    let dir = match config {
        Some(dir) => Some(dir.into()),
        None => std::env::home_dir().map(|home| home.join(".docker")),
    };
    dir.and_then(|dir| std::fs::read_to_string(dir.join("config.json")).ok())
        .is_some_and(|text| text.contains("currentContext"))
}

fn ask(path: &str) -> Option<bool> {
    let Ok(mut socket) = UnixStream::connect(path) else {
        return Some(false);
    };
    let patience = Some(Duration::from_secs(3));
    socket.set_read_timeout(patience).ok()?;
    socket.set_write_timeout(patience).ok()?;
    socket.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).ok()?;
    (&answer[9..] == b"200").then_some(true)
}
