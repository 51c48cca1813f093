//! The directory where the branch of a session is checked out: made from a local, a remote or a new branch, or
//! adopted where it is. What moat did not make is never removed, and neither is work that is not committed.

use std::path::{Component, Path, PathBuf};

use super::operation::OperationContext;
use super::repository::{
    Repository, git, git_marked, git_untrusted, git_untrusted_incomplete, lock_worktrees,
};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::store::{
    Claim, CreatedFileKind, Home, ResourceStage, Session, Worktree, make_dir, remove_tree,
};
use crate::term::{harmless, word};

/// Asks git what is not committed, one entry for each file.
const STATUS_ARGS: [&str; 5] = [
    "status",
    "--porcelain",
    "-z",
    "--untracked-files=all",
    "--no-renames",
];

/// What will be the worktree of a branch; nothing is made yet.
pub(super) fn plan(home: &Home, repository: &Repository, branch: &str) -> Worktree {
    let place = repository.place(home, branch);
    let ours = real(&place);
    match repository.tree_of(branch) {
        Some(tree) if tree.path.is_dir() && !(tree.torn && tree.path == ours) => Worktree {
            ours: tree.path == ours,
            path: tree.path.clone(),
            stage: ResourceStage::Made,
            operation: None,
            new_branch: None,
        },
        _ => Worktree {
            path: ours,
            ours: true,
            stage: ResourceStage::Intent,
            operation: None,
            new_branch: None,
        },
    }
}

/// As git will tell it: without links in the part that exists.
fn real(path: &Path) -> PathBuf {
    match (std::fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

/// Where a new worktree gets its branch from.
enum BranchOrigin {
    Local,
    Remote(String),
    /// A new branch that begins at this commit.
    New(String),
}

/// A file of the worktree of a branch as it is, or, where there is no worktree yet, as it would be.
pub(super) fn read(
    home: &Home,
    repository: &Repository,
    branch: &str,
    file: &Path,
) -> Option<String> {
    let tree = plan(home, repository, branch).path;
    if tree.is_dir() {
        return crate::yaml::read_file(&tree.join(file), "").ok()?;
    }
    let commit = match origin(&repository.main, branch).ok()? {
        BranchOrigin::Local => format!("refs/heads/{branch}"),
        BranchOrigin::Remote(name) | BranchOrigin::New(name) => name,
    };
    let parts = file.components().filter(|part| *part != Component::CurDir);
    let name = format!("{commit}:{}", parts.collect::<PathBuf>().display());
    git(&repository.main, &["cat-file", "blob", &name]).ok()
}

/// Makes the worktree if there is none.
pub(super) fn make(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    repository: &Repository,
) -> Result<()> {
    let Some(session) = claim.session().cloned() else {
        return Ok(());
    };
    let path = session.worktree.path.clone();
    if path.is_dir() && session.worktree.stage == ResourceStage::Made {
        return Ok(());
    }
    let branch = session.branch.as_str();
    let operation = claim.id().to_owned();
    context.check()?;
    let is_left = session.worktree.operation.as_deref() == Some(claim.id());
    let mut trees = repository.trees.iter();
    let is_torn = trees.any(|tree| tree.torn && tree.path == path);
    let has_parts = path.exists() && (is_left || is_torn);
    if has_parts && is_untouched(&repository.common, &path).unwrap_or_default() {
        // What a killed one has left of it may lack files.
        remove(context.home, &repository.common, &path)?;
    }
    let Some(_alone) = lock_worktrees(context.home, &repository.common, context.should_continue)?
    else {
        return context.check();
    };
    if path.exists() && std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        let what = match is_torn {
            true => "git was ended while it made it, and somebody has worked in it since",
            false => "it is not the worktree of that branch",
        };
        let message = format!("{} is in the way of '{branch}': {what}", path.display());
        return Err(Error::new(ErrorKind::Workspace, message).hint("move it away"));
    }
    let origin = origin(&repository.main, branch)?;
    let new_branch = match &origin {
        BranchOrigin::New(commit) => Some(commit.clone()),
        BranchOrigin::Remote(remote) => Some(commit(&repository.main, remote)?),
        // It may be of a try before.
        BranchOrigin::Local => session.worktree.new_branch.clone(),
    };
    claim.update(&mut |session| {
        session.worktree.stage = ResourceStage::Intent;
        session.worktree.operation = Some(operation.clone());
        session.worktree.new_branch = new_branch.clone();
    })?;
    checkpoint("session-worktree-intent");
    if let Some(parent) = path.parent() {
        make_dir(parent).map_err(|error| Error::io(ErrorKind::Store, "make", parent, &error))?;
    }
    // One whose directory was removed by hand is in git's list still. Only this one: others may be on a disk that is
    // not there just now.
    for gone in repository.trees.iter().filter(|tree| {
        (tree.path == path || tree.branch.as_deref() == Some(branch)) && !tree.path.exists()
    }) {
        let gone = gone.path.to_string_lossy();
        let _ = git(&repository.main, &["worktree", "remove", "--force", &gone]);
    }
    refuse_links(&repository.common)?;
    let place = path.to_str().ok_or_else(|| {
        Error::new(
            ErrorKind::Workspace,
            "the path of the worktree is not UTF-8",
        )
    })?;
    let mut args = vec!["worktree", "add", "--quiet"];
    match &origin {
        BranchOrigin::Local => args.extend([place, branch]),
        BranchOrigin::Remote(remote) => args.extend(["--track", "-b", branch, place, remote]),
        BranchOrigin::New(commit) => args.extend(["--no-track", "-b", branch, place, commit]),
    }
    // If we are killed it goes on; so it is marked as well.
    git_marked(context, &repository.main, &args, &session.mark(".git"))?;
    checkpoint("session-worktree-made");
    claim.update(&mut |session| session.worktree.stage = ResourceStage::Made)
}

/// git follows links where it keeps branches and their history, and a workload may have put some there.
fn refuse_links(common: &Path) -> Result<()> {
    let mut dirs: Vec<PathBuf> = ["refs", "logs"].map(|name| common.join(name)).into();
    while let Some(dir) = dirs.pop() {
        let is_link = dir.is_symlink();
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for entry in entries.filter(|_| !is_link) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => {}
                _ => return Err(unexpected_file_error(&entry.path())),
            }
        }
        if is_link {
            return Err(unexpected_file_error(&dir));
        }
    }
    Ok(())
}

