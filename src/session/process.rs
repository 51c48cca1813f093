//! Starts the processes of a session, and checks that they survive their first moments.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::marked_processes::PROCESS_MARK_VARIABLE;
use super::member::{BringUp, Member, Scope, Teardown};
use super::monitor::{MONITOR, STARTED_BYTE};
use super::operation::OperationContext;
use super::port_probe::PortListener;
use super::{port_probe, process_end, tmux, variables};
use crate::config::HostProcess;
use crate::error::{Error, ErrorKind, Result, os_error_text};
use crate::failpoint::{checkpoint, scaled};
use crate::program;
use crate::store::{
    Claim, Home, ProcessIdentity, ResourceStage, Session, SessionProcess, Stream, Timestamp, Tmux,
    last_lines, write_atomically,
};

/// Time that a process must survive to count as running, unless it listens on its port earlier.
const EARLY_EXIT_PERIOD: Duration = Duration::from_millis(1500);

/// Time for the monitor in a tmux window to start its process.
const MONITOR_START_TIMEOUT: Duration = Duration::from_secs(10);

/// Poll interval of the check of newly started processes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Number of log lines that are shown of a process that exited early.
const SHOWN_LINES: usize = 10;

/// The processes of a session on the host, and their windows.
pub(super) struct Processes;

impl Member for Processes {
    fn is_complete(&self, home: &Home, session: &Session) -> bool {
        // Processes that the `up` was not requested to start do not count.
        let operation = session.operation_id();
        let mut own = session.processes.iter();
        own.all(|it| operation != Some(&it.operation) || runs(home, session, it))
    }

    fn start(&self, up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
        let starting = up.request.processes_to_start(&up.decisions);
        for process in &starting {
            start(up.context, claim, process, up.request.settings.tmux)?;
        }
        watch(up.context, claim.record()?, &starting)?;
        checkpoint("session-processes-up");
        Ok(())
    }

    fn stop(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        self.remove(teardown)
    }

    fn remove(&self, teardown: &mut Teardown<'_>) -> Result<()> {
        let (home, session) = (teardown.context.home, teardown.session);
        let mut names = Vec::new();
        if let Scope::Operation { id, whole: false } = teardown.scope {
            let made = session.processes.iter().filter(|it| it.operation == id);
            names.extend(made.map(|process| process.name.as_str()));
            names.extend(process_end::OPERATION_MARKS);
            // The engine clients that create them carry their names.
            let services = session.services.list.iter();
            names.extend(services.map(|service| service.name.as_str()));
            process_end::stop(session, &names)?;
        } else {
            process_end::stop_all(home, session)?;
        }
        if !matches!(teardown.scope, Scope::Operation { .. }) {
            for held in held_ports(session) {
                (teardown.context.warn)(&held_port_message(session, &held));
                teardown.left.held_ports.push(held);
            }
        }
        teardown.checkpoint("processes");
        match ends_tmux(teardown) {
            true => tmux::end(session)?,
            false => tmux::remove_windows(session, &names)?,
        }
        teardown.checkpoint("tmux");
        Ok(())
    }

    fn forget(&self, teardown: &Teardown<'_>, record: &mut Session) {
        let (scope, processes) = (teardown.scope, &mut record.processes);
        processes.retain(|it| {
            !scope.forgets(&it.operation, it.existed_before) && !matches!(scope, Scope::Stop)
        });
        // A member that existed before stays in the record as not running.
        for process in processes
            .iter_mut()
            .filter(|it| scope.removes(&it.operation))
        {
            (process.process, process.monitor) = (None, None);
        }
        if ends_tmux(teardown) {
            record.tmux = None;
        }
    }
}

/// Whether the tmux session ends, and not only windows in it.
fn ends_tmux(teardown: &Teardown<'_>) -> bool {
    let made = |tmux: &Tmux| teardown.scope.removes(&tmux.operation);
    !matches!(teardown.scope, Scope::Operation { whole: false, .. })
        || teardown.session.tmux.as_ref().is_some_and(made)
}

/// Starts a process: the intent is in the journal before the monitor is released.
fn start(
    context: &OperationContext<'_>,
    claim: &mut Claim,
    process: &HostProcess,
    in_window: bool,
) -> Result<()> {
    let session = claim.record()?.clone();
    let name = process.name.as_str();
    context.check()?;
    context.home.prepare_process(&session.key, name)?;
    let dir = directory(&session, process)?;
    let (mut child, keeper) = match in_window {
        true => {
            let keeper = tmux::window(context.home, claim, process, &dir)?;
            (None, Some(keeper))
        }
        false => {
            let child = spawn(context.home, &session, process, &dir)?;
            let keeper = ProcessIdentity::of_pid(child.id());
            (Some(child), keeper)
        }
    };
    let begun_at = Timestamp::now();
    claim.update(&mut |session| {
        if let Some(process) = session.process_mut(name) {
            process.monitor.clone_from(&keeper);
            process.started_at = Some(begun_at);
        }
    })?;
    checkpoint("session-process-intent");
    let begun = match &mut child {
        Some(child) => release_monitor(child),
        None => release_monitor_in_window(context.home, &session, process, keeper.as_ref()),
    };
    begun.map_err(|why| failed(name, &why))?;
    checkpoint("session-process-started");
    let state = context.home.process_state(&session, name);
    claim.update(&mut |session| {
        if let Some(process) = session.process_mut(name) {
            process.stage = ResourceStage::Made;
            process.process = state.as_ref().map(|state| state.process.clone());
            process.started_at = state.as_ref().map(|state| state.started_at);
        }
    })
}

