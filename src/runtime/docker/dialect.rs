//! In what podman's command line differs from docker's, where it is not a matter of one call alone.
//!
//! podman has no daemon: each container has a monitor of its own (conmon), which keeps its output, and the
//! client starts it. What the client is short of (the right to raise limits, programs beside it), the
//! container is short of. Whoever is not root has podman's containers in a user namespace, "rootless".

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit};

use super::super::User;
use super::super::error::RuntimeError;
use super::classify::classify;

/// Which command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    Docker,
    Podman,
}

/// The environment variables by which a client finds its engine.
const DOCKER_SETTINGS: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
];
const PODMAN_SETTINGS: &[&str] = &[
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
];

impl Dialect {
    pub(super) fn program(self) -> &'static str {
        match self {
            Dialect::Docker => "docker",
            Dialect::Podman => "podman",
        }
    }

    pub(in super::super) fn settings(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => DOCKER_SETTINGS,
            Dialect::Podman => PODMAN_SETTINGS,
        }
    }

    /// What comes before the name of every command. podman's warnings would be in the workload's output.
    pub(super) fn global_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--log-level", "error"],
        }
    }

    pub(super) fn version(self) -> &'static str {
        match self {
            Dialect::Docker => "{{.Server.Version}}",
            Dialect::Podman => "{{.Client.Version}}",
        }
    }

    /// The client's own escape. docker's cannot be switched off: bytes that are in no text and no key.
    pub(super) fn detach_keys_arg(self) -> &'static [u8] {
        match self {
            Dialect::Docker => b"\xff,\xff,\xff,\xff",
            Dialect::Podman => b"",
        }
    }

    /// Signals that reach the client are not the workload's. docker passes none on from a terminal, where the
    /// end of the supervisor would be one.
    pub(super) fn no_sig_proxy_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--sig-proxy=false"],
        }
    }

    /// The removal of what runs takes no time.
    pub(super) fn remove_timeout_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--time", "0"],
        }
    }

    /// Where a container's output is kept for adoption, which needs it exact and whole. Of docker's drivers
    /// `json-file` replaces what is not UTF-8, and `local` knows no "never rotate"; podman's `k8s-file`
    /// has every byte, and `journald` is not on every host.
    pub(super) fn log_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &["--log-driver", "local", "--log-opt", "max-size=1000t"],
            Dialect::Podman => &["--log-driver", "k8s-file", "--log-opt", "max-size=0"],
        }
    }

    /// A network like docker's: podman's let each other's containers in, unless both say that they do not
    /// (4.2 and newer).
    pub(super) fn network_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--opt", "isolate=true"],
        }
    }

    /// A container like docker's: podman gives it our proxies otherwise, and a variable of its own.
    pub(super) fn create_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--http-proxy=false", "--unsetenv", "container"],
        }
    }

    /// How many open files and processes there may be, where podman would raise that over what it may
    /// ("error setting rlimit type 7"). It takes all of its own limits back where one is named, so both are.
    pub(super) fn ulimits(self, named: &[&str]) -> Vec<String> {
        if self == Dialect::Docker {
            return Vec::new();
        }
        // podman's own limits, which its monitors have.
        let ours = [
            ("nofile", Resource::Nofile, 1_048_576),
            ("nproc", Resource::Nproc, 32_768),
        ];
        let open = ours.iter().filter(|(name, ..)| !named.contains(name));
        let option = |(name, resource, most): &(&str, Resource, u64)| {
            let most = getrlimit(*resource).maximum?.min(*most);
            Some(format!("{name}={most}:{most}"))
        };
        open.filter_map(option).collect()
    }

    /// A directory in memory that belongs to a user. podman names the owner by the container's.
    pub(super) fn tmpfs_owner_option(self, user: User) -> String {
        match self {
            Dialect::Docker => format!("uid={},gid={}", user.uid, user.gid),
            Dialect::Podman => "U,notmpcopyup".to_owned(),
        }
    }

    /// That a new volume is to have nothing of the image; podman has no word for it.
    pub(super) fn no_copy(self) -> &'static str {
        match self {
            Dialect::Docker => ",volume-nocopy",
            Dialect::Podman => "",
        }
    }

    pub(super) fn is_rootless(self) -> bool {
        self == Dialect::Podman && is_rootless()
    }

    pub(super) fn can_limit(self) -> bool {
        self == Dialect::Docker || can_limit()
    }

    /// That a directory in memory is to have nothing of what it covers.
    pub(super) fn tmpfs_no_copy_option(self) -> &'static str {
        match self {
            Dialect::Docker => "",
            Dialect::Podman => ",notmpcopyup",
        }
    }

    /// What is copied into a container belongs to who the archive says.
    pub(super) fn copy_owner_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--archive=false"],
        }
    }

    /// How the labels of what is listed are printed.
    pub(super) fn label_format(self, name: &str) -> String {
        match self {
            Dialect::Docker => format!("{{{{.Label \"{name}\"}}}}"),
            Dialect::Podman => "{{.Labels}}".to_owned(),
        }
    }

    /// A label in what was printed so: `map[a:b c:d]` or `a=b,c=d` by podman.
    pub(super) fn label_in(self, printed: &str, name: &str) -> String {
        if self == Dialect::Docker {
            return printed.to_owned();
        }
        let inside = printed
            .strip_prefix("map[")
            .and_then(|rest| rest.strip_suffix(']'));
        let mut labels = inside.unwrap_or(printed).split([',', ' ']);
        let value = labels.find_map(|label| {
            let rest = label.strip_prefix(name)?;
            rest.strip_prefix([':', '='])
        });
        value.unwrap_or_default().to_owned()
    }

    pub(super) fn classify(self, stderr: &str) -> RuntimeError {
        classify(self, stderr)
    }

    /// The client could not be run, or did not answer in time.
    pub(super) fn failed(self, error: &io::Error) -> RuntimeError {
        let program = self.program();
        match error.kind() {
            io::ErrorKind::NotFound => RuntimeError::unreachable(
                format!("{program} is not installed: there is no '{program}' on PATH"),
                "install it, or choose another runtime: --runtime bwrap",
            ),
            io::ErrorKind::TimedOut => {
                RuntimeError::Transient(format!("{program} did not answer in time"))
            }
            _ => RuntimeError::unreachable(
                format!("cannot run {program}: {}", crate::error::reason(error)),
                format!("check the '{program}' on your PATH"),
            ),
        }
    }
}

