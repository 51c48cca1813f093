//! What the docker engine of this machine has, asked at its socket: a client of its own for each question would be most
//! of what some tests cost.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// The ids, as docker's client shortens them, of the containers or networks with a label. `None`: the engine is not to
/// be reached like this.
pub(super) fn labelled(networks: bool, label: &str) -> Option<Vec<String>> {
    let list = match networks {
        true => "/networks?",
        false => "/containers/json?all=1&",
    };
    let found = get(&format!(
        "{list}filters=%7B%22label%22%3A%5B%22{label}%22%5D%7D"
    ))?;
    let ids = found.as_array()?.iter();
    ids.map(|one| Some(one["Id"].as_str()?.get(..12)?.to_owned()))
        .collect()
}

fn get(path: &str) -> Option<Value> {
    let mut socket = UnixStream::connect(socket()?).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    // The answer to this version ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_good = head.lines().next()?.contains(" 200 ");
    is_good.then(|| serde_json::from_str(body).ok())?
}

fn socket() -> Option<PathBuf> {
    if std::env::var_os("DOCKER_CONTEXT").is_some() {
        return None;
    }
    match std::env::var("DOCKER_HOST") {
        Ok(host) => host.strip_prefix("unix://").map(PathBuf::from),
        Err(_) => Some(PathBuf::from("/var/run/docker.sock")),
    }
}
