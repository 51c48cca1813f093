//! Runs in a session: they reach its services, and end when the session is taken down.
//!
//! A run is written to disk before it checks whether its session accepts runs; a `down` marks the session in its
//! record before it looks for runs. So no run is missed, whatever the order.

use std::time::{Duration, Instant};

use super::member::{Member, Scope, Teardown};
use super::operation::OperationContext;
use super::{compose, services, variables};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled_seconds;
use crate::plan::Plan;
use crate::run;
use crate::runtime::{self, Inspected};
use crate::store::{
    EndRequest, Home, RunRecord, RunSession, Session, SessionService, SessionStatus,
};
use crate::term::shell_word;

/// Grace period in seconds between SIGTERM and SIGKILL.
const GRACE_SECONDS: u32 = 10;

/// Time for a run to end; afterwards it is killed, and has the same time again.
const RUN_END_TIMEOUT: Duration = Duration::from_secs(20);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Puts a run into a session. If all services that the run needs are running there, the run joins their network and
/// gets no services of its own; otherwise it has its own, and a notice says why. The run also joins the networks of
/// the session's compose services.
pub(crate) fn join(session: &Session, plan: &mut Plan) -> Result<()> {
    if !session.accepts_runs() {
        let status = session.status.as_str();
        let message = format!("the session of '{}' is {status}", shown(session));
        let hint = match session.status {
            SessionStatus::Provisioning => {
                "wait until that 'moat up' has finished; see: moat wt list".to_owned()
            }
            _ => bring_up(session),
        };
        return Err(Error::new(ErrorKind::Failed, message).hint(hint));
    }
    let mut place = RunSession {
        key: session.key.clone(),
        incarnation: session.incarnation.clone(),
        network: None,
        compose_networks: Vec::new(),
        services: Vec::new(),
    };
    match unreachable_services_error(session, plan) {
        Some(why) => plan.notices.push(why),
        None if session.services.list.is_empty() => {}
        None => {
            let running = running(session, plan)?;
            // Without running services there may be no network.
            if !running.is_empty() {
                place.network = Some(services::network(session));
            }
            for service in running {
                place.services.push(service.name.clone());
                add_variables(plan, variables::container_variables(session, service));
            }
            plan.services.clear();
        }
    }
    join_compose(session, plan, &mut place)?;
    plan.settings.identity.session = Some(place);
    Ok(())
}

fn join_compose(session: &Session, plan: &mut Plan, place: &mut RunSession) -> Result<()> {
    let Some(compose) = session
        .compose
        .as_ref()
        .filter(|it| !it.services.is_empty() && !is_made_by_its_operation(session, &it.operation))
    else {
        return Ok(());
    };
    let name = runtime::COMPOSE_RUNTIME.as_str();
    if let Some(why) = different_engine_reason((name, &compose.engine), plan) {
        plan.notices.push(format!(
            "the run does not reach the services of the compose file: {why}"
        ));
        return Ok(());
    }
    let reach = compose::join_networks(session, compose)?;
    place.compose_networks = reach.networks;
    place.services.extend(reach.services);
    add_variables(plan, reach.variables);
    Ok(())
}

/// The reason if the services and the run are on different engines.
fn different_engine_reason(
    (name, settings): (&str, &[(String, String)]),
    plan: &Plan,
) -> Option<String> {
    if name == plan.settings.identity.runtime && settings == plan.settings.identity.engine {
        return None;
    }
    let theirs = runtime::engine_shown(name, settings);
    let ours = runtime::engine_shown(
        &plan.settings.identity.runtime,
        &plan.settings.identity.engine,
    );
    Some(format!(
        "the services run on {theirs}, but this run uses {ours}"
    ))
}

/// The notice that a run cannot use the services of a session, with the reason.
fn unreachable_services_error(session: &Session, plan: &Plan) -> Option<String> {
    let why = unreachable_service_reason(session, plan)?;
    let own = match plan.services.is_empty() {
        true => "",
        false => ", and has its own",
    };
    let branch = shown(session);
    Some(format!(
        "the run does not reach the services of '{branch}'{own}: {why}"
    ))
}

fn unreachable_service_reason(session: &Session, plan: &Plan) -> Option<String> {
    let there = &session.services;
    if !there.list.is_empty()
        && let Some(why) = different_engine_reason((&there.runtime, &there.engine), plan)
    {
        return Some(why);
    }
    plan.services.iter().find_map(|wanted| {
        let name = &wanted.name;
        let Some(found) = session.service(name) else {
            return Some(format!("there is no {name}"));
        };
        let (there, here) = (
            format!("{} {}", found.service, found.version),
            format!("{} {}", wanted.service, wanted.version),
        );
        (there != here).then(|| format!("{name} is {there} in the session, but {here} in this run"))
    })
}

/// The usable services; the ones that the run needs must be among them.
fn running<'a>(session: &'a Session, plan: &Plan) -> Result<Vec<&'a SessionService>> {
    let states = services::query_engines(session, runtime::REQUEST_TIMEOUT)?;
    let is_up = |service: &&SessionService| {
        let mut states = states.iter();
        let state = states.find_map(|(name, state)| (*name == service.name).then_some(state));
        // An operation under way may still roll back what it has made, including the network.
        let is_settled = !is_made_by_its_operation(session, &service.operation);
        is_settled && service.ready_at.is_some() && matches!(state, Some(Inspected::Running { .. }))
    };
    let running: Vec<&SessionService> = session.services.list.iter().filter(is_up).collect();
    let is_missing = |name: &str| !running.iter().any(|service| service.name == name);
    let mut wanted = plan.services.iter();
    match wanted.find(|wanted| is_missing(&wanted.name)) {
        None => Ok(running),
        Some(missing) => {
            let message = format!("{} of '{}' is not running", missing.name, shown(session));
            Err(Error::new(ErrorKind::Conflict, message).hint(bring_up(session)))
        }
    }
}

