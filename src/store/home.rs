//! `$MOAT_HOME`: where moat keeps its data.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic_file;
use super::id::RunId;
use super::lock::{self, Lock};
use super::run_dir::RunDir;
use crate::error::{Error, ErrorKind, Result};

/// Timeout of the global lock, which is held for milliseconds only.
const GLOBAL_LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// `$MOAT_HOME`, by default `~/.moat`.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// Finds the directory; it need not exist.
    pub(crate) fn locate() -> Result<Home> {
        let named = std::env::var_os("MOAT_HOME").filter(|value| !value.is_empty());
        let root = match named {
            Some(path) => PathBuf::from(path),
            None => std::env::home_dir()
                .filter(|home| !home.as_os_str().is_empty())
                .map(|home| home.join(".moat"))
                .ok_or_else(|| {
                    Error::new(ErrorKind::Store, "neither MOAT_HOME nor HOME is set")
                        .hint("set MOAT_HOME to the directory for moat's files")
                })?,
        };
        let root = std::path::absolute(&root)
            .map_err(|error| Error::io(ErrorKind::Store, "find", &root, &error))?;
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => Err(Error::new(
                ErrorKind::Store,
                format!("MOAT_HOME is not a directory: {}", root.display()),
            )
            .hint("set MOAT_HOME to a directory")),
            _ => Ok(Home { root }),
        }
    }

    /// The home of a unit test.
    #[cfg(test)]
    pub(super) fn at(root: PathBuf) -> Home {
        Home { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the directories that a run needs.
    pub(crate) fn prepare(&self) -> Result<()> {
        let make_dir = |dir: &Path| {
            atomic_file::make_dir(dir).map_err(|error| {
                Error::io(ErrorKind::Store, "create", dir, &error)
                    .hint("set MOAT_HOME to a directory that you may write to")
            })
        };
        make_dir(&self.root)?;
        // Before the directories: a home that has them without an identity is of an earlier version.
        self.label()?;
        make_dir(&self.runs())?;
        make_dir(&self.names())
    }

    /// Checks what a run needs: directories, write permission, locks.
    pub(crate) fn check_usable(&self) -> Result<()> {
        self.prepare()?;
        let path = self.root.join("trial");
        let tried = atomic_file::write_atomically_concurrent(&path, b"trial\n");
        let _ = atomic_file::remove_if_exists(&path);
        tried.map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
        self.lock().map(|_| ())
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// The directory of the user's own registry entries.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join("registry.d")
    }

    /// The directory of the projects' volumes; below it, one directory for each project and volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The directory of the facts about engines, which the runtimes keep.
    pub(crate) fn engines(&self) -> PathBuf {
        self.root.join("engines")
    }

    /// The directory of data that runs share for a service, such as models.
    pub(crate) fn cache(&self, service: &str) -> PathBuf {
        self.root.join("cache").join(service)
    }

    /// Removes lock files without a holder, left by killed processes.
    pub(crate) fn remove_unused_locks(&self) {
        let entries = fs::read_dir(self.locks()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            // A process that waits for the file notices that it is gone and creates another.
            if let Ok(Some(lock)) = lock::exclusive(&path, Duration::ZERO)
                && lock::is_current(&lock, &path)
            {
                let _ = atomic_file::remove_if_exists(&path);
            }
        }
    }

    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Locks the creation of something that only one process may create at a time, waiting while `should_continue`
    /// returns true. `None`: it returned false. The lock's file is removed with the lock. If the holder failed for
    /// good ([`CreationLock::fail`]), the waiting processes fail with it.
    pub(crate) fn lock_creation(
        &self,
        what: &str,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Option<CreationLock>> {
        let dir = self.locks();
        atomic_file::make_dir(&dir)
            .map_err(|error| Error::io(ErrorKind::Store, "create", &dir, &error))?;
        let path = dir.join(what);
        while should_continue() {
            let Some(lock) = lock::exclusive(&path, CANCEL_POLL_INTERVAL)? else {
                continue;
            };
            // The previous holder may have removed the file that this process waited for.
            if lock::is_current(&lock, &path) {
                // A killed process may have left a message.
                let _ = lock.file().set_len(0);
                return Ok(Some(CreationLock { path, lock }));
            }
            let mut words = String::new();
            let _ = lock.file().read_to_string(&mut words);
            if let Some((hint, message)) = words.split_once('\n') {
                return Err(Error::new(ErrorKind::Image, message).hint(hint));
            }
        }
        Ok(None)
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(super) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    pub(crate) fn run(&self, id: &RunId) -> RunDir {
        RunDir::new(self.runs().join(id.as_str()), id.clone())
    }

    /// The ids of all runs, unordered; none if the home does not exist.
    pub(crate) fn run_ids(&self) -> Result<Vec<RunId>> {
        Ok(self
            .entries()?
            .iter()
            .filter_map(|name| RunId::parse(name))
            .collect())
    }

    /// Directories in `runs/` that an interrupted creation or removal left without an owner.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in self.entries()? {
            let path = self.runs().join(&name);
            let ours = name.starts_with(NEW_PREFIX) || name.starts_with(GONE_PREFIX);
            if ours && is_unlocked_leftover(&path)? {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Removes these directories unless a process is working on them.
    pub(crate) fn remove_leftovers(&self, path: &Path) -> Result<()> {
        if !is_unlocked_leftover(path)? {
            return Ok(());
        }
        atomic_file::remove_tree(path)
            .map_err(|error| Error::io(ErrorKind::Store, "remove", path, &error))
    }

    fn entries(&self) -> Result<Vec<String>> {
        let runs = self.runs();
        let failed = |error: &io::Error| Error::io(ErrorKind::Store, "read", &runs, error);
        let entries = match fs::read_dir(&runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }

    /// The lock around names and the appearance of runs.
    pub(super) fn lock(&self) -> Result<Lock> {
        let path = self.root.join("lock");
        lock::exclusive(&path, GLOBAL_LOCK_TIMEOUT)?.ok_or_else(|| {
            let message = format!("another moat command has held {} for 10 s", path.display());
            Error::new(ErrorKind::Store, message).hint("see who holds it: fuser -v on that file")
        })
    }
}

/// FNV-1a, 64 bits: distinguishes names; it does not resist deliberate collisions.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether no process is creating or removing a directory. There is no lock for a moment: before it is created, and
/// after it was removed ahead of the rest.
fn is_unlocked_leftover(dir: &Path) -> Result<bool> {
    let changed = fs::metadata(dir).and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    Ok(age.is_some_and(|age| age >= LEFTOVER_MIN_AGE) && !lock::is_held(&dir.join("owner.lock"))?)
}

/// Longer than any pause between two steps of creating or removing a directory.
const LEFTOVER_MIN_AGE: Duration = Duration::from_secs(5);

/// Interval at which a waiting process checks whether it should continue.
const CANCEL_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The exclusive right to create something.
#[derive(Debug)]
pub(crate) struct CreationLock {
    path: PathBuf,
    lock: Lock,
}

impl CreationLock {
    /// Gives up: the waiting processes fail with this error.
    pub(crate) fn fail(self, error: &Error) {
        let hint = error.hint.as_deref().unwrap_or_default();
        let words = format!("{hint}\n{}", error.message);
        let _ = self.lock.file().write_all(words.as_bytes());
    }
}

impl Drop for CreationLock {
    fn drop(&mut self) {
        // Removed while locked: a process that waits for this file notices that it is gone and creates another.
        let _ = atomic_file::remove_if_exists(&self.path);
    }
}

/// Run directories that are incomplete or are being removed.
pub(super) const NEW_PREFIX: &str = ".new-";
pub(super) const GONE_PREFIX: &str = ".gone-";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Its owner.lock does not exist yet, or no longer.
    #[test]
    fn what_somebody_is_at_is_no_debris() {
        let root = std::env::temp_dir().join(format!("moat-home-{}", std::process::id()));
        let home = Home { root: root.clone() };
        home.prepare().unwrap();
        let path = home.runs().join(".new-run_0123456789ab");
        fs::create_dir(&path).unwrap();
        assert!(home.leftovers().unwrap().is_empty());
        home.remove_leftovers(&path).unwrap();
        assert!(path.exists());
        let old = SystemTime::now() - 2 * LEFTOVER_MIN_AGE;
        fs::File::open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(home.leftovers().unwrap(), std::slice::from_ref(&path));
        home.remove_leftovers(&path).unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(root).unwrap();
    }
}
