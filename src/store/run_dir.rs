//! `runs/<id>/`: the files of one run, for readers.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::atomic_file;
use super::id::RunId;
use super::identity::ProcessIdentity;
use super::lock;
use super::run_record::{EndReason, ResourceKind, RunRecord, RunState, SCHEMA};
use crate::error::{Error, ErrorKind, Result};

/// The directory of a run. It may not exist (any more).
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    id: RunId,
}

/// A record as found on disk.
#[derive(Clone, Debug)]
pub(crate) enum Loaded {
    Record(Box<RunRecord>),
    /// The run exists, but its record is unreadable.
    Unreadable(String),
    Missing,
}

impl Loaded {
    pub(crate) fn record(self) -> Option<RunRecord> {
        match self {
            Loaded::Record(record) => Some(*record),
            _ => None,
        }
    }
}

/// The owner of a run; at the end also how the run ended, so that a process that waits for the lock learns it even if
/// the run is removed at the same moment. The content of `owner.lock`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct OwnerLockContent {
    pid: u32,
    token: String,
    pub(super) ended: Option<RunEnd>,
}

impl OwnerLockContent {
    pub(super) fn new(process: ProcessIdentity, ended: Option<RunEnd>) -> OwnerLockContent {
        let ProcessIdentity { pid, token } = process;
        OwnerLockContent { pid, token, ended }
    }

    fn process(self) -> ProcessIdentity {
        let OwnerLockContent { pid, token, .. } = self;
        ProcessIdentity { pid, token }
    }
}

/// A request to end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndRequest {
    /// Gracefully, with this grace period in seconds.
    Stop(u32),
    Kill,
}

const KILL_WORD: &str = "kill";

/// Time in which a resource may still appear that a dead process requested from an engine.
const PENDING_REQUEST_PERIOD: Duration = Duration::from_secs(60);

