//! From a request to an exit code: what every command that starts a run shares.
//!
//! [`prepare`] makes the plan, and creates nothing. [`Prepared::launch`] starts the run, connects it with the user, and
//! follows it to its end.

mod client;
pub(crate) mod config_files;
pub(crate) mod export;
pub(crate) mod signals;
mod slow_notice;
mod stdin;
mod summary;
pub(crate) mod terminal_session;
mod ui;
mod workspace_notes;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::failpoint::checkpoint;
use crate::plan::{self, GitAccess, Host, Plan, PlannedService, RunRequest, Variable};
use crate::run::{self, OutputTarget, Streams};
use crate::runtime;
use crate::session as sessions;
use crate::store::{Home, RunId, Session, WorkspaceMode};
use client::Client;
use config_files::ConfigFiles;
use signals::{Interrupts, StopTarget, interrupted};
use slow_notice::{SLOW_ANSWER, SlowNotice};
pub(crate) use stdin::stdin;
use terminal_session::PreparedTerminal;
pub(crate) use ui::{Progress, SharedUi, Ui};

/// A run to launch.
pub(crate) struct LaunchRequest {
    pub(crate) run: RunRequest,
    /// The session that the run enters: its worktree is the workspace.
    pub(crate) session: Option<Session>,
    pub(crate) runtime: Option<String>,
    /// The docker context with the engine.
    pub(crate) context: Option<String>,
    /// Whether the run is followed, even if the user's default is the background.
    pub(crate) follow: bool,
    /// The directory for the copied workspace.
    pub(crate) export_to: Option<PathBuf>,
}

/// A run that is planned. Nothing was created.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    request: LaunchRequest,
    host: Host,
    files: ConfigFiles,
}

/// Plans the run.
pub(crate) fn prepare(home: &Home, mut request: LaunchRequest, ui: &SharedUi) -> Result<Prepared> {
    if let Some(session) = &request.session {
        let worktree = session.worktree.path.clone();
        let variables = sessions::run_variables(session);
        request.run.enter_session(worktree, variables);
    }
    let run = &mut request.run;
    let files = ConfigFiles::read(&run.workspace, home)?;
    run.background |= files.background() && !request.follow && !run.interactive;
    run.git = sessions::git_mounts(home, &run.workspace).unwrap_or_else(|error| {
        let why = error.message;
        ui.warning(&format!("git will not work in the container: {why}"));
        GitAccess::default()
    });
    check_export(&request)?;
    let host = choose_host(home, &request, &files, ui)?;
    let mut plan = plan::plan(&request.run, &files.all(), &host)?;
    if request.export_to.is_some() && !has_copy(&plan) {
        let message = "--export needs a copied workspace";
        return Err(Error::usage(message).hint("set workspace.mode to volume in moat.yaml"));
    }
    if let Some(session) = &request.session {
        sessions::join(session, &mut plan)?;
        checkpoint("session-joined");
    }
    Ok(Prepared {
        plan,
        request,
        host,
        files,
    })
}

fn has_copy(plan: &Plan) -> bool {
    plan.settings.mounts.workspace_mode == WorkspaceMode::Volume
}

/// Checks the directory of `--export` before anything is created.
fn check_export(request: &LaunchRequest) -> Result<()> {
    let Some(dir) = &request.export_to else {
        return Ok(());
    };
    if request.run.background {
        let message =
            "--export and --background exclude each other: --export waits for the end of the run";
        let hint = "leave out one of them, or export after the run: moat export RUN DIR";
        return Err(Error::usage(message).hint(hint));
    }
    export::check_target(dir)
}

/// Returns the host, with the runtime and the engine of the request.
fn choose_host(
    home: &Home,
    request: &LaunchRequest,
    files: &ConfigFiles,
    ui: &SharedUi,
) -> Result<Host> {
    let context = request.context.as_deref();
    let of_context = context.map(|_| runtime::RuntimeName::Docker.as_str());
    let runtime = request.runtime.as_deref().or(of_context);
    let named = runtime.unwrap_or("the runtime");
    let text = format!("Still waiting for {named} to answer.");
    let mut waiting = SlowNotice::new(ui, SLOW_ANSWER, text);
    let mut host = config_files::host(runtime, files, home, runtime::choose)?;
    waiting.cancel();
    if let Some(context) = context {
        host.use_context(context)?;
    }
    Ok(host)
}

