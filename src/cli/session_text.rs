//! The state of a session as text.

use crate::session::{Decision, PortView, ProcessHealth, ServiceHealth, SessionView};
use crate::store::ResourceStage;
use crate::term::{age, escape_unsafe};

/// Returns the status, and the age of an operation that is under way or abandoned.
pub(super) fn status(view: &SessionView) -> String {
    let session = &view.session;
    let word = session.status.as_str();
    match &session.operation {
        Some(operation) if view.abandoned => {
            let age = age(operation.since.age());
            format!("{word} (abandoned, {age})")
        }
        Some(operation) => format!("{word} (since {})", age(operation.since.age())),
        None => word.to_owned(),
    }
}

/// Returns the lines of one session: the session itself, then each process and service with its state and decision.
pub(super) fn text(view: &SessionView, decisions: &[Decision]) -> String {
    let session = &view.session;
    let mut text = format!(
        "{}: {}, slot {}, {}\n",
        escape_unsafe(&session.branch),
        status(view),
        session.slot,
        escape_unsafe(&session.worktree.path.display().to_string())
    );
    let mut others: Vec<&Decision> = decisions.iter().collect();
    let mut member = |name: &str, ports: &[u16], state: &str| {
        text.push_str(&format!("  {name}"));
        if !ports.is_empty() {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            text.push_str(&format!(" [{}]", ports.join(" ")));
        }
        text.push_str(&format!(": {}", escape_unsafe(state)));
        if let Some(place) = others.iter().position(|other| other.name == name) {
            text.push_str(&format!("; {}", decision(others.remove(place))));
        }
        text.push('\n');
    };
    for health in &view.processes {
        let ports: Vec<u16> = health.ports.iter().map(|port| port.port).collect();
        member(&health.name, &ports, &process_state(health));
    }
    for health in &view.services {
        member(&health.name, &health.ports, &service_state(health));
    }
    for other in others {
        text.push_str(&format!("  {}: {}\n", other.name, decision(other)));
    }
    for port in view.processes.iter().flat_map(|health| &health.ports) {
        text.push_str(&foreign_listener_text(port).unwrap_or_default());
    }
    if session.worktree.stage == ResourceStage::Made && !session.worktree.path.is_dir() {
        let key = &session.key;
        text.push_str(&format!(
            "  the worktree no longer exists; create it again: moat up {key}\n"
        ));
    }
    if let Some(error) = &session.error {
        text.push_str(&format!("  {}\n", escape_unsafe(error)));
    }
    text
}

fn decision(decision: &Decision) -> String {
    format!("{} ({})", decision.action.as_str(), decision.reason)
}

fn process_state(health: &ProcessHealth) -> String {
    let state = match (
        health.running,
        health.pid,
        health.exit_code,
        &health.container,
    ) {
        (None, ..) => "unknown".to_owned(),
        _ if health.stopped => "stopped".to_owned(),
        (_, Some(pid), ..) => format!("running (pid {pid})"),
        (_, None, Some(code), _) => format!("ended with code {code}"),
        (Some(true), None, None, Some(container)) => format!("running (container {container})"),
        _ => "not running".to_owned(),
    };
    match &health.error {
        Some(trouble) => format!("{state}; {trouble}"),
        None => state,
    }
}

fn service_state(health: &ServiceHealth) -> String {
    let state = match (health.state, health.exit_code) {
        ("running", _) => "running".to_owned(),
        (_, Some(code)) => format!("ended with code {code}"),
        (state, None) => state.to_owned(),
    };
    let error = health.error.iter().map(|error| format!("; {error}"));
    format!(
        "{state} (container {}){}",
        health.handle,
        error.collect::<String>()
    )
}

/// Returns a line about a foreign process that listens on a port of the session.
fn foreign_listener_text(port: &PortView) -> Option<String> {
    let who = match port.foreign_pid? {
        0 => "a foreign process".to_owned(),
        pid => format!("the foreign process {pid}"),
    };
    Some(format!("  port {}: {who} listens on it\n", port.port))
}
