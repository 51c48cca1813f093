//! Code that the commands about sessions share: selection, signals, settings and JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::args::Args;
use super::output;
use crate::config::{self, SessionSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::launch::config_files::{ConfigFiles, host};
use crate::plan::{self, Host, PlannedService};
use crate::runtime;
use crate::session::{self, Decision, OperationContext, Repository, ServiceHealth, SessionView};
use crate::store::{Home, Session};

/// The number of the first signal that ends a command, 0 until then.
pub(super) struct Signals(Arc<AtomicUsize>);

impl Signals {
    pub(super) fn new() -> Result<Signals> {
        let first = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&first), number).map_err(
                |error| {
                    let reason = crate::error::os_error_text(&error);
                    Error::new(
                        ErrorKind::Failed,
                        format!("cannot install signal handlers: {reason}"),
                    )
                },
            )?;
        }
        Ok(Signals(first))
    }

    fn should_continue(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Returns the exit code after a signal: 130, 143 or 129.
    fn code(&self) -> Option<u8> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            signal => u8::try_from(128 + signal).ok(),
        }
    }
}

/// Runs an operation that signals cancel. A cancelled operation has rolled back its changes.
pub(super) fn interruptible(
    args: &Args,
    home: &Home,
    work: &mut dyn FnMut(&OperationContext<'_>) -> Result<u8>,
) -> Result<u8> {
    let signals = Signals::new()?;
    let context = OperationContext {
        home,
        should_continue: &|| signals.should_continue(),
        notify: &|text| output::notice(args, text),
        warn: &output::warning,
    };
    let result = work(&context);
    match (result, signals.code()) {
        (Err(error), Some(code)) => {
            output::error(&error, args.has(&super::flags::JSON));
            Ok(code)
        }
        (result, _) => result,
    }
}

/// Returns the branch in the argument at a position, as text.
pub(super) fn branch_argument(args: &Args, place: usize) -> Result<Option<&str>> {
    let word = args.positional().get(place);
    word.map(|word| {
        word.to_str()
            .ok_or_else(|| Error::usage("the name of the branch is not UTF-8"))
    })
    .transpose()
}

/// Returns the repository of the current directory.
pub(super) fn repository() -> Result<Repository> {
    let here = std::env::current_dir().map_err(|error| {
        let reason = crate::error::os_error_text(&error);
        Error::new(
            ErrorKind::Workspace,
            format!("cannot find the current directory: {reason}"),
        )
        .hint("change to a directory that exists")
    })?;
    Repository::discover(&here)
}

/// Returns the session with this key. Ignores keys that are not a plain file name.
pub(super) fn find_by_key(home: &Home, given: Option<&str>) -> Result<Option<Session>> {
    let key = given.filter(|key| !key.contains(['/', '\0']));
    key.map_or(Ok(None), |key| home.session(key))
}

/// Returns the session with this key or, in this repository, of this branch. Without an argument, returns the session
/// of the branch that is checked out here or, if there is none, the session whose worktree contains the current
/// directory.
pub(super) fn find(home: &Home, given: Option<&str>) -> Result<Session> {
    if let Some(session) = find_by_key(home, given)? {
        return Ok(session);
    }
    let repository = repository()?;
    let branch = repository.branch(given);
    let found = match &branch {
        Ok(branch) => home
            .session(&repository.key(branch).text())?
            .filter(|session| session.is_for_branch(&repository.common, branch)),
        Err(_) => None,
    };
    let found = match found {
        None if given.is_none() => {
            let mut all = home.sessions()?.into_iter();
            all.find(|session| repository.is_in(&session.worktree.path))
        }
        found => found,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let branch = branch?;
    let shown = crate::term::escape_unsafe(&branch);
    Err(Error::new(
        ErrorKind::NotFound,
        format!("there is no session of '{shown}'"),
    )
    .hint(format!(
        "start it: moat up {}; see all: moat wt list",
        crate::term::shell_word(&branch)
    )))
}

/// Returns the note about a session that its configuration gives nothing that runs, if that is so.
pub(super) fn emptiness_note(
    session: &Session,
    repository: &Repository,
    settings: &SessionSettings,
    services: &[PlannedService],
) -> Result<Option<String>> {
    if !session.is_empty() || !services.is_empty() || !settings.is_empty() {
        return Ok(None);
    }
    let dir = repository.config_dir();
    let shown = crate::term::escape_unsafe(&dir.display().to_string());
    let reason = match config::project(dir, dir)? {
        None => format!("there is no moat.yaml in {shown}"),
        Some(_) => format!(
            "the moat.yaml in {shown} has no services, and no processes or compose services in 'session'"
        ),
    };
    Ok(Some(format!(
        "note: the session has only its worktree and a slot: {reason}"
    )))
}

/// Returns the session settings of a repository, from the moat.yaml of its main checkout.
pub(super) fn settings(repository: &Repository) -> Result<SessionSettings> {
    let dir = repository.config_dir();
    let Some(file) = config::project(dir, dir)? else {
        return Ok(SessionSettings::default());
    };
    file.source.finish()?;
    Ok(file.settings.session)
}

/// The services of the moat.yaml of the main checkout, and its files.
pub(super) struct SessionConfig {
    pub(super) services: Vec<PlannedService>,
    files: ConfigFiles,
}

impl SessionConfig {
    /// Reads the files. Asks no engine, because there may be no services.
    pub(super) fn read(home: &Home, repository: &Repository) -> Result<SessionConfig> {
        let files = ConfigFiles::read(repository.config_dir(), home)?;
        let services = match files.has_dependencies() {
            true => {
                let host = host(None, &files, home, || Ok(runtime::RuntimeName::Docker))?;
                plan::services(&files.all(), &host)?
            }
            false => Vec::new(),
        };
        Ok(SessionConfig { services, files })
    }

    /// Returns the host, with the given runtime or else the runtime that a run would use.
    pub(super) fn host(&self, home: &Home, settled: Option<&str>) -> Result<Host> {
        host(settled, &self.files, home, runtime::choose)
    }
}

/// A session as JSON.
#[derive(Serialize)]
pub(super) struct SessionDocument<'a> {
    session: &'a Session,
    healthy: bool,
    abandoned: bool,
    env: BTreeMap<String, String>,
    processes: Vec<ProcessDocument<'a>>,
    services: Vec<SessionServiceDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decisions: Option<Vec<DecisionDocument<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<&'a [String]>,
}

#[derive(Serialize)]
struct ProcessDocument<'a> {
    name: &'a str,
    /// `None` if the state is unknown; `trouble` then says why.
    running: Option<bool>,
    pid: Option<u32>,
    /// The container, for a service of a compose file.
    container: Option<&'a str>,
    error: Option<&'a str>,
    exit_code: Option<u8>,
    ports: Vec<PortDocument>,
}

