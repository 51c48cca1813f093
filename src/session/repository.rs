//! Queries git about a repository and its worktrees. git's output never reaches moat's stdout.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::marked_processes::PROCESS_MARK_VARIABLE;
use super::operation::OperationContext;
use crate::error::{Error, ErrorKind, Result};
use crate::program;
use crate::runtime::child::{self, CommandOutput};
use crate::store::{CreationLock, Home, SessionKey, key_of};

/// Timeout of git. A checkout of a large repository takes minutes, any other command much less.
const GIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A repository, and the paths at which its branches are checked out.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// The directory that all worktrees share.
    pub(crate) common: PathBuf,
    /// The main checkout; the directory itself for a bare repository.
    pub(crate) main: PathBuf,
    pub(crate) trees: Vec<GitWorktree>,
    /// The index in `trees` of the worktree that contains the current directory.
    here: Option<usize>,
}

/// A worktree that git lists; its directory may be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GitWorktree {
    pub(crate) path: PathBuf,
    /// Not set: no branch is checked out.
    pub(crate) branch: Option<String>,
    pub(crate) is_bare: bool,
    /// git is creating the worktree, or was ended before it was done.
    pub(crate) is_incomplete: bool,
}

impl Repository {
    /// The repository that contains a directory.
    pub(crate) fn discover(dir: &Path) -> Result<Repository> {
        let args = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        let found = run(dir, &args, None, &|| true)?;
        if !found.success && found.stderr.contains("not a git repository") {
            let message = format!("'{}' is not in a git repository", dir.display());
            return Err(Error::new(ErrorKind::Workspace, message)
                .hint("a session belongs to a branch: change to a directory in a git repository"));
        }
        let common = stdout(&args, found)?;
        // The path contained bytes that are not UTF-8.
        if common.contains(char::REPLACEMENT_CHARACTER) {
            let message = "the path of the repository is not UTF-8";
            return Err(Error::new(ErrorKind::Workspace, message).hint("rename its directory"));
        }
        let common = PathBuf::from(common.trim_end_matches('\n'));
        let common = std::fs::canonicalize(&common).unwrap_or(common);
        let mut trees = parse(&git(dir, &["worktree", "list", "--porcelain"])?);
        let Some(first) = trees.first_mut() else {
            return Err(Error::new(
                ErrorKind::Workspace,
                "git lists no worktree of this repository",
            ));
        };
        if !first.is_bare && first.path == common {
            first.path = main_checkout(dir, &common)?;
        }
        let main = first.path.clone();
        let here = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let inside =
            |tree: &&(usize, &GitWorktree)| !tree.1.is_bare && here.starts_with(&tree.1.path);
        let here = trees
            .iter()
            .enumerate()
            .filter(|tree| inside(&tree))
            .max_by_key(|(_, tree)| tree.path.components().count());
        Ok(Repository {
            main,
            here: here.map(|(place, _)| place),
            common,
            trees,
        })
    }

    /// The requested branch, or the branch that is checked out in the current directory.
    pub(crate) fn branch(&self, given: Option<&str>) -> Result<String> {
        let Some(name) = given else {
            let here = self.here.and_then(|place| self.trees.get(place));
            return here.and_then(|tree| tree.branch.clone()).ok_or_else(|| {
                Error::usage("no branch is checked out here").hint("name one: moat up BRANCH")
            });
        };
        let good = !name.starts_with('-')
            && git(&self.common, &["check-ref-format", "--branch", name])
                .is_ok_and(|text| text.trim_end_matches('\n') == name);
        match good {
            true => Ok(name.to_owned()),
            false => {
                let shown = crate::term::escape_unsafe(name);
                Err(
                    Error::usage(format!("'{shown}' is not a valid branch name"))
                        .hint("see: git help check-ref-format"),
                )
            }
        }
    }

    /// Whether the current directory is in this worktree.
    pub(crate) fn is_in(&self, path: &Path) -> bool {
        let here = self.here.and_then(|place| self.trees.get(place));
        here.is_some_and(|tree| tree.path == path)
    }

    pub(crate) fn key(&self, branch: &str) -> SessionKey {
        key_of(&self.common, branch)
    }

    /// The path at which a branch is checked out. The directory may be gone.
    pub(crate) fn tree_of(&self, branch: &str) -> Option<&GitWorktree> {
        let is_it = |tree: &&GitWorktree| tree.branch.as_deref() == Some(branch);
        self.trees.iter().find(is_it)
    }

    /// The path of the worktree that moat creates for a branch.
    pub(crate) fn place(&self, home: &Home, branch: &str) -> PathBuf {
        let key = self.key(branch);
        home.worktrees(&key.repository).join(key.branch)
    }

    /// The directory of the project's configuration: the main checkout, or without one the current directory.
    pub(crate) fn config_dir(&self) -> &Path {
        let here = self.here.and_then(|place| self.trees.get(place));
        match (self.trees.first(), here) {
            (Some(main), Some(here)) if main.is_bare => &here.path,
            _ => &self.main,
        }
    }
}

