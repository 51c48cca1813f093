//! Projects of the compose tool: the tool, of either generation, creates them; moat finds and removes them by label,
//! with the engine alone.
//!
//! Measured with 1.29.2. The same command lines are documented for the second generation (`docker compose`).

use std::collections::VecDeque;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::super::child;
use super::super::client_call::{HOME_LABEL, ROLE_LABEL, SERVICE_LABEL, SESSION_LABEL};
use super::super::error::{Result, RuntimeError};
use super::{Dialect, Docker, PULL_TIMEOUT, ping};

/// Timeout of the tool for reading a file.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Long, because every service has its own grace period.
const STOP_TIMEOUT: Duration = Duration::from_secs(900);

/// Number and delay of attempts to remove a resource that is in use.
const REMOVE_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// Number of the tool's last lines that are shown in an error.
const ERROR_LINES: usize = 12;

/// The commands of the tool, the newer generation first.
const TOOL_COMMANDS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];

/// The compose tool.
pub(crate) struct ComposeTool {
    words: &'static [&'static str],
    engine: Vec<(String, String)>,
}

/// The tool's arguments that describe a project.
pub(crate) struct ComposeProject<'a> {
    pub(crate) name: &'a str,
    /// The base directory of relative paths in its files.
    pub(crate) dir: &'a Path,
    pub(crate) files: Vec<&'a Path>,
    pub(crate) env: &'a [(String, String)],
}

/// A container of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The incarnation of the session.
    pub(crate) session: String,
    pub(crate) service: String,
    pub(crate) state: ContainerState,
    pub(crate) networks: Vec<String>,
    /// The published ports: pairs of host port and container port.
    pub(crate) ports: Vec<(u16, u16)>,
}

/// The state of a container, as its engine reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Running without a health check, or healthy.
    Running {
        tested: bool,
    },
    /// Running with an unknown health.
    Starting,
    Unhealthy,
    /// Exited with this code, if it is known.
    Ended(Option<u8>),
    /// Created, paused or restarting.
    Other,
}

/// The resources of a session to remove. A stopped container keeps its anonymous volumes, and the tool passes them on
/// to the container that replaces it.
#[derive(Clone, Copy)]
pub(crate) enum Removal<'a> {
    /// The containers of `new` services; those of `old` ones are stopped, because they may contain data.
    Services {
        new: &'a [&'a str],
        old: &'a [&'a str],
    },
    /// Nothing: all containers are stopped.
    Nothing,
    Everything,
}

impl ComposeTool {
    /// Finds the installed tool. Only the first call asks for it: an `up` needs the tool twice, and the older generation
    /// takes most of a second to answer.
    pub(crate) fn find(engine: &[(String, String)]) -> Result<ComposeTool> {
        static INSTALLED: OnceLock<&[&str]> = OnceLock::new();
        let installed = INSTALLED.get();
        let is_possible = |words: &&[&str]| installed.is_none_or(|installed| installed == words);
        for words in TOOL_COMMANDS.into_iter().filter(is_possible) {
            let mut tool = ComposeTool {
                words,
                engine: engine.to_vec(),
            };
            // The older generation does not know contexts.
            if let Some(address) = ping::address(engine).filter(|at| at.starts_with("unix://")) {
                tool.engine.retain(|(name, _)| name != "DOCKER_CONTEXT");
                tool.engine.push(("DOCKER_HOST".to_owned(), address));
            }
            let answers = || {
                let mut command = tool.command();
                let answer = child::run(command.arg("version"), b"", READ_TIMEOUT, &|| true);
                answer.is_ok_and(|output| output.success)
            };
            if installed.is_some() || answers() {
                let _ = INSTALLED.set(words);
                return Ok(tool);
            }
        }
        Err(RuntimeError::unreachable(
            "there is no compose tool: neither 'docker compose' nor 'docker-compose' answers",
            "install one, e.g. 'apt-get install docker-compose'",
        ))
    }

