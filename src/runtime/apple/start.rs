//! The start of containers that belong together: a service has an address only when it runs, and the
//! workload is held back until it can find all of them.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::problem::{Problem, Result};
use super::super::request::{ROLE_LABEL, RUN_LABEL, SERVICE_LABEL};
use super::super::{Attached, ContainerSpec};
use super::{CHANGE, call, create, model, names};
use crate::store::ResourceKind;

/// How long a container may take from its start until it has its address.
const START: Duration = Duration::from_secs(60);

/// How long to wait between looks at something that is about to come.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a container that a client is starting has its address, or the client has ended: then
/// there is somebody who says why.
pub(super) fn wait_for_address(handle: &str, attached: &Attached) {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline && !attached.client.has_ended() {
        let all = call::ask_json(&["inspect", handle]).unwrap_or_default();
        let mut running = model::elements(&all).filter(|one| model::is_running(one));
        if running.any(model::has_address) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Tells a run's own container, if it runs, where its services are; and lets its command begin.
pub(super) fn publish_names(run: &str, network: &str) -> Result<()> {
    let all = super::Apple::list(ResourceKind::Container)?;
    let of_run = |one: &&Value| model::label(one, RUN_LABEL) == Some(run) && model::is_running(one);
    let role = |one: &Value, role: &str| model::label(one, ROLE_LABEL) == Some(role);
    let Some(main) = model::elements(&all)
        .filter(of_run)
        .find(|one| role(one, create::MAIN))
    else {
        return Ok(());
    };
    let mut client = call::client();
    client.args([
        "exec",
        "--user",
        "0:0",
        model::id(main),
        "/bin/sh",
        "-c",
        names::PUBLISH,
        "moat",
    ]);
    for service in model::elements(&all)
        .filter(of_run)
        .filter(|one| role(one, create::SERVICE))
    {
        let name = model::label(service, SERVICE_LABEL).unwrap_or_default();
        if let Some(address) = model::address(service, network) {
            client.arg(names::line(address, name));
        }
    }
    call::run(&mut client, b"", CHANGE).map(drop)
}

/// Lets the command of a run begin, now that its services have addresses.
pub(super) fn let_go(spec: &ContainerSpec, network: &str, attached: &Attached) -> Result<()> {
    let deadline = Instant::now() + START;
    wait_for_address(&spec.handle, attached);
    loop {
        if attached.client.has_ended() {
            return Ok(());
        }
        match publish_names(&spec.run_label, network) {
            // It may have been about to run.
            Err(problem)
                if Instant::now() < deadline && !matches!(problem, Problem::Unreachable(..)) =>
            {
                std::thread::sleep(LOOK * 4);
            }
            result => return result,
        }
    }
}
