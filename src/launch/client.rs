//! The client of a run: it reads the messages of the supervisor, and gives the terminal to the workload.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::signals::{FollowedRun, StopTarget, lock};
use super::slow_notice::{SLOW_START, SlowNotice};
use super::summary::summary;
use super::terminal_session::{PreparedTerminal, TerminalSession, Workload};
use super::{Progress, SharedUi};
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Connection, FromClient, SupervisorLink, ToClient};
use crate::store::{EndReason, Home, RunEnd, RunId, RunName};
use crate::term::pty::Size;

/// A run that uses our terminal.
struct RunOnTerminal {
    ui: SharedUi,
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
        lock(&self.target).end(kill, &self.ui);
    }
}

/// The state of the client while it reads the messages of the supervisor.
pub(super) struct Client<'a> {
    home: &'a Home,
    ui: SharedUi,
    background: bool,
    target: Arc<Mutex<StopTarget>>,
    run: Option<(RunId, Option<RunName>)>,
    /// The same run for signals, from its start on.
    pub(super) followed: FollowedRun,
    progress: Box<dyn Progress>,
    /// Whether writing to our stdout failed.
    output_failed: bool,
    output_closed: bool,
    /// Our terminal, before the workload gets it.
    pub(super) terminal: Option<PreparedTerminal>,
    /// Our terminal, while the workload has it.
    session: Option<TerminalSession>,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        home: &'a Home,
        ui: SharedUi,
        background: bool,
        target: Arc<Mutex<StopTarget>>,
    ) -> Client<'a> {
        Client {
            home,
            background,
            target,
            run: None,
            followed: FollowedRun::default(),
            progress: ui.progress(),
            ui,
            output_failed: false,
            output_closed: false,
            terminal: None,
            session: None,
        }
    }

    /// The id of the run, once it is reserved.
    pub(super) fn id(self) -> Option<RunId> {
        self.run.map(|(id, _)| id)
    }

    /// Handles the supervisor's messages until the run ends or, in the background, until it has started. `runtime`:
    /// its name for the user.
    pub(super) fn follow(&mut self, mut connection: Connection, runtime: &str) -> Result<u8> {
        let text = format!("Still waiting for {} to start the run.", runtime);
        let mut waiting = SlowNotice::new(&self.ui, SLOW_START, text);
        while let Some(message) = connection.next() {
            if !matches!(message, ToClient::Reserved { .. }) {
                waiting.cancel();
            }
            if !matches!(message, ToClient::Progress { .. }) {
                self.progress.clear();
            }
            match message {
                ToClient::Reserved { id } => self.run = Some((id, None)),
                ToClient::Notice { text } => self.ui.notice(&text),
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
            self.ui.notice(&format!("Started {name} ({id})"));
            return Ok(());
        }
        let hint = format!("Started {name} ({id}). Use 'moat logs {id} -f' to follow output.");
        self.ui.notice(&hint);
        self.document(id)?
            .map_or_else(|| self.ui.print_result(&format!("{id}\n")), Ok)
    }

    /// With `--json`, prints the record.
    fn document(&self, id: &RunId) -> Result<Option<()>> {
        if !self.ui.is_json() {
            return Ok(None);
        }
        self.ui
            .print_record(&self.home.run(id).require()?)
            .map(Some)
    }

    fn report_broken_output(&mut self, stream: &str, why: &str) {
        self.output_failed |= stream == "stdout";
        let id = self.run.as_ref().map_or("", |(id, _)| id.as_str());
        self.ui.warning(&format!(
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
                self.ui
                    .warning(&format!("the log of {id} is incomplete: {why}"));
            }
            if left_behind {
                self.ui.warning(&format!(
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
                self.ui.notice(&summary(ended, name, id, error.as_deref()));
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
        let workload = Arc::new(RunOnTerminal {
            ui: Arc::clone(&self.ui),
            link,
            target: Arc::clone(&self.target),
        });
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
        self.ui.warning(&format!(
            "the supervisor of {id} was killed; a new supervisor takes over. \
             Use 'moat logs {id} -f' to follow output."
        ));
        let id = id.clone();
        if self.background && self.wait_for_start(&id)? {
            return self.document(&id)?.map_or_else(
                || self.ui.print_result(&format!("{id}\n")).map(|()| 0),
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