    /// The tool's name.
    pub(crate) fn name(&self) -> String {
        self.words.join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.words[0]);
        crate::program::clear_environment(&mut command, "compose");
        for name in Dialect::Docker.settings() {
            command.env_remove(name);
        }
        command
            .args(&self.words[1..])
            .envs(self.engine.iter().map(|(name, value)| (name, value)))
            // The choice of services must not depend on the caller's profiles.
            .env("COMPOSE_PROFILES", "*");
        command
    }

    fn for_project(&self, project: &ComposeProject<'_>) -> Command {
        let mut command = self.command();
        for file in &project.files {
            command.arg("-f").arg(file);
        }
        command
            .args(["-p", project.name, "--project-directory"])
            .arg(project.dir)
            .current_dir(project.dir)
            .envs(project.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The files of a project as one document, with variables and relative paths resolved. Makes nothing.
    pub(crate) fn resolve(
        &self,
        project: &ComposeProject<'_>,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<String> {
        let mut command = self.for_project(project);
        let output = child::run(command.arg("config"), b"", READ_TIMEOUT, should_continue)
            .map_err(|error| self.failed(&error))?;
        match output.success {
            true => Ok(output.stdout),
            false => Err(RuntimeError::Refused(output.stderr.trim().to_owned())),
        }
    }

    /// Runs the tool on a project, and passes on every line of its output. The last lines are part of the error.
    pub(crate) fn run(
        &self,
        project: &ComposeProject<'_>,
        args: &[&str],
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut last = VecDeque::with_capacity(ERROR_LINES);
        let mut command = self.for_project(project);
        command.args(args).env("BUILDKIT_PROGRESS", "plain");
        let status = child::run_lines(&mut command, PULL_TIMEOUT, should_continue, &mut |line| {
            if last.len() == ERROR_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
            tell(line);
        });
        match status.map_err(|error| self.failed(&error))?.success() {
            true => Ok(()),
            false => Err(RuntimeError::Refused(last.make_contiguous().join("\n"))),
        }
    }

    fn failed(&self, error: &std::io::Error) -> RuntimeError {
        let reason = crate::error::os_error_text(error);
        RuntimeError::Transient(format!("{}: {reason}", self.name()))
    }
}

/// The labels of a session's resources.
pub(crate) fn session_labels(home: &str, incarnation: &str) -> [(&'static str, String); 3] {
    [
        (HOME_LABEL, home.to_owned()),
        (ROLE_LABEL, COMPOSE_ROLE.to_owned()),
        (SESSION_LABEL, incarnation.to_owned()),
    ]
}

/// The label with the name of a container's service.
pub(crate) const SESSION_SERVICE_LABEL: &str = SERVICE_LABEL;

const COMPOSE_ROLE: &str = "compose";

/// The label that all resources of a session have, and no other ones.
fn is_ours() -> String {
    format!("label={ROLE_LABEL}={COMPOSE_ROLE}")
}

fn engine_of(engine: &[(String, String)]) -> Docker {
    Docker::new(Dialect::Docker, engine.to_vec(), None)
}

/// The containers of the compose services of all sessions of all homes, running or not.
pub(crate) fn session_containers(
    engine: &[(String, String)],
    timeout: Duration,
) -> Result<Vec<SessionContainer>> {
    let docker = engine_of(engine).with_timeout(timeout);
    containers(&docker, &format!("label={SESSION_LABEL}"))
}

/// An image that was built for a session, or a named volume.
pub(crate) struct SessionStorage {
    pub(crate) name: String,
    /// The incarnation of the session.
    pub(crate) session: String,
}

/// The images and volumes of all sessions of a home.
pub(crate) fn session_storage(
    engine: &[(String, String)],
    home: &str,
) -> Result<(Vec<SessionStorage>, Vec<SessionStorage>)> {
    let docker = engine_of(engine);
    let (filter, ours) = (format!("label={HOME_LABEL}={home}"), is_ours());
    let filters = ["--filter", &filter, "--filter", &ours];
    let format = format!("{{{{.Name}}}}\t{{{{.Label \"{SESSION_LABEL}\"}}}}");
    let list = ["volume", "ls", "--format", &format];
    let volumes = docker.run_client(&[&list[..], &filters].concat())?.stdout;
    let volumes = volumes
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, session)| SessionStorage {
            name: name.to_owned(),
            session: session.to_owned(),
        });
    Ok((own_images(&docker, &filter)?, volumes.collect()))
}

