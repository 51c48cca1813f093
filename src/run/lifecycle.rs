//! The life of a supervisor of a new run: reserve, create, start, watch, clean up.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::protocol::{self, FromClient, StartOrder, ToClient};
use super::supervisor::{self, Supervisor};
use super::terminal::{WorkloadTerminal, terminal_error};
use super::verdict::StopRequestTime;
use super::{cleanup, container_spec, finish, image, services};
use crate::container::{Capture, Watched};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::{checkpoint, unit_scaled};
use crate::plan::Plan;
use crate::runtime::{self, ContainerSpec, Runtime, RuntimeError};
use crate::service;
use crate::store::{
    EndReason, Home, LogState, LogWriter, NewRun, OwnedRun, ResourceKind, ResourceStage, RunEnd,
    RunRecord, RunState, SCHEMA, StreamBytes, Timestamp,
};
use crate::term::Terminal;

/// The hidden command of a supervisor. Its stdin is the socket to its client. Returns the exit code of the process,
/// which no process reads.
pub(crate) fn supervise() -> u8 {
    // A session of its own: events of the client's terminal and process group do not concern the supervisor.
    let _ = rustix::process::setsid();
    match serve() {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn serve() -> io::Result<()> {
    let signals = supervisor::signals()?;
    let client = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut fds = protocol::receive_fds(&client)?.into_iter();
    let (stdin, terminal) = (fds.next(), fds.next().zip(fds.next()));
    // Read before the client changes it.
    let terminal = terminal.and_then(|(keys, screen)| Terminal::new(&keys, &screen).ok());
    let mut reader = BufReader::new(client.try_clone()?);
    let Some(order) = protocol::receive::<StartOrder>(&mut reader)? else {
        return Ok(());
    };
    let streaming = order.stream;
    let plan = order.into_plan()?;
    let supervisor = match reserve_run(&plan, streaming, client.try_clone()?) {
        Ok(supervisor) => supervisor,
        Err(error) => return protocol::send(&client, &ToClient::failed(&error)),
    };
    drop(client);
    supervisor::handle_signals(&supervisor, signals);
    listen_to_client(&supervisor, reader, terminal.clone());
    see_through(&supervisor, plan, stdin, terminal);
    Ok(())
}

/// Creates the run's resources, starts its workload, and supervises it until its end.
pub(super) fn see_through(
    supervisor: &Arc<Supervisor>,
    plan: Plan,
    stdin: Option<OwnedFd>,
    terminal: Option<Arc<Terminal>>,
) {
    let started = {
        let (_starting, is_over) = mpsc::channel::<()>();
        if let Some(timeout) = plan.settings.limits.start_timeout() {
            supervisor.limit_start(timeout, is_over);
        }
        start(supervisor, &plan, stdin, terminal)
    };
    let timeout = plan
        .settings
        .limits
        .timeout()
        .map(|timeout| Instant::now() + timeout);
    // From here on only the runtime has the values.
    drop(plan);
    match started {
        Ok(()) => watch_to_end(supervisor, timeout),
        Err(error) => finish_failed_start(supervisor, &error),
    }
}

/// Reserves the run.
fn reserve_run(plan: &Plan, streaming: bool, client: UnixStream) -> Result<Arc<Supervisor>> {
    let home = Home::locate()?;
    let record = |id: crate::store::RunId, name| RunRecord {
        schema: SCHEMA,
        resources: services::journal(id.as_str(), plan),
        services: plan
            .services
            .iter()
            .map(|service| service::record(id.as_str(), service))
            .collect(),
        id,
        name,
        state: RunState::Created,
        settings: plan.settings.clone(),
        env: plan
            .env
            .iter()
            .map(|variable| variable.name.clone())
            .collect(),
        volumes: plan
            .volumes
            .iter()
            .map(|volume| volume.name.clone())
            .collect(),
        pre_run: plan.pre_run.is_some(),
        terminal: plan.terminal.is_some(),
        created_at: Timestamp::now(),
        started_at: None,
        finished_at: None,
        cleaned_at: None,
        exit_code: None,
        reason: None,
        oom_killed: false,
        error: None,
        log: LogState::complete(),
    };
    let run = OwnedRun::reserve(
        &home,
        NewRun {
            name: plan.name.clone(),
            may_add_number: plan.name_is_project,
            record,
        },
    )?;
    let _ = protocol::send(
        &client,
        &ToClient::Reserved {
            id: run.record().id.clone(),
        },
    );
    checkpoint("reserved");
    match new_supervisor(&run, plan) {
        Ok((runtime, log, kept)) => {
            let capture = Capture::new(log, kept, streaming);
            Ok(Supervisor::new(run, runtime, capture, Some(client)))
        }
        Err(error) => {
            let mut run = run;
            run.update(|record| {
                (record.state, record.reason) = (RunState::Failed, Some(EndReason::StartError));
                record.error = Some(error.message.clone());
                record.resources.clear();
                record.finished_at = Some(Timestamp::now());
                record.cleaned_at = record.finished_at;
            })?;
            Err(error)
        }
    }
}

/// Creates the supervisor's state for a reserved run.
fn new_supervisor(
    run: &OwnedRun,
    plan: &Plan,
) -> Result<(Box<dyn Runtime>, LogWriter, StreamBytes)> {
    let runtime = runtime::of_run(
        run.dir(),
        &plan.settings.identity.runtime,
        &plan.settings.identity.engine,
    )?;
    let (log, kept) = open_log(run)?;
    Ok((runtime, log, kept))
}

pub(super) fn open_log(run: &OwnedRun) -> Result<(LogWriter, StreamBytes)> {
    let path = run.dir().log();
    let (mut log, kept) = LogWriter::open(&path)
        .map_err(|error| Error::io(ErrorKind::Store, "open", &path, &error))?;
    if run.record().terminal {
        log.write_partial_lines();
    }
    Ok((log, kept))
}

/// Handles messages of the client until it is gone.
fn listen_to_client(
    supervisor: &Arc<Supervisor>,
    mut reader: BufReader<UnixStream>,
    terminal: Option<Arc<Terminal>>,
) {
    let supervisor = Arc::clone(supervisor);
    std::thread::spawn(move || {
        let mut is_restored = true;
        while let Some(message) = FromClient::read(&mut reader) {
            match message {
                FromClient::Announced => {
                    is_restored = terminal.is_none();
                    supervisor.capture.open_gate();
                }
                FromClient::Paused => supervisor.capture.pause_gate(),
                FromClient::Restored => is_restored = true,
                FromClient::Size(size) => {
                    if let Some(typing) = supervisor.typing.get() {
                        typing.resize(size);
                    }
                }
            }
        }
        supervisor.capture.close_gate();
        supervisor.capture.close_client_streams();
        let Some(terminal) = terminal else { return };
        // No more keys come. This is first: writing to the terminal may block.
        if !supervisor.exit.wait(Some(Instant::now())) {
            supervisor.end(EndReason::UserStop, StopRequestTime::now());
        }
        if !is_restored {
            terminal.restore_after_killed_client();
        }
    });
}

/// Creates and starts the container.
fn start(
    supervisor: &Arc<Supervisor>,
    plan: &Plan,
    stdin: Option<OwnedFd>,
    terminal: Option<Arc<Terminal>>,
) -> Result<()> {
    check_session(supervisor, plan)?;
    let spec = container_spec::container_spec(supervisor, plan)?;
    checkpoint("before-create");
    services::start(supervisor, plan)?;
    let made = create_or_build(supervisor, plan, &spec);
    if let Some(services) = supervisor.services.get() {
        if let Err(error) = &made {
            services.cancel(error);
        }
        // If a service failed first, its error is reported; otherwise the container's.
        let up = services.wait();
        supervisor.check_end_intent()?;
        up?;
        checkpoint("services-ready");
    }
    made?;
    checkpoint("created");
    supervisor.check_end_intent()?;
    supervisor.update(|record| {
        record.state = RunState::Starting;
        for resource in &mut record.resources {
            resource.stage = ResourceStage::Made;
        }
    });
    checkpoint("before-start");
    supervisor.check_end_intent()?;
    // Keys go to the workload's terminal if it has one; otherwise the workload reads the client's stdin itself.
    let (typed, input) = match plan.terminal {
        Some(_) => (stdin, None),
        None => (None, stdin),
    };
    let mut attached = supervisor.runtime.start_attached(&spec, input)?;
    let typing = WorkloadTerminal::start(&mut attached, typed, terminal);
    if let Some(typing) = typing.map_err(|error| terminal_error(&error))? {
        let _ = supervisor.typing.set(typing);
    }
    let listener = Arc::clone(supervisor).listener();
    supervisor.capture.attach(attached, listener);
    checkpoint("attached");
    Ok(())
}

/// Whether the session still accepts runs. A `down` marks its record before it looks for runs, and this check follows
/// the run's own record; so one of the two sees the other.
fn check_session(supervisor: &Supervisor, plan: &Plan) -> Result<()> {
    let Some(place) = &plan.settings.identity.session else {
        return Ok(());
    };
    let session = supervisor.run().home().session(&place.key)?;
    let session = session.filter(|session| session.incarnation == place.incarnation);
    match session.is_some_and(|session| session.accepts_runs()) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Conflict,
            "its session was taken down before the run began",
        )),
    }
}

