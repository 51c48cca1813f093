//! SIGKILL at every journaled step, then recover, down or up: nothing is left, or the whole session is healthy.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Call, until};
use crate::sessions::project::{IDLE, Project, another, server};

const UP: [&str; 9] = [
    "session-reserved",
    "session-worktree-intent",
    "session-worktree-made",
    "session-files-intent",
    "session-files-made",
    "session-process-intent",
    "session-process-started",
    "session-processes-up",
    "session-before-active",
];

const DOWN: [&str; 5] = [
    "session-down-begun",
    "session-down-processes",
    "session-down-files",
    "session-down-worktree",
    "session-down-before-end",
];

fn project() -> Project {
    Project::new(&format!(
        "  processes: {{one: {{command: {IDLE}}}, two: {{command: {IDLE}}}}}"
    ))
}

#[track_caller]
fn killed(project: &Project, call: Call<'_>, at: &str) {
    call.killed_at(at);
    let list = project.list();
    if let Some(session) = list.first() {
        assert_eq!(session["abandoned"], true, "{at}");
    }
}

#[test]
fn an_up_that_was_killed_is_taken_down() {
    for at in UP {
        let project = project();
        killed(&project, project.moat.args(["up", "a"]), at);
        project.ok(&["down", "a"]);
        project.assert_nothing();
    }
}

#[test]
fn an_up_that_was_killed_is_recovered() {
    for at in UP {
        let project = project();
        killed(&project, project.moat.args(["up", "a"]), at);
        project.ok(&["wt", "recover"]);
        match project.list().first() {
            // All processes ran already, so recovery keeps the session.
            Some(session) => {
                assert_eq!(session["healthy"], true, "{at}");
                assert!(["session-processes-up", "session-before-active"].contains(&at));
                project.ok(&["down", "a"]);
            }
            None => assert_eq!(project.git(&["branch"]), "* main\n", "{at}"),
        }
        project.assert_nothing();
    }
}

#[test]
fn an_up_that_was_killed_goes_on() {
    for at in UP {
        let project = project();
        killed(&project, project.moat.args(["up", "a"]), at);
        let made = project.up("a");
        assert_eq!(
            (&made["healthy"], &made["session"]["slot"]),
            (&true.into(), &1.into()),
            "{at}"
        );
        project.ok(&["down", "a"]);
        project.assert_nothing();
    }
}

/// A copy has its name only once it is complete, and a part of a copy is no work of the user.
#[test]
fn no_part_of_a_copy_is_left() {
    for how in [&["wt", "recover"][..], &["up", "a"], &["down", "a"]] {
        let project = Project::new(&format!("  inherit: [deps]\n{}", server()));
        std::fs::create_dir_all(project.repo.join("deps/one")).unwrap();
        std::fs::write(project.repo.join("deps/one/file"), "x").unwrap();
        let call = project.moat.args(["up", "a"]);
        killed(&project, call, "session-files-copied");
        let tree = crate::sessions::project::tree(&project.list()[0]);
        assert!(!tree.join("deps").exists(), "{how:?}");
        project.ok(how);
        if how[0] == "up" {
            let names = std::fs::read_dir(&tree).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            assert_eq!(names, [".env.moat", ".git", "deps", "moat.yaml", "page"]);
            assert!(tree.join("deps/one/file").is_file());
            project.ok(&["down", "a"]);
        }
        assert!(!tree.exists(), "{how:?}");
        project.assert_nothing();
    }
}

#[test]
fn a_down_that_was_killed_is_carried_to_its_end() {
    for at in DOWN {
        for how in [&["wt", "recover"][..], &["down", "a"]] {
            let project = project();
            project.up("a");
            killed(&project, project.moat.args(["down", "a"]), at);
            project.ok(how);
            project.assert_nothing();
        }
    }
}

#[test]
fn after_a_down_that_was_killed_all_comes_back() {
    for at in DOWN {
        let project = project();
        project.up("a");
        killed(&project, project.moat.args(["down", "a"]), at);
        assert_eq!(project.up("a")["healthy"], true, "{at}");
        project.ok(&["down", "a"]);
        project.assert_nothing();
    }
}

