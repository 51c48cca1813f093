//! The host's programs that podman requires, and hints for missing ones. podman's package contains or recommends all
//! of them (Debian 12).

use std::path::Path;

use super::super::error::{Result, RuntimeError};
use super::dialect::{can_limit, is_rootless};
use crate::program::is_on_path;

/// A requirement: podman's message without it, and the hint.
struct Requirement {
    words: &'static str,
    hint: &'static str,
}

/// Other messages that name the program have other causes.
const NO_NEWUIDMAP: &str = "\"newuidmap\": executable file not found";

const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        words: "container-init binary not found",
        hint: "install the init of podman's containers: apt-get install catatonit",
    },
    Requirement {
        words: NO_NEWUIDMAP,
        hint: "install what maps users: apt-get install uidmap",
    },
    Requirement {
        words: "no subuid ranges found",
        hint: "give yourself a range of users, as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER; then: podman system migrate",
    },
    Requirement {
        words: "/dev/net/tun",
        hint: "networks of containers without root need it: as root, modprobe tun, and chmod 0666 /dev/net/tun",
    },
    Requirement {
        words: "could not find slirp4netns",
        hint: "install the networks of containers without root: apt-get install slirp4netns",
    },
    Requirement {
        words: "error setting rlimit type",
        hint: "podman may not raise limits here, and a limit in moat.yaml (container.ulimits) is above ours: lower it (ulimit -Ha shows ours)",
    },
    Requirement {
        words: "could not find \"netavark\"",
        hint: "install podman's networks: apt-get install netavark aardvark-dns",
    },
    // netavark gives no name: it did not find iptables, which distributions install in /usr/sbin.
    Requirement {
        words: "netavark: no such file or directory",
        hint: "podman's networks need iptables: apt-get install iptables, and add /usr/sbin to PATH",
    },
];

/// The hint for a failure, if a missing requirement caused it.
pub(super) fn hint(says: &dyn Fn(&[&str]) -> bool) -> Option<&'static str> {
    let found = REQUIREMENTS.iter().find(|need| says(&[need.words]));
    found.map(|need| need.hint)
}

/// Checks the requirements of every container. Returns the version and its limitations.
pub(super) fn check(version: &str) -> Result<String> {
    let fails = |what: &str, words: &str| {
        let hint = hint(&|said| said.contains(&words)).unwrap_or_default();
        Err(RuntimeError::unreachable(
            format!("podman does not work here: {what}"),
            hint,
        ))
    };
    let init = ["/usr/libexec/podman/catatonit", "/usr/bin/catatonit"];
    if !is_on_path("catatonit") && !init.iter().any(|path| Path::new(path).exists()) {
        return fails("there is no 'catatonit'", "container-init binary not found");
    }
    if !is_rootless() {
        return Ok(format!("{version}, as root"));
    }
    if !is_on_path("newuidmap") {
        return fails("there is no 'newuidmap'", NO_NEWUIDMAP);
    }
    if !is_on_path("slirp4netns") && !is_on_path("pasta") {
        return fails("there is no 'slirp4netns'", "could not find slirp4netns");
    }
    let limits = match can_limit() {
        true => "",
        false => "; limits of memory, processors and processes do not work (control groups)",
    };
    Ok(format!("{version}, rootless{limits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_what_is_missing_and_nothing_else() {
        let found = |message: &str| {
            let message = message.to_ascii_lowercase();
            hint(&|words| words.iter().any(|word| message.contains(word)))
        };
        let starts = |message: &str, expected: &str| {
            let found = found(message).unwrap_or_default();
            assert!(found.starts_with(expected), "{message}: {found}");
        };
        // podman 4.3.1 on Debian 12: netavark is not installed; PATH is not set, or without /usr/sbin.
        starts(
            "Error: could not find \"netavark\" in one of [/usr/local/libexec/podman]",
            "install podman's networks",
        );
        starts(
            "Error: netavark: No such file or directory (os error 2)",
            "podman's networks need iptables",
        );
        starts(
            "exec: \"newuidmap\": executable file not found in $PATH",
            "install what maps users",
        );
        for other in [
            "Error: netavark: code: 4, msg: iptables: Resource temporarily unavailable",
            "newuidmap: write to uid_map failed: Operation not permitted",
        ] {
            assert_eq!(found(other), None);
        }
    }
}
