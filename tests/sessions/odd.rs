//! Unusual names, places and files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Call, Disk, Moat, Running, fnv1a, skip};
use crate::sessions::project::{IDLE, Project, git, page, server, tree, two, web};

/// W16, W17: every branch name that git allows works.
#[test]
fn any_branch_is_a_session() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let long = "x".repeat(200);
    let wide = "\u{e4}".repeat(62);
    let branches = [
        "feat/x",
        "feat-x",
        "v1.2_rc",
        "\u{65e5}\u{672c}/\u{8a9e}",
        &wide,
        &long,
        "Feat/x",
    ];
    for branch in branches {
        let made = project.up(branch);
        assert_eq!(made["session"]["branch"], branch);
    }
    let list = project.list();
    assert_eq!(list.len(), branches.len());
    let mut trees: Vec<_> = list.iter().map(tree).collect();
    trees.sort();
    trees.dedup();
    assert_eq!(trees.len(), branches.len());
    project.ok(&["down", "feat-x"]);
    assert!(
        project
            .list()
            .iter()
            .any(|one| one["session"]["branch"] == "feat/x")
    );
    project.ok(&["down", "--all"]);
    project.assert_nothing();
}

#[test]
fn a_worktree_that_was_removed_by_hand_is_made_again() {
    let project = Project::new(&server());
    let made = project.up("a");
    fs::remove_dir_all(tree(&made)).unwrap();
    let key = made["session"]["key"].as_str().unwrap();
    let why = format!("the worktree no longer exists; create it again: moat up {key}\n");
    let done = project.call(&["wt", "status", "a"]).status(1);
    assert!(done.stdout_text().contains(&why), "{done}");
    let again = project.up("a");
    assert_eq!(tree(&again), tree(&made));
    assert_eq!(again["decisions"][0]["reason"], "the worktree was missing");
    assert_eq!(
        (page(web(&again)), web(&again)),
        ("main".into(), web(&made))
    );
    fs::remove_dir_all(tree(&made)).unwrap();
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

#[test]
fn a_file_that_was_edited_meanwhile_strands_nothing() {
    let project = Project::new(&two());
    project.up("a");
    project.configure("  slots: 1");
    project.ok(&["down", "a"]);
    project.assert_nothing();
    project.configure(&server());
    project.up("a");
    fs::write(project.repo.join("moat.yaml"), "session: [").unwrap();
    project.call(&["up", "a"]).status(1);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// moat reads moat.yaml from the main checkout, whatever the current directory, and runs the code of the branch
/// (W13).
#[test]
fn the_main_checkout_has_the_file_and_the_worktree_the_code() {
    let project = Project::new(&server());
    project.git(&["checkout", "--quiet", "-b", "other"]);
    project.commit("page", "other\n");
    project.git(&["checkout", "--quiet", "main"]);
    let made = project.up("other");
    assert_eq!(page(web(&made)), "other");
    fs::write(tree(&made).join("moat.yaml"), "session: {slots: 0}\n").unwrap();
    project.call(&["up"]).cwd(tree(&made)).success();
    project
        .call(&["down", "--force"])
        .cwd(tree(&made))
        .success();
    project.assert_nothing();
}

/// Bare repositories with worktrees beside them. In a directory without moat.yaml, `check` reads the file that `up`
/// would read.
#[test]
fn check_looks_where_up_looks() {
    let project = Project::new("  slots: 3\n  processes: {web: {command: x, port: BASE}}");
    let below = project.repo.join("src/deep");
    fs::create_dir_all(&below).unwrap();
    let linked = project.moat.root().join("linked");
    let path = linked.to_str().unwrap();
    project.git(&["worktree", "add", "--quiet", "-b", "l", path]);
    fs::remove_file(linked.join("moat.yaml")).unwrap();
    let check = |dir: &Path| {
        let call = project.call(&["check", "--ports", "--json"]).cwd(dir);
        call.run().json()
    };
    for dir in [&below, &linked] {
        let last = u64::from(project.base) + 3;
        assert_eq!(check(dir)["ports"][0]["slots"][2], last);
    }
    // `check` does not look elsewhere for a directory that is named as an argument or has its own moat.yaml.
    let named = project.call(&["check", "."]).cwd(&below);
    named.stderr_contains("there is no moat.yaml").run();
    fs::write(below.join("moat.yaml"), "session: {slots: 1}\n").unwrap();
    assert_eq!(check(&below)["ports"], serde_json::json!([]));
    let outside = project.call(&["check"]).cwd(project.moat.root());
    outside
        .stderr_contains("there is no moat.yaml in '.'")
        .run();
    // The error names the file and the line.
    project.configure("  slots: 0");
    let told = check(&linked);
    let file = project.repo.join("moat.yaml");
    assert_eq!(told["problems"][0]["file"], file.to_str().unwrap());
}

#[test]
fn a_bare_repository_has_sessions_too() {
    let project = Project::new(&server());
    let bare = project.moat.root().join("bare.git");
    let main = project.moat.root().join("bare-main");
    project.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    crate::sessions::project::git(
        &project.moat,
        &bare,
        &["worktree", "add", "--quiet", main.to_str().unwrap(), "main"],
    );
    let made = project
        .call(&["up", "a", "--json"])
        .cwd(&main)
        .success()
        .json();
    assert_eq!(page(web(&made)), "main");
    project.call(&["down", "a"]).cwd(&main).success();
    assert!(project.list().is_empty());
}

/// git calls moat: neither moat nor the processes that it starts use the repository in git's variables.
#[test]
fn variables_of_git_lead_nowhere_else() {
    let project = Project::new(
        "  processes: {one: {command: 'env >$HOME/env-process; exec sleep 1000', env: {GIT_PREFIX: own}}}\n  hooks: {pre_start: 'env >$HOME/env-hook'}",
    );
    let names = git(
        &project.moat,
        &project.repo,
        &["rev-parse", "--local-env-vars"],
    );
    let names: Vec<&str> = names
        .lines()
        .filter(|name| *name != "GIT_CONFIG_COUNT")
        .collect();
    fn of_git<'a>(names: &[&str], call: Call<'a>) -> Call<'a> {
        let names = names.iter();
        names.fold(call, |call, name| call.env(name, "/nonexistent"))
    }
    of_git(&names, project.call(&["up", "a"])).success();
    let shell = project.call(&["shell", "a"]).env("SHELL", "env");
    let shell = of_git(&names, shell).success().stdout_text();
    let home = project.moat.user_home();
    let of_process = fs::read_to_string(home.join("env-process")).unwrap();
    assert!(of_process.contains("\nGIT_PREFIX=own\n"), "{of_process}");
    let of_process = of_process.replace("GIT_PREFIX", "");
    let of_hook = fs::read_to_string(home.join("env-hook")).unwrap();
    for env in [&of_process, &of_hook, &shell] {
        assert!(env.contains("MOAT_BRANCH=a\n"), "{env}");
        for name in &names {
            assert!(!env.contains(&format!("\n{name}=")), "{name}: {env}");
        }
    }
    of_git(&names, project.call(&["down", "a"])).success();
    project.assert_nothing();
}

