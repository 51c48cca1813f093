//! A run that this process owns: the only way to write its record.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use super::atomic_file;
use super::home::{GONE_PREFIX, Home, NEW_PREFIX};
use super::id::{RunId, RunName};
use super::identity::ProcessIdentity;
use super::lock::{self, Lock};
use super::reserved_space;
use super::run_dir::{OwnerLockContent, RunDir, RunEnd, newer_version};
use super::run_record::{RunRecord, SCHEMA};
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Time that an adopter waits for processes that only check whether the lock is held.
const OWNER_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that a removal waits for a supervisor that is cleaning up.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(40);

/// A run and its owner lock, held as long as this value lives.
#[derive(Debug)]
pub(crate) struct OwnedRun {
    home: Home,
    dir: RunDir,
    /// Set until the run is released.
    lock: Option<Lock>,
    record: RunRecord,
    /// Whether the final state is on disk.
    ended: bool,
}

/// The name and the record of a new run; id and final name are still open.
pub(crate) struct NewRun<F> {
    pub(crate) name: Option<RunName>,
    /// Whether a number may be appended to a name that is taken.
    pub(crate) may_add_number: bool,
    pub(crate) record: F,
}

impl OwnedRun {
    /// Creates a run: a unique name, its directory, its record, its empty log, and the owner lock.
    pub(crate) fn reserve<F>(home: &Home, new: NewRun<F>) -> Result<OwnedRun>
    where
        F: Fn(RunId, RunName) -> RunRecord,
    {
        home.prepare()?;
        let failed =
            |error: &io::Error| Error::io(ErrorKind::Store, "make a run in", home.root(), error);
        for attempt in 0.. {
            let id = RunId::random().map_err(|error| failed(&error))?;
            let name = match &new.name {
                Some(name) if attempt > 0 => name.numbered(attempt + 1),
                Some(name) => name.clone(),
                None => RunName::random(attempt).map_err(|error| failed(&error))?,
            };
            let draft = UnpublishedRun::make(home, (new.record)(id, name))?;
            match (draft.publish()?, &new.name) {
                (Ok(run), _) => return Ok(run),
                (Err(_), None) if attempt < 20 => {}
                (Err(_), Some(_)) if new.may_add_number && attempt < 1000 => {}
                (Err(taken), _) => return Err(taken),
            }
        }
        Err(Error::new(ErrorKind::Store, "no free name was found"))
    }

    /// Adopts a run whose owner is gone. `None`: it has an owner, or needs none.
    pub(crate) fn adopt(home: &Home, id: &RunId) -> Result<Option<OwnedRun>> {
        let dir = home.run(id);
        let record = dir.require()?;
        if record.schema > SCHEMA {
            return Err(newer_version(&record));
        }
        if !dir.is_abandoned(&record)? {
            return Ok(None);
        }
        let Some(lock) = lock::exclusive(&dir.owner_lock(), OWNER_LOCK_TIMEOUT)? else {
            return Ok(None);
        };
        // Another adopter may have come and gone between the check and the lock.
        let record = dir.require()?;
        if record.cleaned_at.is_some() {
            return Ok(None);
        }
        let run = OwnedRun {
            home: home.clone(),
            dir,
            lock: Some(lock),
            ended: record.state.is_terminal(),
            record,
        };
        run.write_owner()?;
        Ok(Some(run))
    }

    pub(crate) fn dir(&self) -> &RunDir {
        &self.dir
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Changes the record and writes it. State, code and reason of an ended run stay. If writing fails, the change
    /// stays in memory for the next write.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut RunRecord)) -> Result<()> {
        let before = RunEnd::of(&self.record);
        let code = self.record.exit_code;
        change(&mut self.record);
        if let Some(ended) = before {
            self.record.state = ended.state;
            self.record.reason = ended.reason;
            self.record.exit_code = code;
        }
        self.save()?;
        if !self.ended && self.record.state.is_terminal() {
            self.ended = true;
            self.write_owner()?;
            let _lock = self.home.lock()?;
            self.home.release_name(&self.record.name, &self.record.id);
        }
        Ok(())
    }

    /// Changes the journal without writing it; the next [`OwnedRun::update`] does.
    pub(crate) fn stage(&mut self, change: impl FnOnce(&mut RunRecord)) {
        change(&mut self.record);
    }

