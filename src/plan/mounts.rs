//! The directories that a workload sees: the workspace, mounts and volumes.

use std::path::{Path, PathBuf};

use super::description::Line;
use super::environment::{has, trust_workspace};
use super::host::Workspace;
use super::{Host, PlannedVolume, Planner, RunRequest, Variable, mount_refusals};
use crate::config::{FileMount, VolumeConfig, scalar_values};
use crate::error::{Error, Result};
use crate::image::CA_VARIABLES;
use crate::runtime::{self, Capability};
use crate::store::{BindMount, MountSettings, RunName, WorkspaceMode};
use crate::yaml::Placed;

impl Planner<'_> {
    /// Plans the mounts, and adds the variables that they need.
    pub(super) fn mounts(
        &mut self,
        workspace: &Workspace,
        rootfs: Option<&Path>,
        env: &mut Vec<Variable>,
    ) -> Result<MountSettings> {
        let mut merged = self.merged_mounts(&workspace.path);
        mount_refusals::check_volumes(self);
        mount_refusals::check_owner(self.files, self.host, workspace.uid);
        mount_refusals::check_mount_points(self, &mut merged.binds, rootfs)?;
        mount_refusals::check_files(self, &mut merged.binds)?;
        if !self.runtime().has_images() && rootfs.is_none() {
            self.add_certificates(&mut merged.binds, env)?;
        }
        let mode = self.strongest(|settings| settings.workspace_mode.as_ref());
        let workspace_mode = mode.unwrap_or_default();
        mount_refusals::check_remote(self, workspace_mode)?;
        mount_refusals::check_foreign_users(self, workspace_mode)?;
        if workspace_mode == WorkspaceMode::Bind {
            self.add_git(&mut merged.binds, env, rootfs);
        }
        let host = self.host;
        if host.remote.is_none() && host.git_distrusts(&workspace.path, workspace.uid) {
            trust_workspace(env);
        }
        let hidden = [workspace.hidden.clone(), merged.hidden].concat();
        Ok(MountSettings {
            workspace: workspace.path.clone(),
            workspace_mode,
            workdir: self.flags.workdir.clone(),
            hidden: uncovered(hidden, &merged.tmpfs),
            binds: merged.binds,
            tmpfs: merged.tmpfs,
        })
    }

    /// Merges the mounts of flags and files; a stronger one at the same target wins.
    fn merged_mounts(&self, workspace: &Path) -> MergedMounts {
        let mut binds: Vec<BindMount> = self.flags.mounts.clone();
        let mut tmpfs: Vec<String> = Vec::new();
        let mut volumes: Vec<&str> = Vec::new();
        for file in self.files {
            for Placed { at, value } in &file.settings.mounts {
                let target = value.target.as_str();
                let is_taken = binds.iter().any(|stronger| stronger.target == target);
                if is_taken || volumes.contains(&target) {
                    continue;
                }
                let written = value.source.to_string_lossy();
                match self
                    .host
                    .mount_source(&self.host.path_in(&file.dir, &written))
                {
                    // The workspace is mounted there, or copied, in any case.
                    Ok(source) if target == runtime::WORKSPACE => {
                        if source != workspace {
                            let why = "only the workspace itself can be mounted at /workspace: write 'source: .'";
                            file.source.report(*at, why);
                        }
                    }
                    Ok(source) => binds.push(bind_mount(source, value)),
                    Err(error) => file.source.report(*at, error.message),
                }
                let excluded = value.exclude.iter();
                tmpfs.extend(excluded.map(|path| format!("{target}/{path}")));
            }
            volumes.extend(file.settings.volumes.iter().map(target_of));
        }
        // A mount inside a mount replaces an excluded directory at its path.
        tmpfs.retain(|path| {
            let is_mounted = binds.iter().any(|mount| mount.target == *path);
            !is_mounted && !volumes.contains(&path.as_str())
        });
        sort(&mut binds);
        tmpfs.sort();
        MergedMounts {
            hidden: hidden_paths(&binds, &tmpfs, self.host),
            binds,
            tmpfs,
        }
    }

    /// The volumes of files, except where a flag mounts something else.
    pub(super) fn volumes(&self, project: Option<&RunName>) -> Vec<PlannedVolume> {
        let Some(project) = project else {
            return Vec::new();
        };
        let volumes = self.settings().flat_map(|settings| &settings.volumes);
        let flags = &self.flags.mounts;
        let is_free = |volume: &&Placed<VolumeConfig>| {
            !flags.iter().any(|flag| flag.target == target_of(volume))
        };
        let planned = volumes
            .filter(is_free)
            .map(|Placed { value, .. }| PlannedVolume {
                name: format!("{project}/{}", value.name),
                kind: value.kind,
                target: value.target.clone(),
                readonly: value.readonly,
            });
        planned.collect()
    }

    /// Gives a sandbox the certificates of the host's `SSL_CERT_FILE`, if it must trust them.
    fn add_certificates(&self, mounts: &mut Vec<BindMount>, env: &mut Vec<Variable>) -> Result<()> {
        if self.strongest(|settings| settings.container.host_ca.as_ref()) != Some(true) {
            return Ok(());
        }
        let Some(mount) = self.host.sandbox_certificates()? else {
            return Ok(());
        };
        if mounts.iter().any(|other| other.target == mount.target) {
            return Ok(());
        }
        for name in CA_VARIABLES {
            if !has(env, name) {
                env.push(Variable::new(name, &mount.target));
            }
        }
        mounts.push(mount);
        sort(mounts);
        Ok(())
    }

    /// Mounts the repository of a workspace that is one of its worktrees. All parts or none, because a part would not
    /// work: if another mount has such a path, or a path cannot be a mount point, nothing is added.
    fn add_git(&self, mounts: &mut Vec<BindMount>, env: &mut Vec<Variable>, rootfs: Option<&Path>) {
        let (git, runtime) = (&self.request.git, self.runtime());
        let has_place = |mount: &BindMount| {
            let is_taken = mounts.iter().any(|other| other.target == mount.target);
            let target = scalar_values::mount_target(&mount.target);
            !is_taken && target.is_ok_and(|same| same == mount.target)
        };
        let first = git.mounts.first();
        let is_possible = runtime.supports(Capability::FileMounts)
            && git.mounts.iter().all(has_place)
            && first.is_some_and(|first| runtime.can_mount_at(rootfs, &first.target));
        if !is_possible {
            return;
        }
        mounts.extend(git.mounts.iter().cloned());
        sort(mounts);
        for (name, value) in &git.env {
            if !has(env, name) {
                env.push(Variable::new(name, value));
            }
        }
    }
}

