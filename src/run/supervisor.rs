//! The state of a supervisor, and the actions of its threads: record, notify, stop.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit_signal::ExitSignal;
use super::protocol::{self, ToClient};
use super::terminal::WorkloadTerminal;
use super::verdict::{EndIntent, StopRequestTime};
use crate::container::{Capture, OutputEvent, OutputListener, Watched};
use crate::error::{Error, Result};
use crate::failpoint::{scaled, unit_scaled};
use crate::runtime::{self, Attached, Inspected, Runtime};
use crate::service::Services;
use crate::store::{EndReason, EndRequest, OwnedRun, ResourceKind, RunRecord, RunState, Timestamp};

/// Grace period of a stop, unless the request has another one.
const GRACE: Duration = Duration::from_secs(10);

/// Time for a stop request to return after the container has exited.
const LATE_STOP_TIMEOUT: Duration = Duration::from_secs(5);

fn grace() -> Duration {
    scaled(GRACE)
}

/// The supervisor of one run.
pub(super) struct Supervisor {
    run: Mutex<OwnedRun>,
    pub(super) runtime: Box<dyn Runtime>,
    pub(super) capture: Arc<Capture>,
    pub(super) exit: ExitSignal,
    /// Whether the run is in the background; its client then waits for the start only.
    pub(super) background: bool,
    /// Whether the run publishes ports.
    pub(super) publishes: bool,
    pub(super) services: OnceLock<Services>,
    pub(super) typing: OnceLock<WorkloadTerminal>,
    /// The number of engine requests without an answer.
    making: Mutex<i32>,
    end_intent: Mutex<Option<EndIntent>>,
    /// Whether a stop is in progress.
    stopping: AtomicBool,
    /// The number of threads that carry out a stop.
    stops: AtomicUsize,
    client: Option<UnixStream>,
    started: Once,
    pub(super) cleanup: Once,
}

impl Supervisor {
    pub(super) fn new(
        run: OwnedRun,
        runtime: Box<dyn Runtime>,
        capture: Capture,
        client: Option<UnixStream>,
    ) -> Arc<Supervisor> {
        Arc::new(Supervisor {
            background: run.record().settings.io.background,
            publishes: !run.record().settings.network.ports.is_empty(),
            run: Mutex::new(run),
            runtime,
            capture: Arc::new(capture),
            exit: ExitSignal::default(),
            services: OnceLock::new(),
            typing: OnceLock::new(),
            making: Mutex::new(0),
            end_intent: Mutex::new(None),
            stopping: AtomicBool::new(false),
            stops: AtomicUsize::new(0),
            client,
            started: Once::new(),
            cleanup: Once::new(),
        })
    }