/// The working directory of a process.
fn directory(session: &Session, process: &HostProcess) -> Result<PathBuf> {
    let dir = match &process.cwd {
        Some(dir) => session.worktree.path.join(dir),
        None => session.worktree.path.clone(),
    };
    match dir.is_dir() {
        true => Ok(dir),
        false => {
            let why = format!("there is no directory {}", dir.display());
            Err(failed(&process.name, &why))
        }
    }
}

/// The variables that a process gets in addition to moat's own environment.
fn environment(session: &Session, process: &HostProcess) -> Vec<(String, String)> {
    let mut variables = variables::shared(session);
    variables.extend(variables::own(session, &process.name));
    variables.extend(process.env.iter().cloned());
    variables.push((
        PROCESS_MARK_VARIABLE.to_owned(),
        session.mark(&process.name),
    ));
    variables
}

fn spawn(home: &Home, session: &Session, process: &HostProcess, dir: &Path) -> Result<Child> {
    let name = process.name.as_str();
    // The monitor inherits neither the lock nor any other descriptor.
    close_fds::set_fds_cloexec(3, &[]);
    let mut command = Command::new(crate::run::own_executable()?);
    program::clear_environment(&mut command, "sh");
    program::clear_git_repository(&mut command)
        .arg(MONITOR)
        .arg(home.process_log(&session.key, name))
        .arg(home.process_state_file(&session.key, name))
        .arg(&process.command)
        .current_dir(dir)
        .envs(environment(session, process))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
        .spawn()
        .map_err(|error| failed(name, &os_error_text(&error)))
}

/// Releases a monitor, and waits until it has started its process.
fn release_monitor(keeper: &mut Child) -> std::result::Result<(), String> {
    let told = keeper.stdin.take().map(|mut stdin| stdin.write_all(b"g"));
    if let Some(Err(error)) = told {
        return Err(os_error_text(&error));
    }
    let mut answer = [0];
    // The monitor answers, or its end of the pipe closes.
    match keeper
        .stdout
        .take()
        .map(|mut stdout| stdout.read(&mut answer))
    {
        Some(Ok(1)) if answer[0] == STARTED_BYTE => Ok(()),
        _ => Err("its monitor could not start it".to_owned()),
    }
}

