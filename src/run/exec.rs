//! `moat exec`: another command in a run. The calling process runs it and keeps its output beside the run's own.
//!
//! It needs no supervisor: it ends with the run's container at the latest, and only its caller waits for it. The
//! caller also writes its log; the run's log belongs to the supervisor.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::terminal::{WorkloadTerminal, terminal_error};
use crate::container::{Capture, OutputEvent, OutputListener};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::runtime::{self, AttachEnd, ExecSpec, Runtime};
use crate::store::{
    Home, LogState, LogWriter, RunDir, RunRecord, RunState, ServiceRecord, ServiceState,
    StreamBytes, Timestamp, document, write_atomically,
};
use crate::term::Terminal;
use crate::term::pty::Size;

/// Pause before another attempt to end a command.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Grace period between SIGTERM and SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Time to find the command's processes before a graceful end, or before a kill.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);
const KILL_FIND_TIMEOUT: Duration = Duration::from_secs(2);

/// A command and where it runs.
pub(crate) struct ExecRequest {
    /// Not set: in the run's own container.
    pub(crate) service: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) workdir: Option<String>,
    pub(crate) stdin: Option<OwnedFd>,
    /// The command's terminal, through [`ExecRequest::stdin`] and this process's stdout.
    pub(crate) terminal: Option<Arc<Terminal>>,
    /// Whether the output also goes to this process's stdout and stderr.
    pub(crate) stream: bool,
}

/// The record of such a command: `exec/<number>.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExecRecord {
    pub(crate) number: u32,
    pub(crate) service: Option<String>,
    pub(crate) command: Vec<String>,
    /// Names only.
    pub(crate) env: Vec<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: Option<u8>,
    /// The reason why it could not run.
    pub(crate) error: Option<String>,
    pub(crate) log: LogState,
}

/// Cancels a command from another thread.
#[derive(Clone, Default)]
pub(crate) struct ExecCanceller(Arc<StopRequests>);

#[derive(Default)]
struct StopRequests {
    /// The number of requests.
    count: AtomicU8,
    output_closed: AtomicBool,
    /// Whether the command has ended.
    has_ended: AtomicBool,
    target: OnceLock<ExecTarget>,
    terminal: OnceLock<WorkloadTerminal>,
}

/// The command to end, and its container.
#[derive(Clone)]
struct ExecTarget {
    runtime: Arc<dyn Runtime>,
    handle: String,
    marker: String,
    has_terminal: bool,
    capture: Arc<Capture>,
}

impl ExecCanceller {
    /// Ends the command: gracefully, or at once if `kill` is set or it is the second request.
    pub(crate) fn stop(&self, at_once: bool) {
        let times = if at_once { 2 } else { 1 };
        self.0.count.fetch_add(times, Ordering::AcqRel);
        self.stop_exec();
    }

    /// Passes on the size of the terminal.
    pub(crate) fn resize(&self, size: Size) {
        if let Some(typing) = self.0.terminal.get() {
            typing.resize(size);
        }
    }

    /// Whether the output has no reader any more.
    pub(crate) fn output_was_closed(&self) -> bool {
        self.0.output_closed.load(Ordering::Acquire)
    }

    fn stop_exec(&self) {
        let at_once = match self.0.count.load(Ordering::Acquire) {
            0 => return,
            times => times > 1,
        };
        if let Some(target) = self.0.target.get().cloned() {
            let asked = Arc::clone(&self.0);
            std::thread::spawn(move || target.stop(&asked, at_once));
        }
    }
}

