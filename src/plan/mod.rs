//! From a request and the host to a [`Plan`]: everything that a run will do, checked before anything exists. Pure,
//! except for [`host`], which reads the host.
//!
//! Precedence, from strongest to weakest: flags, the project's `moat.yaml`, the user's `config.yaml`, the defaults.
//! Lists are merged; of two elements with the same name or target the stronger one wins.

mod host;
mod image;
mod merge;
mod runtime_values;
mod secret;
mod service;
mod unsupported;

pub(crate) use host::Host;
pub(crate) use runtime_values::{
    LOOPBACK, PublishedService, resolve_run_values, resolve_service_values,
};
pub(crate) use secret::SecretRef;
pub(crate) use service::{PlannedProvision, PlannedService, host_variable, port_variable};

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigFile, PortConfig as ConfigPort, Ulimit, VolumeKind, scalar_values};
use crate::error::{Error, FileProblem, Result};
use crate::image::ImageRecipe;
use crate::runtime;
use crate::store::{BindMount, NAME_RULE, PublishedPort, RunName, RunSession, WorkspaceMode};
use crate::term::pty::Size;
use crate::yaml::message_text;

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
    pub(crate) runtime: String,
    /// The environment variables that select the engine.
    pub(crate) engine: Vec<(String, String)>,
    pub(crate) image: Option<String>,
    /// How to build a missing image; `None`: moat pulls it.
    pub(crate) build: Option<ImageRecipe>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) services: Vec<PlannedService>,
    /// The run's session.
    pub(crate) session: Option<RunSession>,
    /// The root filesystem of a sandbox, if it is not this system's.
    pub(crate) rootfs: Option<PathBuf>,
    pub(crate) workspace: PathBuf,
    pub(crate) workspace_mode: WorkspaceMode,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The working directory of the command; `None`: the workspace.
    #[serde(default)]
    pub(crate) workdir: Option<String>,
    /// The size of `/dev/shm`; `None`: the runtime's.
    #[serde(default)]
    pub(crate) shm_bytes: Option<u64>,
    /// A script that runs before the command.
    pub(crate) pre_run: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<Variable>,
    /// Variables whose values moat looks up when the run starts.
    pub(crate) secrets: Vec<SecretRef>,
    pub(crate) mounts: Vec<BindMount>,
    pub(crate) volumes: Vec<PlannedVolume>,
    /// Empty directories in memory, which belong to the workload's user.
    pub(crate) tmpfs: Vec<String>,
    /// Paths of the container that an empty directory hides.
    pub(crate) hidden: Vec<String>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) pids: Option<u32>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) ulimits: Vec<Ulimit>,
    /// The limit for the command, from its start.
    pub(crate) timeout_seconds: Option<f64>,
    /// The limit for everything before the command: image, services, container.
    #[serde(default)]
    pub(crate) start_timeout_seconds: Option<f64>,
    pub(crate) interactive: bool,
    /// The size of the workload's terminal; `None`: no terminal.
    pub(crate) terminal: Option<Size>,
    pub(crate) background: bool,
    pub(crate) keep: bool,
    pub(crate) rebuild: bool,
    /// Notices for the user.
    #[serde(skip)]
    pub(crate) notices: Vec<String>,
}

impl Plan {
    /// All variables that have values, in a fixed order.
    pub(crate) fn variables_mut(&mut self) -> impl Iterator<Item = &mut Variable> {
        let services = self
            .services
            .iter_mut()
            .flat_map(|service| &mut service.env);
        self.env.iter_mut().chain(services)
    }
}

