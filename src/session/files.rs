//! Files that a session creates in its worktree: its variables, and files inherited from the main checkout. An
//! existing file is never changed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::inherit;
use super::member::{BringUp, Member, Scope, Teardown};
use super::operation::OperationContext;
use super::repository::{Repository, git, small_file};
use super::variables;
use crate::config::Inherit;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::store::{Claim, CreatedFile, CreatedFileKind, Home, Session, write_atomically};
use crate::term::escape_unsafe;

/// The file of variables, for tools that read `.env`-style files.
pub(crate) const VARIABLES_FILE: &str = ".env.moat";

/// The files that a session creates in its worktree.
pub(super) struct Files;

impl Member for Files {
    fn is_complete(&self, _home: &Home, session: &Session) -> bool {
        session.worktree.path.join(VARIABLES_FILE).is_file()
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        let inherit = &up.request.settings.inherit;
        make(up.context, claim, up.repository, inherit)
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
fn make(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    repository: &Repository,
    settings: &[Inherit],
) -> Result<()> {
    let session = claim.record()?.clone();
    let root = session.worktree.path.clone();
    let note = |text: &str| (context.notify)(&format!("note: {text}"));
    let mut wanted = inherit::missing(&session, settings, claim.id(), &note);
    if !session
        .files
        .iter()
        .any(|file| file.kind == CreatedFileKind::Variables)
    {
        if root.join(VARIABLES_FILE).symlink_metadata().is_ok() {
            let message = format!("'{VARIABLES_FILE}' exists already, and moat did not write it");
            (context.notify)(&format!("note: {message}; moat rewrites it"));
        }
        ignore(&repository.common, &root);
        wanted.push(CreatedFile {
            path: PathBuf::from(VARIABLES_FILE),
            kind: CreatedFileKind::Variables,
            source: None,
            operation: claim.id().to_owned(),
        });
    }
    if !wanted.is_empty() {
        claim.update(&mut |session| session.files.extend(wanted.iter().cloned()))?;
        checkpoint("session-files-intent");
    }
    for file in &wanted {
        make_one(&root, file)?;
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

fn make_one(root: &Path, file: &CreatedFile) -> Result<()> {
    let Some(source) = &file.source else {
        return Ok(());
    };
    if escapes_worktree(root, &file.path) {
        return Ok(());
    }
    let target = root.join(&file.path);
    match inherit::make(file.kind, source, &target) {
        // Another process created the file first; that file stays.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|error| Error::io(ErrorKind::Workspace, "create", &target, &error)),
    }
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

/// Whether the path leads through a link. A workload can replace a directory by a link to any place.
fn escapes_worktree(root: &Path, file: &Path) -> bool {
    let parents = file.ancestors().skip(1);
    let mut parents = parents.filter(|parent| !parent.as_os_str().is_empty());
    parents.any(|parent| root.join(parent).is_symlink())
}

/// Whether two regular files have the same content.
fn is_same(copy: &Path, original: &Path) -> bool {
    let size = |path: &Path| {
        let about = path.symlink_metadata().ok()?;
        about.is_file().then_some(about.len())
    };
    let (Some(one), Ok(other)) = (size(copy), fs::metadata(original)) else {
        return false;
    };
    let read = || Some((fs::read(copy).ok()?, fs::read(original).ok()?));
    other.is_file() && one == other.len() && read().is_some_and(|(one, other)| one == other)
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
        (CreatedFileKind::Copy, Some(source)) => is_same(&path, source),
        (CreatedFileKind::Tree, Some(source)) => inherit::is_same_tree(&path, source),
        _ => false,
    }
}

/// Removes the created files that nobody has changed.
fn remove(context: &OperationContext<'_>, root: &Path, files: &[&CreatedFile]) -> Result<()> {
    for file in files {
        let path = root.join(&file.path);
        if file.kind == CreatedFileKind::Tree && !escapes_worktree(root, &file.path) {
            inherit::remove_copied_tree(&path, !is_unchanged(root, file))
                .map_err(|error| Error::io(ErrorKind::Workspace, "remove", &path, &error))?;
            continue;
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
        match fs::remove_file(&path) {
            Err(error)
                if error.kind() != io::ErrorKind::NotFound
                    && error.kind() != io::ErrorKind::NotADirectory =>
            {
                return Err(Error::io(ErrorKind::Workspace, "remove", &path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}
