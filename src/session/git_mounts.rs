//! Mounts that make git work in a container whose workspace is the worktree of a session.
//!
//! The file `.git` of a worktree names a directory in the repository, and that directory names the one that all
//! worktrees share. Both are mounted at their paths on the host. Files that git on the host obeys or follows
//! (`config`, `hooks`, `commondir`, the file `.git` itself) are read-only; otherwise the workload could make the next
//! git command on the host run its programs. Objects, refs and the worktree's own directory are writable, because a
//! commit writes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::repository::git;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::GitAccess;
use crate::runtime::WORKSPACE;
use crate::store::{BindMount, Home, Session, make_dir, write_atomically};

/// The directories of the repository that a commit, a fetch and a stash write. A missing one is not mounted.
const WRITABLE_DIRS: [&str; 5] = ["lfs", "logs", "objects", "refs", "reftable"];

/// The files of the worktree's own directory that git on the host obeys. A missing file is created; otherwise the
/// workload could create it.
const WORKTREE_CONFIG: &str = "config.worktree";

/// The mounts that git needs in a container with this workspace; none unless the workspace is the worktree of a
/// session.
pub(crate) fn git_mounts(home: &Home, workspace: &Path) -> Result<GitAccess> {
    let Ok(path) = fs::canonicalize(workspace) else {
        return Ok(GitAccess::default());
    };
    // An unreadable session record is reported by the commands that need it.
    let Ok(Some(session)) = home.owner_of_worktree(&path) else {
        return Ok(GitAccess::default());
    };
    let Some(own) = own_directory(&session) else {
        return Ok(GitAccess::default());
    };
    Ok(GitAccess {
        mounts: mounts(home, &session, &own)?,
        env: identity(&session.repository),
    })
}

/// The worktree's directory in the repository, if both sides name each other.
fn own_directory(session: &Session) -> Option<PathBuf> {
    let link = session.worktree.path.join(".git");
    let text = fs::read_to_string(&link).ok()?;
    let named = text.strip_prefix("gitdir: ")?.trim_end_matches('\n');
    let own = fs::canonicalize(session.worktree.path.join(named)).ok()?;
    let back = fs::read_to_string(own.join("gitdir")).ok()?;
    let back = fs::canonicalize(own.join(back.trim_end_matches('\n'))).ok()?;
    let agree = own.parent() == Some(&session.repository.join("worktrees"))
        && fs::canonicalize(&link).is_ok_and(|link| link == back);
    agree.then_some(own)
}

fn mounts(home: &Home, session: &Session, own: &Path) -> Result<Vec<BindMount>> {
    let common = &session.repository;
    let mut mounts = Vec::new();
    let mut show = |source: PathBuf, target: &Path, readonly: bool| {
        let target = target.to_str().ok_or_else(|| {
            let message = "the path of the repository is not UTF-8";
            Error::new(ErrorKind::Workspace, message).hint("move it to a path in UTF-8")
        })?;
        mounts.push(BindMount {
            source,
            target: target.to_owned(),
            readonly,
        });
        Ok::<(), Error>(())
    };
    show(common.clone(), common, true)?;
    for name in WRITABLE_DIRS {
        let place = common.join(name);
        // Links are not followed; git creates none here.
        if place.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            show(place.clone(), &place, false)?;
        }
    }
    show(own.to_owned(), own, false)?;
    let obeyed = own.join(WORKTREE_CONFIG);
    if obeyed.symlink_metadata().is_err() {
        write_for_workload(&obeyed, "")?;
    }
    for name in [WORKTREE_CONFIG, "commondir"] {
        show(own.join(name), &own.join(name), true)?;
    }
    // The worktree has another path inside the container. git there must neither see the host's path nor correct it.
    let dir = home.session_dir(&session.key);
    make_dir(&dir).map_err(|error| Error::io(ErrorKind::Store, "create", &dir, &error))?;
    let link = format!("{WORKSPACE}/.git");
    for (name, text, target) in [
        (
            "git",
            format!("gitdir: {}\n", own.display()),
            Path::new(&link),
        ),
        ("gitdir", format!("{link}\n"), &own.join("gitdir")),
    ] {
        let file = dir.join(name);
        if !fs::read_to_string(&file).is_ok_and(|there| there == text) {
            write_for_workload(&file, &text)?;
        }
        show(file, target, true)?;
    }
    Ok(mounts)
}

/// Writes a file that the workload's user may read. Its modification time lies in the future: git rewrites a `gitdir`
/// file older than a day, and fails where it cannot.
fn write_for_workload(path: &Path, text: &str) -> Result<()> {
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(50 * 365 * 86400);
    write_atomically(path, text.as_bytes())
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .and_then(|()| {
            fs::File::options()
                .write(true)
                .open(path)?
                .set_modified(later)
        })
        .map_err(|error| Error::io(ErrorKind::Store, "write", path, &error))
}

/// The author of commits: the same as on the host, whose own git configuration is not mounted.
fn identity(common: &Path) -> Vec<(String, String)> {
    let found = git(common, &["config", "--get-regexp", r"^user\.(name|email)$"]);
    let found = found.unwrap_or_default();
    // git uses the last value.
    let value = |key: &str| {
        let mut values = found.lines().filter_map(|line| line.strip_prefix(key));
        values
            .next_back()
            .map(|value| value.trim_start().to_owned())
    };
    let mut variables = Vec::new();
    for (key, what) in [("user.name", "NAME"), ("user.email", "EMAIL")] {
        for who in ["AUTHOR", "COMMITTER"] {
            variables.extend(value(key).map(|value| (format!("GIT_{who}_{what}"), value)));
        }
    }
    variables
}
