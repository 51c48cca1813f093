//! The start of containers that belong together. A service has an address only when it runs, and the workload waits
//! until all addresses are known.

use std::time::{Duration, Instant};

use super::super::Attached;
use super::super::client_call::{ROLE_LABEL, RUN_LABEL, SERVICE_LABEL};
use super::super::error::{Result, RuntimeError};
use super::{CHANGE_TIMEOUT, client, create, model, start_gate};
use crate::failpoint::{checkpoint, scaled_timeout};
use crate::store::ResourceKind;

/// Timeout from the start of a container until the container has an address.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn limit() -> Duration {
    scaled_timeout(LIMIT)
}

/// Poll interval for a change that comes within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until a starting container has its address, or its client has ended. The end of the client has the reason.
pub(super) fn wait_for_address(handle: &str, attached: &Attached) {
    let deadline = Instant::now() + limit();
    while Instant::now() < deadline && !attached.client.has_ended() {
        let all = client::ask_json(&["inspect", handle]).unwrap_or_default();
        let mut running = all.iter().filter(|one| model::is_running(one));
        if running.any(model::has_address) {
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Writes the addresses of the services into a run's own container and opens its start gate. False: the container
/// does not run.
fn write_hosts_and_open(run: &str, network: &str) -> Result<bool> {
    let all = super::Apple::list(ResourceKind::Container)?;
    let of_role = |role: &'static str| {
        let running = all.iter().filter(|one| model::is_running(one));
        let of_run = running.filter(|one| model::label(one, RUN_LABEL) == Some(run));
        of_run.filter(move |one| model::label(one, ROLE_LABEL) == Some(role))
    };
    let Some(main) = of_role(create::MAIN_ROLE).next() else {
        return Ok(false);
    };
    let mut client = client::client();
    client.args(["exec", "--user", "0:0", model::id(main)]);
    client.args(["/bin/sh", "-c", start_gate::WRITE_HOSTS_SCRIPT, "moat"]);
    for service in of_role(create::SERVICE_ROLE) {
        let name = model::label(service, SERVICE_LABEL).unwrap_or_default();
        match model::address(service, network) {
            Some(address) => client.arg(start_gate::line(address, name)),
            None => {
                let message = format!("the service {name} has no address");
                return Err(RuntimeError::Transient(message));
            }
        };
    }
    client::run(&mut client, b"", CHANGE_TIMEOUT).map(|_| true)
}

/// Writes the current addresses of the services into a run's own container, unless it still waits at the start gate:
/// then it gets all addresses there.
pub(super) fn rewrite_hosts(run: &str, attached: &Attached) -> Result<()> {
    let deadline = Instant::now() + limit();
    let publish = || match super::Apple::is_running(run)? {
        true => write_hosts_and_open(run, run).map(drop),
        false => Ok(()),
    };
    while !attached.client.has_ended() {
        match publish() {
            // The container may just have ended.
            Err(_) if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL * 4),
            published => return published,
        }
    }
    Ok(())
}

/// Whether a container certainly never ran: the first start creates its log.
pub(super) fn has_never_run(handle: &str) -> bool {
    let log = client::retry_transient(|| {
        client::run(
            client::client().args(["logs", "-n", "1", handle]),
            b"",
            CHANGE_TIMEOUT,
        )
    });
    log.is_err_and(|problem| problem.message().contains("failed to open container logs"))
}

/// Whether a run's own container waits at the start gate. A container that does not run does not wait.
pub(super) fn is_at_start_gate(handle: &str) -> Result<bool> {
    let args = [
        "exec",
        "--user",
        "0:0",
        handle,
        "/bin/sh",
        "-c",
        start_gate::CHECK_GATE_SCRIPT,
    ];
    match client::retry_transient(|| client::run(client::client().args(args), b"", CHANGE_TIMEOUT))
    {
        Ok(answer) => Ok(!answer.stdout.is_empty()),
        Err(RuntimeError::Refused(_) | RuntimeError::NotFound(_)) => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// Opens the start gate, after all services have addresses.
pub(super) fn open_start_gate(run: &str, network: &str, attached: &Attached) -> Result<()> {
    let deadline = Instant::now() + limit();
    wait_for_address(run, attached);
    checkpoint("held-back");
    while !attached.client.has_ended() {
        let late = Instant::now() >= deadline;
        match write_hosts_and_open(run, network) {
            Ok(true) => return Ok(()),
            Ok(false) if late => {
                let message = "the container received the start request but is not running";
                return Err(RuntimeError::Transient(message.to_owned()));
            }
            Err(problem) if late || matches!(problem, RuntimeError::Unreachable(..)) => {
                return Err(problem);
            }
            // The container has not started yet.
            _ => std::thread::sleep(POLL_INTERVAL * 4),
        }
    }
    // The attached client reports the reason.
    Ok(())
}
