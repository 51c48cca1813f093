//! Limits that require a control group: memory, CPUs, number of processes.
//!
//! If the user may create control groups, a sandbox with such limits gets its own group. In version 1 that group is below
//! moat's group; in version 2 it is beside moat's group, because a group with processes has no child groups. The file
//! `cgroups` in the sandbox's directory names the groups before moat creates them. Facts from cgroups(7) and the
//! kernel's documentation of both versions.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Access;

use super::super::ContainerSpec;

const ROOT: &str = "/sys/fs/cgroup";

/// The unit of a CPU limit: microseconds of each period.
const PERIOD: f64 = 100_000.0;

/// Timeout until killed processes have left a group.
const CGROUP_EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The names of the controllers, the same in both versions.
const MEMORY: &str = "memory";
const CPU: &str = "cpu";
const PIDS: &str = "pids";

/// A sandbox's group, and the group that the shim came from.
struct Group {
    dir: PathBuf,
    from: PathBuf,
}

/// Whether sandboxes can have such limits on this host.
pub(crate) fn is_possible() -> bool {
    [MEMORY, CPU, PIDS]
        .iter()
        .all(|controller| cgroup_parent(controller).is_some())
}

/// Creates the control groups of a container, and sets their limits.
pub(super) fn make(sandbox: &Path, spec: &ContainerSpec) -> io::Result<()> {
    let limits = limits(spec);
    let mut groups: Vec<Group> = Vec::new();
    for (controller, _) in &limits {
        let (parent, from) = cgroup_parent(controller).ok_or(io::ErrorKind::Unsupported)?;
        let dir = parent.join(format!("moat-{}", spec.handle));
        if !groups.iter().any(|group| group.dir == dir) {
            groups.push(Group { dir, from });
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    write_list(sandbox, &groups)?;
    for group in &groups {
        fs::create_dir(&group.dir)?;
    }
    for (_, settings) in limits {
        for (file, value) in settings {
            set(&groups, file, &value)?;
        }
    }
    Ok(())
}

/// The settings of each required controller. A file that a version lacks is left out.
fn limits(spec: &ContainerSpec) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let mut limits = Vec::new();
    if let Some(bytes) = spec.settings.limits.memory_bytes {
        let bytes = bytes.to_string();
        limits.push((
            MEMORY,
            vec![
                ("memory.limit_in_bytes", bytes.clone()),
                // The limit includes swap: otherwise the kernel swaps as much again.
                ("memory.memsw.limit_in_bytes", bytes.clone()),
                ("memory.max", bytes),
                ("memory.swap.max", "0".to_owned()),
            ],
        ));
    }
    if let Some(cpus) = spec.settings.limits.cpus {
        let quota = (cpus * PERIOD).round().max(1000.0);
        limits.push((
            CPU,
            vec![
                ("cpu.cfs_period_us", PERIOD.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
                ("cpu.max", format!("{quota} {PERIOD}")),
            ],
        ));
    }
    if let Some(pids) = spec.settings.limits.pids {
        limits.push((PIDS, vec![("pids.max", pids.to_string())]));
    }
    limits
}

fn set(groups: &[Group], file: &str, value: &str) -> io::Result<()> {
    for path in groups.iter().map(|group| group.dir.join(file)) {
        if path.exists() {
            fs::write(&path, value)?;
        }
    }
    Ok(())
}

/// Moves this process into a sandbox's groups, so that its next child starts in them.
pub(super) fn enter(sandbox: &Path) -> io::Result<()> {
    groups(sandbox)
        .iter()
        .try_for_each(|group| join(&group.dir))
}

/// Moves this process back: the sandbox's limits do not apply to the shim.
pub(super) fn leave(sandbox: &Path) -> io::Result<()> {
    groups(sandbox)
        .iter()
        .try_for_each(|group| join(&group.from))
}

fn join(group: &Path) -> io::Result<()> {
    // 0 stands for the writing process.
    let mut file = fs::File::options()
        .write(true)
        .open(group.join("cgroup.procs"))?;
    file.write_all(b"0")
}

/// Whether the kernel killed a process of the sandbox because memory ran out.
pub(super) fn oom_killed(sandbox: &Path) -> bool {
    let counts = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count.trim() != "0")
    };
    groups(sandbox).iter().any(|group| {
        counts(group.dir.join("memory.events")) || counts(group.dir.join("memory.oom_control"))
    })
}

/// Removes the groups of a sandbox that has ended.
pub(super) fn remove(sandbox: &Path) -> io::Result<()> {
    let deadline = Instant::now() + CGROUP_EXIT_TIMEOUT;
    for group in groups(sandbox) {
        loop {
            match fs::remove_dir(&group.dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
    Ok(())
}

fn list(sandbox: &Path) -> PathBuf {
    sandbox.join("cgroups")
}

fn write_list(sandbox: &Path, groups: &[Group]) -> io::Result<()> {
    let line = |group: &Group| format!("{}\t{}\n", group.dir.display(), group.from.display());
    let text: String = groups.iter().map(line).collect();
    crate::store::write_atomically(&list(sandbox), text.as_bytes())
}

fn groups(sandbox: &Path) -> Vec<Group> {
    let text = fs::read_to_string(list(sandbox)).unwrap_or_default();
    let group = |line: &str| {
        let (dir, from) = line.split_once('\t')?;
        Some(Group {
            dir: dir.into(),
            from: from.into(),
        })
    };
    text.lines().filter_map(group).collect()
}

/// The directory in which a group with this controller can be created, and this process's group.
fn cgroup_parent(controller: &str) -> Option<(PathBuf, PathBuf)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (parent, from) =
        first_version(controller, &own).or_else(|| second_version(controller, &own))?;
    rustix::fs::access(&parent, Access::WRITE_OK | Access::EXEC_OK).ok()?;
    Some((parent, from))
}

/// Version 1: a hierarchy for each controller; lines `4:memory:/path`.
fn first_version(controller: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })?;
    let base = Path::new(ROOT).join(controller);
    let dir = base.join(path.trim_start_matches('/'));
    // Inside a container the path is often one of the host. Then the mount itself is this process's group.
    let dir = if dir.is_dir() { dir } else { base };
    dir.is_dir().then(|| (dir.clone(), dir))
}

/// Version 2: one hierarchy; the line `0::/path`.
fn second_version(controller: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let from = Path::new(ROOT).join(path.trim_start_matches('/'));
    let parent = match path {
        "/" => from.clone(),
        _ => from.parent()?.to_owned(),
    };
    let offered = fs::read_to_string(parent.join("cgroup.subtree_control")).ok()?;
    let offers = offered
        .split_ascii_whitespace()
        .any(|name| name == controller);
    offers.then_some((parent, from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_controller_is_found() {
        let own = "5:cpu,cpuacct:/nowhere\n4:memory:/\n0::/user.slice/x.scope\n";
        let dir = Path::new(ROOT).join("memory");
        let found = first_version(MEMORY, own);
        assert_eq!(found.is_some(), dir.is_dir());
        assert_eq!(first_version("nothing", own), None);
        assert_eq!(second_version("nothing", own), None);
    }
}