/// The names of images with a session's label and a matching name; the ids of those without a name. An image that a
/// user derived from one has the label as well, but another name.
fn own_images(docker: &Docker, filter: &str) -> Result<Vec<SessionStorage>> {
    let ours = is_ours();
    let list = ["image", "ls", "--quiet", "--no-trunc", "--filter", filter];
    let ids = docker.run_client(&[&list[..], &["--filter", &ours]].concat())?;
    let ids = unique(&ids.stdout);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = format!(
        "{{{{.Id}}}}\t{{{{index .Config.Labels \"{SESSION_LABEL}\"}}}}\t{{{{range .RepoTags}}}}{{{{.}}}} {{{{end}}}}"
    );
    let mut inspect = vec!["image", "inspect", "--format", &format];
    inspect.extend(ids.iter().map(String::as_str));
    let images = docker.run_client(&inspect)?.stdout;
    Ok(images.lines().flat_map(own_names).collect())
}

fn own_names(line: &str) -> Vec<SessionStorage> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, session, tags] = fields[..] else {
        return Vec::new();
    };
    // As in the project's name.
    let end = format!("-{}", session.to_ascii_lowercase());
    let is_own = |tag: &&str| {
        let project = tag.split_once('/').map(|(project, _)| project);
        project.is_some_and(|project| project.starts_with("moat-") && project.ends_with(&end))
    };
    let names: Vec<&str> = match tags.is_empty() {
        true => vec![id],
        false => tags.split_whitespace().filter(is_own).collect(),
    };
    let stored = |name: &str| SessionStorage {
        name: name.to_owned(),
        session: session.to_owned(),
    };
    names.into_iter().map(stored).collect()
}

/// Removes duplicate lines: an image with several names is listed several times.
fn unique(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Removes a name of an image; the image goes with its last name. A missing one is fine.
pub(crate) fn remove_image(engine: &[(String, String)], name: &str) -> Result<()> {
    super::ignore_not_found(engine_of(engine).run_client(&["image", "rm", "--force", name]))
}

fn containers(docker: &Docker, filter: &str) -> Result<Vec<SessionContainer>> {
    let format = format!(
        "{{{{.ID}}}}\t{{{{.Names}}}}\t{{{{.Label \"{SESSION_LABEL}\"}}}}\t{{{{.Label \"{SERVICE_LABEL}\"}}}}\t{{{{.State}}}}\t{{{{.Status}}}}\t{{{{.Networks}}}}\t{{{{.Ports}}}}"
    );
    let args = ["ps", "--all", "--no-trunc", "--filter", filter];
    let more = ["--filter", &is_ours(), "--format", &format];
    let output = docker.run_client(&[&args[..], &more].concat())?;
    Ok(output.stdout.lines().filter_map(container).collect())
}

/// Parses a line of the list; `None` if it belongs to no session.
fn container(line: &str) -> Option<SessionContainer> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, name, session, service, state, status, networks, ports] = fields[..] else {
        return None;
    };
    (!session.is_empty()).then(|| SessionContainer {
        id: id.to_owned(),
        name: name.to_owned(),
        session: session.to_owned(),
        service: service.to_owned(),
        state: state_of(state, status),
        networks: networks.split(',').map(str::to_owned).collect(),
        ports: ports.split(", ").flat_map(published).collect(),
    })
}

