//! The facts about the host that a plan needs, such as the runtime and the owner of the workspace.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::error::{Error, ErrorKind, Result};
use crate::registry::{self, Registry};
use crate::runtime::{self, EngineFacts, UserMapping};
use crate::store::{BindMount, Home};
use crate::term::escape_unsafe;

/// Names of files are in JSON, in arguments and in engines, which take only text.
const RENAME_HINT: &str = "give each directory of the path, and what it leads to, a name in UTF-8";

/// The host, as far as a plan depends on it.
pub(crate) struct Host {
    pub(crate) runtime: runtime::RuntimeName,
    pub(crate) engine: Vec<(String, String)>,
    /// The address of the engine, if the engine is on another machine.
    pub(crate) remote: Option<String>,
    /// The facts about the engine; the usual ones if the engine does not answer, because the run then fails anyway.
    pub(crate) facts: EngineFacts,
    /// The directory in which the runtimes keep facts.
    pub(super) kept_facts: PathBuf,
    /// The directory of moat's records. No workload may write there.
    pub(crate) home: PathBuf,
    pub(crate) environment: Environment,
    /// Reads the registry, when an entry is needed.
    pub(crate) registry: Box<dyn Fn() -> Result<Registry>>,
}

/// The paths of distributions for all trusted certificates in one file.
const CERTIFICATE_PATHS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Looks up the value of `-e NAME`.
pub(crate) type Environment = Box<dyn Fn(&str) -> Option<OsString>>;

/// A workspace that can be mounted, and its owner.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The paths of moat's own directory in the container, which the workload must not see.
    pub(super) hidden: Vec<String>,
}

impl Host {
    /// Reads the facts about this host. `wanted`: the runtime from `--runtime`, or else from a file. Without it
    /// `MOAT_RUNTIME` decides, and without that `choose`.
    pub(crate) fn here(
        wanted: Option<&str>,
        home: &Home,
        choose: impl FnOnce() -> Result<runtime::RuntimeName>,
    ) -> Result<Host> {
        let variable = std::env::var("MOAT_RUNTIME")
            .ok()
            .filter(|name| !name.is_empty());
        let named = wanted.or(variable.as_deref());
        let mut runtime = match named {
            Some(word) => runtime::RuntimeName::parse(word).ok_or_else(|| unknown_runtime(word))?,
            None => choose()?,
        };
        let root = home.root();
        let additions = home.registry();
        let mut engine = runtime::engine_settings(runtime);
        let kept_facts = home.engines();
        let mut found = facts(runtime, &engine, &kept_facts);
        let podman = runtime::RuntimeName::Podman;
        if found.is_podman && named.is_none() && podman.is_here() {
            runtime = podman;
            engine = runtime::engine_settings(runtime);
            found = facts(runtime, &engine, &kept_facts);
        }
        if found.is_podman {
            return Err(runtime::podman_error().into());
        }
        Ok(Host {
            facts: found,
            kept_facts,
            runtime,
            remote: runtime::remote_address(runtime, &engine),
            engine,
            home: canonical_path(root),
            environment: Box::new(|name| std::env::var_os(name)),
            registry: Box::new(move || registry::load(&additions)),
        })
    }

    /// Uses the engine of a docker context.
    pub(crate) fn use_context(&mut self, context: &str) -> Result<()> {
        let docker = runtime::RuntimeName::Docker;
        if self.runtime != docker {
            let message = format!(
                "--context works only on {docker}, and this run is on {}",
                self.runtime
            );
            return Err(
                Error::usage(message).hint(format!("remove --context, or use --runtime {docker}"))
            );
        }
        self.engine = runtime::context_settings(context)?;
        self.remote = runtime::remote_address(docker, &self.engine);
        self.facts = facts(docker, &self.engine, &self.kept_facts);
        match self.facts.is_podman {
            true => Err(runtime::podman_error().into()),
            false => Ok(()),
        }
    }

