//! The settings of moat.yaml that every runtime supports.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::harness::{IMAGE, Moat};

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).expect("a directory");
    path
}

pub(crate) fn a_command_from_the_file(moat: &Moat) {
    moat.write("moat.yaml", "command: [echo, \"two words\", '']\n");
    let mut call = moat.args(["run", "-q"]);
    if moat.has_images() {
        call = call.args(["--image", crate::harness::IMAGE]);
    }
    call.stdout("two words \n").success();
    moat.run(["echo", "other"]).stdout("other\n").success();
}

pub(crate) fn variables_from_the_files(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "env: {FROM_YAML: 1.10, BOTH: yaml, FLAG: yaml}\nenv_file: [one.env, sub/two.env]\n",
    );
    moat.write(
        "one.env",
        "# comment\nexport ONE='a b'\nBOTH=file\nTWICE=one\nPASSED_ON\n",
    );
    directory(moat.workspace().join("sub"));
    moat.write("sub/two.env", "TWICE=two\nMULTI=\"a\\nb\"\n");
    let show = "for name in FROM_YAML BOTH FLAG ONE TWICE MULTI PASSED_ON; do eval \"echo \\\"$name=\\$$name\\\"\"; done";
    moat.run_with(["-e", "FLAG=flag"], ["sh", "-c", show])
        .env("PASSED_ON", "from outside")
        .stdout(
            "FROM_YAML=1.10\nBOTH=yaml\nFLAG=flag\nONE=a b\nTWICE=two\nMULTI=a\nb\nPASSED_ON=from outside\n",
        )
        .success();
}

/// The flags that users of docker know.
pub(crate) fn flags_of_docker(moat: &Moat) {
    moat.write("vars", "A=file\nB=file\n");
    fs::create_dir(moat.workspace().join("sub")).expect("a directory");
    let flags = [
        "--env-file",
        "vars",
        "-e",
        "B=flag",
        "-w",
        "sub",
        "-u",
        "1234:5678",
    ];
    moat.run_with(flags, ["sh", "-c", "pwd; id -u; id -g; echo $A $B"])
        .stdout("/workspace/sub\n1234\n5678\nfile flag\n")
        .success();
    // A pipe, as `--env-file <(COMMAND)` has it.
    moat.run_with(["--env-file", "/dev/stdin"], ["sh", "-c", "echo $PIPED"])
        .stdin("PIPED=yes\n")
        .stdout("yes\n")
        .success();
    let missing = moat.run_with(["--env-file", "nosuch"], ["true"]);
    let missing = missing.any_stderr().status(2);
    assert!(missing.stderr_text().contains("nosuch"), "{missing}");
    if !moat.has_images() {
        // git refuses the repository of another owner, unless it is told to accept it.
        let made = Command::new("git")
            .args(["init", "-q"])
            .current_dir(moat.workspace())
            .status();
        assert!(made.expect("git").success());
        moat.run_with(["-u", "1234:5678"], ["git", "rev-parse", "--show-toplevel"])
            .stdout("/workspace\n")
            .success();
        for flags in [["-p", "80"], ["--shm-size", "1g"]] {
            let refused = moat.run_with(flags, ["true"]).any_stderr().status(125);
            assert!(
                refused.stderr_text().contains("does not work on bwrap"),
                "{refused}"
            );
        }
        return;
    }
    if moat.is_on_apple() {
        let refused = moat.run_with(["--shm-size", "32m"], ["true"]);
        refused
            .stderr_contains("--shm-size does not work on apple")
            .status(125);
    } else {
        moat.run_with(["--shm-size", "32m"], ["df", "-k", "/dev/shm"])
            .stdout_contains("32768")
            .success();
    }
    moat.run_with(["-p", "3000"], ["true"]).success();
    let published = moat.ids().into_iter().filter(|id| {
        let ports = &moat.record(id)["ports"];
        ports[0]["container"] == 3000
    });
    assert_eq!(published.count(), 1);
    let id = moat.background("exec sleep 600");
    moat.args(["exec", &id, "echo", "-n", "--", "x"])
        .stdout("-- x")
        .success();
    moat.args(["kill", &id]).any_stdout().success();
    // The image's own command, which is a shell.
    moat.args(["run", "-q", "-i", "--image", IMAGE])
        .stdin("echo own; exit 7\n")
        .stdout("own\n")
        .status(7);
}