/// The main checkout of a repository that lies elsewhere, such as a submodule's: git lists the repository instead.
fn main_checkout(dir: &Path, common: &Path) -> Result<PathBuf> {
    let own = git(dir, &["rev-parse", "--absolute-git-dir"])?;
    let is_here = std::fs::canonicalize(own.trim_end_matches('\n')).is_ok_and(|own| own == common);
    let from = if is_here { dir } else { common };
    let top = git(from, &["rev-parse", "--show-toplevel"]).map_err(|_| {
        Error::new(
            ErrorKind::Workspace,
            "git does not report the main checkout of this repository",
        )
        .hint("go there")
    })?;
    let top = PathBuf::from(top.trim_end_matches('\n'));
    Ok(std::fs::canonicalize(&top).unwrap_or(top))
}

/// Locks the worktrees of a repository. git's own locks make a second command fail instead of wait.
pub(super) fn lock_worktrees(
    home: &Home,
    common: &Path,
    should_continue: &dyn Fn() -> bool,
) -> Result<Option<CreationLock>> {
    let key = key_of(common, "");
    home.lock_creation(&format!("git-{}", key.repository), should_continue)
}

/// Runs git in a directory and returns its stdout.
pub(super) fn git(dir: &Path, args: &[&str]) -> Result<String> {
    call(dir, args, None, &|| true)
}

/// Runs git as a marked process of a session, which is ended if the operation is cancelled.
pub(super) fn git_marked(
    context: &OperationContext<'_>,
    dir: &Path,
    args: &[&str],
    mark: &str,
) -> Result<String> {
    let done = call(
        dir,
        args,
        Some((PROCESS_MARK_VARIABLE, mark)),
        context.should_continue,
    );
    // A cancelled operation reports the cancellation, not git's error.
    done.or_else(|error| context.check().and(Err(error)))
}

/// Queries a worktree without obeying its files: a workload may have written its `.git`. `None`: the directory is no
/// worktree of the repository.
pub(super) fn git_untrusted(common: &Path, tree: &Path, args: &[&str]) -> Result<Option<String>> {
    run_untrusted(common, tree, None, args)
}

/// Queries a worktree in which git may have been killed before it wrote the index, which it writes last: the query
/// uses a temporary index made from HEAD.
pub(super) fn git_untrusted_incomplete(
    common: &Path,
    tree: &Path,
    args: &[&str],
) -> Result<Option<String>> {
    let own = own_directory(common, tree).filter(|own| !own.join("index").exists());
    let Some(own) = own else {
        return git_untrusted(common, tree, args);
    };
    let index = own.join("moat-index");
    let named = index.to_str();
    let seen = run_untrusted(common, tree, named, &["read-tree", "HEAD"])
        .and_then(|_| run_untrusted(common, tree, named, args));
    let _ = std::fs::remove_file(&index);
    seen
}

fn run_untrusted(
    common: &Path,
    tree: &Path,
    index: Option<&str>,
    args: &[&str],
) -> Result<Option<String>> {
    let Some(own) = own_directory(common, tree) else {
        return Ok(None);
    };
    let (own, shown) = (own.to_string_lossy(), tree.to_string_lossy());
    let dirs = [format!("--git-dir={own}"), format!("--work-tree={shown}")];
    let quiet = [
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
    ];
    let first = quiet.into_iter().chain(dirs.iter().map(String::as_str));
    let all: Vec<&str> = first.chain(args.iter().copied()).collect();
    let index = index.map(|index| ("GIT_INDEX_FILE", index));
    call(tree, &all, index, &|| true).map(Some)
}

/// The reason for which somebody locked a worktree (`git worktree lock`); empty without a reason. The lock that git
/// itself sets while it creates the worktree does not count.
pub(super) fn lock_reason(common: &Path, tree: &Path) -> Option<String> {
    let lock = own_directory(common, tree)?.join("locked");
    lock.symlink_metadata().ok()?;
    let reason = small_file(&lock).unwrap_or_default().trim().to_owned();
    (reason != "initializing").then_some(reason)
}

/// The repository's entry of a worktree, found from the repository's side.
fn own_directory(common: &Path, tree: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(tree).ok()?;
    let is_its = |own: &PathBuf| {
        let text = small_file(&own.join("gitdir")).unwrap_or_default();
        let parent = Path::new(text.trim_end())
            .parent()
            .map(std::fs::canonicalize);
        parent.is_some_and(|parent| parent.is_ok_and(|parent| parent == real))
    };
    let entries = std::fs::read_dir(common.join("worktrees")).ok()?.flatten();
    entries.map(|entry| entry.path()).find(is_its)
}

/// The text of a file of any kind; a pipe or an endless file is not waited for.
pub(super) fn small_file(path: &Path) -> Option<String> {
    const MAX_SMALL_FILE_BYTES: u64 = 1 << 20;
    let about = path.symlink_metadata().ok()?;
    let is_fine = about.is_file() && about.len() <= MAX_SMALL_FILE_BYTES;
    is_fine.then(|| std::fs::read_to_string(path).ok())?
}

fn call(
    dir: &Path,
    args: &[&str],
    variable: Option<(&str, &str)>,
    should_continue: &dyn Fn() -> bool,
) -> Result<String> {
    stdout(args, run(dir, args, variable, should_continue)?)
}

