//! What a worktree holds that removing it would lose, as far as git shows it.

use std::cell::OnceCell;
use std::path::Path;

use super::files::is_unchanged;
use super::inherit;
use super::repository::{git_untrusted, git_untrusted_incomplete, lock_reason};
use crate::error::Result;
use crate::store::{CreatedFile, CreatedFileKind, ResourceStage, Session};
use crate::term::{escape_unsafe, one_line};

/// The arguments that make git list uncommitted files, one entry each.
const STATUS_ARGS: [&str; 5] = [
    "status",
    "--porcelain",
    "-z",
    "--untracked-files=all",
    "--no-renames",
];

/// The reason why moat keeps a worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkFound {
    /// A file that differs from the commit, or that git does not know.
    Changes,
    /// The HEAD is on no branch: nothing else may lead to its commits.
    NoBranch,
    /// A submodule that is checked out. moat does not ask git about it, because git would obey the configuration of the
    /// submodule.
    Submodule(String),
    /// A file whose changes git was told to ignore.
    Ignored(String),
    /// Somebody locked it (`git worktree lock`), with this reason.
    Locked(String),
    /// git does not answer.
    Unknown(String),
}

impl WorkFound {
    /// The reason as a clause about the worktree.
    pub(crate) fn reason(&self) -> String {
        match self {
            WorkFound::Changes => "it has uncommitted work".to_owned(),
            WorkFound::NoBranch => "it has uncommitted work: its HEAD is on no branch".to_owned(),
            WorkFound::Submodule(name) => format!(
                "the submodule '{}' is checked out in it, and moat does not look for work there",
                escape_unsafe(name)
            ),
            WorkFound::Ignored(name) => format!(
                "git was told to ignore changes of '{}' in it",
                escape_unsafe(name)
            ),
            WorkFound::Locked(why) if why.is_empty() => {
                "it is locked (git worktree lock)".to_owned()
            }
            WorkFound::Locked(why) => {
                format!("it is locked (git worktree lock): {}", escape_unsafe(why))
            }
            WorkFound::Unknown(why) => format!(
                "moat cannot find out whether it has uncommitted work: {}",
                escape_unsafe(&one_line(why))
            ),
        }
    }

    /// The message about a worktree that is not removed.
    pub(crate) fn kept_message(&self, path: &Path) -> String {
        let shown = escape_unsafe(&path.display().to_string());
        format!("note: {shown} is kept: {}", self.reason())
    }
}

/// Looks for work in the worktree of a session, as far as it was created.
pub(super) fn of_session(session: &Session) -> Option<WorkFound> {
    let (common, tree) = (&session.repository, &session.worktree);
    match tree.stage {
        ResourceStage::Made => find(common, &tree.path, Some(session)),
        _ => match is_untouched(common, &tree.path) {
            Ok(true) => None,
            Ok(false) => Some(WorkFound::Changes),
            Err(error) => Some(WorkFound::Unknown(error.message)),
        },
    }
}

/// Looks for work that removing a worktree would lose. `session` names the files that moat created.
pub(crate) fn find(common: &Path, path: &Path, session: Option<&Session>) -> Option<WorkFound> {
    try_find(common, path, session).unwrap_or_else(|error| Some(WorkFound::Unknown(error.message)))
}

