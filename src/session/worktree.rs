//! The directory in which the branch of a session is checked out: created from a local, a remote or a new branch, or
//! adopted if it exists. moat never removes a worktree that it did not create, nor uncommitted work.

use std::path::{Component, Path, PathBuf};

use super::member::{BringUp, Member, Scope, Teardown};
use super::operation::OperationContext;
use super::repository::{Repository, git, git_marked, lock_worktrees};
use super::work;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::store::{Claim, Home, ResourceStage, Session, Worktree, make_dir, remove_tree};
use crate::term::{escape_unsafe, shell_word};

/// Describes the future worktree of a branch; nothing is created yet.
pub(super) fn plan(home: &Home, repository: &Repository, branch: &str) -> Worktree {
    let place = repository.place(home, branch);
    let ours = real(&place);
    match repository.tree_of(branch) {
        Some(tree) if tree.path.is_dir() && !(tree.is_incomplete && tree.path == ours) => {
            Worktree {
                created_by_moat: tree.path == ours,
                path: tree.path.clone(),
                stage: ResourceStage::Made,
                operation: None,
                new_branch: None,
            }
        }
        _ => Worktree {
            path: ours,
            created_by_moat: true,
            stage: ResourceStage::Intent,
            operation: None,
            new_branch: None,
        },
    }
}

/// The worktree of a session.
pub(super) struct SessionWorktree;

impl Member for SessionWorktree {
    fn is_complete(&self, _home: &Home, session: &Session) -> bool {
        session.worktree.stage == ResourceStage::Made
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        make(up.context, claim, up.repository)
    }

    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let (context, session) = (teardown.context, teardown.session);
        let tree = &session.worktree;
        let (is_meant, force) = match teardown.scope {
            Scope::Session {
                remove_worktree,
                force,
            } => (remove_worktree, force),
            _ => (is_undone(teardown), false),
        };
        if !is_meant {
            return Ok(());
        }
        // A user may have worked in the worktree since it was created, or since `down` began; if moat was killed, git
        // may have continued alone.
        if tree.path.is_dir()
            && !force
            && let Some(work) = work::of_session(session)
        {
            (context.notify)(&work.kept_message(&tree.path));
            teardown.left.kept_worktree = Some(tree.path.clone());
            return Ok(());
        }
        let is_gone = remove_or_warn(context, session);
        if let Scope::Operation { .. } = teardown.scope {
            teardown.checkpoint("worktree");
            if let Some(commit) = &tree.new_branch {
                remove_branch(&session.repository, &session.branch, commit);
            }
        } else if is_gone {
            teardown.checkpoint("worktree");
        } else {
            teardown.left.kept_worktree = Some(tree.path.clone());
        }
        Ok(())
    }

    fn forget(&self, teardown: &Teardown<'_>, record: &mut Session) {
        if is_undone(teardown) && teardown.left.kept_worktree.is_none() {
            record.worktree.stage = ResourceStage::Intent;
            record.worktree.operation = None;
            record.worktree.new_branch = None;
        }
    }
}

/// Whether the teardown rolls back the `up` that created the worktree.
fn is_undone(teardown: &Teardown<'_>) -> bool {
    let tree = &teardown.session.worktree;
    match teardown.scope {
        Scope::Operation { id, .. } => {
            tree.operation.as_deref() == Some(id) && tree.created_by_moat
        }
        _ => false,
    }
}

