//! What a worktree inherits from the main checkout: files and directories that git does not have, as copies or links.
//!
//! A copy has another name until it is complete, so a killed `up` leaves no part of a copy under its name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::marked_processes::PROCESS_MARK_VARIABLE;
use super::member::BringUp;
use super::operation::OperationContext;
use super::process_end::INHERIT_MARK;
use super::repository::Repository;
use crate::config::is_of_git;
use crate::error::{Error, ErrorKind, Result, os_error_text};
use crate::failpoint::checkpoint;
use crate::program;
use crate::runtime::child;
use crate::store::{CreatedFile, CreatedFileKind, Session, VARIABLES_FILE, remove_tree};
use crate::term::{escape_unsafe, one_line};

/// `*` matches no slash. It matches a first dot, because many of these files have one.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Time for one copy.
const COPY_TIMEOUT: Duration = Duration::from_secs(3600);

/// The files and directories that the worktree lacks. A warning names each entry of the configuration that leads to
/// nothing.
pub(super) fn missing(up: &BringUp<'_>, session: &Session, operation: &str) -> Vec<CreatedFile> {
    let (root, main) = (&session.worktree.path, &session.main);
    if root == main {
        return Vec::new();
    }
    let others = inner_worktrees(main, up.repository);
    let mut wanted: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for entry in &up.request.settings.inherit {
        let found = find(main, &others, &entry.path);
        let shown = escape_unsafe(&entry.path.display().to_string());
        let mut problem = found
            .is_empty()
            .then(|| format!("session.inherit: the main checkout has no '{shown}'"));
        for path in found {
            if root.join(&path).symlink_metadata().is_ok() {
                continue;
            }
            match obstacle(root, main, &path) {
                None => {
                    wanted.entry(path).or_insert(entry.link);
                }
                Some(why) => {
                    let path = escape_unsafe(&path.display().to_string());
                    problem = Some(format!("session.inherit '{shown}': {path}: {why}"));
                }
            }
        }
        if let Some(problem) = problem
            && !entry.is_default
            && root.join(&entry.path).symlink_metadata().is_err()
        {
            (up.request.warn)(format!("note: {problem}"));
        }
    }
    // A directory brings all that is below it.
    let is_below = |path: &Path| {
        let mut above = path.ancestors().skip(1);
        above.any(|above| wanted.contains_key(above))
    };
    let wanted_alone = wanted.iter().filter(|(path, _)| !is_below(path));
    wanted_alone
        .map(|(path, link)| CreatedFile {
            path: path.clone(),
            kind: match link {
                true => CreatedFileKind::Link,
                false => CreatedFileKind::Copy,
            },
            source: Some(main.join(path)),
            operation: operation.to_owned(),
        })
        .collect()
}

/// The other worktrees of the repository that lie in the main checkout.
fn inner_worktrees<'a>(main: &Path, repository: &'a Repository) -> Vec<&'a Path> {
    let paths = repository.trees.iter().map(|tree| tree.path.as_path());
    paths
        .filter(|tree| *tree != main && tree.starts_with(main))
        .collect()
}

/// The existing paths of an entry, relative to the main checkout. A path that exists is no pattern.
fn find(main: &Path, others: &[&Path], path: &Path) -> Vec<PathBuf> {
    if main.join(path).exists() {
        return vec![path.to_owned()];
    }
    let (Some(root), Some(pattern)) = (main.to_str(), path.to_str()) else {
        return Vec::new();
    };
    let pattern = format!("{}/{pattern}", glob::Pattern::escape(root));
    let found = glob::glob_with(&pattern, OPTIONS).into_iter().flatten();
    found
        .flatten()
        .filter(|path| path.exists() && !others.iter().any(|tree| path.starts_with(tree)))
        .filter_map(|path| Some(path.strip_prefix(main).ok()?.to_owned()))
        .filter(|path| !is_of_git(path) && path != Path::new(VARIABLES_FILE))
        .collect()
}

