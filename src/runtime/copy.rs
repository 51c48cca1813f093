//! The workload's own copy of the workspace, where that is a directory of the run: with runtimes whose
//! containers see directories of this host.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::ContainerSpec;
use super::problem::{Problem, Result};
use crate::store::{Packing, WorkspaceMode, extract, make_dir, pack, write_atomically};

/// The workload's own copy of the workspace.
const COPY: &str = "workspace";

/// Where in that something else is mounted: a path per line, relative to it.
const MOUNTED: &str = "mounted";

/// What a container sees as its workspace.
pub(super) fn workspace(dir: &Path, spec: &ContainerSpec) -> PathBuf {
    match spec.workspace_mode {
        WorkspaceMode::Bind => spec.workspace.clone(),
        WorkspaceMode::Volume => dir.join(COPY),
    }
}

/// Makes the copy.
pub(super) fn make(dir: &Path, spec: &ContainerSpec) -> Result<()> {
    let copy = dir.join(COPY);
    let failed = |error: io::Error| failed(&copy, &error);
    make_dir(&copy).map_err(failed)?;
    let mounted = spec.mounted_in_workspace().join("\n");
    write_atomically(&dir.join(MOUNTED), mounted.as_bytes()).map_err(failed)?;
    let without = spec.not_copied();
    let mut packing = pack(&spec.workspace, &without, Stdio::piped()).map_err(failed)?;
    let extracted = extract(packing.archive(), &copy).map_err(failed)?;
    let packed = packing.finish().map_err(failed)?;
    let words = packed.err().or((!extracted.status.success())
        .then(|| String::from_utf8_lossy(&extracted.stderr).trim().to_owned()));
    match words {
        None => Ok(()),
        Some(words) => Err(Problem::Refused(format!(
            "the workspace cannot be copied: {words}"
        ))),
    }
}

/// Writes what is in the copy to a file, as a tar archive.
pub(super) fn save(dir: &Path, into: File) -> Result<()> {
    let copy = dir.join(COPY);
    if !copy.exists() {
        let message = format!("{} was removed by somebody else", copy.display());
        return Err(Problem::NotFound(message));
    }
    let mounted = fs::read_to_string(dir.join(MOUNTED)).unwrap_or_default();
    let without: Vec<String> = mounted.lines().map(str::to_owned).collect();
    let packing = pack(&copy, &without, Stdio::from(into));
    let packed = packing.and_then(Packing::finish);
    packed
        .map_err(|error| failed(&copy, &error))?
        .map_err(Problem::Refused)
}

pub(super) fn failed(path: &Path, error: &io::Error) -> Problem {
    Problem::Refused(format!(
        "{}: {}",
        path.display(),
        crate::error::reason(error)
    ))
}