struct MergedMounts {
    binds: Vec<BindMount>,
    tmpfs: Vec<String>,
    /// The paths at which a mount would show moat's own directory.
    hidden: Vec<String>,
}

/// Puts outer mounts first: a mount at /a must not hide one at /a/b.
fn sort(mounts: &mut [BindMount]) {
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
}

fn bind_mount(source: PathBuf, mount: &FileMount) -> BindMount {
    BindMount {
        source,
        target: mount.target.clone(),
        readonly: mount.readonly,
    }
}

pub(super) fn target_of(volume: &Placed<VolumeConfig>) -> &str {
    &volume.value.target
}

fn hidden_paths(mounts: &[BindMount], tmpfs: &[String], host: &Host) -> Vec<String> {
    let places = mounts.iter().filter_map(|mount| {
        let inside = host.home.strip_prefix(&mount.source).ok()?;
        let place = format!("{}/{}", mount.target, inside.display());
        // Unless another mount has this path.
        let mut targets = mounts.iter().map(|other| &other.target).chain(tmpfs);
        let is_covered = targets.any(|other| {
            let within = other == &place || runtime::is_below(&place, other);
            within && runtime::is_below(other, &mount.target)
        });
        (!is_covered).then_some(place)
    });
    places.collect()
}

/// The hidden paths that no excluded directory hides already.
pub(super) fn uncovered(mut paths: Vec<String>, excluded: &[String]) -> Vec<String> {
    let is_covered = |path: &String| {
        let mut excluded = excluded.iter();
        excluded.any(|dir| dir == path || runtime::is_below(path, dir))
    };
    paths.retain(|path| !is_covered(path));
    paths
}

/// The mounts of `--mount`.
pub(super) fn mounts_of_flags(request: &RunRequest, host: &Host) -> Result<Vec<BindMount>> {
    let mut mounts: Vec<BindMount> = Vec::new();
    for text in &request.mounts {
        let mut mount = scalar_values::mount(text)?;
        let is_taken = mounts.iter().any(|earlier| earlier.target == mount.target);
        if is_taken {
            let message = format!("two mounts have the target {}", mount.target);
            return Err(Error::usage(message).hint("give each mount its own target"));
        }
        mount.source = host.mount_source(&mount.source)?;
        mounts.push(mount);
    }
    Ok(mounts)
}

pub(super) fn describe_workspace(mounts: &MountSettings) -> Line {
    let copy = match mounts.workspace_mode {
        WorkspaceMode::Bind => "",
        WorkspaceMode::Volume => " (a copy)",
    };
    ("workspace", format!("{}{copy}", mounts.workspace.display()))
}

pub(super) fn describe(mounts: &MountSettings, volumes: &[PlannedVolume]) -> Vec<Line> {
    let mode = |readonly| if readonly { "ro" } else { "rw" };
    let binds = mounts.binds.iter().map(|mount| {
        let mode = mode(mount.readonly);
        (
            "mount",
            format!("{} at {} ({mode})", mount.source.display(), mount.target),
        )
    });
    let volumes = volumes.iter().map(|volume| {
        let mode = mode(volume.readonly);
        (
            "volume",
            format!("{} at {} ({mode})", volume.name, volume.target),
        )
    });
    let tmpfs = mounts.tmpfs.iter().map(|path| ("tmpfs", path.clone()));
    binds.chain(volumes).chain(tmpfs).collect()
}
