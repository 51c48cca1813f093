//! Where moat keeps its data, and what is in there.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic_file;
use super::id::RunId;
use super::lock::{self, Lock};
use super::run_dir::RunDir;
use crate::error::{Error, ErrorKind, Result};

/// How long to wait for the global lock, which nobody holds for more than milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

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
                        .hint("set MOAT_HOME to the directory where runs are to be kept")
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

    /// A home of a test.
    #[cfg(test)]
    pub(super) fn at(root: PathBuf) -> Home {
        Home { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directories that a run needs.
    pub(crate) fn prepare(&self) -> Result<()> {
        for dir in [self.root.clone(), self.runs(), self.names()] {
            atomic_file::make_dir(&dir).map_err(|error| {
                Error::io(ErrorKind::Store, "make", &dir, &error)
                    .hint("set MOAT_HOME to a directory that you may write to")
            })?;
        }
        Ok(())
    }

    /// Tries what a run needs: directories, writing, locks.
    pub(crate) fn trial(&self) -> Result<()> {
        self.prepare()?;
        let path = self.root.join("trial");
        let tried = atomic_file::write_atomically_among_others(&path, b"trial\n");
        let _ = atomic_file::remove_if_there(&path);
        tried.map_err(|error| Error::io(ErrorKind::Store, "write", &path, &error))?;
        self.lock().map(|_| ())
    }

    /// A word that tells this home from others, for labels: FNV-1a of its real path.
    pub(crate) fn hash(&self) -> String {
        let path = fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        format!("{:016x}", fnv1a(path.as_os_str().as_bytes()))
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// Where a person's own entries of the registry are.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join("registry.d")
    }

    /// Where the projects' volumes are; below, one directory per project and volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// What runs share of what a service has got, such as models.
    pub(crate) fn cache(&self, service: &str) -> PathBuf {
        self.root.join("cache").join(service)
    }

    /// Removes the files of locks that nobody holds: those of who was killed.
    pub(crate) fn sweep_locks(&self) {
        let entries = fs::read_dir(self.locks()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            // Who waits for the file meanwhile sees that it is gone, and makes another.
            if let Ok(Some(lock)) = lock::exclusive(&path, Duration::ZERO)
                && lock::is_current(&lock, &path)
            {
                let _ = atomic_file::remove_if_there(&path);
            }
        }
    }

    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Takes the lock of something that only one process may make at a time, waiting for it as long
    /// as `should_continue` says so. `None`: it no longer does. The lock's file goes with the lock. Where the
    /// holder failed for good ([`Making::fail`]), so do those who were waiting.
    pub(crate) fn making(
        &self,
        what: &str,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Option<CreationLock>> {
        let dir = self.locks();
        atomic_file::make_dir(&dir)
            .map_err(|error| Error::io(ErrorKind::Store, "make", &dir, &error))?;
        let path = dir.join(what);
        while should_continue() {
            let Some(lock) = lock::exclusive(&path, LOOK)? else {
                continue;
            };
            // The holder before us may have removed the file that we waited for.
            if lock::is_current(&lock, &path) {
                // One that was killed may have left words.
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

    /// The ids of all runs, in no order. A home that does not exist has none.
    pub(crate) fn run_ids(&self) -> Result<Vec<RunId>> {
        Ok(self
            .entries()?
            .iter()
            .filter_map(|name| RunId::parse(name))
            .collect())
    }

    /// What an interrupted start or removal left in `runs/` and nobody holds any more.
    pub(crate) fn debris(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in self.entries()? {
            let path = self.runs().join(&name);
            let ours = name.starts_with(NEW_PREFIX) || name.starts_with(GONE_PREFIX);
            if ours && is_abandoned(&path)? {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Removes what [`Home::debris`] found, unless somebody is at it.
    pub(crate) fn remove_debris(&self, path: &Path) -> Result<()> {
        if !is_abandoned(path)? {
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
        lock::exclusive(&path, PATIENCE)?.ok_or_else(|| {
            let message = format!("another moat command has held {} for 10 s", path.display());
            Error::new(ErrorKind::Store, message).hint("see who holds it: fuser -v on that file")
        })
    }
}

/// FNV-1a, 64 bits: tells names apart, and keeps nobody from making two that collide.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether nobody is making or removing a directory. For a moment it has no lock: before there is
/// one, and when that has been removed before the rest.
fn is_abandoned(dir: &Path) -> Result<bool> {
    let changed = fs::metadata(dir).and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    Ok(age.is_some_and(|age| age >= MOMENT) && !lock::is_held(&dir.join("owner.lock"))?)
}

/// Longer than anybody is between two steps of making or removing a directory.
const MOMENT: Duration = Duration::from_secs(5);

/// How often one who waits for a lock asks whether to go on waiting.
const LOOK: Duration = Duration::from_millis(200);

/// The right to make something that nobody else may make meanwhile.
#[derive(Debug)]
pub(crate) struct CreationLock {
    path: PathBuf,
    lock: Lock,
}

impl CreationLock {
    /// Gives it up: those who wait for it now fail with the same words.
    pub(crate) fn fail(self, error: &Error) {
        let hint = error.hint.as_deref().unwrap_or_default();
        let words = format!("{hint}\n{}", error.message);
        let _ = self.lock.file().write_all(words.as_bytes());
    }
}

impl Drop for CreationLock {
    fn drop(&mut self) {
        // While the lock is held: who waits for this file sees that it is gone, and makes another.
        let _ = atomic_file::remove_if_there(&self.path);
    }
}

/// Run directories that are not complete yet, and those that are being removed.
pub(super) const NEW_PREFIX: &str = ".new-";
pub(super) const GONE_PREFIX: &str = ".gone-";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// Its owner.lock is not there yet, or not any more.
    #[test]
    fn what_somebody_is_at_is_no_debris() {
        let root = std::env::temp_dir().join(format!("moat-home-{}", std::process::id()));
        let home = Home { root: root.clone() };
        home.prepare().unwrap();
        let path = home.runs().join(".new-run_0123456789ab");
        fs::create_dir(&path).unwrap();
        assert!(home.debris().unwrap().is_empty());
        home.remove_debris(&path).unwrap();
        assert!(path.exists());
        let old = SystemTime::now() - 2 * MOMENT;
        fs::File::open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(home.debris().unwrap(), std::slice::from_ref(&path));
        home.remove_debris(&path).unwrap();
        assert!(!path.exists());
        fs::remove_dir_all(root).unwrap();
    }
}
