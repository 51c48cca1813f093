//! Several commands at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::harness::{Running, Signal, until};
use crate::project::{IDLE, Project, page, server, tree, web};

/// Eight at once with a slow hook: side by side, all different, and the list answers throughout.
#[test]
fn eight_at_once() {
    let project = Project::new(&format!("  hooks: {{pre_start: sleep 3}}\n{}", server()));
    let begin = Instant::now();
    let branches: Vec<String> = (0..8).map(|number| format!("branch-{number}")).collect();
    let ups: Vec<Running> = branches
        .iter()
        .map(|branch| project.moat.args(["up", branch, "--json"]).spawn())
        .collect();
    let mut lists = Vec::new();
    while begin.elapsed() < Duration::from_secs(2) {
        lists.push(project.ok(&["wt", "list", "--json"]).took);
    }
    let made: Vec<_> = ups
        .into_iter()
        .map(|up| {
            let done = up.wait();
            assert_eq!(done.code, Some(0), "{done}");
            done.json()
        })
        .collect();
    // One after the other would be 24 s of sleep alone.
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    let slots: BTreeSet<u64> = made
        .iter()
        .map(|one| one["session"]["slot"].as_u64().unwrap())
        .collect();
    let ports: BTreeSet<u64> = made.iter().map(web).collect();
    assert_eq!((slots.len(), ports.len()), (8, 8));
    assert!(ports.iter().all(|port| page(*port) == "main"));
    // Other tests run beside this one: that counts for the slowest, and not for most.
    lists.sort();
    let (median, slowest) = (lists[lists.len() / 2], lists[lists.len() - 1]);
    assert!(
        median < Duration::from_millis(200) && slowest < Duration::from_secs(1),
        "{median:?} {slowest:?}"
    );
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

#[test]
fn a_second_up_is_told_who_is_at_it_and_a_down_ends_it() {
    let project = Project::new(&format!(
        "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{pre_start: \"echo slow; sleep 1000\"}}"
    ));
    let up = project.moat.args(["up", "a"]).spawn();
    up.wait_stderr("pre_start: slow");
    assert_eq!(project.list()[0]["session"]["status"], "provisioning");
    assert_eq!(project.list()[0]["abandoned"], false);
    let who = format!("moat up (process {})", up.pid().as_raw_nonzero());
    project.call(&["up", "a"]).stderr_contains(&who).status(1);
    project.ok(&["down", "a"]);
    assert_eq!(up.wait().code, Some(143));
    project.assert_nothing();
}

/// W1: who lost its session takes back what it made, and not what its successor made.
#[test]
fn the_loser_removes_its_own_and_fails() {
    let project = Project::new(&server());
    let up = project
        .moat
        .args(["up", "a"])
        .checkpoint("session-processes-up")
        .spawn();
    project.moat.wait_checkpoint("session-processes-up");
    let first = project.list()[0].clone();
    // Nobody can do that with moat: the lock is there. So by hand.
    let key = first["session"]["key"].as_str().unwrap();
    for end in ["json", "lock"] {
        fs::remove_file(project.moat.home().join(format!("sessions/{key}.{end}"))).unwrap();
    }
    let second = project.up("a");
    assert_ne!(
        first["session"]["incarnation"],
        second["session"]["incarnation"]
    );
    project.moat.release_checkpoint("session-processes-up");
    let done = up.wait();
    assert_eq!(done.code, Some(1), "{done}");
    assert!(
        done.stderr_text()
            .contains("somebody else changed the session"),
        "{done}"
    );
    assert_eq!(page(web(&second)), "main", "the successor's process lives");
    assert!(tree(&second).join("page").exists());
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

#[test]
fn down_and_up_again_at_once() {
    let project = Project::new(&server());
    for _ in 0..5 {
        project.up("a");
        let down = project.moat.args(["down", "a"]).spawn();
        let up = project.moat.args(["up", "a", "--json"]).spawn();
        let (down, up) = (down.wait(), up.wait());
        let list = project.list();
        match list.first() {
            Some(session) => assert_eq!(
                (up.code, session["healthy"].clone()),
                (Some(0), true.into()),
                "{down} {up}"
            ),
            None => assert_eq!(down.code, Some(0), "{down} {up}"),
        }
        project.call(&["down", "--all"]).run();
        until("all is gone", || project.list().is_empty());
    }
    project.assert_nothing();
}

/// Names that begin alike, and the same one in two repositories, at once.
#[test]
fn what_looks_alike_is_kept_apart() {
    let project = Project::new(&server());
    let other = project.moat.root().join("other");
    project.git(&["clone", "--quiet", ".", other.to_str().unwrap()]);
    let up = |branch: &str, dir: &std::path::Path| {
        project.moat.args(["up", branch, "--json"]).cwd(dir).spawn()
    };
    let ups = [
        up("feat-a", &project.repo),
        up("feat-ab", &project.repo),
        up("feat-a", &other),
    ];
    let made: Vec<_> = ups
        .into_iter()
        .map(|up| {
            let done = up.wait();
            assert_eq!(done.code, Some(0), "{done}");
            done.json()
        })
        .collect();
    let down = project.moat.args(["down", "feat-a"]).any_stderr().spawn();
    let again = up("feat-ab", &project.repo);
    assert_eq!((down.wait().code, again.wait().code), (Some(0), Some(0)));
    for document in &made[1..] {
        assert_eq!(page(web(document)), "main");
        assert!(tree(document).join("page").exists());
    }
    assert!(!tree(&made[0]).exists());
    project.call(&["down", "--all"]).cwd(&other).success();
    assert_eq!(page(web(&made[1])), "main");
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

#[test]
fn a_pipe_that_nobody_reads_costs_nothing() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    project
        .moat
        .args(["up", "a"])
        .any_stderr()
        .stdout_to(writer)
        .run();
    assert_eq!(
        project.list()[0]["session"]["status"],
        "active",
        "it was there before the first word"
    );
    project.ok(&["down", "a"]);
    let _ = Signal::TERM;
}

/// git may take long to check out, or to run its hook; a signal ends it, and what it has made is taken back.
#[test]
fn a_signal_ends_a_slow_checkout() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let begun = project.moat.user_home().join("begun");
    let slow = format!("echo >{}; sleep 1000", begun.display());
    let hook = project.repo.join(".git/hooks/post-checkout");
    for (in_hook, signal, code) in [
        (true, Signal::TERM, 143),
        (true, Signal::INT, 130),
        (false, Signal::TERM, 143),
        (false, Signal::HUP, 129),
    ] {
        if in_hook {
            fs::create_dir_all(hook.parent().unwrap()).unwrap();
            fs::write(&hook, format!("#!/bin/sh\n{slow}\n")).unwrap();
            fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
        } else {
            let _ = fs::remove_file(&hook);
            project.git(&["config", "filter.slow.smudge", &format!("{slow}; cat")]);
            fs::write(
                project.repo.join(".git/info/attributes"),
                "page filter=slow",
            )
            .unwrap();
        }
        let running = project.call(&["up", "a"]).spawn();
        until("git is at it", || begun.exists());
        running.signal(signal);
        let done = running.wait();
        fs::remove_file(&begun).unwrap();
        assert_eq!(done.code, Some(code), "{done}");
        assert!(done.stderr_text().contains("interrupted"), "{done}");
        assert!(done.took.as_secs() < 20, "{done}");
        assert_eq!(project.git(&["branch", "--list", "a"]), "");
        project.assert_nothing();
    }
}
