//! Chooses the runtime of a run, and opens drivers.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::apple::{self, Apple};
use super::bwrap::Bwrap;
use super::capabilities::{Compose, Runtime};
use super::docker::{self, Dialect, Docker, EngineFacts};
use super::error::{Result, RuntimeError};
use crate::program::is_on_path;
use crate::store::RunDir;

/// The runtimes that this program supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeName {
    Apple,
    Docker,
    Podman,
    Bwrap,
}

/// In the order of preference.
pub(crate) const RUNTIMES: [RuntimeName; 4] = [
    RuntimeName::Apple,
    RuntimeName::Docker,
    RuntimeName::Podman,
    RuntimeName::Bwrap,
];

/// Their names, in the same order.
pub(crate) const RUNTIME_NAMES: &[&str] = &["apple", "docker", "podman", "bwrap"];

impl RuntimeName {
    pub(crate) fn as_str(self) -> &'static str {
        RUNTIME_NAMES[self as usize]
    }

    pub(crate) fn parse(word: &str) -> Option<RuntimeName> {
        RUNTIMES.into_iter().find(|name| name.as_str() == word)
    }

    /// Whether containers are created from images.
    pub(crate) fn has_images(self) -> bool {
        self != RuntimeName::Bwrap
    }

    /// Whether its client is installed, whether it works or not.
    pub(crate) fn is_here(self) -> bool {
        match self {
            RuntimeName::Apple => apple::is_here(),
            name => is_on_path(name.as_str()),
        }
    }

    /// Whether it supports this operating system.
    pub(crate) fn is_for_this_system(self) -> bool {
        match self {
            RuntimeName::Apple => cfg!(target_os = "macos"),
            RuntimeName::Bwrap => cfg!(target_os = "linux"),
            RuntimeName::Docker | RuntimeName::Podman => true,
        }
    }

    /// Whether a runtime with images has a capability that some lack.
    pub(crate) fn supports(self, ability: Capability) -> bool {
        match (self, ability) {
            (RuntimeName::Apple, _) | (RuntimeName::Bwrap, Capability::ShmSize) => false,
            (RuntimeName::Docker | RuntimeName::Podman | RuntimeName::Bwrap, _) => true,
        }
    }

    /// The facts about the runtime's engine that a plan depends on; `None` if the engine does not answer. `kept`: the
    /// directory in which facts are kept.
    pub(crate) fn facts(self, engine: &[(String, String)], kept: &Path) -> Option<EngineFacts> {
        let dialect = match self {
            RuntimeName::Docker => Dialect::Docker,
            RuntimeName::Podman => Dialect::Podman,
            RuntimeName::Apple => return Some(EngineFacts::with_limits(true)),
            RuntimeName::Bwrap => {
                return Some(EngineFacts::with_limits(super::bwrap::can_limit()));
            }
        };
        Docker::new(dialect, engine.to_vec(), None).facts(Some(kept))
    }

    /// Whether a mount is possible at a path. `rootfs`: the root directory, if it is not this system's.
    pub(crate) fn can_mount_at(self, rootfs: Option<&Path>, target: &str) -> bool {
        match self {
            RuntimeName::Apple | RuntimeName::Docker | RuntimeName::Podman => true,
            RuntimeName::Bwrap => super::bwrap::can_mount_at(rootfs, target),
        }
    }

    /// The weakness of the runtime's isolation, if it is weaker than a container's.
    pub(crate) fn isolation_warning(self) -> Option<&'static str> {
        match self {
            RuntimeName::Apple | RuntimeName::Docker | RuntimeName::Podman => None,
            RuntimeName::Bwrap => Some(
                "bwrap isolates less than a container: it shares the kernel and a read-only view of this system",
            ),
        }
    }
}

/// A capability that some runtimes with images lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// A file mounted inside a mounted directory.
    FilesInDirectories,
    /// Volumes that belong to the workload's user and that several containers may use.
    Volumes,
    /// Mounts of single files.
    FileMounts,
    /// A limit of processes and threads.
    PidsLimit,
    /// Fractional CPUs.
    FractionalCpus,
    /// Less memory than a small virtual machine needs.
    LowMemory,
    /// The size of `/dev/shm`.
    ShmSize,
    /// Services of a session, which outlive the command that started them.
    SessionServices,
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Opens a driver. `dir`: the run that it serves; drivers without a daemon keep their state there.
pub(crate) fn open(
    name: RuntimeName,
    engine: &[(String, String)],
    dir: Option<&RunDir>,
) -> Box<dyn Runtime> {
    match name {
        RuntimeName::Apple => Box::new(Apple::new(dir.map(RunDir::shared))),
        RuntimeName::Docker => Box::new(Docker::new(Dialect::Docker, engine.to_vec(), None)),
        RuntimeName::Podman => Box::new(Docker::new(
            Dialect::Podman,
            engine.to_vec(),
            dir.map(RunDir::scratch),
        )),
        RuntimeName::Bwrap => Box::new(Bwrap::new(dir.map(RunDir::sandbox))),
    }
}

