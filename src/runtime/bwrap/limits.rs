//! Resource limits (setrlimit) of a process, as one argument: `nofile=1024:4096,core=0:0`.

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::store::Ulimit;

const NAMES: &[(&str, Resource)] = &[
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("stack", Resource::Stack),
    #[cfg(target_os = "linux")]
    ("locks", Resource::Locks),
    #[cfg(target_os = "linux")]
    ("msgqueue", Resource::Msgqueue),
    #[cfg(target_os = "linux")]
    ("nice", Resource::Nice),
    #[cfg(target_os = "linux")]
    ("rtprio", Resource::Rtprio),
    #[cfg(target_os = "linux")]
    ("rttime", Resource::Rttime),
    #[cfg(target_os = "linux")]
    ("sigpending", Resource::Sigpending),
];

pub(super) fn encode(limits: &[Ulimit]) -> String {
    let number = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |n| n.to_string());
    let one = |limit: &Ulimit| {
        format!(
            "{}={}:{}",
            limit.name,
            number(limit.soft),
            number(limit.hard)
        )
    };
    limits.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Sets the limits of this process and its later children.
pub(super) fn apply(text: &str) -> Result<(), String> {
    for limit in text.split(',').filter(|limit| !limit.is_empty()) {
        let (name, resource, rlimit) =
            decode(limit).ok_or_else(|| format!("bad limit '{limit}'"))?;
        setrlimit(resource, rlimit).map_err(|error| {
            format!(
                "cannot set the limit {name}: {}",
                crate::error::os_error_text(&error.into())
            )
        })?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<(&str, Resource, Rlimit)> {
    let (name, values) = text.split_once('=')?;
    let (soft, hard) = values.split_once(':')?;
    let (_, resource) = *NAMES.iter().find(|(known, _)| *known == name)?;
    let limit = |text: &str| match text {
        "-1" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let rlimit = Rlimit {
        current: limit(soft)?,
        maximum: limit(hard)?,
    };
    Some((name, resource, rlimit))
}