/// The reason why the worktree cannot get a path.
fn obstacle(root: &Path, main: &Path, path: &Path) -> Option<&'static str> {
    let source = main.join(path);
    if path.to_str().is_none() {
        return Some("its name is not UTF-8");
    }
    if !source.is_file() && !source.is_dir() {
        return Some("it is neither a file nor a directory");
    }
    if fs::canonicalize(&source).is_ok_and(|source| root.starts_with(source)) {
        return Some("it contains the worktree");
    }
    escapes_worktree(root, path).then_some("a symbolic link in the worktree leads elsewhere")
}

/// Makes an inherited file or directory. One that another process created first stays.
pub(super) fn make(
    context: &OperationContext<'_>,
    session: &Session,
    file: &CreatedFile,
) -> Result<()> {
    let root = &session.worktree.path;
    let Some(source) = &file.source else {
        return Ok(());
    };
    // A workload may have replaced a directory since the check.
    if escapes_worktree(root, &file.path) {
        return Ok(());
    }
    let target = root.join(&file.path);
    let failed = |error: io::Error| Error::io(ErrorKind::Workspace, "create", &target, &error);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let made = match partial_copy(root, file) {
        None => symlink(source, &target),
        Some(part) => {
            remove_any(&part).map_err(failed)?;
            copy(context, session, source, &part)?;
            checkpoint("session-files-copied");
            give_name(&part, &target)
        }
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(failed),
    }
}

/// The name of a copy that is not complete, beside its later name.
pub(super) fn partial_copy(root: &Path, file: &CreatedFile) -> Option<PathBuf> {
    if file.kind != CreatedFileKind::Copy {
        return None;
    }
    let mut name = OsString::from(".");
    name.push(file.path.file_name()?);
    name.push(format!(".{}.part", file.operation));
    Some(root.join(&file.path).with_file_name(name))
}

/// Copies with the system's `cp`, which shares blocks with the original where the file system can, and keeps modes,
/// times, links, attributes and holes.
fn copy(
    context: &OperationContext<'_>,
    session: &Session,
    source: &Path,
    part: &Path,
) -> Result<()> {
    let shown = || escape_unsafe(&source.display().to_string());
    let failed = |why: &str| {
        let message = format!("cannot copy {} (session.inherit): {why}", shown());
        Error::new(ErrorKind::Workspace, message)
    };
    // A path that is a link is copied as what it leads to.
    let source = fs::canonicalize(source).map_err(|error| failed(&os_error_text(&error)))?;
    let mut command = program::call("cp");
    command
        .args(["-a", "--"])
        .arg(source)
        .arg(part)
        .env("LC_ALL", "C")
        // cp continues if moat is killed; therefore the process is marked.
        .env(PROCESS_MARK_VARIABLE, session.mark(INHERIT_MARK));
    let copied = child::run(&mut command, b"", COPY_TIMEOUT, context.should_continue);
    context.check()?;
    let output = copied.map_err(|error| failed(&os_error_text(&error)))?;
    match output.success {
        true => Ok(()),
        false => Err(failed(&one_line(&output.stderr))),
    }
}

/// Gives a complete copy its name, unless something has that name by now; then the copy is removed.
fn give_name(part: &Path, target: &Path) -> io::Result<()> {
    let is_dir = part.symlink_metadata()?.is_dir();
    let named = match is_dir {
        // Fails if a directory with files has the name.
        true if target.symlink_metadata().is_err() => fs::rename(part, target),
        true => Err(io::ErrorKind::AlreadyExists.into()),
        false => match fs::hard_link(part, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) => fs::remove_file(part),
            // Not every file system has hard links.
            Err(_) => fs::rename(part, target),
        },
    };
    if named.is_err() {
        let _ = remove_any(part);
    }
    named
}

/// Whether the path leads through a link. A workload can replace a directory by a link to any place.
pub(super) fn escapes_worktree(root: &Path, file: &Path) -> bool {
    let parents = file.ancestors().skip(1);
    let mut parents = parents.filter(|parent| !parent.as_os_str().is_empty());
    parents.any(|parent| root.join(parent).is_symlink())
}

