//! The arguments of `bwrap`: what the sandbox sees. Facts from bubblewrap 0.8.0.

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

/// What of that is hidden again: readable if the caller is root.
const HIDDEN_FILES: [&str; 5] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
];
const HIDDEN_DIRS: [&str; 4] = [
    "/etc/ssl/private",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/etc/docker",
];

/// Where this program is inside the sandbox: it starts the workload.
pub(super) const INIT: &str = "/run/moat-init";

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
    for path in HIDDEN_FILES
        .into_iter()
        .filter(|path| Path::new(path).is_file())
    {
        add(&["--ro-bind", "/dev/null", path]);
    }
    for path in HIDDEN_DIRS.into_iter().filter(|path| is_real_dir(path)) {
        add(&["--tmpfs", path, "--remount-ro", path]);
    }
    add(&["--bind", &spec.workspace.to_string_lossy(), WORKSPACE]);
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

fn is_real_dir(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
