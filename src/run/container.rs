//! From the plan to what a driver needs to make the container.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::supervisor::Supervisor;
use crate::config::VolumeKind;
use crate::error::{Error, Kind, Result};
use crate::plan::{Plan, Volume};
use crate::runtime::{ContainerSpec, EngineVolume, User, VolumeMount, WORKSPACE};
use crate::store::{Mount, WorkspaceMode, make_dir};

/// Describes the container, and makes what outlives it: the project's volumes.
pub(super) fn specify(supervisor: &Supervisor, plan: &Plan) -> Result<ContainerSpec> {
    let (id, home_label) = {
        let run = supervisor.run();
        (run.record().id.to_string(), run.home().hash())
    };
    let mut mounts = plan.mounts.clone();
    let mut volumes = Vec::new();
    for volume in &plan.volumes {
        match volume.kind {
            VolumeKind::Bind => mounts.push(Mount {
                source: directory(supervisor, plan, volume)?,
                target: volume.target.clone(),
                readonly: volume.readonly,
            }),
            VolumeKind::Volume => volumes.push(of_engine(supervisor, &home_label, volume)?),
        }
    }
    // A mount at /a must not hide one at /a/b.
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    make_places(plan, &mounts, &volumes)?;
    let variables = plan.env.iter();
    Ok(ContainerSpec {
        handle: id.clone(),
        home_label,
        run_label: id,
        image: plan.image.clone(),
        rootfs: plan.rootfs.clone(),
        workspace: plan.workspace.clone(),
        workspace_mode: plan.workspace_mode,
        command: plan.command.clone(),
        pre_run: plan.pre_run.clone(),
        env: variables
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        mounts,
        volumes,
        scratch: plan.scratch.clone(),
        covered: plan.covered.clone(),
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
    })
}

/// Something that is mounted, and in which there may be places to mount on.
struct Outer<'a> {
    target: &'a str,
    /// Not set: it is not on this host.
    source: Option<&'a Path>,
    readonly: bool,
}

/// Makes the places in the workspace and in mounts that something else is to be mounted on: with the
/// owner of what they are in, as an engine would make them root's.
fn make_places(plan: &Plan, mounts: &[Mount], volumes: &[VolumeMount]) -> Result<()> {
    let mut outer: Vec<Outer<'_>> = vec![Outer {
        target: WORKSPACE,
        source: (plan.workspace_mode == WorkspaceMode::Bind).then_some(plan.workspace.as_path()),
        readonly: false,
    }];
    outer.extend(mounts.iter().map(|mount| Outer {
        target: &mount.target,
        source: Some(&mount.source),
        readonly: mount.readonly,
    }));
    outer.extend(volumes.iter().map(|volume| Outer {
        target: &volume.target,
        source: None,
        readonly: volume.readonly,
    }));
    for path in &plan.scratch {
        make_place(path, true, &outer)?;
    }
    let of_mounts = mounts
        .iter()
        .map(|mount| (&mount.target, mount.source.is_dir()));
    let of_volumes = volumes.iter().map(|volume| (&volume.target, true));
    for (target, is_dir) in of_mounts.chain(of_volumes) {
        let around = innermost(target, &outer);
        if around.is_some_and(|around| !around.readonly) {
            // What cannot be made is the runtime's to make, or to refuse.
            let _ = make_place(target, is_dir, &outer);
        }
    }
    Ok(())
}

/// What a path is in.
fn innermost<'a, 'b>(path: &str, outer: &'a [Outer<'b>]) -> Option<&'a Outer<'b>> {
    let inside = |one: &&Outer<'_>| {
        path.strip_prefix(one.target)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let found = outer.iter().filter(inside);
    found.max_by_key(|one| one.target.len())
}

fn make_place(path: &str, is_dir: bool, outer: &[Outer<'_>]) -> Result<()> {
    let Some((target, source)) =
        innermost(path, outer).and_then(|around| Some((around.target, around.source?)))
    else {
        return Ok(());
    };
    let owner = fs::metadata(source)
        .ok()
        .map(|metadata| (metadata.uid(), metadata.gid()));
    let mut place = source.to_owned();
    let mut parts = path[target.len()..]
        .split('/')
        .filter(|part| !part.is_empty())
        .peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let failed = |error: &std::io::Error| Error::io(Kind::Workspace, "make", &place, error);
        let as_dir = is_dir || parts.peek().is_some();
        let made = match as_dir {
            true => fs::create_dir(&place),
            false => fs::File::create_new(&place).map(drop),
        };
        match made {
            // A link may lead anywhere, and a workload may have made it.
            Err(_)
                if fs::symlink_metadata(&place)
                    .is_ok_and(|found| found.is_dir() == as_dir && !found.is_symlink()) =>
            {
                continue;
            }
            made => made.map_err(|error| failed(&error))?,
        }
        if let (true, Some((uid, gid))) = (rustix::process::geteuid().is_root(), owner) {
            chown(&place, Some(uid), Some(gid)).map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}

/// The directory of a volume, made if it is missing, with the workload's user as its owner.
fn directory(supervisor: &Supervisor, plan: &Plan, volume: &Volume) -> Result<PathBuf> {
    let path = supervisor.run().home().volumes().join(&volume.name);
    let failed = |error: &std::io::Error| Error::io(Kind::Store, "make", &path, error);
    if !path.is_dir() {
        make_dir(&path).map_err(|error| failed(&error))?;
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(plan.uid), Some(plan.gid)).map_err(|error| failed(&error))?;
        }
    }
    fs::canonicalize(&path).map_err(|error| failed(&error))
}

fn of_engine(supervisor: &Supervisor, home_label: &str, volume: &Volume) -> Result<VolumeMount> {
    // A dot is in no name of a volume, so two projects cannot come to one handle.
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
