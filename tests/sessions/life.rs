//! A session from its beginning to its end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Moat, Running, Signal, skip, until, until_some};
use crate::sessions::project::{IDLE, Project, git, page, pid, server, tree, two, web};

#[test]
fn up_gives_what_down_takes_away() {
    let project = Project::new(&two());
    let made = project.up("feat-a");
    assert_eq!(made["session"]["status"], "active");
    assert_eq!(made["session"]["slot"], 1);
    assert_eq!(made["healthy"], true);
    let tree = tree(&made);
    assert_eq!(web(&made), u64::from(project.base) + 1);
    fs::write(tree.join("page"), "changed\n").unwrap();
    assert_eq!(page(web(&made)), "changed", "the worktree's own file");
    let file = fs::read_to_string(tree.join(".env.moat")).unwrap();
    assert!(
        file.contains(&format!("MOAT_WEB_PORT={}\n", web(&made))),
        "{file}"
    );
    assert!(file.contains(&format!("PORT={}\n", web(&made))), "{file}");
    assert_eq!(made["env"]["MOAT_BRANCH"], "feat-a");
    fs::write(tree.join("page"), "main\n").unwrap();
    assert_eq!(
        git(&project.moat, &tree, &["status", "--porcelain"]),
        "",
        "nothing shows in git"
    );
    project.ok(&["wt", "status", "feat-a"]);
    project.ok(&["down", "feat-a"]);
    project.assert_nothing();
    assert!(!tree.exists());
    assert!(
        project.git(&["branch"]).contains("feat-a"),
        "the branch stays"
    );
}

/// Also measures how long `up` takes when there is nothing to do.
#[test]
fn up_again_keeps_what_runs_and_is_quick() {
    let project = Project::new(&two());
    let first = project.up("a");
    let fastest = (0..5)
        .map(|_| project.call(&["up", "a", "--json"]).success().took)
        .min();
    assert!(fastest < Some(Duration::from_millis(300)), "{fastest:?}");
    let again = project.up("a");
    assert_eq!(pid(&first, "web"), pid(&again, "web"));
    for decision in again["decisions"].as_array().unwrap() {
        assert_eq!(decision["action"], "kept");
    }
    project
        .ok(&["up", "a"])
        .stdout_text()
        .contains("kept (it runs")
        .then_some(())
        .unwrap();
    project.ok(&["down", "a"]);
}

