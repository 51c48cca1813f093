//! The exclusive right to change a session: an operation holds `sessions/KEY.lock` for its whole duration, so *live*
//! and *abandoned* are facts. Slots and ports are assigned under the home's global lock, which is held for
//! milliseconds.

use std::time::Duration;

use super::atomic_file;
use super::home::Home;
use super::id::random_word;
use super::identity::ProcessIdentity;
use super::lock::{self, Lock};
use super::reserved_space;
use super::session_record::{DownOptions, OpKind, Operation, Session, SessionStatus};
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Time that a claim waits for processes that only check whether the lock is held.
const CLAIM_TIMEOUT: Duration = Duration::from_millis(500);

/// Builds the record of an operation from its id, the session so far, and all other sessions.
pub(crate) type BuildRecordFn<'a> =
    &'a mut dyn FnMut(&str, Option<Session>, &[Session]) -> Result<Session>;

/// Identifies the record on disk that was read or written last.
fn identity(session: &Session) -> (String, Option<String>) {
    let operation = session.operation_id().map(str::to_owned);
    (session.incarnation.clone(), operation)
}

impl Home {
    /// Claims a session, which need not exist. `None`: an operation is under way.
    pub(crate) fn claim_session(&self, key: &str, kind: OpKind) -> Result<Option<Claim>> {
        if self.root().to_str().is_none() {
            let message = "the path of MOAT_HOME is not UTF-8";
            return Err(Error::new(ErrorKind::Store, message).hint("set it to another directory"));
        }
        self.prepare()?;
        let dir = self.sessions_dir();
        atomic_file::make_dir(&dir)
            .map_err(|error| Error::io(ErrorKind::Store, "create", &dir, &error))?;
        let path = self.session_lock(key);
        loop {
            let Some(lock) = lock::exclusive(&path, CLAIM_TIMEOUT)? else {
                return Ok(None);
            };
            // The previous holder may have removed the session and its file.
            if !lock::is_current(&lock, &path) {
                continue;
            }
            let id = random_word(12)
                .map_err(|error| Error::io(ErrorKind::Store, "use", &dir, &error))?;
            let session = self.session(key)?;
            return Ok(Some(Claim {
                home: self.clone(),
                key: key.to_owned(),
                id,
                kind,
                known_identity: session.as_ref().map(identity),
                session,
                ends_operation: kind == OpKind::Down,
                _lock: lock,
            }));
        }
    }
}

/// The exclusive right to change a session, for the duration of one operation.
pub(crate) struct Claim {
    home: Home,
    key: String,
    id: String,
    kind: OpKind,
    /// The content of the disk, unless another program changed it.
    known_identity: Option<(String, Option<String>)>,
    session: Option<Session>,
    /// Whether further writes must succeed on a full disk as well.
    ends_operation: bool,
    _lock: Lock,
}

impl Claim {
    /// The operation that holds the claim.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The session on disk; `None`: it does not exist.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The session that this operation has begun to change.
    pub(crate) fn record(&self) -> Result<&Session> {
        self.session.as_ref().ok_or_else(superseded_error)
    }

