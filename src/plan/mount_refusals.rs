//! Mounts and volumes that a runtime, or its engine on this host, does not support.

use std::path::Path;

use super::mounts::target_of;
use super::{ConfigLayers, Host, Planner};
use crate::config::{ConfigFile, FileMount, VolumeConfig, VolumeKind};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, Capability, UserMapping};
use crate::store::{BindMount, WorkspaceMode};
use crate::yaml::Placed;

const WITH_A_COPY: &str = "set workspace.mode to volume in moat.yaml: then the";

/// Refuses volumes of an engine that has none.
pub(super) fn check_volumes(planner: &mut Planner<'_>) {
    let runtime = planner.runtime();
    for file in planner.files {
        let volumes = file.settings.volumes.iter();
        for volume in volumes.filter(|volume| volume.value.kind == VolumeKind::Volume) {
            if !runtime.has_images() {
                let lack = "no volumes of its own";
                planner.refuse_key(file, volume.at, "type: volume", lack);
            } else if !runtime.supports(Capability::Volumes) {
                let why = format!(
                    "'type: volume' does not work on {runtime}, whose volumes are root's and for one container at a time; use 'type: bind'"
                );
                planner.refuse(file, volume.at, why);
            }
        }
    }
}

/// Checks that every mount has a mount point. Removes defaults without one.
pub(super) fn check_mount_points(
    planner: &mut Planner<'_>,
    mounts: &mut Vec<BindMount>,
    rootfs: Option<&Path>,
) -> Result<()> {
    let runtime = planner.runtime();
    let mounted = mounts.iter().map(|mount| mount.target.clone());
    let targets: Vec<String> = mounted.chain(volume_targets(planner)).collect();
    for target in &targets {
        // The outer mount decides about mount points inside it.
        let is_inside = targets.iter().any(|other| runtime::is_below(target, other));
        if is_inside || runtime.can_mount_at(rootfs, target) {
            continue;
        }
        let why = format!(
            "cannot mount at {target}: the path does not exist, and its parent is read-only on {runtime}"
        );
        refuse_target(planner, mounts, target, why)?;
    }
    Ok(())
}

fn volume_targets(planner: &Planner<'_>) -> impl Iterator<Item = String> {
    let volumes = planner.settings().flat_map(|settings| &settings.volumes);
    volumes.map(|volume| target_of(volume).to_owned())
}

/// Refuses a target at its node in a file; a target of a flag at once.
fn refuse_target(
    planner: &mut Planner<'_>,
    mounts: &mut Vec<BindMount>,
    target: &str,
    why: String,
) -> Result<()> {
    let found = planner.files.iter().find_map(|file| {
        let (mounts, volumes) = (&file.settings.mounts, &file.settings.volumes);
        let mounts = mounts
            .iter()
            .map(|mount| (mount.at, mount.value.target.as_str()));
        let volumes = volumes.iter().map(|volume| (volume.at, target_of(volume)));
        let (at, _) = mounts.chain(volumes).find(|(_, other)| *other == target)?;
        Some((*file, at))
    });
    let Some((file, at)) = found else {
        return Err(Error::new(ErrorKind::Workspace, why).hint("choose another target"));
    };
    planner.refuse(file, at, why);
    mounts.retain(|mount| mount.target != target);
    Ok(())
}

/// Refuses files inside mounted directories on runtimes that would replace the whole directory.
pub(super) fn check_files(planner: &mut Planner<'_>, mounts: &mut Vec<BindMount>) -> Result<()> {
    let runtime = planner.runtime();
    if runtime.supports(Capability::FilesInDirectories) {
        return Ok(());
    }
    let (files, directories): (Vec<BindMount>, Vec<BindMount>) = mounts
        .iter()
        .cloned()
        .partition(|mount| mount.source.is_file());
    let directories = directories.into_iter().map(|mount| mount.target);
    let directories: Vec<String> = directories
        .chain(volume_targets(planner))
        .chain([runtime::WORKSPACE.to_owned()])
        .collect();
    for BindMount { target, .. } in &files {
        if let Some(dir) = directories
            .iter()
            .find(|dir| runtime::is_below(target, dir))
        {
            let why = format!(
                "cannot mount a file at {target} on {runtime}, where it would replace all of {dir}; mount the directory of the file, or copy the file into {dir}"
            );
            refuse_target(planner, mounts, target, why)?;
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
pub(super) fn check_remote(planner: &mut Planner<'_>, mode: WorkspaceMode) -> Result<()> {
    let Some(address) = &planner.host.remote else {
        return Ok(());
    };
    let elsewhere = format!(
        "the engine of {} is on another machine ({})",
        planner.runtime(),
        crate::term::escape_unsafe(address)
    );
    let error = |what: &str| {
        Error::new(
            ErrorKind::Workspace,
            format!("{what} cannot be mounted: {elsewhere}"),
        )
    };
    if mode == WorkspaceMode::Bind {
        let hint = format!("{WITH_A_COPY} engine has a copy, and 'moat export' brings it back");
        return Err(error("the workspace").hint(hint));
    }
    if let Some(mount) = planner.request.mounts.first() {
        let hint = "remove -m, and copy the files into the workspace";
        return Err(error(&crate::term::escape_unsafe(mount)).hint(hint));
    }
    for file in planner.files {
        let volumes = file.settings.volumes.iter();
        let bound = volumes.filter(|volume| volume.value.kind == VolumeKind::Bind);
        let mounts = host_mounts(file).map(|mount| mount.at);
        for at in mounts.chain(bound.map(|volume| volume.at)) {
            planner.refuse(file, at, format!("this cannot be mounted: {elsewhere}"));
        }
    }
    if planner
        .settings()
        .any(|settings| !settings.ports.is_empty())
    {
        planner.add_notice(format!(
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
pub(super) fn check_foreign_users(planner: &mut Planner<'_>, mode: WorkspaceMode) -> Result<()> {
    let host = planner.host;
    if host.facts.users != UserMapping::Foreign || host.remote.is_some() {
        return Ok(());
    }
    let why = format!(
        "the engine of {} maps all users of its containers to others (userns-remap)",
        host.runtime
    );
    let error = |place: &str| {
        let message = format!("the workload could not write to {place}: {why}");
        Error::new(ErrorKind::Workspace, message)
    };
    if mode == WorkspaceMode::Bind {
        let hint = format!("{WITH_A_COPY} workload has a copy, and 'moat export' brings it back");
        return Err(error("the workspace").hint(hint));
    }
    if let Some(text) = planner
        .request
        .mounts
        .iter()
        .find(|text| !text.ends_with(":ro"))
    {
        return Err(error(&crate::term::escape_unsafe(text)).hint("mount it with ':ro'"));
    }
    for file in planner.files {
        let is_bound = |volume: &&Placed<VolumeConfig>| {
            volume.value.kind == VolumeKind::Bind && !volume.value.readonly
        };
        let bound = file.settings.volumes.iter().filter(is_bound);
        let bound = bound.map(|volume| (volume.at, "use 'type: volume'"));
        let writable = host_mounts(file).filter(|mount| !mount.value.readonly);
        let mounts = writable.map(|mount| (mount.at, "mount it read-only"));
        for (at, instead) in mounts.chain(bound) {
            let message = format!("the workload could not write to this: {why}; {instead}");
            planner.refuse(file, at, message);
        }
    }
    Ok(())
}
