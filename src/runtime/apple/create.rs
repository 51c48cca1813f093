//! The arguments of `container create` and `container network create`. Pure: a [`Host`] answers questions about this
//! host.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType};

use super::super::client_call::{ClientCall, HOME_LABEL, ROLE_LABEL, RUN_LABEL, SERVICE_LABEL};
use super::super::container_scripts::{NOTES_DIR, ShellEnvironment};
use super::super::error::{Result, RuntimeError};
use super::super::{
    ContainerSpec, KEPT_LINUX_CAPABILITIES, Network, ServiceSpec, WORKLOAD_HOME, WORKSPACE,
    is_below,
};
use super::start_gate;
use super::version::Version;
use crate::secret::Secret;
use crate::store::BindMount;

/// Memory of a container without a limit, in bytes. The default of the command line is 1 GiB, which is too little for
/// a build. A virtual machine takes memory only when it uses the memory.
const DEFAULT_MEMORY_BYTES: u64 = 4 << 30;

/// The roles of containers, as in their labels.
pub(super) const MAIN_ROLE: &str = "main";
pub(super) const SERVICE_ROLE: &str = "service";

/// Questions about this host on which the arguments depend.
pub(super) struct Host {
    pub(super) is_dir: fn(&Path) -> bool,
    pub(super) free_port: fn() -> Result<u16>,
}

/// The host on which moat runs.
pub(super) const HERE: Host = Host {
    is_dir: Path::is_dir,
    free_port,
};

/// The paths of a run's container on this host, and its image's entry point.
pub(super) struct HostPaths<'a> {
    /// The directory that the container sees as its workspace.
    pub(super) workspace: &'a Path,
    /// The directory for the container's notes.
    pub(super) notes: &'a Path,
    /// The image's entry point.
    pub(super) entrypoint: Vec<String>,
}

/// Builds the call that creates a run's own container.
pub(super) fn main(
    spec: &ContainerSpec,
    around: &HostPaths<'_>,
    version: Version,
    host: &Host,
) -> Result<ClientCall> {
    let whose = (RUN_LABEL, spec.run_label.as_str());
    let home = (HOME_LABEL, spec.home_label.as_str());
    let labels = [home, whose, (ROLE_LABEL, MAIN_ROLE)];
    let mut request = container(&spec.handle, labels, version);
    if let Some(network) = &spec.network {
        request.add(&["--network", network]);
    }
    request.add(&["--workdir", spec.workdir()]);
    request.args.extend(mounts(spec, around, version, host)?);
    request.add(&[
        "--user",
        &format!("{}:{}", spec.user().uid, spec.user().gid),
    ]);
    if spec.user().uid != 0 && !spec.has_home && !spec.env.iter().any(|(name, _)| name == "HOME") {
        request.add(&["--env", &format!("HOME={WORKLOAD_HOME}")]);
    }
    limits(
        &mut request,
        spec.settings.limits.memory_bytes,
        spec.settings.limits.cpus,
    );
    settings(&mut request, spec, host)?;
    let has_shell = spec.network.is_some() || spec.pre_run.is_some();
    let shell = ShellEnvironment::new(if has_shell { &spec.env } else { &[] });
    let env = if has_shell {
        &shell.variables
    } else {
        &spec.env
    };
    values(&mut request, env)?;
    command(&mut request, spec, around, &shell);
    Ok(request)
}

/// Builds the call that creates a service's container. The service publishes no port: containers on the run's network
/// reach it by its address.
pub(super) fn service(spec: &ServiceSpec, version: Version, host: &Host) -> Result<ClientCall> {
    let whose = spec.owner.label();
    let home = (HOME_LABEL, spec.home_label.as_str());
    let labels = [home, whose, (ROLE_LABEL, SERVICE_ROLE)];
    let mut request = container(&spec.handle, labels, version);
    request.label(SERVICE_LABEL, &spec.name);
    request.add(&["--network", &spec.network]);
    if let Some(cache) = &spec.cache {
        request.args.extend(bind(cache, version, host)?);
    }
    limits(&mut request, spec.memory_bytes, spec.cpus);
    values(&mut request, &spec.env)?;
    request.add(&[&spec.image]);
    request.args.extend(spec.command.iter().cloned());
    Ok(request)
}

/// Builds the call that creates a network.
pub(super) fn network(network: &Network) -> ClientCall {
    let mut request = ClientCall::default();
    request.add(&["network", "create"]);
    request.label(HOME_LABEL, &network.home_label);
    let (name, value) = network.owner.label();
    request.label(name, value);
    request.add(&[&network.handle]);
    request
}