/// Whether podman's containers are in a user namespace of ours.
pub(in super::super) fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether podman can limit memory, processors and processes. Without root that takes version 2 of control
/// groups, and a manager that has handed them over; else podman ignores limits, or fails.
pub(in super::super) fn can_limit() -> bool {
    if !is_rootless() {
        return true;
    }
    let uid = rustix::process::geteuid().as_raw();
    let path =
        format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    let controllers = fs::read_to_string(path).unwrap_or_default();
    let has = |name| controllers.split_whitespace().any(|word| word == name);
    ["cpu", "memory", "pids"].into_iter().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_in_what_podman_prints() {
        for printed in [
            "map[moat.home:h moat.run:run_1 other:x]",
            "moat.home=h,moat.run=run_1",
        ] {
            assert_eq!(Dialect::Podman.label_in(printed, "moat.run"), "run_1");
            assert_eq!(Dialect::Podman.label_in(printed, "moat.ru"), "");
        }
        assert_eq!(Dialect::Docker.label_in("run_1", "moat.run"), "run_1");
    }

    #[test]
    fn only_open_limits_are_filled_in() {
        assert!(Dialect::Docker.ulimits(&[]).is_empty());
        let limits = Dialect::Podman.ulimits(&["nproc"]);
        assert!(limits.iter().all(|limit| limit.starts_with("nofile=")));
    }
}