#[derive(Serialize)]
struct SessionServiceDocument<'a> {
    name: &'a str,
    state: &'a str,
    container: &'a str,
    exit_code: Option<u8>,
    /// The ports on 127.0.0.1.
    ports: &'a [u16],
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct PortDocument {
    port: u16,
    primary: bool,
    listening: bool,
    /// The pid of the foreign process that listens on the port; 0 if the pid is unknown.
    foreign_pid: Option<u32>,
}

#[derive(Serialize)]
struct DecisionDocument<'a> {
    name: &'a str,
    action: &'a str,
    reason: &'a str,
}

impl<'a> SessionDocument<'a> {
    /// Returns the document of a session. `up_report`: the decisions and the warnings of an `up`.
    pub(super) fn of(
        view: &'a SessionView,
        up_report: Option<(&'a [Decision], &'a [String])>,
    ) -> SessionDocument<'a> {
        let processes = view.processes.iter().map(|health| ProcessDocument {
            name: &health.name,
            running: health.running,
            pid: health.pid,
            container: health.container.as_deref(),
            error: health.error.as_deref(),
            exit_code: health.exit_code,
            ports: health
                .ports
                .iter()
                .map(|port| PortDocument {
                    port: port.port,
                    primary: port.primary,
                    listening: port.listening,
                    foreign_pid: port.foreign_pid,
                })
                .collect(),
        });
        let service = |health: &'a ServiceHealth| SessionServiceDocument {
            name: &health.name,
            state: health.state,
            container: &health.handle,
            exit_code: health.exit_code,
            ports: &health.ports,
            error: health.error.as_deref(),
        };
        let decision = |decision: &'a Decision| DecisionDocument {
            name: &decision.name,
            action: decision.action.as_str(),
            reason: &decision.reason,
        };
        SessionDocument {
            session: &view.session,
            healthy: view.is_healthy(),
            abandoned: view.abandoned,
            env: session::variables(&view.session).into_iter().collect(),
            processes: processes.collect(),
            services: view.services.iter().map(service).collect(),
            decisions: up_report.map(|(all, _)| all.iter().map(decision).collect()),
            warnings: up_report.map(|(_, warnings)| warnings),
        }
    }
}

/// Reads the state of one session.
pub(super) fn view_session(
    home: &Home,
    session: Session,
    timeout: Duration,
) -> Result<SessionView> {
    let views = session::view(home, vec![session], timeout)?;
    let gone = || Error::new(ErrorKind::NotFound, "the session no longer exists");
    views.into_iter().next().ok_or_else(gone)
}
