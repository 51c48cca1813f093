//! The arguments of `bwrap`: the sandbox's view of the system. Facts from bubblewrap 0.8.0.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::{ContainerSpec, WORKLOAD_HOME, WORKSPACE};

/// New namespaces of all kinds. `--unshare-user` is always there, because bwrap may otherwise fall back to fewer.
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

/// The host's directories that the sandbox sees read-only, if they exist. Neither home directories nor /var.
const SHOWN_HOST_DIRS: [&str; 11] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/gnu",
];

/// The directories that every sandbox has of its own.
const SANDBOX_DIRS: [&str; 7] = ["proc", "dev", "tmp", "run", "home", "var", "sys"];

/// Whether a mount point exists or can be created: the directories of a system are read-only.
pub(crate) fn can_mount_at(rootfs: Option<&Path>, target: &str) -> bool {
    let path = target.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    let root = rootfs.unwrap_or(Path::new("/"));
    let shown = rootfs.is_some() || SHOWN_HOST_DIRS.iter().any(|shown| shown[1..] == *top);
    let made = SANDBOX_DIRS.contains(&top) || !shown || !root.join(top).exists();
    made || root.join(path).exists()
}

/// Maximum depth below a shown directory of the search for private files.
const PRIVATE_SEARCH_DEPTH: usize = 4;

/// The path of this program inside the sandbox, where it starts the workload. No mount can be at this path.
pub(super) const INIT_PATH: &str = "/.moat-init";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the arguments for a container's sandbox, without the command and the shim's additions. `dir`: the
/// directory of the sandbox's files.
pub(super) fn args(dir: &Path, spec: &ContainerSpec) -> Vec<String> {
    let mut args: Vec<String> = NAMESPACES.map(str::to_owned).to_vec();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    add(&["--die-with-parent", "--clearenv", "--hostname", "moat"]);
    // With a terminal, the shim leads the session, because the session owns the terminal.
    if spec.terminal.is_none() {
        add(&["--new-session"]);
    }
    add(&[
        "--uid",
        &spec.user().uid.to_string(),
        "--gid",
        &spec.user().gid.to_string(),
    ]);
    match &spec.settings.image.rootfs {
        Some(path) => show_rootfs(path, &mut add),
        None => {
            for path in SHOWN_HOST_DIRS {
                show(path, path, &mut add);
            }
        }
    }
    add(&["--proc", "/proc", "--dev", "/dev"]);
    for path in ["/tmp", "/run", "/home", "/var"] {
        add(&["--tmpfs", path]);
    }
    add(&[
        "--dir",
        "/var/tmp",
        "--perms",
        "0700",
        "--dir",
        WORKLOAD_HOME,
    ]);
    if spec.user().uid == 0 && spec.settings.image.rootfs.is_none() {
        // root may read files that other users may not; the workload must not.
        hide_private(Path::new("/etc"), 0, &mut add);
    }
    let workspace = super::workspace_copy::workspace(dir, spec);
    add(&["--bind", &workspace.to_string_lossy(), WORKSPACE]);
    for (_, words) in mount_args(spec) {
        add(&words);
    }
    add(&["--chdir", spec.workdir()]);
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", WORKLOAD_HOME)] {
        add(&["--setenv", name, value]);
    }
    for (name, value) in &spec.env {
        add(&["--setenv", name, value.expose()]);
    }
    args
}

/// The mounts, empty directories and hidden paths as arguments, outer ones before inner ones.
fn mount_args<'a>(spec: &'a ContainerSpec<'_>) -> Vec<(&'a str, Vec<&'a str>)> {
    let mounts = spec.binds.iter().filter_map(|mount| {
        let option = if mount.readonly {
            "--ro-bind"
        } else {
            "--bind"
        };
        let (source, target) = (mount.source.to_str()?, mount.target.as_str());
        Some((target, vec![option, source, target]))
    });
    let scratch = spec.settings.mounts.tmpfs.iter();
    let scratch = scratch.map(|path| (path.as_str(), vec!["--tmpfs", path]));
    let covers = spec.hidden_paths();
    let covers = covers.map(|path| (path.as_str(), vec!["--tmpfs", path, "--remount-ro", path]));
    let mut places: Vec<_> = mounts.chain(scratch).chain(covers).collect();
    places.sort_by_key(|(path, _)| *path);
    places
}

/// Shows the real directory `from` at `path`. A symbolic link (`/bin` to `usr/bin`) stays a link.
fn show(from: &str, path: &str, add: &mut impl FnMut(&[&str])) {
    match std::fs::read_link(from) {
        Ok(target) => add(&["--symlink", &target.to_string_lossy(), path]),
        Err(_) if Path::new(from).is_dir() => add(&["--ro-bind", from, path]),
        Err(_) => {}
    }
}

/// Shows the directories of another system, except those that every sandbox has of its own. The root directory itself
/// stays the sandbox's, so that mount points can be created.
fn show_rootfs(root: &Path, add: &mut impl FnMut(&[&str])) {
    let mut names: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names
        .iter()
        .filter(|name| !SANDBOX_DIRS.contains(&name.as_str()))
    {
        show(&root.join(name).to_string_lossy(), &format!("/{name}"), add);
    }
}

/// Hides files that not every user may read.
fn hide_private(dir: &Path, depth: usize, add: &mut impl FnMut(&[&str])) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // A symbolic link has no permissions, and its target is not looked up: /etc is full of links.
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
        } else if metadata.is_dir() && depth < PRIVATE_SEARCH_DEPTH {
            hide_private(&path, depth + 1, add);
        }
    }
}