pub(crate) fn mounts_of_both_forms(moat: &Moat) {
    fs::write(
        directory(moat.user_home().join("data")).join("file"),
        "home\n",
    )
    .expect("a file");
    let relative = directory(moat.workspace().join("assets"));
    fs::write(relative.join("file"), "relative\n").expect("a file");
    let absolute = directory(moat.root().join("absolute"));
    fs::write(absolute.join("file"), "absolute\n").expect("a file");
    moat.write(
        "moat.yaml",
        format!(
            "mounts:\n  - ~/data:/home-data:ro\n  - {{source: assets, target: /assets, mode: ro}}\n  \
             - source: {}\n    target: /deep/er\n",
            absolute.display()
        ),
    );
    moat.sh(
        "cat /home-data/file /assets/file /deep/er/file; echo new >/deep/er/new; \
         for dir in /home-data /assets; do touch $dir/x 2>/dev/null && echo 'not read-only'; done; true",
    )
    .stdout("home\nrelative\nabsolute\n")
    .success();
    assert_eq!(read(&absolute.join("new")), "new\n");
    // A flag for the same target replaces the mount of the file; other mounts are added.
    let mount = format!("{}:/assets", absolute.display());
    moat.run_with(["-m", &mount], ["cat", "/assets/file", "/home-data/file"])
        .stdout("absolute\nhome\n")
        .success();
}

/// The mount of the workspace itself, with which files of the Go moat leave directories out, in both modes.
pub(crate) fn directories_of_the_workspace_are_excluded(moat: &Moat) {
    directory(moat.workspace().join("node_modules/theirs"));
    moat.write("file", "f\n");
    let script = "ls -A node_modules packages/a/dist && touch node_modules/x packages/a/dist/x && cat file \
                  && [ $(stat -c %u packages/a) = $(id -u) ] && [ $(stat -c %u node_modules) = $(id -u) ]";
    for mode in ["bind", "volume"] {
        moat.write(
            "moat.yaml",
            format!(
                "workspace: {{mode: {mode}}}\nmounts:\n  - source: .\n    target: /workspace\n    \
                 exclude: [node_modules, packages/a/dist]\n"
            ),
        );
        moat.sh(script)
            .stdout("node_modules:\n\npackages/a/dist:\nf\n")
            .success();
    }
    let kept = moat.workspace();
    assert!(kept.join("node_modules/theirs").is_dir() && !kept.join("node_modules/x").exists());
    // A copy brings back neither side of an excluded directory.
    let exported = moat.root().join("exported");
    let newest = moat.ids().into_iter().find(|id| {
        let record = moat.record(id);
        record["workspace_mode"] == "volume"
    });
    let id = newest.expect("a run with a copy");
    moat.args(["export", "-q", &id, exported.to_str().expect("a path")])
        .success();
    assert!(exported.join("file").is_file() && !exported.join("node_modules").exists());
}

/// Excluded directories are empty, owned by the user, writable, executable, and leave nothing behind.
pub(crate) fn excluded_directories(moat: &Moat) {
    let source = directory(moat.root().join("source"));
    directory(source.join("node_modules/theirs"));
    fs::write(source.join("file"), "f\n").expect("a file");
    moat.write(
        "moat.yaml",
        format!(
            "mounts:\n  - source: {}\n    target: /src\n    exclude: [node_modules, sub/target]\n",
            source.display()
        ),
    );
    moat.sh(
        "cd /src && ls node_modules sub/target && printf '#!/bin/sh\\necho ran\\n' >node_modules/tool \
         && chmod 755 node_modules/tool && ./node_modules/tool && mkdir sub/target/x \
         && cat file && echo changed >file && [ $(stat -c %u node_modules) = $(id -u) ] && ls sub",
    )
    .stdout("node_modules:\n\nsub/target:\nran\nf\ntarget\n")
    .success();
    assert!(
        source.join("node_modules/theirs").is_dir() && !source.join("node_modules/tool").exists()
    );
    assert!(!source.join("sub/target/x").exists());
    assert_eq!(read(&source.join("file")), "changed\n");
}

/// The mount point of the workspace cannot be excluded, so the test mounts a part of it.
pub(crate) fn a_mount_inside_the_workspace(moat: &Moat) {
    let cache = directory(moat.root().join("cache"));
    fs::write(cache.join("file"), "cached\n").expect("a file");
    moat.write(
        "moat.yaml",
        format!("mounts: [\"{}:/workspace/.cache:ro\"]\n", cache.display()),
    );
    moat.sh("cat .cache/file; echo made >made")
        .stdout("cached\n")
        .success();
    assert_eq!(read(&moat.workspace().join("made")), "made\n");
}

