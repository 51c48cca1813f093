//! One thing to depend on, and how an image gets it.

use serde::Serialize;

use super::service::ServiceTemplate;

/// An entry of the registry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegistryEntry {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The version when none is asked for. Not set: the newest, or the distribution's.
    pub(crate) default: Option<String>,
    /// The only ones there are. Empty: any.
    pub(crate) versions: Vec<String>,
    /// Other entries, which come with it.
    pub(crate) requires: Vec<String>,
    /// Packages of the distribution that it needs.
    pub(crate) apt: Vec<String>,
    /// Variables of the image, or of the service.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) kind: EntryKind,
    pub(crate) origin: EntryOrigin,
}

/// How it is installed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntryKind {
    Runtime(LanguageRuntime),
    /// Packages of the distribution.
    Apt(Vec<String>),
    /// The name of the package.
    Npm(String),
    Pip(String),
    UvTool(String),
    Cargo(String),
    GoInstall(String),
    GithubBinary(GithubBinary),
    /// A script for `sh -eu`, run as root.
    Custom(String),
    /// A sidecar.
    Service(Box<ServiceTemplate>),
    /// Nothing but what it requires.
    Meta,
}

/// An interpreter or compiler with an image of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LanguageRuntime {
    /// With `{version}` in it.
    pub(crate) image: String,
    /// The directories of that image that are copied onto another base.
    pub(crate) copy: Vec<String>,
    /// The distribution's own packages, for the version `distro`.
    pub(crate) distro: Vec<String>,
    /// A command that fails if it does not work.
    pub(crate) check: Option<String>,
    /// Directories in front of PATH.
    pub(crate) path: Vec<String>,
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GithubBinary {
    pub(crate) repo: String,
    /// With `{version}` in it.
    pub(crate) tag: String,
    /// With `{version}`, `{arch}` and `{target}` in it.
    pub(crate) asset: String,
    /// What `{target}` is on amd64 and on arm64.
    pub(crate) targets: Option<(String, String)>,
    /// The program's path inside the archive; the same placeholders.
    pub(crate) bin: Option<String>,
    /// What it is called when installed.
    pub(crate) command: String,
}

/// Where an entry comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EntryOrigin {
    BuiltIn,
    /// A file of the person's own, as people call it.
    File(String),
    /// Made from a name such as `npm:typescript`.
    Dynamic,
}

/// The version of a runtime that means the distribution's packages.
pub(crate) const DISTRO: &str = "distro";

impl RegistryEntry {
    /// The word for its type in `registry.yaml`.
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

    /// Whether a version can be asked for.
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
                // A runtime's images have a tag for every patch version, too.
                EntryKind::Runtime(_) => rest.is_empty() || rest.starts_with('.') && numbers(rest),
                _ => rest.is_empty(),
            })
        };
        match &self.kind {
            // Of those that are not listed there are images of numbers alone.
            EntryKind::Runtime(_) if self.versions.is_empty() => numbers(version),
            _ => self.versions.is_empty() || self.versions.iter().any(covers),
        }
    }

    /// The versions to choose from, for messages.
    pub(crate) fn version_list(&self) -> Vec<&str> {
        let mut versions: Vec<&str> = self.versions.iter().map(String::as_str).collect();
        if matches!(&self.kind, EntryKind::Runtime(runtime) if !runtime.distro.is_empty()) {
            versions.push(DISTRO);
        }
        versions
    }
}
