//! `moat run`: start a run, and follow it unless it runs in the background.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};

use super::args::Args;
use super::command_table::Flag;
use super::config_files::{ConfigFiles, host};
use super::docker_habits;
use super::progress::ProgressDisplay;
use super::signals::{FollowedRun, Interrupts, StopTarget, interrupted, lock};
use super::slow_notice::{SLOW_ANSWER, SLOW_START, SlowNotice};
use super::terminal_session::{self, PreparedTerminal, TerminalSession, Workload};
use super::{dry_run, flags, output, usage_error, workspace_notes};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::plan::{self, GitAccess, Host, Plan, RunRequest, Variable};
use crate::run::{self, Connection, FromClient, OutputTarget, Streams, SupervisorLink, ToClient};
use crate::runtime;
use crate::session as sessions;
use crate::store::{self, EndReason, Home, RunEnd, RunId, RunName, WorkspaceMode};
use crate::term::EscapePrefix;
use crate::term::pty::Size;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    check_path(args)?;
    let session = session(args, &home)?;
    let workspace = match &session {
        Some(session) => session.worktree.path.clone(),
        None => workspace(args),
    };
    let files = ConfigFiles::read(&workspace, &home)?;
    let mut request = request(args, files.background())?;
    if let Some(session) = &session {
        request.enter_session(workspace.clone(), sessions::run_variables(session));
    }
    request.git = sessions::git_mounts(&home, &workspace).unwrap_or_else(|error| {
        output::warning(&format!(
            "git will not work in the container: {}",
            error.message
        ));
        GitAccess::default()
    });
    let export_to = export_target(args, &request)?;
    let host = chosen_host(args, &files, &home)?;
    let mut plan = plan::plan(&request, &files.all(), &host)?;
    if export_to.is_some() && plan.settings.mounts.workspace_mode == WorkspaceMode::Bind {
        let message = "--export needs a copied workspace";
        return Err(Error::usage(message).hint("set workspace.mode to volume in moat.yaml"));
    }
    if let Some(session) = &session {
        sessions::join(&home, session, &mut plan)?;
        checkpoint("session-joined");
    }
    if args.has(&flags::DRY_RUN) {
        return dry_run::print(args, &plan);
    }
    offer_terminal(args, &mut plan)?;
    let named_after = |service: &&plan::PlannedService| service.name == service.service;
    let builds = files.build(plan.services.iter().filter(named_after).count());
    plan_notices(args, &plan, host.runtime, builds);
    if plan.settings.mounts.workspace_mode == WorkspaceMode::Bind {
        for note in workspace_notes::notes(&workspace, !request.git.mounts.is_empty()) {
            output::notice(args, &format!("note: {note}"));
        }
    }
    plan::resolve_run_values(&mut plan, &host)?;
    let (id, result) = launch_and_follow(args, &home, plan, files.escape())?;
    match (export_to, id) {
        (Some(dir), Some(id)) => result.map(|code| export(args, &home, &id, &dir, code)),
        _ => result,
    }
}

/// Returns the host, with the runtime and the engine of the flags.
fn chosen_host(args: &Args, files: &ConfigFiles, home: &Home) -> Result<Host> {
    let context = args.text(&flags::CONTEXT)?;
    let of_context = context.map(|_| runtime::RuntimeName::Docker.as_str());
    let runtime = args.text(&flags::RUNTIME)?.or(of_context);
    let named = runtime.unwrap_or("the runtime");
    let text = format!("Still waiting for {named} to answer.");
    let mut waiting = SlowNotice::new(args, SLOW_ANSWER, text);
    let mut host = host(runtime, files, home, runtime::choose)?;
    waiting.cancel();
    if let Some(context) = context {
        host.use_context(context)?;
    }
    Ok(host)
}