/// Opens a driver whose requests have this timeout.
pub(crate) fn open_within(
    name: RuntimeName,
    engine: &[(String, String)],
    timeout: Duration,
) -> Box<dyn Runtime> {
    let dialect = match name {
        RuntimeName::Docker => Dialect::Docker,
        RuntimeName::Podman => Dialect::Podman,
        RuntimeName::Apple | RuntimeName::Bwrap => return open(name, engine, None),
    };
    Box::new(Docker::new(dialect, engine.to_vec(), None).with_timeout(timeout))
}

/// The engine that the compose tool uses, with this timeout of its requests.
pub(crate) fn compose_engine(engine: &[(String, String)], timeout: Duration) -> Box<dyn Compose> {
    Box::new(Docker::new(Dialect::Docker, engine.to_vec(), None).with_timeout(timeout))
}

/// The first runtime that responds.
pub(crate) fn choose() -> Result<RuntimeName> {
    if Apple::answers() {
        return Ok(RuntimeName::Apple);
    }
    for (name, dialect) in [
        (RuntimeName::Docker, Dialect::Docker),
        (RuntimeName::Podman, Dialect::Podman),
    ] {
        if is_on_path(name.as_str())
            && Docker::new(dialect, engine_settings(name), None).is_answering()
        {
            return Ok(name);
        }
    }
    if is_on_path("bwrap") {
        return Ok(RuntimeName::Bwrap);
    }
    Err(match cfg!(target_os = "macos") {
        true => RuntimeError::unreachable(
            "no runtime answers here: neither apple nor docker nor podman",
            "start one: 'container system start', or docker; run 'moat doctor'",
        ),
        false => RuntimeError::unreachable(
            "no runtime answers here: neither docker nor podman nor bwrap",
            "install one, e.g. 'apt-get install bubblewrap', or start docker; run 'moat doctor'",
        ),
    })
}

/// The settings in the environment that choose the engine. A run keeps them, so that later commands ask the same
/// engine.
pub(crate) fn engine_settings(name: RuntimeName) -> Vec<(String, String)> {
    let dialect = match name {
        RuntimeName::Docker => Dialect::Docker,
        RuntimeName::Podman => Dialect::Podman,
        RuntimeName::Apple | RuntimeName::Bwrap => return Vec::new(),
    };
    let names = dialect.settings().iter();
    let mut settings: Vec<(String, String)> = names
        .filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), absolute(name, value)))
        })
        .collect();
    if dialect == Dialect::Docker {
        docker::name_context(&mut settings);
        docker::name_config(&mut settings);
    }
    settings
}

/// An engine for display: its name, and the settings that identify it.
pub(crate) fn engine_shown(name: &str, engine: &[(String, String)]) -> String {
    let says = |name: &str| name.ends_with("_HOST") || name.ends_with("_CONTEXT");
    let settings = engine.iter().filter(|(name, _)| says(name));
    let settings: Vec<String> = settings
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match settings.is_empty() {
        true => name.to_owned(),
        false => crate::term::escape_unsafe(&format!("{name} ({})", settings.join(", "))),
    }
}

/// The settings of docker's engine in a context.
pub(crate) fn context_settings(context: &str) -> Result<Vec<(String, String)>> {
    let mut settings = engine_settings(RuntimeName::Docker);
    // This setting takes precedence over a context.
    settings.retain(|(name, _)| !matches!(name.as_str(), "DOCKER_HOST" | "DOCKER_CONTEXT"));
    settings.push(("DOCKER_CONTEXT".to_owned(), context.to_owned()));
    docker::name_config(&mut settings);
    match docker::has_context(&settings, context) {
        true => Ok(settings),
        false => Err(RuntimeError::unreachable(
            format!("docker has no context '{context}'"),
            "see: docker context ls",
        )),
    }
}

/// The address of an engine on another machine, as far as the settings show: directories of this host cannot be
/// mounted there.
pub(crate) fn remote_address(name: RuntimeName, engine: &[(String, String)]) -> Option<String> {
    let address = match name {
        RuntimeName::Docker => docker::address(engine)?,
        RuntimeName::Podman => docker::podmans_address(engine)?,
        RuntimeName::Apple | RuntimeName::Bwrap => return None,
    };
    (!docker::is_local(&address)).then_some(address)
}

/// A relative path is resolved here, because supervisors run in another directory.
fn absolute(name: &str, value: String) -> String {
    let is_path = matches!(name, "DOCKER_CONFIG" | "DOCKER_CERT_PATH")
        || name.starts_with("CONTAINERS_")
        || name.starts_with("XDG_");
    if !is_path {
        return value;
    }
    let path = std::path::absolute(&value).ok();
    path.and_then(|path| path.to_str().map(str::to_owned))
        .unwrap_or(value)
}
