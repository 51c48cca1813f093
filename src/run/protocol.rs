//! The protocol between client and supervisor over a socket pair: one JSON document per line.
//!
//! The client sends the workload's stdin or terminal, if it has one, and one [`StartOrder`]; later [`FromClient`]
//! messages. A process that dies closes its end.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::plan::{Destination, Plan};
use crate::store::{RunEnd, RunId, RunName};
use crate::term::pty::Size;

/// The order to start a run. The values of its variables travel in this message and nowhere else.
#[derive(Deserialize, Serialize)]
pub(super) struct StartOrder {
    plan: Plan,
    values: Vec<SentValue>,
    /// The files of the build context.
    files: Vec<SentFile>,
    /// Whether the workload's output goes to the client's stdout and stderr.
    pub(super) stream: bool,
}

/// A value on its way to the container that gets it.
#[derive(Deserialize, Serialize)]
struct SentValue {
    to: Destination,
    name: String,
    value: String,
}

#[derive(Deserialize, Serialize)]
struct SentFile {
    name: String,
    content: String,
}

impl StartOrder {
    pub(super) fn new(plan: Plan, stream: bool) -> StartOrder {
        let values = plan.variables().map(|(to, variable)| SentValue {
            to,
            name: variable.name.clone(),
            value: variable.value.expose().to_owned(),
        });
        let files = plan.build.iter().flat_map(|build| &build.files);
        let files = files.map(|file| SentFile {
            name: file.name.clone(),
            content: file.content.clone(),
        });
        StartOrder {
            values: values.collect(),
            files: files.collect(),
            plan,
            stream,
        }
    }

    /// The plan with its values. Fails if a value or a file has no place in the plan.
    pub(super) fn into_plan(self) -> io::Result<Plan> {
        let lost = |name: &str| io::Error::other(format!("the plan has no place for '{name}'"));
        let mut plan = self.plan;
        for SentValue { to, name, value } in self.values {
            let variables = plan.variables_of(&to).map(|list| list.iter_mut());
            let variable = variables.and_then(|mut list| list.find(|known| known.name == name));
            variable.ok_or_else(|| lost(&name))?.value = value.into();
        }
        for SentFile { name, content } in self.files {
            let mut files = plan.build.iter_mut().flat_map(|build| &mut build.files);
            let file = files.find(|file| file.name == name);
            file.ok_or_else(|| lost(&name))?.content = content;
        }
        Ok(plan)
    }
}

/// A later message of the client: one byte, followed by the terminal's size for [`FromClient::Size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromClient {
    /// The run is announced: output may flow, and an interactive workload has the terminal.
    Announced,
    /// The client is suspended (Ctrl-Z): no output may flow until the next [`FromClient::Announced`].
    Paused,
    /// The terminal's size has changed.
    Size(Size),
    /// The terminal is restored, temporarily or for good.
    Restored,
}

impl FromClient {
    pub(super) fn write(self, mut stream: &UnixStream) -> io::Result<()> {
        let mut bytes = vec![match self {
            FromClient::Announced => b'!',
            FromClient::Paused => b'z',
            FromClient::Size(_) => b's',
            FromClient::Restored => b'r',
        }];
        if let FromClient::Size(size) = self {
            bytes.extend(size.rows.to_be_bytes());
            bytes.extend(size.columns.to_be_bytes());
        }
        stream.write_all(&bytes)
    }

    /// `None`: the client is gone, or sends something that is no message: what would follow has no meaning either.
    pub(super) fn read(reader: &mut impl io::Read) -> Option<FromClient> {
        let mut byte = [0];
        reader.read_exact(&mut byte).ok()?;
        match byte {
            [b'!'] => Some(FromClient::Announced),
            [b'z'] => Some(FromClient::Paused),
            [b'r'] => Some(FromClient::Restored),
            [b's'] => {
                let mut size = [0; 4];
                reader.read_exact(&mut size).ok()?;
                Some(FromClient::Size(Size {
                    rows: u16::from_be_bytes([size[0], size[1]]),
                    columns: u16::from_be_bytes([size[2], size[3]]),
                }))
            }
            _ => None,
        }
    }
}

/// A message of the supervisor to its client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToClient {
    /// The run exists, with this id.
    Reserved { id: RunId },
    /// A notice during long work.
    Notice { text: String },
    /// How far long work has come. `thing`: a service, or nothing for the builder of the image. `step`:
    /// something else begins.
    Progress {
        item: String,
        text: String,
        is_new_step: bool,
    },
    /// The workload runs.
    Started { id: RunId, name: RunName },
    /// The client's stdout or stderr has no reader any more.
    OutputClosed { stream: String },
    /// The client's stdout or stderr cannot be written.
    OutputFailed { stream: String, why: String },
    /// The run failed before its workload started.
    Failed {
        kind: String,
        message: String,
        hint: Option<String>,
        /// The errors behind it, the nearest first.
        #[serde(default)]
        causes: Vec<String>,
    },
    /// The run has ended and everything is cleaned up.
    Finished {
        ended: RunEnd,
        /// The reason why the log is incomplete, if it is.
        log_missing: Option<String>,
        error: Option<String>,
        /// Whether a resource could not be removed.
        left_behind: bool,
    },
}

impl ToClient {
    pub(super) fn failed(error: &Error) -> ToClient {
        ToClient::Failed {
            kind: error.kind.as_str().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            causes: error.causes().map(|cause| cause.to_string()).collect(),
        }
    }
}

/// The error in a [`ToClient::Failed`].
pub(super) fn as_error(
    kind: &str,
    message: String,
    hint: Option<String>,
    causes: Vec<String>,
) -> Error {
    let mut error = Error::new(ErrorKind::from_word(kind), message);
    error.hint = hint;
    let remote = |source: Option<RemoteCause>, text| {
        let source = source.map(Box::new);
        Some(RemoteCause { text, source })
    };
    match causes.into_iter().rev().fold(None, remote) {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

/// A cause that another process has found.
#[derive(Debug)]
struct RemoteCause {
    text: String,
    source: Option<Box<RemoteCause>>,
}

impl std::fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RemoteCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Writes one message.
pub(super) fn send<T: Serialize>(mut stream: &UnixStream, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one message; `None` when the peer is gone.
pub(super) fn receive<T: DeserializeOwned>(
    reader: &mut BufReader<UnixStream>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Sends at most three descriptors.
pub(super) fn send_fds(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        stream,
        &[IoSlice::new(b"+")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives the descriptors.
pub(super) fn receive_fds(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
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
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for fd in fds {
                // Not inherited by other children.
                rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
                received.push(fd);
            }
        }
    }
    Ok(received)
}