/// Releases a monitor in a tmux window. The environment goes through a file, because every user can read arguments.
fn release_monitor_in_window(
    home: &Home,
    session: &Session,
    process: &HostProcess,
    keeper: Option<&ProcessIdentity>,
) -> std::result::Result<(), String> {
    let mut text = Vec::new();
    let ours = environment(session, process);
    let names = ours.iter().map(|(name, _)| name.as_str());
    let other: Vec<&str> = names.chain(program::GIT_REPOSITORY_VARIABLES).collect();
    let inherited = std::env::vars_os().filter(|(name, _)| other.iter().all(|own| *own != name));
    let own = ours.iter().map(|(name, value)| (name.into(), value.into()));
    for (name, value) in inherited.chain(own) {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    let go = home.process_go_file(&session.key, &process.name);
    write_atomically(&go, &text).map_err(|error| os_error_text(&error))?;
    let deadline = Instant::now() + MONITOR_START_TIMEOUT;
    loop {
        let lives = keeper.is_some_and(ProcessIdentity::is_alive) && Instant::now() < deadline;
        if home.process_state(session, &process.name).is_some() {
            return Ok(());
        }
        if !lives {
            return Err("its monitor could not start it".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn failed(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Failed, format!("cannot start '{name}': {why}"))
}

/// Waits until all given processes have survived long enough or listen; fails with the last log lines of one that
/// exited.
fn watch(
    context: &OperationContext<'_>,
    session: &Session,
    started: &[&HostProcess],
) -> Result<()> {
    let deadline = Instant::now() + scaled(EARLY_EXIT_PERIOD);
    while !started.is_empty() && Instant::now() < deadline {
        context.check()?;
        for process in started {
            let state = context.home.process_state(session, &process.name);
            if let Some(code) = state.and_then(|state| state.ended_at.and(state.exit_code)) {
                return Err(died(context.home, session, &process.name, code));
            }
        }
        let ports: Vec<u16> = started
            .iter()
            .filter_map(|process| Some(session.primary_port(&process.name)?.port))
            .collect();
        if ports.len() == started.len() && all_listen(session, started, &ports) {
            return Ok(());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn all_listen(session: &Session, started: &[&HostProcess], ports: &[u16]) -> bool {
    let listeners = port_probe::listeners(ports);
    started.iter().all(|process| {
        let port = session.primary_port(&process.name).map(|port| port.port);
        let own = listeners
            .iter()
            .filter(|listener| Some(listener.port) == port);
        own.filter_map(|listener| listener.pid)
            .any(|pid| is_process_of(session, &process.name, pid))
    })
}

/// Whether a process of a session runs: the identity in the record is compared.
pub(super) fn runs(home: &Home, session: &Session, process: &SessionProcess) -> bool {
    leader_process(home, session, process).is_some_and(|leader| leader.is_alive())
}

/// The process of an entry; the monitor's state file is written before the record.
pub(super) fn leader_process(
    home: &Home,
    session: &Session,
    process: &SessionProcess,
) -> Option<ProcessIdentity> {
    match &process.process {
        Some(leader) => Some(leader.clone()),
        None => Some(home.process_state(session, &process.name)?.process),
    }
}

/// Maximum number of ancestors that are examined.
pub(super) const MAX_PARENTS: usize = 64;

/// Whether a pid is one of the processes with this name: `moat whose` asks the same of each ancestor. So a child that
/// dropped its environment belongs to its parent.
pub(super) fn is_process_of(session: &Session, name: &str, pid: u32) -> bool {
    let mut next = Some(pid);
    for _ in 0..MAX_PARENTS {
        let Some(pid) = next.filter(|pid| *pid > 1) else {
            break;
        };
        if let Some(known) = known_process(session, pid) {
            return known == name;
        }
        if let Ok(Some(mark)) = super::marked_processes::mark_of(pid) {
            return mark == session.mark(name);
        }
        next = super::marked_processes::parent_and_group(pid).map(|(parent, _)| parent);
    }
    false
}

/// The process of the record that a pid belongs to: it is the process or its monitor, or in the group of the one or in
/// the kernel session of the other.
pub(super) fn known_process(session: &Session, pid: u32) -> Option<&str> {
    let group = super::marked_processes::parent_and_group(pid).map(|(_, group)| group);
    let kernel_session = super::marked_processes::session_of(pid);
    let is_its = |process: &&SessionProcess| {
        let is_alive = |of: &Option<ProcessIdentity>, ids: [Option<u32>; 2]| {
            let of = of.as_ref().filter(|of| ids.contains(&Some(of.pid)));
            of.is_some_and(ProcessIdentity::is_alive)
        };
        is_alive(&process.process, [Some(pid), group])
            || is_alive(&process.monitor, [Some(pid), kernel_session])
    };
    let mut processes = session.processes.iter();
    processes.find(is_its).map(|process| process.name.as_str())
}

/// The ports of processes of a session on which something still listens although the processes have ended.
fn held_ports(session: &Session) -> Vec<PortListener> {
    let of_processes = session
        .ports
        .iter()
        .filter(|port| port.container.is_none() && !port.from_compose);
    let ports: Vec<u16> = of_processes.map(|port| port.port).collect();
    port_probe::listeners(&ports)
}

/// The warning about a port that stays in use.
fn held_port_message(session: &Session, held: &PortListener) -> String {
    let mut ports = session.ports.iter();
    let name = ports.find(|port| port.port == held.port);
    let name = name.map(|port| port.name.as_str()).unwrap_or_default();
    let (port, holder) = (held.port, port_probe::holder_name(held));
    let hint = match held.pid {
        Some(pid) => format!("\n  hint: end it if you do not need it: kill {pid}"),
        None => String::new(),
    };
    format!(
        "port {port} of '{name}' stays in use: {holder} listens on it, and carries no mark of the session{hint}"
    )
}

fn died(home: &Home, session: &Session, name: &str, code: u8) -> Error {
    let keeper = session
        .process(name)
        .and_then(|process| process.monitor.clone());
    let deadline = Instant::now() + Duration::from_millis(500);
    while keeper.as_ref().is_some_and(ProcessIdentity::is_alive) && Instant::now() < deadline {
        std::thread::sleep(POLL_INTERVAL);
    }
    let path = home.process_log(&session.key, name);
    let mut last = last_output(&path);
    // Output of a window passes through tmux, which may be slower.
    while last.is_empty() && session.tmux.is_some() && Instant::now() < deadline {
        std::thread::sleep(POLL_INTERVAL);
        last = last_output(&path);
    }
    let mut message = format!("'{name}' exited early with code {code}");
    if last.is_empty() {
        message.push_str(", and said nothing");
    }
    for line in last {
        message.push_str("\n  ");
        message.push_str(&crate::term::escape_unsafe(line.trim_end()));
    }
    Error::new(ErrorKind::Failed, message)
        .hint("session processes must keep running; one-shot commands belong in session.hooks")
}

/// The last log lines of a process since its last start.
fn last_output(path: &Path) -> Vec<String> {
    let Ok(mut file) = File::open(path) else {
        return Vec::new();
    };
    let Ok((entries, _)) = last_lines(&mut file, SHOWN_LINES, |_| true) else {
        return Vec::new();
    };
    let start = entries
        .iter()
        .rposition(|entry| entry.stream == Stream::Moat);
    let since = &entries[start.map_or(0, |place| place + 1)..];
    let text = |entry: &crate::store::LogEntry| String::from_utf8_lossy(&entry.data).into_owned();
    since.iter().map(text).collect()
}
