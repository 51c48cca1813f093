//! Exports a run's copied workspace to a directory.

use std::fs::{self, File};
use std::path::Path;

use super::{SharedUi, Ui};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Home, RunId, WorkspaceMode};

/// Exports the workspace of a run that exited with `code`, and returns the exit code. If the export fails, moat still
/// keeps the workspace.
pub(super) fn after_run(home: &Home, id: &RunId, dir: &Path, code: u8, ui: &SharedUi) -> u8 {
    match export(home, id, dir, ui.as_ref()) {
        Ok(()) => code,
        Err(error) => {
            let why = error.message;
            ui.warning(&format!("{why}; try again: moat export {id} DIR"));
            code.max(1)
        }
    }
}

/// Checks that the directory is empty or does not exist, so that no file is overwritten.
pub(crate) fn check_target(dir: &Path) -> Result<()> {
    let failed = |why: &str| {
        let shown = crate::term::escape_unsafe(&dir.display().to_string());
        Error::new(
            ErrorKind::Workspace,
            format!("cannot export to '{shown}': {why}"),
        )
        .hint("name a directory that is empty or does not exist")
    };
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(failed("the directory is not empty")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&crate::error::os_error_text(&error))),
    }
}

/// Exports the workspace of a finished run to a directory.
pub(crate) fn export(home: &Home, id: &RunId, dir: &Path, ui: &dyn Ui) -> Result<()> {
    let run = home.run(id);
    let mut record = run.require()?;
    let path = run.workspace();
    if record.state.is_terminal() && !path.exists() {
        // The supervisor may still be saving it.
        crate::run::wait_until_unowned(home, id, &|text| ui.print_notice(text))?;
        record = run.require()?;
    }
    if !path.exists() {
        return Err(match record.settings.mounts.workspace_mode {
            WorkspaceMode::Bind => Error::new(
                ErrorKind::Failed,
                format!(
                    "{id} has no copy of its workspace: the workload worked on the directory itself"
                ),
            )
            .hint("set workspace.mode to volume in moat.yaml"),
            WorkspaceMode::Volume if !record.state.is_terminal() => {
                Error::new(ErrorKind::Conflict, format!("{id} has not ended"))
                    .hint(format!("wait for it: moat wait {id}"))
            }
            WorkspaceMode::Volume if record.cleaned_at.is_none() => {
                let message = format!("the workspace of {id} could not be saved yet");
                let diary = run.supervisor_log();
                let why = format!("see the reason in {}, then try again", diary.display());
                Error::new(ErrorKind::Failed, message).hint(why)
            }
            WorkspaceMode::Volume => {
                Error::new(ErrorKind::Failed, format!("{id} left no workspace"))
                    .hint(format!("see why: moat inspect {id}"))
            }
        });
    }
    let made = !dir.exists();
    let failed = |verb: &str, path: &Path, error: &std::io::Error| {
        Error::io(ErrorKind::Workspace, verb, path, error)
    };
    fs::create_dir_all(dir).map_err(|error| failed("create", dir, &error))?;
    let archive = File::open(&path).map_err(|error| failed("read", &path, &error))?;
    let unpacked = store::extract(archive, dir).map_err(|error| failed("unpack", &path, &error))?;
    if let Err(words) = unpacked {
        let words = crate::term::escape_unsafe(&words);
        if made {
            // A partial workspace must not look complete.
            let _ = store::remove_tree(dir);
        }
        return Err(Error::new(
            ErrorKind::Workspace,
            format!("cannot unpack the workspace: {words}"),
        ));
    }
    run.mark_exported();
    let shown = crate::term::escape_unsafe(&dir.display().to_string());
    ui.notice(&format!("exported the workspace of {id} to {shown}"));
    Ok(())
}
