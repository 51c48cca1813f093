//! The workload's copy of the workspace as a directory of the run, for runtimes whose containers mount directories of
//! this host.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;

use super::error::{Result, RuntimeError};
use super::{ContainerSpec, WORKSPACE, is_below};
use crate::store::{
    WorkspaceMode, extract, make_dir, pack, pack_into, remove_tree, write_atomically,
};

/// The directory of the copy.
const COPY_DIR: &str = "workspace";

/// The list of mount points inside the copy: one relative path on each line.
const MOUNTED_LIST: &str = "mounted";

/// The directory that a container sees as its workspace.
pub(super) fn workspace(dir: &Path, spec: &ContainerSpec) -> PathBuf {
    match spec.settings.mounts.workspace_mode {
        WorkspaceMode::Bind => spec.settings.mounts.workspace.clone(),
        WorkspaceMode::Volume => dir.join(COPY_DIR),
    }
}

/// Creates the copy, replacing the rest of an earlier attempt.
pub(super) fn make(dir: &Path, spec: &ContainerSpec) -> Result<()> {
    let copy = dir.join(COPY_DIR);
    let failed = |error: io::Error| failed(&copy, &error);
    remove_tree(&copy).map_err(failed)?;
    make_dir(&copy).map_err(failed)?;
    let mounted = spec.mounted_in_workspace().join("\n");
    write_atomically(&dir.join(MOUNTED_LIST), mounted.as_bytes()).map_err(failed)?;
    let without = spec.not_copied();
    let mut packing =
        pack(&spec.settings.mounts.workspace, &without, Stdio::piped()).map_err(failed)?;
    let extracted = extract(packing.archive(), &copy).map_err(failed)?;
    let packed = packing.finish().map_err(failed)?;
    match packed.and(extracted) {
        Ok(()) => Ok(()),
        Err(words) => Err(RuntimeError::Refused(format!(
            "the workspace cannot be copied: {words}"
        ))),
    }
}

/// Refuses mounts behind a link that leads out of the directory that contains it. A missing mount point is created by
/// a program that follows links and whose root is this host's: a foreign workspace could otherwise choose a place on
/// this host.
pub(super) fn check_links(spec: &ContainerSpec, workspace: &Path) -> Result<()> {
    let mounts = spec.binds.iter();
    let shown = mounts.map(|mount| (mount.target.as_str(), mount.source.as_path()));
    let shown = shown.chain([(WORKSPACE, workspace)]);
    for (dir, source) in shown {
        let mounts = spec.binds.iter().map(|mount| &mount.target);
        let places = mounts
            .chain(&spec.settings.mounts.tmpfs)
            .chain(spec.hidden_paths());
        for place in places.filter(|place| is_below(place, dir)) {
            let inside = Path::new(&place[dir.len() + 1..]);
            if !stays_inside(source, &mut PathBuf::new(), inside, &mut 0) {
                return Err(RuntimeError::Refused(format!(
                    "cannot mount at {place}: a symbolic link in the path leads out of {dir}"
                )));
            }
        }
    }
    Ok(())
}

/// Maximum number of links that are followed; the kernel follows no more.
const MAX_LINKS: u32 = 40;

/// Whether a path below `at`, with all links followed, stays in that directory. A missing component is no link.
fn stays_inside(root: &Path, at: &mut PathBuf, path: &Path, links: &mut u32) -> bool {
    path.components().all(|part| match part {
        Component::CurDir => true,
        Component::ParentDir => at.pop(),
        Component::Normal(name) => {
            at.push(name);
            let Ok(target) = fs::read_link(root.join(&*at)) else {
                return true;
            };
            at.pop();
            *links += 1;
            *links <= MAX_LINKS && stays_inside(root, at, &target, links)
        }
        Component::RootDir | Component::Prefix(_) => false,
    })
}

/// Writes the copy to a file, as a tar archive.
pub(super) fn save(dir: &Path, into: File) -> Result<()> {
    let copy = dir.join(COPY_DIR);
    if !copy.exists() {
        let message = format!("{} was removed by another program", copy.display());
        return Err(RuntimeError::NotFound(message));
    }
    let mounted = fs::read_to_string(dir.join(MOUNTED_LIST)).unwrap_or_default();
    let without: Vec<String> = mounted.lines().map(str::to_owned).collect();
    pack_into(&copy, &without, into)
        .map_err(|error| failed(&copy, &error))?
        .map_err(RuntimeError::Refused)
}

pub(super) fn failed(path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::Refused(format!(
        "{}: {}",
        path.display(),
        crate::error::os_error_text(error)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_that_lead_out_are_told() {
        let root = std::env::temp_dir().join(format!("moat-links-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        for (target, link) in [
            ("/etc", "absolute"),
            ("..", "up"),
            ("a/../../x", "a-up"),
            ("absolute/x", "indirect"),
            ("turn", "turn"),
            ("a", "in"),
            ("../in/b", "a/back"),
            (".", "a/here"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let stays = |path: &str| stays_inside(&root, &mut PathBuf::new(), Path::new(path), &mut 0);
        for path in [
            "x/y",
            "a/b/c",
            "in/b",
            "a/back/f",
            "in/here/back/x",
            "a",
            "in",
        ] {
            assert!(stays(path), "{path}");
        }
        for path in [
            "absolute",
            "absolute/x",
            "up/x",
            "a-up",
            "indirect/y",
            "turn/x",
            "a/back/../../../x",
        ] {
            assert!(!stays(path), "{path}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