/// A git hook in the main checkout runs `up`; git's variables then point to the main checkout.
#[test]
fn a_hook_of_git_can_bring_a_session_up() {
    let project = Project::new(
        "  processes: {one: {command: 'git status --branch --porcelain; exec sleep 1000'}}",
    );
    let script = "#!/bin/sh\nexec $MOAT up a\n";
    let hook = project.repo.join(".git/hooks/post-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    let commit = "MOAT=$0; export MOAT; exec git commit --quiet --allow-empty --message hooked";
    let done = Running::of(project.call(&[]).wrapped(&["sh", "-c", commit])).wait();
    assert_eq!(done.code, Some(0), "{done}");
    let log = project.ok(&["wt", "logs", "a", "one"]).stdout_text();
    assert!(log.contains("## a\n"), "{log}");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// The user's own worktree on a disk that is not mounted now must stay registered with git.
#[test]
fn other_worktrees_are_left_alone() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let place = project.moat.root().join("elsewhere");
    let away = project.moat.root().join("away");
    let shown = place.to_str().unwrap();
    project.git(&["worktree", "add", "--quiet", "-b", "mine", shown]);
    fs::rename(&place, &away).unwrap();
    project.up("a");
    project.ok(&["down", "a"]);
    fs::rename(&away, &place).unwrap();
    let branch =
        crate::sessions::project::git(&project.moat, &place, &["branch", "--show-current"]);
    assert_eq!(branch, "mine\n");
    project.git(&["worktree", "remove", shown]);
    project.assert_nothing();
}

/// On a full disk, sessions can be taken down, and an `up` that fails leaves nothing.
#[test]
fn a_full_disk_holds_nobody() {
    let Some(disk) = Disk::new() else { return };
    let project = Project::at(Moat::new().with_home(disk.home()), &server());
    project.up("kept");
    let ended = project.up("ended");
    disk.fill();
    let call = project.call(&["up", "late"]);
    call.stderr_contains("no space left on device").status(1);
    project.ok(&["down", "ended"]);
    assert!(!tree(&ended).exists());
    let left: Vec<_> = project
        .list()
        .iter()
        .map(|it| it["session"]["branch"].clone())
        .collect();
    assert_eq!(left, ["kept"]);
    disk.fill();
    project.ok(&["down", "kept", "--keep"]);
    disk.free();
    // The disk space that moat reserves for the session's end is reserved again.
    project.up("kept");
    disk.fill();
    project.ok(&["down", "kept"]);
    project.assert_nothing();
}

/// `up` rolls back when the disk fills up while it runs.
#[test]
fn a_disk_that_fills_up_on_the_way() {
    let Some(disk) = Disk::new() else { return };
    let fill = disk
        .home()
        .parent()
        .map(|dir| dir.join("fill").display().to_string());
    let session = format!(
        "  hooks: {{pre_start: \"cat /dev/zero >'{}' 2>/dev/null; true\"}}\n{}",
        fill.unwrap_or_default(),
        server()
    );
    let project = Project::at(Moat::new().with_home(disk.home()), &session);
    let call = project.call(&["up", "a"]);
    call.stderr_contains("no space left on device").status(1);
    project.assert_nothing();
}

/// Files that only another user can remove, such as those of root in a container, do not block the end of a session.
#[test]
fn directories_of_another_user_stay_and_the_session_goes() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become somebody else");
        return;
    }
    let project = Project::new(&server());
    project.commit(".gitignore", "node_modules\n");
    let give_to = |user: &str| {
        let mut chown = std::process::Command::new("chown");
        let done = chown.args(["-R", user]).arg(project.moat.root()).status();
        assert!(done.unwrap().success());
    };
    let nobody = |args: &[&str]| {
        let done = project.call(args).as_nobody();
        assert_eq!(done.code, Some(0), "{done}");
        done
    };
    give_to("65534:65534");
    let made = nobody(&["up", "a", "--json"]).json();
    let tree = tree(&made);
    fs::create_dir(tree.join("node_modules")).unwrap();
    fs::write(tree.join("node_modules/x"), "").unwrap();
    let said = nobody(&["down", "a", "--delete-worktree"]).stderr_text();
    let hint = format!("  hint: sudo rm -rf {}\n", tree.display());
    assert!(said.contains("warning: cannot remove"), "{said}");
    assert!(said.contains(&hint), "{said}");
    assert_eq!(nobody(&["wt", "list", "--json"]).stdout_text(), "[]\n");
    assert!(tree.join("node_modules/x").exists());
    // The directory that is left is not taken for a worktree.
    let done = project.call(&["up", "a"]).as_nobody();
    let text = done.stderr_text();
    let place = tree.display();
    let hint = format!("  hint: move that directory away: mv {place} {place}.old\n");
    assert!(
        text.contains("is in the way") && text.contains(&hint),
        "{text}"
    );
    fs::remove_dir_all(&tree).unwrap();
    nobody(&["up", "a"]);
    nobody(&["down", "a"]);
    give_to("0:0");
    project.assert_nothing();
}

