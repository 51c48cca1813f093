//! The configuration files that apply to a command, and the host that they and the flags describe.

use std::path::Path;

use crate::config;
use crate::error::Result;
use crate::plan::Host;
use crate::runtime;
use crate::store::Home;
use crate::term::EscapePrefix;

/// The configuration files of a run.
pub(crate) struct ConfigFiles {
    project: Option<config::ConfigFile>,
    defaults: Option<config::UserDefaults>,
}

impl ConfigFiles {
    pub(crate) fn read(workspace: &Path, home: &Home) -> Result<ConfigFiles> {
        let defaults = config::defaults(&home.config())?;
        let dir = std::path::absolute(workspace).unwrap_or_else(|_| workspace.to_owned());
        Ok(ConfigFiles {
            project: config::project(&dir, workspace)?,
            defaults,
        })
    }

    /// Returns the files that exist, in order of precedence.
    pub(crate) fn all(&self) -> Vec<&config::ConfigFile> {
        let defaults = self.defaults.as_ref().map(|defaults| &defaults.file);
        self.project.iter().chain(defaults).collect()
    }

    pub(crate) fn has_project(&self) -> bool {
        self.project.is_some()
    }

    /// Returns whether the project's file has dependencies or services.
    pub(crate) fn has_dependencies(&self) -> bool {
        self.project.as_ref().is_some_and(|file| {
            let settings = &file.settings;
            !settings.dependencies.is_empty() || !settings.services.is_empty()
        })
    }

    /// Returns the session settings of the project's file.
    pub(crate) fn session(&self) -> config::SessionSettings {
        let project = self.project.as_ref();
        project.map_or_else(Default::default, |file| file.settings.session.clone())
    }

    /// Whether they want an image to be built. `services`: so many of the dependencies are no part of it.
    pub(crate) fn build(&self, services: usize) -> bool {
        self.all().iter().any(|file| {
            let (hooks, container) = (&file.settings.hooks, &file.settings.container);
            file.settings.dependencies.len() > services
                || hooks.post_build_root.is_some()
                || hooks.post_build.is_some()
                || container
                    .host_ca
                    .as_ref()
                    .is_some_and(|wanted| wanted.value)
        })
    }

    /// Returns the escape key of interactive runs, if there is one.
    pub(crate) fn escape(&self) -> Option<EscapePrefix> {
        prefix(self.defaults.as_ref())
    }

    pub(crate) fn background(&self) -> bool {
        self.defaults
            .as_ref()
            .is_some_and(|defaults| defaults.background)
    }
}

/// Returns the escape key of `moat exec`, to which no project's file applies.
pub(crate) fn escape(home: &Home) -> Result<Option<EscapePrefix>> {
    Ok(prefix(config::defaults(&home.config())?.as_ref()))
}

fn prefix(defaults: Option<&config::UserDefaults>) -> Option<EscapePrefix> {
    let own = defaults.and_then(|defaults| defaults.escape);
    own.unwrap_or(Some(EscapePrefix::default()))
}

/// Returns the host with its runtime: from the flag, the files, the environment, or else from `choose`.
pub(crate) fn host(
    flag: Option<&str>,
    files: &ConfigFiles,
    home: &Home,
    choose: fn() -> runtime::Result<runtime::RuntimeName>,
) -> Result<Host> {
    let all = files.all();
    let named = all.iter().find_map(|file| file.settings.runtime.as_ref());
    match (flag, named) {
        (None, Some(word)) => match runtime::RuntimeName::parse(&word.value) {
            Some(_) => Host::here(Some(&word.value), home, || Ok(choose()?)),
            // The plan reports the unknown word; which runtime it is then does not matter.
            None => Host::here(Some(runtime::RuntimeName::Docker.as_str()), home, || {
                Ok(choose()?)
            }),
        },
        (flag, _) => Host::here(flag, home, || Ok(choose()?)),
    }
}