/// Starts the run and follows it. Returns the id of the run and the exit code.
fn launch_and_follow(
    args: &Args,
    home: &Home,
    plan: Plan,
    escape: Option<EscapePrefix>,
) -> Result<(Option<RunId>, Result<u8>)> {
    let (background, interactive) = (plan.settings.io.background, plan.settings.io.interactive);
    let runtime = plan.settings.identity.runtime.clone();
    let interrupts = Interrupts::new(plan.terminal.is_some())?;
    let (terminal, streams) = match plan.terminal {
        Some(_) => {
            let (terminal, streams) = PreparedTerminal::of_run(escape)?;
            (Some(terminal), streams)
        }
        None => (None, streams(args, &plan)?),
    };
    let connection = run::connect(home, plan, streams)?;
    if interactive && terminal.is_none() {
        // Close our copy of stdin, so that the writer gets SIGPIPE when the workload stops reading.
        drop(File::open("/dev/null").map(rustix::stdio::dup2_stdin));
    }
    let target = Arc::new(Mutex::new(StopTarget::Supervisor(connection.handle())));
    let mut client = Client::new(args, home, background, runtime, Arc::clone(&target));
    client.terminal = terminal;
    let followed = Arc::clone(&client.followed);
    let first = interrupts.handle(target, followed, args.has(&flags::QUIET));
    let result = client.follow(connection);
    let result = match interrupted(&first) {
        Some(code) => {
            if let Err(error) = &result {
                output::error(error, args.has(&flags::JSON));
            }
            Ok(code)
        }
        None => result,
    };
    Ok((client.run.map(|(id, _)| id), result))
}

/// Returns the streams of a run without a terminal.
fn streams(args: &Args, plan: &Plan) -> Result<Streams> {
    Ok(Streams {
        stdin: plan.settings.io.interactive.then(stdin).transpose()?,
        terminal: None,
        // With --json, stdout carries only the document.
        output: match plan.settings.io.background || args.has(&flags::JSON) {
            true => OutputTarget::LogOnly,
            false => OutputTarget::Inherited,
        },
    })
}

/// Gives our terminal to an interactive workload, if stdin is a terminal.
fn offer_terminal(args: &Args, plan: &mut Plan) -> Result<()> {
    if !plan.settings.io.interactive || !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Ok(());
    }
    let shows = rustix::termios::isatty(rustix::stdio::stdout());
    if !args.has(&flags::INTERACTIVE)
        && (plan.settings.io.background || args.has(&flags::JSON) || !shows)
    {
        // Only a file asks for a terminal, and this call excludes one.
        plan.settings.io.interactive = false;
        return Ok(());
    }
    for (flag, given) in [
        ("--background", plan.settings.io.background),
        ("--json", args.has(&flags::JSON)),
    ] {
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
            plan.env.push(Variable { name, value });
        }
    }
    Ok(())
}

/// Returns the directory of `--export`, checked before anything is created.
fn export_target(args: &Args, request: &RunRequest) -> Result<Option<PathBuf>> {
    let Some(dir) = args.value(&flags::EXPORT) else {
        return Ok(None);
    };
    if request.background {
        return Err(Error::usage(
            "--export and --background exclude each other: --export waits for the end of the run",
        )
        .hint("leave out one of them, or export after the run: moat export RUN DIR"));
    }
    super::export::check_target(dir.as_ref())?;
    Ok(Some(PathBuf::from(dir)))
}

/// Exports the workspace of a run that exited with `code`, and returns the exit code. If the export fails, moat still
/// keeps the workspace.
fn export(args: &Args, home: &Home, id: &RunId, dir: &Path, code: u8) -> u8 {
    match super::export::export(args, home, id, dir) {
        Ok(()) => code,
        Err(error) => {
            output::warning(&format!(
                "{}; try again: moat export {id} DIR",
                error.message
            ));
            code.max(1)
        }
    }
}

/// Returns the session of `--session`.
fn session(args: &Args, home: &Home) -> Result<Option<store::Session>> {
    let Some(branch) = args.text(&flags::SESSION)? else {
        return Ok(None);
    };
    if !args.positional().is_empty() {
        let message =
            "--session and PATH exclude each other: the workspace is the session's worktree";
        return Err(Error::usage(message).hint("leave out one of them"));
    }
    super::session_commands::find(home, Some(branch)).map(Some)
}

/// Refuses words of docker in the place of a directory: `-v SRC:DST`, which the parser reads as `--verbose` and a
/// workspace, and `IMAGE`.
fn check_path(args: &Args) -> Result<()> {
    let Some(path) = args.positional().first() else {
        return Ok(());
    };
    let Some(word) = path.to_str().filter(|word| !Path::new(word).exists()) else {
        return Ok(());
    };
    if args.has(&flags::VERBOSE)
        && let Some(error) = docker_habits::volume_error([word].into_iter())
    {
        return Err(error);
    }
    if docker_habits::is_image(word) {
        let workload = args.rest().unwrap_or_default();
        return Err(usage_error::image_for_path(args.command, path, workload));
    }
    Ok(())
}

