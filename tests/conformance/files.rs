//! The workspace, mounts, and the owners of files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::harness::{Moat, skip};

pub(crate) fn the_workspace_is_the_working_directory(moat: &Moat) {
    moat.write("here", "content\n");
    moat.sh("pwd; cat here; echo new > made")
        .stdout("/workspace\ncontent\n")
        .success();
    assert_eq!(read(&moat.workspace().join("made")), "new\n");
}

pub(crate) fn a_path_as_workspace(moat: &Moat) {
    let other = moat.workspace().join("other");
    fs::create_dir(&other).expect("a directory");
    moat.run_with(["other"], ["touch", "made"]).success();
    assert!(other.join("made").exists());
    assert_eq!(
        moat.record(&moat.only_id())["workspace"],
        other.to_string_lossy().as_ref()
    );
}

pub(crate) fn mounts_read_write(moat: &Moat) {
    let data = directory(moat, "data");
    fs::write(data.join("in"), "in\n").expect("a file");
    moat.run_with(
        ["-m", &format!("{}:/data", data.display())],
        ["sh", "-c", "cat /data/in; echo out > /data/out"],
    )
    .stdout("in\n")
    .success();
    assert_eq!(read(&data.join("out")), "out\n");
}

pub(crate) fn mounts_read_only(moat: &Moat) {
    let data = directory(moat, "data");
    fs::write(data.join("in"), "in\n").expect("a file");
    moat.run_with(
        ["-m", &format!("{}:/deep/er/data:ro", data.display())],
        [
            "sh",
            "-c",
            "cat /deep/er/data/in; echo out > /deep/er/data/out || exit 5",
        ],
    )
    .stdout("in\n")
    .stderr_contains("ead-only file system")
    .status(5);
    assert!(!data.join("out").exists());
}

/// A relative source belongs to the directory in which the command was typed.
pub(crate) fn a_mount_of_one_file(moat: &Moat) {
    let file = moat.root().join("one");
    fs::write(&file, "one\n").expect("a file");
    moat.run_with(["-m", "../one:/data/one:ro"], ["cat", "/data/one"])
        .stdout("one\n")
        .success();
}

/// Characters with a meaning in shells, CSV and mount options.
pub(crate) fn odd_paths(moat: &Moat) {
    let source = directory(moat, "a b,c\"d'e=f$g\\h*\u{e9}");
    fs::write(source.join("in"), "in\n").expect("a file");
    let workspace = directory(moat, "w:x,y\"z 'q' \u{fc}");
    fs::write(workspace.join("here"), "here\n").expect("a file");
    moat.run_with(
        ["-m", &format!("{}:/da ta,\"x':ro", source.display())],
        ["sh", "-c", "cat here \"/da ta,\\\"x'/in\""],
    )
    .cwd(&workspace)
    .stdout("here\nin\n")
    .success();
}

pub(crate) fn files_belong_to_the_owner_of_the_workspace(moat: &Moat) {
    let Some(owner) = give_away(moat) else { return };
    moat.sh("id -u; id -g; mkdir d; echo x > d/f")
        .stdout("1000\n1000\n")
        .success();
    for made in ["d", "d/f"] {
        let metadata = fs::metadata(moat.workspace().join(made)).expect("it was made");
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{made}");
    }
}

pub(crate) fn home_is_writable_for_anybody(moat: &Moat) {
    let script = r#"cd && echo x > "$HOME/f" && cat f && printf '#!/bin/sh\necho ran' > g && chmod +x g && ./g; echo t > /tmp/t && cat /tmp/t"#;
    moat.sh(script).stdout("x\nran\nt\n").success();
    if give_away(moat).is_some() {
        moat.sh(script).stdout("x\nran\nt\n").success();
    }
    assert!(!moat.user_home().join("f").exists(), "it is not our home");
}

/// Gives the workspace to another user, and returns that user. Only root can.
fn give_away(moat: &Moat) -> Option<(u32, u32)> {
    match std::os::unix::fs::chown(moat.workspace(), Some(1000), Some(1000)) {
        Ok(()) => Some((1000, 1000)),
        Err(error) => {
            skip(&format!(
                "cannot give the workspace to another user: {error}"
            ));
            None
        }
    }
}

fn directory(moat: &Moat, name: &str) -> std::path::PathBuf {
    let path = moat.root().join(name);
    fs::create_dir(&path).expect("a directory");
    path
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file")
}