    /// Starts an operation: `make` receives its id, the session and all others, and returns the record; no other
    /// process assigns slots or ports meanwhile. The operation's status becomes the session's.
    pub(crate) fn begin(&mut self, ending: DownOptions, make: BuildRecordFn<'_>) -> Result<()> {
        let _global = self.home.lock()?;
        let others: Vec<Session> = self
            .home
            .sessions()?
            .into_iter()
            .filter(|session| session.key != self.key)
            .collect();
        let found = self.session.as_ref();
        // An abandoned operation continues where it was.
        let earlier = found.and_then(|session| session.operation.clone());
        let status = found.map(|session| session.status);
        let status_now = match self.kind {
            OpKind::Up => SessionStatus::Provisioning,
            OpKind::Down => SessionStatus::Stopping,
        };
        let before = match earlier {
            // Its resources belong to this operation now; the lock proves that it has ended.
            Some(earlier) if earlier.kind == self.kind => {
                self.id = earlier.id;
                earlier.previous_status
            }
            Some(_) => Some(SessionStatus::Stopped),
            None => status,
        };
        let mut session = make(&self.id, self.session.clone(), &others)?;
        session.status = status_now;
        session.operation = Some(Operation {
            id: self.id.clone(),
            kind: self.kind,
            since: Timestamp::now(),
            owner: ProcessIdentity::current(),
            previous_status: before,
            keep: ending.keep,
            remove_worktree: ending.remove_worktree,
            force: ending.force,
        });
        if self.kind == OpKind::Up {
            let dir = self.home.session_dir(&self.key);
            let reserve = self.home.session_reserve(&self.key);
            atomic_file::make_dir(&dir)
                .and_then(|()| reserved_space::reserve_space(&reserve))
                .map_err(|error| Error::io(ErrorKind::Store, "write", &reserve, &error))?;
        }
        self.write(session)
    }

    /// The following steps end the operation.
    pub(crate) fn end(&mut self) {
        self.ends_operation = true;
    }

    /// Changes the record, if this operation still owns the session. An unchanged record is not written again.
    pub(crate) fn update(&mut self, change: &mut dyn FnMut(&mut Session)) -> Result<()> {
        let mut session = self.record()?.clone();
        change(&mut session);
        match self.session.as_ref() == Some(&session) {
            true => self.check(),
            false => self.write(session),
        }
    }

    /// Ends the operation: the session has this status now.
    pub(crate) fn settle(&mut self, status: SessionStatus) -> Result<()> {
        self.update(&mut |session| {
            session.status = status;
            session.operation = None;
        })
    }

    /// Ends the operation, which could not remove a resource.
    pub(crate) fn break_session(&mut self, why: &Error) -> Result<()> {
        self.update(&mut |session| {
            session.status = SessionStatus::Broken;
            session.error = Some(why.message.clone());
            session.operation = None;
        })
    }

    fn write(&mut self, session: Session) -> Result<()> {
        self.check()?;
        let path = self.home.session_file(&self.key);
        let reserve = self.home.session_reserve(&self.key);
        let written = atomic_file::document(&session).and_then(|bytes| match self.ends_operation {
            true => reserved_space::write(&path, &bytes, &reserve),
            false => atomic_file::write_atomically(&path, &bytes),
        });
        written.map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
        self.known_identity = Some(identity(&session));
        self.session = Some(session);
        Ok(())
    }

    /// Removes the record. The resources of the session are gone already.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.check()?;
        let (file, dir) = (
            self.home.session_file(&self.key),
            self.home.session_dir(&self.key),
        );
        self.session = None;
        atomic_file::remove_tree(&dir)
            .and_then(|()| atomic_file::remove_if_exists(&file))
            .map_err(|error| Error::io(ErrorKind::Store, "remove", &file, &error))?;
        self.known_identity = None;
        Ok(())
    }

    /// Whether the record on disk is still the one that this operation read or wrote.
    pub(crate) fn check(&self) -> Result<()> {
        match self.home.session(&self.key)?.as_ref().map(identity) == self.known_identity {
            true => Ok(()),
            false => Err(superseded_error()),
        }
    }
}

fn superseded_error() -> Error {
    let message = "another program changed the session meanwhile";
    Error::new(ErrorKind::Failed, message).hint("list the sessions: moat wt list")
}

/// A claim of a session that does not exist, or not any more, leaves neither the lock's file nor prepared files.
impl Drop for Claim {
    fn drop(&mut self) {
        if self.known_identity.is_none() && self.check().is_ok() {
            let _ = atomic_file::remove_tree(&self.home.session_dir(&self.key));
            // Removed while locked: a process that waits for this file notices that it is gone and creates another.
            let _ = atomic_file::remove_if_exists(&self.home.session_lock(&self.key));
        }
    }
}
