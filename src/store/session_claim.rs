//! The right to change a session: `sessions/KEY.lock` is held by an operation for its whole length, so *live* and
//! *abandoned* are facts. Slots and ports are given out under the home's global lock, which is held for milliseconds.

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

/// How long a claim waits for those who only look whether the lock is held.
const MOMENT: Duration = Duration::from_millis(500);

/// Makes the record of an operation from its id, the session so far, and all others.
pub(crate) type BuildRecordFn<'a> =
    &'a mut dyn FnMut(&str, Option<Session>, &[Session]) -> Result<Session>;

/// What tells whether a record on disk is the one that was read or written last.
fn identity(session: &Session) -> (String, Option<String>) {
    let operation = session.operation.as_ref();
    let id = operation.map(|operation| operation.id.clone());
    (session.incarnation.clone(), id)
}

impl Home {
    /// Takes the right to change a session, which need not exist. `None`: an operation is under way.
    pub(crate) fn claim_session(&self, key: &str, kind: OpKind) -> Result<Option<Claim>> {
        if self.root().to_str().is_none() {
            let message = "the path of MOAT_HOME is not UTF-8";
            return Err(Error::new(ErrorKind::Store, message).hint("set it to another directory"));
        }
        self.prepare()?;
        let dir = self.sessions_dir();
        atomic_file::make_dir(&dir)
            .map_err(|error| Error::io(ErrorKind::Store, "make", &dir, &error))?;
        let path = self.session_lock(key);
        loop {
            let Some(lock) = lock::exclusive(&path, MOMENT)? else {
                return Ok(None);
            };
            // The one before us may have removed the session, and the file with it.
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
                known: session.as_ref().map(identity),
                session,
                ends: kind == OpKind::Down,
                _lock: lock,
            }));
        }
    }
}

/// The right to change a session, for the length of one operation.
pub(crate) struct Claim {
    home: Home,
    key: String,
    id: String,
    kind: OpKind,
    /// What is on disk, unless somebody meddled.
    known: Option<(String, Option<String>)>,
    session: Option<Session>,
    /// Whether what is written from now on is to be written on a full disk, too.
    ends: bool,
    _lock: Lock,
}

impl Claim {
    /// The operation that holds it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// As it is on disk; `None` if there is no such session.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Begins an operation: `make` gets its id, the session and all others, and gives the record; nobody else gives out slots
    /// or ports meanwhile. The operation's status is the session's from now on.
    pub(crate) fn begin(&mut self, ending: DownOptions, make: BuildRecordFn<'_>) -> Result<()> {
        let _global = self.home.lock()?;
        let others: Vec<Session> = self
            .home
            .sessions()?
            .into_iter()
            .filter(|session| session.key != self.key)
            .collect();
        let found = self.session.as_ref();
        // One that was abandoned goes on where it was.
        let earlier = found.and_then(|session| session.operation.clone());
        let status = found.map(|session| session.status);
        let status_now = match self.kind {
            OpKind::Up => SessionStatus::Provisioning,
            OpKind::Down => SessionStatus::Stopping,
        };
        let before = match earlier {
            // What it has made is ours now: its end is known, as the lock is.
            Some(earlier) if earlier.kind == self.kind => {
                self.id = earlier.id;
                earlier.before
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
            owner: ProcessIdentity::this(),
            before,
            keep: ending.keep,
            remove_worktree: ending.remove_worktree,
            force: ending.force,
        });
        if self.kind == OpKind::Up {
            let dir = self.home.session_dir(&self.key);
            let reserve = self.home.session_reserve(&self.key);
            atomic_file::make_dir(&dir)
                .and_then(|()| reserved_space::take(&reserve))
                .map_err(|error| Error::io(ErrorKind::Store, "write", &reserve, &error))?;
        }
        self.write(session)
    }

    /// What follows ends what has been begun.
    pub(crate) fn end(&mut self) {
        self.ends = true;
    }

    /// Changes the record and writes it, if the session still is ours.
    pub(crate) fn update(&mut self, change: &mut dyn FnMut(&mut Session)) -> Result<()> {
        let Some(mut session) = self.session.clone() else {
            return Err(self.lost());
        };
        change(&mut session);
        self.write(session)
    }

    fn write(&mut self, session: Session) -> Result<()> {
        self.check()?;
        let path = self.home.session_file(&self.key);
        let reserve = self.home.session_reserve(&self.key);
        let written = atomic_file::document(&session).and_then(|bytes| match self.ends {
            true => reserved_space::write(&path, &bytes, &reserve),
            false => atomic_file::write_atomically(&path, &bytes),
        });
        written.map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
        self.known = Some(identity(&session));
        self.session = Some(session);
        Ok(())
    }

    /// Removes the session with all that is kept of it. What it made is gone already.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.check()?;
        let (file, dir) = (
            self.home.session_file(&self.key),
            self.home.session_dir(&self.key),
        );
        self.session = None;
        atomic_file::remove_tree(&dir)
            .and_then(|()| atomic_file::remove_if_there(&file))
            .map_err(|error| Error::io(ErrorKind::Store, "remove", &file, &error))?;
        self.known = None;
        self.forget_lock();
        Ok(())
    }

    /// Removes the lock's file, and what was prepared, where they belong to no session: it is not there, or never began.
    pub(crate) fn release(self) {
        if self.session.is_none() && self.check().is_ok() {
            let _ = atomic_file::remove_tree(&self.home.session_dir(&self.key));
            self.forget_lock();
        }
    }

    fn forget_lock(&self) {
        // While the lock is held: who waits for this file sees that it is gone, and makes another.
        let _ = atomic_file::remove_if_there(&self.home.session_lock(&self.key));
    }

    /// Whether the record on disk is still the one that this operation wrote or found.
    pub(crate) fn check(&self) -> Result<()> {
        match self.home.session(&self.key)?.as_ref().map(identity) == self.known {
            true => Ok(()),
            false => Err(self.lost()),
        }
    }

    fn lost(&self) -> Error {
        let message = "somebody else changed the session meanwhile";
        Error::new(ErrorKind::Failed, message).hint("see what there is: moat wt list")
    }
}