impl Prepared {
    /// Starts the run and follows it, unless it runs in the background. Returns the exit code.
    pub(crate) fn launch(self, home: &Home, ui: &SharedUi) -> Result<u8> {
        let mut plan = self.plan;
        offer_terminal(&mut plan, self.request.run.interactive, ui)?;
        let has_project_name = |service: &&PlannedService| service.name == service.service;
        let services = plan.services.iter().filter(has_project_name).count();
        let ignores_build = self.request.run.image.is_some() && self.files.build(services);
        print_notices(&plan, self.host.runtime, ignores_build, ui.as_ref());
        if !has_copy(&plan) {
            let run = &self.request.run;
            for note in workspace_notes::notes(&run.workspace, !run.git.mounts.is_empty()) {
                ui.notice(&format!("note: {note}"));
            }
        }
        plan::resolve_run_values(&mut plan, &self.host)?;
        let terminal = match plan.terminal {
            Some(_) => Some(PreparedTerminal::of_run(self.files.escape(), ui)?),
            None => None,
        };
        let (id, result) = follow(home, plan, terminal, ui)?;
        match (self.request.export_to, id) {
            (Some(dir), Some(id)) => {
                result.map(|code| export::after_run(home, &id, &dir, code, ui))
            }
            _ => result,
        }
    }
}

/// Starts the run and follows it. Returns the id of the run and the exit code.
fn follow(
    home: &Home,
    plan: Plan,
    terminal: Option<(PreparedTerminal, Streams)>,
    ui: &SharedUi,
) -> Result<(Option<RunId>, Result<u8>)> {
    let interrupts = Interrupts::new(terminal.is_some())?;
    let io = plan.settings.io;
    let runtime = plan.settings.identity.runtime.clone();
    let (terminal, streams) = match terminal {
        Some((terminal, streams)) => (Some(terminal), streams),
        None => (None, streams(&plan, ui.is_json())?),
    };
    let connection = run::connect(home, plan, streams)?;
    if io.interactive && terminal.is_none() {
        // Close our copy of stdin, so that the writer gets SIGPIPE when the workload stops reading.
        drop(File::open("/dev/null").map(rustix::stdio::dup2_stdin));
    }
    let target = Arc::new(Mutex::new(StopTarget::Supervisor(connection.handle())));
    let mut client = Client::new(home, Arc::clone(ui), io.background, Arc::clone(&target));
    client.terminal = terminal;
    let first = interrupts.handle(target, Arc::clone(&client.followed), Arc::clone(ui));
    let result = client.follow(connection, &runtime);
    let result = match interrupted(&first) {
        Some(code) => {
            if let Err(error) = &result {
                ui.error(error);
            }
            Ok(code)
        }
        None => result,
    };
    Ok((client.id(), result))
}

/// Returns the streams of a run without a terminal.
fn streams(plan: &Plan, is_json: bool) -> Result<Streams> {
    let io = plan.settings.io;
    Ok(Streams {
        stdin: io.interactive.then(stdin).transpose()?,
        terminal: None,
        // With --json, stdout carries only the document.
        output: match io.background || is_json {
            true => OutputTarget::LogOnly,
            false => OutputTarget::Inherited,
        },
    })
}

/// Gives our terminal to an interactive workload, if stdin is a terminal. `is_flag`: the command line asks for it, not
/// only a file.
fn offer_terminal(plan: &mut Plan, is_flag: bool, ui: &SharedUi) -> Result<()> {
    let io = &mut plan.settings.io;
    if !io.interactive || !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Ok(());
    }
    let shows = rustix::termios::isatty(rustix::stdio::stdout());
    if !is_flag && (io.background || ui.is_json() || !shows) {
        // Only a file asks for a terminal, and this call excludes one.
        io.interactive = false;
        return Ok(());
    }
    for (flag, given) in [("--background", io.background), ("--json", ui.is_json())] {
        if given {
            let message = format!("{flag} and -i with a terminal exclude each other");
            return Err(
                Error::usage(message).hint("leave out one of them, or give -i a pipe or a file")
            );
        }
    }
    plan.terminal = Some(PreparedTerminal::size()?);
    for (name, value) in terminal_session::variables() {
        if !plan.env.iter().any(|set| set.name == name) {
            plan.env.push(Variable::new(&name, &value));
        }
    }
    Ok(())
}

/// Prints the notices about a plan. `ignores_build`: a flag names an image, and the files want one to be built.
fn print_notices(plan: &Plan, runtime: runtime::RuntimeName, ignores_build: bool, ui: &dyn Ui) {
    if let Some(weakness) = runtime.isolation_warning() {
        ui.notice(&format!("note: {weakness}"));
    }
    for note in &plan.notices {
        ui.notice(&format!("note: {note}"));
    }
    let settings = &plan.settings;
    if settings.image.name.is_some() && ignores_build {
        ui.notice(
            "note: --image is used unchanged, without the dependencies and build steps of moat.yaml",
        );
    }
    if settings.io.background && settings.io.interactive {
        ui.detail("the workload reads the stdin of moat in the background");
    }
    let image = settings.image.name.as_deref().unwrap_or("none");
    ui.detail(&format!("runtime {runtime}, image {image}"));
}