/// SIGKILL also at the steps of a rollback.
#[test]
fn taking_back_can_be_killed_too() {
    for at in [
        "session-undo-processes",
        "session-undo-worktree",
        "session-undone",
    ] {
        let project = Project::new("  processes: {bad: {command: exit 1}}");
        killed(&project, project.moat.args(["up", "a"]).real_time(), at);
        project.ok(&["wt", "recover"]);
        until("nothing is left", || project.list().is_empty());
        project.assert_nothing();
    }
}

/// Somebody may have worked in the worktree since `up` was killed.
#[test]
fn work_in_the_worktree_of_an_up_that_was_killed_is_not_lost() {
    for how in [&["wt", "recover"][..], &["up", "a"]] {
        let project = project();
        let call = project.moat.args(["up", "a"]);
        killed(&project, call, "session-process-started");
        let tree = crate::sessions::project::tree(&project.list()[0]);
        std::fs::write(tree.join("work"), "hours").unwrap();
        // The second `up` fails too, and its rollback must also keep the work.
        project.configure("  processes: {bad: {command: exit 1}}");
        let done = project.call(how).real_time().run();
        assert!(
            done.stderr_text()
                .contains("is kept: it has uncommitted work"),
            "{done}"
        );
        assert_eq!(std::fs::read_to_string(tree.join("work")).unwrap(), "hours");
        assert!(project.list().is_empty());
        project.configure(&format!("  processes: {{one: {{command: {IDLE}}}}}"));
        assert_eq!(crate::sessions::project::tree(&project.up("a")), tree);
        project.ok(&["down", "a", "--force"]);
        project.assert_nothing();
    }
}

/// git writes the index last, so without an index the files of the checkout are not somebody's work. The filter kills
/// moat before its child, because a moat that sees the child die rolls back.
#[test]
fn a_checkout_that_was_killed_half_way_is_taken_back() {
    let recover = &["wt", "recover"][..];
    for (work, known, how) in [
        (false, true, recover),
        (true, true, recover),
        (true, false, recover),
        (true, true, &["up", "a"]),
        (false, true, &["down", "a"]),
        (true, true, &["down", "a"]),
    ] {
        let project = project();
        let filter = "p=$PPID; for i in 1 2; do q=$(awk '/^PPid:/ {print $2}' /proc/$p/status); all=\"$p $all\"; p=$q; done; kill -9 $p $all";
        project.git(&["config", "filter.deadly.smudge", filter]);
        let attributes = project.repo.join(".git/info/attributes");
        std::fs::write(&attributes, "page filter=deadly").unwrap();
        let done = project.call(&["up", "a"]).run();
        assert_eq!(done.signal, Some(9), "{done}");
        let tree = crate::sessions::project::tree(&project.list()[0]);
        assert!(tree.join("moat.yaml").exists() && !tree.join("page").exists());
        std::fs::remove_file(attributes).unwrap();
        if work {
            std::fs::write(tree.join("work"), "hours").unwrap();
        }
        if !known {
            std::fs::remove_dir_all(project.repo.join(".git/worktrees")).unwrap();
        }
        let done = project.call(how).run();
        assert_eq!(tree.exists(), work, "{done}");
        let said = done.stderr_text();
        assert_eq!(
            said.contains("is kept: it has uncommitted work"),
            work,
            "{done}"
        );
        assert!(project.list().is_empty());
        if work && known {
            // The worktree lacks files, so `up` does not take it for a complete one.
            project
                .call(&["up", "a"])
                .stderr_contains("files were added since")
                .status(1);
        }
        if work {
            std::fs::remove_dir_all(tree.parent().unwrap()).unwrap();
            let _ = std::fs::remove_dir_all(project.repo.join(".git/worktrees"));
        }
        project.assert_nothing();
    }
}

/// The same branch in two repositories, each with an `up` that was killed.
fn killed_in_two() -> (Project, Vec<serde_json::Value>) {
    let project = project();
    let other = another(&project, "other");
    for dir in [&project.repo, &other] {
        let call = project.moat.args(["up", "a"]).cwd(dir);
        killed(&project, call, "session-process-started");
    }
    let list = project.list();
    (project, list)
}

