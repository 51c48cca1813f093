//! What an engine says of itself that a plan depends on: how it maps users, and which limits it applies.
//!
//! `docker info` takes 20 ms, and the same request to the engine's socket takes 8 ms. A run asks nothing of this again as
//! long as the engine runs: an engine that starts again creates its socket again, so the socket's inode and its time of
//! change name one process of the engine. The facts of an engine without a local socket are not kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Dialect, Docker, can_limit, is_rootless, ping};
use crate::store::{document, fnv1a, make_dir, write_atomically_concurrent};

/// Maximum size of an answer to `GET /info`; 20.10 sends 2.5 KiB.
const MAX_INFO_BYTES: u64 = 1 << 20;

/// The facts about one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineFacts {
    /// Whether this docker is podman: the program (package podman-docker), or the engine at its address.
    #[serde(default)]
    pub(crate) is_podman: bool,
    pub(crate) users: UserMapping,
    pub(crate) limits: Limits,
}

/// How the users of a container map to the users of the engine's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UserMapping {
    /// Each user is the same user.
    Same,
    /// The current user is the same user, and all others are foreign: rootless podman with `--userns keep-id`.
    CurrentOnly,
    /// root is the current user, and all others are foreign: rootless docker.
    RootIsCurrent,
    /// All users are foreign, root included: docker with `userns-remap`.
    Foreign,
}

/// Which limits the engine applies. An engine ignores a limit that it cannot apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) memory: bool,
    pub(crate) cpus: bool,
    pub(crate) pids: bool,
}

impl EngineFacts {
    /// The facts about a runtime whose users are those of this host, and that applies all limits or none.
    pub(crate) fn with_limits(available: bool) -> EngineFacts {
        EngineFacts {
            is_podman: false,
            users: UserMapping::Same,
            limits: Limits::all(available),
        }
    }

    /// What `moat doctor` says after the version of a docker engine: nothing about the usual engine.
    pub(super) fn describe(self) -> String {
        let users = match self.users {
            UserMapping::Same | UserMapping::CurrentOnly => "",
            UserMapping::RootIsCurrent => ", rootless",
            UserMapping::Foreign => {
                ", with userns-remap: it cannot write to the workspace, so a run needs a copy"
            }
        };
        match self.limits.missing() {
            missing if missing.is_empty() => users.to_owned(),
            missing => format!(
                "{users}; limits of {} do not work (control groups)",
                missing.join(", ")
            ),
        }
    }
}

impl Limits {
    fn all(available: bool) -> Limits {
        Limits {
            memory: available,
            cpus: available,
            pids: available,
        }
    }

    /// The names of the limits that the engine ignores.
    fn missing(self) -> Vec<&'static str> {
        let all = [
            ("memory", self.memory),
            ("cpus", self.cpus),
            ("pids", self.pids),
        ];
        let missing = all.into_iter().filter(|(_, available)| !available);
        missing.map(|(name, _)| name).collect()
    }
}

/// The part of `docker info` that is read. The names are those of the engine's API, 1.41.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    security_options: Vec<String>,
    memory_limit: Option<bool>,
    cpu_cfs_quota: Option<bool>,
    pids_limit: Option<bool>,
    plugins: Option<Plugins>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Plugins {
    log: Option<Vec<String>>,
}

impl Info {
    fn facts(&self) -> EngineFacts {
        let option = |name: &str| {
            let is_it = |option: &String| option.split(',').next() == Some(name);
            self.security_options.iter().any(is_it)
        };
        let users = if option("name=rootless") {
            UserMapping::RootIsCurrent
        } else if option("name=userns") {
            UserMapping::Foreign
        } else {
            UserMapping::Same
        };
        let log_drivers = self
            .plugins
            .iter()
            .flat_map(|plugins| &plugins.log)
            .flatten();
        EngineFacts {
            // Only podman has this driver, and it lacks docker's `local`.
            is_podman: log_drivers.into_iter().any(|driver| driver == "k8s-file"),
            users,
            // An engine that does not tell, as on Windows, gets the benefit of the doubt.
            limits: Limits {
                memory: self.memory_limit != Some(false),
                cpus: self.cpu_cfs_quota != Some(false),
                pids: self.pids_limit != Some(false),
            },
        }
    }
}

/// The facts as a file keeps them.
#[derive(Serialize, Deserialize)]
struct KeptFacts {
    socket: String,
    facts: EngineFacts,
}

impl Docker {
    /// The facts about the engine; `None` if the engine does not answer. `kept`: the directory of kept facts, if they may be
    /// as old as the engine's process.
    pub(in super::super) fn facts(&self, kept: Option<&Path>) -> Option<EngineFacts> {
        if self.dialect == Dialect::Podman {
            let mut facts = EngineFacts::with_limits(can_limit());
            if is_rootless() {
                facts.users = UserMapping::CurrentOnly;
            }
            return Some(facts);
        }
        let address = ping::address(&self.engine);
        let socket = address.as_deref();
        match socket.and_then(|address| address.strip_prefix("unix://")) {
            Some(socket) => facts_of_socket(socket, kept).or_else(|| self.facts_of_program()),
            None => {
                let info = self.run_client(&["info", "--format", "{{json .}}"]).ok()?;
                let info: Info = serde_json::from_str(&info.stdout).ok()?;
                Some(info.facts())
            }
        }
    }
}

