//! What client and supervisor say to each other, over a socket pair: one JSON document per line.
//!
//! The client sends its stdin (if the workload is to have it) and one [`Start`]; later a single
//! byte for "I have announced the run, copy its output now". Whatever dies closes its end.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::plan::Plan;
use crate::store::{Ended, Name, RunId};

/// The order to start a run. The values of its variables travel here and nowhere else.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    plan: Plan,
    values: Vec<String>,
    /// The contents of the files from which the image is built.
    files: Vec<String>,
    /// Whether the workload's output goes to the client's stdout and stderr.
    pub(super) stream: bool,
}

impl Start {
    pub(super) fn new(mut plan: Plan, stream: bool) -> Start {
        let values = plan.variables_mut().map(|variable| variable.value.clone());
        let values = values.collect();
        let files = plan.build.iter().flat_map(|build| &build.files);
        Start {
            values,
            files: files.map(|file| file.content.clone()).collect(),
            plan,
            stream,
        }
    }

    /// The plan with its values.
    pub(super) fn into_plan(self) -> Plan {
        let mut plan = self.plan;
        for (variable, value) in plan.variables_mut().zip(self.values) {
            variable.value = value;
        }
        let files = plan.build.iter_mut().flat_map(|build| &mut build.files);
        for (file, content) in files.zip(self.files) {
            file.content = content;
        }
        plan
    }
}

/// What a supervisor tells its client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToClient {
    /// The run exists, under this id.
    Reserved { id: RunId },
    /// Something worth knowing while it takes long.
    Notice { text: String },
    /// How far long work has come. `thing`: a service, or nothing for the builder of the image. `step`:
    /// something else begins.
    Progress {
        thing: String,
        text: String,
        step: bool,
    },
    /// The workload runs.
    Started { id: RunId, name: Name },
    /// The client's stdout or stderr has no reader any more.
    OutputClosed { stream: String },
    /// The client's stdout or stderr cannot be written.
    OutputFailed { stream: String, why: String },
    /// It did not come to a workload.
    Failed {
        kind: String,
        message: String,
        hint: Option<String>,
    },
    /// The run has ended and everything is cleaned up.
    Finished {
        ended: Ended,
        /// Why the log is not complete, if it is not.
        log_missing: Option<String>,
        error: Option<String>,
        /// Whether something could not be removed.
        left_behind: bool,
    },
}

impl ToClient {
    pub(super) fn failed(error: &Error) -> ToClient {
        ToClient::Failed {
            kind: error.kind.as_str().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
        }
    }
}

/// The error that a [`ToClient::Failed`] carries.
pub(super) fn as_error(kind: &str, message: String, hint: Option<String>) -> Error {
    Error {
        hint,
        ..Error::new(Kind::from_word(kind), message)
    }
}

/// Writes one message.
pub(super) fn send<T: Serialize>(mut stream: &UnixStream, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one message; `None` when the other side is gone.
pub(super) fn receive<T: for<'de> Deserialize<'de>>(
    reader: &mut BufReader<UnixStream>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Hands over a descriptor, or says that there is none.
pub(super) fn send_fd(stream: &UnixStream, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(
        stream,
        &[IoSlice::new(b"+")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Takes the descriptor that was handed over, if there was one.
pub(super) fn receive_fd(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::empty(),
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            // Not for our other children.
            rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
            return Ok(Some(fd));
        }
    }
    Ok(None)
}
