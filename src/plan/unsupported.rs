//! Refuses by name whatever a runtime does not support.

use std::path::Path;

use super::{ConfigLayers, Host, RunRequest};
use crate::config::{
    ConfigFile, FileMount, RootFilesystem, VolumeConfig, VolumeKind, scalar_values,
};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::ResolvedDependency;
use crate::runtime::{self, Capability, Limits, UserMapping};
use crate::store::{BindMount, WorkspaceMode};
use crate::variable_name::is_shell_name;
use crate::yaml::{NodeId, Placed};

/// Refuses flags at once, and reports keys to their files. The defaults of `config.yaml` are for all runtimes: a
/// default that this runtime does not support is noted and ignored.
pub(super) fn check(
    request: &RunRequest,
    files: ConfigLayers<'_>,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<()> {
    let runtime = host.runtime;
    for file in files {
        check_runtime_name(file);
    }
    if runtime.has_images() {
        for file in files {
            if let Some(base) = &file.settings.base
                && let RootFilesystem::Rootfs(_) = base.value
            {
                let why = format!(
                    "'rootfs:' works only on runtimes without images; {runtime} has images"
                );
                report(file, base.at, why, notes);
            }
            for (at, why) in unsupported_settings(file, runtime) {
                report(file, at, why, notes);
            }
        }
        check_amounts(request, runtime)?;
    }
    let limits = host.facts.limits;
    check_flags(request, runtime, limits)?;
    for file in files {
        for (at, key) in unsupported_keys(file, runtime, limits) {
            report(file, at, unsupported_error(key, runtime), notes);
        }
    }
    Ok(())
}

/// Refuses secrets whose names no shell supports, if a shell becomes the command: it passes such variables on in the
/// arguments of `env`, which are visible for a moment.
pub(super) fn check_secret_names(files: ConfigLayers<'_>, host: &Host) {
    let has_hook = files
        .iter()
        .any(|file| file.settings.hooks.pre_run.is_some());
    if !has_hook || !host.runtime.has_images() {
        return;
    }
    for file in files {
        for secret in &file.settings.secrets {
            let name = &secret.value.name;
            if !is_shell_name(name) {
                let name = crate::yaml::message_text(name);
                let why = format!(
                    "with 'pre_run', the name of a secret has only letters, digits and '_': '{name}'"
                );
                file.source.report(secret.at, why);
            }
        }
    }
}

/// The minimum memory of a runtime whose containers are virtual machines, in bytes.
const MIN_MACHINE_MEMORY_BYTES: u64 = 200 << 20;

/// The reason why a runtime cannot limit CPUs in this way.
fn fractional_cpus_error(cpus: Option<f64>, runtime: runtime::RuntimeName) -> Option<String> {
    let odd = cpus.is_some_and(|cpus| cpus.fract() > 0.0);
    (odd && !runtime.supports(Capability::FractionalCpus)).then(|| {
        format!("'cpus' must be a whole number on {runtime}, whose containers have whole CPUs")
    })
}

/// The reason why a runtime cannot limit memory in this way.
fn memory_too_low_error(bytes: Option<u64>, runtime: runtime::RuntimeName) -> Option<String> {
    let little = bytes.is_some_and(|bytes| bytes < MIN_MACHINE_MEMORY_BYTES);
    (little && !runtime.supports(Capability::LowMemory)).then(|| {
        let least = MIN_MACHINE_MEMORY_BYTES >> 20;
        format!("'memory' must be at least {least} MB on {runtime}, whose containers are virtual machines")
    })
}

