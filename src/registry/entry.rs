//! A possible dependency, and its installation in an image.

use serde::Serialize;

use super::service::ServiceTemplate;

/// An entry of the registry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegistryEntry {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The version if the project names none; `None`: the newest, or the distribution's.
    pub(crate) default: Option<String>,
    /// All available versions. Empty: any.
    pub(crate) versions: Vec<String>,
    /// Entries that come with this one.
    pub(crate) requires: Vec<String>,
    /// The distribution's packages that the entry needs.
    pub(crate) apt: Vec<String>,
    /// Variables of the image, or of the service.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) kind: EntryKind,
    pub(crate) origin: EntryOrigin,
}

/// The kind of installation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntryKind {
    Runtime(LanguageRuntime),
    /// The distribution's packages.
    Apt(Vec<String>),
    /// The name of a package of npm.
    Npm(String),
    Pip(String),
    UvTool(String),
    Cargo(String),
    GoInstall(String),
    GithubBinary(GithubBinary),
    /// A script for `sh -eu`, run as root.
    Custom(String),
    /// A service.
    Service(Box<ServiceTemplate>),
    /// No installation: the entry only requires other entries.
    Meta,
}

/// An interpreter or compiler with its own image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LanguageRuntime {
    /// Contains `{version}`.
    pub(crate) image: String,
    /// The directories of that image that are copied to another base image.
    pub(crate) copy: Vec<String>,
    /// The distribution's packages, for the version `distro`.
    pub(crate) distro: Vec<String>,
    /// A command that fails if the runtime does not work.
    pub(crate) check: Option<String>,
    /// Directories that are added at the beginning of PATH.
    pub(crate) path: Vec<String>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GithubBinary {
    pub(crate) repo: String,
    /// Contains `{version}`.
    pub(crate) tag: String,
    /// Contains `{version}`, `{arch}` and `{target}`.
    pub(crate) asset: String,
    /// The value of `{target}` on amd64 and on arm64.
    pub(crate) targets: Option<(String, String)>,
    /// The program's path inside the archive, with the same placeholders.
    pub(crate) bin: Option<String>,
    /// The name of the installed program.
    pub(crate) command: String,
}

/// The origin of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EntryOrigin {
    BuiltIn,
    /// A file of the user, by its path for messages.
    File(String),
    /// Created from a name such as `npm:typescript`.
    Dynamic,
}

/// The version of a runtime that means the distribution's packages.
pub(crate) const DISTRO: &str = "distro";

impl RegistryEntry {
    /// The value of `type` in `registry.yaml`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            EntryKind::Runtime(_) => "runtime",
            EntryKind::Apt(_) => "apt",
            EntryKind::Npm(_) => "npm",
            EntryKind::Pip(_) => "pip",
            EntryKind::UvTool(_) => "uv-tool",
            EntryKind::Cargo(_) => "cargo",
            EntryKind::GoInstall(_) => "go-install",
            EntryKind::GithubBinary(_) => "github-binary",
            EntryKind::Custom(_) => "custom",
            EntryKind::Service(_) => "service",
            EntryKind::Meta => "meta",
        }
    }

    /// Whether a project can choose a version.
    pub(crate) fn has_versions(&self) -> bool {
        !matches!(self.kind, EntryKind::Apt(_) | EntryKind::Meta)
    }

    /// Whether the version exists, as far as the registry knows.
    pub(crate) fn has_version(&self, version: &str) -> bool {
        if let EntryKind::Runtime(runtime) = &self.kind
            && version == DISTRO
        {
            return !runtime.distro.is_empty();
        }
        let numbers = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        let covers = |listed: &String| {
            let rest = version.strip_prefix(listed.as_str());
            rest.is_some_and(|rest| match self.kind {
                // The images of a runtime have tags for patch versions, too.
                EntryKind::Runtime(_) => rest.is_empty() || rest.starts_with('.') && numbers(rest),
                _ => rest.is_empty(),
            })
        };
        match &self.kind {
            // A runtime without listed versions has images for every number.
            EntryKind::Runtime(_) if self.versions.is_empty() => numbers(version),
            _ => self.versions.is_empty() || self.versions.iter().any(covers),
        }
    }

    /// The available versions, for messages.
    pub(crate) fn version_list(&self) -> Vec<&str> {
        let mut versions: Vec<&str> = self.versions.iter().map(String::as_str).collect();
        if matches!(&self.kind, EntryKind::Runtime(runtime) if !runtime.distro.is_empty()) {
            versions.push(DISTRO);
        }
        versions
    }
}
