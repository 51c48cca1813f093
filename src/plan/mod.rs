//! From a request and the host to a [`Plan`]: everything that a run will do, checked before anything exists. Pure,
//! except for [`host`], which reads the host.
//!
//! Precedence, from strongest to weakest: flags, the project's `moat.yaml`, the user's `config.yaml`, the defaults.
//! Lists are merged; of two elements with the same name or target the stronger one wins.

mod description;
mod environment;
mod flags;
mod host;
mod identity;
mod image;
mod limits;
mod mount_refusals;
mod mounts;
mod network;
mod planner;
mod runtime_values;
mod secret;
mod service;

pub(crate) use description::describe;
pub(crate) use host::Host;
pub(crate) use runtime_values::{
    LOOPBACK, PublishedService, resolve_run_values, resolve_service_values,
};
pub(crate) use secret::SecretRef;
pub(crate) use service::{PlannedProvision, PlannedService, host_variable, port_variable};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigFile, VolumeKind};
use crate::error::{Error, Result};
use crate::image::ImageRecipe;
use crate::secret::Secret;
use crate::store::{BindMount, IoSettings, RunName, RunSettings};
use crate::term::pty::Size;
use flags::ParsedFlags;
use planner::Planner;

/// The image of a run without another one.
pub(crate) const DEFAULT_IMAGE: &str = "debian:bookworm-slim";

/// A run as the command line requests it: unparsed text.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunRequest {
    pub(crate) workspace: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) env_files: Vec<String>,
    pub(crate) mounts: Vec<String>,
    pub(crate) publish: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) shm_size: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) start_timeout: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) cpus: Option<String>,
    pub(crate) interactive: bool,
    pub(crate) background: bool,
    pub(crate) keep: bool,
    pub(crate) rebuild: bool,
    pub(crate) git: GitAccess,
}

impl RunRequest {
    /// Moves the request into a session: its worktree, and its variables, which other settings may override.
    pub(crate) fn enter_session(&mut self, worktree: PathBuf, variables: Vec<(String, String)>) {
        self.workspace = worktree;
        let own = std::mem::take(&mut self.env);
        for (name, value) in variables {
            self.env.push(format!("{name}={value}"));
        }
        self.env.extend(own);
    }
}

/// Mounts and variables that make git work in a workspace whose repository is outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct GitAccess {
    pub(crate) mounts: Vec<BindMount>,
    pub(crate) env: Vec<(String, String)>,
}

/// The configuration files, the strongest first.
pub(crate) type ConfigLayers<'a> = &'a [&'a ConfigFile];

/// Everything that a run will do. Its serialized form contains neither a value of a variable nor the place of a
/// secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Plan {
    pub(crate) name: Option<RunName>,
    /// Whether the name comes from a file: then moat appends a number if the name is taken.
    pub(crate) name_is_project: bool,
    #[serde(flatten)]
    pub(crate) settings: RunSettings,
    /// How to build a missing image; `None`: moat pulls it.
    pub(crate) build: Option<ImageRecipe>,
    pub(crate) services: Vec<PlannedService>,
    /// A script that runs before the command.
    pub(crate) pre_run: Option<String>,
    pub(crate) env: Vec<Variable>,
    /// Variables whose values moat looks up when the run starts.
    pub(crate) secrets: Vec<SecretRef>,
    pub(crate) volumes: Vec<PlannedVolume>,
    /// The size of the workload's terminal; `None`: no terminal.
    pub(crate) terminal: Option<Size>,
    /// Notices for the user.
    #[serde(skip)]
    pub(crate) notices: Vec<String>,
}

impl Plan {
    /// All variables that have values, each with the container that gets it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (Destination, &Variable)> {
        let of_workload = self
            .env
            .iter()
            .map(|variable| (Destination::Workload, variable));
        let of_services = self.services.iter().flat_map(|service| {
            let variables = service.env.iter();
            variables.map(|variable| (Destination::Service(service.name.clone()), variable))
        });
        of_workload.chain(of_services)
    }

    /// The variables of a container; `None`: the plan has no such service.
    pub(crate) fn variables_of(&mut self, destination: &Destination) -> Option<&mut Vec<Variable>> {
        match destination {
            Destination::Workload => Some(&mut self.env),
            Destination::Service(name) => {
                let mut services = self.services.iter_mut();
                let service = services.find(|service| service.name == *name)?;
                Some(&mut service.env)
            }
        }
    }
}