/// Parses `127.0.0.1:5512->5432/tcp`; adjacent ports share an entry, `127.0.0.1:5512-5513->5432-5433/tcp`; `80/tcp`
/// is not published.
fn published(text: &str) -> Vec<(u16, u16)> {
    let first_and_last = |text: &str| -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let ranges = || {
        let (host, inside) = text.strip_suffix("/tcp")?.split_once("->")?;
        let host = host.rsplit(':').next()?;
        Some((first_and_last(host)?, first_and_last(inside)?))
    };
    let mut pairs = Vec::new();
    if let Some(((first, last), (inside, _))) = ranges() {
        for port in first..=last {
            pairs.push((port, inside.saturating_add(port - first)));
        }
    }
    pairs
}

/// `Up 3 seconds (healthy)`, `Exited (1) 2 minutes ago`
fn state_of(state: &str, status: &str) -> ContainerState {
    let inside = status
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(inside, _)| inside);
    match (state, inside) {
        ("running", Some("healthy")) => ContainerState::Running { tested: true },
        ("running", Some("unhealthy")) => ContainerState::Unhealthy,
        ("running", Some("health: starting")) => ContainerState::Starting,
        ("running", _) => ContainerState::Running { tested: false },
        ("exited" | "dead", code) => ContainerState::Ended(code.and_then(|code| code.parse().ok())),
        _ => ContainerState::Other,
    }
}

/// The last lines of a container, both streams merged.
pub(crate) fn last_lines(engine: &[(String, String)], id: &str, count: usize) -> Vec<String> {
    let (mut lines, count) = (Vec::new(), count.to_string());
    let mut command = engine_of(engine).command();
    command.args(["logs", "--tail", &count, id]);
    let _ = child::run_lines(&mut command, READ_TIMEOUT, &|| true, &mut |line| {
        lines.push(line.to_owned());
    });
    lines
}

/// Removes the resources with a session's label; returns whether there were any.
pub(crate) fn remove_session(
    engine: &[(String, String)],
    incarnation: &str,
    what: Removal<'_>,
) -> Result<bool> {
    let docker = engine_of(engine);
    let filter = format!("label={SESSION_LABEL}={incarnation}");
    stop(&docker, &filter, what)?;
    if matches!(what, Removal::Nothing) {
        return Ok(false);
    }
    let goes = |container: &SessionContainer| match what {
        Removal::Services { new, .. } => new.contains(&container.service.as_str()),
        _ => true,
    };
    let ids = |docker: &Docker| -> Result<Vec<String>> {
        let found = containers(docker, &filter)?.into_iter().filter(goes);
        Ok(found.map(|container| container.id).collect())
    };
    let nameless = nameless_volumes(&docker, &ids(&docker)?);
    let mut found = clear(&docker, &["rm", "--force", "--volumes"], &ids)?;
    for volume in nameless {
        // It was removed with its container, unless another container used it before; the engine then treats it as
        // the user's.
        let _ = docker.run_client(&["volume", "rm", &volume]);
    }
    if matches!(what, Removal::Services { .. }) {
        return Ok(found);
    }
    let of_kind = |kind: &'static str| {
        let filter = &filter;
        move |docker: &Docker| {
            let (first, last) = ([kind, "ls", "--quiet"], is_ours());
            let filters = ["--filter", filter, "--filter", &last];
            let output = docker.run_client(&[&first[..], &filters].concat())?;
            Ok(unique(&output.stdout))
        }
    };
    found |= clear(&docker, &["network", "rm"], &of_kind("network"))?;
    found |= clear(&docker, &["volume", "rm"], &of_kind("volume"))?;
    let images = |docker: &Docker| {
        let own = own_images(docker, &filter)?.into_iter();
        Ok(own.map(|image| image.name).collect())
    };
    found |= clear(&docker, &["image", "rm", "--force"], &images)?;
    Ok(found)
}