/// When one of three processes has died, the other two are kept, and the record lists all three.
#[test]
fn what_has_died_is_started_and_the_rest_is_kept() {
    let project = Project::new(&format!("{}    more: {{command: {IDLE}}}\n", two()));
    let first = project.up("a");
    kill(pid(&first, "idle"));
    until("the status shows the dead process", || {
        project.call(&["wt", "status", "a"]).run().code == Some(1)
    });
    let again = project.up("a");
    for name in ["web", "more"] {
        assert_eq!(pid(&first, name), pid(&again, name));
    }
    assert_ne!(pid(&first, "idle"), pid(&again, "idle"));
    let idle = &again["decisions"][1];
    assert_eq!(
        (&idle["action"], &idle["reason"]),
        (&"started".into(), &"had exited with code 137".into())
    );
    let forced = project.json(&["up", "a", "--force", "--services", "web"]);
    assert_ne!(pid(&forced, "web"), pid(&again, "web"));
    for name in ["idle", "more"] {
        assert_eq!(pid(&forced, name), pid(&again, name));
    }
    assert_eq!(project.list()[0]["processes"].as_array().unwrap().len(), 3);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// A process that is no longer in moat.yaml is listed while it runs, and forgotten when it has ended.
#[test]
fn what_has_left_the_file_is_told_and_then_forgotten() {
    let project = Project::new(&two());
    let made = project.up("a");
    project.configure(&server());
    let kept = project.up("a");
    let idle = &kept["decisions"][1];
    assert_eq!(
        (&idle["name"], &idle["action"]),
        (&"idle".into(), &"kept".into())
    );
    let why = "still running but no longer in moat.yaml; 'moat down' stops it";
    assert_eq!(idle["reason"], why);
    assert_eq!(pid(&kept, "idle"), pid(&made, "idle"));
    kill(pid(&made, "idle"));
    until("the status shows the dead process", || {
        project.call(&["wt", "status", "a"]).run().code == Some(1)
    });
    let again = project.up("a");
    assert_eq!(again["healthy"], true);
    assert_eq!(again["processes"].as_array().unwrap().len(), 1);
    assert_eq!(again["decisions"].as_array().unwrap().len(), 1);
    assert_eq!(pid(&again, "web"), pid(&made, "web"));
    project.ok(&["wt", "status", "a"]);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn kept_slot_and_ports_come_back() {
    let project = Project::new(&server());
    let other = project.up("other");
    let first = project.up("a");
    project.ok(&["down", "other"]);
    project.ok(&["down", "a", "--keep"]);
    let list = project.list();
    assert_eq!(
        (list.len(), &list[0]["session"]["status"]),
        (1, &"stopped".into())
    );
    assert!(tree(&first).exists());
    let again = project.up("a");
    assert_eq!(
        (web(&first), first["session"]["slot"].as_u64()),
        (web(&again), Some(2))
    );
    assert_eq!(
        project.up("new")["session"]["slot"],
        other["session"]["slot"]
    );
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

/// W18: uncommitted work survives `down`.
#[test]
fn work_that_is_not_committed_is_not_lost() {
    let project = Project::new(&server());
    let tree = tree(&project.up("a"));
    fs::write(tree.join("work"), "hours").unwrap();
    project
        .call(&["down", "a", "--delete-worktree"])
        .stderr_contains("has uncommitted work")
        .status(1);
    assert_eq!(
        project.list()[0]["session"]["status"],
        "active",
        "nothing was touched"
    );
    project
        .call(&["down", "a"])
        .stderr_contains("is kept: it has uncommitted work")
        .success();
    assert!(tree.join("work").exists() && project.list().is_empty());
    let clean = project
        .call(&["wt", "clean"])
        .stderr_contains("is kept: it has uncommitted work")
        .success();
    assert!(tree.exists(), "{clean}");
    // The next session of the branch uses the kept worktree again.
    assert_eq!(crate::sessions::project::tree(&project.up("a")), tree);
    project.ok(&["down", "a", "--delete-worktree", "--force"]);
    assert!(!tree.exists());
    project.assert_nothing();
}

/// A worktree that is kept for another reason than changed files says which.
#[test]
fn a_kept_worktree_has_its_own_reason() {
    let project = Project::new(&server());
    let library = crate::sessions::project::another(&project, "library");
    let file = "protocol.file.allow=always";
    let library = library.to_str().unwrap();
    project.git(&["-c", file, "submodule", "--quiet", "add", library, "lib"]);
    project.git(&["commit", "--quiet", "--message", "lib"]);
    let tree = tree(&project.up("a"));
    let in_tree = |args: &[&str]| git(&project.moat, &tree, args);
    let down = |why: &str| {
        let call = project.call(&["down", "a", "--delete-worktree"]);
        call.stderr_contains(why).status(1);
    };
    in_tree(&["checkout", "--quiet", "--detach"]);
    down("it has uncommitted work: its HEAD is on no branch");
    in_tree(&["checkout", "--quiet", "a"]);
    in_tree(&["update-index", "--assume-unchanged", "page"]);
    down("git was told to ignore changes of 'page' in it");
    in_tree(&["update-index", "--no-assume-unchanged", "page"]);
    in_tree(&["-c", file, "submodule", "--quiet", "update", "--init"]);
    down("the submodule 'lib' is checked out in it, and moat does not look for work there");
    project
        .call(&["down", "a"])
        .stderr_contains("is kept: the submodule 'lib' is checked out in it")
        .success();
    project
        .call(&["wt", "clean"])
        .stderr_contains("is kept: the submodule 'lib' is checked out in it")
        .success();
    project.ok(&["wt", "clean", "--force"]);
    assert!(!tree.exists());
    project.assert_nothing();
}

/// `git worktree lock` protects a worktree from removal.
#[test]
fn a_locked_worktree_is_kept() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let tree = tree(&project.up("a"));
    let place = tree.to_str().unwrap();
    project.git(&["worktree", "lock", "--reason", "in use", place]);
    let locked = "is locked (git worktree lock): in use";
    project
        .call(&["down", "a", "--delete-worktree"])
        .stderr_contains(locked)
        .status(1);
    let kept = format!("is kept: it {locked}");
    project
        .call(&["down", "a"])
        .stderr_contains(&kept)
        .success();
    project
        .call(&["wt", "clean"])
        .stderr_contains(&kept)
        .success();
    assert!(tree.exists());
    project.up("a");
    project.git(&["worktree", "unlock", place]);
    project.ok(&["down", "a"]);
    assert!(!tree.exists());
    project.up("a");
    project.git(&["worktree", "lock", place]);
    project.ok(&["down", "a", "--delete-worktree", "--force"]);
    assert!(!tree.exists());
    project.assert_nothing();
}

/// `extensions.worktreeConfig` makes `core.bare` of a repository apply to its worktrees.
#[test]
fn a_bare_repository_with_configurations_of_worktrees() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let bare = project.moat.root().join("bare.git");
    let first = project.moat.root().join("first");
    let (bare, first) = (bare.to_str().unwrap(), first.to_str().unwrap());
    project.git(&["clone", "--quiet", "--bare", ".", bare]);
    project.git(&[
        "-C", bare, "worktree", "add", "--quiet", "-b", "first", first,
    ]);
    project.git(&["-C", bare, "config", "extensions.worktreeConfig", "true"]);
    let made = project
        .call(&["up", "a", "--json"])
        .cwd(first)
        .success()
        .json();
    let place = tree(&made);
    let place = place.to_str().unwrap();
    let status = project.git(&["-C", place, "status", "--porcelain"]);
    assert_eq!(status, "");
    project.call(&["down", "a"]).cwd(first).success();
    project.assert_nothing();
}

/// git fails if its hook fails, and says nothing about a hook.
#[test]
fn a_failing_hook_of_git_is_named() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let hook = project.repo.join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho no tool >&2; exit 2\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    project
        .call(&["up", "a"])
        .stderr_contains("no tool")
        .stderr_contains(hook.to_str().unwrap())
        .status(1);
    project.assert_nothing();
}

