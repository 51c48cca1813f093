//! From what was asked for and what the host is to a [`Plan`]: everything a run will do, checked,
//! before anything exists. Pure but for [`host`], which looks.

mod host;
mod value;

pub(crate) use host::Host;
pub(crate) use value::{duration, since};

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::runtime;
use crate::store::{Mount, NAME_RULE, Name};

/// The image of a run that names none.
pub(crate) const DEFAULT_IMAGE: &str = "debian:bookworm-slim";

/// A run as it was asked for: text, not looked at yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) workspace: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) mounts: Vec<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) cpus: Option<String>,
    pub(crate) interactive: bool,
    pub(crate) background: bool,
    pub(crate) keep: bool,
    pub(crate) rebuild: bool,
}

/// All that a run will do. Serialized, it holds no value of a variable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) name: Option<Name>,
    pub(crate) runtime: String,
    /// The settings that choose the engine, as environment variables.
    pub(crate) engine: Vec<(String, String)>,
    pub(crate) image: Option<String>,
    pub(crate) workspace: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<Variable>,
    pub(crate) mounts: Vec<Mount>,
    /// Directories of the container that are covered with an empty one.
    pub(crate) covered: Vec<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) timeout_seconds: Option<f64>,
    pub(crate) interactive: bool,
    pub(crate) background: bool,
    pub(crate) keep: bool,
    pub(crate) rebuild: bool,
}

impl Plan {
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let seconds = self.timeout_seconds?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A variable of the workload's environment. Only its name is ever serialized.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        let value = String::new();
        Variable { name, value }
    }
}

impl From<Variable> for String {
    fn from(variable: Variable) -> String {
        variable.name
    }
}

/// Makes the plan of a run, or says what is wrong with the request.
pub(crate) fn plan(request: &Request, host: &Host) -> Result<Plan> {
    check_runtime(request, host.runtime)?;
    let name = request.name.as_deref().map(parse_name).transpose()?;
    if request.command.is_empty() {
        return Err(Error::usage("no command was given")
            .hint("put the command after '--': moat run -- npm test"));
    }
    if request.command[0].is_empty() {
        return Err(Error::usage("the command is an empty word")
            .hint("put the command after '--': moat run -- npm test"));
    }
    let workspace = host.workspace(&request.workspace)?;
    Ok(Plan {
        name,
        runtime: host.runtime.to_string(),
        engine: host.engine.clone(),
        image: image(request, host.runtime)?,
        uid: workspace.uid,
        gid: workspace.gid,
        workspace: workspace.path,
        command: request.command.clone(),
        env: variables(request, host)?,
        mounts: mounts(request, host)?,
        covered: workspace.covered,
        memory_bytes: request.memory.as_deref().map(value::memory).transpose()?,
        cpus: request.cpus.as_deref().map(value::cpus).transpose()?,
        timeout_seconds: request
            .timeout
            .as_deref()
            .map(value::duration)
            .transpose()?
            .map(|timeout| timeout.as_secs_f64()),
        interactive: request.interactive,
        background: request.background,
        keep: request.keep,
        rebuild: request.rebuild,
    })
}

fn parse_name(text: &str) -> Result<Name> {
    Name::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        let message = format!("bad name '{}'", crate::term::harmless(&shown));
        Error::usage(message).hint(NAME_RULE)
    })
}

/// What a runtime without images and containers cannot honour is refused, not ignored.
fn check_runtime(request: &Request, runtime: runtime::Name) -> Result<()> {
    if runtime.has_images() {
        return Ok(());
    }
    let asked = [
        ("--image", request.image.is_some()),
        ("--rebuild", request.rebuild),
        ("--keep", request.keep),
        ("--memory", request.memory.is_some()),
        ("--cpus", request.cpus.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::new(
            Kind::Runtime,
            format!("{flag} does not work on {runtime}, which has no images and no limits"),
        )
        .hint(format!(
            "leave out {flag}, or use --runtime {}",
            runtime::Name::Docker
        ))),
    }
}

fn image(request: &Request, runtime: runtime::Name) -> Result<Option<String>> {
    if !runtime.has_images() {
        return Ok(None);
    }
    let image = request.image.as_deref().unwrap_or(DEFAULT_IMAGE);
    value::image(image)?;
    Ok(Some(image.to_owned()))
}

/// The last one of a name counts, as in an `env` command.
fn variables(request: &Request, host: &Host) -> Result<Vec<Variable>> {
    let mut variables: Vec<Variable> = Vec::new();
    for text in &request.env {
        let variable = value::env(text, &host.environment)?;
        variables.retain(|earlier| earlier.name != variable.name);
        variables.push(variable);
    }
    Ok(variables)
}

fn mounts(request: &Request, host: &Host) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for text in &request.mounts {
        let mut mount = value::mount(text)?;
        let taken = mounts.iter().any(|earlier| earlier.target == mount.target);
        if taken {
            let message = format!("two mounts have the target {}", mount.target);
            return Err(Error::usage(message).hint("give each mount its own target"));
        }
        mount.source = host.mount_source(&mount.source)?;
        mounts.push(mount);
    }
    // A mount at /a must not hide one at /a/b.
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(runtime: runtime::Name) -> Host {
        Host {
            runtime,
            engine: Vec::new(),
            home: "/nonexistent".into(),
            environment: Box::new(|name| (name == "TOKEN").then(|| "s3cret".into())),
        }
    }

    fn request() -> Request {
        Request {
            workspace: "/".into(),
            command: vec!["true".into()],
            ..Request::default()
        }
    }

    #[test]
    fn values_are_in_no_serialized_plan() {
        let mut request = request();
        request.env = vec!["TOKEN".into(), "A=b4r".into()];
        let plan = plan(&request, &host(runtime::Name::Docker)).unwrap();
        assert_eq!(plan.env[0].value, "s3cret");
        let text = serde_json::to_string(&plan).unwrap() + &format!("{plan:?}");
        assert!(!text.contains("s3cret") && !text.contains("b4r"), "{text}");
        assert!(text.contains("TOKEN"));
    }

    #[test]
    fn what_bwrap_cannot_honour_is_refused_by_name() {
        for (set, flag) in [
            (
                (|r| r.image = Some("x".into())) as fn(&mut Request),
                "--image",
            ),
            (|r| r.memory = Some("1g".into()), "--memory"),
            (|r| r.cpus = Some("1".into()), "--cpus"),
            (|r| r.keep = true, "--keep"),
            (|r| r.rebuild = true, "--rebuild"),
        ] {
            let mut request = request();
            set(&mut request);
            let error = plan(&request, &host(runtime::Name::Bwrap)).unwrap_err();
            assert!(error.message.contains(flag), "{error}");
        }
    }

    #[test]
    fn the_same_target_twice_is_refused() {
        let mut request = request();
        request.mounts = vec!["/tmp:/a".into(), "/usr:/a/:ro".into()];
        let error = plan(&request, &host(runtime::Name::Docker)).unwrap_err();
        assert!(error.message.contains("/a"), "{error}");
    }
}
