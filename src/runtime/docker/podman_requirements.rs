//! The host's programs that podman requires, and hints for missing ones. podman's package contains or recommends all
//! of them (Debian 12).

use std::path::Path;

use super::super::choose::is_on_path;
use super::super::error::{Result, RuntimeError};
use super::dialect::{can_limit, is_rootless};

/// A requirement: podman's message without it, and the hint.
struct Requirement {
    words: &'static str,
    hint: &'static str,
}

const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        words: "container-init binary not found",
        hint: "install the init of podman's containers: apt-get install catatonit",
    },
    Requirement {
        words: "newuidmap",
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
        words: "netavark",
        hint: "install podman's networks: apt-get install netavark aardvark-dns",
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
        return fails("there is no 'newuidmap'", "newuidmap");
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