/// The common part of all containers, with the hardening that the release supports. Each container is a virtual
/// machine.
fn container(handle: &str, labels: [(&str, &str); 3], version: Version) -> ClientCall {
    let mut request = ClientCall::default();
    request.add(&["create", "--name", handle]);
    for (name, value) in labels {
        request.label(name, value);
    }
    if version.has_init() {
        request.add(&["--init"]);
    }
    if version.has_capabilities() {
        request.add(&["--cap-drop", "ALL"]);
        for capability in KEPT_LINUX_CAPABILITIES {
            request.add(&["--cap-add", capability]);
        }
    }
    request
}

fn limits(request: &mut ClientCall, memory_bytes: Option<u64>, cpus: Option<f64>) {
    let bytes = memory_bytes.unwrap_or(DEFAULT_MEMORY_BYTES);
    // The unit of a plain number is bytes.
    request.add(&["--memory", &bytes.to_string()]);
    if let Some(cpus) = cpus {
        request.add(&["--cpus", &format!("{:.0}", cpus.ceil())]);
    }
}

fn mounts(
    spec: &ContainerSpec,
    around: &HostPaths<'_>,
    version: Version,
    host: &Host,
) -> Result<Vec<String>> {
    let own = |source: &Path, target: &str| BindMount {
        source: source.to_owned(),
        target: target.to_owned(),
        readonly: false,
    };
    let mut binds = vec![own(around.workspace, WORKSPACE)];
    if spec.pre_run.is_some() {
        binds.push(own(around.notes, NOTES_DIR));
    }
    binds.extend(spec.binds.iter().cloned());
    check_files(&binds, host)?;
    let mut options: Vec<(&str, [String; 2])> = Vec::new();
    for mount in &binds {
        options.push((&mount.target, bind(mount, version, host)?));
    }
    let mut in_memory = |path, how: &str| {
        if str::contains(path, [',', '=']) {
            return Err(unmountable(path));
        }
        let value = format!("type=tmpfs,destination={path},{how}");
        options.push((path, ["--mount".to_owned(), value]));
        Ok(())
    };
    // The `tmpfs` option cannot set an owner, so every user gets the right to write.
    let home = (spec.user().uid != 0 && !spec.has_home).then_some(WORKLOAD_HOME);
    let home = home.filter(|home| binds.iter().all(|mount| mount.target != *home));
    for path in home
        .into_iter()
        .chain(spec.settings.mounts.tmpfs.iter().map(String::as_str))
    {
        in_memory(path, "mode=1777")?;
    }
    for path in spec.hidden_paths() {
        in_memory(path, "mode=0555,readonly")?;
    }
    in_order(options, version)
}

/// Puts outer mounts before inner ones. Older releases mount in the order of their arguments, and read all `--volume`
/// arguments before the first `--mount`.
fn in_order(mut options: Vec<(&str, [String; 2])>, version: Version) -> Result<Vec<String>> {
    options.sort_by_key(|(target, _)| *target);
    let is_volume = |option: &[String; 2]| option[0] == "--volume";
    let volumes = options.iter().filter(|(_, option)| is_volume(option));
    for (target, _) in volumes.filter(|_| !version.orders_mounts()) {
        let hides = |(dir, option): &&(&str, _)| !is_volume(option) && is_below(target, dir);
        if let Some((dir, _)) = options.iter().find(hides) {
            return Err(RuntimeError::Refused(format!(
                "container {version} cannot mount {target} inside {dir}: before 0.12, a path with ',' or '=' is mounted first; rename that path"
            )));
        }
    }
    Ok(options.into_iter().flat_map(|(_, option)| option).collect())
}

/// Returns the option for one mount. Directories and files have different options, which reject different characters.
fn bind(mount: &BindMount, version: Version, host: &Host) -> Result<[String; 2]> {
    let (source, target) = (mount.source.to_string_lossy(), mount.target.as_str());
    let has = |letters: &[char]| source.contains(letters) || target.contains(letters);
    let is_dir = (host.is_dir)(&mount.source);
    if is_dir && !has(&[',', '=']) {
        let mode = if mount.readonly { ",readonly" } else { "" };
        let value = format!("type=bind,source={source},target={target}{mode}");
        return Ok(["--mount".to_owned(), value]);
    }
    if has(&[':']) {
        return Err(unmountable(&format!("{source} at {target}")));
    }
    if !is_dir && !version.mounts_files() {
        return Err(RuntimeError::Refused(format!(
            "container {version} cannot mount the file {source}, which needs 0.12 or newer; mount its directory"
        )));
    }
    let mode = if mount.readonly { ":ro" } else { "" };
    Ok(["--volume".to_owned(), format!("{source}:{target}{mode}")])
}

