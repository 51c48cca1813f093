//! Decides what an `up` does about compose services, and notes the intents in the record.

use super::super::operation::OperationContext;
use super::super::repository::Repository;
use super::super::request::{Action, Decision, UpRequest, started};
use super::super::worktree;
use super::engine::{failed, is_up, state_of, tool};
use super::rewrite;
use crate::error::Result;
use crate::runtime::{self, ContainerState, REQUEST_TIMEOUT};
use crate::store::{ComposeService, ResourceStage, Session, SessionCompose, key_of};

/// Enough for a recognizable part of the branch in the project's name.
const MAX_BRANCH_CHARS: usize = 24;

/// The services that belong to those of moat.yaml: those in the record, and those that the file has now.
pub(in crate::session) fn dependencies_of(
    context: &OperationContext<'_>,
    repository: &Repository,
    request: &UpRequest<'_>,
) -> Result<Vec<String>> {
    let Some(settings) = &request.settings.compose else {
        return Ok(Vec::new());
    };
    let branch = request.branch;
    let files = settings.files.iter();
    let files = files.filter_map(|file| worktree::read(context.home, repository, branch, file));
    let listed = settings.services.iter().map(|entry| &*entry.name);
    let mut names = rewrite::along(files, listed);
    let session = context.home.session(&repository.key(branch).text())?;
    let known = session.and_then(|session| session.compose);
    names.extend(
        known
            .into_iter()
            .flat_map(|it| it.services)
            .map(|it| it.name),
    );
    Ok(names)
}

/// Decides what to do about each compose service.
pub(in crate::session) fn decide(
    session: Option<&Session>,
    request: &UpRequest<'_>,
    along: &[String],
) -> Result<Vec<Decision>> {
    let Some(settings) = &request.settings.compose else {
        return Ok(Vec::new());
    };
    let known = session.and_then(|session| session.compose.as_ref());
    // Also asked where no containers can exist: an engine that does not respond is noticed before anything is made.
    let ours = known
        .is_none()
        .then(|| runtime::engine_settings(runtime::COMPOSE_RUNTIME));
    let engine = known.map_or(ours.as_deref().unwrap_or_default(), |known| &known.engine);
    let members = session.map_or(&[][..], Session::compose_services);
    let mut names: Vec<&str> = settings.services.iter().map(|entry| &*entry.name).collect();
    // The dependencies in the record, and the dependencies of the services that are requested.
    let asked = |name: &&str| {
        request
            .only
            .is_some_and(|only| only.iter().any(|it| it == name))
    };
    let known = members.iter().map(|member| &*member.name);
    for name in known.chain(along.iter().map(String::as_str).filter(asked)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let found = match runtime::compose_engine(engine, REQUEST_TIMEOUT).session_containers() {
        // Without a requested service, no engine is needed.
        Err(_) if !names.iter().any(|name| request.wants(name)) => Vec::new(),
        found => found.map_err(failed)?,
    };
    let homeless = session.is_some_and(|session| !session.worktree.path.is_dir());
    let decide = |name: &str| {
        let is_wanted = request.wants(name);
        let once = members
            .iter()
            .any(|member| member.name == name && member.one_shot);
        let container = session.and_then(|session| state_of(&found, session, name));
        let state = container.map(|container| container.state);
        // A paused or restarting container keeps its ports as well.
        let is_there = state.is_some_and(|state| !matches!(state, ContainerState::Ended(_)));
        let (action, why) = match state.filter(|state| is_up(*state, once)) {
            None if !is_wanted => (Action::Skipped, "not requested".to_owned()),
            None => (Action::Started, why_not(state)),
            Some(_) if is_wanted && homeless => {
                (Action::Started, "the worktree was missing".to_owned())
            }
            Some(_) if is_wanted && request.force => (Action::Started, "--force".to_owned()),
            Some(ContainerState::Unhealthy) => (
                Action::Kept,
                "running but unhealthy; --force restarts it".to_owned(),
            ),
            Some(ContainerState::Ended(_)) => (Action::Kept, "completed".to_owned()),
            Some(_) => (Action::Kept, "it runs".to_owned()),
        };
        Decision {
            name: name.to_owned(),
            ends: action == Action::Started && is_there,
            action,
            reason: why,
        }
    };
    let decisions: Vec<Decision> = names.into_iter().map(decide).collect();
    if started(&decisions).next().is_some() {
        // An impossible request is noticed before anything is made.
        tool(engine)?;
    }
    Ok(decisions)
}

/// The reason why a service does not run.
fn why_not(state: Option<ContainerState>) -> String {
    match state {
        None => "was not running".to_owned(),
        Some(ContainerState::Ended(Some(code))) => format!("had exited with code {code}"),
        Some(_) => "was no longer running".to_owned(),
    }
}

/// Records the intents of an `up`. Nothing is made yet.
pub(in crate::session) fn record_intents(
    session: &mut Session,
    operation: &str,
    decisions: &[Decision],
) {
    let starting: Vec<&str> = started(decisions).collect();
    if starting.is_empty() {
        return;
    }
    let project = project_name(session);
    let compose = session.compose.get_or_insert_with(|| SessionCompose {
        project,
        engine: runtime::engine_settings(runtime::COMPOSE_RUNTIME),
        operation: operation.to_owned(),
        request_pending: false,
        services: Vec::new(),
    });
    for name in starting {
        record_intent(compose, name, operation, false);
    }
}

pub(super) fn record_intent(compose: &mut SessionCompose, name: &str, operation: &str, once: bool) {
    let mut services = compose.services.iter();
    let before = services.find(|service| service.name == name);
    let again = before.is_some_and(|before| before.existed_before || before.operation != operation);
    compose.services.retain(|service| service.name != name);
    compose.services.push(ComposeService {
        name: name.to_owned(),
        stage: ResourceStage::Intent,
        operation: operation.to_owned(),
        one_shot: once,
        may_end: false,
        existed_before: again,
    });
}

/// A project name that shows the branch and is unique: it contains the incarnation.
fn project_name(session: &Session) -> String {
    let repository = session.main.file_name().unwrap_or_default();
    let words = format!("{}-{}", repository.to_string_lossy(), session.branch);
    // The same characters as in file names, without the hash.
    let key = key_of(&session.repository, &words).branch;
    let readable = key.rsplit_once('-').map_or("", |(readable, _)| readable);
    let readable = readable[..readable.len().min(MAX_BRANCH_CHARS)].trim_end_matches('-');
    // Project names are lower case.
    let incarnation = session.incarnation.to_ascii_lowercase();
    format!("moat-{readable}-{}-{incarnation}", session.slot)
}
