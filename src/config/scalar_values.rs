//! Single values in flags and files: variables, mounts, sizes, durations. Pure.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::store::{BindMount, Timestamp};
use crate::yaml::message_text;

/// The path of the workspace in every container.
pub(crate) const WORKSPACE: &str = "/workspace";

/// The minimum memory of a docker container, in bytes.
const MIN_MEMORY_BYTES: u64 = 6 * 1024 * 1024;
const MAX_MEMORY_BYTES: u64 = 1 << 50;
const MAX_CPUS: f64 = 4096.0;
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses `K=V`, or `K`, which takes its value from `environment`.
pub(crate) fn env(
    text: &str,
    environment: &dyn Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if !is_variable_name(name) {
        let message = format!("bad variable name '{}'", message_text(name));
        return Err(Error::usage(message).hint("write -e NAME=value, or -e NAME to pass it on"));
    }
    let name = name.to_owned();
    if let Some(value) = value {
        return Ok((name, value));
    }
    let Some(value) = environment(&name) else {
        let message = format!("the variable {name} is not set in the environment");
        return Err(Error::usage(message).hint(format!("set it, or write -e {name}=value")));
    };
    match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Error::usage(format!("the value of {name} is not UTF-8"))),
    }
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Parses `SRC:DST[:ro|rw]`. The source is not checked.
pub(crate) fn mount(text: &str) -> Result<BindMount> {
    let bad = |why: &str| {
        let message = format!("bad mount '{}': {why}", message_text(text));
        Error::usage(message).hint("write SOURCE:/target or SOURCE:/target:ro")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, readonly) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        [_, _, _] => return Err(bad("the mode is neither ro nor rw")),
        [_] => return Err(bad("it has no target")),
        _ => return Err(bad("it has too many colons")),
    };
    if source.is_empty() {
        return Err(bad("it has no source"));
    }
    Ok(BindMount {
        source: PathBuf::from(source),
        target: mount_target(target).map_err(|why| bad(&format!("the target {why}")))?,
        readonly,
    })
}

/// Checks a mount target in the container. Returns the path in its shortest form, or the problem.
pub(crate) fn mount_target(target: &str) -> std::result::Result<String, &'static str> {
    if !target.starts_with('/') {
        return Err("is not an absolute path");
    }
    let target = normalized_path(target).ok_or("contains '..'")?;
    if target == WORKSPACE {
        return Err("is the path of the workspace");
    }
    if matches!(target.as_str(), "/" | "/proc" | "/sys" | "/dev") {
        return Err("would hide the container's own files");
    }
    if target == "/run"
        || target
            .strip_prefix("/run/moat")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return Err("is reserved for moat");
    }
    if target.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    Ok(target)
}

/// An absolute path without empty parts and dots; `None` with a `..`.
fn normalized_path(path: &str) -> Option<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let mut out = String::new();
    for part in parts {
        if part == ".." {
            return None;
        }
        out.push('/');
        out.push_str(part);
    }
    Some(if out.is_empty() { "/".to_owned() } else { out })
}

/// Parses a size such as `512m` or `2g`; a number without a unit is in bytes.
pub(crate) fn memory(text: &str) -> Result<u64> {
    let bad = |why: &str| {
        let message = format!("bad memory size '{}': {why}", message_text(text));
        Error::usage(message).hint("write a number with k, m, g or t, e.g. 512m or 2g; at least 6m")
    };
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, factor) = match lower.chars().last() {
        Some('k') => (&lower[..lower.len() - 1], 1 << 10),
        Some('m') => (&lower[..lower.len() - 1], 1 << 20),
        Some('g') => (&lower[..lower.len() - 1], 1 << 30),
        Some('t') => (&lower[..lower.len() - 1], 1_u64 << 40),
        _ => (lower, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("it is not a size"));
    }
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes < MIN_MEMORY_BYTES => Err(bad("it is less than 6m")),
        Some(bytes) if bytes <= MAX_MEMORY_BYTES => Ok(bytes),
        _ => Err(bad("it is too large")),
    }
}

