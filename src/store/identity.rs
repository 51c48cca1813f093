//! Process identity: a pid together with a token of the process's start. A reused pid has another token.
//!
//! Linux: the boot id and field 22 (start time) of `/proc/PID/stat`, see proc(5). Elsewhere (macOS): `ps -o lstart=`
//! with a fixed locale and time zone.

use rustix::process::{self, Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process that is distinguishable from a later one with the same pid.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: u32,
    pub(crate) token: String,
}

impl ProcessIdentity {
    /// The process that has this pid now. `None`: there is none.
    pub(crate) fn of_pid(pid: u32) -> Option<ProcessIdentity> {
        start_token(pid).map(|token| ProcessIdentity { pid, token })
    }

    pub(crate) fn current() -> Option<ProcessIdentity> {
        ProcessIdentity::of_pid(std::process::id())
    }

    /// Whether this very process still exists.
    pub(crate) fn is_alive(&self) -> bool {
        start_token(self.pid).is_some_and(|token| token == self.token)
    }

    /// Sends a signal if this very process still exists; returns whether it did.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| self.send(pid, signal))
    }

    /// The descriptor refers to this process even if the pid is reused before the signal. Linux before 5.3 and some
    /// containers do not offer it.
    #[cfg(target_os = "linux")]
    fn send(&self, pid: Pid, signal: Signal) -> bool {
        match process::pidfd_open(pid, process::PidfdFlags::empty()) {
            Ok(opened) => self.is_alive() && process::pidfd_send_signal(opened, signal).is_ok(),
            Err(_) => self.is_alive() && process::kill_process(pid, signal).is_ok(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, pid: Pid, signal: Signal) -> bool {
        self.is_alive() && process::kill_process(pid, signal).is_ok()
    }
}

#[cfg(target_os = "linux")]
fn start_token(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{}", boot.trim(), start_time(&stat)?))
}

/// Field 22 of `/proc/PID/stat`. The second field, the command, may contain spaces and parentheses, so fields are
/// counted from the last closing one. A zombie has exited: it has no start time here.
#[cfg(target_os = "linux")]
fn start_time(stat: &str) -> Option<&str> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18),
    }
}

#[cfg(not(target_os = "linux"))]
fn start_token(pid: u32) -> Option<String> {
    let output = std::process::Command::new("/bin/ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_token_is_not() {
        let this = ProcessIdentity::current().unwrap();
        assert!(this.is_alive());
        let other = ProcessIdentity {
            token: "someone else".into(),
            ..this
        };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::TERM));
    }

    #[test]
    fn a_signal_reaches_the_process_and_nobody_after_it() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let process = ProcessIdentity::of_pid(child.id()).unwrap();
        let stranger = ProcessIdentity {
            token: "someone else".into(),
            ..process.clone()
        };
        assert!(!stranger.signal(Signal::KILL) && process.is_alive());
        assert!(process.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!process.signal(Signal::KILL));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let tail = "S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        assert_eq!(start_time(&format!("7 (a ) b) {tail}")), Some("4711"));
        assert_eq!(
            start_time(&format!("7 (x) {}", tail.replacen('S', "Z", 1))),
            None
        );
    }
}
