//! Files and directories that a session creates in its worktree: its variables, and what it inherits from the main
//! checkout. An existing file is never changed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::inherit::{self, escapes_worktree, remove_any};
use super::member::{BringUp, Member, Scope, Teardown};
use super::operation::OperationContext;
use super::repository::{git, small_file};
use super::variables;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::store::{
    Claim, CreatedFile, CreatedFileKind, Home, Session, VARIABLES_FILE, write_atomically,
};
use crate::term::escape_unsafe;

/// The files that a session creates in its worktree.
pub(super) struct Files;

impl Member for Files {
    fn is_complete(&self, _home: &Home, session: &Session) -> bool {
        let root = &session.worktree.path;
        let operation = session.operation_id();
        let mut made = session.files.iter();
        root.join(VARIABLES_FILE).is_file()
            && made.all(|file| {
                operation != Some(&file.operation)
                    || root.join(&file.path).symlink_metadata().is_ok()
            })
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        make(up, claim)
    }

    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let session = teardown.session;
        let files = session.files.iter();
        let files: Vec<_> = files
            .filter(|file| teardown.scope.removes(&file.operation))
            .collect();
        remove(teardown.context, &session.worktree.path, &files)?;
        teardown.checkpoint("files");
        Ok(())
    }

    /// These files are removed together with the worktree, or the message about the kept worktree names them.
    fn abandon(&self, teardown: &mut Teardown<'_>, error: Error) -> Result<()> {
        match teardown.scope {
            Scope::Session {
                remove_worktree: true,
                ..
            } => Ok(()),
            _ => Err(error),
        }
    }

    fn forget(&self, teardown: &Teardown<'_>, record: &mut Session) {
        let files = &mut record.files;
        files.retain(|file| !teardown.scope.removes(&file.operation));
    }
}

/// Creates the missing files, and rewrites the variables if they have changed.
fn make(up: &BringUp<'_>, claim: &mut Claim) -> Result<()> {
    let context = up.context;
    let session = claim.record()?.clone();
    let root = session.worktree.path.clone();
    let mut wanted = inherit::missing(up, &session, claim.id());
    if !session
        .files
        .iter()
        .any(|file| file.kind == CreatedFileKind::Variables)
    {
        if root.join(VARIABLES_FILE).symlink_metadata().is_ok() {
            let message = format!("'{VARIABLES_FILE}' exists already, and moat did not write it");
            (context.notify)(&format!("note: {message}; moat rewrites it"));
        }
        ignore(&up.repository.common, &root);
        wanted.push(CreatedFile {
            path: PathBuf::from(VARIABLES_FILE),
            kind: CreatedFileKind::Variables,
            source: None,
            operation: claim.id().to_owned(),
        });
    }
    if !wanted.is_empty() {
        claim.update(&mut |session| {
            // An `up` that continues after a crash has recorded them already.
            session.files.retain(|file| !wanted.contains(file));
            session.files.extend(wanted.iter().cloned());
        })?;
        checkpoint("session-files-intent");
    }
    for file in &wanted {
        inherit::make(context, &session, file)?;
    }
    write_variables(claim.session().unwrap_or(&session))?;
    checkpoint("session-files-made");
    Ok(())
}

/// Writes the file of variables unless its content is current.
pub(super) fn write_variables(session: &Session) -> Result<()> {
    let path = session.worktree.path.join(VARIABLES_FILE);
    let text = variables::file(session);
    if small_file(&path).is_some_and(|there| there == text) {
        return Ok(());
    }
    write_atomically(&path, text.as_bytes())
        .map_err(|error| Error::io(ErrorKind::Workspace, "write", &path, &error))
}

/// Adds the file of variables to the repository's own exclude list, which is in no commit, so that git does not
/// report the file as work.
fn ignore(common: &Path, root: &Path) {
    if git(root, &["check-ignore", "--quiet", VARIABLES_FILE]).is_ok() {
        return;
    }
    let path = common.join("info/exclude");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let added = fs::create_dir_all(common.join("info"))
        .and_then(|()| fs::OpenOptions::new().append(true).create(true).open(&path))
        .and_then(|mut file| file.write_all(format!("{end}/{VARIABLES_FILE}\n").as_bytes()));
    // Without that entry, git shows the file as untracked, which does no harm.
    drop(added);
}

/// Whether a created file still has the content that moat wrote.
pub(super) fn is_unchanged(root: &Path, file: &CreatedFile) -> bool {
    let path = root.join(&file.path);
    if escapes_worktree(root, &file.path) {
        return false;
    }
    match (file.kind, &file.source) {
        // A directory at this path was created by another program.
        (CreatedFileKind::Variables, _) => path.is_symlink() || !path.is_dir(),
        (CreatedFileKind::Link, Some(source)) => {
            fs::read_link(&path).is_ok_and(|target| target == *source)
        }
        (CreatedFileKind::Copy, Some(source)) => inherit::is_same(&path, source),
        _ => false,
    }
}

/// Removes the created files that nobody has changed.
fn remove(context: &OperationContext<'_>, root: &Path, files: &[&CreatedFile]) -> Result<()> {
    for file in files {
        let path = root.join(&file.path);
        let remove = |path: &Path| {
            remove_any(path)
                .map_err(|error| Error::io(ErrorKind::Workspace, "remove", path, &error))
        };
        if let Some(part) = inherit::partial_copy(root, file)
            && !escapes_worktree(root, &file.path)
        {
            remove(&part)?;
        }
        if !is_unchanged(root, file) {
            if file.kind == CreatedFileKind::Variables {
                let shown = escape_unsafe(&path.display().to_string());
                (context.warn)(&format!(
                    "{shown} is a directory, not the file that moat wrote"
                ));
            }
            continue;
        }
        remove(&path)?;
    }
    Ok(())
}