/// The settings of a file that a runtime with images does not support.
fn unsupported_settings(file: &ConfigFile, runtime: runtime::RuntimeName) -> Vec<(NodeId, String)> {
    let container = &file.settings.container;
    let mut found = Vec::new();
    if let Some(cpus) = &container.cpus {
        found.extend(fractional_cpus_error(Some(cpus.value), runtime).map(|why| (cpus.at, why)));
    }
    if let Some(memory) = &container.memory_bytes {
        found.extend(memory_too_low_error(Some(memory.value), runtime).map(|why| (memory.at, why)));
    }
    for service in &file.settings.services {
        let (name, value) = (&service.value.name, &service.value);
        let whys = [
            fractional_cpus_error(value.cpus, runtime),
            memory_too_low_error(value.memory_bytes, runtime),
        ];
        let whys = whys.into_iter().flatten();
        found.extend(whys.map(|why| (service.at, format!("service {name}: {why}"))));
    }
    if let Some(pids) = container
        .pids
        .as_ref()
        .filter(|_| !runtime.supports(Capability::PidsLimit))
    {
        let why = format!(
            "'pids' does not work on {runtime}, which cannot limit processes; use 'ulimits: {{nproc: N}}' instead"
        );
        found.push((pids.at, why));
    }
    if !runtime.supports(Capability::Volumes) {
        let volumes = file.settings.volumes.iter();
        let of_engine = volumes.filter(|volume| volume.value.kind == VolumeKind::Volume);
        let why = "'type: volume' does not work on";
        found.extend(of_engine.map(|volume| {
            let why = format!(
                "{why} {runtime}, whose volumes are root's and for one container at a time; use 'type: bind'"
            );
            (volume.at, why)
        }));
    }
    found
}

/// Refuses the amounts of flags that a runtime does not support.
fn check_amounts(request: &RunRequest, runtime: runtime::RuntimeName) -> Result<()> {
    let cpus = request
        .cpus
        .as_deref()
        .map(scalar_values::cpus)
        .transpose()?;
    let memory = request
        .memory
        .as_deref()
        .map(scalar_values::memory)
        .transpose()?;
    match fractional_cpus_error(cpus, runtime).or(memory_too_low_error(memory, runtime)) {
        None => Ok(()),
        Some(why) => Err(Error::new(ErrorKind::Runtime, why).hint(format!(
            "change the limit, or use --runtime {}",
            runtime::RuntimeName::Docker
        ))),
    }
}

fn report(file: &ConfigFile, at: NodeId, why: String, notes: &mut Vec<String>) {
    match file.is_default {
        true => notes.push(format!("ignoring a default of config.yaml: {why}")),
        false => file.source.report(at, why),
    }
}

/// Checks that every mount has a mount point. Removes defaults without one.
pub(super) fn check_mount_points(
    mounts: &mut Vec<BindMount>,
    files: ConfigLayers<'_>,
    host: &Host,
    rootfs: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let volumes = files.iter().flat_map(|file| &file.settings.volumes);
    let mounted = mounts.iter().map(|mount| mount.target.clone());
    let targets: Vec<String> = mounted
        .chain(volumes.map(|volume| volume.value.target.clone()))
        .collect();
    for target in &targets {
        // The outer mount decides about mount points inside it.
        let inside = targets.iter().any(|other| runtime::is_below(target, other));
        if inside || host.runtime.can_mount_at(rootfs, target) {
            continue;
        }
        let why = format!(
            "cannot mount at {target}: the path does not exist, and its parent is read-only on {}",
            host.runtime
        );
        refuse_target(target, why, mounts, files, notes)?;
    }
    Ok(())
}

/// Refuses a target at the position of its file; a target of a flag at once.
fn refuse_target(
    target: &str,
    why: String,
    mounts: &mut Vec<BindMount>,
    files: ConfigLayers<'_>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let found = files.iter().find_map(|file| {
        let (mounts, volumes) = (&file.settings.mounts, &file.settings.volumes);
        let mounts = mounts.iter().map(|mount| (mount.at, &mount.value.target));
        let volumes = volumes
            .iter()
            .map(|volume| (volume.at, &volume.value.target));
        let (at, _) = mounts.chain(volumes).find(|(_, other)| *other == target)?;
        Some((*file, at))
    });
    match found {
        Some((file, at)) => report(file, at, why, notes),
        None => return Err(Error::new(ErrorKind::Workspace, why).hint("choose another target")),
    }
    mounts.retain(|mount| mount.target != target);
    Ok(())
}

