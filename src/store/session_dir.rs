//! The files of sessions. `session_claim.rs` decides which process may write them.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic_file;
use super::home::{Home, fnv1a};
use super::identity::ProcessIdentity;
use super::lock;
use super::session_record::{SCHEMA, Session, SessionService};
use super::time::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Number of characters of a branch in the names of its files.
const MAX_BRANCH_CHARS: usize = 40;

/// The key of a session: safe as a file name, and different for different branches and repositories.
#[derive(Clone, Debug)]
pub(crate) struct SessionKey {
    /// The repository's part, which also names the directory of its worktrees.
    pub(crate) repository: String,
    /// The branch's part: readable, with a hash of the whole name.
    pub(crate) branch: String,
}

/// The key of a branch (as git writes it) of the repository with this common directory.
pub(crate) fn key_of(common_dir: &Path, branch: &str) -> SessionKey {
    let hash = |bytes: &[u8]| format!("{:08x}", fnv1a(bytes) >> 32);
    let mut readable = String::new();
    for letter in branch.chars() {
        match letter.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => readable.push(letter),
            _ if readable.ends_with('-') || readable.is_empty() => {}
            _ => readable.push('-'),
        }
        if readable.len() >= MAX_BRANCH_CHARS {
            break;
        }
    }
    let readable = readable.trim_end_matches('-');
    let dash = if readable.is_empty() { "" } else { "-" };
    SessionKey {
        repository: hash(common_dir.as_os_str().as_bytes()),
        branch: format!("{readable}{dash}{}", hash(branch.as_bytes())),
    }
}

impl SessionKey {
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", self.repository, self.branch)
    }
}

/// The published variables of a service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ServiceVariables {
    /// Checked because a later session of the same branch has the same files.
    handle: String,
    variables: Vec<(String, String)>,
}

/// The state of a process, written by its monitor.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ProcessState {
    /// [`Session::mark`]: a later session of the same branch has the same files.
    pub(crate) mark: String,
    pub(crate) process: ProcessIdentity,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// As a shell reports it: 128 plus the signal's number if a signal ended the process.
    pub(crate) exit_code: Option<u8>,
}

impl Home {
    pub(super) fn sessions_dir(&self) -> PathBuf {
        self.root().join("sessions")
    }

    pub(super) fn session_file(&self, key: &str) -> PathBuf {
        self.sessions_dir().join(format!("{key}.json"))
    }

    pub(super) fn session_lock(&self, key: &str) -> PathBuf {
        self.sessions_dir().join(format!("{key}.lock"))
    }

    /// The logs and states of its processes, and the files that its containers need for git.
    pub(crate) fn session_dir(&self, key: &str) -> PathBuf {
        self.sessions_dir().join(key)
    }

    /// The rewritten compose file. It may contain secrets.
    pub(crate) fn compose_file(&self, key: &str) -> PathBuf {
        self.session_dir(key).join("compose.yaml")
    }

    /// Creates the directory of the rewritten compose file and of files that the tool may leave.
    pub(crate) fn prepare_compose(&self, key: &str) -> Result<PathBuf> {
        let dir = self.session_dir(key);
        atomic_file::make_dir(&dir)
            .map_err(|error| Error::io(ErrorKind::Store, "create", &dir, &error))?;
        Ok(dir)
    }

    pub(crate) fn process_log(&self, key: &str, process: &str) -> PathBuf {
        self.session_dir(key).join(format!("{process}.jsonl"))
    }

    pub(crate) fn process_state_file(&self, key: &str, process: &str) -> PathBuf {
        self.session_dir(key).join(format!("{process}.state"))
    }

    /// The file that releases the monitor of a process in a window: the environment of the process.
    pub(crate) fn process_go_file(&self, key: &str, process: &str) -> PathBuf {
        self.session_dir(key).join(format!("{process}.go"))
    }

    /// The variables of the session, for the shell in a window.
    pub(crate) fn shell_variables(&self, key: &str) -> PathBuf {
        self.session_dir(key).join(".shell")
    }

    /// The reserved space for its end on a full disk.
    pub(super) fn session_reserve(&self, key: &str) -> PathBuf {
        self.session_dir(key).join(".reserve")
    }

    /// The previous log of a process, before rotation.
    pub(crate) fn older_log(log: &Path) -> PathBuf {
        log.with_extension("jsonl.1")
    }