fn unexpected_file_error(path: &Path) -> Error {
    let shown = harmless(&path.display().to_string());
    let message = format!("{shown} is a link, or no file: git would write where it leads");
    Error::new(ErrorKind::Workspace, message)
        .hint("look what it is; a workload may have made it; then remove it")
}

fn origin(main: &Path, branch: &str) -> Result<BranchOrigin> {
    let local = format!("refs/heads/{branch}");
    if git(main, &["show-ref", "--verify", "--quiet", &local]).is_ok() {
        return Ok(BranchOrigin::Local);
    }
    let remotes = git(main, &["remote"])?;
    let has_it = |remote: &&str| {
        let name = format!("refs/remotes/{remote}/{branch}");
        git(main, &["show-ref", "--verify", "--quiet", &name]).is_ok()
    };
    let found: Vec<&str> = remotes.lines().filter(has_it).collect();
    let chosen = found.iter().find(|remote| **remote == "origin");
    match (chosen, &found[..]) {
        (Some(remote), _) | (None, [remote]) => {
            Ok(BranchOrigin::Remote(format!("{remote}/{branch}")))
        }
        (None, []) => Ok(BranchOrigin::New(commit(main, "HEAD")?)),
        (None, several) => {
            let message = format!("several remotes have '{branch}': {}", several.join(", "));
            Err(Error::new(ErrorKind::Workspace, message)
                .hint("make the branch first: git branch --track"))
        }
    }
}

fn commit(main: &Path, name: &str) -> Result<String> {
    let name = format!("{name}^{{commit}}");
    let text = git(main, &["rev-parse", "--verify", "--quiet", &name]).map_err(|_| {
        Error::new(
            ErrorKind::Workspace,
            "the repository has no commit that a new branch could begin at",
        )
        .hint("make a first commit")
    })?;
    Ok(text.trim_end().to_owned())
}

/// Whether nothing is lost with the worktree of a session, as far as that was made. If it cannot be told, something is.
pub(super) fn has_no_work(session: &Session) -> bool {
    let (common, tree) = (&session.repository, &session.worktree);
    let found = match tree.stage {
        ResourceStage::Made => is_clean(common, &tree.path, Some(session)),
        _ => is_untouched(common, &tree.path),
    };
    found.unwrap_or_default()
}

/// Whether nothing is lost with a worktree: all is committed, on a branch. `session`: whose files are known.
pub(crate) fn is_clean(common: &Path, path: &Path, session: Option<&Session>) -> Result<bool> {
    let head = git_untrusted(common, path, &["symbolic-ref", "--quiet", "HEAD"]);
    if !matches!(head, Ok(Some(_))) {
        return Ok(false);
    }
    // In a submodule git would obey that one's configuration, which a workload may have written.
    let args = [&STATUS_ARGS[..], &["--ignore-submodules=dirty"]].concat();
    let status = git_untrusted(common, path, &args)?.unwrap_or_default();
    let index =
        git_untrusted(common, path, &["ls-files", "--stage", "-v", "-z"])?.unwrap_or_default();
    if has_submodules(path, &index) || has_hidden(path, &index) {
        return Ok(false);
    }
    let files = session.map_or(&[][..], |session| &session.files);
    // git is told not to look at these, whatever is in their place.
    let mut unseen = files
        .iter()
        .filter(|file| file.how == CreatedFileKind::Variables);
    if !unseen.all(|file| super::files::is_unchanged(path, file)) {
        return Ok(false);
    }
    let ours = |entry: &str| {
        let name = entry.get(3..).unwrap_or_default();
        let unknown = entry.starts_with("??");
        unknown
            && files
                .iter()
                .any(|file| file.path == Path::new(name) && super::files::is_unchanged(path, file))
    };
    Ok(status.split_terminator('\0').all(ours))
}

