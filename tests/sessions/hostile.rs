//! Hostile files that a workload may leave in a worktree, and the harm on the host that they must not do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::sessions::project::{IDLE, Project, tree};

fn project() -> Project {
    Project::new(&format!(
        "  inherit: [config/local.env]\n  processes: {{idle: {{command: {IDLE}}}}}"
    ))
}

/// Users paste hints into a shell, and anybody who pushes a branch chooses its name.
#[test]
fn a_branch_is_one_word_of_a_hint() {
    let project = project();
    let (branch, word) = ("x$(touch${IFS}y)", "'x$(touch${IFS}y)'");
    let hints = |words: &[&str], command: &str, rest: &str| {
        for (branch, word) in [(branch, word), ("feature/a.b", "feature/a.b")] {
            let call: Vec<&str> = [words, &[branch]].concat();
            let done = project.call(&call).run();
            let hint = format!("moat {command} {word}{rest}\n");
            let all = done.stderr_text() + "\n";
            assert!(all.contains(&hint), "{hint}: {done}");
        }
    };
    hints(&["down"], "up", "; see all: moat wt list");
    for branch in [branch, "feature/a.b"] {
        let made = project.up(branch);
        fs::write(tree(&made).join("work"), "").unwrap();
    }
    let lost = " --delete-worktree --force";
    hints(&["down", "--delete-worktree"], "down", lost);
    for branch in [branch, "feature/a.b"] {
        project.ok(&["down", branch, "--keep"]);
    }
    hints(&["wt", "sync"], "up", "");
    // Some hints name the session by its key, which needs no quotes.
    for session in project.list() {
        let (branch, key) = (&session["session"]["branch"], &session["session"]["key"]);
        let key = key.as_str().unwrap();
        let done = project.call(&["shell", branch.as_str().unwrap()]).run();
        let hint = format!("moat up {key}\n");
        assert!((done.stderr_text() + "\n").contains(&hint), "{done}");
    }
    project.call(&["up", branch]).killed_at("session-reserved");
    let list = project.ok(&["wt", "list"]);
    assert!(
        list.stderr_text().contains("run 'moat wt recover "),
        "{list}"
    );
    assert!(!list.stderr_text().contains("recover x$"), "{list}");
    project.ok(&["down", "--all", "--force"]);
    project.assert_nothing();
}

/// Creates a repository whose configuration makes git run a command with every status.
fn trap(dir: &Path, marker: &Path) {
    let git = |args: &[&str]| {
        let done = Command::new("git").arg("-C").arg(dir).args(args).output();
        assert!(done.unwrap().status.success(), "{args:?}");
    };
    fs::create_dir(dir.join("evil")).unwrap();
    let evil = dir.join("evil");
    let evil = evil.to_str().unwrap();
    git(&["init", "--quiet", "--bare", evil]);
    let command = format!("touch {}; false", marker.display());
    for (key, value) in [("core.bare", "false"), ("core.fsmonitor", &command)] {
        git(&["--git-dir", evil, "config", key, value]);
    }
    fs::remove_file(dir.join(".git")).unwrap();
    fs::write(dir.join(".git"), "gitdir: evil\n").unwrap();
}

#[test]
fn git_obeys_the_repository_and_not_the_worktree() {
    let project = project();
    let made = project.up("a");
    let marker = project.moat.root().join("marker");
    trap(&tree(&made), &marker);
    project.call(&["wt", "status", "a"]).any_stdout().run();
    // The worktree contains a file that git does not know, so `down` keeps the worktree.
    project.ok(&["down", "a"]);
    assert!(tree(&made).is_dir());
    project.ok(&["wt", "clean", "--json"]);
    assert!(tree(&made).is_dir() && !marker.exists());
    project.ok(&["wt", "clean", "--force"]);
    assert!(!marker.exists());
    project.assert_nothing();
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    let project = project();
    let config = project.repo.join("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("local.env"), "mine\n").unwrap();
    let made = project.up("a");
    assert!(tree(&made).join("config/local.env").is_file());
    fs::rename(tree(&made).join("config"), tree(&made).join("elsewhere")).unwrap();
    symlink(&config, tree(&made).join("config")).unwrap();
    project.ok(&["down", "a", "--force"]);
    let text = fs::read_to_string(config.join("local.env"));
    assert_eq!(text.expect("it was somebody else's"), "mine\n");
    project.assert_nothing();
}

/// git would write through a link that stands in the place of a branch or of its log.
#[test]
fn links_among_the_branches_are_refused() {
    let project = project();
    let victim = project.moat.root().join("victim");
    let logs = project.repo.join(".git/logs/refs/heads");
    symlink(&victim, logs.join("b")).unwrap();
    let done = project.call(&["up", "b"]).any_stdout().status(1);
    let said = done.stderr_text();
    assert!(said.contains("is a link or no regular file"), "{said}");
    assert!(!victim.exists());
    fs::remove_file(logs.join("b")).unwrap();
    project.assert_nothing();
}

/// moat does not wait for a pipe that stands in the place of a file.
#[test]
fn what_is_no_file_is_not_read() {
    let project = project();
    let made = project.up("a");
    project.ok(&["down", "a", "--keep"]);
    let variables = tree(&made).join(".env.moat");
    fs::remove_file(&variables).unwrap();
    let done = Command::new("mkfifo").arg(&variables).status();
    assert!(done.unwrap().success());
    project.up("a");
    assert!(variables.symlink_metadata().unwrap().is_file());
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// Files that git was told to ignore changes of count as work.
#[test]
fn hidden_changes_are_not_lost() {
    let project = project();
    let made = project.up("a");
    for (flag, other) in [
        ("--skip-worktree", "--no-assume-unchanged"),
        ("--assume-unchanged", "--no-skip-worktree"),
    ] {
        // With both flags in one call, git obeys only the first.
        for word in [other, flag] {
            let mut git = Command::new("git");
            git.arg("-C").arg(tree(&made));
            let done = git.args(["update-index", word, "page"]).status();
            assert!(done.unwrap().success());
        }
        project
            .call(&["down", "a", "--delete-worktree"])
            .any_stdout()
            .any_stderr()
            .status(1);
    }
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

/// `down` waits for every process that it told to end, even if the process has lost its leader, its group and its
/// environment.
#[test]
fn who_hides_is_found() {
    let odd = format!("9{}", std::process::id());
    let project = Project::new(&format!(
        "  processes:\n    a: {{command: \"env -i sh -c 'trap \\\"\\\" TERM; while :; do sleep {odd}; done' & wait\"}}\n"
    ));
    project.up("a");
    project.ok(&["down", "a"]);
    let found = Command::new("pgrep")
        .args(["-f", &format!("sleep {odd}")])
        .output();
    assert!(found.unwrap().stdout.is_empty(), "it goes on");
    project.assert_nothing();
}