    /// The user of the workload: the owner of the workspace, unless the engine maps that user to another.
    fn workload_user(&self, owner: (u32, u32)) -> (u32, u32) {
        match self.facts.users {
            UserMapping::Same | UserMapping::Foreign => owner,
            UserMapping::CurrentOnly => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            UserMapping::RootIsCurrent => (0, 0),
        }
    }

    /// Whether git, run by this user, refuses the repository in a workspace because of its owner.
    pub(super) fn git_distrusts(&self, workspace: &Path, uid: u32) -> bool {
        let current = rustix::process::geteuid().as_raw();
        // The owner that the container shows; `None`: an unmapped one.
        let shown = |owner: u32| match self.facts.users {
            UserMapping::Same | UserMapping::Foreign => Some(owner),
            UserMapping::CurrentOnly => (owner == current).then_some(owner),
            UserMapping::RootIsCurrent => (owner == current).then_some(0),
        };
        let repository = workspace.join(".git");
        if repository.symlink_metadata().is_err() {
            return false;
        }
        // The file of a worktree names its directory in the repository.
        let named = fs::read_to_string(&repository).ok();
        let named = named.and_then(|text| {
            let path = text.strip_prefix("gitdir: ")?.trim_end_matches('\n');
            Some(workspace.join(path))
        });
        let paths = [workspace, &repository].into_iter();
        let mut owners = paths
            .chain(named.as_deref())
            .filter_map(|path| Some(fs::symlink_metadata(path).ok()?.uid()));
        owners.any(|owner| shown(owner) != Some(uid))
    }

    /// A path of a configuration file: absolute, relative to the home (`~`, `~/…`), or relative to `dir`.
    pub(super) fn path_in(&self, dir: &Path, path: &str) -> PathBuf {
        let home = || (self.environment)("HOME").filter(|home| !home.is_empty());
        let below_home = if path == "~" {
            Some("")
        } else {
            path.strip_prefix("~/")
        };
        match below_home {
            Some(rest) => {
                home().map_or_else(|| PathBuf::from(path), |home| Path::new(&home).join(rest))
            }
            None => dir.join(path),
        }
    }

    /// The directory that a sandbox shows as its root; reports a directory that cannot be.
    pub(super) fn rootfs_path(
        &self,
        path: &Path,
        files: super::ConfigLayers<'_>,
    ) -> Option<PathBuf> {
        let why = match fs::canonicalize(path) {
            Err(error) => crate::error::os_error_text(&error),
            Ok(real) if real == Path::new("/") => "it is the root of this system".to_owned(),
            Ok(real) if real.is_dir() && real.to_str().is_some() => return Some(real),
            Ok(_) => "it is not a directory".to_owned(),
        };
        let named = files
            .iter()
            .find_map(|file| Some((file, file.settings.base.as_ref()?)));
        if let Some((file, base)) = named {
            file.source
                .report(base.at, format!("cannot use the root filesystem: {why}"));
        }
        None
    }

