//! Waits until started compose services are ready, and reports those that fail.

use std::time::{Duration, Instant};

use super::super::operation::OperationContext;
use super::engine::{POLL_INTERVAL, containers, failed, indented, state_of};
use super::rewrite::RewrittenService;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::runtime::{self, ContainerState, SessionContainer};
use crate::store::Session;

/// Time that a service without a health check must survive to count as running.
const EARLY_EXIT_PERIOD: Duration = Duration::from_millis(1500);

/// Number of log lines that are shown of a failed service.
const SHOWN_LINES: usize = 10;

/// If the tool failed because a service exited, the error of the service says more.
pub(super) fn failed_service_error(
    session: &Session,
    starting: &[&RewrittenService],
    error: Error,
) -> Error {
    let found = containers(session).unwrap_or_default();
    let culprit = starting.iter().find_map(|service| {
        let container = state_of(&found, session, &service.name)?;
        let is_bad = match container.state {
            ContainerState::Ended(code) => code != Some(0),
            state => state == ContainerState::Unhealthy,
        };
        is_bad.then(|| died(session, &service.name, container))
    });
    match culprit {
        Some(culprit) if error.kind == ErrorKind::Runtime => culprit,
        _ => error,
    }
}

/// Waits until every started service runs, and is healthy if it has a health check.
pub(super) fn wait(
    context: &OperationContext<'_>,
    session: &Session,
    starting: &[&RewrittenService],
    timeout: Duration,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut since: Option<Instant> = None;
    loop {
        context.check()?;
        let found = containers(session).map_err(failed)?;
        let (mut waiting, mut untested) = (None, false);
        for service in starting {
            let (name, once) = (&service.name, service.one_shot);
            let container = state_of(&found, session, name);
            match container.map(|container| container.state) {
                Some(ContainerState::Running { tested }) if !once => untested |= !tested,
                Some(ContainerState::Ended(Some(0))) if once || service.may_end => {}
                Some(ContainerState::Ended(_) | ContainerState::Unhealthy) => {
                    if let Some(container) = container {
                        return Err(died(session, name, container));
                    }
                }
                _ => waiting = Some((name, container)),
            }
        }
        match waiting {
            None if !untested => return Ok(()),
            None => {
                let since = since.get_or_insert_with(Instant::now);
                if since.elapsed() >= scaled(EARLY_EXIT_PERIOD) {
                    return Ok(());
                }
            }
            Some((name, container)) => {
                since = None;
                if Instant::now() >= deadline {
                    let seconds = timeout.as_secs();
                    let what = format!("'{name}' is not ready after {seconds} s");
                    return Err(with_last_lines(session, container, what)
                        .hint("give it more time with session.compose.timeout in moat.yaml"));
                }
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn died(session: &Session, name: &str, container: &SessionContainer) -> Error {
    let what = match container.state {
        ContainerState::Ended(Some(code)) => format!("'{name}' ended with code {code}"),
        ContainerState::Ended(None) => format!("'{name}' ended"),
        _ => format!("'{name}' is unhealthy"),
    };
    with_last_lines(session, Some(container), what)
        .hint("fix the compose file, or session.compose in moat.yaml")
}

fn with_last_lines(session: &Session, container: Option<&SessionContainer>, what: String) -> Error {
    let engine = session.compose.as_ref().map(|compose| &compose.engine);
    let last = match (engine, container) {
        (Some(engine), Some(container)) => {
            let engine = runtime::compose_engine(engine, runtime::REQUEST_TIMEOUT);
            engine.last_lines(&container.id, SHOWN_LINES)
        }
        _ => Vec::new(),
    };
    let said = match last.is_empty() {
        true => ", and said nothing".to_owned(),
        false => indented(last.iter().map(String::as_str)),
    };
    Error::new(ErrorKind::Failed, what + &said)
}
