//! Single values in flags and files: variables, mounts, sizes, durations. Pure.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::store::{BindMount, Timestamp};
use crate::variable_name::is_environment_name;
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
    if !is_environment_name(name) {
        let message = format!("bad variable name '{}'", message_text(name));
        return Err(Error::usage(message).hint("write -e NAME=value, or -e NAME to pass it on"));
    }
    let name = name.to_owned();
    if let Some(value) = value {
        return Ok((name, value));
    }
    let Some(value) = environment(&name) else {
        let name = message_text(&name);
        let message = format!("the variable {name} is not set in the environment");
        return Err(Error::usage(message).hint(format!("set it, or write -e {name}=value")));
    };
    match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => {
            let name = message_text(&name);
            Err(Error::usage(format!("the value of {name} is not UTF-8")))
        }
    }
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
    let target = mount_target(target).map_err(|why| {
        let error = bad(&format!("the target {why}"));
        match normalized_path(target).as_deref() {
            Some(WORKSPACE) => error.hint("leave it out: the workspace is mounted there"),
            _ => error,
        }
    })?;
    Ok(BindMount {
        source: PathBuf::from(source),
        target,
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
pub(super) fn normalized_path(path: &str) -> Option<String> {
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

/// Parses an amount of memory, such as `512m` or `2GiB`; a number without a unit is in megabytes.
pub(crate) fn memory(text: &str) -> Result<u64> {
    size(text, MIN_MEMORY_BYTES)
}

/// Parses the size of `/dev/shm`, in the same form.
pub(crate) fn shm_size(text: &str) -> Result<u64> {
    size(text, 1)
}

/// The units of a size. All are powers of two, as in docker: `100MB` is `100m`.
const UNITS: [(&[&str], u32); 5] = [
    (&["b"], 0),
    (&["k", "kb", "kib"], 10),
    (&["", "m", "mb", "mib"], 20),
    (&["g", "gb", "gib"], 30),
    (&["t", "tb", "tib"], 40),
];

fn size(text: &str, least: u64) -> Result<u64> {
    let bad = |why: &str| {
        let message = format!("bad memory size '{}': {why}", message_text(text));
        Error::usage(message)
            .hint("write a number of megabytes, or a number with k, m, g or t: 512m, 2g, 1GiB")
    };
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit());
    let (digits, unit) = lower.split_at(end.unwrap_or(lower.len()));
    let unit = UNITS.iter().find(|(names, _)| names.contains(&unit));
    let (Some((_, exponent)), false) = (unit, digits.is_empty()) else {
        return Err(bad("it is not a size"));
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << exponent));
    match bytes {
        Some(bytes) if bytes < least => Err(bad(match least {
            MIN_MEMORY_BYTES => "it is less than 6m",
            _ => "it is zero",
        })),
        Some(bytes) if bytes <= MAX_MEMORY_BYTES => Ok(bytes),
        _ => Err(bad("it is too large")),
    }
}

/// Parses `UID[:GID]`, or `root`. The group is the user's number if it is missing.
pub(crate) fn user(text: &str) -> Result<(u32, u32)> {
    let bad = || {
        let message = format!("bad user '{}'", message_text(text));
        Error::usage(message).hint("write UID, UID:GID or root; names differ between images")
    };
    let number = |text: &str| match text {
        "root" => Ok(0),
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            // The last number means "no change" to the kernel.
            let number = text.parse().ok().filter(|number| *number != u32::MAX);
            number.ok_or_else(bad)
        }
        _ => Err(bad()),
    };
    match text.split_once(':') {
        None => number(text).map(|uid| (uid, uid)),
        Some((uid, gid)) => Ok((number(uid)?, number(gid)?)),
    }
}

/// Parses the working directory of the command: absolute, or relative to the workspace.
pub(crate) fn workdir(text: &str) -> Result<String> {
    let path = match text.strip_prefix('/') {
        Some(_) => normalized_path(text),
        None => normalized_path(&format!("{WORKSPACE}/{text}")),
    };
    let usable = path.filter(|path| !text.is_empty() && !path.chars().any(char::is_control));
    usable.ok_or_else(|| {
        let message = format!("bad working directory '{}'", message_text(text));
        Error::usage(message).hint("write a path of the container, without '..', e.g. src or /tmp")
    })
}

