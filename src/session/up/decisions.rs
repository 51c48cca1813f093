//! Decides what an `up` does about each process, and why.

use super::super::operation::OperationContext;
use super::super::ports::PinnedPort;
use super::super::process;
use super::super::request::{Action, Decision, UpRequest};
use crate::config::HostProcess;
use crate::store::{Session, SessionProcess, SessionStatus};

pub(super) fn decide(
    context: &OperationContext<'_>,
    session: Option<&Session>,
    request: &UpRequest<'_>,
) -> Vec<Decision> {
    // A process whose working directory is gone cannot continue.
    let homeless = session.is_some_and(|session| !session.worktree.path.is_dir());
    let decide = |process: &HostProcess| {
        let entry = session.and_then(|session| session.process(&process.name));
        let running = session
            .zip(entry)
            .filter(|(session, entry)| process::runs(context.home, session, entry))
            .map(|(_, entry)| entry);
        let (action, why) = match (running, request.wants(&process.name)) {
            (None, false) => (Action::Skipped, "not requested".to_owned()),
            (Some(_), true) if homeless => (Action::Started, "the worktree was missing".to_owned()),
            (Some(_), true) if request.force => (Action::Started, "--force".to_owned()),
            (Some(entry), _) if !entry.command.is_empty() && entry.command != process.command => (
                Action::Kept,
                "running with the old command; --force restarts it".to_owned(),
            ),
            (Some(_), _) => (Action::Kept, "it runs".to_owned()),
            (None, true) => (Action::Started, why_not(context, session, entry)),
        };
        Decision {
            name: process.name.clone(),
            ends: action == Action::Started && running.is_some(),
            action,
            reason: why,
        }
    };
    request.settings.processes.iter().map(decide).collect()
}

/// The processes in the record that no decision mentions: moat.yaml does not have them any more. They run, because
/// exited ones are removed from the record.
pub(super) fn removed_from_config(
    context: &OperationContext<'_>,
    session: &Session,
    decisions: &[Decision],
) -> Vec<Decision> {
    let left = undecided(session, decisions).filter(|it| process::runs(context.home, session, it));
    left.map(|entry| Decision {
        name: entry.name.clone(),
        action: Action::Kept,
        reason: "still running but no longer in moat.yaml; 'moat down' stops it".to_owned(),
        ends: false,
    })
    .collect()
}

/// The names without a decision.
pub(super) fn undecided<'a>(
    session: &'a Session,
    decisions: &[Decision],
) -> impl Iterator<Item = &'a SessionProcess> {
    let is_decided = |name: &str| decisions.iter().any(|decision| decision.name == name);
    let processes = session.processes.iter();
    processes.filter(move |process| !is_decided(&process.name))
}

/// The reason why a process does not run.
fn why_not(
    context: &OperationContext<'_>,
    session: Option<&Session>,
    entry: Option<&SessionProcess>,
) -> String {
    let (Some(session), Some(entry)) = (session, entry) else {
        return "was not running".to_owned();
    };
    let state = context.home.process_state(session, &entry.name);
    match state.and_then(|state| state.exit_code) {
        Some(code) => format!("had exited with code {code}"),
        None => "its process was gone".to_owned(),
    }
}

/// Whether nothing has to be done.
pub(super) fn is_complete_already(
    session: &Session,
    request: &UpRequest<'_>,
    decisions: &[Decision],
) -> bool {
    let pinned = |pin: &PinnedPort| {
        session
            .primary_port(&pin.process)
            .is_some_and(|port| port.port == pin.port)
    };
    session.status == SessionStatus::Active
        && session.operation.is_none()
        && session.worktree.path.is_dir()
        && request.pins.iter().all(pinned)
        && undecided(session, decisions).next().is_none()
        && decisions
            .iter()
            .all(|decision| decision.action != Action::Started)
}
