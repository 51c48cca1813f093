//! What must not be there after a test: containers, networks, processes, half-made directories.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Moat;
use super::docker_api::{self, Kind};

/// How long the last supervisor may take to finish after the last command of a test.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is left of the place, as one line each; waits for it to go away.
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
    // The engine is asked at the end alone: first let the processes go.
    if found.is_empty() && moat.has_images() {
        found.extend(containers(moat).iter().map(|id| format!("container {id}")));
        found.extend(networks(moat).iter().map(|id| format!("network {id}")));
    }
    found.extend(directories(moat));
    found
}

/// Ends what is left after a test that has failed anyway.
pub(super) fn sweep(moat: &Moat) {
    // podman's monitors know of the place, too: first let it end what they watch.
    if moat.has_images() {
        for id in containers(moat) {
            let _ = moat.client().args(["kill", &id]).output();
        }
    }
    // Twice: an adopter may have come to be in between.
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

/// The containers that carry the label of this place's MOAT_HOME.
pub(super) fn containers(moat: &Moat) -> Vec<String> {
    labelled(moat, Kind::Container)
}

/// The networks that carry it.
pub(super) fn networks(moat: &Moat) -> Vec<String> {
    labelled(moat, Kind::Network)
}

fn labelled(moat: &Moat, kind: Kind) -> Vec<String> {
    let label = format!("moat.home={}", moat.label());
    docker_api::labelled(moat.runtime_of(), kind, &label)
}

/// Removes what the stand-in has beside the runs, such as a builder, which is not ours to miss. Mostly there
/// is nothing, and nobody is called for it.
pub(super) fn reset_stand_in(moat: &Moat) {
    let state = moat.root().join("apple");
    // Without a namespace it was never called.
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

/// The processes that know of the place: by their arguments, environment or mounts.
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
        // Ours between fork and exec, and those that have just ended.
        .filter(|process| !process.command.is_empty() && !process.command.contains("/deps/"))
        .filter(|process| !is_everybodys(&process.command))
        .collect()
}

/// What podman starts for all containers at once, with the environment of whoever comes first.
fn is_everybodys(command: &str) -> bool {
    let names = ["aardvark-dns ", "slirp4netns ", "catatonit -P"];
    names.iter().any(|name| command.contains(name))
}

fn knows(process: &Path, mark: &[u8]) -> bool {
    // A mount in our own namespace is in everybody's list; only that of a sandbox tells.
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

/// Directories that a finished run does not have, and runs that are half made or half gone.
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

/// What rootless podman makes there for a user without a directory under /run.
fn is_podmans(name: &str) -> bool {
    let names = ["podman-run-", "containers-user-"];
    names.iter().any(|own| name.starts_with(own))
}