/// The advised command recovers either of two sessions with the same branch name, from any directory.
#[test]
fn what_was_killed_is_recovered_from_anywhere() {
    let (project, list) = killed_in_two();
    let keys = list
        .iter()
        .map(|one| one["session"]["key"].as_str().unwrap());
    let keys: Vec<&str> = keys.collect();
    assert_eq!(keys.len(), 2);
    let done = project.ok(&["wt", "list"]);
    for key in &keys {
        let advice = format!("run 'moat wt recover {key}'\n");
        assert!(done.stderr_text().contains(&advice), "{done}");
    }
    project.ok(&["wt", "recover", keys[0]]);
    assert_eq!(project.list().len(), 1);
    project.ok(&["wt", "recover", keys[1]]);
    project.assert_nothing();
}

#[test]
fn recovering_tells_of_each_session() {
    let (project, list) = killed_in_two();
    let done = project.json(&["wt", "recover"]);
    assert_eq!(done.as_object().unwrap().len(), 2, "{done:#}");
    for one in &list {
        let key = one["session"]["key"].as_str().unwrap();
        assert_eq!(done[key], "rolled back");
    }
    project.assert_nothing();
}

/// A session that cannot be settled is reported, and the others are settled.
#[test]
fn recovering_goes_on_after_a_failure() {
    let project = project();
    for branch in ["a", "b", "c"] {
        let call = project.moat.args(["up", branch]);
        killed(&project, call, "session-process-started");
    }
    let bad = project.list()[1].clone();
    assert_eq!(bad["session"]["branch"], "b");
    let before = project.record(&bad);
    let socket = project.moat.root().join("socket");
    project.edit(&bad, |record| {
        record["tmux"] =
            serde_json::json!({"name": "none", "socket": socket, "operation": "another"});
    });
    let path = project.stand_in("tmux", "echo out of order >&2; exit 1");
    let done = project
        .call(&["wt", "recover"])
        .env("PATH", path)
        .stderr_contains("'a': rolled back")
        .stderr_contains("'b': tmux: out of order")
        .stderr_contains("'c': rolled back")
        .status(1);
    let left = project.list();
    assert_eq!(left.len(), 1, "{done}");
    assert_eq!(
        (&left[0]["session"]["branch"], &left[0]["session"]["status"]),
        (&"b".into(), &"broken".into())
    );
    project.edit(&bad, |record| record["tmux"] = before["tmux"].clone());
    project.ok(&["down", "b"]);
    project.assert_nothing();
}

const OF_GIT: &str = "post-checkout";

/// The hook or git process of a killed command keeps running. The next command ends it before it runs its own.
#[test]
fn no_hook_runs_beside_one_of_before() {
    let slow = "echo begin $$ >>$HOME/log; sleep 2; echo end $$ >>$HOME/log";
    for (hook, first, next) in [
        (OF_GIT, "up", &["up", "a"][..]),
        ("pre_up", "up", &["up", "a"]),
        ("pre_start", "up", &["up", "a"]),
        ("pre_start", "up", &["down", "a"]),
        ("post_up", "up", &["up", "a"]),
        ("post_up", "up", &["wt", "recover"]),
        ("pre_down", "down", &["down", "a"]),
        ("pre_down", "down", &["up", "a"]),
        ("post_down", "down", &["down", "a"]),
    ] {
        let idle = format!("  processes: {{one: {{command: {IDLE}}}}}");
        let project = Project::new(&match hook {
            OF_GIT => idle.clone(),
            hook => format!("  hooks: {{{hook}: {slow:?}}}\n{idle}"),
        });
        if hook == OF_GIT {
            let file = project.repo.join(".git/hooks").join(hook);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, format!("#!/bin/sh\n{slow}\n")).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
        if first == "down" {
            project.up("a");
        }
        let log = project.moat.user_home().join("log");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut killed = project.call(&[first, "a"]).spawn();
        until("the hook runs", || said().ends_with('\n'));
        killed.kill();
        project.ok(next);
        let before = said();
        let lines: Vec<&str> = before.lines().skip(1).collect();
        // Each hook that begins also ends before the next one begins.
        let pid = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
        for pair in lines.chunks(2) {
            assert!(
                pair.len() == 2 && pid(pair[0]) == pid(pair[1]),
                "{hook}, {next:?}: {before}"
            );
        }
        project.ok(&["down", "--all"]);
        assert!(!said().contains(&format!("end {}\n", pid(before.lines().next().unwrap()))));
        project.assert_nothing();
    }
}
