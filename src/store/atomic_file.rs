//! Writing files so that a reader, or a machine that lost power, sees the old or the new content.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Replaces `path` by `bytes`: temporary file, fsync, rename, fsync of the directory. Mode 0600.
///
/// There must be one writer per path at a time; the temporary file's name is fixed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_through(&temporary(path), path, |_| Ok(bytes.to_vec()))
}

/// The same for a path that several processes write at a time: the last one counts. Where one is killed at it, its
/// temporary file stays, beside `path`.
pub(crate) fn write_atomically_concurrent(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(std::process::id().to_string());
    write_through(&temporary, path, |_| Ok(bytes.to_vec()))
}

/// The same as [`write_atomically`], for content that names properties of the file itself, such as its inode.
pub(super) fn write_atomically_with(
    path: &Path,
    content: impl FnOnce(&File) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    write_through(&temporary(path), path, content)
}

fn write_through(
    temporary: &Path,
    path: &Path,
    content: impl FnOnce(&File) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let written = write_new(temporary, content)
        .and_then(|()| fs::rename(temporary, path))
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

fn temporary(path: &Path) -> PathBuf {
    match path.file_name() {
        // All of it is its name: for `.env.moat`, `.env.tmp` would be somebody else's.
        Some(name) if name.as_bytes().starts_with(b".") => {
            let mut name = name.to_owned();
            name.push(".tmp");
            path.with_file_name(name)
        }
        _ => path.with_extension("tmp"),
    }
}

fn write_new(path: &Path, content: impl FnOnce(&File) -> io::Result<Vec<u8>>) -> io::Result<()> {
    // What is there is of a writer that was killed, or, in a directory that others write to, not ours to follow.
    remove_if_exists(path)?;
    let mut file = create_new(path)?;
    let bytes = content(&file)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Opens `path` for writing, empty, mode 0600.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// The same, but fails if there is something already.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A document as the files of `$MOAT_HOME` hold it: indented JSON and a newline. An error if the value cannot be
/// serialized: a good file must never be replaced by an empty one.
pub(crate) fn document<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Creates a directory and its parents, mode 0700. An existing directory is fine.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a file that may already be gone.
pub(crate) fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it; one that is gone is fine. A workload may have left
/// directories that not even their owner may write to (`chmod -R a-w`, Go's module cache).
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_accessible(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives us all rights to those directories that are ours, from the top down.
fn make_accessible(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Not through links.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_accessible(&entry.path());
        }
    }
}
