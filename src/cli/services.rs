//! `moat services`: show the services of a run.

use serde::Serialize;

use super::args::Args;
use super::{flags, output, run_selection};
use crate::error::Result;
use crate::store::{Home, ServiceRecord, ServiceState, Timestamp};
use crate::term;

/// A service, as JSON.
#[derive(Serialize)]
struct ServiceDocument<'a> {
    name: &'a str,
    service: &'a str,
    version: &'a str,
    image: &'a str,
    state: ServiceState,
    /// The address at which the workload reaches the service.
    address: String,
    started_at: Option<Timestamp>,
    ready_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    exit_code: Option<u8>,
    oom_killed: bool,
    restarts: u32,
    error: Option<&'a str>,
}

impl<'a> ServiceDocument<'a> {
    fn of(service: &'a ServiceRecord) -> ServiceDocument<'a> {
        ServiceDocument {
            name: &service.name,
            service: &service.service,
            version: &service.version,
            image: &service.image,
            state: service.state,
            address: address(service),
            started_at: service.started_at,
            ready_at: service.ready_at,
            ended_at: service.ended_at,
            exit_code: service.exit_code,
            oom_killed: service.oom_killed,
            restarts: service.restarts,
            error: service.error.as_deref(),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = run_selection::named_or_newest(args, &home)?;
    let record = home.run(&id).require()?;
    run_selection::adopt(&home, std::iter::once(&record));
    let services = &record.services;
    if args.has(&flags::JSON) {
        let documents: Vec<ServiceDocument> = services.iter().map(ServiceDocument::of).collect();
        output::json(&documents)?;
    } else if args.has(&flags::QUIET) {
        let names: String = services
            .iter()
            .map(|service| format!("{}\n", service.name))
            .collect();
        output::print_result(&names)?;
    } else if services.is_empty() {
        output::notice(args, &format!("{id} has no services"));
    } else {
        let rows: Vec<Vec<String>> = services.iter().map(row).collect();
        let header = [
            "NAME", "SERVICE", "STATE", "ADDRESS", "READY", "RESTARTS", "ERROR",
        ];
        output::print_result(&term::table(&header, &rows, term::width(std::io::stdout())))?;
    }
    Ok(0)
}

fn row(service: &ServiceRecord) -> Vec<String> {
    let ready = match (service.state, service.ready_at) {
        (ServiceState::Ready, Some(since)) => term::age(since.age()),
        _ => "-".to_owned(),
    };
    let error = service.error.as_deref().unwrap_or("-");
    vec![
        service.name.clone(),
        format!("{}@{}", service.service, service.version),
        service.state.as_str().to_owned(),
        address(service),
        ready,
        service.restarts.to_string(),
        term::escape_unsafe(error.lines().next().unwrap_or_default()),
    ]
}

/// Returns the host name and the first port of a service, on the network of the run.
fn address(service: &ServiceRecord) -> String {
    match service.ports.first() {
        Some(port) => format!("{}:{}", service.name, port.port),
        None => service.name.clone(),
    }
}