fn unmountable(path: &str) -> RuntimeError {
    RuntimeError::Refused(format!(
        "container cannot mount {path}, because of the ':', ',' or '=' in the path; rename the path"
    ))
}

/// A release mounts all files of one directory with the mode of the first one.
fn check_files(mounts: &[BindMount], host: &Host) -> Result<()> {
    let files = || mounts.iter().filter(|mount| !(host.is_dir)(&mount.source));
    for file in files() {
        let dir = file.source.parent();
        let first = files().find(|other| other.source.parent() == dir);
        if first.is_some_and(|first| first.readonly != file.readonly) {
            return Err(RuntimeError::Refused(format!(
                "container mounts all files of one directory either read-only or writable: {} differs from the others",
                file.source.display()
            )));
        }
    }
    Ok(())
}

fn settings(request: &mut ClientCall, spec: &ContainerSpec, host: &Host) -> Result<()> {
    for port in &spec.settings.network.ports {
        let chosen = port.host.map_or_else(host.free_port, Ok)?;
        // Never on another address: access from other machines is the user's decision.
        request.add(&[
            "--publish",
            &format!("127.0.0.1:{chosen}:{}", port.container),
        ]);
    }
    for server in &spec.settings.network.dns {
        request.add(&["--dns", &server.to_string()]);
    }
    for limit in &spec.settings.limits.ulimits {
        let number = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        request.add(&["--ulimit", &format!("{}={soft}:{hard}", limit.name)]);
    }
    if spec.settings.io.interactive {
        request.add(&["--interactive"]);
    }
    if spec.terminal.is_some() {
        request.add(&["--tty"]);
    }
    Ok(())
}

/// Finds a free port, because the client requires the port of the host. Another process may take the port before the
/// container starts.
fn free_port() -> Result<u16> {
    let found = || -> std::result::Result<u16, Errno> {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddrV4::try_from(net::getsockname(&socket)?)?;
        Ok(address.port())
    };
    found().map_err(|error| {
        let reason = crate::error::os_error_text(&error.into());
        RuntimeError::Refused(format!("no free port: {reason}"))
    })
}

/// Adds the image and the command.
fn command(
    request: &mut ClientCall,
    spec: &ContainerSpec,
    around: &HostPaths<'_>,
    shell: &ShellEnvironment,
) {
    let image = spec.settings.image.name.as_deref().unwrap_or_default();
    let (holds, hook) = (spec.network.is_some(), spec.pre_run);
    if holds || hook.is_some() {
        request.add(&["--entrypoint", "/bin/sh"]);
    }
    request.add(&[image]);
    if holds {
        // A second shell restores the names of variables for the command.
        let exec = match hook {
            Some(_) => "exec \"$@\"".to_owned(),
            None => shell.exec_script(),
        };
        let script = format!("{}{exec}", start_gate::WAIT_AT_GATE_SCRIPT);
        request.add(&["-c", &script, "moat"]);
    }
    match hook {
        // The script must run before the command, so it replaces the image's own entry point.
        Some(script) => {
            if holds {
                request.add(&["/bin/sh"]);
            }
            request.add(&["-c", &shell.pre_run_script(), "moat", script]);
        }
        None if holds => request.args.extend(around.entrypoint.iter().cloned()),
        None => {}
    }
    request.args.extend(spec.settings.command.iter().cloned());
}

fn values(request: &mut ClientCall, env: &[(String, Secret)]) -> Result<()> {
    request.variables(env, "apple", is_client_variable)
}

/// Whether the client itself, or the system it runs on, obeys a variable.
pub(super) fn is_client_variable(name: &str) -> bool {
    let prefixes = [
        "CONTAINER_",
        "DYLD_",
        "LD_",
        "LC_",
        "SWIFT_",
        "XPC_",
        "OS_",
        "CF",
        "NS",
        "SSL_",
        "Malloc",
    ];
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    matches!(
        name,
        "HOME" | "PATH" | "TMPDIR" | "LANG" | "NO_COLOR" | "SSH_AUTH_SOCK"
    ) || prefixes.iter().any(|prefix| name.starts_with(prefix))
        || proxies.contains(&name.to_ascii_lowercase().as_str())
}

/// The places inside a mounted directory on which other mounts are. The client does not create these places.
pub(super) fn nested_mount_points<'a>(
    spec: &'a ContainerSpec,
    dir: &'a str,
) -> impl Iterator<Item = (&'a str, bool)> {
    let mounts = spec.binds.iter();
    let mounts = mounts.map(|mount| (mount.target.as_str(), mount.source.is_dir()));
    let empty = spec
        .settings
        .mounts
        .tmpfs
        .iter()
        .map(|path| (path.as_str(), true));
    mounts
        .chain(empty)
        .filter(move |(target, _)| is_below(target, dir))
}