/// A dependency of the project that the image contains.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None`: the newest version, or the distribution's.
    pub(crate) version: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The dependency that requires this one, if the project does not name it.
    pub(crate) required_by: Option<String>,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        match &self.required_by {
            Some(because) => write!(f, " (required by {because})"),
            None => Ok(()),
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

impl Plan {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let seconds = self.timeout_seconds?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    pub(crate) fn start_timeout(&self) -> Option<Duration> {
        let seconds = self.start_timeout_seconds?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A variable of the workload's environment. Only its name is ever serialized.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl From<String> for Variable {
    fn from(name: String) -> Variable {
        Variable {
            name,
            value: String::new(),
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
    let mut chosen = image::choose(files, host)?;
    chosen.retain(|chosen| chosen.entry.service().is_some());
    let services = service::plan_services(&chosen, files, host);
    finish(files, Vec::new())?;
    Ok(services)
}

/// Plans a run. An error names a problem of the command line, or else all problems of the files.
pub(crate) fn plan(request: &RunRequest, files: ConfigLayers<'_>, host: &Host) -> Result<Plan> {
    let flags = ParsedFlags::read(request, host)?;
    let mut workspace = host.workspace(&request.workspace)?;
    if let Some((uid, gid)) = flags.user {
        (workspace.uid, workspace.gid) = (uid, gid);
    }
    // Problems without a position in a configuration file.
    let mut problems: Vec<FileProblem> = Vec::new();
    let mut notes = Vec::new();
    unsupported::check(request, files, host, &mut notes)?;
    unsupported::check_owner(files, host, workspace.uid);
    unsupported::check_secret_names(files, host);
    let env_files = merge::env_files_of_flags(&request.env_files, host, &mut problems)?;
    let mut env = merge::env(&flags.env, &env_files, files, host, &mut problems);
    let mut mounts = merge::mounts(&flags.mounts, files, host, &workspace.path)?;
    let chosen = image::choose(files, host)?;
    unsupported::check_dependencies(files, &chosen, host);
    let (services, tools) = chosen
        .into_iter()
        .partition::<Vec<_>, _>(|chosen| chosen.entry.service().is_some());
    let mut services = service::plan_services(&services, files, host);
    services.retain(|_| host.runtime.has_images());
    let image = image::plan_image(request, files, host, &tools, (workspace.uid, workspace.gid))?;
    // A built image has no entry point, and a script runs before a command that moat knows.
    let has_script = files
        .iter()
        .any(|file| file.settings.hooks.pre_run.is_some());
    let has_own_command = image.is_chosen && image.build.is_none() && !has_script;
    let rootfs = image.rootfs.as_deref();
    unsupported::check_mount_points(&mut mounts.mounts, files, host, rootfs, &mut notes)?;
    unsupported::check_files(&mut mounts.mounts, files, host, &mut notes)?;
    if !host.runtime.has_images() && rootfs.is_none() {
        merge::certificates(&mut mounts.mounts, &mut env, files, host)?;
    }
    let mode = first_set(
        files
            .iter()
            .map(|file| file.settings.workspace_mode.as_ref()),
    );
    let workspace_mode = mode.unwrap_or_default();
    unsupported::check_remote(request, files, host, workspace_mode, &mut notes)?;
    unsupported::check_foreign_users(request, files, host, workspace_mode, &mut notes)?;
    if workspace_mode == WorkspaceMode::Bind {
        merge::git(&mut mounts.mounts, &mut env, &request.git, host, rootfs);
    }
    if host.remote.is_none() && host.git_distrusts(&workspace.path, workspace.uid) {
        merge::trust_workspace(&mut env);
    }
    finish(files, problems)?;
    let settings = || files.iter().map(|file| &file.settings);
    let container = || settings().map(|settings| &settings.container);
    // Limits that the engine lacks are refused, except those of `config.yaml`, which are ignored here.
    let available = host.facts.limits;
    let limits = |is_available: bool| container().filter(move |_| is_available);
    let project_name = settings().find_map(|settings| settings.name.clone());
    Ok(Plan {
        name_is_project: flags.name.is_none() && project_name.is_some(),
        volumes: merge::volumes(
            &flags.mounts,
            files,
            project_name.as_ref().map(|name| &name.value),
        ),
        name: flags.name.or(project_name.map(|name| name.value)),
        runtime: host.runtime.to_string(),
        engine: host.engine.clone(),
        image: image.name,
        build: image.build,
        dependencies: image.dependencies,
        services,
        session: None,
        rootfs: image.rootfs,
        workspace: workspace.path,
        workspace_mode,
        uid: workspace.uid,
        gid: workspace.gid,
        pre_run: first_set(settings().map(|s| s.hooks.pre_run.as_ref())),
        command: command(request, files, has_own_command)?,
        workdir: flags.workdir,
        shm_bytes: flags.shm_bytes,
        secrets: merge::secrets(&flags.env, files),
        env,
        mounts: mounts.mounts,
        hidden: hidden_paths([workspace.hidden, mounts.hidden].concat(), &mounts.tmpfs),
        tmpfs: mounts.tmpfs,
        ports: published_ports(flags.ports, files),
        memory_bytes: flags.memory_bytes.or(first_set(
            limits(available.memory).map(|c| c.memory_bytes.as_ref()),
        )),
        cpus: flags
            .cpus
            .or(first_set(limits(available.cpus).map(|c| c.cpus.as_ref()))),
        pids: first_set(limits(available.pids).map(|c| c.pids.as_ref())),
        dns: match host.runtime.has_images() {
            true => first_nonempty(
                container().map(|c| c.dns.iter().map(|server| server.value).collect()),
            ),
            false => Vec::new(),
        },
        ulimits: merge::ulimits(files),
        timeout_seconds: flags
            .timeout
            .or(first_set(settings().map(|s| s.timeout.as_ref())))
            .map(|timeout| timeout.as_secs_f64()),
        start_timeout_seconds: flags
            .start_timeout
            .or(first_set(settings().map(|s| s.start_timeout.as_ref())))
            .map(|timeout| timeout.as_secs_f64()),
        interactive: request.interactive || settings().any(|s| s.interactive),
        terminal: None,
        background: request.background,
        keep: request.keep,
        rebuild: request.rebuild,
        notices: notes,
    })
}

/// Returns all problems of the files as one error; `more`: problems without a position in them.
fn finish(files: ConfigLayers<'_>, more: Vec<FileProblem>) -> Result<()> {
    let mut problems = Vec::new();
    for file in files {
        if let Err(error) = file.source.finish() {
            problems.extend(error.problems);
        }
    }
    problems.extend(more);
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::problems(problems)),
    }
}

/// The hidden paths that no excluded directory hides already.
fn hidden_paths(mut paths: Vec<String>, excluded: &[String]) -> Vec<String> {
    let is_hidden = |path: &String| {
        let mut excluded = excluded.iter();
        excluded.any(|dir| dir == path || runtime::is_below(path, dir))
    };
    paths.retain(|path| !is_hidden(path));
    paths
}

/// The first value that is set.
fn first_set<'a, T: Clone + 'a>(
    mut values: impl Iterator<Item = Option<&'a crate::yaml::Placed<T>>>,
) -> Option<T> {
    values.find_map(|value| value.map(|value| value.value.clone()))
}

/// The first list that is not empty.
fn first_nonempty<T>(mut lists: impl Iterator<Item = Vec<T>>) -> Vec<T> {
    lists.find(|list| !list.is_empty()).unwrap_or_default()
}

/// The ports of flags, and those of files that no flag publishes.
fn published_ports(mut ports: Vec<PublishedPort>, files: ConfigLayers<'_>) -> Vec<PublishedPort> {
    let flags = ports.len();
    for port in files.iter().flat_map(|file| &file.settings.ports) {
        let of_flag = ports[..flags]
            .iter()
            .any(|flag| flag.container == port.value.container);
        if !of_flag {
            ports.push(published_port(&port.value));
        }
    }
    ports
}

fn published_port(port: &ConfigPort) -> PublishedPort {
    PublishedPort {
        name: port.name.clone(),
        container: port.container,
        host: port.host,
    }
}

/// The parsed values of flags.
struct ParsedFlags {
    name: Option<RunName>,
    env: Vec<Variable>,
    mounts: Vec<BindMount>,
    ports: Vec<PublishedPort>,
    workdir: Option<String>,
    user: Option<(u32, u32)>,
    shm_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    cpus: Option<f64>,
    timeout: Option<Duration>,
    start_timeout: Option<Duration>,
}

impl ParsedFlags {
    fn read(request: &RunRequest, host: &Host) -> Result<ParsedFlags> {
        Ok(ParsedFlags {
            name: request.name.as_deref().map(parse_name).transpose()?,
            env: variables(request, host)?,
            mounts: mounts(request, host)?,
            ports: ports(request)?,
            workdir: request
                .workdir
                .as_deref()
                .map(scalar_values::workdir)
                .transpose()?,
            user: request
                .user
                .as_deref()
                .map(scalar_values::user)
                .transpose()?,
            shm_bytes: request
                .shm_size
                .as_deref()
                .map(scalar_values::shm_size)
                .transpose()?,
            memory_bytes: request
                .memory
                .as_deref()
                .map(scalar_values::memory)
                .transpose()?,
            cpus: request
                .cpus
                .as_deref()
                .map(scalar_values::cpus)
                .transpose()?,
            timeout: request
                .timeout
                .as_deref()
                .map(scalar_values::duration)
                .transpose()?,
            start_timeout: request
                .start_timeout
                .as_deref()
                .map(scalar_values::duration)
                .transpose()?,
        })
    }
}

fn parse_name(text: &str) -> Result<RunName> {
    RunName::parse(text)
        .ok_or_else(|| Error::usage(format!("bad name '{}'", message_text(text))).hint(NAME_RULE))
}

/// The command of the request or of the files; empty: the image's own command, if the image `has_own_command`.
fn command(
    request: &RunRequest,
    files: ConfigLayers<'_>,
    has_own_command: bool,
) -> Result<Vec<String>> {
    let from_file = || first_nonempty(files.iter().map(|file| file.settings.command.clone()));
    let command = match request.command.is_empty() {
        true => from_file(),
        false => request.command.clone(),
    };
    let hint = "put the command after '--' (moat run -- npm test), or into moat.yaml as 'command'";
    match command.first() {
        None if has_own_command => Ok(command),
        None => Err(Error::usage("no command was given").hint(hint)),
        Some(word) if word.is_empty() => {
            Err(Error::usage("the command is an empty string").hint(hint))
        }
        Some(_) => Ok(command),
    }
}

/// The last of several flags with one name wins, as with `env`.
fn variables(request: &RunRequest, host: &Host) -> Result<Vec<Variable>> {
    let mut variables: Vec<Variable> = Vec::new();
    for text in &request.env {
        let (name, value) = scalar_values::env(text, &host.environment)?;
        variables.retain(|earlier| earlier.name != name);
        variables.push(Variable { name, value });
    }
    Ok(variables)
}

fn ports(request: &RunRequest) -> Result<Vec<PublishedPort>> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for text in &request.publish {
        let (host, container) = scalar_values::publish(text)?;
        if ports.iter().any(|earlier| earlier.container == container) {
            let message = format!("two flags publish the port {container}");
            return Err(Error::usage(message).hint("leave out one of them"));
        }
        ports.push(PublishedPort {
            name: container.to_string(),
            container,
            host,
        });
    }
    Ok(ports)
}

fn mounts(request: &RunRequest, host: &Host) -> Result<Vec<BindMount>> {
    let mut mounts: Vec<BindMount> = Vec::new();
    for text in &request.mounts {
        let mut mount = scalar_values::mount(text)?;
        let taken = mounts.iter().any(|earlier| earlier.target == mount.target);
        if taken {
            let message = format!("two mounts have the target {}", mount.target);
            return Err(Error::usage(message).hint("give each mount its own target"));
        }
        mount.source = host.mount_source(&mount.source)?;
        mounts.push(mount);
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests;