    /// Adds a line to the supervisor log, for users who examine a run.
    pub(crate) fn append_supervisor_log(&self, text: &str) {
        let opened = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.supervisor_log());
        if let Ok(mut file) = opened {
            let _ = writeln!(file, "{} {text}", Timestamp::now());
        }
    }

    /// Releases the run: it has ended and nothing more is written. Waiting processes continue.
    pub(crate) fn release(&mut self) {
        self.lock = None;
    }

    /// Releases the space that is reserved for the run's record on a full disk.
    pub(crate) fn drop_reserve(&self) {
        reserved_space::release_space(&self.dir.reserve());
    }

    fn save(&self) -> Result<()> {
        let path = self.dir.record();
        // The reserved space is for the final record, which must not be lost.
        let written = atomic_file::document(&self.record).and_then(|bytes| {
            match self.record.state.is_terminal() {
                true => reserved_space::write(&path, &bytes, &self.dir.reserve()),
                false => atomic_file::write_atomically(&path, &bytes),
            }
        });
        written.map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))
    }

    fn write_owner(&self) -> Result<()> {
        let path = self.dir.owner_lock();
        let owner = ProcessIdentity::current()
            .map(|process| OwnerLockContent::new(process, RunEnd::of(&self.record)));
        let Some(lock) = &self.lock else {
            return Ok(());
        };
        serde_json::to_vec(&owner)
            .map_err(io::Error::from)
            .and_then(|bytes| overwrite(lock.file(), &bytes))
            .map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))
    }
}

/// Removes the directory of an ended run. The caller has checked that no resource of it is needed.
pub(crate) fn remove(home: &Home, id: &RunId) -> Result<()> {
    let dir = home.run(id);
    let failed = |error: &io::Error| Error::io(ErrorKind::Store, "remove", dir.path(), error);
    let Some(_owner) = lock::exclusive(&dir.owner_lock(), REMOVAL_TIMEOUT)? else {
        let message = format!("{id} is owned by a supervisor");
        return Err(Error::new(ErrorKind::Failed, message));
    };
    let gone = home.runs().join(format!("{GONE_PREFIX}{id}"));
    // Renamed first, so that no reader sees half a run.
    fs::rename(dir.path(), &gone).map_err(|error| failed(&error))?;
    atomic_file::remove_tree(&gone).map_err(|error| failed(&error))
}

/// A run that is not visible yet: a complete directory under another name.
struct UnpublishedRun<'a> {
    home: &'a Home,
    dir: RunDir,
    lock: Lock,
    record: RunRecord,
}

impl<'a> UnpublishedRun<'a> {
    fn make(home: &'a Home, record: RunRecord) -> Result<UnpublishedRun<'a>> {
        let path = home.runs().join(format!("{NEW_PREFIX}{}", record.id));
        let dir = RunDir::new(path, record.id.clone());
        let failed = |error: &io::Error| {
            let _ = fs::remove_dir_all(dir.path());
            Error::io(ErrorKind::Store, "write", dir.path(), error)
                .hint("free some space, or set MOAT_HOME to another disk")
        };
        atomic_file::make_dir(dir.path()).map_err(|error| failed(&error))?;
        let lock = match lock::exclusive(&dir.owner_lock(), OWNER_LOCK_TIMEOUT) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(failed(&io::ErrorKind::WouldBlock.into())),
            Err(error) => {
                let _ = fs::remove_dir_all(dir.path());
                return Err(error);
            }
        };
        let draft = UnpublishedRun {
            home,
            dir: dir.clone(),
            lock,
            record,
        };
        draft.fill().map_err(|error| failed(&error))?;
        Ok(draft)
    }

    fn fill(&self) -> io::Result<()> {
        let owner = ProcessIdentity::current().map(|process| OwnerLockContent::new(process, None));
        overwrite(self.lock.file(), &serde_json::to_vec(&owner)?)?;
        atomic_file::create(&self.dir.log())?;
        reserved_space::reserve_space(&self.dir.reserve())?;
        atomic_file::document(&self.record)
            .and_then(|bytes| atomic_file::write_atomically(&self.dir.record(), &bytes))
    }

    /// Publishes the run under its name, or returns the run that has the name.
    fn publish(self) -> Result<std::result::Result<OwnedRun, Error>> {
        let final_dir = self.home.run(&self.record.id);
        let appeared = self.publish_as(&final_dir);
        if !matches!(appeared, Ok(Ok(()))) {
            // After any failure the unpublished directory is removed.
            let _ = fs::remove_dir_all(self.dir.path());
        }
        Ok(appeared?.map(|()| OwnedRun {
            home: self.home.clone(),
            dir: final_dir,
            lock: Some(self.lock),
            ended: false,
            record: self.record,
        }))
    }

    /// Claims the name and moves the directory to its place. The inner error: another run has the name.
    fn publish_as(&self, final_dir: &RunDir) -> Result<std::result::Result<(), Error>> {
        let _lock = self.home.lock()?;
        let name = &self.record.name;
        if let Some((holder, state)) = self.home.claim_name(name, &self.record.id)? {
            return Ok(Err(name_taken(name, &holder, state.as_str())));
        }
        fs::rename(self.dir.path(), final_dir.path())
            .map_err(|error| Error::io(ErrorKind::Store, "create", final_dir.path(), &error))?;
        Ok(Ok(()))
    }
}

fn overwrite(mut file: &fs::File, bytes: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

fn name_taken(name: &RunName, holder: &RunId, state: &str) -> Error {
    let message = format!("the name '{name}' belongs to {holder}, which is {state}");
    Error::new(ErrorKind::Conflict, message)
        .hint(format!("choose another --name, or: moat stop {holder}"))
}
