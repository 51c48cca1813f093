//! `moat status`: show active runs, the number of other runs, and the runtimes.

use serde::Serialize;

use super::args::Args;
use super::run_selection::{self, ListedRun};
use super::{flags, list, output};
use crate::error::Result;
use crate::runtime;
use crate::store::{Home, RunState};

#[derive(Serialize)]
struct Status {
    home: String,
    runtimes: Vec<RuntimeStatus>,
    /// The runtime of a run that names none.
    default_runtime: Option<&'static str>,
    active: Vec<ListedRun>,
    /// The numbers of stopped, failed and unreadable runs.
    stopped: usize,
    failed: usize,
    unreadable: usize,
}

/// The state of a runtime.
#[derive(Serialize)]
pub(super) struct RuntimeStatus {
    pub(super) runtime: &'static str,
    pub(super) version: Option<String>,
    /// The reason why the runtime cannot be used or, with a version, the features that it lacks.
    pub(super) error: Option<String>,
    pub(super) hint: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let runs = run_selection::all(&home)?;
    let count = |state| runs.iter().filter(|run| run.state() == state).count();
    let mut status = Status {
        home: home.root().display().to_string(),
        runtimes: runtimes(),
        default_runtime: default_runtime().map(runtime::RuntimeName::as_str),
        stopped: count(Some(RunState::Stopped)),
        failed: count(Some(RunState::Failed)),
        unreadable: count(None),
        active: Vec::new(),
    };
    status.active = runs
        .into_iter()
        .filter(|run| run.state().is_some_and(|state| !state.is_terminal()))
        .collect();
    match args.has(&flags::JSON) {
        true => output::json(&status)?,
        false => output::print_result(&describe(&status))?,
    }
    Ok(0)
}

/// Returns the runtime of a run that names none.
fn default_runtime() -> Option<runtime::RuntimeName> {
    match std::env::var("MOAT_RUNTIME") {
        Ok(word) if !word.is_empty() => runtime::RuntimeName::parse(&word),
        _ => runtime::choose().ok(),
    }
}

/// Asks every runtime for its version.
pub(super) fn runtimes() -> Vec<RuntimeStatus> {
    let ask = |name: runtime::RuntimeName| {
        let runtime = runtime::open(name, &runtime::engine_settings(name), None);
        let (version, problem, hint) = match runtime.probe() {
            Ok(version) => (Some(version), runtime.limitation().map(str::to_owned), None),
            Err(problem) => {
                let error = crate::error::Error::from(problem);
                (None, Some(error.message), error.hint)
            }
        };
        RuntimeStatus {
            runtime: name.as_str(),
            version,
            error: problem,
            hint,
        }
    };
    // Hide runtimes of other systems, unless they are installed.
    let shown = |name: &runtime::RuntimeName| name.is_for_this_system() || name.is_here();
    runtime::RUNTIMES
        .into_iter()
        .filter(shown)
        .map(ask)
        .collect()
}

fn describe(status: &Status) -> String {
    let mut text = format!(
        "{} active, {} stopped, {} failed, {} unreadable in {}\n",
        status.active.len(),
        status.stopped,
        status.failed,
        status.unreadable,
        crate::term::escape_unsafe(&status.home)
    );
    for runtime in &status.runtimes {
        let state = match (&runtime.version, &runtime.error) {
            (Some(version), Some(lack)) => format!("works, version {version}; {lack}"),
            (Some(version), None) => format!("works, version {version}"),
            (None, Some(problem)) => problem.clone(),
            (None, None) => "unknown".to_owned(),
        };
        let default = match status.default_runtime == Some(runtime.runtime) {
            true => " (the default)",
            false => "",
        };
        text.push_str(&format!(
            "{:<8} {}{default}\n",
            runtime.runtime,
            crate::term::escape_unsafe(&state)
        ));
    }
    if !status.active.is_empty() {
        text.push('\n');
        text.push_str(&list::table(&status.active));
    }
    text
}