/// When the worktree cannot be written any more, every command calls the session broken. `--force` gives up what lies
/// in the worktree.
#[test]
fn a_file_that_cannot_be_removed_holds_a_session_until_it_is_forced() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become somebody else");
        return;
    }
    let project = Project::new(&server());
    let give_to = |user: &str| {
        let mut chown = std::process::Command::new("chown");
        let done = chown.args(["-R", user]).arg(project.moat.root()).status();
        assert!(done.unwrap().success());
    };
    give_to("65534:65534");
    let nobody = |args: &[&str], code: i32| {
        let done = project.call(args).as_nobody();
        assert_eq!(done.code, Some(code), "{done}");
        done
    };
    let tree = tree(&nobody(&["up", "a", "--json"], 0).json());
    let mode = |mode| fs::set_permissions(&tree, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o555);
    let said = nobody(&["down", "a"], 1).stderr_text();
    assert!(said.contains(".env.moat"), "{said}");
    let status = nobody(&["wt", "status", "a", "--json"], 1).json();
    assert_eq!(status["session"]["status"], "broken");
    assert_eq!(status["healthy"], false);
    nobody(&["down", "a", "--force"], 0);
    assert_eq!(nobody(&["wt", "list", "--json"], 0).stdout_text(), "[]\n");
    if tree.exists() {
        mode(0o755);
        fs::remove_dir_all(tree.parent().unwrap()).unwrap();
    }
    give_to("0:0");
    project.git(&["worktree", "prune"]);
    project.assert_nothing();
}