fn try_find(common: &Path, path: &Path, session: Option<&Session>) -> Result<Option<WorkFound>> {
    if let Some(why) = lock_reason(common, path) {
        return Ok(Some(WorkFound::Locked(why)));
    }
    let head = git_untrusted(common, path, &["symbolic-ref", "--quiet", "HEAD"]);
    match head {
        Ok(Some(_)) => {}
        Ok(None) => {
            let why = "git does not know it as a worktree".to_owned();
            return Ok(Some(WorkFound::Unknown(why)));
        }
        // Another failure is found by the next call of git.
        Err(_) => {
            git_untrusted(common, path, &["rev-parse", "HEAD"])?;
            return Ok(Some(WorkFound::NoBranch));
        }
    }
    // In a submodule git would obey the configuration of the submodule, which a workload may have written.
    let args = [&STATUS_ARGS[..], &["--ignore-submodules=dirty"]].concat();
    let status = git_untrusted(common, path, &args)?.unwrap_or_default();
    let files = session.map_or(&[][..], |session| &session.files);
    // git is told to ignore these files, whatever replaces them.
    let mut unseen = files
        .iter()
        .filter(|file| file.kind == CreatedFileKind::Variables);
    let created = CreatedFiles::new(path, files);
    if !unseen.all(|file| is_unchanged(path, file))
        || !status
            .split_terminator('\0')
            .all(|entry| created.has(entry))
    {
        return Ok(Some(WorkFound::Changes));
    }
    let index =
        git_untrusted(common, path, &["ls-files", "--stage", "-v", "-z"])?.unwrap_or_default();
    Ok(submodule(path, &index)
        .map(WorkFound::Submodule)
        .or_else(|| hidden(path, &index).map(WorkFound::Ignored)))
}

/// The files that moat created in a worktree, of which each directory is compared with its original at most once.
struct CreatedFiles<'a> {
    root: &'a Path,
    files: Vec<(&'a CreatedFile, OnceCell<bool>)>,
}

impl<'a> CreatedFiles<'a> {
    fn new(root: &'a Path, files: &'a [CreatedFile]) -> CreatedFiles<'a> {
        let files = files.iter().map(|file| (file, OnceCell::new()));
        CreatedFiles {
            root,
            files: files.collect(),
        }
    }

    /// Whether an entry of git's status is an unchanged file of moat, in a directory of moat, or in a copy that was
    /// interrupted.
    fn has(&self, entry: &str) -> bool {
        let name = Path::new(entry.get(3..).unwrap_or_default());
        let is_it = |(file, is_same): &(&CreatedFile, OnceCell<bool>)| {
            let part = inherit::partial_copy(self.root, file);
            part.is_some_and(|part| self.root.join(name).starts_with(part))
                || name.starts_with(&file.path)
                    && *is_same.get_or_init(|| is_unchanged(self.root, file))
        };
        entry.starts_with("??") && self.files.iter().any(is_it)
    }
}

/// Whether a partially created worktree contains only files that git has written.
pub(super) fn is_untouched(common: &Path, path: &Path) -> Result<bool> {
    let Some(status) = git_untrusted_incomplete(common, path, &STATUS_ARGS)? else {
        // git does not list the directory: not yet, or not any more.
        let mut entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return Ok(entries.all(|entry| entry.file_name() == ".git"));
    };
    let is_missing = |entry: &str| entry.starts_with(" D") || entry.starts_with("D ");
    Ok(status.split_terminator('\0').all(is_missing))
}

/// A submodule that is checked out; its work was not examined.
fn submodule(path: &Path, index: &str) -> Option<String> {
    let mut names = index.split_terminator('\0').filter_map(|entry| {
        let (about, name) = entry.split_once('\t')?;
        about.contains(" 160000 ").then_some(name)
    });
    names
        .find(|name| path.join(name).join(".git").symlink_metadata().is_ok())
        .map(str::to_owned)
}

/// A file whose changes git was told to ignore: a lower-case letter means `assume-unchanged`, an `S` means
/// `skip-worktree`, which also marks files that do not exist.
fn hidden(path: &Path, index: &str) -> Option<String> {
    let mut entries = index.split_terminator('\0').filter_map(|entry| {
        let (about, name) = entry.split_once('\t')?;
        Some((about.chars().next()?, name))
    });
    entries
        .find(|(tag, name)| {
            tag.is_ascii_lowercase() || *tag == 'S' && path.join(name).symlink_metadata().is_ok()
        })
        .map(|(_, name)| name.to_owned())
}
