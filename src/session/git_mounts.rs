//! git in a container whose workspace is the worktree of a session.
//!
//! A worktree has a file `.git` that leads to a directory of its own in the repository, and that one leads on to
//! what all worktrees share. So both are shown at their places on the host. What git on the host obeys or is led
//! by (`config`, `hooks`, `commondir`, the file `.git` itself) is read-only, or the workload could have whoever
//! calls git next run its commands. Objects, refs and the worktree's own directory can be written: that is what
//! a commit is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::repository::git;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::GitAccess;
use crate::runtime::WORKSPACE;
use crate::store::{BindMount, Home, Session, make_dir, write_atomically};

/// What of the repository a commit, a fetch and a stash change. That which is not there is not shown.
const WRITABLE_DIRS: [&str; 5] = ["lfs", "logs", "objects", "refs", "reftable"];

/// What of the worktree's own directory git on the host obeys; made where it is missing, as else the workload would.
const WORKTREE_CONFIG: &str = "config.worktree";

/// What git needs in a container with this workspace: nothing, unless it is the worktree of a session.
pub(crate) fn git_mounts(home: &Home, workspace: &Path) -> Result<GitAccess> {
    let Ok(path) = fs::canonicalize(workspace) else {
        return Ok(GitAccess::default());
    };
    // A record that cannot be read is the matter of those who need it.
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

/// The worktree's directory in the repository, if both agree that it is that.
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
            Error::new(ErrorKind::Workspace, message).hint("move it to another one")
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
        // Not through a link, which git would not need.
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
    // Inside, the worktree is elsewhere: git must neither be told otherwise nor correct what is on the host.
    let dir = home.session_dir(&session.key);
    make_dir(&dir).map_err(|error| Error::io(ErrorKind::Store, "make", &dir, &error))?;
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

/// Writes a file that the workload's user may read. It is of a time to come: git writes a `gitdir` anew that is
/// older than a day, and fails where it cannot.
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

/// Who commits: the same as on the host, whose own configuration is not inside.
fn identity(common: &Path) -> Vec<(String, String)> {
    let found = git(common, &["config", "--get-regexp", r"^user\.(name|email)$"]);
    let found = found.unwrap_or_default();
    // The last one counts.
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
