//! The arguments that every `docker create` shares. Pure.

use std::path::Path;

use super::super::KEPT_LINUX_CAPABILITIES;
pub(super) use super::super::client_call::{ClientCall, HOME_LABEL};
use super::super::error::Result;
use super::Dialect;
use crate::secret::Secret;
use crate::store::{PublishedPort, Ulimit};

/// Enough for builds and test suites, too few for a fork bomb to exhaust the host.
const DEFAULT_MAX_PIDS: &str = "4096";

/// The label with a container's handle, by which moat finds a container that was renamed.
pub(super) const HANDLE_LABEL: &str = "moat.handle";

/// The labels of a container's owner.
pub(super) struct ContainerLabels<'a> {
    pub(super) handle: &'a str,
    pub(super) home: &'a str,
    pub(super) owner: (&'static str, &'a str),
    pub(super) role: &'a str,
}

impl ClientCall {
    /// Adds the labels and the hardening of a container.
    pub(super) fn create(
        dialect: Dialect,
        identity: &ContainerLabels<'_>,
        pids: Option<u32>,
    ) -> ClientCall {
        let mut request = ClientCall::default();
        request.add(&["create", "--name", identity.handle]);
        request.add(&["--pull", "never", "--init"]);
        request.label(HOME_LABEL, identity.home);
        request.label(identity.owner.0, identity.owner.1);
        request.label("moat.role", identity.role);
        request.label(HANDLE_LABEL, identity.handle);
        // The engine's log is only for adoption, and is removed with the container.
        request.add(dialect.log_options());
        request.add(dialect.create_options());
        request.add(&["--cap-drop", "ALL"]);
        for capability in KEPT_LINUX_CAPABILITIES {
            request.add(&["--cap-add", capability]);
        }
        request.add(&["--security-opt", "no-new-privileges"]);
        if dialect.can_limit() {
            let pids = pids.map_or_else(|| DEFAULT_MAX_PIDS.to_owned(), |pids| pids.to_string());
            request.add(&["--pids-limit", &pids]);
        }
        request
    }

    /// Gives the container access to directories of a host with SELinux. Such a host denies a container all files that
    /// have no label of containers. Relabelling (`:z`) would change the user's files, so the container runs without
    /// a confinement by labels; all other isolation stays.
    pub(super) fn host_directories(&mut self, has_any: bool, selinux: bool) {
        if has_any && selinux {
            self.add(&["--security-opt", "label=disable"]);
        }
    }

    pub(super) fn publish(&mut self, ports: &[PublishedPort]) {
        for port in ports {
            // Never on another address: access from other machines is the user's decision.
            let host = port.host.map_or_else(String::new, |host| host.to_string());
            self.add(&["--publish", &format!("127.0.0.1:{host}:{}", port.container)]);
        }
    }

    pub(super) fn limits(&mut self, memory_bytes: Option<u64>, cpus: Option<f64>) {
        if let Some(bytes) = memory_bytes {
            let bytes = bytes.to_string();
            // The same limit including swap: otherwise the kernel swaps as much again.
            self.add(&["--memory", &bytes, "--memory-swap", &bytes]);
        }
        if let Some(cpus) = cpus {
            self.add(&["--cpus", &cpus.to_string()]);
        }
    }

    pub(super) fn ulimits(&mut self, dialect: Dialect, limits: &[Ulimit]) {
        let number = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let named: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
        let mut options = dialect.ulimits(&named);
        options.extend(limits.iter().map(|limit| {
            let (soft, hard) = (number(limit.soft), number(limit.hard));
            format!("{}={soft}:{hard}", limit.name)
        }));
        for option in options {
            self.add(&["--ulimit", &option]);
        }
    }

    /// Adds the values of variables.
    pub(super) fn values(&mut self, dialect: Dialect, env: &[(String, Secret)]) -> Result<()> {
        self.variables(env, dialect.program(), |name| is_obeyed_name(dialect, name))
    }
}

/// Whether this host labels its files: SELinux mounts this filesystem only where SELinux is enabled.
pub(super) fn is_selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whether the client gives a name in `--env NAME` another meaning than to pass this variable on.
pub(super) fn is_obeyed_name(dialect: Dialect, name: &str) -> bool {
    // podman passes on all variables that begin so, and removes blanks.
    let is_pattern = name.ends_with('*') || name.starts_with(char::is_whitespace);
    is_client_variable(name) || (dialect == Dialect::Podman && is_pattern)
}

/// Whether the client itself obeys a variable.
fn is_client_variable(name: &str) -> bool {
    let prefixes = [
        "DOCKER_",
        "BUILDKIT_",
        "LD_",
        "SSL_",
        "XDG_",
        "OTEL_",
        "CONTAINER",
        "_CONTAINERS_",
        "STORAGE_",
        "PODMAN_",
        "REGISTRY_AUTH_FILE",
        "LISTEN_",
        "NOTIFY_SOCKET",
        "CONMON_",
    ];
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    // Variables of the language's runtime; GOOGLE_CREDENTIALS is none of them.
    let runtime = [
        "GOCOVERDIR",
        "GODEBUG",
        "GOGC",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOTRACEBACK",
    ];
    matches!(name, "HOME" | "PATH" | "TMPDIR" | "LANG" | "NO_COLOR")
        || runtime.contains(&name)
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || proxies.contains(&name.to_ascii_lowercase().as_str())
}

/// A `--mount` argument.
pub(super) fn mount(kind: &str, source: &str, target: &str, readonly: bool) -> String {
    let (source, target) = (field("source", source), field("target", target));
    // podman accepts the long key for directories only.
    let mode = if readonly { ",ro" } else { "" };
    format!("type={kind},{source},{target}{mode}")
}

/// A field of a CSV line: a comma or a quote in a path needs quoting.
fn field(key: &str, value: &str) -> String {
    let field = format!("{key}={value}");
    match field.contains([',', '"', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_a_host_with_selinux_need_an_option() {
        let options = |has_any, selinux| {
            let mut call = ClientCall::default();
            call.host_directories(has_any, selinux);
            call.args.join(" ")
        };
        assert_eq!(options(true, true), "--security-opt label=disable");
        for (has_any, selinux) in [(true, false), (false, true), (false, false)] {
            assert_eq!(options(has_any, selinux), "");
        }
    }
}