/// Stops the running containers, each with its own grace period.
fn stop(docker: &Docker, filter: &str, what: Removal<'_>) -> Result<()> {
    let is_meant = |container: &SessionContainer| match what {
        Removal::Services { new, old } => {
            let name = container.service.as_str();
            new.contains(&name) || old.contains(&name)
        }
        _ => !matches!(container.state, ContainerState::Ended(_)),
    };
    let running = containers(docker, filter)?.into_iter().filter(is_meant);
    let running: Vec<String> = running
        .filter(|container| !matches!(container.state, ContainerState::Ended(_)))
        .map(|container| container.id)
        .collect();
    if running.is_empty() {
        return Ok(());
    }
    let mut command = docker.command();
    // Only moat handles Ctrl-C: it must not shorten the grace periods.
    command.process_group(0).arg("stop").args(&running);
    match docker.run_command(&mut command, b"", STOP_TIMEOUT, &|| true) {
        Err(problem) if matches!(what, Removal::Nothing) => Err(problem),
        // A container that cannot be stopped is killed by its removal.
        _ => Ok(()),
    }
}

/// The anonymous volumes of containers.
fn nameless_volumes(docker: &Docker, ids: &[String]) -> Vec<String> {
    const VOLUME_FORMAT: &str = "{{range .Mounts}}{{println .Name}}{{end}}";
    if ids.is_empty() {
        return Vec::new();
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let first = ["container", "inspect", "--format", VOLUME_FORMAT];
    // Without volumes that are gone meanwhile.
    let output = docker.run_client(&[&first[..], &ids].concat());
    let names = output.map(|output| output.stdout).unwrap_or_default();
    let is_nameless =
        |name: &&str| name.len() == 64 && name.bytes().all(|it| it.is_ascii_hexdigit());
    names
        .lines()
        .filter(is_nameless)
        .map(str::to_owned)
        .collect()
}

/// Removes listed resources until none is listed. Returns whether there were any.
fn clear(
    docker: &Docker,
    remove: &[&str],
    list: &dyn Fn(&Docker) -> Result<Vec<String>>,
) -> Result<bool> {
    let mut tries = 0;
    loop {
        let ids = list(docker)?;
        if ids.is_empty() {
            return Ok(tries > 0);
        }
        let words: Vec<&str> = ids.iter().map(String::as_str).collect();
        let removed = docker.run_client(&[remove, &words].concat());
        tries += 1;
        match removed {
            // A resource may have been removed meanwhile; the list tells.
            Err(problem) if tries >= REMOVE_ATTEMPTS => return Err(problem),
            Err(_) => std::thread::sleep(RETRY_DELAY),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_understood() {
        let state = |state, status| {
            container(&format!("1\tn\ts\tdb\t{state}\t{status}\t\t"))
                .unwrap()
                .state
        };
        let ended = |code| ContainerState::Ended(code);
        for (word, status, expected) in [
            (
                "running",
                "Up 1 second",
                ContainerState::Running { tested: false },
            ),
            (
                "running",
                "Up 1 second (healthy)",
                ContainerState::Running { tested: true },
            ),
            (
                "running",
                "Up 1 second (health: starting)",
                ContainerState::Starting,
            ),
            (
                "running",
                "Up 1 second (unhealthy)",
                ContainerState::Unhealthy,
            ),
            ("exited", "Exited (137) 1 second ago", ended(Some(137))),
            ("exited", "Exited (0) 1 second ago", ended(Some(0))),
            ("dead", "Dead", ended(None)),
            (
                "restarting",
                "Restarting (1) 1 second ago",
                ContainerState::Other,
            ),
            ("created", "Created", ContainerState::Other),
        ] {
            assert_eq!(state(word, status), expected, "{status}");
        }
        assert!(container("1\tn\t\tdb\trunning\tUp\t\t").is_none());
        assert!(container("").is_none());
    }

    #[test]
    fn networks_and_ports_are_understood() {
        let line = "1\tn\ts\tdb\trunning\tUp\tp_default,other\t127.0.0.1:5512-5513->5432-5433/tcp, [::1]:80->81/tcp, 9/tcp, 0.0.0.0:7->7/udp";
        let found = container(line).unwrap();
        assert_eq!(found.networks, ["p_default", "other"]);
        assert_eq!(found.ports, [(5512, 5432), (5513, 5433), (80, 81)]);
    }
}