fn workspace(args: &Args) -> PathBuf {
    args.positional()
        .first()
        .map_or_else(|| ".".into(), PathBuf::from)
}

/// Returns the request of the flags and arguments, as text.
fn request(args: &Args, background: bool) -> Result<RunRequest> {
    let text = |flag: &Flag| args.text(flag).map(|value| value.map(str::to_owned));
    let command = args.rest().unwrap_or_default();
    Ok(RunRequest {
        workspace: workspace(args),
        name: text(&flags::NAME)?,
        image: text(&flags::IMAGE)?,
        command: all_text(command.iter().map(AsRef::as_ref), "the command")?,
        env: all_text(args.values(&flags::ENV), "--env")?,
        env_files: all_text(args.values(&flags::ENV_FILE), "--env-file")?,
        mounts: all_text(args.values(&flags::MOUNT), "--mount")?,
        publish: all_text(args.values(&flags::PUBLISH), "--publish")?,
        workdir: text(&flags::RUN_WORKDIR)?,
        user: text(&flags::USER)?,
        shm_size: text(&flags::SHM_SIZE)?,
        timeout: text(&flags::TIMEOUT)?,
        start_timeout: text(&flags::START_TIMEOUT)?,
        memory: text(&flags::MEMORY)?,
        cpus: text(&flags::CPUS)?,
        interactive: args.has(&flags::INTERACTIVE),
        background: args.has(&flags::BACKGROUND)
            || (background && !args.has(&flags::FOLLOW) && !args.has(&flags::INTERACTIVE)),
        keep: args.has(&flags::KEEP),
        rebuild: args.has(&flags::REBUILD),
        git: GitAccess::default(),
    })
}

/// Converts arguments to text, because engines take only text. Other bytes must go through `-i`.
pub(super) fn all_text<'a>(
    words: impl Iterator<Item = &'a OsStr>,
    what: &str,
) -> Result<Vec<String>> {
    let text = |word: &OsStr| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            Error::usage(format!("a word of {what} is not UTF-8"))
                .hint("pass bytes to the workload on stdin: moat run -i -- CMD < FILE")
        })
    };
    words.map(text).collect()
}

/// Returns a stdin for the workload. One that cannot be read (nohup opens it for writing; a directory) is empty: the
/// engines' clients differ in what they make of it, and podman's waits for ever.
pub(super) fn stdin() -> Result<OwnedFd> {
    let failed = |error: &std::io::Error| {
        let reason = crate::error::os_error_text(error);
        Error::new(ErrorKind::Failed, format!("cannot use stdin: {reason}"))
    };
    let stdin = rustix::stdio::stdin();
    match is_readable(stdin) {
        true => stdin.try_clone_to_owned().map_err(|error| failed(&error)),
        false => File::open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|error| failed(&error)),
    }
}

fn is_readable(input: impl AsFd) -> bool {
    let is_writing = rustix::fs::fcntl_getfl(&input)
        .is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::WRONLY);
    let is_directory = rustix::fs::fstat(&input)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    !is_writing && !is_directory
}

/// Prints the notices about a plan.
fn plan_notices(args: &Args, plan: &Plan, runtime: runtime::RuntimeName, builds: bool) {
    if let Some(weakness) = runtime.isolation_warning() {
        output::notice(args, &format!("note: {weakness}"));
    }
    for note in &plan.notices {
        output::notice(args, &format!("note: {note}"));
    }
    if plan.settings.image.name.is_some() && args.has(&flags::IMAGE) && builds {
        output::notice(
            args,
            "note: --image is used unchanged, without the dependencies and build steps of moat.yaml",
        );
    }
    if plan.settings.io.background && plan.settings.io.interactive {
        output::detail(
            args,
            "the workload reads the stdin of moat in the background",
        );
    }
    let image = plan.settings.image.name.as_deref().unwrap_or("none");
    output::detail(args, &format!("runtime {runtime}, image {image}"));
}

/// A run that uses our terminal.
struct RunOnTerminal {
    link: SupervisorLink,
    target: Arc<Mutex<StopTarget>>,
}

impl Workload for RunOnTerminal {
    fn resize(&self, size: Size) {
        self.link.send(FromClient::Size(size));
    }