/// Whether a worktree whose making was cut off has nothing but what git has put there, as far as it came.
pub(super) fn is_untouched(common: &Path, path: &Path) -> Result<bool> {
    let Some(status) = git_untrusted_incomplete(common, path, &STATUS_ARGS)? else {
        // git does not know it: not yet, or not any more.
        let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return Ok(entries.all(|entry| entry.file_name() == ".git"));
    };
    let is_missing = |entry: &str| entry.starts_with(" D") || entry.starts_with("D ");
    Ok(status.split_terminator('\0').all(is_missing))
}

/// Whether there is a submodule that is checked out: nobody has looked whether it has work in it.
fn has_submodules(path: &Path, index: &str) -> bool {
    let mut names = index.split_terminator('\0').filter_map(|entry| {
        let (about, name) = entry.split_once('\t')?;
        about.contains(" 160000 ").then_some(name)
    });
    names.any(|name| path.join(name).join(".git").symlink_metadata().is_ok())
}

/// Whether there are files that git was told not to look at: a small letter says `assume-unchanged`, and an `S`
/// `skip-worktree`, which is there for files that are not.
fn has_hidden(path: &Path, index: &str) -> bool {
    let mut entries = index.split_terminator('\0').filter_map(|entry| {
        let (about, name) = entry.split_once('\t')?;
        Some((about.chars().next()?, name))
    });
    entries.any(|(tag, name)| {
        tag.is_ascii_lowercase() || tag == 'S' && path.join(name).symlink_metadata().is_ok()
    })
}

/// What is said of a worktree that is not removed.
pub(crate) fn kept_worktree_message(path: &Path) -> String {
    let shown = harmless(&path.display().to_string());
    format!("note: {shown} stays: there is work in it that is not committed")
}

/// Removes a worktree that moat made, whatever is in it, and makes sure that it is gone.
pub(crate) fn remove(home: &Home, common: &Path, path: &Path) -> Result<()> {
    let _alone = lock_worktrees(home, common, &|| true)?;
    let shown = path.to_string_lossy();
    // Twice, as one that somebody locked needs that.
    let removed = git(
        common,
        &["worktree", "remove", "--force", "--force", &shown],
    );
    if path.exists() {
        remove_tree(path)
            .map_err(|error| Error::io(ErrorKind::Workspace, "remove", path, &error))?;
    }
    if removed.is_err() {
        // Now that the directory is gone, git forgets it, whatever was wrong with it.
        let _ = git(
            common,
            &["worktree", "remove", "--force", "--force", &shown],
        );
    }
    if let Some(parent) = path.parent() {
        // Goes with the last worktree in it.
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

/// The same for a session, which must not be held for good by what somebody else has put there, such as a container
/// whose workload was root: then the directory stays, and that is said. Whether it is gone.
pub(super) fn remove_or_warn(context: &OperationContext<'_>, session: &Session) -> bool {
    let path = &session.worktree.path;
    let Err(error) = remove(context.home, &session.repository, path) else {
        return true;
    };
    let (why, quoted) = (harmless(&error.message), word(&path.to_string_lossy()));
    (context.warn)(&format!(
        "{why}; what is left of it stays\n  hint: sudo rm -rf {quoted}"
    ));
    false
}

/// Removes a branch that an operation made, if nothing was committed to it since.
pub(super) fn remove_branch(common: &Path, branch: &str, commit: &str) {
    let name = format!("refs/heads/{branch}");
    if git(common, &["update-ref", "-d", &name, commit]).is_ok() {
        let section = format!("branch.{branch}");
        let _ = git(common, &["config", "--remove-section", &section]);
    }
}

/// The worktrees that moat made for a repository, and that belong to no session any more.
pub(crate) fn unused(home: &Home, repository: &Repository) -> Result<Vec<PathBuf>> {
    let root = real(&home.worktrees(&repository.key("").repository));
    let sessions = home.sessions()?;
    let is_used = |path: &Path| sessions.iter().any(|session| session.worktree.path == path);
    let trees = repository.trees.iter().map(|tree| tree.path.clone());
    Ok(trees
        .filter(|path| path.starts_with(&root) && !is_used(path))
        .collect())
}