fn run(
    dir: &Path,
    args: &[&str],
    variable: Option<(&str, &str)>,
    should_continue: &dyn Fn() -> bool,
) -> Result<CommandOutput> {
    let mut command = program::call("git");
    command.arg("-C").arg(dir).args(args).env("LC_ALL", "C");
    // A query must not write: a path in the worktree may be a link to another place.
    command.env("GIT_OPTIONAL_LOCKS", "0");
    command.envs(variable);
    if variable.is_none_or(|(name, _)| name != PROCESS_MARK_VARIABLE) {
        child::isolate(&mut command);
    }
    child::run_with_grace(&mut command, GIT_TIMEOUT, should_continue)
        .map_err(|error| git_failure(dir, subcommand(args), &error))
}

fn subcommand<'a>(args: &[&'a str]) -> &'a str {
    let mut words = args.iter();
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
    name.copied().unwrap_or_default()
}

/// The output of git; fails with git's message.
fn stdout(args: &[&str], output: CommandOutput) -> Result<String> {
    match output.success {
        true => Ok(output.stdout),
        false => {
            let name = subcommand(args);
            let lines = output.stderr.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("hint: "));
            let words: Vec<&str> = lines
                .map(|line| line.trim_start_matches("fatal: "))
                .collect();
            let message = format!("git {name}: {}", words.join("; "));
            Err(Error::new(ErrorKind::Workspace, message))
        }
    }
}

/// The error for a git command that did not complete.
fn git_failure(dir: &Path, name: &str, error: &io::Error) -> Error {
    let failed = |message: String| Error::new(ErrorKind::Workspace, message);
    let cannot_run = || {
        failed(format!(
            "cannot run git: {}",
            crate::error::os_error_text(error)
        ))
    };
    match error.kind() {
        io::ErrorKind::NotFound => cannot_run().hint("install git 2.31 or newer"),
        io::ErrorKind::TimedOut => {
            let minutes = GIT_TIMEOUT.as_secs() / 60;
            failed(format!("git {name} did not finish within {minutes} minutes")).hint(format!(
                "find out whether git waits for a hook, a filter, a lock or the file system: git -C {} status",
                crate::term::shell_word(&dir.to_string_lossy())
            ))
        }
        _ => cannot_run(),
    }
}

/// Parses `git worktree list --porcelain`: one paragraph for each worktree, the main one first.
fn parse(text: &str) -> Vec<GitWorktree> {
    let mut trees = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut tree = None;
        for line in paragraph.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, &mut tree) {
                ("worktree", _) => {
                    let path = PathBuf::from(rest);
                    tree = Some(GitWorktree {
                        path: std::fs::canonicalize(&path).unwrap_or(path),
                        branch: None,
                        is_bare: false,
                        is_incomplete: false,
                    });
                }
                ("branch", Some(tree)) => {
                    tree.branch = rest.strip_prefix("refs/heads/").map(str::to_owned);
                }
                ("bare", Some(tree)) => tree.is_bare = true,
                // The lock that 'worktree add' sets meanwhile (git 2.39).
                ("locked", Some(tree)) => tree.is_incomplete = rest == "initializing",
                _ => {}
            }
        }
        trees.extend(tree);
    }
    trees
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_waits_for_is_no_reason_to_install_it() {
        let told = |kind: io::ErrorKind| {
            let error = git_failure(Path::new("/a b"), "worktree", &kind.into());
            (error.message, error.hint.unwrap_or_default())
        };
        let (message, hint) = told(io::ErrorKind::TimedOut);
        assert_eq!(message, "git worktree did not finish within 15 minutes");
        assert!(hint.ends_with("git -C '/a b' status"), "{hint}");
        assert!(told(io::ErrorKind::NotFound).1.contains("install git"));
        for other in [io::ErrorKind::PermissionDenied, io::ErrorKind::Interrupted] {
            assert_eq!(told(other).1, "");
        }
    }

    #[test]
    fn what_git_calls_local_is_not_handed_on() {
        let mut git = std::process::Command::new("git");
        let output = git.args(["rev-parse", "--local-env-vars"]).output();
        let names = String::from_utf8(output.unwrap().stdout).unwrap();
        let names = names.lines().filter(|name| *name != "GIT_CONFIG_COUNT");
        let missing: Vec<&str> = names
            .filter(|name| !crate::program::GIT_REPOSITORY_VARIABLES.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_list_of_worktrees() {
        let text = "worktree /a b\nHEAD 1\nbranch refs/heads/x/y\n\nworktree /c\nHEAD 1\ndetached\n\nworktree /d\nbare\n\nworktree /e\nHEAD 0\ndetached\nlocked initializing\n\n";
        let trees = parse(text);
        assert_eq!(trees.len(), 4);
        assert_eq!(trees[0].path, Path::new("/a b"));
        assert_eq!(trees[0].branch.as_deref(), Some("x/y"));
        assert_eq!((trees[1].branch.clone(), trees[1].is_bare), (None, false));
        assert!(trees[2].is_bare && trees[3].is_incomplete && !trees[1].is_incomplete);
    }
}