/// The path as git reports it: links in the existing part are resolved.
fn real(path: &Path) -> PathBuf {
    match (std::fs::canonicalize(path), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

/// The origin of the branch of a new worktree.
enum BranchOrigin {
    Local,
    Remote(String),
    /// A new branch that begins at this commit.
    New(String),
}

/// A file of the worktree of a branch, or, before the worktree exists, of the commit that it will have.
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

/// Creates the worktree if it does not exist.
fn make(context: &OperationContext<'_>, claim: &mut Claim, repository: &Repository) -> Result<()> {
    let session = claim.record()?.clone();
    let path = session.worktree.path.clone();
    if path.is_dir() && session.worktree.stage == ResourceStage::Made {
        return Ok(());
    }
    let branch = session.branch.as_str();
    let operation = claim.id().to_owned();
    context.check()?;
    let is_left = session.worktree.operation.as_deref() == Some(claim.id());
    let mut trees = repository.trees.iter();
    let is_torn = trees.any(|tree| tree.is_incomplete && tree.path == path);
    let has_parts = path.exists() && (is_left || is_torn);
    if has_parts && work::is_untouched(&repository.common, &path).unwrap_or_default() {
        // The worktree of a killed operation may lack files.
        remove(context.home, &repository.common, &path)?;
    }
    let Some(_alone) = lock_worktrees(context.home, &repository.common, context.should_continue)?
    else {
        return context.check();
    };
    if path.exists() && std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        let what = match is_torn {
            true => "git was interrupted while it created it, and files were added since",
            false => "it is not the worktree of that branch",
        };
        let shown = escape_unsafe(&path.display().to_string());
        let message = format!("{shown} is in the way of '{branch}': {what}");
        let place = path.to_string_lossy();
        let (from, to) = (shell_word(&place), shell_word(&format!("{place}.old")));
        let hint = format!("move that directory away: mv {from} {to}");
        return Err(Error::new(ErrorKind::Workspace, message).hint(hint));
    }
    let origin = origin(&repository.main, branch)?;
    let new_branch = match &origin {
        BranchOrigin::New(commit) => Some(commit.clone()),
        BranchOrigin::Remote(remote) => Some(commit(&repository.main, remote)?),
        // A directory may remain from an earlier attempt.
        BranchOrigin::Local => session.worktree.new_branch.clone(),
    };
    claim.update(&mut |session| {
        session.worktree.stage = ResourceStage::Intent;
        session.worktree.operation = Some(operation.clone());
        session.worktree.new_branch = new_branch.clone();
    })?;
    checkpoint("session-worktree-intent");
    add_worktree(context, repository, &session, &origin)?;
    checkpoint("session-worktree-made");
    claim.update(&mut |session| session.worktree.stage = ResourceStage::Made)
}

fn add_worktree(
    context: &OperationContext<'_>,
    repository: &Repository,
    session: &Session,
    origin: &BranchOrigin,
) -> Result<()> {
    let (path, branch) = (&session.worktree.path, session.branch.as_str());
    if let Some(parent) = path.parent() {
        make_dir(parent).map_err(|error| Error::io(ErrorKind::Store, "create", parent, &error))?;
    }
    // git still lists a worktree whose directory the user removed. Only this entry is pruned: other worktrees may be
    // on a disk that is not mounted now.
    for gone in repository.trees.iter().filter(|tree| {
        (tree.path == *path || tree.branch.as_deref() == Some(branch)) && !tree.path.exists()
    }) {
        let gone = gone.path.to_string_lossy();
        let _ = git(&repository.main, &["worktree", "remove", "--force", &gone]);
    }
    refuse_links(&repository.common)?;
    let place = path.to_str().ok_or_else(|| {
        let message = "the path of the worktree is not UTF-8";
        Error::new(ErrorKind::Workspace, message)
    })?;
    let mut args = vec!["worktree", "add", "--quiet"];
    match origin {
        BranchOrigin::Local => args.extend([place, branch]),
        BranchOrigin::Remote(remote) => args.extend(["--track", "-b", branch, place, remote]),
        BranchOrigin::New(commit) => args.extend(["--no-track", "-b", branch, place, commit]),
    }
    // git continues if moat is killed; therefore the process is marked.
    git_marked(context, &repository.main, &args, &session.mark(".git"))
        .map_err(|error| explain_checkout(&repository.main, error))?;
    ensure_working_tree(path)
}

/// Adds a hint to the error of a checkout: git names neither the hook that failed nor the program that is missing.
fn explain_checkout(main: &Path, error: Error) -> Error {
    if error.message.contains("smudge filter") || error.message.contains("filter-process") {
        return error
            .hint("a filter of .gitattributes needs a program (such as git-lfs): install it");
    }
    let hook = git(main, &["rev-parse", "--git-path", "hooks/post-checkout"]).unwrap_or_default();
    match main.join(hook.trim_end()) {
        hook if hook.is_file() => {
            let shown = escape_unsafe(&hook.display().to_string());
            let message = format!("git fails if its hook fails; the hook of a checkout is {shown}");
            error.hint(message)
        }
        _ => error,
    }
}

/// Corrects a worktree that git takes for a bare repository: with `extensions.worktreeConfig`, `core.bare` of the
/// repository applies to all its worktrees.
fn ensure_working_tree(path: &Path) -> Result<()> {
    let is_outside = || {
        git(path, &["rev-parse", "--is-inside-work-tree"]).is_ok_and(|text| text.trim() == "false")
    };
    if is_outside() {
        git(path, &["config", "--worktree", "core.bare", "false"])?;
    }
    match is_outside() {
        false => Ok(()),
        true => {
            let message = format!("git does not take {} for a working tree", path.display());
            Err(Error::new(ErrorKind::Workspace, message).hint(
                "see core.bare and core.worktree in the configuration of the repository, and: git help worktree",
            ))
        }
    }
}

/// git follows links in the directories of its branches and reflogs, where a workload may have put some.
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
    let shown = escape_unsafe(&path.display().to_string());
    let message = format!("{shown} is a link or no regular file: git would write to its target");
    Error::new(ErrorKind::Workspace, message)
        .hint("inspect it (a workload may have created it), then remove it")
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
                .hint("create the branch first: git branch --track"))
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