impl ExecTarget {
    /// Ends the command. If its processes cannot be found, because they run as another user or dropped the mark, they
    /// are left alone.
    fn stop(&self, asked: &StopRequests, at_once: bool) {
        let deadline = Instant::now()
            + if at_once {
                KILL_FIND_TIMEOUT
            } else {
                FIND_TIMEOUT
            };
        while !asked.has_ended.load(Ordering::Acquire) {
            let signal = match (at_once, self.has_terminal) {
                (true, _) => "KILL",
                // Interactive shells ignore SIGTERM. They obey the hangup of their terminal.
                (false, true) => "HUP",
                (false, false) => "TERM",
            };
            let commands = self.runtime.need_commands();
            let found = commands.and_then(|all| all.kill_exec(&self.handle, &self.marker, signal));
            // The command may not have started yet, or may need time.
            if found.is_ok() && !at_once {
                return self.kill_after_grace(asked);
            }
            if Instant::now() >= deadline {
                return self.capture.detach();
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }
}

impl ExecTarget {
    /// Kills the command if it does not end by itself.
    fn kill_after_grace(&self, asked: &StopRequests) {
        let deadline = Instant::now() + scaled(GRACE_PERIOD);
        while Instant::now() < deadline {
            if asked.has_ended.load(Ordering::Acquire) || asked.count.load(Ordering::Acquire) > 1 {
                return;
            }
            std::thread::sleep(RETRY_DELAY);
        }
        self.stop(asked, true);
    }
}

/// Runs a command in a running run until its end. Its record contains the exit code.
pub(crate) fn exec(
    home: &Home,
    record: &RunRecord,
    exec: ExecRequest,
    ender: &ExecCanceller,
) -> Result<ExecRecord> {
    let handle = target(record, exec.service.as_deref())?;
    let dir = home.run(&record.id);
    let runtime: Arc<dyn Runtime> = runtime::of_run(
        &dir,
        &record.settings.identity.runtime,
        &record.settings.identity.engine,
    )?
    .into();
    let failed = |error: &std::io::Error| Error::io(ErrorKind::Store, "write", dir.path(), error);
    let number = dir.new_exec().map_err(|error| failed(&error))?;
    let (mut log, _) = LogWriter::open(&dir.exec_log(number)).map_err(|error| failed(&error))?;
    if exec.terminal.is_some() {
        log.write_partial_lines();
    }
    let mut done = ExecRecord {
        number,
        service: exec.service,
        command: exec.command.clone(),
        env: exec.env.iter().map(|(name, _)| name.clone()).collect(),
        started_at: Timestamp::now(),
        finished_at: None,
        exit_code: None,
        error: None,
        log: LogState::complete(),
    };
    write(&dir, &done);
    let spec = ExecSpec {
        marker: format!("{}-{number}", record.id),
        handle,
        command: exec.command,
        env: exec.env,
        workdir: exec.workdir,
        terminal: exec.terminal.as_ref().map(|person| person.size()),
        stdin: exec.stdin,
    };
    let capture = Arc::new(Capture::new(log, StreamBytes::default(), exec.stream));
    let ended = run_exec(&runtime, &capture, spec, exec.terminal, ender);
    capture.close_log();
    capture.join(&*output_listener(ender));
    if let Some((since, why)) = capture.outage() {
        done.log.mark_missing(since, &why);
    }
    done.finished_at = Some(Timestamp::now());
    let result = ended.and_then(|end| exec_result(runtime.as_ref(), end, ender, &mut done));
    if let Err(error) = &result {
        done.error = Some(error.message.clone());
    }
    write(&dir, &done);
    result.map(|()| done)
}

/// The container in which a command runs.
fn target(record: &RunRecord, service: Option<&str>) -> Result<String> {
    let id = &record.id;
    if !matches!(
        record.state,
        RunState::Running | RunState::Starting | RunState::Created
    ) {
        let message = format!("{id} is not running: it is {}", record.state.as_str());
        return Err(
            Error::new(ErrorKind::Conflict, message).hint("list the running runs: moat list")
        );
    }
    let Some(name) = service else {
        return match record.state {
            RunState::Running => Ok(id.to_string()),
            state => {
                let message = format!("{id} has not started yet: it is {}", state.as_str());
                Err(Error::new(ErrorKind::Busy, message).hint("try again in a moment"))
            }
        };
    };
    let runs = |service: &&ServiceRecord| service.name == name;
    match record.services.iter().find(runs) {
        Some(service) if matches!(service.state, ServiceState::Starting | ServiceState::Ready) => {
            Ok(service.handle.clone())
        }
        Some(service) => {
            let state = service.state.as_str();
            let message = format!("the service {name} of {id} does not run: it is {state}");
            Err(Error::new(ErrorKind::Failed, message)
                .hint(format!("see why: moat logs {id} --service {name}")))
        }
        None => Err(
            Error::new(ErrorKind::NotFound, format!("{id} has no service '{name}'"))
                .hint(format!("see them all: moat services {id}")),
        ),
    }
}

fn run_exec(
    runtime: &Arc<dyn Runtime>,
    capture: &Arc<Capture>,
    mut spec: ExecSpec,
    person: Option<Arc<Terminal>>,
    ender: &ExecCanceller,
) -> Result<Option<AttachEnd>> {
    let mut attached = runtime.need_commands()?.exec_attached(&spec)?;
    let typing = WorkloadTerminal::start(&mut attached, spec.stdin.take(), person.clone());
    if let Some(typing) = typing.map_err(|error| terminal_error(&error))? {
        let _ = ender.0.terminal.set(typing);
    }
    if let Some(person) = person {
        // The service may have another container by now.
        ender.resize(person.size());
    }
    let _ = ender.0.target.set(ExecTarget {
        runtime: Arc::clone(runtime),
        handle: spec.handle,
        marker: spec.marker,
        has_terminal: spec.terminal.is_some(),
        capture: Arc::clone(capture),
    });
    capture.open_gate();
    capture.attach(attached, output_listener(ender));
    // Requests that arrived before there was a command to end.
    ender.stop_exec();
    while !capture.wait(Duration::from_secs(60)) {}
    ender.0.has_ended.store(true, Ordering::Release);
    Ok(capture.attachment_end())
}

/// Ends a command whose output has no reader, as in a pipeline.
fn output_listener(ender: &ExecCanceller) -> OutputListener {
    let ender = ender.clone();
    Arc::new(move |event| {
        if let OutputEvent::OutputBroken(crate::store::Stream::Stdout, _) = event
            && !ender.0.output_closed.swap(true, Ordering::AcqRel)
        {
            ender.stop(false);
        }
    })
}

fn exec_result(
    runtime: &dyn Runtime,
    end: Option<AttachEnd>,
    ender: &ExecCanceller,
    done: &mut ExecRecord,
) -> Result<()> {
    match end {
        Some(AttachEnd::Code(code)) => done.exit_code = Some(code),
        Some(AttachEnd::Failed(words)) => {
            let refusal = runtime.need_commands()?.refusal(words.code, &words.bytes);
            let message = format!(
                "cannot run it: {}",
                crate::term::escape_unsafe(&refusal.reason)
            );
            if refusal.code.is_none() {
                return Err(Error::new(ErrorKind::Runtime, message)
                    .hint("see whether the run still runs: moat list -a"));
            }
            (done.exit_code, done.error) = (refusal.code, Some(message));
        }
        _ if ender.0.count.load(Ordering::Acquire) > 0 => {
            let message = "the command's processes were not found and may continue in the run";
            done.error = Some(message.to_owned());
        }
        _ => {
            let message = "the engine's client was killed; the command may continue in the run";
            return Err(Error::new(ErrorKind::Runtime, message));
        }
    }
    Ok(())
}

fn write(dir: &RunDir, record: &ExecRecord) {
    // The output counts; the record beside it may be missing.
    let _ = document(record)
        .and_then(|bytes| write_atomically(&dir.exec_record(record.number), &bytes));
}