impl Docker {
    /// The facts if the program is podman, which needs no socket.
    fn facts_of_program(&self) -> Option<EngineFacts> {
        let version = self.run_client(&["--version"]).ok()?;
        let is_podman = version.stdout.starts_with("podman ");
        is_podman.then(|| EngineFacts {
            is_podman,
            ..EngineFacts::with_limits(true)
        })
    }
}

fn facts_of_socket(socket: &str, kept: Option<&Path>) -> Option<EngineFacts> {
    let Some(dir) = kept else {
        return ask_socket(socket);
    };
    let file = dir.join(format!("{:016x}.json", fnv1a(socket.as_bytes())));
    let identity = socket_identity(socket)?;
    let read = || {
        let found: KeptFacts = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        (found.socket == identity).then_some(found.facts)
    };
    if let Some(facts) = read() {
        return Some(facts);
    }
    let facts = ask_socket(socket)?;
    let kept_facts = KeptFacts {
        socket: identity,
        facts,
    };
    // A plan creates no home. Facts that cannot be kept are asked for again.
    if dir.parent().is_some_and(Path::is_dir) {
        let write = || write_atomically_concurrent(&file, &document(&kept_facts)?);
        let _ = make_dir(dir).and_then(|()| write());
    }
    Some(facts)
}

fn ask_socket(socket: &str) -> Option<EngineFacts> {
    let info = ping::get(UnixStream::connect(socket).ok()?, "/info", MAX_INFO_BYTES)?;
    Some(serde_json::from_slice::<Info>(&info).ok()?.facts())
}

/// Identifies the socket that one process of the engine has created.
fn socket_identity(path: &str) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    Some(format!(
        "{path} {}:{} {}.{:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec()
    ))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::store::scratch::Scratch;

    fn facts(info: &str) -> EngineFacts {
        serde_json::from_str::<Info>(info).unwrap().facts()
    }

    #[test]
    fn the_mapping_of_users_is_a_security_option() {
        let with = |options: &str| facts(&format!(r#"{{"SecurityOptions":[{options}]}}"#)).users;
        assert_eq!(with(r#""name=seccomp,profile=default""#), UserMapping::Same);
        assert_eq!(
            with(r#""name=seccomp","name=rootless""#),
            UserMapping::RootIsCurrent
        );
        assert_eq!(with(r#""name=userns""#), UserMapping::Foreign);
        assert_eq!(
            with(r#""name=seccomp,profile=name=rootless""#),
            UserMapping::Same
        );
    }

    #[test]
    fn podman_is_known_by_its_log_driver() {
        let with =
            |drivers: &str| facts(&format!(r#"{{"Plugins":{{"Log":[{drivers}]}}}}"#)).is_podman;
        assert!(with(r#""k8s-file","none","passthrough","journald""#));
        assert!(!with(r#""json-file","local","journald""#));
        assert!(!facts("{}").is_podman);
        assert!(!facts(r#"{"Plugins":{"Log":null}}"#).is_podman);
    }

    #[test]
    fn a_limit_is_missing_only_if_the_engine_says_so() {
        assert!(facts("{}").limits.missing().is_empty());
        let some = facts(r#"{"MemoryLimit":false,"CpuCfsQuota":true,"PidsLimit":false}"#);
        assert_eq!(some.limits.missing(), ["memory", "pids"]);
    }

    /// An engine on a socket that answers one request with these bytes.
    fn engine(socket: &Path, answer: &'static [u8]) -> std::thread::JoinHandle<()> {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = client.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /info HTTP/1.0\r\n"));
            client.write_all(answer).unwrap();
        })
    }

    #[test]
    fn facts_are_kept_as_long_as_the_engine_runs() {
        let dir = Scratch::new();
        let socket = dir.dir("engine").join("docker.sock");
        let (path, kept) = (socket.to_str().unwrap(), dir.dir("kept"));
        let first = engine(
            &socket,
            b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{\"SecurityOptions\":[\"name=rootless\"]}",
        );
        let users = || facts_of_socket(path, Some(&kept)).map(|facts| facts.users);
        assert_eq!(users(), Some(UserMapping::RootIsCurrent));
        first.join().unwrap();
        // The engine's socket has no listener any more: this answer is the kept one.
        assert_eq!(users(), Some(UserMapping::RootIsCurrent));
        let second = engine(&socket, b"HTTP/1.0 200 OK\r\n\r\n{}");
        assert_eq!(users(), Some(UserMapping::Same));
        second.join().unwrap();
        // A damaged file, and an engine that fails.
        for file in fs::read_dir(&kept).unwrap() {
            fs::write(file.unwrap().path(), "{").unwrap();
        }
        let third = engine(&socket, b"HTTP/1.0 500 Internal Server Error\r\n\r\n{}");
        assert_eq!(users(), None);
        third.join().unwrap();
        fs::remove_file(&socket).unwrap();
        assert_eq!(users(), None);
    }
}