/// Refuses files inside mounted directories on runtimes that would replace the whole directory.
pub(super) fn check_files(
    mounts: &mut Vec<BindMount>,
    files: ConfigLayers<'_>,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<()> {
    if host.runtime.supports(Capability::FilesInDirectories) {
        return Ok(());
    }
    let volumes = files.iter().flat_map(|file| &file.settings.volumes);
    let (single, shared): (Vec<BindMount>, Vec<BindMount>) = mounts
        .iter()
        .cloned()
        .partition(|mount| mount.source.is_file());
    let shared = shared.into_iter().map(|mount| mount.target);
    let shared: Vec<String> = shared
        .chain(volumes.map(|volume| volume.value.target.clone()))
        .chain([runtime::WORKSPACE.to_owned()])
        .collect();
    for BindMount { target, .. } in &single {
        if let Some(dir) = shared.iter().find(|dir| runtime::is_below(target, dir)) {
            let why = format!(
                "cannot mount a file at {target} on {}, where it would replace all of {dir}; mount the directory of the file, or copy the file into {dir}",
                host.runtime
            );
            refuse_target(target, why, mounts, files, notes)?;
        }
    }
    Ok(())
}

/// A runtime without images keeps copies and volumes in moat's own directory. If root calls moat for a workspace of
/// another owner, that owner cannot reach the directory.
pub(super) fn check_owner(files: ConfigLayers<'_>, host: &Host, uid: u32) {
    if host.runtime.has_images() || uid == 0 || !rustix::process::geteuid().is_root() {
        return;
    }
    for file in files {
        let settings = &file.settings;
        let copy = settings.workspace_mode.as_ref();
        let copy = copy.filter(|mode| mode.value == WorkspaceMode::Volume);
        let places = copy.map(|mode| mode.at).into_iter();
        for at in places.chain(settings.volumes.iter().map(|volume| volume.at)) {
            let why = format!(
                "this does not work on {} as root with a workspace of another owner (uid {uid}); \
                 run moat as that user",
                host.runtime
            );
            file.source.report(at, why);
        }
    }
}

/// An engine on another machine has neither the workspace nor any other directory of this host.
pub(super) fn check_remote(
    request: &RunRequest,
    files: ConfigLayers<'_>,
    host: &Host,
    mode: WorkspaceMode,
    notes: &mut Vec<String>,
) -> Result<()> {
    let Some(address) = &host.remote else {
        return Ok(());
    };
    let elsewhere = format!(
        "the engine of {} is on another machine ({})",
        host.runtime,
        crate::term::escape_unsafe(address)
    );
    let refuse = |what: &str, hint: &str| {
        let message = format!("{what} cannot be mounted: {elsewhere}");
        Err(Error::new(ErrorKind::Workspace, message).hint(hint))
    };
    if mode == WorkspaceMode::Bind {
        let hint = "set workspace.mode to volume in moat.yaml: then the engine has a copy, and 'moat export' brings it back";
        return refuse("the workspace", hint);
    }
    if let Some(mount) = request.mounts.first() {
        let hint = "remove -m, and copy the files into the workspace";
        return refuse(&crate::term::escape_unsafe(mount), hint);
    }
    for file in files {
        let settings = &file.settings;
        let bound = |volume: &&Placed<VolumeConfig>| volume.value.kind == VolumeKind::Bind;
        let volumes = settings
            .volumes
            .iter()
            .filter(bound)
            .map(|volume| volume.at);
        let mounts = host_mounts(file).map(|mount| mount.at);
        for at in mounts.chain(volumes) {
            report(
                file,
                at,
                format!("this cannot be mounted: {elsewhere}"),
                notes,
            );
        }
    }
    if files.iter().any(|file| !file.settings.ports.is_empty()) {
        notes.push(format!(
            "the ports are published on the engine's machine: {elsewhere}"
        ));
    }
    Ok(())
}

/// The mounts of a file, without the one that only excludes directories of the workspace.
fn host_mounts(file: &ConfigFile) -> impl Iterator<Item = &Placed<FileMount>> {
    let mounts = file.settings.mounts.iter();
    mounts.filter(|mount| mount.value.target != runtime::WORKSPACE)
}

