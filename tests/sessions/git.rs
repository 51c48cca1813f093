//! git in a container whose workspace is a session's worktree.

use std::fs;
use std::process::Command;

use crate::harness::{Moat, Runtime, skip};
use crate::sessions::project::{IDLE, Project, tree};

/// An image with the libraries that this host's git needs.
const DEBIAN: &str = "moat-test/debian:12";

/// A project whose containers run this host's own git.
fn on(runtime: Runtime) -> Option<Project> {
    let moat = Moat::on(runtime)?;
    let project = Project::at(moat, &format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    if runtime.has_images() {
        let found = Command::new("sh").args(["-c", "command -v git"]).output();
        let git = String::from_utf8(found.unwrap().stdout).unwrap();
        let git = git.trim();
        let mount = format!("{git}:/usr/local/bin/git:ro");
        let mut client = runtime.client();
        client.args(["run", "--rm", "-v", &mount, DEBIAN, "git", "version"]);
        if !client.output().unwrap().status.success() {
            skip(&format!("{git} does not run in {DEBIAN}"));
            return None;
        }
        let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
        let more = format!("base_image: {DEBIAN}\nmounts: [\"{mount}\"]\n");
        project.commit("moat.yaml", &(text + &more));
    }
    Some(project)
}

fn everywhere(test: impl Fn(&Project)) {
    for runtime in [Runtime::Bwrap, Runtime::Docker] {
        if let Some(project) = on(runtime) {
            test(&project);
            project.ok(&["down", "a", "--force"]);
            project.assert_nothing();
        }
    }
}

#[test]
fn a_commit_inside_is_one_outside() {
    everywhere(|project| {
        let script = "git status --short && echo made >new && git add new && git diff --cached --stat >/dev/null \
            && git commit --quiet --message inside && git log -1 --format='%an %s' && git stash list && git branch --show-current";
        let done = project.ok(&["wt", "a", "--", "sh", "-c", script]);
        assert_eq!(done.stdout_text(), "test inside\na\n");
        assert_eq!(project.git(&["log", "-1", "--format=%s", "a"]), "inside\n");
        // git outside the container still finds the worktree at its path on the host.
        let made = &project.list()[0];
        let trees = project.git(&["worktree", "list", "--porcelain"]);
        assert!(trees.contains(tree(made).to_str().unwrap()), "{trees}");
        assert!(!trees.contains("prunable"), "{trees}");
        let status =
            crate::sessions::project::git(&project.moat, &tree(made), &["status", "--porcelain"]);
        assert_eq!(status, "");
    });
}

/// To remove a ref, git wants a lock in a directory that is read-only here; most commands continue without that lock.
#[test]
fn what_removes_a_ref_by_the_way_works_inside() {
    everywhere(|project| {
        project.git(&["checkout", "--quiet", "-b", "other"]);
        let author = "--author=Other <other@localhost>";
        fs::write(project.repo.join("other"), "other\n").unwrap();
        project.git(&["add", "other"]);
        project.git(&["commit", "--quiet", author, "--message", "other"]);
        project.git(&["checkout", "--quiet", "main"]);
        project.git(&["tag", "loose"]);
        project.git(&["tag", "packed"]);
        project.git(&["pack-refs", "--all"]);
        let script = "set -e; exec 2>/dev/null; clean() { test -z \"$(git status --porcelain)\"; }; \
            echo x >page; git stash -q; clean; git stash pop -q; test \"$(cat page)\" = x; test -z \"$(git stash list)\"; \
            git commit -qam one; git commit -q --amend -m amended; clean; \
            git merge -q --no-edit other; clean; test -e other; git reset -q --hard HEAD~1; \
            git revert --no-edit HEAD >/dev/null; clean; git reset -q --hard HEAD~1; \
            git cherry-pick other >/dev/null; clean; test -e other; \
            rm \"$(git rev-parse --git-dir)/CHERRY_PICK_HEAD\"; \
            echo y >y; git add y; git commit -qm next; git commit -q --amend -m last; git log -3 --format='%an %s'; \
            git switch -qc new; git tag mine; git switch -q a; git rebase -q other; clean; test -e y; git show -s --format=%s HEAD; \
            for name in loose packed mine; do ! git tag -d $name || exit 7; done; ! git branch -d new || exit 8";
        let done = project.ok(&["wt", "a", "--", "sh", "-c", script]);
        let log = "test last\nOther other\ntest amended\nlast\n";
        assert_eq!(done.stdout_text(), log);
        assert_eq!(project.git(&["tag"]), "loose\nmine\npacked\n");
        let log = project.git(&["log", "-2", "--format=%s", "a"]);
        assert_eq!(log, "last\namended\n");
        // git outside the container deletes and stashes as usual.
        let tree = tree(&project.list()[0]);
        project.git(&["tag", "-d", "mine"]);
        project.git(&["branch", "-D", "new"]);
        let git = |args: &[&str]| crate::sessions::project::git(&project.moat, &tree, args);
        assert_eq!(git(&["stash", "list"]), "");
        fs::write(tree.join("page"), "z\n").unwrap();
        git(&["stash", "--quiet"]);
        git(&["stash", "pop", "--quiet"]);
        assert_eq!(git(&["status", "--porcelain"]), " M page\n");
    });
}

/// The files that configure git on the host are read-only in the container.
#[test]
fn a_workload_cannot_leave_commands_for_git() {
    everywhere(|project| {
        let script = "common=$(git rev-parse --git-common-dir); own=$(git rev-parse --absolute-git-dir); \
            for file in .git $common/config $common/hooks/post-checkout $common/HEAD $common/info/attributes \
              $own/config.worktree $own/commondir $own/gitdir $common/worktrees/other; do \
              (echo bad >>$file) 2>/dev/null && echo wrote $file; rm -f $file 2>/dev/null && test ! -e $file -a -n \"$(ls -d $file 2>/dev/null)\" && echo removed $file; \
              mv $file /tmp/x 2>/dev/null && echo moved $file; done; mv $own $own.x 2>/dev/null && echo moved own; \
              mv $common/hooks $common/gone 2>/dev/null && echo moved hooks; git config a.b c 2>/dev/null && echo configured; true";
        let before = fs::read(project.repo.join(".git/config")).unwrap();
        let done = project.ok(&["wt", "a", "--", "sh", "-c", script]);
        assert_eq!(done.stdout_text(), "");
        assert_eq!(fs::read(project.repo.join(".git/config")).unwrap(), before);
        let tree = tree(&project.list()[0]);
        assert!(tree.join(".git").is_file());
        assert_eq!(
            crate::sessions::project::git(&project.moat, &tree, &["status", "--porcelain"]),
            ""
        );
    });
}

/// `down` uses git to look for uncommitted work, and git obeys the configuration of a submodule.
#[test]
fn a_repository_that_a_workload_makes_is_not_obeyed() {
    let Some(project) = on(Runtime::Bwrap) else {
        return;
    };
    let mark = project.moat.user_home().join("obeyed");
    let script = format!(
        "git init --quiet sub && git -C sub commit --quiet --allow-empty --message x && \
         git -C sub config core.fsmonitor 'touch {}; false' && git add sub 2>/dev/null && git commit --quiet --message sub",
        mark.display()
    );
    project.ok(&["wt", "a", "--", "sh", "-c", &script]);
    let tree = tree(&project.list()[0]);
    project
        .call(&["down", "a"])
        .stderr_contains("is kept: the submodule 'sub' is checked out in it")
        .success();
    assert!(
        !mark.exists(),
        "moat ran a command of the workload's on the host"
    );
    assert!(tree.exists());
    project.up("a");
    project.ok(&["down", "a", "--delete-worktree", "--force"]);
    project.assert_nothing();
}

/// A link that a workload puts in the place of .env.moat is replaced, not followed.
#[test]
fn links_in_the_worktree_are_not_followed() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let tree = tree(&project.up("a"));
    let precious = project.moat.user_home().join("precious");
    fs::write(&precious, "mine").unwrap();
    for name in [".env.moat", ".env.tmp"] {
        let _ = fs::remove_file(tree.join(name));
        std::os::unix::fs::symlink(&precious, tree.join(name)).unwrap();
    }
    project.up("a");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
    assert!(!tree.join(".env.moat").is_symlink());
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}
