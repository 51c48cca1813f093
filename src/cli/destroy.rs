//! `moat destroy`: remove finished runs, and the containers that `--keep` kept.

use super::args::Args;
use super::confirm::confirm;
use super::{flags, output, run_selection};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled_seconds;
use crate::run;
use crate::runtime::{self, ResourceOwner};
use crate::store::{self, EndRequest, Home, HomeLabels, Loaded, RunId, RunRecord};

/// The grace period when `--force` stops an active run.
const GRACE_SECONDS: u32 = 10;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let ids = run_selection::named(args, &home)?;
    let force = args.has(&flags::DESTROY_FORCE);
    if !force {
        // All or nothing: check every run before any of them is removed.
        for id in &ids {
            check_finished(&home, id)?;
            run::wait_until_unowned(&home, id, &output::print_notice)?;
        }
        check_unsaved(args, &home, &ids)?;
    }
    let mut gone = Vec::new();
    for id in ids {
        destroy(&home, &id, force)?;
        if !args.has(&flags::JSON) {
            output::print_result(&format!("{id}\n"))?;
        }
        gone.push(id);
    }
    if args.has(&flags::JSON) {
        output::json(&gone)?;
    }
    Ok(0)
}

/// Asks before a run is removed that holds the only copy of its workspace.
fn check_unsaved(args: &Args, home: &Home, ids: &[RunId]) -> Result<()> {
    let unsaved: Vec<&str> = ids
        .iter()
        .filter(|id| holds_only_copy(home, id))
        .map(RunId::as_str)
        .collect();
    let Some(first) = unsaved.first() else {
        return Ok(());
    };
    let which = unsaved.join(", ");
    let hint = format!("keep it: moat export {first} DIR; remove it: moat destroy -f {first}");
    confirm(
        args,
        &format!("{which} holds the only copy of its workspace. Remove it?"),
        &hint,
    )
    .map_err(|error| {
        let message = format!(
            "{which} holds the only copy of its workspace; {}",
            error.message
        );
        error.with_message(message)
    })
}

/// Returns whether a run holds the only copy of its workspace; false if its record is unreadable.
pub(super) fn holds_only_copy(home: &Home, id: &RunId) -> bool {
    let dir = home.run(id);
    dir.load()
        .record()
        .is_some_and(|record| dir.holds_only_copy(&record))
}

fn check_finished(home: &Home, id: &RunId) -> Result<()> {
    let record = home.run(id).require()?;
    if record.state.is_terminal() {
        return Ok(());
    }
    let message = format!("{id} has not ended: it is {}", record.state.as_str());
    Err(Error::new(ErrorKind::Conflict, message).hint(format!(
        "stop it first (moat stop {id}), or: moat destroy -f {id}"
    )))
}

/// Removes a run. With `force`, stops it first, and also removes a run with an unreadable record.
pub(super) fn destroy(home: &Home, id: &RunId, force: bool) -> Result<()> {
    let dir = home.run(id);
    let record = match dir.load() {
        Loaded::Record(record) => *record,
        Loaded::Unreadable(_) if force => return destroy_unreadable(home, id),
        _ => dir.require()?,
    };
    if !record.state.is_terminal() {
        let how = EndRequest::Stop(scaled_seconds(GRACE_SECONDS));
        run::request_end(home, id, how)?;
        run::wait_for_requested_end(home, id, how, &output::print_notice)?;
    }
    let record = match dir.load() {
        Loaded::Record(record) => *record,
        // Another process has removed it.
        Loaded::Missing => return Ok(()),
        Loaded::Unreadable(_) => record,
    };
    match remove_resources(&record, home) {
        Err(error) if force => output::warning(&format!(
            "{}; 'moat clean' lists the resources of {id} when its runtime answers again",
            error.message
        )),
        result => result?,
    }
    match store::remove(home, id) {
        Err(_) if matches!(dir.load(), Loaded::Missing) => Ok(()),
        result => result,
    }
}

/// Removes a run with an unreadable record. Its runtime and resources are unknown, so every runtime is searched for its
/// id.
fn destroy_unreadable(home: &Home, id: &RunId) -> Result<()> {
    let labels = home.labels()?;
    for (name, engine) in run_selection::engines(&[], &[]) {
        let driver = runtime::open(name, &engine, Some(&home.run(id)));
        let removed = remove_by_label(driver.as_ref(), &labels, id);
        if let Err(problem) = removed.and_then(|()| driver.remove(id.as_str())) {
            output::warning(&format!(
                "{name}: {}; 'moat clean' lists the resources of {id} there when the runtime answers again",
                problem.message()
            ));
        }
    }
    store::remove(home, id)
}

/// Removes the resources that have the label of a run.
fn remove_by_label(
    driver: &dyn runtime::Runtime,
    labels: &HomeLabels,
    id: &RunId,
) -> runtime::Result<()> {
    let whose = ResourceOwner::Run(id.as_str().to_owned());
    let mut labelled = driver.find_labelled()?;
    labelled.retain(|one| one.owner == whose && labels.include(&one.home_label));
    // Containers come first, because a network in use cannot be removed.
    for labelled in &labelled {
        driver.remove_resource(labelled.kind, &labelled.handle)?;
    }
    Ok(())
}

/// Removes the kept container of a run, or the resources that its supervisor could not remove.
fn remove_resources(record: &RunRecord, home: &Home) -> Result<()> {
    if record.is_clean() {
        return Ok(());
    }
    let runtime = runtime::of_run(
        &home.run(&record.id),
        &record.settings.identity.runtime,
        &record.settings.identity.engine,
    )?;
    for resource in record.resources.iter().rev() {
        runtime.remove_resource(resource.kind, &resource.handle)?;
    }
    Ok(())
}