#[test]
fn a_worktree_of_somebody_else_is_used_where_it_is_and_stays() {
    let project = Project::new(&server());
    let place = project.moat.root().join("elsewhere");
    project.git(&[
        "worktree",
        "add",
        "--quiet",
        "-b",
        "mine",
        place.to_str().unwrap(),
    ]);
    let made = project.call(&["up", "--json"]).cwd(&place).success().json();
    assert_eq!(
        (tree(&made), &made["session"]["worktree"]["created_by_moat"]),
        (place.clone(), &false.into())
    );
    project
        .call(&["down", "--delete-worktree"])
        .cwd(&place)
        .status(2);
    project.call(&["down"]).cwd(&place).success();
    assert!(place.join("page").exists() && !place.join(".env.moat").exists());
    project.git(&["worktree", "remove", place.to_str().unwrap()]);
    // The main checkout can have a session, too.
    let main = project.call(&["up", "--json"]).success().json();
    assert_eq!(tree(&main), project.repo);
    project.ok(&["down"]);
    project.assert_nothing();
}

#[test]
fn branches_come_from_here_from_a_remote_or_from_nothing() {
    let project = Project::new(&server());
    let upstream = project.moat.root().join("upstream");
    project.git(&[
        "clone",
        "--quiet",
        "--bare",
        ".",
        upstream.to_str().unwrap(),
    ]);
    project.git(&["remote", "add", "origin", upstream.to_str().unwrap()]);
    project.git(&["branch", "local"]);
    project.git(&["push", "--quiet", "origin", "main:far"]);
    project.git(&["fetch", "--quiet", "origin"]);
    for branch in ["local", "far", "new"] {
        let tree = tree(&project.up(branch));
        let head = git(&project.moat, &tree, &["symbolic-ref", "--short", "HEAD"]);
        assert_eq!(head.trim(), branch);
    }
    assert_eq!(
        project.git(&["config", "branch.far.remote"]).trim(),
        "origin"
    );
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

#[test]
fn files_that_git_does_not_have_are_inherited() {
    let project = Project::new(&format!(
        "  inherit: [.env, {{file: conf/local, mode: link}}]\n{}",
        server()
    ));
    project.commit(".gitignore", ".env\nconf\n");
    fs::write(project.repo.join(".env"), "SECRET=1\n").unwrap();
    fs::create_dir(project.repo.join("conf")).unwrap();
    fs::write(project.repo.join("conf/local"), "x").unwrap();
    let tree = tree(&project.up("a"));
    assert_eq!(fs::read_to_string(tree.join(".env")).unwrap(), "SECRET=1\n");
    assert!(tree.join("conf/local").is_symlink() && !tree.join(".env").is_symlink());
    fs::write(tree.join(".env"), "SECRET=2\n").unwrap();
    project.up("a");
    assert_eq!(
        fs::read_to_string(tree.join(".env")).unwrap(),
        "SECRET=2\n",
        "never written over"
    );
    project.ok(&["down", "a"]);
    assert_eq!(
        fs::read_to_string(project.repo.join(".env")).unwrap(),
        "SECRET=1\n"
    );
    // With an explicit empty `inherit` list, not even .env is copied.
    project.configure(&format!("  inherit: []\n{}", server()));
    assert!(
        !crate::sessions::project::tree(&project.up("b"))
            .join(".env")
            .exists()
    );
    project.ok(&["down", "b"]);
    project.assert_nothing();
}

/// A directory is copied or linked, a pattern is expanded, and what matches nothing is noted.
#[test]
fn directories_and_patterns_are_inherited() {
    let inherit = "[deps, {file: cache, mode: link}, 'conf/*.local', nothing, '*.none']";
    let project = Project::new(&format!("  inherit: {inherit}\n{}", server()));
    project.commit(".gitignore", "cache\nconf\n");
    let main = &project.repo;
    for file in [
        "deps/a/b.js",
        "cache/x",
        "conf/one.local",
        "conf/two.local",
        "conf/three",
    ] {
        let path = main.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    let said = project.ok(&["up", "a"]).stderr_text();
    for nothing in ["nothing", "*.none"] {
        let note = format!("note: session.inherit: the main checkout has no '{nothing}'\n");
        assert!(said.contains(&note), "{said}");
    }
    let tree = tree(&project.up("a"));
    assert_eq!(
        fs::read_to_string(tree.join("deps/a/b.js")).unwrap(),
        "deps/a/b.js"
    );
    assert!(!tree.join("deps").is_symlink() && tree.join("cache").is_symlink());
    assert!(tree.join("conf/one.local").is_file() && tree.join("conf/two.local").is_file());
    assert!(!tree.join("conf/three").exists());
    // git does not ignore 'deps', but an unchanged copy is no work.
    project.ok(&["down", "a"]);
    assert!(!tree.exists() && main.join("deps/a/b.js").exists() && main.join("cache/x").exists());

    // A copy that the user has changed is work, and stays.
    let tree = crate::sessions::project::tree(&project.up("b"));
    fs::write(tree.join("deps/own"), "").unwrap();
    project.ok(&["down", "b"]);
    assert!(tree.join("deps/own").exists());
    fs::remove_dir_all(&tree).unwrap();
    project.git(&["worktree", "prune"]);
}

/// Directories, patterns and entries that lead to nothing.
#[test]
fn nothing_else_is_inherited_than_what_is_asked_for() {
    let project = Project::new(&format!(
        "  inherit: [node_modules, 'packages/*/.env*', {{path: cache, mode: link}}, nothing, './app/[id]', '*/pipe', '.env*']\n{}",
        server()
    ));
    project.commit(".gitignore", "node_modules\n.env*\ncache\n");
    let repo = &project.repo;
    for dir in [
        "node_modules/.bin",
        "node_modules/a",
        "packages/one",
        "packages/two",
        "cache",
        "app/[id]",
        "app/i",
    ] {
        fs::create_dir_all(repo.join(dir)).unwrap();
    }
    fs::write(repo.join("node_modules/a/index.js"), "x").unwrap();
    symlink("../a/index.js", repo.join("node_modules/.bin/a")).unwrap();
    fs::write(repo.join("packages/one/.env.local"), "1").unwrap();
    fs::write(repo.join("packages/two/.env"), "2").unwrap();
    fs::write(repo.join("app/[id]/page"), "p").unwrap();
    fs::write(repo.join("app/i/page"), "not named").unwrap();
    fs::write(repo.join(".env.moat"), "of the main checkout").unwrap();
    fs::write(repo.join(".env.test"), "").unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(repo.join("packages/pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
    let file = fs::File::open(repo.join("node_modules/a/index.js")).unwrap();
    file.set_modified(time).unwrap();
    let made = project.up("a");
    let tree = tree(&made);
    let copied = tree.join("node_modules/a/index.js");
    assert_eq!(copied.metadata().unwrap().modified().unwrap(), time);
    assert_eq!(
        fs::read_link(tree.join("node_modules/.bin/a")).unwrap(),
        Path::new("../a/index.js")
    );
    assert_eq!(
        fs::read_link(tree.join("cache")).unwrap(),
        repo.join("cache")
    );
    assert!(tree.join("packages/one/.env.local").is_file());
    assert!(tree.join("packages/two/.env").is_file());
    assert!(tree.join("app/[id]/page").is_file() && !tree.join("app/i").exists());
    assert!(!tree.join("packages/pipe").exists());
    assert!(tree.join(".env.test").is_file());
    let variables = fs::read_to_string(tree.join(".env.moat")).unwrap();
    assert!(variables.contains("MOAT_"), "{variables}");
    let warnings = made["warnings"].to_string();
    for note in [
        "note: session.inherit: the main checkout has no 'nothing'".to_owned(),
        "note: session.inherit '*/pipe': packages/pipe: it is neither a file nor a directory"
            .into(),
    ] {
        assert!(warnings.contains(&note), "{warnings}");
    }
    assert_eq!(made["warnings"].as_array().unwrap().len(), 2, "{warnings}");
    // A change in a copy reaches nothing else, a change behind a link does.
    fs::write(tree.join("node_modules/new"), "").unwrap();
    fs::write(tree.join("cache/new"), "").unwrap();
    assert!(!repo.join("node_modules/new").exists() && repo.join("cache/new").exists());
    // git does not ignore `app`: an unchanged copy is no work, a changed one is.
    fs::write(tree.join("app/[id]/page"), "changed").unwrap();
    project
        .call(&["down", "a", "--delete-worktree"])
        .stderr_contains("has uncommitted work")
        .status(1);
    fs::write(tree.join("app/[id]/page"), "p").unwrap();
    project.ok(&["down", "a"]);
    assert!(!tree.exists() && repo.join("cache/new").exists());
    assert!(repo.join("node_modules/a/index.js").exists());
    project.assert_nothing();
}

/// In a worktree that moat did not create, `down` removes the copies that nobody changed.
#[test]
fn inherited_directories_leave_a_worktree_of_the_user() {
    let project = Project::new(&format!("  inherit: [one, two]\n{}", server()));
    for dir in ["one", "two"] {
        fs::create_dir(project.repo.join(dir)).unwrap();
        fs::write(project.repo.join(dir).join("file"), dir).unwrap();
    }
    let own = project.moat.root().join("own");
    let path = own.to_str().unwrap();
    project.git(&["worktree", "add", "--quiet", "-b", "a", path]);
    project.up("a");
    fs::write(own.join("two/file"), "changed").unwrap();
    project.ok(&["down", "a"]);
    assert!(!own.join("one").exists());
    assert_eq!(fs::read_to_string(own.join("two/file")).unwrap(), "changed");
    project.git(&["worktree", "remove", "--force", path]);
    project.assert_nothing();
}

/// A session without anything that runs says so, and why.
#[test]
fn an_empty_session_says_that_it_has_nothing() {
    let project = Project::new("  slots: 3");
    let main = project.repo.display().to_string();
    let note = |why: &str| format!("note: the session has only its worktree and a slot: {why}\n");
    let empty = note(&format!(
        "the moat.yaml in {main} has no services, and no processes or compose services in 'session'"
    ));
    project.call(&["up", "a"]).stderr_contains(&empty).success();
    fs::remove_file(project.repo.join("moat.yaml")).unwrap();
    let none = note(&format!("there is no moat.yaml in {main}"));
    project.call(&["up", "a"]).stderr_contains(&none).success();
    assert_eq!(project.up("a")["warnings"][0], none.trim_end());
    // With something to skip, the user knows.
    project.configure(&server());
    let skipped = project.json(&["up", "b", "--skip", "web"]);
    assert_eq!(skipped["warnings"].as_array().unwrap().len(), 0);
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

/// W19, W20: hooks have a timeout, and print nothing to stdout.
#[test]
fn hooks_run_where_and_when_they_say() {
    let hooks = "  hooks:\n    pre_up: pwd >>$HOME/log\n    pre_start: test -f .env.moat && echo out && echo start $MOAT_WEB_PORT >>$HOME/log\n    post_up: echo up >>$HOME/log\n    pre_down: echo pre $MOAT_SLOT >>$HOME/log\n    post_down: pwd >>$HOME/log\n    timeout: 2s\n";
    let project = Project::new(&format!("{hooks}{}", server()));
    let port = web(&project.up("a"));
    project.up("a");
    project.configure(&server());
    project.ok(&["down", "a"]);
    let log = fs::read_to_string(project.moat.user_home().join("log")).unwrap();
    let main = project.repo.display();
    assert_eq!(log, format!("{main}\nstart {port}\nup\npre 1\n{main}\n"));
    for (hook, why) in [
        ("exit 3", "exit status: 3"),
        ("sleep 100 & sleep 100", "it did not finish within 1 s"),
    ] {
        project.configure(&format!(
            "  hooks: {{post_up: {hook}, timeout: 1s}}\n{}",
            server()
        ));
        let done = project
            .call(&["up", "b"])
            .stderr_contains("the hook post_up failed")
            .stderr_contains(why)
            .status(1);
        assert_eq!(done.stdout_text(), "");
        project.assert_nothing();
        assert!(
            !project.git(&["branch"]).contains('b'),
            "the branch that 'up' created is deleted, too"
        );
    }
}

#[test]
fn json_is_one_document_always() {
    let project = Project::new(&format!(
        "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{pre_up: echo noise, pre_down: echo noise}}"
    ));
    assert_eq!(project.json(&["wt", "list"]), serde_json::json!([]));
    assert_eq!(project.json(&["wt", "recover"]), serde_json::json!({}));
    assert_eq!(project.json(&["wt", "clean"]), serde_json::json!([]));
    assert_eq!(project.json(&["down", "--all"]), serde_json::json!([]));
    project.up("a");
    assert_eq!(project.json(&["wt", "env", "a"])["MOAT_SLOT"], "1");
    assert_eq!(project.json(&["wt", "status", "a"])["healthy"], true);
    assert_eq!(project.json(&["down", "a"])["branch"], "a");
    let done = project.call(&["down", "a", "--json"]).status(1);
    assert!(done.stderr_text().starts_with("{\"error\":"), "{done}");
}

/// Scripts rely on these members. New ones may be added; none of these may be removed.
#[test]
fn documents_have_these_members() {
    let project = Project::new(&server());
    let made = project.up("a");
    let has = |document: &serde_json::Value, paths: &[&str]| {
        for path in paths {
            let found = document.pointer(path);
            assert!(found.is_some(), "{path} is missing in {document:#}");
        }
    };
    let session = [
        "/session/key",
        "/session/branch",
        "/session/status",
        "/session/slot",
        "/session/worktree/path",
        "/session/worktree/created_by_moat",
        "/session/ports/0/name",
        "/session/ports/0/port",
        "/session/ports/0/primary",
        "/session/operation",
        "/session/error",
        "/healthy",
        "/abandoned",
        "/env/MOAT_SLOT",
        "/processes/0/name",
        "/processes/0/running",
        "/processes/0/pid",
        "/processes/0/exit_code",
        "/processes/0/ports/0/listening",
        "/processes/0/ports/0/foreign_pid",
    ];
    has(&made, &session);
    has(
        &made,
        &[
            "/decisions/0/name",
            "/decisions/0/action",
            "/decisions/0/reason",
        ],
    );
    has(&project.json(&["wt", "status", "a"]), &session);
    has(&project.json(&["wt", "list"])[0], &session);
    let env = [
        "/MOAT_BRANCH",
        "/MOAT_SESSION",
        "/MOAT_WEB_PORT",
        "/MOAT_WORKTREE",
        "/PORT",
    ];
    has(&project.json(&["wt", "env", "a"]), &env);
    let answer = [
        "/kind", "/owned", "/branch", "/session", "/slot", "/name", "/run", "/detail",
    ];
    has(
        &project.json(&["whose", &format!(":{}", web(&made))]),
        &answer,
    );
    let taken = [
        "/branch",
        "/key",
        "/kept_worktree",
        "/abandoned_engines",
        "/error",
    ];
    let down = project.json(&["down", "a"]);
    has(&down, &taken);
    assert_eq!(down["abandoned_engines"], serde_json::json!([]));
}

/// W18: so does a file that a process writes while `down` ends it.
#[test]
fn work_that_is_made_last_is_not_lost() {
    let script = "trap 'echo late >late; exit 0' TERM; while :; do sleep 0.05; done";
    let text = serde_json::to_string(script).unwrap();
    let project = Project::new(&format!("  processes: {{one: {{command: {text}}}}}"));
    let tree = tree(&project.up("a"));
    project
        .call(&["down", "a"])
        .stderr_contains("is kept: it has uncommitted work")
        .success();
    assert!(tree.join("late").exists() && project.list().is_empty());
    project.up("a");
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

/// The example of a web app with a database, run without containers.
#[test]
fn the_example_counts_for_each_branch() {
    if !Command::new("python3")
        .arg("-V")
        .output()
        .is_ok_and(|done| done.status.success())
    {
        return skip("there is no python3");
    }
    let project = Project::new("  slots: 8");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sessions");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(example.join("."))
        .arg(&project.repo)
        .status();
    assert!(copied.unwrap().success());
    let text = fs::read_to_string(project.repo.join("moat.yaml")).unwrap();
    let text = text.replace("port: 4100", &format!("port: {}", project.base));
    project.commit(
        "moat.yaml",
        &text.replace("session:", "session:\n  search_range: 1"),
    );
    let (a, b) = (project.up("a"), project.up("b"));
    let ask = |made| until_some("the web server listens", || page_of(web(made)));
    assert!(ask(&a).ends_with("a: visit 1"));
    assert!(ask(&a).ends_with("a: visit 2"));
    assert!(ask(&b).ends_with("b: visit 1"));
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

/// Returns the page of the web server on this port, or `None` if nothing listens.
fn page_of(port: u64) -> Option<String> {
    let port = u16::try_from(port).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// Each of these flags would have no effect.
#[test]
fn flags_that_say_nothing_are_refused() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    project.up("a");
    for (line, why) in [
        (
            "wt list --force",
            "unknown flag '--force' for 'moat wt list'",
        ),
        (
            "wt list -b",
            "unknown flag '--background' for 'moat wt list'",
        ),
        (
            "wt status a --name q",
            "unknown flag '--name' for 'moat wt status'",
        ),
        (
            "wt env a -i",
            "unknown flag '--interactive' for 'moat wt env'",
        ),
        (
            "wt clean -b --force",
            "unknown flag '--background' for 'moat wt clean'",
        ),
        (
            "wt a --force -- true",
            "unknown flag '--force' for 'moat wt'",
        ),
        ("wt a --force", "unknown flag '--force' for 'moat wt'"),
        ("wt env a -- true", "unexpected argument 'a' for 'moat wt'"),
        ("down a --keep --force", "--keep and --force exclude"),
        ("shell a --json", "'shell' does not support --json"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let done = project.call(&words).run();
        assert_eq!(done.code, Some(2), "{line}: {done}");
        assert!(done.stderr_text().contains(why), "{line}: {done}");
    }
    assert_eq!(project.list()[0]["healthy"], true, "nothing was touched");
    project.ok(&["wt", "clean", "--force"]);
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

#[test]
fn where_there_is_no_repository_that_is_said() {
    let moat = Moat::new();
    moat.args(["up", "a"])
        .stderr_contains("is not in a git repository")
        .status(1);
    let project = Project::new(&server());
    for bad in ["-x", "a..b", "a b", "a~1", ""] {
        let done = project.call(&["up", bad]).run();
        assert_eq!(done.code, Some(2), "{bad}: {done}");
    }
    project.git(&["checkout", "--quiet", "--detach"]);
    project
        .call(&["up"])
        .stderr_contains("no branch is checked out here")
        .status(2);
}

/// Work that is done while `up` is still running survives, whether `up` succeeds or fails.
#[test]
fn work_that_is_made_before_up_is_done_is_not_lost() {
    let project = Project::new(
        "  hooks: {post_up: \"touch begun; until test -e go; do sleep 0.1; done; rm go; exit 1\"}",
    );
    let change = |branch: &str| {
        let tree =
            || Some(tree(project.list().first()?)).filter(|tree| tree.join("begun").exists());
        let tree = until_some("the hook runs", tree);
        fs::write(tree.join("page"), "hours").unwrap();
        // Files that a hook leaves count as work too, because moat cannot tell them apart.
        fs::remove_file(tree.join("begun")).unwrap();
        assert_eq!(
            project.git(&["branch", "--list", branch]).trim(),
            format!("+ {branch}")
        );
        tree
    };
    type End<'a> = &'a dyn Fn(&Running, &std::path::Path);
    let ends: [(&str, End<'_>); 3] = [
        ("failed", &|_, tree| fs::write(tree.join("go"), "").unwrap()),
        ("interrupted", &|up, _| up.signal(Signal::INT)),
        ("ended", &|_, _| {
            project
                .call(&["down", "ended"])
                .stderr_contains("is kept: it has uncommitted work")
                .success();
        }),
    ];
    for (branch, end) in ends {
        let up = project.moat.args(["up", branch]).spawn();
        let tree = change(branch);
        end(&up, &tree);
        let done = up.wait();
        assert!(
            done.stderr_text()
                .contains("is kept: it has uncommitted work"),
            "{done}"
        );
        assert_eq!(fs::read_to_string(tree.join("page")).unwrap(), "hours");
        assert!(project.list().is_empty());
        project.git(&["worktree", "remove", "--force", &tree.display().to_string()]);
    }
    let _ = fs::remove_dir_all(project.moat.home().join("worktrees"));
    project.assert_nothing();
}

/// Returns the peak memory of a process, in KiB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.map_or(0, |number| number.parse().unwrap())
}

/// moat passes on a hook's output without keeping it, and endless output delays neither the hook's end nor moat's.
#[test]
fn a_hook_that_never_stops_talking_ends_all_the_same() {
    let hook = |hook: &str| format!("  hooks: {{{hook}, timeout: 2s}}\n{}", server());
    let project = Project::new(&hook("pre_start: \"yes\""));
    for says in ["\"yes\"", "cat /dev/zero"] {
        project.configure(&hook(&format!("pre_start: {says}")));
        let mut up = project
            .call(&["up", "a"])
            .stderr_to(fs::File::create("/dev/null").unwrap())
            .spawn();
        let begun = Instant::now();
        while up.is_running() {
            let most = peak(up.pid().as_raw_nonzero().get());
            assert!(most < 128 * 1024, "{says}: {most} KiB");
            assert!(begun.elapsed().as_secs() < 15, "{says}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(up.wait().code, Some(1), "{says}");
        project.assert_nothing();
    }
    // Ctrl-C ends such a hook before its timeout.
    project.configure("  hooks: {pre_start: \"yes\"}");
    let up = project.call(&["up", "a"]).spawn();
    up.wait_stderr("pre_start: y");
    up.signal(Signal::INT);
    let done = up.wait();
    assert_eq!(done.code, Some(130));
    assert!(done.took.as_secs() < 15);
    project.assert_nothing();
    // The hook has ended, but left a process that keeps printing.
    project.configure(&hook("post_up: \"yes &\""));
    let done = project.ok(&["up", "a"]);
    assert!(done.took.as_secs() < 15);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// A rebase or another branch in the worktree changes nothing: commands there mean the worktree's session.
#[test]
fn who_stands_in_a_worktree_means_its_session() {
    let project = Project::new(&server());
    let made = project.up("a");
    let tree = tree(&made);
    let there = |args: &[&str]| project.call(args).cwd(&tree);
    for words in [&["checkout", "--detach"][..], &["switch", "-c", "b"]] {
        git(&project.moat, &tree, words);
        let status = there(&["wt", "status", "--json"]).success();
        assert_eq!(status.json()["session"]["branch"], "a", "{status}");
    }
    // The branch that is checked out comes first if it has a session of its own. Elsewhere nothing changes.
    project.call(&["wt", "status"]).status(1);
    there(&["wt", "status", "b"]).status(1);
    there(&["down"]).success();
    project.assert_nothing();
}

/// git still lists a worktree whose directory is gone; that entry does not count as work.
#[test]
fn clean_forgets_a_worktree_that_was_removed_by_hand() {
    let project = Project::new(&server());
    let tree = tree(&project.up("a"));
    fs::write(tree.join("work"), "").unwrap();
    project.ok(&["down", "a"]);
    fs::remove_dir_all(&tree).unwrap();
    let clean = project.call(&["wt", "clean"]).status(1);
    assert!(!clean.stderr_text().contains("is kept"), "{clean}");
    project.ok(&["wt", "clean", "--force"]);
    assert!(!project.git(&["worktree", "list"]).contains("worktrees"));
    project.assert_nothing();
}

/// If everything is up when the signal comes, the session stays, but no run is started.
#[test]
fn an_interrupt_before_the_run_begins_none() {
    let project = Project::new(&server());
    let at = "session-before-active";
    let running = project.call(&["wt", "a", "--", "true"]).checkpoint(at);
    let running = running.spawn();
    project.moat.wait_checkpoint(at);
    running.signal(Signal::INT);
    project.moat.release_checkpoint(at);
    let done = running.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(project.list()[0]["healthy"], true);
    let runs = project.moat.args(["list", "--all", "--quiet"]).any_stdout();
    assert_eq!(runs.success().stdout_text(), "");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}