/// A directory of the project that outlives the run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct PlannedVolume {
    /// `PROJECT/NAME`.
    pub(crate) name: String,
    pub(crate) kind: VolumeKind,
    pub(crate) target: String,
    pub(crate) readonly: bool,
}

/// The container that gets a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Destination {
    Workload,
    /// The service with this name in the run.
    Service(String),
}

/// A variable of the workload's environment. Only its name is ever serialized.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: Secret,
}

impl Variable {
    pub(crate) fn new(name: &str, value: &str) -> Variable {
        Variable {
            name: name.to_owned(),
            value: value.into(),
        }
    }
}

impl From<String> for Variable {
    fn from(name: String) -> Variable {
        Variable {
            name,
            value: Secret::default(),
        }
    }
}

impl From<Variable> for String {
    fn from(variable: Variable) -> String {
        variable.name
    }
}

/// Checks files without a command: plans a run, and returns the notices.
pub(crate) fn check_files(
    workspace: PathBuf,
    files: ConfigLayers<'_>,
    host: &Host,
) -> Result<Vec<String>> {
    let request = RunRequest {
        workspace,
        command: vec!["true".to_owned()],
        ..RunRequest::default()
    };
    plan(&request, files, host).map(|plan| plan.notices)
}

/// Plans only the services, on any runtime.
pub(crate) fn services(files: ConfigLayers<'_>, host: &Host) -> Result<Vec<PlannedService>> {
    let chosen = image::choose(files, host)?;
    let services = service::plan_services(&chosen, files, host);
    planner::finish_files(files, Vec::new())?;
    Ok(services)
}

/// Plans a run. An error names a problem of the command line, or else all problems of the files.
pub(crate) fn plan(request: &RunRequest, files: ConfigLayers<'_>, host: &Host) -> Result<Plan> {
    let mut planner = Planner::new(request, files, host)?;
    let mut workspace = host.workspace(&request.workspace)?;
    if let Some((uid, gid)) = planner.flags.user {
        (workspace.uid, workspace.gid) = (uid, gid);
    }
    let identity = planner.identity(&workspace);
    let dependencies = image::choose(files, host)?;
    planner.refuse_dependencies(&dependencies);
    let services = planner.services(&dependencies);
    let tools = image::tools(dependencies);
    let image = planner.image(&tools, (workspace.uid, workspace.gid))?;
    let limits = planner.limits()?;
    let network = planner.network()?;
    planner.refuse_secret_names();
    let mut env = planner.env()?;
    let rootfs = image.settings.rootfs.as_deref();
    let mounts = planner.mounts(&workspace, rootfs, &mut env)?;
    let project = planner.project();
    let name = planner.flags.name.take();
    let (io, secrets, volumes) = (
        planner.io(),
        planner.secrets(),
        planner.volumes(project.as_ref()),
    );
    let pre_run = planner.strongest(|settings| settings.hooks.pre_run.as_ref());
    let command = planner.command(image.has_own_command);
    // Problems of the files are reported before a missing command.
    let notices = planner.finish()?;
    Ok(Plan {
        name_is_project: name.is_none() && project.is_some(),
        name: name.or(project),
        build: image.build,
        services,
        pre_run,
        secrets,
        volumes,
        env,
        terminal: None,
        settings: RunSettings {
            identity,
            image: image.settings,
            mounts,
            network,
            limits,
            io,
            command: command?,
        },
        notices,
    })
}

impl Planner<'_> {
    fn io(&self) -> IoSettings {
        let of_file = self.settings().any(|settings| settings.interactive);
        IoSettings {
            background: self.request.background,
            interactive: self.request.interactive || of_file,
        }
    }

    /// The command of the request or of the files; empty: the image's own command, if it has one.
    fn command(&self, has_own_command: bool) -> Result<Vec<String>> {
        let of_request = &self.request.command;
        let mut commands = self.settings().map(|settings| &settings.command);
        let command = match of_request.is_empty() {
            true => commands.find(|command| !command.is_empty()),
            false => Some(of_request),
        };
        let command = command.cloned().unwrap_or_default();
        let hint =
            "put the command after '--' (moat run -- npm test), or into moat.yaml as 'command'";
        match command.first() {
            None if has_own_command => Ok(command),
            None => Err(Error::usage("no command was given").hint(hint)),
            Some(word) if word.is_empty() => {
                Err(Error::usage("the command is an empty string").hint(hint))
            }
            Some(_) => Ok(command),
        }
    }
}

#[cfg(test)]
mod tests;
