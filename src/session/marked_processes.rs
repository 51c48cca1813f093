//! The processes of a session: every process whose environment carries the session's mark,
//! `MOAT_PROCESS=INCARNATION/NAME`, and the process group of each process that the session started.
//!
//! On Linux, /proc has both (proc(5)): the environment at start, and the group. Other systems show only the group. A
//! signal goes only to a pid whose start token was read together with its mark.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failpoint::scaled;
pub(super) use crate::store::PROCESS_MARK_VARIABLE;
use crate::store::ProcessIdentity;

/// Grace period between SIGTERM and SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Time for the kernel to remove a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a monitor to write the last lines of its process.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The processes that are to end.
pub(super) struct ProcessSelection {
    /// The mark of the processes, or, with a final '/', the prefix of their marks. Unused where the system shows no
    /// environments.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    pub(super) mark: String,
    /// The known leaders of process groups.
    pub(super) leaders: Vec<ProcessIdentity>,
    /// The monitors, which end by themselves when their process has ended.
    pub(super) monitors: Vec<ProcessIdentity>,
}

/// All pids of the system.
#[cfg(target_os = "linux")]
pub(super) fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The mark of a process. `Err`: permission denied.
#[cfg(target_os = "linux")]
pub(super) fn mark_of(pid: u32) -> std::io::Result<Option<String>> {
    let environ = std::fs::read(format!("/proc/{pid}/environ"))?;
    let prefix = format!("{PROCESS_MARK_VARIABLE}=");
    let found = environ
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(prefix.as_bytes()));
    Ok(found.map(|mark| String::from_utf8_lossy(mark).into_owned()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mark_of(_pid: u32) -> std::io::Result<Option<String>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The parent and the process group of a process.
#[cfg(target_os = "linux")]
pub(super) fn parent_and_group(pid: u32) -> Option<(u32, u32)> {
    let [parent, group, _] = relations(pid)?;
    Some((parent, group))
}

/// The leader of the kernel session of a process.
#[cfg(target_os = "linux")]
pub(super) fn session_of(pid: u32) -> Option<u32> {
    relations(pid).map(|[_, _, session]| session)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn session_of(_pid: u32) -> Option<u32> {
    None
}

/// Whether the process is a zombie.
fn is_zombie(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields.starts_with('Z'))
}

/// The fields of /proc/PID/stat after the command, which may contain spaces and parentheses.
fn fields(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.trim_start().to_owned())
}

/// The parent, the process group and the kernel session of a process.
#[cfg(target_os = "linux")]
fn relations(pid: u32) -> Option<[u32; 3]> {
    let fields = fields(pid)?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(not(target_os = "linux"))]
pub(super) fn parent_and_group(pid: u32) -> Option<(u32, u32)> {
    let mut ps = std::process::Command::new("/bin/ps");
    crate::program::clear_environment(&mut ps, "ps");
    let output = ps
        .args(["-o", "ppid=,pgid=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl ProcessSelection {
    /// The matching processes that exist now, without monitors and this process.
    #[cfg(target_os = "linux")]
    fn members(&self) -> Vec<ProcessIdentity> {
        let groups: Vec<u32> = self
            .leaders
            .iter()
            .filter(|leader| leader.is_alive())
            .map(|leader| leader.pid)
            .collect();
        let ours = std::process::id();
        let is_keeper = |pid: u32| self.monitors.iter().any(|keeper| keeper.pid == pid);
        // A monitor leads a kernel session, which its descendants leave only on purpose.
        let kept: Vec<u32> = self
            .monitors
            .iter()
            .filter(|keeper| keeper.is_alive())
            .map(|keeper| keeper.pid)
            .collect();
        let is_member = |pid: u32| {
            let marked = mark_of(pid).ok().flatten();
            marked.is_some_and(|mark| self.matches_mark(&mark))
                // A process that the user started by hand leads no group.
                || groups.contains(&pid)
                || parent_and_group(pid).is_some_and(|(_, group)| groups.contains(&group))
                || session_of(pid).is_some_and(|session| kept.contains(&session))
        };
        pids()
            .into_iter()
            .filter(|pid| *pid != ours && !is_keeper(*pid))
            // The identity is read before the mark: a process that takes over the pid in between has another start
            // token.
            .filter_map(|pid| ProcessIdentity::of_pid(pid).filter(|_| is_member(pid)))
            .collect()
    }

    #[cfg(target_os = "linux")]
    fn matches_mark(&self, mark: &str) -> bool {
        mark == self.mark || self.mark.ends_with('/') && mark.starts_with(&self.mark)
    }

    #[cfg(not(target_os = "linux"))]
    fn members(&self) -> Vec<ProcessIdentity> {
        let leaders = self.leaders.iter().filter(|leader| leader.is_alive());
        leaders.cloned().collect()
    }

    /// Ends the processes: SIGTERM to all, then SIGKILL to those that remain after the grace period. Returns the
    /// processes that remain even then.
    pub(super) fn end(&self) -> Vec<ProcessIdentity> {
        let mut told: Vec<ProcessIdentity> = Vec::new();
        let grace = Instant::now() + scaled(GRACE_PERIOD);
        while Instant::now() < grace {
            let left = self.remaining(&told);
            if left.is_empty() {
                return self.end_monitors();
            }
            // Includes processes that were started since.
            for process in left {
                if !told.contains(&process) {
                    send(&process, Signal::TERM);
                    told.push(process);
                }
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let left = self.remaining(&told);
            if left.is_empty() {
                return self.end_monitors();
            }
            if Instant::now() >= deadline {
                return left;
            }
            for process in &left {
                send(process, Signal::KILL);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The matching processes, and those that received a signal and still exist: once their leader is gone, nothing
    /// else may identify them.
    fn remaining(&self, told: &[ProcessIdentity]) -> Vec<ProcessIdentity> {
        let mut left = self.members();
        let is_there = |process: &&ProcessIdentity| process.is_alive() && !is_zombie(process.pid);
        let others = told.iter().filter(is_there);
        let others: Vec<ProcessIdentity> =
            others.filter(|it| !left.contains(it)).cloned().collect();
        left.extend(others);
        left
    }

    fn end_monitors(&self) -> Vec<ProcessIdentity> {
        let deadline = Instant::now() + MONITOR_TIMEOUT;
        let alive = || self.monitors.iter().filter(|keeper| keeper.is_alive());
        while alive().next().is_some() && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
        for keeper in alive() {
            keeper.signal(Signal::KILL);
        }
        Vec::new()
    }
}

#[cfg(target_os = "linux")]
fn send(process: &ProcessIdentity, signal: Signal) {
    process.signal(signal);
}

#[cfg(not(target_os = "linux"))]
fn send(process: &ProcessIdentity, signal: Signal) {
    let group = i32::try_from(process.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group.filter(|_| process.is_alive()) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