/// Creates the container; provides the image first if it is missing or must be rebuilt.
fn create_or_build(supervisor: &Supervisor, plan: &Plan, spec: &ContainerSpec) -> Result<()> {
    supervisor.check_end_intent()?;
    if plan.settings.image.rebuild || image::is_outdated(supervisor, plan) {
        image::ensure_image(supervisor, plan)?;
    }
    match create(supervisor, spec) {
        Err(RuntimeError::ImageMissing(..)) if !plan.settings.image.rebuild => {
            image::ensure_image(supervisor, plan)?;
            Ok(create(supervisor, spec)?)
        }
        Err(problem @ RuntimeError::Unreachable(..)) => {
            // The engine received no request, so there is nothing to remove.
            supervisor.run().stage(|record| {
                record.resources.pop();
            });
            Err(problem.into())
        }
        result => Ok(result?),
    }
}

/// Requests the container. Until the answer arrives it may appear even if this process is killed.
fn create(supervisor: &Supervisor, spec: &ContainerSpec) -> runtime::Result<()> {
    supervisor.begin_engine_request(ResourceKind::Container, &spec.handle);
    let created = supervisor.runtime.create(spec);
    if !created
        .as_ref()
        .is_err_and(RuntimeError::may_have_been_received)
    {
        supervisor.end_engine_request();
    }
    created
}