/// Parses a number of CPUs, with or without a fraction.
pub(crate) fn cpus(text: &str) -> Result<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.parse::<f64>() {
        Ok(number) if plain && (0.01..=MAX_CPUS).contains(&number) => Ok(number),
        _ => {
            let message = format!("bad number of cpus '{}'", message_text(text));
            Err(Error::usage(message).hint("write a number of at least 0.01, e.g. 2 or 0.5"))
        }
    }
}

/// Parses a duration such as `90s` or `1h30m`: more than zero, less than a year.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(length) if !length.is_zero() && length <= MAX_DURATION => Ok(length),
        _ => {
            let message = format!("bad duration '{}'", message_text(text));
            Err(Error::usage(message)
                .hint("write a number with its unit, e.g. 90s, 10m, 1h30m; at most a year"))
        }
    }
}

/// Parses a point in time: RFC 3339, or a duration before `now`.
pub(crate) fn since(text: &str, now: SystemTime) -> Result<Timestamp> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let age = humantime::parse_duration(text).ok();
    age.and_then(|age| now.checked_sub(age))
        .filter(|time| *time >= SystemTime::UNIX_EPOCH)
        .map(Timestamp)
        .ok_or_else(|| {
            let message = format!("bad time '{}'", message_text(text));
            Error::usage(message).hint("write e.g. 2026-01-31T12:00:00Z, or an age such as 10m")
        })
}

/// Refuses a name that no image can have. The engine knows the complete grammar.
pub(crate) fn image(text: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let starts_well = text
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric);
    if starts_well && text.bytes().all(allowed) {
        return Ok(());
    }
    let message = format!("bad image '{}'", message_text(text));
    Err(Error::usage(message).hint("write NAME, NAME:TAG or NAME@sha256:DIGEST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(memory("512m").unwrap(), 512 << 20);
        assert_eq!(memory("2G").unwrap(), 2 << 30);
        assert_eq!(memory("8388608").unwrap(), 8 << 20);
        assert_eq!(memory("64mb").unwrap(), 64 << 20);
        for bad in [
            "",
            "m",
            "-1g",
            "1.5g",
            "5m",
            "0",
            "99999999999999999999g",
            "1x",
            "2000t",
        ] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_of_cpus() {
        assert_eq!(cpus("0.5").unwrap(), 0.5);
        for bad in ["", "0", "-1", "inf", "NaN", "1e3", "x", "99999", "0.001"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_times() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        for bad in [
            "",
            "0s",
            "5",
            "-1s",
            "10000d",
            "1parsec",
            "99999999999999999999h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(
            since("10s", now).unwrap().to_string(),
            "1970-01-01T00:16:30.000000Z"
        );
        assert!(since("2026-01-31T12:00:00Z", now).is_ok());
        for bad in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "99999999999d",
            "9999999d",
        ] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables() {
        let none = |_: &str| None;
        assert_eq!(env("A=b=c", &none).unwrap().1, "b=c");
        assert_eq!(env("A=", &none).unwrap().1, "");
        for bad in ["", "=x", "1A=x", "A B=x", "A-B", "\u{e9}=1"] {
            assert!(env(bad, &none).is_err(), "{bad}");
        }
        assert!(env("UNSET", &none).unwrap_err().message.contains("UNSET"));
    }

    #[test]
    fn mounts() {
        let good = mount("a:/b//c/./d:ro").unwrap();
        assert_eq!((good.target.as_str(), good.readonly), ("/b/c/d", true));
        assert!(mount("a:/run/docker.sock").is_ok() && mount("a:/run/moats").is_ok());
        for bad in [
            "",
            "a",
            "a:",
            ":/b",
            "a:b",
            "a:/b:rx",
            "a:/b:ro:x",
            "a:/",
            "a:/workspace/",
            "a:/x/../y",
            "a:/proc",
            "a:/run/",
            "a:/run/moat",
            "a:/run/moat/x",
            "a:/b\n",
        ] {
            assert!(mount(bad).is_err(), "{bad:?}");
        }
    }
}