/// Removes a file, a link or a directory; one that is gone is fine.
pub(super) fn remove_any(path: &Path) -> io::Result<()> {
    let is_dir = path.symlink_metadata().is_ok_and(|about| about.is_dir());
    let removed = match is_dir {
        true => remove_tree(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound
                && error.kind() != io::ErrorKind::NotADirectory =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Whether a copy is still like its original. Files are compared by their bytes, and files in directories by their
/// times first.
pub(super) fn is_same(copy: &Path, original: &Path) -> bool {
    let (Ok(one), Ok(other)) = (copy.symlink_metadata(), fs::metadata(original)) else {
        return false;
    };
    if one.is_file() && other.is_file() {
        return one.len() == other.len() && has_same_bytes(copy, original);
    }
    one.is_dir() && other.is_dir() && is_same_directory(copy, original).unwrap_or_default()
}

fn is_same_directory(copy: &Path, original: &Path) -> io::Result<bool> {
    let mut names = Vec::new();
    for entry in fs::read_dir(copy)? {
        names.push(entry?.file_name());
    }
    if names.len() != fs::read_dir(original)?.count() {
        return Ok(false);
    }
    for name in names {
        let (copy, original) = (copy.join(&name), original.join(&name));
        let one = copy.symlink_metadata()?;
        let Ok(other) = original.symlink_metadata() else {
            return Ok(false);
        };
        let is_same = one.file_type() == other.file_type()
            && if one.is_dir() {
                is_same_directory(&copy, &original)?
            } else if one.is_symlink() {
                fs::read_link(&copy)? == fs::read_link(&original)?
            } else if !one.is_file() {
                true
            } else {
                let is_untouched = one.modified()? == other.modified()?;
                one.len() == other.len() && (is_untouched || has_same_bytes(&copy, &original))
            };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_same_bytes(one: &Path, other: &Path) -> bool {
    let read = || Some((fs::read(one).ok()?, fs::read(other).ok()?));
    read().is_some_and(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::Scratch;

    #[test]
    fn a_copied_directory_is_the_same_until_it_changes() {
        let scratch = Scratch::new();
        let (source, target) = (scratch.dir("main/deps"), scratch.dir("tree/deps"));
        for dir in [&source, &target] {
            fs::create_dir_all(dir.join("a/.b")).unwrap();
            fs::write(dir.join("a/file"), "x").unwrap();
            symlink("a/file", dir.join("link")).unwrap();
        }
        assert!(is_same(&target, &source));
        fs::write(target.join("a/file"), "y").unwrap();
        assert!(!is_same(&target, &source), "another byte");
        fs::write(target.join("a/file"), "x").unwrap();
        fs::write(target.join("own"), "").unwrap();
        assert!(!is_same(&target, &source), "one more");
        fs::remove_file(target.join("own")).unwrap();
        fs::remove_file(target.join("link")).unwrap();
        symlink("a", target.join("link")).unwrap();
        assert!(!is_same(&target, &source), "another link");
    }

    #[test]
    fn a_pattern_matches_names_and_not_what_is_of_git_or_moat() {
        let scratch = Scratch::new();
        let main = scratch.dir("a[b]");
        for path in [
            "conf/one.local",
            "conf/two.local",
            "conf/.hidden.local",
            "[id].env",
            "i.env",
            ".git/x.local",
            ".env.moat",
            ".env.own",
            "other/conf/one.local",
        ] {
            let path = main.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let other = main.join("other");
        let found = |path: &str| find(&main, &[&other], Path::new(path));
        assert_eq!(found("conf/*.local").len(), 3);
        assert_eq!(found("**/one.local"), [Path::new("conf/one.local")]);
        assert_eq!(found("[id].env"), [Path::new("[id].env")]);
        assert_eq!(found("[ij].env"), [Path::new("i.env")]);
        assert_eq!(found(".env*"), [Path::new(".env.own")]);
        for none in ["missing", "*.none", "[", "conf/*/x", ".g*/x.local"] {
            assert!(found(none).is_empty(), "{none}");
        }
    }
}
