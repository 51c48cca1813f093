//! Resolves a run argument: exact id, id prefix, exact name, unique name prefix.

use super::home::Home;
use super::id::{ID_PREFIX, RunId};
use super::run_dir::{Loaded, no_such_run};
use super::run_record::RunRecord;
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Finds the run that `argument` names, or fails with the candidates.
pub(crate) fn resolve(home: &Home, argument: &str) -> Result<RunId> {
    if argument.contains('/') {
        return Err(Error::new(
            ErrorKind::NoSuchRun,
            format!("no such run: '{}'", crate::term::escape_unsafe(argument)),
        )
        .hint("a run is named by its id or name, not by a path; see: moat list -a"));
    }
    if let Some(id) = RunId::parse(argument) {
        let exists = !matches!(home.run(&id).load(), Loaded::Missing);
        return exists.then_some(id).ok_or_else(|| no_such_run(argument));
    }
    let ids = home.run_ids()?;
    if argument.starts_with(ID_PREFIX) {
        let matching = ids
            .into_iter()
            .filter(|id| id.as_str().starts_with(argument));
        return exactly_one(argument, candidates(home, matching));
    }
    find_by_name(argument, candidates(home, ids.into_iter()))
}

/// A run that may match; one with an unreadable record has an id only.
struct RunCandidate {
    id: RunId,
    record: Option<RunRecord>,
}

impl RunCandidate {
    fn name(&self) -> &str {
        self.record
            .as_ref()
            .map_or("", |record| record.name.as_str())
    }

    fn created(&self) -> Option<Timestamp> {
        self.record.as_ref().map(|record| record.created_at)
    }

    fn is_active(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| !record.state.is_terminal())
    }
}

fn candidates(home: &Home, ids: impl Iterator<Item = RunId>) -> Vec<RunCandidate> {
    ids.map(|id| RunCandidate {
        record: home.run(&id).load().record(),
        id,
    })
    .collect()
}

/// Among several runs with one name, the active one is meant: only it can be acted on.
fn find_by_name(argument: &str, all: Vec<RunCandidate>) -> Result<RunId> {
    let (exact, rest): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|run| !argument.is_empty() && run.name().starts_with(argument))
        .partition(|run| run.name() == argument);
    if let Some(active) = exact.iter().find(|run| run.is_active()) {
        return Ok(active.id.clone());
    }
    exactly_one(argument, if exact.is_empty() { rest } else { exact })
}

fn exactly_one(argument: &str, mut matching: Vec<RunCandidate>) -> Result<RunId> {
    match matching.len() {
        0 => Err(no_such_run(&crate::term::escape_unsafe(argument))),
        1 => Ok(matching.remove(0).id),
        _ => {
            matching.sort_by_key(|run| std::cmp::Reverse(run.created()));
            let lines: Vec<String> = matching.iter().take(10).map(candidate_text).collect();
            let message = format!(
                "'{}' could be {} runs:\n{}",
                crate::term::escape_unsafe(argument),
                matching.len(),
                lines.join("\n")
            );
            Err(Error::new(ErrorKind::AmbiguousRun, message).hint("give more of the id"))
        }
    }
}

fn candidate_text(run: &RunCandidate) -> String {
    match &run.record {
        Some(record) => format!("  {}  {}  {}", run.id, record.name, record.state.as_str()),
        None => format!("  {}  (unreadable)", run.id),
    }
}
