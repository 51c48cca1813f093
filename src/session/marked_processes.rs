//! The processes of a session: all whose environment carries its mark, `MOAT_PROCESS=INCARNATION/NAME`, and
//! the group of each process that it started.
//!
//! On Linux both are in /proc (proc(5)): what a process was started with, and its group. Elsewhere the group
//! alone is known. Every signal goes to a pid whose start token was read together with its mark.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failpoint::scaled;
pub(super) use crate::store::MARK;
use crate::store::ProcessIdentity;

/// How long a process has to end by itself.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// How long the kernel has to end one that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a keeper may take for the last words of what it kept.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What is to be ended.
pub(super) struct ProcessSelection {
    /// The mark of its processes, or, with a '/' at the end, how they begin. Elsewhere nobody may see marks.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    pub(super) mark: String,
    /// The leaders of its process groups, as far as they are known.
    pub(super) leaders: Vec<ProcessIdentity>,
    /// They end by themselves when nothing is left to keep.
    pub(super) keepers: Vec<ProcessIdentity>,
}

/// All pids there are.
#[cfg(target_os = "linux")]
pub(super) fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// What a process is marked with. `Err`: nobody may look.
#[cfg(target_os = "linux")]
pub(super) fn mark_of(pid: u32) -> std::io::Result<Option<String>> {
    let environ = std::fs::read(format!("/proc/{pid}/environ"))?;
    let prefix = format!("{MARK}=");
    let found = environ
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(prefix.as_bytes()));
    Ok(found.map(|mark| String::from_utf8_lossy(mark).into_owned()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mark_of(_pid: u32) -> std::io::Result<Option<String>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The parent and the process group.
#[cfg(target_os = "linux")]
pub(super) fn parent_and_group(pid: u32) -> Option<(u32, u32)> {
    let [parent, group, _] = relations(pid)?;
    Some((parent, group))
}

#[cfg(target_os = "linux")]
fn session_of(pid: u32) -> Option<u32> {
    relations(pid).map(|[_, _, session]| session)
}

/// Whether it has ended, and its parent has not asked yet.
fn is_zombie(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields.starts_with('Z'))
}

/// What stands in /proc/PID/stat behind the command, which may hold spaces and parentheses.
fn fields(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.trim_start().to_owned())
}

/// The parent, the process group and the session.
#[cfg(target_os = "linux")]
fn relations(pid: u32) -> Option<[u32; 3]> {
    let fields = fields(pid)?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(not(target_os = "linux"))]
pub(super) fn family(pid: u32) -> Option<(u32, u32)> {
    let output = std::process::Command::new("/bin/ps")
        .args(["-o", "ppid=,pgid=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl ProcessSelection {
    /// The processes that are there now, the keepers and ourselves left out.
    #[cfg(target_os = "linux")]
    fn members(&self) -> Vec<ProcessIdentity> {
        let groups: Vec<u32> = self
            .leaders
            .iter()
            .filter(|leader| leader.is_alive())
            .map(|leader| leader.pid)
            .collect();
        let ours = std::process::id();
        let is_keeper = |pid: u32| self.keepers.iter().any(|keeper| keeper.pid == pid);
        // A keeper leads a session of the kernel's, which only who wants to can leave.
        let kept: Vec<u32> = self
            .keepers
            .iter()
            .filter(|keeper| keeper.is_alive())
            .map(|keeper| keeper.pid)
            .collect();
        let is_member = |pid: u32| {
            let marked = mark_of(pid).ok().flatten();
            marked.is_some_and(|mark| self.matches_mark(&mark))
                // One that was started by hand leads no group.
                || groups.contains(&pid)
                || parent_and_group(pid).is_some_and(|(_, group)| groups.contains(&group))
                || session_of(pid).is_some_and(|session| kept.contains(&session))
        };
        pids()
            .into_iter()
            .filter(|pid| *pid != ours && !is_keeper(*pid))
            // First who it is, then what it is: one that took the pid in between has another token.
            .filter_map(|pid| ProcessIdentity::of(pid).filter(|_| is_member(pid)))
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

    /// Ends all of them at once: SIGTERM, then SIGKILL for what is left after the grace. Gives what is left
    /// even then.
    pub(super) fn end(&self) -> Vec<ProcessIdentity> {
        let mut told: Vec<ProcessIdentity> = Vec::new();
        let grace = Instant::now() + scaled(GRACE_PERIOD);
        while Instant::now() < grace {
            let left = self.remaining(&told);
            if left.is_empty() {
                return self.end_monitors();
            }
            // Those that came to be meanwhile, too.
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

    /// The members, and those that were told to end and are still there: without their leader nothing else may say
    /// whose they are.
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
        let alive = || self.keepers.iter().filter(|keeper| keeper.is_alive());
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