/// A mount point belongs to the owner of the workspace.
pub(crate) fn a_place_to_mount_on_is_the_owners(moat: &Moat) {
    if !rustix::process::geteuid().is_root() {
        crate::harness::skip("only root can give a workspace away");
        return;
    }
    std::os::unix::fs::chown(moat.workspace(), Some(1234), Some(1235)).expect("root");
    let outside = directory(moat.root().join("outside"));
    fs::write(outside.join("file"), "outside\n").expect("a file");
    let outside = outside.display();
    // apple has no mounted files inside mounted directories.
    let (source, path) = match moat.is_on_apple() {
        true => (format!("{outside}"), "c/file/file"),
        false => (format!("{outside}/file"), "c/file"),
    };
    moat.write(
        "moat.yaml",
        format!("mounts: [\"{outside}:/workspace/a/b:ro\", \"{source}:/workspace/c/file\"]\n"),
    );
    moat.sh(&format!(
        "cat a/b/file {path}; touch a/mine c/mine && echo fine"
    ))
    .stdout("outside\noutside\nfine\n")
    .success();
    for name in ["a", "a/b", "a/mine", "c", "c/file"] {
        let made = fs::metadata(moat.workspace().join(name)).expect(name);
        assert_eq!((made.uid(), made.gid()), (1234, 1235), "{name}");
    }
}

pub(crate) fn volumes_of_type_bind(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "name: shop\nvolumes: [{name: cache, target: /cache}, {name: keep, target: /deep/er/keep}]\n",
    );
    moat.sh("echo one >/cache/file; echo two >/deep/er/keep/file; stat -c %a /cache >/dev/null")
        .success();
    moat.sh("cat /cache/file /deep/er/keep/file")
        .stdout("one\ntwo\n")
        .success();
    let place = moat.home().join("volumes/shop/cache");
    assert_eq!(read(&place.join("file")), "one\n");
    let owner = fs::metadata(moat.workspace()).expect("it is there").uid();
    assert_eq!(fs::metadata(&place).expect("it is there").uid(), owner);
    let mode = fs::metadata(moat.home().join("volumes"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "nobody else may look");
    // Destroying a run leaves the volumes; another project has its own.
    for id in moat.ids() {
        moat.args(["destroy", &id]).any_stdout().success();
    }
    moat.write(
        "moat.yaml",
        "name: other\nvolumes: [{name: cache, target: /cache, readonly: true}]\n",
    );
    moat.sh("ls /cache; touch /cache/x 2>/dev/null; echo $?")
        .stdout("1\n")
        .success();
    moat.args(["volumes", "-q"])
        .stdout("other/cache\nshop/cache\nshop/keep\n")
        .success();
    moat.args(["volumes", "rm", "shop/cache"])
        .stderr_contains("no terminal")
        .status(1);
    assert!(place.exists());
    moat.args(["volumes", "rm", "-f", "shop/cache"])
        .stdout("shop/cache\n")
        .success();
    assert!(!place.exists());
    moat.args(["volumes", "-q"])
        .stdout("other/cache\nshop/keep\n")
        .success();
}

pub(crate) fn ulimits_hold_inside(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "container: {ulimits: {nofile: {soft: 123, hard: 456}, core: 0, fsize: 8192}}\n",
    );
    moat.sh("ulimit -Sn; ulimit -Hn; ulimit -c; head -c 9000 /dev/zero >big 2>/dev/null; stat -c %s big")
        .stdout("123\n456\n0\n8192\n")
        .any_stderr()
        .success();
}

pub(crate) fn a_timeout_from_the_file(moat: &Moat) {
    moat.write("moat.yaml", "timeout: 1s\n");
    moat.sh("while :; do sleep 0.05; done")
        .any_stderr()
        .status(124);
    let began = Instant::now();
    moat.run_with(["--timeout", "1h"], ["sh", "-c", "sleep 1.2; echo done"])
        .stdout("done\n")
        .success();
    assert!(began.elapsed().as_secs_f64() > 1.2, "the flag is stronger");
}

pub(crate) fn interactive_from_the_file(moat: &Moat) {
    moat.write("moat.yaml", "interactive: true\n");
    moat.run(["cat"])
        .stdin("from a pipe\n")
        .stdout("from a pipe\n")
        .success();
    assert_eq!(moat.record(&moat.only_id())["interactive"], true);
}

