//! Parses the container state that `inspect` reports.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::error::{Result, RuntimeError};
use super::super::{Exit, Inspected};
use super::Dialect;
use crate::store::Timestamp;

/// One line for each container: its name, then state and ports as JSON.
pub(super) const INSPECT_FORMAT: &str =
    "{{.Name}} {\"State\":{{json .State}},\"Ports\":{{json .NetworkSettings.Ports}}}";

/// The message of podman's init for a command that cannot run: `ERROR (catatonit:6): failed to exec pid1: No such
/// file or directory`. Its exit code is 1.
const INIT_EXEC_ERROR: &str = "failed to exec pid1: ";

/// The code that a shell would return, if the output ends with this message.
pub(super) fn exec_failure(output: &str) -> Option<u8> {
    let (_, why) = words_of_init(output)?.split_once(INIT_EXEC_ERROR)?;
    match why {
        "" => None,
        why if why.starts_with("No such file") => Some(127),
        _ => Some(126),
    }
}

/// The last message of podman's init, complete or not.
pub(super) fn words_of_init(output: &str) -> Option<&str> {
    let line = output.lines().next_back()?;
    line.strip_prefix("ERROR (catatonit:")
}

#[derive(Deserialize)]
struct InspectedContainer {
    #[serde(rename = "State")]
    state: InspectedState,
    /// `{"3000/tcp":[{"HostIp":"127.0.0.1","HostPort":"32768"}]}`; null where a port is not published.
    #[serde(rename = "Ports")]
    ports: Option<Ports>,
}

type Ports = BTreeMap<String, Option<Vec<Binding>>>;

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "HostPort")]
    host_port: String,
}

#[derive(Deserialize)]
struct InspectedState {
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "ExitCode")]
    exit_code: i64,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    #[serde(rename = "Error")]
    error: String,
    #[serde(rename = "StartedAt")]
    started_at: String,
    #[serde(rename = "FinishedAt")]
    finished_at: String,
    /// podman's monitor of the container, the only process that learns of its exit.
    #[serde(rename = "ConmonPid")]
    conmon_pid: Option<i64>,
}

/// The state of `handle` in the output; missing if the output lacks it. `is_here`: whether the engine's processes are
/// visible here.
pub(super) fn parse(
    output: &str,
    handle: &str,
    dialect: Dialect,
    is_here: bool,
) -> Result<Inspected> {
    let named = |line: &&str| line.trim_start_matches('/').split(' ').next() == Some(handle);
    let Some(line) = output.lines().find(named) else {
        return Ok(Inspected::Missing);
    };
    let json = line.split_once(' ').map_or("", |(_, json)| json);
    let container: InspectedContainer =
        serde_json::from_slice(json.as_bytes()).map_err(|error| {
            let program = dialect.program();
            RuntimeError::Refused(format!(
                "{program}'s answer about {handle} cannot be read: {error}"
            ))
        })?;
    let state = container.state;
    Ok(match state.status.as_str() {
        // Without its monitor, a podman container stays in this state for ever.
        "stopping" if is_here && !is_alive(state.conmon_pid) => Inspected::Exited(unknown(&state)),
        "running" | "paused" | "restarting" | "stopping" => Inspected::Running {
            started_at: time(&state.started_at),
            ports: published(container.ports),
        },
        // Between the two states, podman has created everything except the first process.
        "created" | "initialized" | "configured" if state.error.is_empty() => Inspected::Created,
        _ => Inspected::Exited(exit(state)),
    })
}

fn published(ports: Option<Ports>) -> Vec<(u16, u16)> {
    let ports = ports.into_iter().flatten();
    let published = ports.filter_map(|(port, bindings)| {
        let container = port.split('/').next()?.parse().ok()?;
        let host = bindings?.first()?.host_port.parse().ok()?;
        Some((container, host))
    });
    published.collect()
}

fn exit(state: InspectedState) -> Exit {
    let started_at = time(&state.started_at);
    Exit {
        // A container that failed to start has code 127 or 128 and the reason in `Error`.
        code: started_at.and_then(|_| u8::try_from(state.exit_code).ok()),
        started_at,
        finished_at: time(&state.finished_at),
        oom_killed: state.oom_killed,
        error: Some(state.error).filter(|text| !text.is_empty()),
        ..Exit::default()
    }
}

/// An exit that no process noticed.
fn unknown(state: &InspectedState) -> Exit {
    Exit {
        started_at: time(&state.started_at),
        error: Some("the monitor of its container (conmon) is gone".to_owned()),
        ..Exit::default()
    }
}

/// A reused pid does no harm here: a stop request asks again.
fn is_alive(pid: Option<i64>) -> bool {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Docker writes the year 1 for "never".
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse_with_offset(text).filter(|_| !text.starts_with("0001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXITED: &str = r#"/run_x {"State":{"Status":"exited","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":127,"Error":"","StartedAt":"2026-11-21T03:20:03.071643467Z","FinishedAt":"2026-11-21T03:20:03.073248852Z"},"Ports":{}}"#;
    const NEVER: &str = r#"/run_y {"State":{"Status":"created","OOMKilled":false,"ExitCode":127,"Error":"OCI runtime create failed","StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"},"Ports":null}"#;

    /// podman, which writes its times with the offset of the host.
    #[test]
    fn times_have_any_offset() {
        let utc = time("2026-11-21T03:20:03.5Z").unwrap();
        assert_eq!(time("2026-11-21T05:20:03.5+02:00"), Some(utc));
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
    }

    #[test]
    fn states_are_read() {
        let output = format!("{EXITED}\n{NEVER}\n");
        let Inspected::Exited(exit) = parse(&output, "run_x", Dialect::Docker, true).unwrap()
        else {
            panic!("not exited")
        };
        assert_eq!((exit.code, exit.oom_killed), (Some(127), false));
        assert!(exit.started_at.is_some() && exit.finished_at.is_some());
        let Inspected::Exited(exit) = parse(&output, "run_y", Dialect::Docker, true).unwrap()
        else {
            panic!("not exited")
        };
        assert_eq!((exit.code, exit.started_at), (None, None));
        assert_eq!(exit.error.as_deref(), Some("OCI runtime create failed"));
        assert_eq!(
            parse(&output, "run_", Dialect::Docker, true).unwrap(),
            Inspected::Missing
        );
        assert!(parse("/a {\"Status\":", "a", Dialect::Docker, true).is_err());
        let ports = r#"{"3000/tcp":[{"HostIp":"127.0.0.1","HostPort":"32768"}],"53/udp":null}"#;
        let running = EXITED
            .replace("exited", "running")
            .replace("\"Ports\":{}", &format!("\"Ports\":{ports}"));
        let Inspected::Running { ports, .. } =
            parse(&running, "run_x", Dialect::Docker, true).unwrap()
        else {
            panic!("not running")
        };
        assert_eq!(ports, [(3000, 32768)]);
    }
}
