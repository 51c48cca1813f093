//! Code that `stop`, `kill` and `wait` share.

use super::args::Args;
use super::run_selection;
use super::{flags, output};
use crate::error::Result;
use crate::run::{self, RequestOutcome};
use crate::store::{EndRequest, Home, RunId};

/// Ends the runs of the arguments in parallel, and waits until they have ended.
pub(super) fn end_runs(args: &Args, how: EndRequest) -> Result<u8> {
    let home = Home::locate()?;
    let ids = run_selection::named(args, &home)?;
    let mut told = Vec::new();
    let mut first_error = None;
    for id in &ids {
        match run::request_end(&home, id, how) {
            Ok(RequestOutcome::Signalled) => told.push(id),
            Ok(RequestOutcome::AlreadyEnded) => {
                output::notice(args, &format!("{id} had already ended"));
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    for id in &ids {
        // Also wait for a run that had already ended: its supervisor may still remove resources.
        if first_error.is_none() {
            run::wait_for_requested_end(&home, id, how, &output::print_notice)?;
        }
    }
    for id in told {
        if !args.has(&flags::JSON) {
            output::print_result(&format!("{id}\n"))?;
        }
    }
    documents(args, &home, &ids)?;
    first_error.map_or(Ok(0), Err)
}

/// With `--json`, prints the records of runs as one array.
pub(super) fn documents(args: &Args, home: &Home, ids: &[RunId]) -> Result<()> {
    if !args.has(&flags::JSON) {
        return Ok(());
    }
    let records: Vec<_> = ids
        .iter()
        .filter_map(|id| home.run(id).load().record())
        .collect();
    output::json(&records)
}