/// A run of a project has the project's name, with a number if the name is taken; a flag is exact.
pub(crate) fn a_project_names_its_runs(moat: &Moat) {
    moat.write("moat.yaml", "name: shop\n");
    let wait = "until [ -e /workspace/go ]; do sleep 0.02; done";
    let ids: Vec<String> = (0..3).map(|_| moat.background(wait)).collect();
    let name = |id: &String| moat.record(id)["name"].as_str().expect("a name").to_owned();
    assert_eq!(
        ids.iter().map(name).collect::<Vec<_>>(),
        ["shop", "shop-2", "shop-3"]
    );
    moat.run_with(["-n", "shop"], ["true"])
        .stderr_contains("'shop' belongs to")
        .status(125);
    moat.run_with(["-n", "exact"], ["true"]).success();
    moat.write("go", "");
    for id in &ids {
        moat.args(["wait", id]).success();
    }
    let id = moat.background("true");
    assert_eq!(name(&id), "shop", "it is free again");
    moat.args(["wait", &id]).success();
}

pub(crate) fn agent_yaml_where_moat_yaml_is_missing(moat: &Moat) {
    moat.write("agent.yaml", "env: {WHO: agent}\n");
    moat.sh("echo $WHO").stdout("agent\n").success();
    moat.write("moat.yaml", "env: {WHO: moat}\n");
    moat.sh("echo $WHO").stdout("moat\n").success();
}

/// Paths in a file are relative to the file, wherever the command is typed.
pub(crate) fn paths_are_relative_to_the_file(moat: &Moat) {
    let project = directory(moat.workspace().join("project"));
    directory(project.join("data"));
    for (name, text) in [
        (
            "moat.yaml",
            "env_file: some.env\nsecrets: {TOKEN: \"file://token\"}\nmounts: [\"./data:/data:ro\"]\n",
        ),
        ("some.env", "FROM_FILE=yes\n"),
        ("token", "12345\r\n"),
        ("data/file", "data\n"),
    ] {
        fs::write(project.join(name), text).expect("a file");
    }
    moat.run_with(
        ["project"],
        ["sh", "-c", "echo $FROM_FILE ${#TOKEN}; cat /data/file"],
    )
    .stdout("yes 5\ndata\n")
    .success();
    moat.run_with(
        ["."],
        ["sh", "-c", "echo $FROM_FILE ${#TOKEN}; cat /data/file"],
    )
    .cwd(&project)
    .stdout("yes 5\ndata\n")
    .success();
}

/// The user's defaults are weaker than the project, and are merged with it.
pub(crate) fn defaults_of_the_person(moat: &Moat) {
    moat.config(
        "defaults:\n  env: {MINE: mine, BOTH: mine}\n  timeout: 1s\n  mounts: [\"~/data:/data\"]\n",
    );
    fs::write(
        directory(moat.user_home().join("data")).join("file"),
        "data\n",
    )
    .expect("a file");
    moat.write("moat.yaml", "env: {BOTH: project}\ntimeout: 1h\n");
    moat.sh("sleep 1.2; echo $MINE $BOTH; cat /data/file")
        .stdout("mine project\ndata\n")
        .success();
}

/// A mistake creates nothing, and moat reports all mistakes.
pub(crate) fn mistakes_are_found_before_anything_is_made(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "name: shop\nenvv: {A: b}\ntimeout: soon\nenv_file: none.env\n",
    );
    let done = moat.run(["true"]).any_stderr().status(125);
    let said = done.stderr_text();
    for part in [
        "moat.yaml:2:1: unknown key 'envv' (did you mean 'env'",
        "moat.yaml:3:10: ",
        "moat.yaml:4:11: there is no file 'none.env'",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(moat.ids().is_empty());
}

