//! Several commands at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::Value;

use crate::harness::{Signal, until};
use crate::sessions::project::{IDLE, Project, is_busy, page, server, tree, web};

/// Eight hooks wait for each other, so the eight sessions start in parallel. Their ports differ, and `wt list`
/// answers throughout.
#[test]
fn eight_at_once() {
    let hook = "echo >>$HOME/began; until test -e $HOME/go; do sleep 0.05; done";
    let project = Project::new(&format!("  hooks: {{pre_start: '{hook}'}}\n{}", server()));
    let home = project.moat.user_home();
    let meanwhile = |lists: usize| {
        let began = fs::read_to_string(home.join("began")).unwrap_or_default();
        if lists >= 20 && began.lines().count() == 8 {
            fs::write(home.join("go"), "").unwrap();
        }
    };
    let ports = eight(&project, meanwhile, web);
    assert!(ports.iter().all(|port| page(*port) == "main"));
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

/// Brings up eight sessions, each with a port, and checks that `wt list` answers soon unless the machine is busy.
/// Calls `meanwhile` with the number of lists so far. Returns the ports.
pub(crate) fn eight(
    project: &Project,
    meanwhile: impl Fn(usize),
    port: impl Fn(&Value) -> u64,
) -> BTreeSet<u64> {
    let was_busy = is_busy();
    let branches = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut lists = Vec::new();
    let made = project.up_at_once(&branches, || {
        lists.push(project.ok(&["wt", "list", "--json"]).took);
        meanwhile(lists.len());
    });
    let answer = Duration::from_millis(200);
    // Other programs may delay the slowest list, but not most lists.
    let slow = match was_busy || is_busy() {
        true => answer * 10,
        false => answer,
    };
    lists.sort();
    let (median, slowest) = (lists[lists.len() / 2], lists[lists.len() - 1]);
    assert!(median < answer && slowest < slow, "{median:?} {slowest:?}");
    let slots: BTreeSet<u64> = made
        .iter()
        .map(|one| one["session"]["slot"].as_u64().unwrap())
        .collect();
    let ports: BTreeSet<u64> = made.iter().map(port).collect();
    assert_eq!((slots.len(), ports.len()), (8, 8));
    ports
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

/// W1: an `up` that lost its session rolls back only what it created itself.
#[test]
fn the_loser_removes_its_own_and_fails() {
    let project = Project::new(&server());
    let (_, second) = overtaken(&project, "session-processes-up");
    assert_eq!(page(web(&second)), "main", "the successor's process lives");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// Stops an `up` at a checkpoint, loses its session, brings the session up again, and lets the first `up` continue.
/// Returns both sessions; the first is gone.
pub(crate) fn overtaken(project: &Project, at: &str) -> (Value, Value) {
    let up = project.moat.args(["up", "a"]).checkpoint(at).spawn();
    project.moat.wait_checkpoint(at);
    let first = project.list()[0].clone();
    project.lose(&first);
    let second = project.up("a");
    assert_ne!(
        first["session"]["incarnation"],
        second["session"]["incarnation"]
    );
    project.moat.release_checkpoint(at);
    let done = up.wait();
    assert_eq!(done.code, Some(1), "{done}");
    assert!(
        done.stderr_text()
            .contains("another program changed the session"),
        "{done}"
    );
    assert_eq!(project.list()[0]["healthy"], true);
    assert!(tree(&second).join("page").exists());
    (first, second)
}

/// `down`, and `up` again while the first `up` is still rolling back.
#[test]
fn an_up_begins_when_the_one_before_has_ended() {
    let hook = "  hooks: {post_up: 'test -e $HOME/second || { echo waiting; sleep 1000; }'}\n";
    let project = Project::new(&format!("{hook}{}", server()));
    let made = again_while_one_ends(&project);
    assert_eq!(page(web(&made)), "main");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// Brings up a session whose hook prints "waiting", takes it down, and brings it up again. Meanwhile the first `up`
/// is stopped at the beginning of its rollback. Returns the session after that rollback.
pub(crate) fn again_while_one_ends(project: &Project) -> Value {
    let at = "session-undo-processes";
    let first = project.moat.args(["up", "a"]).checkpoint(at).spawn();
    first.wait_stderr("waiting");
    let incarnation = project.list()[0]["session"]["incarnation"].clone();
    let mut down = project.moat.args(["down", "a"]).spawn();
    project.moat.wait_checkpoint(at);
    fs::write(project.moat.user_home().join("second"), "").unwrap();
    let who = format!("is busy: moat up (process {}", first.pid().as_raw_nonzero());
    project.call(&["up", "a"]).stderr_contains(&who).status(1);
    assert!(down.is_running(), "it waits for the end of the first");
    project.moat.release_checkpoint(at);
    let down = down.wait();
    assert_eq!(down.code, Some(0), "{down}");
    let second = project.up("a");
    assert_eq!(first.wait().code, Some(143));
    let now = project.list()[0].clone();
    assert_eq!(
        (&now["healthy"], &now["session"]["status"]),
        (&true.into(), &"active".into())
    );
    assert_ne!(now["session"]["incarnation"], incarnation);
    assert_eq!(now["processes"], second["processes"]);
    assert!(tree(&now).join("page").exists());
    now
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
        until("no session is left", || project.list().is_empty());
    }
    project.assert_nothing();
}

/// At the same time: branches with a common prefix, and the same branch in two repositories.
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
        "the session was active before the first output"
    );
    project.ok(&["down", "a"]);
}

/// A warning waits until the pipe is read, and nothing else waits for it.
#[test]
fn who_does_not_read_a_warning_holds_up_nobody() {
    let project = Project::new(&server());
    let _stranger = TcpListener::bind(("127.0.0.1", project.base + 1)).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // Fills the pipe.
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    let first = project.moat.args(["up", "a"]).stderr_to(writer).spawn();
    until("the first session exists", || !project.list().is_empty());
    let second = project.up("b");
    assert_eq!(second["session"]["slot"], 2);
    let status = project.list()[0]["session"]["status"].clone();
    assert_eq!(status, "provisioning", "it waits");
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        said
    });
    assert_eq!(first.wait().code, Some(0));
    assert!(said.join().unwrap().contains("is held by process"));
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

/// git can take long to check out or to run its hook. A signal ends git, and `up` rolls back.
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
        until("git checks out", || begun.exists());
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

/// The first `down` finishes, with the other sessions too; the second one waits for it.
#[test]
fn two_downs_are_in_nobodys_way() {
    let project = Project::new(&format!(
        "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{pre_down: 'echo waiting; sleep 1'}}"
    ));
    project.up("a");
    project.up("b");
    let all = project.call(&["down", "--all"]).spawn();
    all.wait_stderr("pre_down: waiting");
    project.ok(&["down", "a"]);
    let done = all.wait();
    assert_eq!(done.code, Some(0), "{done}");
    project.assert_nothing();
}