/// The note of a pending engine request.
fn engine_request_line(kind: ResourceKind, handle: &str) -> String {
    format!("{} {handle}\n", kind.as_str())
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct RunEnd {
    pub(crate) state: RunState,
    pub(crate) reason: Option<EndReason>,
    /// The exit code of `moat run` and `moat wait`.
    pub(crate) exit_status: u8,
}

impl RunEnd {
    /// `None` while the run has not ended.
    pub(crate) fn of(record: &RunRecord) -> Option<RunEnd> {
        record.state.is_terminal().then(|| RunEnd {
            state: record.state,
            reason: record.reason,
            exit_status: record.exit_status(),
        })
    }
}

impl RunDir {
    pub(super) fn new(path: PathBuf, id: RunId) -> RunDir {
        RunDir { path, id }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("logs.jsonl")
    }

    /// The log of a service.
    pub(crate) fn service_log(&self, name: &str) -> PathBuf {
        self.path.join("services").join(format!("{name}.jsonl"))
    }

    /// Reserves a number for another command in the run.
    pub(crate) fn new_exec(&self) -> io::Result<u32> {
        atomic_file::make_dir(&self.path.join("exec"))?;
        for number in 1.. {
            match atomic_file::create_new(&self.exec_log(number)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map(|_| number),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The log and the record of another command in the run.
    pub(crate) fn exec_log(&self, number: u32) -> PathBuf {
        self.path.join("exec").join(format!("{number}.jsonl"))
    }

    pub(crate) fn exec_record(&self, number: u32) -> PathBuf {
        self.exec_log(number).with_extension("json")
    }

    /// The numbers of such commands, sorted.
    pub(crate) fn execs(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.path.join("exec"))
            .into_iter()
            .flatten()
            .flatten();
        let numbers = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".jsonl")?.parse().ok()
        });
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// Files of a runtime without a daemon, kept while the run lasts.
    pub(crate) fn sandbox(&self) -> PathBuf {
        self.path.join("sandbox")
    }

    /// Host files that a container sees, if the driver keeps any.
    pub(crate) fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// Files that a driver passes to its client while that runs.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// The build context of the run's image, and the builder's output.
    pub(crate) fn dockerfile(&self) -> PathBuf {
        self.path.join("Dockerfile")
    }

    pub(crate) fn build_context(&self) -> PathBuf {
        self.path.join("context")
    }

    pub(crate) fn build_log(&self) -> PathBuf {
        self.path.join("build.log")
    }

    /// The workload's copy of the workspace after its end, as a tar archive.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.path.join("workspace.tar")
    }

    /// Whether the run has the only copy of the workload's files, saved or not yet saved.
    pub(crate) fn holds_only_copy(&self, record: &RunRecord) -> bool {
        (record.has_unsaved_copy() || self.workspace().exists()) && !self.exported().exists()
    }

    /// Records that the workspace was exported.
    pub(crate) fn mark_exported(&self) {
        let _ = atomic_file::create(&self.exported());
    }

    fn exported(&self) -> PathBuf {
        self.path.join("exported")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.path.join("run.json")
    }

    pub(super) fn owner_lock(&self) -> PathBuf {
        self.path.join("owner.lock")
    }

    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// The supervisor log: problems of the run's supervisors.
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    pub(super) fn engine_request_file(&self) -> PathBuf {
        self.path.join("making")
    }

    /// Notes that an engine is about to be asked to create a resource.
    pub(crate) fn begin_engine_request(&self, kind: ResourceKind, handle: &str) {
        let opened = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.engine_request_file());
        if let Ok(mut file) = opened {
            let _ = file.write_all(engine_request_line(kind, handle).as_bytes());
        }
    }

    /// Notes that the engine has answered, whatever the request was.
    pub(crate) fn end_engine_request(&self) {
        let _ = atomic_file::remove_if_exists(&self.engine_request_file());
    }

    /// Whether an engine may still be carrying out a request for this resource.
    pub(crate) fn has_engine_request(&self, kind: ResourceKind, handle: &str) -> bool {
        let since =
            fs::metadata(self.engine_request_file()).and_then(|metadata| metadata.modified());
        let age = since.ok().and_then(|since| since.elapsed().ok());
        let asked = fs::read_to_string(self.engine_request_file()).unwrap_or_default();
        let line = engine_request_line(kind, handle);
        age.is_some_and(|age| age < PENDING_REQUEST_PERIOD)
            && asked.split_inclusive('\n').any(|asked| asked == line)
    }

    fn stop_request(&self) -> PathBuf {
        self.path.join("stop")
    }

    /// Reads the record. Never fails: an unreadable record is returned with the reason.
    pub(crate) fn load(&self) -> Loaded {
        let bytes = match fs::read(self.record()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => {
                return Loaded::Missing;
            }
            Err(error) => return Loaded::Unreadable(crate::error::os_error_text(&error)),
        };
        match serde_json::from_slice::<RunRecord>(&bytes) {
            Ok(record) if record.id != self.id => {
                Loaded::Unreadable(format!("the record is of {}", record.id))
            }
            Ok(record) => Loaded::Record(Box::new(record)),
            Err(error) => Loaded::Unreadable(format!("malformed: {error}")),
        }
    }

    /// The record, or an error with a hint.
    pub(crate) fn require(&self) -> Result<RunRecord> {
        match self.load() {
            Loaded::Record(record) => Ok(*record),
            Loaded::Unreadable(why) => Err(Error::new(
                ErrorKind::Store,
                format!("the record of {} is unreadable: {why}", self.id),
            )
            .hint(format!(
                "look at {}; 'moat logs {id}' may still work; 'moat destroy -f {id}' removes the run",
                self.record().display(),
                id = self.id
            ))),
            Loaded::Missing => Err(no_such_run(self.id.as_str())),
        }
    }

    /// Fails if a newer version of moat wrote the record and the run has no owner: this version can neither end the
    /// run nor wait for its end.
    pub(crate) fn check_version(&self, record: &RunRecord) -> Result<()> {
        let over = record.state.is_terminal() && record.cleaned_at.is_some();
        if record.schema <= SCHEMA || over || self.is_owned()? {
            return Ok(());
        }
        Err(newer_version(record))
    }

    /// Whether a supervisor owns the run now.
    pub(crate) fn is_owned(&self) -> Result<bool> {
        lock::is_held(&self.owner_lock())
    }

    /// The supervisor, if there is a live one.
    pub(crate) fn owner(&self) -> Result<Option<ProcessIdentity>> {
        if !self.is_owned()? {
            return Ok(None);
        }
        let owner = fs::read(self.owner_lock())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<OwnerLockContent>(&bytes).ok());
        Ok(owner.map(OwnerLockContent::process))
    }

    /// Blocks until the run has no owner, and returns how it ended; `None` if it has not, or if the record is
    /// unreadable. Does not fail if the run is removed meanwhile.
    pub(crate) fn wait_unowned(&self) -> Result<Option<RunEnd>> {
        let path = self.owner_lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(self.load().record().as_ref().and_then(RunEnd::of));
            }
            Err(error) => return Err(Error::io(ErrorKind::Store, "open", &path, &error)),
        };
        let held = lock::wait_shared(file)
            .map_err(|error| Error::io(ErrorKind::Store, "lock", &path, &error))?;
        if let Some(record) = self.load().record() {
            return Ok(RunEnd::of(&record));
        }
        let mut content = Vec::new();
        let _ = (&held.0).read_to_end(&mut content);
        let owner = serde_json::from_slice::<OwnerLockContent>(&content).ok();
        Ok(owner.and_then(|owner| owner.ended))
    }

    /// Whether the run needs an adopting supervisor: it has not ended, or has left resources.
    pub(crate) fn is_abandoned(&self, record: &RunRecord) -> Result<bool> {
        let unfinished = !record.state.is_terminal() || record.cleaned_at.is_none();
        Ok(unfinished && record.schema <= SCHEMA && !self.is_owned()?)
    }

    /// Writes an end request for the supervisor or its successor. The signal that follows carries the request; the
    /// file is for a supervisor that dies before it handles the signal.
    pub(crate) fn write_end_request(&self, how: EndRequest) {
        let text = match how {
            EndRequest::Stop(seconds) => seconds.to_string(),
            EndRequest::Kill => KILL_WORD.to_owned(),
        };
        let _ = atomic_file::write_atomically_concurrent(&self.stop_request(), text.as_bytes());
    }

    /// The end request, if there is one.
    pub(crate) fn end_request(&self) -> Option<EndRequest> {
        let text = fs::read_to_string(self.stop_request()).ok()?;
        match text.trim() {
            KILL_WORD => Some(EndRequest::Kill),
            text => text.parse().ok().map(EndRequest::Stop),
        }
    }

    /// Removes and returns the end request, if there is one.
    pub(crate) fn take_end_request(&self) -> Option<EndRequest> {
        let request = self.end_request();
        let _ = atomic_file::remove_if_exists(&self.stop_request());
        request
    }
}

pub(super) fn newer_version(record: &RunRecord) -> Error {
    let message = format!(
        "{} was written by a newer moat (schema {}, this one knows {SCHEMA})",
        record.id, record.schema
    );
    Error::new(ErrorKind::Store, message)
        .hint("use that version to change the run; reading it works")
}

/// The error for an argument that matches no run.
pub(crate) fn no_such_run(argument: &str) -> Error {
    Error::new(ErrorKind::NoSuchRun, format!("no such run: '{argument}'"))
        .hint("see all runs: moat list -a")
}
