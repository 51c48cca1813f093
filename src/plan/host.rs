//! What a plan needs to know of the host: which runtime answers, whose the workspace is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::term::harmless;

/// The host, as far as a plan depends on it.
pub(crate) struct Host {
    pub(crate) runtime: runtime::Name,
    pub(crate) engine: Vec<(String, String)>,
    /// Where moat keeps its records: nothing for a workload to write to.
    pub(crate) home: PathBuf,
    pub(crate) environment: Environment,
}

/// Where `-e NAME` takes its value from.
pub(crate) type Environment = Box<dyn Fn(&str) -> Option<OsString>>;

/// A workspace that can be mounted, and its owner.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What of it a workload must not see, as a path of the container.
    pub(super) covered: Vec<String>,
}

impl Host {
    /// Looks at this host. `wanted`: from `--runtime`, else `MOAT_RUNTIME`, else the first runtime
    /// that answers.
    pub(crate) fn here(wanted: Option<&str>, home: &Path) -> Result<Host> {
        let variable = std::env::var("MOAT_RUNTIME")
            .ok()
            .filter(|name| !name.is_empty());
        let runtime = match wanted.or(variable.as_deref()) {
            Some(word) => runtime::Name::parse(word).ok_or_else(|| unknown_runtime(word))?,
            None => runtime::choose()?,
        };
        Ok(Host {
            runtime,
            engine: match runtime.has_images() {
                true => runtime::engine_settings(),
                false => Vec::new(),
            },
            home: fs::canonicalize(home).unwrap_or_else(|_| home.to_owned()),
            environment: Box::new(|name| std::env::var_os(name)),
        })
    }

    pub(super) fn workspace(&self, path: &Path) -> Result<Workspace> {
        let failed = |why: &str| {
            let shown = harmless(&path.to_string_lossy());
            Error::new(
                Kind::Workspace,
                format!("cannot use the workspace '{shown}': {why}"),
            )
            .hint("give a directory that you may read: moat run PATH -- CMD")
        };
        let real = fs::canonicalize(path).map_err(|error| failed(&crate::error::reason(&error)))?;
        let metadata =
            fs::metadata(&real).map_err(|error| failed(&crate::error::reason(&error)))?;
        if !metadata.is_dir() {
            return Err(failed("not a directory"));
        }
        if rustix::fs::access(&real, Access::READ_OK | Access::EXEC_OK).is_err() {
            return Err(failed("it is not readable"));
        }
        if real.to_str().is_none() {
            return Err(failed("its path is not UTF-8"));
        }
        let covered = match self.home.strip_prefix(&real) {
            Ok(inside) if inside.as_os_str().is_empty() => {
                return Err(failed("it is moat's own directory"));
            }
            Ok(inside) => vec![format!("{}/{}", runtime::WORKSPACE, inside.display())],
            Err(_) => Vec::new(),
        };
        Ok(Workspace {
            covered,
            path: real,
            uid: metadata.uid(),
            gid: metadata.gid(),
        })
    }

    pub(super) fn mount_source(&self, path: &Path) -> Result<PathBuf> {
        let failed = |why: &str| {
            let shown = harmless(&path.to_string_lossy());
            Error::new(Kind::Workspace, format!("cannot mount '{shown}': {why}"))
                .hint("the source of a mount must exist; make it first")
        };
        let real = fs::canonicalize(path).map_err(|error| failed(&crate::error::reason(&error)))?;
        match real.to_str() {
            Some(_) => Ok(real),
            None => Err(failed("its path is not UTF-8")),
        }
    }
}

fn unknown_runtime(word: &str) -> Error {
    let supported = runtime::SUPPORTED.map(runtime::Name::as_str).join(", ");
    let word: String = word.chars().take(80).collect();
    Error::new(
        Kind::Runtime,
        format!("unknown runtime '{}'", harmless(&word)),
    )
    .hint(format!("this moat drives: {supported}"))
}