/// Removes a worktree that moat created, with all its files, and checks that it is gone.
pub(crate) fn remove(home: &Home, common: &Path, path: &Path) -> Result<()> {
    let _alone = lock_worktrees(home, common, &|| true)?;
    let shown = path.to_string_lossy();
    // git requires --force twice for a locked worktree.
    let removed = git(
        common,
        &["worktree", "remove", "--force", "--force", &shown],
    );
    if path.exists() {
        remove_tree(path)
            .map_err(|error| Error::io(ErrorKind::Workspace, "remove", path, &error))?;
    }
    if removed.is_err() {
        // The directory is gone, so git prunes the entry in any case.
        let _ = git(
            common,
            &["worktree", "remove", "--force", "--force", &shown],
        );
    }
    if let Some(parent) = path.parent() {
        // Removed together with the last worktree in it.
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

/// Removes the worktree of a session. Files of another user (of a container whose workload was root, for example)
/// must not block the session for ever: the directory stays, and a warning says so. Returns whether the directory is
/// gone.
pub(super) fn remove_or_warn(context: &OperationContext<'_>, session: &Session) -> bool {
    let path = &session.worktree.path;
    let Err(error) = remove(context.home, &session.repository, path) else {
        return true;
    };
    let (why, quoted) = (
        escape_unsafe(&error.message),
        shell_word(&path.to_string_lossy()),
    );
    (context.warn)(&format!(
        "{why}; the rest of the directory stays\n  hint: sudo rm -rf {quoted}"
    ));
    false
}

/// Removes a branch that an operation created, if it has no new commits.
fn remove_branch(common: &Path, branch: &str, commit: &str) {
    let name = format!("refs/heads/{branch}");
    if git(common, &["update-ref", "-d", &name, commit]).is_ok() {
        let section = format!("branch.{branch}");
        let _ = git(common, &["config", "--remove-section", &section]);
    }
}

/// The worktrees that moat created for a repository and that belong to no session.
pub(crate) fn unused(home: &Home, repository: &Repository) -> Result<Vec<PathBuf>> {
    let root = real(&home.worktrees(&repository.key("").repository));
    let sessions = home.sessions()?;
    let is_used = |path: &Path| sessions.iter().any(|session| session.worktree.path == path);
    let trees = repository.trees.iter().map(|tree| tree.path.clone());
    Ok(trees
        .filter(|path| path.starts_with(&root) && !is_used(path))
        .collect())
}
