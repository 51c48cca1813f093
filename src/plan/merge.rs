//! Merges the lists of flags and files.

use std::path::Path;

use crate::config::{self, Ulimit, parse_env_file, scalar_values};
use crate::error::{Error, FileProblem, Result};
use crate::image::CA_VARIABLES;
use crate::runtime::{self, Capability};
use crate::store::{BindMount, RunName};
use crate::yaml::{Placed, read_file, read_file_or_pipe};

use super::{ConfigLayers, Host, PlannedVolume, SecretRef, Variable};

/// Variables of flags, then of files. `env` overrides `env_file`.
pub(super) fn env(
    flags: &[Variable],
    env_files: &[(String, String)],
    files: ConfigLayers<'_>,
    host: &Host,
    problems: &mut Vec<FileProblem>,
) -> Vec<Variable> {
    let mut variables: Vec<Variable> = flags.to_vec();
    let secrets: Vec<&str> = files
        .iter()
        .flat_map(|file| &file.settings.secrets)
        .map(|secret| secret.value.name.as_str())
        .collect();
    let mut add = |name: &str, value: &str| {
        // The strongest comes first. A secret is stronger than an env file.
        let taken = variables.iter().any(|earlier| earlier.name == name) || secrets.contains(&name);
        if !taken {
            variables.push(Variable {
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    };
    for (name, value) in env_files.iter().rev() {
        add(name, value);
    }
    for file in files {
        for Placed { value, .. } in &file.settings.env {
            add(&value.0, &value.1);
        }
        let mut found = Vec::new();
        for path in &file.settings.env_files {
            let real = host.path_in(&file.dir, &path.value);
            match env_file(&path.value, &real, read_file, host, problems) {
                Ok(variables) => found.extend(variables),
                Err(why) => file.source.report(path.at, why),
            }
        }
        // The last of several files, and of several lines, wins.
        for (name, value) in found.iter().rev() {
            add(name, value);
        }
    }
    variables
}

/// The variables of the files of `--env-file`, whose paths are relative to the current directory.
pub(super) fn env_files_of_flags(
    paths: &[String],
    host: &Host,
    problems: &mut Vec<FileProblem>,
) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for path in paths {
        let read = env_file(path, Path::new(path), read_file_or_pipe, host, problems);
        found.extend(read.map_err(|why| {
            Error::usage(format!("--env-file: {why}")).hint("name a file that exists")
        })?);
    }
    Ok(found)
}

fn env_file(
    name: &str,
    path: &Path,
    read: fn(&Path, &str) -> Result<Option<String>>,
    host: &Host,
    problems: &mut Vec<FileProblem>,
) -> std::result::Result<Vec<(String, String)>, String> {
    let name = crate::yaml::message_text(name);
    let text = match read(path, &name) {
        Ok(Some(text)) => text,
        Ok(None) => return Err(format!("there is no file '{name}'")),
        Err(error) => return Err(error.message),
    };
    let (lines, flaws) = parse_env_file(&text);
    let mut note = |line: usize, message: String| {
        problems.push(FileProblem {
            file: name.clone(),
            line: Some(line),
            column: Some(1),
            message,
        });
    };
    for (line, why) in flaws {
        note(line, why);
    }
    let mut found = Vec::new();
    for line in lines {
        let passed_on = || (host.environment)(&line.name)?.into_string().ok();
        match line.value.clone().or_else(passed_on) {
            Some(value) => found.push((line.name, value)),
            None => note(
                line.number,
                format!(
                    "{} has no value here, and none in the environment",
                    crate::yaml::message_text(&line.name)
                ),
            ),
        }
    }
    Ok(found)
}

/// The secrets of files that no flag overrides.
pub(super) fn secrets(flags: &[Variable], files: ConfigLayers<'_>) -> Vec<SecretRef> {
    let mut secrets: Vec<SecretRef> = Vec::new();
    for file in files {
        for Placed { value, .. } in &file.settings.secrets {
            if !flags.iter().any(|flag| flag.name == value.name) {
                secrets.push(SecretRef::new(value, &file.dir));
            }
        }
    }
    secrets
}

/// Mounts, and the hidden paths inside them.
pub(super) struct Mounts {
    pub(super) mounts: Vec<BindMount>,
    pub(super) tmpfs: Vec<String>,
    /// The paths at which a mount would show moat's own directory.
    pub(super) hidden: Vec<String>,
}

pub(super) fn mounts(
    flags: &[BindMount],
    files: ConfigLayers<'_>,
    host: &Host,
    workspace: &Path,
) -> Result<Mounts> {
    let mut mounts: Vec<BindMount> = flags.to_vec();
    let mut scratch: Vec<String> = Vec::new();
    let mut volumes: Vec<&str> = Vec::new();
    for file in files {
        for Placed { at, value } in &file.settings.mounts {
            let target = value.target.as_str();
            let taken = mounts.iter().any(|stronger| stronger.target == target);
            if taken || volumes.contains(&target) {
                continue;
            }
            let written = value.source.to_string_lossy();
            match host.mount_source(&host.path_in(&file.dir, &written)) {
                Ok(source) if target == runtime::WORKSPACE && source != workspace => {
                    let why =
                        "only the workspace itself can be mounted at /workspace: write 'source: .'";
                    file.source.report(*at, why);
                }
                // The workspace is mounted there, or copied, in any case.
                Ok(_) if target == runtime::WORKSPACE => {}
                Ok(source) => mounts.push(BindMount {
                    source,
                    target: value.target.clone(),
                    readonly: value.readonly,
                }),
                Err(error) => file.source.report(*at, error.message),
            }
            let excluded = value.exclude.iter();
            scratch.extend(excluded.map(|path| format!("{target}/{path}")));
        }
        volumes.extend(file.settings.volumes.iter().map(target_of));
    }
    // A mount inside a mount replaces an excluded directory at its path.
    scratch.retain(|path| {
        let mounted = mounts.iter().any(|mount| mount.target == *path);
        !mounted && !volumes.contains(&path.as_str())
    });
    // Outer mounts come first: a mount at /a must not hide one at /a/b.
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    scratch.sort();
    let covered = hidden_paths(&mounts, &scratch, host);
    Ok(Mounts {
        mounts,
        tmpfs: scratch,
        hidden: covered,
    })
}

fn hidden_paths(mounts: &[BindMount], scratch: &[String], host: &Host) -> Vec<String> {
    let places = mounts.iter().filter_map(|mount| {
        let inside = host.home.strip_prefix(&mount.source).ok()?;
        let place = format!("{}/{}", mount.target, inside.display());
        // Unless another mount has this path.
        let mut targets = mounts.iter().map(|other| &other.target).chain(scratch);
        let hidden = targets.any(|other| {
            let within = other == &place || runtime::is_below(&place, other);
            within && runtime::is_below(other, &mount.target)
        });
        (!hidden).then_some(place)
    });
    places.collect()
}

/// Gives a sandbox the certificates of the host's `SSL_CERT_FILE`, if it must trust them.
pub(super) fn certificates(
    mounts: &mut Vec<BindMount>,
    env: &mut Vec<Variable>,
    files: ConfigLayers<'_>,
    host: &Host,
) -> Result<()> {
    let containers = files.iter().map(|file| &file.settings.container);
    if super::first_set(containers.map(|container| container.host_ca.as_ref())) != Some(true) {
        return Ok(());
    }
    let Some(mount) = host.sandbox_certificates()? else {
        return Ok(());
    };
    if mounts.iter().any(|other| other.target == mount.target) {
        return Ok(());
    }
    for name in CA_VARIABLES {
        if !env.iter().any(|variable| variable.name == name) {
            env.push(Variable {
                name: name.to_owned(),
                value: mount.target.clone(),
            });
        }
    }
    mounts.push(mount);
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(())
}

/// Mounts the repository of a workspace that is one of its worktrees. All parts or none, because a part would not
/// work: if another mount has such a path, or a path cannot be a mount point, nothing is added.
pub(super) fn git(
    mounts: &mut Vec<BindMount>,
    env: &mut Vec<Variable>,
    git: &super::GitAccess,
    host: &Host,
    rootfs: Option<&Path>,
) {
    let has_place = |mount: &BindMount| {
        let taken = mounts.iter().any(|other| other.target == mount.target);
        !taken && scalar_values::mount_target(&mount.target).is_ok_and(|same| same == mount.target)
    };
    let possible = host.runtime.supports(Capability::FileMounts)
        && git.mounts.iter().all(has_place)
        && git
            .mounts
            .first()
            .is_some_and(|first| host.runtime.can_mount_at(rootfs, &first.target));
    if !possible {
        return;
    }
    mounts.extend(git.mounts.iter().cloned());
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    for (name, value) in &git.env {
        if !env.iter().any(|variable| variable.name == *name) {
            env.push(Variable {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
}

/// Makes git accept the repositories of a workspace whose owner is not the workload's user: the user asked for this
/// workspace, so its owner is no surprise. A variable of the user's wins.
pub(super) fn trust_workspace(env: &mut Vec<Variable>) {
    if env
        .iter()
        .any(|variable| variable.name.starts_with("GIT_CONFIG_"))
    {
        return;
    }
    let pairs = [
        ("GIT_CONFIG_COUNT", "2"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", runtime::WORKSPACE),
        // Submodules, since git 2.46.
        ("GIT_CONFIG_KEY_1", "safe.directory"),
        ("GIT_CONFIG_VALUE_1", "/workspace/*"),
    ];
    env.extend(pairs.map(|(name, value)| Variable {
        name: name.to_owned(),
        value: value.to_owned(),
    }));
}

fn target_of(volume: &Placed<config::VolumeConfig>) -> &str {
    &volume.value.target
}

/// The volumes of files, except where a flag mounts something else.
pub(super) fn volumes(
    flags: &[BindMount],
    files: ConfigLayers<'_>,
    project: Option<&RunName>,
) -> Vec<PlannedVolume> {
    let Some(project) = project else {
        return Vec::new();
    };
    let volumes = files.iter().flat_map(|file| &file.settings.volumes);
    let is_free = |volume: &&Placed<config::VolumeConfig>| {
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

pub(super) fn ulimits(files: ConfigLayers<'_>) -> Vec<Ulimit> {
    let mut limits: Vec<Ulimit> = Vec::new();
    for Placed { value, .. } in files
        .iter()
        .flat_map(|file| &file.settings.container.ulimits)
    {
        if !limits.iter().any(|stronger| stronger.name == value.name) {
            limits.push(value.clone());
        }
    }
    limits
}