/// Reports what an engine with foreign users cannot do: its containers' users can write to no directory of this host.
pub(super) fn check_foreign_users(
    request: &RunRequest,
    files: ConfigLayers<'_>,
    host: &Host,
    mode: WorkspaceMode,
    notes: &mut Vec<String>,
) -> Result<()> {
    if host.facts.users != UserMapping::Foreign || host.remote.is_some() {
        return Ok(());
    }
    let why = format!(
        "the engine of {} maps all users of its containers to others (userns-remap)",
        host.runtime
    );
    if mode == WorkspaceMode::Bind {
        let message = format!("the workload could not write to the workspace: {why}");
        return Err(Error::new(ErrorKind::Workspace, message).hint(
            "set workspace.mode to volume in moat.yaml: then the workload has a copy, and 'moat export' brings it back",
        ));
    }
    for text in &request.mounts {
        if !text.ends_with(":ro") {
            let shown = crate::term::escape_unsafe(text);
            let message = format!("the workload could not write to {shown}: {why}");
            return Err(Error::new(ErrorKind::Workspace, message).hint("mount it with ':ro'"));
        }
    }
    for file in files {
        let settings = &file.settings;
        let bound = settings
            .volumes
            .iter()
            .filter(|volume| volume.value.kind == VolumeKind::Bind && !volume.value.readonly)
            .map(|volume| (volume.at, "use 'type: volume'"));
        let writable = host_mounts(file).filter(|mount| !mount.value.readonly);
        let mounts = writable.map(|mount| (mount.at, "mount it read-only"));
        for (at, instead) in mounts.chain(bound) {
            let message = format!("the workload could not write to this: {why}; {instead}");
            report(file, at, message, notes);
        }
    }
    Ok(())
}

/// Refuses dependencies on a runtime without images and services.
pub(super) fn check_dependencies(
    files: ConfigLayers<'_>,
    chosen: &[ResolvedDependency],
    host: &Host,
) {
    let runtime = host.runtime;
    if runtime.has_images() {
        return;
    }
    let is_service = |text: &str| {
        let name = text.split_once('@').map_or(text, |(name, _)| name);
        let mut services = chosen
            .iter()
            .filter(|chosen| chosen.entry.service().is_some());
        services.any(|service| service.entry.name == name)
    };
    for file in files {
        let (services, tools): (Vec<_>, Vec<_>) = file
            .settings
            .dependencies
            .iter()
            .partition(|dependency| is_service(&dependency.value));
        for service in services {
            let why = format!(
                "'{}' is a service, and {runtime} runs none; use the runtime {}",
                service.value,
                runtime::RuntimeName::Docker
            );
            file.source.report(service.at, why);
        }
        if let Some(tool) = tools.first() {
            let why = unsupported_error("dependencies", runtime);
            file.source.report(tool.at, why);
        }
    }
}

fn unsupported_error(key: &str, runtime: runtime::RuntimeName) -> String {
    format!(
        "'{key}' does not work on {runtime}, which has {}; {}",
        unsupported_reason(key, runtime),
        match runtime {
            runtime::RuntimeName::Docker => format!("leave out '{key}'"),
            _ => format!("use the runtime {}", runtime::RuntimeName::Docker),
        }
    )
}

/// Checks the name of the runtime in a file.
fn check_runtime_name(file: &ConfigFile) {
    if let Some(word) = &file.settings.runtime
        && runtime::RuntimeName::parse(&word.value).is_none()
    {
        let known = runtime::RUNTIME_NAMES.join(", ");
        let message =
            crate::yaml::unknown_key_error("runtime", &word.value, runtime::RUNTIME_NAMES);
        let why = format!("{message}; the runtimes are {known}");
        file.source.report(word.at, why);
    }
}

fn check_flags(request: &RunRequest, runtime: runtime::RuntimeName, limits: Limits) -> Result<()> {
    let images = runtime.has_images();
    let asked = [
        ("--image", request.image.is_some() && !images),
        ("--rebuild", request.rebuild && !images),
        ("--keep", request.keep && !images),
        (
            "--shm-size",
            request.shm_size.is_some() && !runtime.supports(Capability::ShmSize),
        ),
        ("--publish", !request.publish.is_empty() && !images),
        ("--memory", request.memory.is_some() && !limits.memory),
        ("--cpus", request.cpus.is_some() && !limits.cpus),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::new(
            ErrorKind::Runtime,
            format!(
                "{flag} does not work on {runtime} here, which has {}",
                unsupported_reason(flag, runtime)
            ),
        )
        .hint(match runtime {
            runtime::RuntimeName::Docker => format!("leave out {flag}"),
            _ => format!(
                "leave out {flag}, or use --runtime {}",
                runtime::RuntimeName::Docker
            ),
        })),
    }
}