/// bwrap: another root filesystem, with only a shell and its libraries.
pub(crate) fn another_root_filesystem(moat: &Moat) {
    let root = directory(moat.root().join("rootfs"));
    for program in ["/bin/sh", "/bin/cat", env!("CARGO_BIN_EXE_moat")] {
        let needed = Command::new("ldd").arg(program).output().expect("ldd");
        let text = String::from_utf8_lossy(&needed.stdout).into_owned();
        for file in text.split_whitespace().filter(|word| word.starts_with('/')) {
            copy(file, &root);
        }
    }
    copy("/bin/sh", &root);
    copy("/bin/cat", &root);
    fs::write(
        directory(root.join("etc")).join("marker"),
        "another system\n",
    )
    .expect("a file");
    directory(root.join("srv"));
    moat.write(
        "moat.yaml",
        format!("base_image: rootfs:{}\n", root.display()),
    );
    moat.sh("cat /etc/marker; [ -e /etc/passwd ] || [ -e /usr/bin/env ] || echo 'nothing of the host'; \
             echo x >/etc/marker || echo read-only; echo work >made; echo h >$HOME/x && cat $HOME/x; \
             [ -d /srv ] && [ -d /proc/self ] && echo fine")
        .stdout("another system\nnothing of the host\nread-only\nh\nfine\n")
        .any_stderr()
        .success();
    assert_eq!(read(&moat.workspace().join("made")), "work\n");
    assert_eq!(read(&root.join("etc/marker")), "another system\n");
    moat.write("moat.yaml", "base_image: rootfs:/no/such\n");
    moat.run(["true"])
        .stderr_contains("moat.yaml:1:13: cannot use the root filesystem")
        .status(125);
}

fn copy(file: &str, root: &Path) {
    let target = root.join(file.trim_start_matches('/'));
    directory(target.parent().expect("a parent").to_owned());
    fs::copy(file, &target).expect("a copy");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&target, mode).expect("executable");
}

/// bwrap: moat names every unsupported setting at once, and creates nothing.
pub(crate) fn what_a_sandbox_cannot_honour_is_named(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "name: shop\nbase_image: debian:12\ndependencies: [jq]\nhooks: {post_build: x, post_build_root: y}\n\
         ports: {web: 80}\ncontainer: {dns: [1.1.1.1]}\n\
         volumes: [{name: a, target: /a, type: volume}]\n",
    );
    let done = moat.run(["true"]).any_stderr().status(125);
    let said = done.stderr_text();
    for key in [
        "base_image",
        "dependencies",
        "post_build",
        "post_build_root",
        "ports",
        "dns",
        "type: volume",
    ] {
        assert!(
            said.contains(&format!("'{key}' does not work on bwrap")),
            "{key} in {said}"
        );
    }
    assert!(moat.ids().is_empty());
}

/// bwrap: limits by a control group, if the user may create one; otherwise moat refuses them by name.
pub(crate) fn limits_by_a_control_group(moat: &Moat) {
    moat.write(
        "moat.yaml",
        "container: {memory: 64, cpus: 0.5, pids: 20}\n",
    );
    let before = groups();
    let done = moat
        .sh("i=0; while [ $i -lt 40 ]; do sleep 2 & i=$((i+1)); done; echo all")
        .any_stdout()
        .any_stderr()
        .run();
    if done
        .stderr_text()
        .contains("'memory' does not work on bwrap")
    {
        for key in ["memory", "cpus", "pids"] {
            assert!(
                done.stderr_text()
                    .contains(&format!("'{key}' does not work on bwrap")),
                "{done}"
            );
        }
        crate::harness::skip("this user may not make control groups");
        return;
    }
    assert!(
        !done.stdout_text().contains("all"),
        "forty processes are too many: {done}"
    );
    let record = moat.record(&moat.only_id());
    assert_eq!(record["memory_bytes"], 64 << 20);
    let eat = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    moat.sh(eat).any_stderr().status(137);
    let oom = moat.ids().iter().map(|id| moat.record(id)).any(|record| {
        record["reason"] == "oom" && record["oom_killed"] == true && record["state"] == "failed"
    });
    assert!(oom, "the kernel killed it");
    assert_eq!(groups(), before, "groups are left");
}

/// The control groups of moat's runs.
fn groups() -> usize {
    let listed = Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-maxdepth",
            "6",
            "-type",
            "d",
            "-name",
            "moat-run_*",
        ])
        .output()
        .expect("find");
    String::from_utf8_lossy(&listed.stdout).lines().count()
}

/// bwrap, as root: another owner cannot reach the copy, so moat refuses it.
pub(crate) fn a_copy_for_another_owner_is_refused(moat: &Moat) {
    if !rustix::process::geteuid().is_root() {
        crate::harness::skip("only root can give a workspace away");
        return;
    }
    std::os::unix::fs::chown(moat.workspace(), Some(1234), Some(1235)).expect("root");
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.run(["true"])
        .stderr_contains("moat.yaml:1:19: ")
        .stderr_contains("another owner (uid 1234)")
        .status(125);
    assert!(moat.ids().is_empty());
}

