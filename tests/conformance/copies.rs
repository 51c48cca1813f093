//! `workspace.mode: volume`: the workload works on a copy, which an export brings back.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;

use crate::harness::Moat;

/// Path → kind, mode, owner, content.
type Tree = BTreeMap<String, (u32, u32, u32, String)>;

const KIND: u32 = 0o170_000;

fn tree(dir: &Path) -> Tree {
    let mut found = Tree::new();
    add(dir, dir, &mut found);
    found
}

fn add(root: &Path, path: &Path, found: &mut Tree) {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let name = path
        .strip_prefix(root)
        .expect("below")
        .to_string_lossy()
        .into_owned();
    let content = match metadata.mode() & KIND {
        0o120_000 => fs::read_link(path)
            .expect("a link")
            .to_string_lossy()
            .into_owned(),
        0o100_000 => fs::read_to_string(path).expect("a file"),
        _ => String::new(),
    };
    found.insert(
        name,
        (metadata.mode(), metadata.uid(), metadata.gid(), content),
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            add(root, &entry.path(), found);
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// A workspace with every kind of file that a copy can lose.
fn fill(moat: &Moat) -> Tree {
    let dir = moat.workspace();
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.write("with space.txt", "content\n");
    mode(&moat.write("run.sh", "#!/bin/sh\n"), 0o755);
    mode(&moat.write("private", "p\n"), 0o600);
    moat.write("remove me", "");
    moat.write(".hidden", "h\n");
    moat.write("-dash", "d\n");
    fs::create_dir_all(dir.join("empty/deep")).expect("directories");
    mode(&dir.join("empty"), 0o750);
    mode(&dir.join("empty/deep"), 0o1777);
    symlink("with space.txt", dir.join("link")).expect("a link");
    symlink("/nowhere/at all", dir.join("dangling")).expect("a link");
    moat.write("new\nline", "n\n");
    std::fs::hard_link(dir.join(".hidden"), dir.join("hard link")).expect("a link");
    let fifo = Command::new("mkfifo").arg(dir.join("fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    mode(&dir, 0o750);
    if rustix::process::geteuid().is_root() {
        chown(moat.write("theirs", "t\n"), Some(1234), Some(1235)).expect("root");
    }
    tree(&dir)
}

const CHANGE: &str = "cat 'with space.txt'; umask 022; echo changed >'with space.txt'; rm 'remove me'; \
    mkdir -p new/empty; chmod 700 new; ln -s ../run.sh new/link; echo x >'new/a b'; chmod 640 'new/a b'";

/// The files that must come back.
fn changed(before: &Tree) -> Tree {
    let mut tree = before.clone();
    let (uid, gid) = (before[""].1, before[""].2);
    tree.remove("remove me");
    let text = &mut tree.get_mut("with space.txt").expect("it is there").3;
    "changed\n".clone_into(text);
    let mut add = |name: &str, mode: u32, content: &str| {
        tree.insert(name.to_owned(), (mode, uid, gid, content.to_owned()));
    };
    add("new", 0o040_700, "");
    add("new/empty", 0o040_755, "");
    add("new/link", 0o120_777, "../run.sh");
    add("new/a b", 0o100_640, "x\n");
    tree
}

#[track_caller]
fn assert_tree(found: &Path, expected: &Tree) {
    let found = tree(found);
    for (name, what) in expected {
        assert_eq!(found.get(name), Some(what), "'{name}'");
    }
    let more: Vec<&String> = found
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .collect();
    assert!(more.is_empty(), "more than expected: {more:?}");
}

pub(crate) fn a_copy_comes_back_as_it_was_left(moat: &Moat) {
    let before = fill(moat);
    let (one, two) = (moat.root().join("one"), moat.root().join("two/and deeper"));
    let flags = ["--export", one.to_str().expect("text")];
    moat.run_with(flags, ["sh", "-c", CHANGE])
        .stdout("content\n")
        .success();
    assert_tree(&moat.workspace(), &before);
    assert_tree(&one, &changed(&before));
    // A later `export` gives the same files, each time.
    let id = moat.only_id();
    assert_eq!(moat.record(&id)["workspace_mode"], "volume");
    moat.args(["export", &id]).arg(&two).any_stderr().success();
    assert_tree(&two, &changed(&before));
    // The next run begins with the directory, not with the copy of the last run.
    moat.sh("cat 'with space.txt'; ls new 2>/dev/null || echo none")
        .stdout("content\nnone\n")
        .success();
}

/// The workload may do anything to its copy.
pub(crate) fn the_copy_is_the_users(moat: &Moat) {
    fill(moat);
    moat.sh(
        "touch file && rm -r empty && mv run.sh ran.sh && stat -c %u . && ls -d .hidden ./-dash",
    )
    .stdout("0\n./-dash\n.hidden\n")
    .success();
}

pub(crate) fn an_export_never_writes_over_anything(moat: &Moat) {
    fill(moat);
    let full = moat.root().join("full");
    fs::create_dir(&full).expect("a directory");
    fs::write(full.join("mine"), "mine").expect("a file");
    let path = full.to_str().expect("text");
    moat.run_with(["--export", path], ["true"])
        .stderr("error: cannot export to '[ROOT]/full': the directory is not empty\n  hint: name a directory that is empty or does not exist\n")
        .status(125);
    assert!(moat.ids().is_empty(), "found out before the run");
    moat.run(["true"]).success();
    let id = moat.only_id();
    moat.args(["export", &id, path])
        .stderr_contains("the directory is not empty")
        .status(1);
    assert_eq!(fs::read_dir(&full).expect("it is there").count(), 1);
    // `--export` needs a directory, and a foreground run.
    let file = full.join("mine");
    let file = file.to_str().expect("text");
    moat.run_with(["--export", file], ["true"])
        .stderr_contains("cannot export to")
        .status(125);
    let other = moat.root().join("other");
    let other = other.to_str().expect("text");
    moat.run_with(["-b", "--export", other], ["true"])
        .stderr_contains("--export waits for the end")
        .status(2);
    // An existing empty directory is allowed.
    fs::create_dir(other).expect("a directory");
    moat.args(["export", "-q", &id, other]).success();
    moat.write("moat.yaml", "");
    moat.run_with(["--export", "elsewhere"], ["true"])
        .stderr_contains("--export needs a copied workspace")
        .status(2);
}

pub(crate) fn the_only_copy_is_not_removed_lightly(moat: &Moat) {
    fill(moat);
    moat.run(["touch", "work"]).success();
    let id = moat.only_id();
    moat.args(["destroy", &id])
        .stderr_contains("holds the only copy of its workspace")
        .stderr_contains(&format!("moat export {id} DIR"))
        .status(1);
    let cleaned = moat
        .args(["clean", "--older-than", "1ms", "--force"])
        .any_stdout()
        .success();
    let said = cleaned.stdout_text();
    assert!(
        said.contains(&format!("kept       {id}")) && said.contains("Nothing to remove."),
        "{said}"
    );
    let json = moat
        .args(["clean", "--older-than", "1ms", "--dry-run", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(
        (&json["kept_runs"][0], json["runs"].as_array().map(Vec::len)),
        (&id.as_str().into(), Some(0))
    );
    assert_eq!(moat.ids(), [id.as_str()]);
    // After an export the record can be removed like any other.
    moat.args(["export", "-q", &id])
        .arg(moat.root().join("out"))
        .success();
    assert!(moat.root().join("out/work").exists());
    moat.args(["destroy", &id]).stdout("[ID]\n").success();
    moat.run(["true"]).success();
    let id = moat.only_id();
    moat.args(["destroy", "-f", &id]).stdout("[ID]\n").success();
    moat.run(["true"]).success();
    moat.args(["export", "-q", &moat.only_id()])
        .arg(moat.root().join("out2"))
        .success();
    moat.args(["clean", "--older-than", "1ms", "--force"])
        .any_stdout()
        .success();
    assert!(moat.ids().is_empty());
}

pub(crate) fn the_copy_of_a_failed_run_is_kept(moat: &Moat) {
    fill(moat);
    let out = moat.root().join("out");
    let flags = ["--export", out.to_str().expect("text")];
    moat.run_with(flags, ["sh", "-c", "echo half >work; exit 7"])
        .status(7);
    assert_eq!(
        fs::read_to_string(out.join("work")).expect("it is there"),
        "half\n"
    );
    let script = "echo half >work; echo ready; while :; do sleep 0.05; done";
    for (number, end) in ["kill", "stop"].into_iter().enumerate() {
        let id = moat.background(script);
        moat.wait_log(&id, "ready");
        moat.args(["export", &id])
            .arg(moat.root().join("early"))
            .stderr_contains("has not ended")
            .status(1);
        moat.args([end, &id])
            .args(if end == "stop" {
                &["--time", "1"][..]
            } else {
                &[]
            })
            .any_stdout()
            .any_stderr()
            .success();
        let out = moat.root().join(format!("out{number}"));
        moat.args(["export", "-q", &id]).arg(&out).success();
        assert_eq!(
            fs::read_to_string(out.join("work")).expect("it is there"),
            "half\n"
        );
    }
    // A run that never started has no copied workspace.
    moat.write("moat.yaml", "workspace: {mode: volume}\ntimeout: 1s\n");
    let id = moat.background(script);
    moat.args(["wait", &id]).status(124);
    moat.args(["export", "-q", &id])
        .arg(moat.root().join("late"))
        .success();
    assert!(moat.root().join("late/work").exists());
}

/// A run on the workspace directory itself has nothing to export.
pub(crate) fn a_run_without_a_copy_has_nothing_to_export(moat: &Moat) {
    moat.run(["true"]).success();
    moat.args(["export", &moat.only_id()])
        .arg(moat.root().join("out"))
        .stderr_contains("worked on the directory itself")
        .status(1);
    assert!(!moat.root().join("out").exists());
    moat.args(["destroy", &moat.only_id()])
        .stdout("[ID]\n")
        .success();
}

/// moat's own directory in the workspace is not copied.
pub(crate) fn the_home_of_moat_is_not_copied(moat: &Moat) {
    let Some(moat) = Moat::on(moat.runtime_of()) else {
        return;
    };
    let home = moat.workspace().join(".moat");
    let moat = moat.with_home(home);
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.write("file", "x\n");
    moat.sh("ls -A; cat file")
        .stdout("file\nmoat.yaml\nx\n")
        .success();
    moat.args(["export", "-q", &moat.only_id()])
        .arg(moat.root().join("out"))
        .success();
    assert!(!moat.root().join("out/.moat").exists() && moat.root().join("out/file").exists());
}

/// Ten megabytes, and a thousand files.
pub(crate) fn a_larger_copy(moat: &Moat) {
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.write("big", vec![b'x'; 10_000_000]);
    let many = moat.workspace().join("many");
    fs::create_dir(&many).expect("a directory");
    for number in 0..1000 {
        fs::write(many.join(number.to_string()), number.to_string()).expect("a file");
    }
    let out = moat.root().join("out");
    let flags = ["--export", out.to_str().expect("text")];
    moat.run_with(
        flags,
        ["sh", "-c", "ls many | wc -l; wc -c <big; rm many/7"],
    )
    .stdout("1000\n10000000\n")
    .success();
    assert_eq!(
        fs::read_dir(out.join("many")).expect("it is there").count(),
        999
    );
    assert_eq!(
        fs::metadata(out.join("big")).expect("it is there").len(),
        10_000_000
    );
}

/// A failed export changes neither the run's exit code nor its kept workspace.
pub(crate) fn a_failed_export_leaves_the_runs_code(moat: &Moat) {
    fill(moat);
    let out = moat.root().join("out");
    let signals = moat.root().join("signals");
    fs::create_dir(&signals).expect("a directory");
    let mount = format!("{}:/signals:ro", signals.display());
    for (code, status) in [(7, 7), (0, 1)] {
        let script = format!("until [ -e /signals/go ]; do sleep 0.02; done; exit {code}");
        // Nothing may be unpacked through a file.
        let _ = fs::remove_dir_all(&out);
        let _ = fs::remove_file(&out);
        let target = out.join("deep");
        let flags = ["-m", &mount, "--export", target.to_str().expect("text")];
        let client = moat.run_with(flags, ["sh", "-c", &script]).spawn();
        let id = crate::harness::until_some("a run appears", || moat.ids().pop());
        moat.wait_state(&id, "running");
        fs::write(&out, "a file").expect("a file");
        fs::write(signals.join("go"), "").expect("a file");
        let done = client.wait();
        assert_eq!(done.code, Some(status), "{done}");
        let said = done.stderr_text();
        assert!(
            said.contains("warning: ") && said.contains(&format!("moat export {id} DIR")),
            "{said}"
        );
        fs::remove_file(&out).expect("the file");
        moat.args(["export", "-q", &id]).arg(&target).success();
        assert!(target.join("run.sh").exists());
        moat.args(["destroy", &id]).any_stdout().success();
        fs::remove_file(signals.join("go")).expect("the file");
    }
}

/// A socket cannot be copied, but the run starts.
pub(crate) fn a_socket_in_the_workspace(moat: &Moat) {
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    let socket = moat.workspace().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).expect("a socket");
    moat.sh("ls").stdout("moat.yaml\n").success();
}

/// Paths of mounts are no patterns, the user's options for tar do not count, and a file keeps its fraction of a second,
/// its attributes and its holes.
pub(crate) fn a_copy_keeps_what_files_are(moat: &Moat) {
    for name in ["i", "d", "[id]/under"] {
        let path = moat.workspace().join("app").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    let file = fs::File::create(moat.workspace().join("file")).expect("a file");
    rustix::fs::fsetxattr(&file, "user.moat", b"kept", XattrFlags::empty()).expect("an attribute");
    file.set_times(FileTimes::new().set_modified(time))
        .expect("a time");
    let sparse = fs::File::create(moat.workspace().join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a hole");
    moat.write(
        "moat.yaml",
        "name: p\nworkspace: {mode: volume}\nvolumes: [{name: gen, target: '/workspace/app/[id]'}]\n",
    );
    let out = moat.root().join("out");
    moat.run_with(
        ["--export", out.to_str().expect("text")],
        [
            "sh",
            "-c",
            "cat app/i app/d; echo new >app/e; wc -c <sparse",
        ],
    )
    .env("TAR_OPTIONS", "--exclude=file --owner=nobody")
    .stdout(format!("id{}\n", 64 << 20))
    .success();
    assert_eq!(fs::read_to_string(out.join("app/d")).expect("a file"), "d");
    assert_eq!(
        fs::read_to_string(out.join("app/e")).expect("a file"),
        "new\n"
    );
    let metadata = fs::metadata(out.join("file")).expect("it is exported");
    // podman rounds to microseconds.
    let exported = metadata.modified().expect("a time");
    let distance = exported.duration_since(time);
    let distance = distance.unwrap_or_else(|error| error.duration());
    assert!(distance < Duration::from_micros(1), "{distance:?}");
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(out.join("file"), "user.moat", &mut value[..]);
    assert_eq!(&value[..length.expect("an attribute")], b"kept");
    // The engines of docker and podman write the zeros of a hole.
    if !moat.has_images() || moat.is_on_apple() {
        let sparse = fs::metadata(out.join("sparse")).expect("it is exported");
        assert!(sparse.blocks() < 2048, "{} blocks", sparse.blocks());
    }
}

/// Copying does not write to mounts inside the workspace, and the kept copy does not contain them.
pub(crate) fn what_is_mounted_in_a_copy_is_no_part_of_it(moat: &Moat) {
    let outside = moat.root().join("outside");
    for dir in ["creds", "rw", "src/left-out"] {
        fs::create_dir_all(outside.join(dir)).expect("a directory");
    }
    fs::write(outside.join("creds/token"), "TOPSECRET").expect("a file");
    fs::write(outside.join("one"), "TOPSECRET").expect("a file");
    for dir in ["rw", "deep", ".creds", "src/left-out"] {
        fs::create_dir_all(moat.workspace().join(dir)).expect("a directory");
    }
    moat.write("rw/own", "mine");
    moat.write("deep/file", "f");
    moat.write("rw2", "r");
    // apple has no mounted files inside mounted directories.
    let (one, path) = match moat.is_on_apple() {
        true => ("creds", "deep/one/token"),
        false => ("one", "deep/one"),
    };
    let yaml = format!(
        "name: p\nworkspace: {{mode: volume}}\nvolumes: [{{name: v, target: /workspace/vol}}]\n\
         mounts:\n- {0}/creds:/workspace/.creds:ro\n- {0}/rw:/workspace/rw\n- {0}/{one}:/workspace/deep/one:ro\n\
         - {{source: {0}/src, target: /workspace/src, exclude: [left-out]}}\n",
        outside.display()
    );
    moat.write("moat.yaml", yaml);
    let out = moat.root().join("out");
    let script = format!(
        "cat .creds/token {path}; ls rw; echo d >rw/d; echo v >vol/v; echo l >src/left-out/l; echo n >new"
    );
    moat.run_with(
        ["--export", out.to_str().expect("text")],
        ["sh", "-c", &script],
    )
    .stdout("TOPSECRETTOPSECRET")
    .success();
    let found: Vec<String> = tree(&out).into_keys().collect();
    assert_eq!(found, ["", "deep", "deep/file", "moat.yaml", "new", "rw2"]);
    let kept = fs::read(moat.run_dir(&moat.only_id()).join("workspace.tar")).expect("it is kept");
    assert!(!kept.windows(9).any(|bytes| bytes == b"TOPSECRET"));
    let written: Vec<String> = tree(&outside.join("rw")).into_keys().collect();
    assert_eq!(written, ["", "d"]);
    assert_eq!(
        fs::read(moat.workspace().join("rw/own")).expect("it is there"),
        b"mine"
    );
}

/// A repository may contain symbolic links to any path. A mount behind a link creates nothing on this host.
pub(crate) fn a_link_of_the_workspace_makes_nothing_outside(moat: &Moat) {
    let outside = moat.root().join("outside");
    let source = moat.root().join("source");
    for dir in [&outside, &source] {
        fs::create_dir(dir).expect("a directory");
    }
    symlink(&outside, moat.workspace().join("link")).expect("a link");
    let up = Path::new("../..").join(outside.strip_prefix("/").expect("absolute"));
    symlink(up, moat.workspace().join("up")).expect("a link");
    // bwrap sees this host's root while it creates a sandbox.
    let old = Path::new("/oldroot").join(outside.strip_prefix("/").expect("absolute"));
    symlink(old, moat.workspace().join("old")).expect("a link");
    let source = source.display();
    for mode in ["bind", "volume"] {
        for link in ["link", "up", "old"] {
            moat.write(
                "moat.yaml",
                format!("workspace: {{mode: {mode}}}\nmounts: [\"{source}:/workspace/{link}/in/side\"]\n"),
            );
            let done = moat.run(["true"]).any_stderr().run();
            let made: Vec<_> = fs::read_dir(&outside).expect("a directory").collect();
            assert!(made.is_empty(), "{mode} {link}: {made:?} {done}");
            let refuses = match moat.is_on_apple() {
                true => mode == "volume",
                false => !moat.has_images(),
            };
            if refuses {
                assert_eq!(done.code, Some(125), "{done}");
                let why = format!("cannot mount at /workspace/{link}/in/side");
                assert!(done.stderr_text().contains(&why), "{done}");
            }
        }
    }
    if moat.has_images() && !moat.is_on_apple() {
        return;
    }
    // A link that stays inside is an ordinary mount point, where the copy is a directory of this host.
    symlink("sub", moat.workspace().join("within")).expect("a link");
    fs::create_dir_all(moat.workspace().join("sub/place")).expect("a directory");
    fs::write(moat.root().join("source/f"), "f\n").expect("a file");
    moat.write(
        "moat.yaml",
        format!("workspace: {{mode: volume}}\nmounts: [\"{source}:/workspace/within/place\"]\n"),
    );
    moat.sh("cat sub/place/f").stdout("f\n").success();
}
