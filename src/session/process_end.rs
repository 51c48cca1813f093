//! Ends the processes of a session by their marks.

use super::marked_processes::ProcessSelection;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Home, ProcessIdentity, Session};

/// The mark in the environment of the compose tool.
pub(super) const COMPOSE_MARK: &str = ".compose";

/// The mark in the environment of the program that copies inherited files.
pub(super) const INHERIT_MARK: &str = ".inherit";

/// The names in the marks of an operation's own processes: git, the hooks, the compose tool and copies.
pub(super) const OPERATION_MARKS: [&str; 8] = [
    ".git",
    ".pre_up",
    ".pre_start",
    ".post_up",
    ".pre_down",
    ".post_down",
    COMPOSE_MARK,
    INHERIT_MARK,
];

/// Ends some processes of a session at once. Fails with the names of those that remain.
pub(super) fn stop(session: &Session, names: &[&str]) -> Result<()> {
    let left = std::thread::scope(|scope| {
        let ends: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || targets(session, name).end()))
            .collect();
        let ends = ends.into_iter().filter_map(|end| end.join().ok());
        ends.flatten().collect::<Vec<ProcessIdentity>>()
    });
    require_none(&left)
}

/// Selects all processes with one name.
pub(super) fn targets(session: &Session, name: &str) -> ProcessSelection {
    let process = session.process(name);
    ProcessSelection {
        mark: session.mark(name),
        leaders: process
            .and_then(|process| process.process.clone())
            .into_iter()
            .collect(),
        monitors: process
            .and_then(|process| process.monitor.clone())
            .into_iter()
            .collect(),
    }
}

/// Ends all processes that carry a mark of the session: its processes, its hooks and their descendants. `home` knows
/// leaders that the record lacks: a monitor writes its state file before `moat up` writes the record.
pub(super) fn stop_all(home: &Home, session: &Session) -> Result<()> {
    let mut targets = ProcessSelection {
        mark: session.mark(""),
        leaders: Vec::new(),
        monitors: Vec::new(),
    };
    for process in &session.processes {
        targets.leaders.extend(process.process.clone());
        let state = home.process_state(session, &process.name);
        targets.leaders.extend(state.map(|state| state.process));
        targets.monitors.extend(process.monitor.clone());
    }
    require_none(&targets.end())
}

fn require_none(left: &[ProcessIdentity]) -> Result<()> {
    let left: Vec<String> = left.iter().map(|it| it.pid.to_string()).collect();
    match left.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Failed,
            format!("these processes cannot be killed: {}", left.join(", ")),
        )),
    }
}
