//! Turns a plan into the specification that a driver needs to create the container.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use super::mount_points;
use super::supervisor::Supervisor;
use crate::config::VolumeKind;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Plan, PlannedVolume};
use crate::runtime::{ContainerSpec, EngineVolume, User, VolumeMount};
use crate::store::{BindMount, make_dir};

/// Builds the specification, and creates the project's volumes, which outlive the container.
pub(super) fn container_spec(supervisor: &Supervisor, plan: &Plan) -> Result<ContainerSpec> {
    let (id, home_label) = {
        let run = supervisor.run();
        (run.record().id.to_string(), run.home().hash())
    };
    let mut mounts = plan.mounts.clone();
    let mut volumes = Vec::new();
    for volume in &plan.volumes {
        match volume.kind {
            VolumeKind::Bind => mounts.push(BindMount {
                source: directory(supervisor, plan, volume)?,
                target: volume.target.clone(),
                readonly: volume.readonly,
            }),
            VolumeKind::Volume => volumes.push(engine_volume(supervisor, &home_label, volume)?),
        }
    }
    // A mount at /a must not hide one at /a/b.
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    mount_points::create_mount_points(plan, &mounts, &volumes)?;
    let variables = plan.env.iter();
    let own_network = (!plan.services.is_empty()).then(|| id.clone());
    let place = plan.session.as_ref();
    Ok(ContainerSpec {
        handle: id.clone(),
        home_label,
        run_label: id.clone(),
        image: plan.image.clone(),
        network: own_network.or_else(|| place?.network.clone()),
        extra_networks: place.map_or_else(Vec::new, |place| place.compose_networks.clone()),
        rootfs: plan.rootfs.clone(),
        workspace: plan.workspace.clone(),
        workspace_mode: plan.workspace_mode,
        command: plan.command.clone(),
        workdir: plan.workdir.clone(),
        shm_bytes: plan.shm_bytes,
        pre_run: plan.pre_run.clone(),
        env: variables
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        mounts,
        volumes,
        tmpfs: plan.tmpfs.clone(),
        hidden: plan.hidden.clone(),
        user: User {
            uid: plan.uid,
            gid: plan.gid,
        },
        has_home: plan.build.is_some(),
        ports: plan.ports.clone(),
        memory_bytes: plan.memory_bytes,
        cpus: plan.cpus,
        pids: plan.pids,
        dns: plan.dns.clone(),
        ulimits: plan.ulimits.clone(),
        stdin: plan.interactive,
        terminal: plan.terminal,
    })
}

/// The directory of a volume, created if it is missing, with the workload's user as its owner.
fn directory(supervisor: &Supervisor, plan: &Plan, volume: &PlannedVolume) -> Result<PathBuf> {
    let path = supervisor.run().home().volumes().join(&volume.name);
    let failed = |error: &std::io::Error| Error::io(ErrorKind::Store, "create", &path, error);
    if !path.is_dir() {
        make_dir(&path).map_err(|error| failed(&error))?;
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(plan.uid), Some(plan.gid)).map_err(|error| failed(&error))?;
        }
    }
    fs::canonicalize(&path).map_err(|error| failed(&error))
}

fn engine_volume(
    supervisor: &Supervisor,
    home_label: &str,
    volume: &PlannedVolume,
) -> Result<VolumeMount> {
    // No volume name contains a dot, so two projects cannot get the same handle.
    let handle = format!("moat-{home_label}-{}", volume.name.replace('/', "."));
    supervisor.runtime.make_volume(&EngineVolume {
        handle: handle.clone(),
        home_label: home_label.to_owned(),
        name: volume.name.clone(),
    })?;
    Ok(VolumeMount {
        handle,
        target: volume.target.clone(),
        readonly: volume.readonly,
    })
}