/// Parses `[HOST:]CONTAINER`, two ports; the address before them, if any, must be the loopback address.
pub(crate) fn publish(text: &str) -> Result<(Option<u16>, u16)> {
    let bad = |why: &str| {
        let message = format!("bad port '{}': {why}", message_text(text));
        Error::usage(message).hint("write CONTAINER or HOST:CONTAINER, e.g. 3000 or 8080:3000")
    };
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
        port.ok_or_else(|| bad("a port is a number from 1 to 65535"))
    };
    let text_without_protocol = text.strip_suffix("/tcp").unwrap_or(text);
    let parts: Vec<&str> = text_without_protocol.rsplitn(3, ':').collect();
    match parts[..] {
        [container] => Ok((None, number(container)?)),
        [container, host] | [container, host, "127.0.0.1" | "localhost" | "[::1]"] => {
            let host = match host {
                "" => None,
                host => Some(number(host)?),
            };
            Ok((host, number(container)?))
        }
        _ => Err(bad("moat publishes ports on 127.0.0.1 only")),
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

/// Parses a point in time: RFC 3339 with any offset, a date or a time without an offset, which are local, Unix seconds,
/// or a duration before `now`.
pub(crate) fn since(text: &str, now: SystemTime, local: &TimeZone) -> Result<Timestamp> {
    let age = || {
        let age = humantime::parse_duration(text).ok();
        let fractional = || text.parse::<SignedDuration>().ok()?.try_into().ok();
        now.checked_sub(age.or_else(fractional)?)
    };
    let time = unix_seconds(text)
        .or_else(|| moment(text, local))
        .or_else(age);
    time.map(Timestamp)
        .filter(|time| time.is_writable())
        .ok_or_else(|| {
            let message = format!("bad time '{}'", message_text(text));
            Error::usage(message).hint(
                "write e.g. 2026-01-31T12:00:00Z, 2026-01-31 12:00 (local), 2026-01-31, Unix seconds, \
                 or an age such as 10m",
            )
        })
}

/// Seconds since 1970, with or without a fraction.
fn unix_seconds(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(seconds) || !are_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// A date, or a date and a time, with an offset or local.
fn moment(text: &str, local: &TimeZone) -> Option<SystemTime> {
    // A date can have an offset, too.
    let offset = text
        .get(10..)
        .filter(|rest| rest.starts_with(['Z', 'z', '+', '-']));
    let midnight = offset.map(|offset| format!("{}T00:00{offset}", &text[..10]));
    let text = midnight.as_deref().unwrap_or(text);
    let with_offset = text.parse::<jiff::Timestamp>().ok();
    let time = with_offset.or_else(|| {
        let time = text.parse::<jiff::civil::DateTime>().ok()?;
        local.to_timestamp(time).ok()
    })?;
    Some(time.into())
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
        assert_eq!(memory("2048").unwrap(), 2 << 30);
        for text in [
            "64mb",
            "64MiB",
            "64",
            "64M",
            "65536k",
            "65536KiB",
            "67108864b",
        ] {
            assert_eq!(memory(text).unwrap(), 64 << 20, "{text}");
        }
        for bad in [
            "",
            "m",
            "-1g",
            "1.5g",
            "5m",
            "0",
            "99999999999999999999g",
            "1x",
            "1bb",
            "1ib",
            "m1",
            "2000t",
            "2147483648",
        ] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_of_flags() {
        assert_eq!(publish("3000").unwrap(), (None, 3000));
        for text in [
            "8080:3000",
            "127.0.0.1:8080:3000",
            "localhost:8080:3000/tcp",
        ] {
            assert_eq!(publish(text).unwrap(), (Some(8080), 3000), "{text}");
        }
        assert_eq!(publish("127.0.0.1::3000").unwrap(), (None, 3000));
        for bad in [
            "",
            "0",
            "x",
            "3000:",
            "70000",
            "0.0.0.0:80:80",
            "80:80/udp",
            "1:2:3:4",
            "-1",
            "+1",
        ] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_and_working_directories() {
        assert_eq!(user("root").unwrap(), (0, 0));
        assert_eq!(user("1000").unwrap(), (1000, 1000));
        assert_eq!(user("1000:0").unwrap(), (1000, 0));
        for bad in [
            "",
            "me",
            "1000:",
            ":0",
            "-1",
            "4294967295",
            "4294967296",
            "1:2:3",
        ] {
            assert!(user(bad).is_err(), "{bad}");
        }
        assert_eq!(workdir("src/./a").unwrap(), "/workspace/src/a");
        assert_eq!(workdir("/tmp//x/").unwrap(), "/tmp/x");
        for bad in ["", "..", "/a/../b", "a\nb"] {
            assert!(workdir(bad).is_err(), "{bad}");
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
    fn durations() {
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
    }

    #[test]
    fn times() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| since(text, now, &zone).map(|time| time.to_string());
        for (text, expected) in [
            ("10s", "2027-01-15T07:59:50.000000Z"),
            ("1.5h", "2027-01-15T06:30:00.000000Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
            ("2026-01-31t12:00:00.25z", "2026-01-31T12:00:00.250000Z"),
            ("2026-01-31T12:00:00+05:30", "2026-01-31T06:30:00.000000Z"),
            ("2026-01-31 12:00:00-08:00", "2026-01-31T20:00:00.000000Z"),
            ("2026-01-31T12:00Z", "2026-01-31T12:00:00.000000Z"),
            ("2026-01-31Z", "2026-01-31T00:00:00.000000Z"),
            ("2026-01-31+02:00", "2026-01-30T22:00:00.000000Z"),
            ("2026-01-31", "2026-01-30T23:00:00.000000Z"),
            ("2026-07-31T12", "2026-07-31T10:00:00.000000Z"),
            ("2026-07-31T12:00", "2026-07-31T10:00:00.000000Z"),
            ("2026-07-31 12:00:00.5", "2026-07-31T10:00:00.500000Z"),
            ("0", "1970-01-01T00:00:00.000000Z"),
            ("1136073600", "2006-01-01T00:00:00.000000Z"),
            ("1136073600.000001", "2006-01-01T00:00:00.000001Z"),
        ] {
            assert_eq!(at(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "-5m",
            "-1",
            "1.",
            ".5",
            "12:00",
            "2026-13-01T00:00:00Z",
            "2026-02-30",
            "1960-01-01",
            "99999999999999999999",
            "99999999999999",
            "99999999999d",
            "99999999d",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables() {
        let none = |_: &str| None;
        assert_eq!(env("A=b=c", &none).unwrap().1, "b=c");
        assert_eq!(env("A=", &none).unwrap().1, "");
        for name in ["discovery.type", "a-b", "1A", "A B", "\u{e9}", "-x"] {
            let given = env(&format!("{name}=1"), &none).unwrap();
            assert_eq!(given, (name.to_owned(), "1".to_owned()));
            let passed_on = env(name, &|asked| Some(asked.into())).unwrap();
            assert_eq!(passed_on, (name.to_owned(), name.to_owned()));
        }
        for bad in ["", "=x", "A\0=x"] {
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
