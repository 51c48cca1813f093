//! Notes about what lies above the workspace, and therefore is not in the container.

use std::path::{Path, PathBuf};

use crate::term::escape_unsafe;

/// The names of a project's file.
const PROJECT_FILES: [&str; 2] = ["moat.yaml", "agent.yaml"];

/// The notes about a workspace that is mounted. `has_git`: git works in the container, because the workspace belongs to a
/// session.
pub(super) fn notes(workspace: &Path, has_git: bool) -> Vec<String> {
    let Ok(workspace) = workspace.canonicalize() else {
        return Vec::new();
    };
    let file = file_above(&workspace).map(|dir| {
        let dir = shown(&dir);
        format!(
            "this directory has no moat.yaml, but {dir} has one; to use it: moat run {dir} -- CMD"
        )
    });
    let git = (!has_git).then(|| git_note(&workspace)).flatten();
    let objects = git.is_none().then(|| objects_note(&workspace)).flatten();
    file.into_iter().chain(git).chain(objects).collect()
}

/// Why git lacks objects in the container: `git clone --shared` and `--reference` borrow them from another repository.
/// They are not mounted, because a workload can write the file that names them.
fn objects_note(workspace: &Path) -> Option<String> {
    let link = workspace.join(".git");
    let common = match regular_file(&link) {
        // A worktree's own directory is `worktrees/NAME` in the repository.
        Some(text) => {
            let own = workspace.join(text.strip_prefix("gitdir: ")?.trim_end());
            own.parent()?.parent()?.to_owned()
        }
        None => link,
    };
    let lenders = regular_file(&common.join("objects/info/alternates"))?;
    let mut lines = lenders.lines();
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let lender = common.join("objects").join(line);
    let lender = lender.canonicalize().unwrap_or(lender);
    let is_inside = lender.starts_with(workspace);
    (!is_inside).then(|| {
        let lender = shown(&lender);
        format!(
            "git lacks objects in the container, because the repository borrows them from {lender}; \
             to mount them: moat run -m {lender}:{lender}:ro"
        )
    })
}

/// The text of a file. A workload may have put a pipe, on which moat would wait, or a link in its place.
fn regular_file(path: &Path) -> Option<String> {
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    is_file.then(|| std::fs::read_to_string(path).ok())?
}

fn shown(path: &Path) -> String {
    escape_unsafe(&path.to_string_lossy())
}

/// The nearest directory above with a project's file, up to the top of the repository. `None`: the workspace has one.
fn file_above(workspace: &Path) -> Option<PathBuf> {
    let has_file = |dir: &Path| PROJECT_FILES.iter().any(|name| dir.join(name).is_file());
    if has_file(workspace) {
        return None;
    }
    let top = repository_top(workspace)?;
    let above = workspace.ancestors().skip(1);
    let mut inside = above.take_while(|dir| dir.starts_with(&top));
    inside.find(|dir| has_file(dir)).map(Path::to_owned)
}

/// The directory that contains `.git`, this one or one above.
fn repository_top(workspace: &Path) -> Option<PathBuf> {
    let mut all = workspace.ancestors();
    all.find(|dir| dir.join(".git").symlink_metadata().is_ok())
        .map(Path::to_owned)
}

/// Why git does not work in the container, if it does not.
fn git_note(workspace: &Path) -> Option<String> {
    let top = repository_top(workspace)?;
    if top != workspace {
        let top = shown(&top);
        return Some(format!(
            "git does not work in the container, because the repository begins above the workspace, at {top}; \
             to mount all of it: moat run {top} -- CMD"
        ));
    }
    // A worktree and a submodule have a file that names a directory elsewhere.
    workspace.join(".git").is_file().then(|| {
        "git does not work in the container, because the repository of this worktree or submodule is outside of it; \
         'moat up BRANCH' makes a worktree in which git works"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::scratch::Scratch;

    #[test]
    fn what_lies_above_is_noted() {
        let scratch = Scratch::new();
        let top = scratch.dir("repository").canonicalize().unwrap();
        let inner = top.join("packages/app");
        fs::create_dir_all(&inner).unwrap();
        assert!(notes(&inner, false).is_empty(), "no repository");
        fs::create_dir(top.join(".git")).unwrap();
        assert!(notes(&top, false).is_empty());
        let found = notes(&inner, false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(&format!("at {}", top.display())),
            "{found:?}"
        );
        fs::write(top.join("moat.yaml"), "").unwrap();
        let found = notes(&inner, true);
        assert!(found[0].contains("has no moat.yaml"), "{found:?}");
        assert_eq!(found.len(), 1);
        fs::write(inner.join("moat.yaml"), "").unwrap();
        assert!(notes(&inner, true).is_empty());
    }

    #[test]
    fn a_file_above_the_repository_does_not_count() {
        let scratch = Scratch::new();
        let top = scratch.dir("home/repository").canonicalize().unwrap();
        fs::create_dir(top.join(".git")).unwrap();
        fs::write(top.parent().unwrap().join("moat.yaml"), "").unwrap();
        assert!(notes(&top, false).is_empty());
    }

    #[test]
    fn borrowed_objects_are_noted() {
        let scratch = Scratch::new();
        let top = scratch.dir("clone").canonicalize().unwrap();
        let info = top.join(".git/objects/info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("alternates"), "# none\n").unwrap();
        assert!(notes(&top, false).is_empty());
        fs::write(info.join("alternates"), "/lender/objects\n").unwrap();
        let found = notes(&top, false);
        assert!(
            found[0].contains("-m /lender/objects:/lender/objects:ro"),
            "{found:?}"
        );
        // The worktree of a session.
        let tree = scratch.dir("tree");
        let link = format!("gitdir: {}\n", top.join(".git/worktrees/tree").display());
        fs::write(tree.join(".git"), link).unwrap();
        assert!(notes(&tree, true)[0].contains("borrows them from /lender"));
        // Objects in the workspace are in the container.
        fs::create_dir_all(top.join("lender")).unwrap();
        fs::write(info.join("alternates"), "../../lender\n").unwrap();
        assert!(notes(&top, false).is_empty());
    }

    #[test]
    fn a_worktree_without_a_session_is_noted() {
        let scratch = Scratch::new();
        let tree = scratch.dir("tree");
        fs::write(
            tree.join(".git"),
            "gitdir: /elsewhere/.git/worktrees/tree\n",
        )
        .unwrap();
        assert!(notes(&tree, false)[0].contains("moat up BRANCH"));
        assert!(notes(&tree, true).is_empty());
    }
}