    pub(super) fn run(&self) -> MutexGuard<'_, OwnedRun> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self) -> RunRecord {
        self.run().record().clone()
    }

    /// Changes the record. If writing fails the run continues, and the next change writes both.
    pub(super) fn update(&self, change: impl FnOnce(&mut RunRecord)) {
        let mut run = self.run();
        if let Err(error) = run.update(change) {
            run.append_supervisor_log(&format!("record: {error}"));
        }
    }

    /// Writes the end of the run: it must be on disk before anything else happens.
    pub(super) fn update_durably(&self, change: impl FnOnce(&mut RunRecord)) {
        let mut written = self.run().update(change);
        let mut pause = unit_scaled(Duration::from_millis(50));
        let mut told = false;
        while let Err(error) = written {
            if !self.run().dir().path().exists() {
                // The run was removed meanwhile: there is no place to write to.
                return;
            }
            if !told {
                self.notify_client(&ToClient::Notice {
                    text: format!("{error}; waiting until it can be written"),
                });
                told = true;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(unit_scaled(Duration::from_secs(1)));
            written = self.run().update(|_| {});
        }
    }

    /// Notes an engine request: the resource may appear even if this process is killed.
    pub(super) fn begin_engine_request(&self, kind: ResourceKind, handle: &str) {
        *self.making() += 1;
        self.run().dir().begin_engine_request(kind, handle);
    }

    /// Notes the engine's answer.
    pub(super) fn end_engine_request(&self) {
        let mut making = self.making();
        *making -= 1;
        if *making == 0 {
            self.run().dir().end_engine_request();
        }
    }

    fn making(&self) -> MutexGuard<'_, i32> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to continue with creating the run's resources: no end was requested, and no part has failed.
    pub(super) fn should_continue_creating(&self) -> bool {
        self.end_intent().is_none()
            && !self
                .services
                .get()
                .is_some_and(Services::has_failed_service)
    }

    /// Sends a message to the client, if there is one.
    pub(super) fn notify_client(&self, message: &ToClient) {
        if let Some(client) = &self.client {
            let _ = protocol::send(client, message);
        }
    }

    /// Sends a message unless the client is so far behind that sending would block.
    pub(super) fn try_notify_client(&self, message: &ToClient) {
        let Some(client) = &self.client else { return };
        let mut fds = [PollFd::new(client, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) {
            let _ = protocol::send(client, message);
        }
    }

    /// The first output shows that the workload runs. If ports are published, the engine must report them first.
    fn on_first_output(&self) {
        if self.is_started() || self.publishes {
            return;
        }
        self.has_started(None);
    }

    /// Records the published ports as the engine reports them.
    fn set_ports(&self, published: &[(u16, u16)]) {
        if self.is_started() || !self.publishes {
            return;
        }
        self.run().stage(|record| {
            for port in &mut record.settings.network.ports {
                let found = published
                    .iter()
                    .find(|(inside, _)| *inside == port.container);
                port.host = found.map(|(_, outside)| *outside).or(port.host);
            }
        });
    }

    /// Gives the run up if the attempt to start it has not ended after `timeout`. `is_over`: the sender is dropped when
    /// the attempt has ended.
    pub(super) fn limit_start(self: &Arc<Self>, timeout: Duration, is_over: Receiver<()>) {
        let supervisor = Arc::clone(self);
        std::thread::spawn(move || {
            if is_over.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
                supervisor.end(EndReason::Timeout, StopRequestTime::now());
            }
        });
    }

    /// Records that the workload runs, and notifies the client. Once.
    fn has_started(&self, at: Option<Timestamp>) {
        self.started.call_once(|| {
            let at = at.unwrap_or_else(Timestamp::now);
            self.update(|record| {
                record.started_at.get_or_insert(at.max(record.created_at));
                if matches!(record.state, RunState::Created | RunState::Starting) {
                    record.state = RunState::Running;
                }
            });
            let record = self.record();
            self.notify_client(&ToClient::Started {
                id: record.id,
                name: record.name,
            });
        });
    }

    pub(super) fn is_started(&self) -> bool {
        self.started.is_completed()
    }

    /// The requested end, if there is one.
    pub(super) fn end_intent(&self) -> Option<EndIntent> {
        *self
            .end_intent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run: gracefully, or at once for `Killed`. `asked`: the time of the request; a workload that exited
    /// before counts as exited by itself. Returns at once.
    pub(super) fn end(self: &Arc<Self>, reason: EndReason, asked: StopRequestTime) {
        let (grace, shorter) = self.set_end_intent(reason, asked);
        let supervisor = Arc::clone(self);
        self.stops.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            supervisor.stop_container(reason, grace, shorter);
            supervisor.stops.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Waits for the threads whose stop request is still in the engine; their clients would be left behind otherwise.
    pub(super) fn join_stops(&self) {
        let deadline = Instant::now() + unit_scaled(LATE_STOP_TIMEOUT);
        while self.stops.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Records the requested end. Returns its grace period, and whether that is shorter than before.
    fn set_end_intent(&self, reason: EndReason, asked: StopRequestTime) -> (Duration, bool) {
        let mut intent = self
            .end_intent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The request stays on disk until the record contains the end: an adopting supervisor must know.
        let word = match reason {
            EndReason::UserStop | EndReason::Killed => self.run().dir().end_request(),
            _ => None,
        };
        let said = match word {
            Some(EndRequest::Stop(seconds)) => Some(Duration::from_secs(u64::from(seconds))),
            _ => None,
        };
        let new = match *intent {
            None => EndIntent {
                reason,
                requested: asked,
                grace: said,
            },
            // The first reason counts, but a kill overrides a stop.
            Some(before) => EndIntent {
                reason: match reason {
                    EndReason::Killed => reason,
                    _ => before.reason,
                },
                grace: said.or(before.grace),
                ..before
            },
        };
        let before = intent.map(|before| before.grace.unwrap_or_else(grace));
        *intent = Some(new);
        let grace = new.grace.unwrap_or_else(grace);
        (grace, before.is_some_and(|before| grace < before))
    }

    /// `shorter`: the request has just shortened the grace period.
    fn stop_container(&self, reason: EndReason, grace: Duration, shorter: bool) {
        if !self.is_started() && !self.is_starting() {
            // No container runs yet: the start checks for the request before each step.
            return;
        }
        // A stop in progress is not repeated; that would shorten its grace period.
        let is_under_way = self.stopping.swap(true, Ordering::SeqCst);
        if is_under_way && !shorter && reason != EndReason::Killed {
            return;
        }
        self.update(|record| {
            if !record.state.is_terminal() {
                record.state = RunState::Stopping;
                record.reason = Some(reason);
            }
        });
        self.run().dir().take_end_request();
        // The workload's last output must not wait for a client that does not read.
        self.capture.stop_backpressure();
        let handle = self.handle();
        let mut pause = unit_scaled(Duration::from_millis(100));
        while !self.exit.wait(Some(Instant::now())) {
            if let Some(Inspected::Running { .. }) = self.inspect(&handle) {
                self.was_running_since_request();
            }
            let done = match reason {
                EndReason::Killed => self.runtime.kill(&handle),
                _ => self.runtime.stop(&handle, grace),
            };
            self.capture.wake_waiter();
            match done {
                // A container that has not started yet takes no signal and reports no error.
                Ok(()) if self.has_ended(&handle) => return,
                Ok(()) => {}
                Err(problem) => self
                    .run()
                    .append_supervisor_log(&format!("stop: {}", problem.message())),
            }
            if self.exit.wait(Some(Instant::now() + pause)) {
                return;
            }
            pause = (pause * 2).min(unit_scaled(Duration::from_secs(2)));
        }
    }

    /// Records that the workload was seen running after the request: whatever ends it now was the request, whatever
    /// clocks say.
    fn was_running_since_request(&self) {
        let mut intent = self
            .end_intent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(intent) = intent.as_mut() {
            intent.requested = StopRequestTime::BeforeExit;
        }
    }

    fn inspect(&self, handle: &str) -> Option<Inspected> {
        self.runtime.inspect(&[handle]).ok()?.into_iter().next()
    }

    fn has_ended(&self, handle: &str) -> bool {
        matches!(
            self.inspect(handle),
            Some(Inspected::Exited(_) | Inspected::Missing)
        )
    }

    fn is_starting(&self) -> bool {
        self.run().record().state != RunState::Created
    }

    /// The error of a run that was stopped before it started.
    pub(super) fn check_end_intent(&self) -> Result<()> {
        match self.end_intent() {
            None => Ok(()),
            Some(intent) => Err(Error::new(
                crate::error::ErrorKind::Interrupted,
                match intent.reason {
                    EndReason::Timeout => "its start timeout expired",
                    _ => "the run was stopped before it started",
                },
            )),
        }
    }
}

impl Watched for Supervisor {
    fn handle(&self) -> String {
        self.run().record().id.to_string()
    }

    fn runtime(&self) -> &dyn Runtime {
        self.runtime.as_ref()
    }

    fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    fn listener(self: Arc<Self>) -> OutputListener {
        let supervisor = self;
        Arc::new(move |event| match event {
            OutputEvent::Output => supervisor.on_first_output(),
            // The client, if it still exists, decides whether this ends the run.
            OutputEvent::OutputBroken(stream, None) => {
                supervisor.notify_client(&ToClient::OutputClosed {
                    stream: stream.as_str().to_owned(),
                })
            }
            OutputEvent::OutputBroken(stream, Some(why)) => {
                supervisor.notify_client(&ToClient::OutputFailed {
                    stream: stream.as_str().to_owned(),
                    why,
                })
            }
        })
    }

    fn started_at(&self) -> Option<Timestamp> {
        self.run().record().started_at
    }

    fn saw_running(&self, started_at: Option<Timestamp>, ports: &[(u16, u16)]) {
        self.set_ports(ports);
        self.has_started(started_at);
    }

    fn restart_interrupted(&self) -> runtime::Result<Option<Attached>> {
        let (handle, has_input, has_services) = {
            let run = self.run();
            let record = run.record();
            let has_input = record.settings.io.interactive || record.terminal;
            let handle = record.id.to_string();
            (handle, has_input, !record.services.is_empty())
        };
        // The first client may have consumed some of the input.
        match has_input || self.end_intent().is_some() {
            true => Ok(None),
            false => self.runtime.restart_interrupted(&handle, has_services),
        }
    }

    fn is_detached(self: Arc<Self>) {
        if self.typing.get().is_some() && !self.exit.wait(Some(Instant::now())) {
            self.notice("the workload lost its terminal, so it is stopped");
            self.end(EndReason::UserStop, StopRequestTime::now());
        }
    }

    fn notice(&self, text: &str) {
        self.run().append_supervisor_log(text);
        self.notify_client(&ToClient::Notice {
            text: text.to_owned(),
        });
    }

    fn append_supervisor_log(&self, text: &str) {
        self.run().append_supervisor_log(text);
    }
}

/// Installs the signal handlers first, so that no signal meets its default action.
pub(super) fn signals() -> std::io::Result<Signals> {
    // SIGINT and SIGHUP come from terminals, which the client handles.
    Signals::new([SIGTERM, SIGQUIT, SIGINT, SIGHUP])
}

/// Handles signals for the rest of the process's life.
pub(super) fn handle_signals(supervisor: &Arc<Supervisor>, mut signals: Signals) {
    let supervisor = Arc::clone(supervisor);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM => supervisor.end(EndReason::UserStop, StopRequestTime::now()),
                SIGQUIT => supervisor.end(EndReason::Killed, StopRequestTime::now()),
                _ => {}
            }
        }
    });
}
