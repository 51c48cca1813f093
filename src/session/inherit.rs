//! What a worktree gets from the main checkout: files, directories, and what a pattern matches.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use glob::{MatchOptions, Pattern};

use crate::config::Inherit;
use crate::failpoint::checkpoint;
use crate::store::{CreatedFile, CreatedFileKind, Session, extract, pack, remove_tree};
use crate::term::escape_unsafe;

/// As in a shell: `*` matches no slash, and nothing that begins with a dot.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Returns what the worktree lacks. Calls `note` with each setting that matches nothing.
pub(super) fn missing(
    session: &Session,
    inherit: &[Inherit],
    operation: &str,
    note: &dyn Fn(&str),
) -> Vec<CreatedFile> {
    let (root, main) = (&session.worktree.path, &session.main);
    if root == main {
        return Vec::new();
    }
    let mut missing: Vec<CreatedFile> = Vec::new();
    for wanted in inherit {
        let found = matches(main, &wanted.path);
        if found.is_empty() && !wanted.is_default {
            let path = escape_unsafe(&wanted.path.to_string_lossy());
            note(&format!(
                "session.inherit: the main checkout has no '{path}'"
            ));
        }
        for path in found {
            let is_there = root.join(&path).symlink_metadata().is_ok();
            if is_there || missing.iter().any(|file| file.path == path) {
                continue;
            }
            let source = main.join(&path);
            missing.push(CreatedFile {
                kind: match (wanted.link, source.is_dir()) {
                    (true, _) => CreatedFileKind::Link,
                    (false, true) => CreatedFileKind::Tree,
                    (false, false) => CreatedFileKind::Copy,
                },
                path,
                source: Some(source),
                operation: operation.to_owned(),
            });
        }
    }
    missing
}

/// The paths of the main checkout, relative to it, that a setting names. A path that exists is no pattern.
fn matches(main: &Path, path: &Path) -> Vec<PathBuf> {
    if main.join(path).exists() {
        return vec![path.to_owned()];
    }
    let (Some(main_text), Some(text)) = (main.to_str(), path.to_str()) else {
        return Vec::new();
    };
    let pattern = format!("{}/{text}", Pattern::escape(main_text));
    let found = glob::glob_with(&pattern, OPTIONS).into_iter().flatten();
    let inside = found
        .flatten()
        .filter_map(|path| Some(path.strip_prefix(main).ok()?.to_owned()));
    inside.filter(|path| !path.starts_with(".git")).collect()
}

/// Makes a file, a link or a directory at a path without anything. [`io::ErrorKind::AlreadyExists`]: another program
/// was faster, and what it made stays.
pub(super) fn make(kind: CreatedFileKind, source: &Path, target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match kind {
        CreatedFileKind::Link => symlink(source, target),
        CreatedFileKind::Tree => copy_tree(source, target),
        _ => copy(source, target),
    }
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let bytes = fs::read(source)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(target)?;
    file.write_all(&bytes)?;
    file.set_permissions(fs::metadata(source)?.permissions())
}

/// Copies a directory beside its place, so that an interrupted copy is not taken for the directory.
fn copy_tree(source: &Path, target: &Path) -> io::Result<()> {
    let partial = partial_copy(target);
    remove_tree(&partial)?;
    fs::create_dir(&partial)?;
    let mut packing = pack(source, &[], Stdio::piped())?;
    let extracted = extract(packing.archive(), &partial)?;
    let packed = packing.finish()?;
    checkpoint("tree-copied");
    let words = packed.err().or_else(|| {
        let failed = !extracted.status.success();
        failed.then(|| String::from_utf8_lossy(&extracted.stderr).trim().to_owned())
    });
    if let Some(words) = words {
        let _ = remove_tree(&partial);
        return Err(io::Error::other(escape_unsafe(&words)));
    }
    if target.symlink_metadata().is_ok() {
        remove_tree(&partial)?;
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(&partial, target)
}

/// The path of a copy that is not complete.
fn partial_copy(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".moat-copy-{name}"))
}

/// Removes a copied directory, complete or not. `has_changed`: only what is not complete.
pub(super) fn remove_copied_tree(target: &Path, has_changed: bool) -> io::Result<()> {
    remove_tree(&partial_copy(target))?;
    if has_changed {
        return Ok(());
    }
    remove_tree(target)
}

/// Whether a copied directory still has what its source has: the same names, kinds, sizes and times of files.
pub(super) fn is_same_tree(copy: &Path, original: &Path) -> bool {
    let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
    collect(copy, Path::new(""), &mut one).is_ok()
        && collect(original, Path::new(""), &mut other).is_ok()
        && one == other
}

/// What tells two entries of directories apart.
#[derive(PartialEq)]
enum Entry {
    Directory,
    Link(PathBuf),
    /// The size in bytes, and the time in seconds since 1970.
    File(u64, i64),
}

fn collect(root: &Path, inside: &Path, entries: &mut BTreeMap<PathBuf, Entry>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(inside))? {
        let entry = entry?;
        let path = inside.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(root, &path, entries)?;
            entries.insert(path, Entry::Directory);
        } else if metadata.is_symlink() {
            entries.insert(path, Entry::Link(fs::read_link(entry.path())?));
        } else {
            entries.insert(path, Entry::File(metadata.len(), metadata.mtime()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::Scratch;

    #[test]
    fn a_copied_tree_is_the_same_until_it_changes() {
        let scratch = Scratch::new();
        let (source, target) = (scratch.dir("main/deps"), scratch.dir("tree").join("deps"));
        fs::create_dir_all(source.join("a/.b")).unwrap();
        fs::write(source.join("a/file"), "x").unwrap();
        symlink("a/file", source.join("link")).unwrap();
        // An interrupted copy.
        fs::create_dir(partial_copy(&target)).unwrap();
        fs::write(partial_copy(&target).join("half"), "").unwrap();

        make(CreatedFileKind::Tree, &source, &target).unwrap();
        assert!(is_same_tree(&target, &source));
        assert!(!partial_copy(&target).exists() && !target.join("half").exists());
        let again = make(CreatedFileKind::Tree, &source, &target).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);

        fs::write(target.join("own"), "").unwrap();
        assert!(!is_same_tree(&target, &source));
        remove_copied_tree(&target, true).unwrap();
        assert!(target.join("own").exists());
        remove_copied_tree(&target, false).unwrap();
        assert!(!target.exists());
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let scratch = Scratch::new();
        let main = scratch.dir("a[b]");
        for path in [
            "conf/one.local",
            "conf/two.local",
            "conf/.hidden.local",
            "[id].env",
            "i.env",
        ] {
            let path = main.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |path: &str| matches(&main, Path::new(path));
        assert_eq!(found("conf/*.local").len(), 2);
        assert_eq!(found("*/one.local"), [Path::new("conf/one.local")]);
        assert_eq!(found("[id].env"), [Path::new("[id].env")]);
        assert_eq!(found("[ij].env"), [Path::new("i.env")]);
        for none in ["missing", "*.none", "[", "conf/*/x"] {
            assert!(found(none).is_empty(), "{none}");
        }
    }
}