fn is_made_by_its_operation(session: &Session, made_by: &str) -> bool {
    session.operation_id() == Some(made_by)
}

/// Settings that the user gave explicitly take precedence.
fn add_variables(plan: &mut Plan, variables: Vec<(String, String)>) {
    for (name, value) in variables {
        let is_set = plan.env.iter().any(|set| set.name == name)
            || plan.secrets.iter().any(|secret| secret.name == name);
        if !is_set {
            plan.env.push(crate::plan::Variable::new(&name, &value));
        }
    }
}

fn shown(session: &Session) -> String {
    crate::term::escape_unsafe(&session.branch)
}

fn bring_up(session: &Session) -> String {
    format!("start it: moat up {}", shell_word(&session.branch))
}

/// The runs in a session. The rollback of an `up` ends none: while it is under way, runs start only in a session that
/// was active before.
pub(super) struct Runs;

impl Member for Runs {
    fn stop(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        end_runs_of(teardown.context, teardown.session)?;
        teardown.checkpoint("runs");
        Ok(())
    }

    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        match teardown.scope {
            Scope::Operation { .. } => Ok(()),
            _ => self.stop(teardown),
        }
    }

    fn abandon(&self, teardown: &mut Teardown<'_>, error: Error) -> Result<()> {
        (teardown.context.warn)(&error.message);
        Ok(())
    }
}

/// Ends all runs of the session at once.
fn end_runs_of(context: &OperationContext<'_>, session: &Session) -> Result<()> {
    let runs = runs_of(context.home, session)?;
    let is_running = |record: &&RunRecord| !has_ended(context.home, record);
    let going: Vec<&RunRecord> = runs.iter().filter(is_running).collect();
    for record in &going {
        (context.notify)(&format!("stopping {} ({})", record.name, record.id));
    }
    let (told, failed) = request_ends(
        context.home,
        &going,
        EndRequest::Stop(scaled_seconds(GRACE_SECONDS)),
    );
    if !wait(context.home, &told) {
        let left: Vec<&RunRecord> = told.into_iter().filter(is_running).collect();
        let (told, _) = request_ends(context.home, &left, EndRequest::Kill);
        wait(context.home, &told);
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(record) = going.iter().find(|record| is_running(record)) {
        let message = format!("{} has not ended; its engine may not respond", record.id);
        return Err(Error::new(ErrorKind::Runtime, message));
    }
    runs.iter().try_for_each(disconnect_ended_run)
}

/// Requests the end of all given runs, even if one request fails. Returns the runs that were signalled, and the first
/// error. A run that is being removed counts as ended.
fn request_ends<'a>(
    home: &Home,
    runs: &[&'a RunRecord],
    how: EndRequest,
) -> (Vec<&'a RunRecord>, Option<Error>) {
    let (mut told, mut failed) = (Vec::new(), None);
    for record in runs {
        match run::request_end(home, &record.id, how) {
            Err(error) if error.kind != ErrorKind::NoSuchRun => failed = failed.or(Some(error)),
            _ => told.push(*record),
        }
    }
    (told, failed)
}

/// The runs in this incarnation of a session, including ended ones.
fn runs_of(home: &Home, session: &Session) -> Result<Vec<RunRecord>> {
    let records = home.run_ids()?.into_iter();
    let records = records.filter_map(|id| home.run(&id).load().record());
    let is_in = |record: &RunRecord| {
        let place = record.settings.identity.session.as_ref();
        place.is_some_and(|place| place.incarnation == session.incarnation)
    };
    Ok(records.filter(is_in).collect())
}

/// Whether a run has ended and has no supervisor any more.
fn has_ended(home: &Home, record: &RunRecord) -> bool {
    let dir = home.run(&record.id);
    match dir.load().record() {
        Some(now) => now.state.is_terminal() && !dir.is_owned().unwrap_or(true),
        None => !dir.path().exists(),
    }
}

/// Waits until all runs have ended; false after the timeout.
fn wait(home: &Home, runs: &[&RunRecord]) -> bool {
    let deadline = Instant::now() + RUN_END_TIMEOUT;
    loop {
        if runs.iter().all(|record| has_ended(home, record)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// podman removes no network that has a container, even a stopped one that is kept.
fn disconnect_ended_run(record: &RunRecord) -> Result<()> {
    let place = record
        .settings
        .identity
        .session
        .as_ref()
        .filter(|_| record.settings.limits.keep);
    let Some(network) = place.and_then(|place| place.network.as_deref()) else {
        return Ok(());
    };
    if record.is_clean() {
        return Ok(());
    }
    let runtime = runtime::of_session(
        &record.settings.identity.runtime,
        &record.settings.identity.engine,
        runtime::REQUEST_TIMEOUT,
    )?;
    let services = runtime.need_session_services()?;
    Ok(services.disconnect(network, record.id.as_str())?)
}