    /// The host's trusted certificates, in PEM form.
    pub(super) fn host_certificates(&self) -> Result<String> {
        let named = (self.environment)("SSL_CERT_FILE").map(PathBuf::from);
        let usual = CERTIFICATE_PATHS.iter().map(PathBuf::from);
        let found = named.into_iter().chain(usual).find(|path| path.is_file());
        let hint = "set SSL_CERT_FILE to a file in PEM form, or leave out container.host_ca";
        let Some(path) = found else {
            return Err(Error::new(
                ErrorKind::Config,
                "this host has no file of trusted certificates",
            )
            .hint(hint));
        };
        let bytes =
            fs::read(&path).map_err(|error| Error::io(ErrorKind::Config, "read", &path, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(text),
            _ => {
                let message = format!("{} contains no certificates in PEM form", path.display());
                Err(Error::new(ErrorKind::Config, message).hint(hint))
            }
        }
    }

    /// A mount that gives a sandbox the certificates of `SSL_CERT_FILE` in the place of the system's. `None`: the
    /// system's are the same.
    pub(super) fn sandbox_certificates(&self) -> Result<Option<BindMount>> {
        let Some(named) = (self.environment)("SSL_CERT_FILE") else {
            return Ok(None);
        };
        self.host_certificates()?;
        let real = |path: &OsStr| fs::canonicalize(path).ok().filter(|path| path.is_file());
        let system = CERTIFICATE_PATHS
            .iter()
            .find_map(|path| real(path.as_ref()));
        let mount = |(source, target): (PathBuf, PathBuf)| {
            Some(BindMount {
                target: target.to_str()?.to_owned(),
                readonly: true,
                source,
            })
        };
        let both = real(&named).zip(system);
        Ok(both
            .filter(|(source, target)| source != target)
            .and_then(mount))
    }

    pub(super) fn workspace(&self, path: &Path) -> Result<Workspace> {
        let failed = |why: &str| {
            let shown = escape_unsafe(&path.to_string_lossy());
            Error::new(
                ErrorKind::Workspace,
                format!("cannot use the workspace '{shown}': {why}"),
            )
            .hint("name a readable directory: moat run PATH -- CMD")
        };
        let real =
            fs::canonicalize(path).map_err(|error| failed(&crate::error::os_error_text(&error)))?;
        let metadata =
            fs::metadata(&real).map_err(|error| failed(&crate::error::os_error_text(&error)))?;
        if !metadata.is_dir() {
            return Err(failed("not a directory"));
        }
        if rustix::fs::access(&real, Access::READ_OK | Access::EXEC_OK).is_err() {
            return Err(failed("it is not readable"));
        }
        if real.to_str().is_none() {
            return Err(failed("its path is not UTF-8").hint(RENAME_HINT));
        }
        let covered = match self.home.strip_prefix(&real) {
            Ok(inside) if inside.as_os_str().is_empty() => {
                return Err(failed("it is moat's own directory")
                    .hint("name the directory of a project: moat run PATH -- CMD"));
            }
            Ok(inside) => vec![format!("{}/{}", runtime::WORKSPACE, inside.display())],
            Err(_) => Vec::new(),
        };
        let (uid, gid) = self.workload_user((metadata.uid(), metadata.gid()));
        Ok(Workspace {
            hidden: covered,
            path: real,
            uid,
            gid,
        })
    }

    pub(super) fn mount_source(&self, path: &Path) -> Result<PathBuf> {
        let failed = |why: &str| {
            let shown = escape_unsafe(&path.to_string_lossy());
            Error::new(
                ErrorKind::Workspace,
                format!("cannot mount '{shown}': {why}"),
            )
            .hint("create the source of the mount first")
        };
        let real =
            fs::canonicalize(path).map_err(|error| failed(&crate::error::os_error_text(&error)))?;
        if real.starts_with(&self.home) {
            let mut error = failed("it is moat's own directory or inside it");
            error.hint = None;
            return Err(error);
        }
        match real.to_str() {
            Some(_) => Ok(real),
            None => Err(failed("its path is not UTF-8").hint(RENAME_HINT)),
        }
    }
}

fn facts(runtime: runtime::RuntimeName, engine: &[(String, String)], kept: &Path) -> EngineFacts {
    let found = runtime.facts(engine, kept);
    found.unwrap_or_else(|| EngineFacts::with_limits(true))
}

/// A path without symbolic links. Its last part may be missing.
fn canonical_path(path: &Path) -> PathBuf {
    let parent = || {
        Some(
            fs::canonicalize(path.parent()?)
                .ok()?
                .join(path.file_name()?),
        )
    };
    let real = fs::canonicalize(path).ok().or_else(parent);
    real.unwrap_or_else(|| path.to_owned())
}

fn unknown_runtime(word: &str) -> Error {
    let supported = runtime::RUNTIMES
        .map(runtime::RuntimeName::as_str)
        .join(", ");
    let word: String = word.chars().take(80).collect();
    Error::new(
        ErrorKind::Runtime,
        format!("unknown runtime '{}'", escape_unsafe(&word)),
    )
    .hint(format!("supported here: {supported}"))
}
