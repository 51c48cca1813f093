//! The arguments of `bwrap`: what the sandbox sees. Facts from bubblewrap 0.8.0.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::{ContainerSpec, HOME, WORKSPACE};

/// Own namespaces for everything; `--unshare-user` always, or bwrap may fall back to less.
pub(super) const NAMESPACES: [&str; 8] = [
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--unshare-net",
    "--cap-drop",
    "ALL",
];

/// What of the host is shown, read-only, where it exists. Not its home directories, not /var.
const SHOWN: [&str; 11] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/gnu",
];

/// How deep below a shown directory private files are looked for.
const DEPTH: usize = 4;

/// Where this program is inside the sandbox: it starts the workload. Beside all that can be mounted.
pub(super) const INIT: &str = "/.moat-init";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sandbox of a container, without the command and what the shim adds.
pub(super) fn args(spec: &ContainerSpec) -> Vec<String> {
    let mut args: Vec<String> = NAMESPACES.map(str::to_owned).to_vec();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    add(&[
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--hostname",
        "moat",
    ]);
    add(&[
        "--uid",
        &spec.user.uid.to_string(),
        "--gid",
        &spec.user.gid.to_string(),
    ]);
    for path in SHOWN {
        show(path, &mut add);
    }
    add(&["--proc", "/proc", "--dev", "/dev"]);
    for path in ["/tmp", "/run", "/home", "/var"] {
        add(&["--tmpfs", path]);
    }
    add(&["--dir", "/var/tmp", "--perms", "0700", "--dir", HOME]);
    if spec.user.uid == 0 {
        // Root may read what others may not; the workload is one of the others.
        hide_private(Path::new("/etc"), 0, &mut add);
    }
    add(&["--bind", &spec.workspace.to_string_lossy(), WORKSPACE]);
    for path in &spec.covered {
        add(&["--tmpfs", path, "--remount-ro", path]);
    }
    for mount in &spec.mounts {
        let option = if mount.readonly {
            "--ro-bind"
        } else {
            "--bind"
        };
        add(&[option, &mount.source.to_string_lossy(), &mount.target]);
    }
    add(&["--chdir", WORKSPACE]);
    for (name, value) in [("PATH", PATH), ("HOME", HOME)] {
        add(&["--setenv", name, value]);
    }
    for (name, value) in &spec.env {
        add(&["--setenv", name, value]);
    }
    args
}

/// A link (as `/bin` to `usr/bin`) stays a link.
fn show(path: &str, add: &mut impl FnMut(&[&str])) {
    match std::fs::read_link(path) {
        Ok(target) => add(&["--symlink", &target.to_string_lossy(), path]),
        Err(_) if Path::new(path).is_dir() => add(&["--ro-bind", path, path]),
        Err(_) => {}
    }
}

/// Covers what not everybody may read.
fn hide_private(dir: &Path, depth: usize, add: &mut impl FnMut(&[&str])) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // A link has no permissions of its own, and is not looked up: /etc is full of them.
    let real = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    for entry in real {
        let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else {
            continue;
        };
        let Some(text) = path.to_str() else { continue };
        let public = |bits| metadata.mode() & bits == bits;
        if metadata.is_file() && !public(0o004) {
            add(&["--ro-bind", "/dev/null", text]);
        } else if metadata.is_dir() && !public(0o005) {
            add(&["--tmpfs", text, "--remount-ro", text]);
        } else if metadata.is_dir() && depth < DEPTH {
            hide_private(&path, depth + 1, add);
        }
    }
}
