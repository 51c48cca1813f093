//! Mount points on this host that moat creates before an engine creates them as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::runtime::{VolumeMount, WORKSPACE};
use crate::store::{BindMount, WorkspaceMode};

/// A mounted directory that may contain further mount points.
struct MountedTree<'a> {
    target: &'a str,
    /// Not set: the directory is not on this host.
    source: Option<&'a Path>,
    readonly: bool,
}

/// Creates the mount points in the workspace and in mounts, with the owner of the surrounding directory; an engine
/// would make root their owner.
pub(super) fn create_mount_points(
    plan: &Plan,
    mounts: &[BindMount],
    volumes: &[VolumeMount],
) -> Result<()> {
    let mut outer: Vec<MountedTree<'_>> = vec![MountedTree {
        target: WORKSPACE,
        source: (plan.settings.mounts.workspace_mode == WorkspaceMode::Bind)
            .then_some(plan.settings.mounts.workspace.as_path()),
        readonly: false,
    }];
    outer.extend(mounts.iter().map(|mount| MountedTree {
        target: &mount.target,
        source: Some(&mount.source),
        readonly: mount.readonly,
    }));
    outer.extend(volumes.iter().map(|volume| MountedTree {
        target: &volume.target,
        source: None,
        readonly: volume.readonly,
    }));
    for path in &plan.settings.mounts.tmpfs {
        create_mount_point(path, true, &outer)?;
    }
    outer.extend(plan.settings.mounts.tmpfs.iter().map(|path| MountedTree {
        target: path,
        source: None,
        readonly: false,
    }));
    let of_mounts = mounts
        .iter()
        .map(|mount| (&mount.target, mount.source.is_dir()));
    let of_volumes = volumes.iter().map(|volume| (&volume.target, true));
    for (target, is_dir) in of_mounts.chain(of_volumes) {
        let around = innermost_mount(target, &outer);
        if around.is_some_and(|around| !around.readonly) {
            // The runtime creates or refuses what cannot be created here.
            let _ = create_mount_point(target, is_dir, &outer);
        }
    }
    Ok(())
}

/// The mount that contains a path.
fn innermost_mount<'a, 'b>(
    path: &str,
    outer: &'a [MountedTree<'b>],
) -> Option<&'a MountedTree<'b>> {
    let inside = |one: &&MountedTree<'_>| {
        path.strip_prefix(one.target)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let found = outer.iter().filter(inside);
    found.max_by_key(|one| one.target.len())
}

fn create_mount_point(path: &str, is_dir: bool, outer: &[MountedTree<'_>]) -> Result<()> {
    let Some((target, source)) =
        innermost_mount(path, outer).and_then(|around| Some((around.target, around.source?)))
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
        let failed =
            |error: &std::io::Error| Error::io(ErrorKind::Workspace, "create", &place, error);
        let as_dir = is_dir || parts.peek().is_some();
        let made = match as_dir {
            true => fs::create_dir(&place),
            false => fs::File::create_new(&place).map(drop),
        };
        match made {
            // A link may lead anywhere, and a workload may have created it.
            Err(_)
                if fs::symlink_metadata(&place)
                    .is_ok_and(|found| found.is_dir() == as_dir && !found.is_symlink()) =>
            {
                continue;
            }
            made => made.map_err(|error| {
                failed(&error).hint("it is a mount point, so it must not be a link and must be of the same kind as the mount")
            })?,
        }
        if let (true, Some((uid, gid))) = (rustix::process::geteuid().is_root(), owner) {
            chown(&place, Some(uid), Some(gid)).map_err(|error| failed(&error))?;
        }
    }
    Ok(())
}
