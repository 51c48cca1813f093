//! `moat wt sync`: adopts processes that the user started by hand.
//!
//! A process belongs to a name if it listens on the port that the record assigns to the name and its working
//! directory is in the worktree. Nothing else changes.

use std::path::PathBuf;

use super::operation::OperationContext;
use super::{files, port_probe, process};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{
    OpKind, ProcessIdentity, ResourceStage, Session, SessionProcess, SessionStatus, Timestamp,
};
use crate::term::{escape_unsafe, shell_word};

/// Adopts the processes that the user started by hand. Returns the adopted names.
pub(crate) fn sync(context: &OperationContext<'_>, key: &str) -> Result<Vec<String>> {
    let mut claim = context.claim(key, OpKind::Up)?;
    let Some(session) = claim.session().cloned() else {
        return Err(Error::new(ErrorKind::NotFound, "there is no such session"));
    };
    if session.status != SessionStatus::Active {
        let branch = escape_unsafe(&session.branch);
        let message = format!("the session of '{branch}' is {}", session.status.as_str());
        return Err(Error::new(ErrorKind::Conflict, message)
            .hint(format!("start it: moat up {}", shell_word(&session.branch))));
    }
    let found = found(context, &session)?;
    if !found.is_empty() {
        claim.update(&mut |session| {
            for process in &found {
                session.put_process(process.clone());
            }
        })?;
    }
    files::write_variables(claim.session().unwrap_or(&session))?;
    Ok(found.into_iter().map(|process| process.name).collect())
}

fn found(context: &OperationContext<'_>, session: &Session) -> Result<Vec<SessionProcess>> {
    let runs = |name: &str| {
        let process = session.process(name);
        process.is_some_and(|process| process::runs(context.home, session, process))
    };
    let primary = session
        .ports
        .iter()
        .filter(|port| port.primary && port.container.is_none() && !runs(&port.name));
    let ports: Vec<_> = primary.collect();
    let numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
    let listeners = port_probe::listeners(&numbers);
    let mut known = session.clone();
    let mut taken: Vec<SessionProcess> = Vec::new();
    for port in ports {
        let name = port.name.as_str();
        let pids = listeners
            .iter()
            .filter(|listener| listener.port == port.port);
        let candidate = pids
            .filter_map(|listener| listener.pid)
            .filter(|pid| {
                directory(*pid).is_some_and(|dir| dir.starts_with(&session.worktree.path))
            })
            // A process has one name only.
            .filter(|pid| {
                let mut others = known.processes.iter().filter(|other| other.name != name);
                !others.any(|other| process::is_process_of(&known, &other.name, *pid))
            })
            .find_map(ProcessIdentity::of_pid);
        let Some(process) = candidate else {
            continue;
        };
        if port.from_compose {
            let (pid, name) = (process.pid, &port.name);
            let message = format!(
                "process {pid} listens on port {} of '{name}', which is a service of the compose file",
                port.port
            );
            let branch = shell_word(&session.branch);
            return Err(Error::new(ErrorKind::Conflict, message).hint(format!(
                "stop that process and start the service: moat up {branch} --services {name}"
            )));
        }
        let entry = SessionProcess {
            name: name.to_owned(),
            command: String::new(),
            stage: ResourceStage::Made,
            operation: "sync".to_owned(),
            existed_before: false,
            monitor: None,
            process: Some(process),
            started_at: Some(Timestamp::now()),
        };
        known.put_process(entry.clone());
        taken.push(entry);
    }
    Ok(taken)
}

/// The working directory of a process.
#[cfg(target_os = "linux")]
fn directory(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The working directory of a process: `-a` joins the filters, `-Fn` prints a line for each field.
#[cfg(not(target_os = "linux"))]
fn directory(pid: u32) -> Option<PathBuf> {
    let output = crate::program::call("lsof")
        .args(["-a", "-p", &pid.to_string(), "-d", "cwd", "-Fn"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix('n'))
        .map(PathBuf::from)
}