    /// The state that the monitor of a process wrote last; `None` if another session's monitor did.
    pub(crate) fn process_state(&self, session: &Session, process: &str) -> Option<ProcessState> {
        let bytes = fs::read(self.process_state_file(&session.key, process)).ok()?;
        let state: ProcessState = serde_json::from_slice(&bytes).ok()?;
        Some(state).filter(|state| state.mark == session.mark(process))
    }

    /// Removes the state of an earlier monitor, and creates the directory for the next one.
    pub(crate) fn prepare_process(&self, key: &str, process: &str) -> Result<()> {
        let dir = self.session_dir(key);
        let state = self.process_state_file(key, process);
        let go = self.process_go_file(key, process);
        atomic_file::make_dir(&dir)
            .and_then(|()| atomic_file::remove_if_exists(&state))
            .and_then(|()| atomic_file::remove_if_exists(&go))
            .map_err(|error| Error::io(ErrorKind::Store, "prepare", &dir, &error))
    }

    fn service_variables(&self, key: &str, service: &str) -> PathBuf {
        self.session_dir(key).join(format!("{service}.vars"))
    }

    /// Saves the published variables of a service in a private file.
    pub(crate) fn keep_variables(&self, key: &str, service: &SessionService) -> Result<()> {
        let path = self.service_variables(key, &service.name);
        let document = ServiceVariables {
            handle: service.handle.clone(),
            variables: service.variables.clone(),
        };
        atomic_file::make_dir(&self.session_dir(key))
            .and_then(|()| atomic_file::write_atomically(&path, &atomic_file::document(&document)?))
            .map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))
    }

    /// The saved variables of this very container.
    fn kept_variables(&self, key: &str, service: &SessionService) -> Vec<(String, String)> {
        let bytes = fs::read(self.service_variables(key, &service.name)).unwrap_or_default();
        let kept = serde_json::from_slice::<ServiceVariables>(&bytes).ok();
        let kept = kept.filter(|kept| kept.handle == service.handle);
        kept.map(|kept| kept.variables).unwrap_or_default()
    }

    /// The directory of the worktrees that moat creates for one repository.
    pub(crate) fn worktrees(&self, repository: &str) -> PathBuf {
        self.root().join("worktrees").join(repository)
    }

    /// All sessions, sorted by slot; none without a directory. An unreadable session is an error, because its slot
    /// and ports are unknown.
    pub(crate) fn sessions(&self) -> Result<Vec<Session>> {
        let dir = self.sessions_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(ErrorKind::Store, "read", &dir, &error)),
        };
        let mut sessions = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(".json"));
            if let Some(key) = key {
                sessions.extend(self.session(key)?);
            }
        }
        sessions.sort_by_key(|session| session.slot);
        Ok(sessions)
    }

    /// A session; `None`: it does not exist.
    pub(crate) fn session(&self, key: &str) -> Result<Option<Session>> {
        let path = self.session_file(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(ErrorKind::Store, "read", &path, &error)),
        };
        let mut session: Session = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("cannot understand {}: {error}", path.display());
            Error::new(ErrorKind::Store, message).hint("move that file away if it is not needed")
        })?;
        if session.schema > SCHEMA {
            let message = format!("{} was written by a newer moat", path.display());
            return Err(Error::new(ErrorKind::Store, message).hint("update moat"));
        }
        for service in &mut session.services.list {
            service.variables = self.kept_variables(key, service);
        }
        Ok(Some(session))
    }

    /// Whether an operation on the session is under way.
    pub(crate) fn session_is_busy(&self, key: &str) -> Result<bool> {
        lock::is_held(&self.session_lock(key))
    }

    /// Whether `path` is the worktree of any session.
    pub(crate) fn owner_of_worktree(&self, path: &Path) -> Result<Option<Session>> {
        let sessions = self.sessions()?;
        Ok(sessions
            .into_iter()
            .find(|session| session.worktree.path == path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(branch: &str) -> String {
        key_of(Path::new("/repo/.git"), branch).branch
    }

    #[test]
    fn keys_are_safe_and_differ() {
        let long = "\u{e4}".repeat(200);
        let names = [
            "feat-a",
            "feat-ab",
            "feat/a",
            "Feat-A",
            "a.b",
            "a_b",
            "\u{65e5}\u{672c}",
            &long,
            "x..y",
        ];
        let mut keys: Vec<String> = names.iter().map(|name| key(name)).collect();
        for key in &keys {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(key.chars().all(good) && key.len() < 60, "{key}");
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert!(key("feat/x").starts_with("feat-x-"));
        let other = key_of(Path::new("/other/.git"), "feat-a");
        assert_ne!(
            other.text(),
            key_of(Path::new("/repo/.git"), "feat-a").text()
        );
    }
}