/// moat removes read-only directories, too, if it does not run as root.
pub(crate) fn read_only_directories_can_be_removed(moat: &Moat) {
    if !rustix::process::geteuid().is_root() {
        crate::harness::skip("only root can become somebody else");
        return;
    }
    for dir in ["work", "tmp", "moat", "home"] {
        let dir = directory(moat.root().join(dir));
        std::os::unix::fs::chown(dir, Some(65534), Some(65534)).expect("root");
    }
    moat.write(
        "moat.yaml",
        "name: ro\nworkspace: {mode: volume}\nvolumes: [{name: mod, target: /go}]\n",
    );
    let script = "mkdir -p mod/x /go/x; echo 1 >mod/x/f; echo 1 >/go/x/f; chmod -R a-w mod /go/x";
    let done = moat.sh(script).as_nobody();
    assert_eq!(
        (done.code, done.stderr_text().as_str()),
        (Some(0), ""),
        "{done}"
    );
    let id = moat.only_id();
    assert!(!moat.record(&id)["cleaned_at"].is_null());
    assert!(!moat.run_dir(&id).join("sandbox").exists());
    let volumes = moat.args(["volumes", "rm", "-f", "ro/mod"]).as_nobody();
    // The command may fail because this user has no access to docker, but it removes bwrap's volume.
    assert!(!moat.home().join("volumes/ro/mod").exists(), "{volumes}");
    // An interrupted removal may leave such directories, too.
    let debris = moat.home().join("runs/.gone-run_0123456789ab");
    fs::create_dir_all(debris.join("x/y")).expect("directories");
    for dir in ["x/y", "x", ""] {
        let dir = debris.join(dir);
        std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).expect("root");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).expect("its mode");
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    fs::File::open(&debris)
        .and_then(|dir| dir.set_modified(old))
        .expect("its time");
    let clean = moat.args(["clean", "--force"]).as_nobody();
    assert!(clean.code == Some(0) && !debris.exists(), "{clean}");
    let gone = moat.args(["destroy", "-f", &id]).as_nobody();
    assert!(gone.code == Some(0) && moat.ids().is_empty(), "{gone}");
}

/// A mount inside an excluded directory is visible, and leaves nothing on the host.
pub(crate) fn a_mount_inside_an_excluded_directory(moat: &Moat) {
    for dir in ["src/cache/old", "keep"] {
        directory(moat.workspace().join(dir));
    }
    moat.write("keep/f", "kept\n");
    moat.write(
        "moat.yaml",
        "mounts: [{source: src, target: /data, exclude: [cache]}, \"keep:/data/cache/keep\", \"one:/data/cache/one\"]\n",
    );
    // apple has no mounted files inside mounted directories.
    let path = match moat.is_on_apple() {
        true => "one/one",
        false => "one",
    };
    let one = moat.workspace().join(path);
    fs::create_dir_all(one.parent().expect("a parent")).expect("a directory");
    fs::write(&one, "one\n").expect("a file");
    moat.sh(&format!(
        "ls /data/cache; cat /data/cache/keep/f /data/cache/{path}; touch /data/cache/mine"
    ))
    .stdout("keep\none\nkept\none\n")
    .success();
    let left = fs::read_dir(moat.workspace().join("src/cache")).expect("a directory");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["old"]);
}

/// bwrap: the sandbox trusts the certificates of the host's SSL_CERT_FILE.
pub(crate) fn certificates_of_the_host(moat: &Moat) {
    let usual = "/etc/ssl/certs/ca-certificates.crt";
    if !Path::new(usual).exists() {
        crate::harness::skip("this system has no certificates");
        return;
    }
    let own = "-----BEGIN CERTIFICATE-----\nown\n";
    let file = moat.root().join("own.pem");
    fs::write(&file, own).expect("a file");
    let script = "cat /etc/ssl/certs/ca-certificates.crt; cat \"$SSL_CERT_FILE\" \"$PIP_CERT\"";
    moat.write(
        "moat.yaml",
        "container: {host_ca: true}\nenv: {PIP_CERT: /dev/null}\n",
    );
    moat.sh(script)
        .env("SSL_CERT_FILE", &file)
        .stdout(own.repeat(2))
        .success();
    moat.write("moat.yaml", "");
    moat.sh("cat /etc/ssl/certs/ca-certificates.crt; echo \"${SSL_CERT_FILE-none}\"")
        .env("SSL_CERT_FILE", &file)
        .stdout(read(Path::new(usual)) + "none\n")
        .success();
}
