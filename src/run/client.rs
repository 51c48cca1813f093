//! The client's side of a run: starts its supervisor and receives its messages.

use std::io::BufReader;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal};

use super::protocol::{self, FromClient, StartOrder, ToClient};
use super::respawn;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::store::Home;

/// A client's connection to the supervisor that it started.
pub(crate) struct Connection {
    supervisor: Child,
    link: UnixStream,
    reader: BufReader<UnixStream>,
}

/// A handle for signals to a supervisor that is a child of this process and not yet waited for, so that its pid
/// cannot be reused.
#[derive(Clone, Copy)]
pub(crate) struct SupervisorProcess(Option<Pid>);

impl SupervisorProcess {
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(self) {
        self.signal(Signal::QUIT);
    }

    fn signal(self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Sends messages to a supervisor.
#[derive(Clone)]
pub(crate) struct SupervisorLink(Option<Arc<UnixStream>>);

impl SupervisorLink {
    pub(crate) fn send(&self, message: FromClient) {
        if let Some(link) = &self.0 {
            let _ = message.write(link);
        }
    }
}

/// The workload's streams.
pub(crate) struct Streams {
    /// The workload's stdin, if it has one.
    pub(crate) stdin: Option<OwnedFd>,
    /// The workload's terminal: its keys and its screen, through [`Streams::stdin`] and [`OutputTarget::Descriptor`].
    pub(crate) terminal: Option<[OwnedFd; 2]>,
    pub(crate) output: OutputTarget,
}

/// The destination of the output in addition to the log.
pub(crate) enum OutputTarget {
    LogOnly,
    /// This process's stdout and stderr.
    Inherited,
    Descriptor(OwnedFd),
}

/// Starts a supervisor for a plan.
pub(crate) fn connect(home: &Home, plan: Plan, streams: Streams) -> Result<Connection> {
    let failed = |error: &std::io::Error| {
        let reason = crate::error::os_error_text(error);
        Error::new(
            ErrorKind::Failed,
            format!("cannot start a supervisor: {reason}"),
        )
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    let mut command = respawn::own_command(home)?;
    command
        .arg(respawn::SUPERVISE)
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    let stream = !matches!(streams.output, OutputTarget::LogOnly);
    match streams.output {
        OutputTarget::Inherited => &mut command,
        OutputTarget::LogOnly => command.stdout(Stdio::null()).stderr(Stdio::null()),
        OutputTarget::Descriptor(output) => {
            command.stdout(Stdio::from(output)).stderr(Stdio::null())
        }
    };
    let supervisor = command.spawn().map_err(|error| failed(&error))?;
    // Dropping the command closes this process's copy of the supervisor's end.
    drop(command);
    let fds = streams
        .stdin
        .iter()
        .chain(streams.terminal.iter().flatten());
    let fds: Vec<_> = fds.map(AsFd::as_fd).collect();
    protocol::send_fds(&ours, &fds).map_err(|error| failed(&error))?;
    protocol::send(&ours, &StartOrder::new(plan, stream)).map_err(|error| failed(&error))?;
    let reader = BufReader::new(ours.try_clone().map_err(|error| failed(&error))?);
    Ok(Connection {
        supervisor,
        link: ours,
        reader,
    })
}

impl Connection {
    pub(crate) fn handle(&self) -> SupervisorProcess {
        let pid = i32::try_from(self.supervisor.id()).ok();
        SupervisorProcess(pid.and_then(Pid::from_raw))
    }

    /// The next message of the supervisor; `None` when it is gone.
    pub(crate) fn next(&mut self) -> Option<ToClient> {
        protocol::receive(&mut self.reader).ok().flatten()
    }

    /// A sender for messages to the supervisor, usable from any thread.
    pub(crate) fn link(&self) -> SupervisorLink {
        SupervisorLink(self.link.try_clone().ok().map(Arc::new))
    }

    /// Waits for the exit of a supervisor that has sent its last message.
    pub(crate) fn finish(mut self) {
        let _ = self.supervisor.wait();
    }
}

impl ToClient {
    /// The error in a message, if it is one.
    pub(crate) fn into_error(self) -> Option<Error> {
        match self {
            ToClient::Failed {
                kind,
                message,
                hint,
                causes,
            } => Some(protocol::as_error(&kind, message, hint, causes)),
            _ => None,
        }
    }
}
