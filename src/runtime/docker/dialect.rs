//! The differences between podman's command line and docker's that concern several calls.
//!
//! podman has no daemon: each container has its own monitor (conmon), which the client starts and which keeps the
//! output. A limitation of the client (no right to raise limits, missing programs) is a limitation of the container.
//! Without root, podman runs its containers in a user namespace ("rootless").

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::super::User;

/// The command line of an engine.
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

    /// The arguments before every command. podman's warnings would appear in the workload's output.
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

    /// Sets the client's detach keys. docker's cannot be disabled, so they are bytes that occur in no text and no
    /// key.
    pub(super) fn detach_keys_arg(self) -> &'static [u8] {
        match self {
            Dialect::Docker => b"\xff,\xff,\xff,\xff",
            Dialect::Podman => b"",
        }
    }

    /// Keeps the client from passing on signals to the workload. docker's client passes on none from a terminal,
    /// where the end of the supervisor would cause one.
    pub(super) fn no_sig_proxy_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--sig-proxy=false"],
        }
    }

    /// Removes a running container without a grace period.
    pub(super) fn remove_timeout_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--time", "0"],
        }
    }

    /// The log driver. Adoption needs the exact and complete output: docker's `json-file` replaces bytes that are not
    /// UTF-8, and `local` always rotates; podman's `k8s-file` keeps every byte, and `journald` is not on every host.
    pub(super) fn log_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &["--log-driver", "local", "--log-opt", "max-size=1000t"],
            Dialect::Podman => &["--log-driver", "k8s-file", "--log-opt", "max-size=0"],
        }
    }

    /// Makes a network like docker's: podman's networks admit each other's containers unless both are isolated (4.2
    /// and newer).
    pub(super) fn network_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--opt", "isolate=true"],
        }
    }

    /// Makes a container like docker's: podman otherwise adds the host's proxies and a variable of its own.
    pub(super) fn create_options(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--http-proxy=false", "--unsetenv", "container"],
        }
    }

    /// The limits of open files and processes, if podman would raise them beyond its rights ("error setting rlimit
    /// type 7"). podman drops all of its defaults if one is given, so both are.
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

    /// A tmpfs that belongs to a user. podman names the owner relative to the container's.
    pub(super) fn tmpfs_owner_option(self, user: User) -> String {
        match self {
            Dialect::Docker => format!("uid={},gid={}", user.uid, user.gid),
            Dialect::Podman => "U,notmpcopyup".to_owned(),
        }
    }

    /// Keeps a new volume empty, without the image's files; podman has no option for it.
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

    /// Keeps a tmpfs empty, without the files that it hides.
    pub(super) fn tmpfs_no_copy_option(self) -> &'static str {
        match self {
            Dialect::Docker => "",
            Dialect::Podman => ",notmpcopyup",
        }
    }

    /// Makes the archive's owners apply to copied files.
    pub(super) fn copy_owner_args(self) -> &'static [&'static str] {
        match self {
            Dialect::Docker => &[],
            Dialect::Podman => &["--archive=false"],
        }
    }

    /// The format of labels in lists.
    pub(super) fn label_format(self, name: &str) -> String {
        match self {
            Dialect::Docker => format!("{{{{.Label \"{name}\"}}}}"),
            Dialect::Podman => "{{.Labels}}".to_owned(),
        }
    }

    /// Finds a label in that format: `map[a:b c:d]`, or `a=b,c=d` by podman.
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
}

/// Whether podman runs its containers in the current user's namespace.
pub(in super::super) fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Whether podman can limit memory, CPUs and processes. Without root this requires cgroup v2 and delegated
/// controllers; otherwise podman ignores limits, or fails.
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