/// The directory is not moat's, so `down` keeps it, and warns because git is told to ignore that path.
#[test]
fn a_directory_in_the_place_of_the_variables_is_work() {
    let project = Project::new(&server());
    let replaced = || {
        let tree = tree(&project.up("a"));
        fs::remove_file(tree.join(".env.moat")).unwrap();
        fs::create_dir(tree.join(".env.moat")).unwrap();
        fs::write(tree.join(".env.moat/work"), "hours").unwrap();
        tree
    };
    let tree = replaced();
    project
        .call(&["down", "a", "--quiet"])
        .stderr_contains("warning: ")
        .stderr_contains(".env.moat is a directory")
        .success();
    assert!(project.list().is_empty());
    assert!(tree.join(".env.moat/work").exists());
    fs::remove_dir_all(tree.join(".env.moat")).unwrap();
    replaced();
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

/// File names contain 32 bits of a hash of the branch name. Two branches with the same hash still have separate
/// sessions.
#[test]
fn a_branch_does_not_take_the_session_of_one_with_the_same_key() {
    let mut seen = HashMap::new();
    let (one, other) = (0..)
        .find_map(|number| {
            let branch = format!("{}{number}", "x".repeat(40));
            let hash = fnv1a(branch.as_bytes())[..8].to_owned();
            let earlier = seen.insert(hash, branch.clone())?;
            Some((earlier, branch))
        })
        .unwrap();
    let project = Project::new(&server());
    let made = project.up(&one);
    project
        .call(&["up", &other])
        .stderr_contains(&format!("the session of '{one}'"))
        .stderr_contains("happens to have the same key")
        .status(1);
    for args in [&["down", &other][..], &["wt", "status", &other]] {
        let why = format!("there is no session of '{other}'");
        project.call(args).stderr_contains(&why).status(1);
    }
    assert_eq!(page(web(&made)), "main");
    project.ok(&["down", &one]);
    project.up(&other);
    project.ok(&["down", &other]);
    project.assert_nothing();
}

/// Paths in a record must be valid UTF-8.
#[test]
fn paths_that_are_not_text_are_refused() {
    let project = Project::new(&server());
    let odd = project.moat.root().join(OsStr::from_bytes(b"odd \xff"));
    let home = project.moat.args(["up", "a"]).env("MOAT_HOME", &odd);
    home.stderr_contains("the path of MOAT_HOME is not UTF-8")
        .status(1);
    assert!(!odd.exists());
    fs::create_dir(&odd).unwrap();
    crate::sessions::project::init(&project.moat, &odd.join("repo"));
    let repository = project.moat.args(["up", "a"]).cwd(odd.join("repo"));
    repository
        .stderr_contains("the path of the repository is not UTF-8")
        .status(1);
    project.assert_nothing();
}

/// The repository of a submodule, or one with a separate git directory, is not beside the main checkout.
#[test]
fn a_repository_that_is_elsewhere_has_sessions_too() {
    let project = Project::new(&server());
    let git = |dir: &std::path::Path, args: &[&str]| {
        crate::sessions::project::git(&project.moat, dir, args)
    };
    let outer = project.moat.root().join("outer");
    crate::sessions::project::init(&project.moat, &outer);
    let source = project.repo.display().to_string();
    let allow = ["-c", "protocol.file.allow=always"];
    git(
        &outer,
        &[&allow[..], &["submodule", "add", "-q", &source, "sub"]].concat(),
    );
    let apart = project.moat.root().join("apart");
    let (dir, store) = (
        apart.display().to_string(),
        project.moat.root().join("store"),
    );
    let store = format!("--separate-git-dir={}", store.display());
    git(&project.repo, &["clone", "-q", &store, ".", &dir]);
    for (place, knows) in [(outer.join("sub"), true), (apart, false)] {
        let up = |dir: &std::path::Path| project.call(&["up", "--json", "a"]).cwd(dir);
        let made = up(&place).success().json();
        assert_eq!(page(web(&made)), "main");
        assert_eq!(made["session"]["main"], place.display().to_string());
        let again = up(&tree(&made)).run();
        match knows {
            true => assert_eq!(web(&again.json()), web(&made)),
            false => assert!(again.stderr_text().contains("go there"), "{again}"),
        }
        project.call(&["down", "a"]).cwd(&place).success();
    }
    project.assert_nothing();
}