    fn set_has_terminal(&self, has: bool) {
        self.link.send(match has {
            true => FromClient::Announced,
            false => FromClient::Restored,
        });
    }

    fn end(&self, kill: bool) {
        lock(&self.target).end(kill);
    }
}

/// The state of the client while it reads the messages of the supervisor.
struct Client<'a> {
    args: &'a Args,
    home: &'a Home,
    background: bool,
    runtime: String,
    target: Arc<Mutex<StopTarget>>,
    run: Option<(RunId, Option<RunName>)>,
    /// The same run for signals, from its start on.
    followed: FollowedRun,
    progress: ProgressDisplay,
    /// Whether writing to our stdout failed.
    output_failed: bool,
    output_closed: bool,
    /// Our terminal, before the workload gets it.
    terminal: Option<PreparedTerminal>,
    /// Our terminal, while the workload has it.
    session: Option<TerminalSession>,
}

impl<'a> Client<'a> {
    fn new(
        args: &'a Args,
        home: &'a Home,
        background: bool,
        runtime: String,
        target: Arc<Mutex<StopTarget>>,
    ) -> Client<'a> {
        Client {
            args,
            home,
            background,
            runtime,
            target,
            run: None,
            followed: FollowedRun::default(),
            progress: ProgressDisplay::new(args),
            output_failed: false,
            output_closed: false,
            terminal: None,
            session: None,
        }
    }

    /// Handles the supervisor's messages until the run ends or, in the background, until it has started.
    fn follow(&mut self, mut connection: Connection) -> Result<u8> {
        let text = format!("Still waiting for {} to start the run.", self.runtime);
        let mut waiting = SlowNotice::new(self.args, SLOW_START, text);
        while let Some(message) = connection.next() {
            if !matches!(message, ToClient::Reserved { .. }) {
                waiting.cancel();
            }
            if !matches!(message, ToClient::Progress { .. }) {
                self.progress.clear();
            }
            match message {
                ToClient::Reserved { id } => self.run = Some((id, None)),
                ToClient::Notice { text } => output::notice(self.args, &text),
                ToClient::Progress {
                    item,
                    text,
                    is_new_step,
                } => self.progress.show(&item, &text, is_new_step),
                ToClient::Started { id, name } => {
                    self.progress.suspend();
                    self.announce(&id, &name)?;
                    self.run = Some((id.clone(), Some(name)));
                    if self.background {
                        return Ok(0);
                    }
                    let link = connection.link();
                    *lock(&self.followed) = Some((id, link.clone()));
                    link.send(FromClient::Announced);
                    self.begin_session(link);
                }
                ToClient::OutputClosed { stream } if stream == "stdout" => {
                    self.output_closed = true;
                    connection.handle().stop();
                }
                ToClient::OutputClosed { .. } => {}
                ToClient::OutputFailed { stream, why } => self.report_broken_output(&stream, &why),
                ToClient::Finished {
                    ended,
                    log_missing,
                    error,
                    left_behind,
                } => {
                    self.set_stop_target(StopTarget::Ended);
                    self.end_session();
                    connection.finish();
                    return self.finished(&ended, log_missing, error, left_behind);
                }
                failed @ ToClient::Failed { .. } => {
                    self.set_stop_target(StopTarget::Ended);
                    self.end_session();
                    connection.finish();
                    return Err(self.failed(failed));
                }
            }
        }
        self.handle_lost_supervisor()
    }

    fn set_stop_target(&self, target: StopTarget) {
        *lock(&self.target) = target;
    }

    fn announce(&self, id: &RunId, name: &RunName) -> Result<()> {
        if !self.background {
            output::notice(self.args, &format!("Started {name} ({id})"));
            return Ok(());
        }
        let hint = format!("Started {name} ({id}). Use 'moat logs {id} -f' to follow output.");
        output::notice(self.args, &hint);
        self.document(id)?
            .map_or_else(|| output::print_result(&format!("{id}\n")), Ok)
    }

    /// With `--json`, prints the record.
    fn document(&self, id: &RunId) -> Result<Option<()>> {
        if !self.args.has(&flags::JSON) {
            return Ok(None);
        }
        output::json(&self.home.run(id).require()?).map(Some)
    }

    fn report_broken_output(&mut self, stream: &str, why: &str) {
        self.output_failed |= stream == "stdout";
        let id = self.run.as_ref().map_or("", |(id, _)| id.as_str());
        output::warning(&format!(
            "cannot write to {stream}: {why}; the run continues, and 'moat logs {id}' prints its output"
        ));
    }

    fn finished(
        &self,
        ended: &RunEnd,
        log_missing: Option<String>,
        error: Option<String>,
        left_behind: bool,
    ) -> Result<u8> {
        if let Some((id, name)) = &self.run {
            if let Some(why) = log_missing {
                output::warning(&format!("the log of {id} is incomplete: {why}"));
            }
            if left_behind {
                output::warning(&format!(
                    "some resources of {id} could not be removed; see: moat clean"
                ));
            }
            if ended.reason == Some(EndReason::StartError) {
                let why = error.unwrap_or_else(|| "the workload could not be started".to_owned());
                return Err(
                    Error::new(ErrorKind::Runtime, why).hint(format!("see: moat inspect {id}"))
                );
            }
            let name = name.as_ref().map_or("the run", RunName::as_str);
            if !self.output_closed {
                output::notice(self.args, &print_summary(ended, name, id, error.as_deref()));
            }
            self.document(id)?;
        }
        let unseen = self.output_failed && ended.exit_status == 0;
        Ok(if unseen { 1 } else { ended.exit_status })
    }

    fn failed(&self, message: ToClient) -> Error {
        message
            .into_error()
            .unwrap_or_else(|| Error::new(ErrorKind::Failed, "the run could not be started"))
    }

    /// Gives the prepared terminal, if any, to the workload.
    fn begin_session(&mut self, link: SupervisorLink) {
        let target = Arc::clone(&self.target);
        let workload = Arc::new(RunOnTerminal { link, target });
        self.session = self
            .terminal
            .take()
            .map(|terminal| terminal.start(workload));
    }

    /// Takes the terminal back from the workload.
    fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.finish();
        }
    }

    /// Handles the death of the supervisor: starts a new supervisor and waits for the end of the run.
    fn handle_lost_supervisor(&mut self) -> Result<u8> {
        self.end_session();
        let Some((id, _)) = &self.run else {
            return Err(Error::new(
                ErrorKind::Failed,
                "the supervisor ended before it created the run",
            ));
        };
        self.set_stop_target(StopTarget::Run(self.home.clone(), id.clone()));
        output::warning(&format!(
            "the supervisor of {id} was killed; a new supervisor takes over. \
             Use 'moat logs {id} -f' to follow output."
        ));
        let id = id.clone();
        if self.background && self.wait_for_start(&id)? {
            return self.document(&id)?.map_or_else(
                || output::print_result(&format!("{id}\n")).map(|()| 0),
                |()| Ok(0),
            );
        }
        let ended = run::wait(self.home, &id)?;
        let record = self.home.run(&id).load().record();
        let (log, error, left) = record.map_or((None, None, false), |record| {
            (
                record.log.missing_why,
                record.error,
                record.cleaned_at.is_none(),
            )
        });
        self.finished(&ended, log, error, left)
    }

    /// Waits until the workload of an adopted run has started. Returns false if the run ended without a start.
    fn wait_for_start(&self, id: &RunId) -> Result<bool> {
        loop {
            let record = self.home.run(id).require()?;
            if record.started_at.is_some() || record.state.is_terminal() {
                return Ok(record.started_at.is_some());
            }
            run::adopt(self.home, &record);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the last line of a run: its end, and the command that prints its output.
fn print_summary(ended: &RunEnd, name: &str, id: &RunId, error: Option<&str>) -> String {
    let reason = ended.reason.map_or("", |reason| reason.as_str());
    let how = match (reason, error) {
        ("exited", _) => format!("exited with code {}", ended.exit_status),
        ("user-stop", _) => "was stopped".to_owned(),
        ("killed", _) => "was killed".to_owned(),
        ("timeout", Some(error)) => format!("was stopped: {error}"),
        ("timeout", None) => "was stopped: its timeout expired".to_owned(),
        ("oom", _) => "was killed by the kernel: it ran out of memory".to_owned(),
        (_, Some(error)) => format!("failed: {error}"),
        (_, None) => format!("failed: {reason}"),
    };
    format!("{name} {how}. Use 'moat logs {id}' to see its output.")
}