/// Supervises a started run until its end.
pub(super) fn watch_to_end(supervisor: &Arc<Supervisor>, timeout: Option<Instant>) {
    let waiter = {
        let supervisor = Arc::clone(supervisor);
        std::thread::spawn(move || finish::watch(&supervisor))
    };
    if !supervisor.exit.wait(timeout) {
        supervisor.end(EndReason::Timeout, StopRequestTime::now());
        supervisor.exit.wait(None);
    }
    let _ = waiter.join();
    clean_up_and_report(supervisor);
}

/// Ends a run that never had a workload.
fn finish_failed_start(supervisor: &Arc<Supervisor>, error: &Error) {
    let intent = supervisor.end_intent();
    supervisor.capture.close_log();
    supervisor.update_durably(|record| {
        let (state, reason) = match intent {
            Some(intent) if intent.reason == EndReason::Timeout => {
                (RunState::Failed, EndReason::Timeout)
            }
            Some(intent) => (RunState::Stopped, intent.reason),
            None => (RunState::Failed, EndReason::StartError),
        };
        (record.state, record.reason) = (state, Some(reason));
        record.error = Some(error.message.clone());
        record.finished_at = Some(Timestamp::now());
    });
    supervisor.exit.raise();
    if intent.is_some() {
        clean_up_and_report(supervisor);
        return;
    }
    report_slow_cleanup(supervisor, error);
    supervisor.notify_client(&ToClient::failed(error));
}

/// Cleans up after a failed start. If that takes long, because the engine does not answer, the client learns of the
/// failure meanwhile.
fn report_slow_cleanup(supervisor: &Arc<Supervisor>, error: &Error) {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let slow = unit_scaled(SLOW_CLEANUP);
            if is_done.recv_timeout(slow) == Err(RecvTimeoutError::Timeout) {
                let text = format!("{}; still removing the run's resources", error.message);
                supervisor.notify_client(&ToClient::Notice { text });
            }
        });
        cleanup::clean_up(supervisor);
        drop(done);
    });
}

/// Time after which the client of a failed start learns of the failure, although the cleanup goes on.
const SLOW_CLEANUP: Duration = Duration::from_secs(2);

/// The last steps: clean up, send the rest of the output to the client, and report the end.
pub(super) fn clean_up_and_report(supervisor: &Arc<Supervisor>) {
    cleanup::clean_up(supervisor);
    let record = supervisor.record();
    // Waiters for the run need not wait for a client that does not read.
    supervisor.run().release();
    if !supervisor.is_started() {
        // The client then never announces the run, and waits for this message.
        supervisor.capture.close_gate();
    }
    let listener = Arc::clone(supervisor).listener();
    supervisor.capture.join(&*listener);
    let Some(ended) = RunEnd::of(&record) else {
        return;
    };
    supervisor.notify_client(&ToClient::Finished {
        ended,
        log_missing: record.log.missing_why,
        error: record.error,
        left_behind: record.cleaned_at.is_none(),
    });
    supervisor.join_stops();
}

/// Time that cleanup keeps trying before it leaves the rest to the next command.
pub(super) const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
