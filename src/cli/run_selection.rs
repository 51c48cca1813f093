//! The selection of runs by arguments, and the records of all runs.

use std::ffi::OsStr;

use serde::Serialize;

use super::args::Args;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime;
use crate::store::{Home, Loaded, RunId, RunRecord, RunState, ServiceRecord, Session, resolve};

/// The maximum number of abandoned runs that one command has adopted.
const MAX_ADOPTIONS: usize = 32;

/// Returns the runs of the arguments, in their order and without duplicates.
pub(super) fn named(args: &Args, home: &Home) -> Result<Vec<RunId>> {
    let mut ids: Vec<RunId> = Vec::new();
    for argument in args.positional() {
        let id = resolve(home, text(argument)?)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Returns the run that matches an argument.
pub(super) fn one(argument: &OsStr, home: &Home) -> Result<RunId> {
    resolve(home, text(argument)?)
}

/// Returns the run that matches the argument, or else the newest run.
pub(super) fn named_or_newest(args: &Args, home: &Home) -> Result<RunId> {
    if let Some(argument) = args.positional().first() {
        return resolve(home, text(argument)?);
    }
    let newest = all(home)?.into_iter().find_map(|run| match run {
        ListedRun::Record(record) => Some(record.id),
        ListedRun::Unreadable(_) => None,
    });
    newest.ok_or_else(|| {
        Error::new(ErrorKind::NoSuchRun, "there are no runs").hint("start one: moat run -- CMD")
    })
}

/// Returns the service of a run by its name.
pub(super) fn service<'a>(
    record: Option<&'a RunRecord>,
    id: &RunId,
    name: &str,
) -> Result<&'a ServiceRecord> {
    let services = record.map_or(&[][..], |record| &record.services);
    if let Some(service) = services.iter().find(|service| service.name == name) {
        return Ok(service);
    }
    let known: Vec<&str> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let message = format!(
        "{id}: {}",
        crate::yaml::unknown_key_error("service", name, &known)
    );
    Err(Error::new(ErrorKind::NotFound, message).hint(format!("see them all: moat services {id}")))
}

fn text(argument: &OsStr) -> Result<&str> {
    argument.to_str().ok_or_else(|| {
        let shown = crate::term::escape_unsafe(&argument.to_string_lossy());
        Error::new(ErrorKind::NoSuchRun, format!("no such run: '{shown}'"))
    })
}

/// A run in a list, as JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ListedRun {
    Record(Box<RunRecord>),
    Unreadable(Unreadable),
}

/// A run with an unreadable record.
#[derive(Serialize)]
pub(super) struct Unreadable {
    pub(super) id: RunId,
    /// Always `unreadable`.
    state: &'static str,
    pub(super) error: String,
}

impl ListedRun {
    pub(super) fn id(&self) -> &RunId {
        match self {
            ListedRun::Record(record) => &record.id,
            ListedRun::Unreadable(run) => &run.id,
        }
    }

    pub(super) fn state(&self) -> Option<RunState> {
        match self {
            ListedRun::Record(record) => Some(record.state),
            ListedRun::Unreadable(_) => None,
        }
    }
}

/// Returns all runs, newest first. Unreadable runs come before all others, because they need attention. Starts
/// supervisors for abandoned runs.
pub(super) fn all(home: &Home) -> Result<Vec<ListedRun>> {
    let ids = home.run_ids()?;
    let mut runs = load(home, &ids);
    runs.sort_by_cached_key(|run| {
        let created = match run {
            ListedRun::Record(record) => Some(std::cmp::Reverse(record.created_at)),
            ListedRun::Unreadable(_) => None,
        };
        (created, run.id().clone())
    });
    let records = runs.iter().filter_map(|run| match run {
        ListedRun::Record(record) => Some(&**record),
        ListedRun::Unreadable(_) => None,
    });
    adopt(home, records);
    Ok(runs)
}

/// Starts supervisors for abandoned runs, without waiting for them.
pub(super) fn adopt<'a>(home: &Home, records: impl Iterator<Item = &'a RunRecord>) {
    records
        .filter(|record| !record.state.is_terminal() || record.cleaned_at.is_none())
        .filter(|record| crate::run::adopt(home, record))
        .take(MAX_ADOPTIONS)
        .for_each(drop);
}

/// Reads the records, with two threads if there are many.
fn load(home: &Home, ids: &[RunId]) -> Vec<ListedRun> {
    let read = |ids: &[RunId]| ids.iter().filter_map(|id| listed(home, id)).collect();
    if ids.len() < 256 {
        return read(ids);
    }
    let (one, other) = ids.split_at(ids.len() / 2);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| read(one));
        let mut runs: Vec<ListedRun> = read(other);
        runs.extend(thread.join().unwrap_or_default());
        runs
    })
}

fn listed(home: &Home, id: &RunId) -> Option<ListedRun> {
    match home.run(id).load() {
        Loaded::Record(record) => Some(ListedRun::Record(record)),
        Loaded::Unreadable(error) => Some(ListedRun::Unreadable(Unreadable {
            id: id.clone(),
            state: "unreadable",
            error,
        })),
        Loaded::Missing => None,
    }
}

/// The settings of an engine.
pub(super) type EngineSettings = Vec<(String, String)>;

/// Returns the engines that may have resources of moat: the engines of the current settings, and those of existing runs
/// and sessions.
pub(super) fn engines(
    runs: &[ListedRun],
    sessions: &[Session],
) -> Vec<(runtime::RuntimeName, EngineSettings)> {
    let here = runtime::RUNTIMES.into_iter().filter(|name| name.is_here());
    let mut engines: Vec<(runtime::RuntimeName, EngineSettings)> = here
        .map(|name| (name, runtime::engine_settings(name)))
        .collect();
    let runs = runs.iter().filter_map(|run| match run {
        ListedRun::Record(record) => Some((
            runtime::RuntimeName::parse(&record.settings.identity.runtime)?,
            &record.settings.identity.engine,
        )),
        ListedRun::Unreadable(_) => None,
    });
    let services = sessions.iter().filter_map(|session| {
        let services = &session.services;
        Some((
            runtime::RuntimeName::parse(&services.runtime)?,
            &services.engine,
        ))
    });
    let compose = sessions
        .iter()
        .filter_map(|session| session.compose.as_ref());
    let compose = compose.map(|compose| (runtime::COMPOSE_RUNTIME, &compose.engine));
    for (name, settings) in runs.chain(services).chain(compose) {
        let is_known = engines
            .iter()
            .any(|(known, engine)| *known == name && engine == settings);
        if !is_known && name.has_images() && name.is_here() {
            engines.push((name, settings.clone()));
        }
    }
    engines
}
