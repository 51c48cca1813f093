//! Resources that must be gone after a test: containers, networks, processes, incomplete directories.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Moat;
use super::docker_api::{self, Kind};

/// The time that the last supervisor gets to end after the last command of a test.
const PATIENCE: Duration = Duration::from_secs(15);

/// Returns the leftovers of the place, one per line, after waiting for them to disappear.
pub(super) fn find(moat: &Moat) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look(moat);
        if found.is_empty() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn look(moat: &Moat) -> Vec<String> {
    let mut found: Vec<String> = processes(&moat.mark())
        .iter()
        .map(|process| format!("process {} {}", process.pid, process.command))
        .collect();
    // The engine is asked only at the end, after the processes have ended.
    if found.is_empty() && moat.has_images() {
        found.extend(containers(moat).iter().map(|id| format!("container {id}")));
        found.extend(networks(moat).iter().map(|id| format!("network {id}")));
    }
    found.extend(directories(moat));
    found
}

/// Removes the leftovers of a failed test.
pub(super) fn sweep(moat: &Moat) {
    // podman's monitors carry the place's name, too: first end the containers that they monitor.
    if moat.has_images() {
        for id in containers(moat) {
            let _ = moat.client().args(["kill", &id]).output();
        }
    }
    // Twice: an adopting supervisor may have started in between.
    for _ in 0..2 {
        for process in processes(&moat.mark()) {
            let pid = rustix::process::Pid::from_raw(process.pid);
            let _ =
                pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
    if moat.is_on_apple() {
        moat.apple(&["__fake", "reset"]);
    }
    if moat.has_images() {
        for id in containers(moat) {
            let args = ["rm", "--force", "--volumes", &id];
            let _ = moat.client().args(args).output();
        }
        for id in networks(moat) {
            let _ = moat.client().args(["network", "rm", &id]).output();
        }
    }
}

/// Returns the containers with the labels of this place's homes.
pub(super) fn containers(moat: &Moat) -> Vec<String> {
    labelled(moat, Kind::Container)
}

/// Returns the networks with those labels.
pub(super) fn networks(moat: &Moat) -> Vec<String> {
    labelled(moat, Kind::Network)
}

fn labelled(moat: &Moat, kind: Kind) -> Vec<String> {
    let labels = moat.labels().all().into_iter();
    let of_label = |label| {
        docker_api::labelled(moat.runtime_of(), kind, &format!("moat.home={label}")).into_iter()
    };
    labels.flat_map(of_label).collect()
}

/// Removes the stand-in's resources besides runs, such as a builder, which moat keeps on purpose. Usually there are
/// none, and no client is called.
pub(super) fn reset_stand_in(moat: &Moat) {
    let state = moat.root().join("apple");
    // Without a namespace the stand-in was never called.
    let Ok(namespace) = fs::read_to_string(state.join("ns")) else {
        return;
    };
    let label = format!("fapple.ns={}", namespace.trim());
    let images = fs::read_to_string(state.join("images.json")).unwrap_or_default();
    let has_any = [Kind::Container, Kind::Network, Kind::Volume]
        .into_iter()
        .any(|kind| !docker_api::labelled(moat.runtime_of(), kind, &label).is_empty());
    if has_any || images.contains(&format!("fapple-{}/", namespace.trim())) {
        moat.apple(&["__fake", "reset"]);
    }
}

struct Process {
    pid: i32,
    command: String,
}

/// Returns the processes that have the place's name in their arguments, environment or mounts.
fn processes(mark: &str) -> Vec<Process> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").expect("/proc");
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter(|name| knows(&Path::new("/proc").join(name), mark.as_bytes()))
        .filter_map(|name| {
            let command = fs::read(format!("/proc/{name}/cmdline")).ok()?;
            Some(Process {
                pid: name.parse().ok()?,
                command: String::from_utf8_lossy(&command).replace('\0', " "),
            })
        })
        // Leaves out the test's own child between fork and exec, and processes that have just ended.
        .filter(|process| !process.command.is_empty() && !process.command.contains("/deps/"))
        .filter(|process| !is_everybodys(&process.command))
        .collect()
}

/// Returns whether podman started the process for all containers, with the environment of the first caller.
fn is_everybodys(command: &str) -> bool {
    let names = ["aardvark-dns ", "slirp4netns ", "catatonit -P"];
    names.iter().any(|name| command.contains(name))
}

fn knows(process: &Path, mark: &[u8]) -> bool {
    // Every process lists a mount of the common namespace; only the mount of a sandbox counts.
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let sandboxed = namespace(process) != namespace(Path::new("/proc/self"));
    let files: &[&str] = match sandboxed {
        true => &["cmdline", "environ", "mountinfo"],
        false => &["cmdline", "environ"],
    };
    files.iter().any(|file| {
        let content = fs::read(process.join(file)).unwrap_or_default();
        content.windows(mark.len()).any(|window| window == mark)
    })
}

/// Returns incomplete runs, and directories that a finished run must not have.
fn directories(moat: &Moat) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(moat.home().join("runs")).into_iter().flatten() {
        let path = entry.expect("an entry of runs/").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.')
            || ["sandbox", "shared", "scratch"]
                .iter()
                .any(|of_driver| path.join(of_driver).exists())
        {
            found.push(format!("directory {}", path.display()));
        }
    }
    found.extend(
        fs::read_dir(moat.tmp())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| !is_podmans(&entry.file_name().to_string_lossy()))
            .map(|entry| format!("temporary file {}", entry.path().display())),
    );
    found
}

/// Files that rootless podman creates there for a user without a directory under /run.
fn is_podmans(name: &str) -> bool {
    let names = ["podman-run-", "containers-user-"];
    names.iter().any(|own| name.starts_with(own))
}
