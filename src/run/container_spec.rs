//! Turns a plan into the specification that a driver needs to create the container.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use super::mount_points;
use super::supervisor::Supervisor;
use crate::config::VolumeKind;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Plan, PlannedVolume};
use crate::runtime::{ContainerSpec, EngineVolume, VolumeMount};
use crate::store::{BindMount, Home, make_dir};

/// Builds the specification, and creates the project's volumes, which outlive the container.
pub(super) fn container_spec<'a>(
    supervisor: &Supervisor,
    plan: &'a Plan,
) -> Result<ContainerSpec<'a>> {
    let (id, home) = {
        let run = supervisor.run();
        (run.record().id.to_string(), run.home().clone())
    };
    let home_label = home.label()?;
    let mut binds = plan.settings.mounts.binds.clone();
    let mut volumes = Vec::new();
    for volume in &plan.volumes {
        match volume.kind {
            VolumeKind::Bind => binds.push(BindMount {
                source: directory(supervisor, plan, volume)?,
                target: volume.target.clone(),
                readonly: volume.readonly,
            }),
            VolumeKind::Volume => {
                volumes.push(engine_volume(supervisor, &home, &home_label, volume)?)
            }
        }
    }
    // A mount at /a must not hide one at /a/b.
    binds.sort_by(|one, other| one.target.cmp(&other.target));
    mount_points::create_mount_points(plan, &binds, &volumes)?;
    let own_network = (!plan.services.is_empty()).then(|| id.clone());
    let session = plan.settings.identity.session.as_ref();
    let variables = plan.env.iter();
    Ok(ContainerSpec {
        handle: id.clone(),
        home_label,
        run_label: id,
        network: own_network.or_else(|| session?.network.clone()),
        extra_networks: session.map_or_else(Vec::new, |session| session.compose_networks.clone()),
        settings: Cow::Borrowed(&plan.settings),
        pre_run: plan.pre_run.as_deref(),
        env: variables
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        binds,
        volumes,
        has_home: plan.build.is_some(),
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
            chown(
                &path,
                Some(plan.settings.identity.uid),
                Some(plan.settings.identity.gid),
            )
            .map_err(|error| failed(&error))?;
        }
    }
    fs::canonicalize(&path).map_err(|error| failed(&error))
}

/// The volume of the project in the engine, created if it is missing. A volume that the home made under a former label
/// stays in use: it has the user's data.
fn engine_volume(
    supervisor: &Supervisor,
    home: &Home,
    home_label: &str,
    volume: &PlannedVolume,
) -> Result<VolumeMount> {
    // No volume name contains a dot, so two projects cannot get the same handle.
    let name = volume.name.replace('/', ".");
    let handle_of = |label: &str| format!("moat-{label}-{name}");
    let mount = |handle: String| VolumeMount {
        handle,
        target: volume.target.clone(),
        readonly: volume.readonly,
    };
    let handle = handle_of(home_label);
    let labels = home.labels()?;
    let engine = supervisor.runtime.need_volumes()?;
    let former: Vec<String> = labels.former().map(handle_of).collect();
    if !former.is_empty() && !engine.has_volume(&handle)? {
        for handle in former {
            if engine.has_volume(&handle)? {
                return Ok(mount(handle));
            }
        }
    }
    engine.make_volume(&EngineVolume {
        handle: handle.clone(),
        home_label: home_label.to_owned(),
        name: volume.name.clone(),
    })?;
    Ok(mount(handle))
}