/// The keys of a file that a runtime does not support.
fn unsupported_keys(
    file: &ConfigFile,
    runtime: runtime::RuntimeName,
    limits: Limits,
) -> Vec<(NodeId, &'static str)> {
    let mut found = match runtime.has_images() {
        true => Vec::new(),
        false => engine_only_keys(file),
    };
    let (container, services) = (&file.settings.container, &file.settings.services);
    let limited = services.iter().find(|service| {
        service.value.memory_bytes.is_some() && !limits.memory
            || service.value.cpus.is_some() && !limits.cpus
    });
    let asked = [
        (
            "memory",
            container.memory_bytes.as_ref().map(|limit| limit.at),
            limits.memory,
        ),
        (
            "cpus",
            container.cpus.as_ref().map(|limit| limit.at),
            limits.cpus,
        ),
        (
            "pids",
            container.pids.as_ref().map(|limit| limit.at),
            limits.pids,
        ),
    ];
    for (key, at, is_available) in asked {
        found.extend(at.filter(|_| !is_available).map(|at| (at, key)));
    }
    let limited = limited.filter(|_| runtime.has_images());
    found.extend(limited.map(|service| (service.at, "memory or cpus of a service")));
    found
}

/// The keys of a file that a sandbox does not support, whatever limits it can set.
fn engine_only_keys(file: &ConfigFile) -> Vec<(NodeId, &'static str)> {
    let settings = &file.settings;
    let (hooks, container) = (&settings.hooks, &settings.container);
    let base = settings.base.as_ref().map(|base| (base.at, &base.value));
    let image = base.filter(|(_, base)| matches!(base, RootFilesystem::Image(_)));
    let rootfs = base.is_some() && image.is_none();
    let host_ca = container
        .host_ca
        .as_ref()
        .filter(|wanted| rootfs && wanted.value);
    let mut found = vec![
        ("base_image", image.map(|(at, _)| at)),
        (
            "post_build_root",
            hooks.post_build_root.as_ref().map(|hook| hook.at),
        ),
        ("post_build", hooks.post_build.as_ref().map(|hook| hook.at)),
        ("services", first_node(&settings.services)),
        ("ports", first_node(&settings.ports)),
        ("dns", first_node(&container.dns)),
        ("host_ca", host_ca.map(|wanted| wanted.at)),
    ];
    let of_engine = |volume: &&Placed<VolumeConfig>| volume.value.kind == VolumeKind::Volume;
    let volumes = settings.volumes.iter().filter(of_engine);
    found.extend(volumes.map(|volume| ("type: volume", Some(volume.at))));
    let placed = |(key, at): (_, Option<NodeId>)| Some((at?, key));
    found.into_iter().filter_map(placed).collect()
}

fn first_node<T>(list: &[Placed<T>]) -> Option<NodeId> {
    list.first().map(|first| first.at)
}

fn unsupported_reason(key: &str, runtime: runtime::RuntimeName) -> &'static str {
    match key {
        "memory" | "cpus" | "pids" | "--memory" | "--cpus" | "memory or cpus of a service"
            if runtime == runtime::RuntimeName::Docker =>
        {
            "no such limit here (docker info says so)"
        }
        "services" => "no sidecars",
        "--shm-size" => "a /dev/shm that no option changes",
        "--publish" | "ports" | "dns" => "no network",
        "memory" | "cpus" | "pids" | "--memory" | "--cpus" | "memory or cpus of a service" => {
            "no control group that this user may write to"
        }
        "--keep" => "no container to keep",
        "host_ca" => "the certificates of that root filesystem",
        "type: volume" => "no volumes of its own",
        _ => "no images",
    }
}
