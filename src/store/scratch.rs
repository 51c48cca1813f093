//! Homes for unit tests: in memory if the system offers that, removed with the test.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::home::Home;
use super::id::{RunId, RunName};
use super::log_entry::{LogEntry, Stream};
use super::owned_run::{NewRun, OwnedRun};
use super::run_dir::RunDir;
use super::run_record::RunRecord;
use super::session_record::Session;

/// A home for one test.
#[derive(Debug)]
pub(crate) struct Scratch(Home);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let base = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = base.join(format!("moat-unit-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let home = Home::at(root);
        home.prepare().unwrap();
        Scratch(home)
    }

    /// A directory outside of the home.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.0.root().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// A new run, owned as long as the result lives.
    pub(crate) fn reserve(&self, change: impl Fn(&mut RunRecord)) -> OwnedRun {
        let record = |id: RunId, name: RunName| {
            let mut record = record(&id, &name);
            change(&mut record);
            record
        };
        let new = NewRun {
            name: None,
            may_add_number: false,
            record,
        };
        OwnedRun::reserve(&self.0, new).unwrap()
    }
}

impl Deref for Scratch {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.root());
    }
}

/// The record of a new run with one container.
fn record(id: &RunId, name: &RunName) -> RunRecord {
    let text = format!(
        r#"{{"schema": 1, "id": "{id}", "name": "{name}", "state": "created", "runtime": "fake", "engine": [],
            "image": null, "workspace": "/", "command": ["true"], "env": [], "mounts": [], "background": false,
            "interactive": false, "keep": false, "memory_bytes": null, "cpus": null, "timeout_seconds": null,
            "created_at": "{created}", "started_at": null, "finished_at": null, "cleaned_at": null,
            "exit_code": null, "reason": null, "oom_killed": false, "error": null,
            "resources": [{{"kind": "container", "handle": "{id}", "stage": "intent"}}],
            "log": {{"complete": true, "missing_since": null, "missing_why": null}}}}"#,
        created = super::Timestamp::now()
    );
    serde_json::from_str(&text).unwrap()
}

/// One stream of a log, as text.
pub(crate) fn logged(path: &Path, stream: Stream) -> String {
    let mut text = String::new();
    for entry in entries(path).iter().filter(|entry| entry.stream == stream) {
        text.push_str(&String::from_utf8_lossy(&entry.data));
        if entry.eol {
            text.push('\n');
        }
    }
    text
}

fn entries(path: &Path) -> Vec<LogEntry> {
    let bytes = fs::read(path).unwrap_or_default();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(LogEntry::parse).collect()
}

impl RunDir {
    /// Makes the run's record unwritable until [`RunDir::mend_record`].
    pub(crate) fn break_record(&self) {
        fs::rename(self.record(), self.path().join("aside")).unwrap();
        // A file cannot replace a directory.
        fs::create_dir(self.record()).unwrap();
    }

    pub(crate) fn mend_record(&self) {
        fs::remove_dir(self.record()).unwrap();
        fs::rename(self.path().join("aside"), self.record()).unwrap();
    }
}

impl RunDir {
    /// What an engine was asked for last was asked for then.
    pub(crate) fn age_engine_request(&self, at: std::time::SystemTime) {
        let file = fs::File::options()
            .append(true)
            .open(self.engine_request_file());
        file.unwrap().set_modified(at).unwrap();
    }
}

impl Scratch {
    /// Writes the record of a session as another program would: without a claim.
    pub(crate) fn write_session(&self, session: &Session) {
        let text = serde_json::to_vec(session).unwrap();
        fs::write(self.0.session_file(&session.key), text).unwrap();
    }

    /// Gives the home another identity, as a copy gets one: its label is a former one now.
    pub(crate) fn replace_identity(&self) {
        let former = self.0.label().unwrap();
        let text = format!(r#"{{"schema": 1, "id": "00000000000000ff", "former": ["{former}"]}}"#);
        fs::write(self.0.root().join("id"), text).unwrap();
    }

    pub(crate) fn remove_session(&self, key: &str) {
        fs::remove_file(self.0.session_file(key)).unwrap();
    }

    /// The names of all files of sessions.
    pub(crate) fn session_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.sessions_dir()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}
