//! Resources of the compose tool: moat finds and removes them by label, with the engine alone.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use super::super::client_call::{HOME_LABEL, ROLE_LABEL, SERVICE_LABEL, SESSION_LABEL};
use super::super::compose::{
    COMPOSE_ROLE, ComposeTool, ComposeToolEngine, ContainerState, READ_TIMEOUT, Removal,
    SessionContainer, SessionStorage,
};
use super::super::error::Result;
use super::super::{Compose, child};
use super::{Docker, ping};

/// Long, because every service has its own grace period.
const STOP_TIMEOUT: Duration = Duration::from_secs(900);

/// Number and delay of attempts to remove a resource that is in use.
const REMOVE_ATTEMPTS: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(300);

impl Compose for Docker {
    fn tool(&self) -> Result<ComposeTool> {
        let mut settings = self.engine.clone();
        // The older generation does not know contexts.
        if let Some(address) = ping::address(&settings).filter(|at| at.starts_with("unix://")) {
            settings.retain(|(name, _)| name != "DOCKER_CONTEXT");
            settings.push(("DOCKER_HOST".to_owned(), address));
        }
        let unset = self.dialect.settings();
        ComposeTool::find(&ComposeToolEngine { settings, unset })
    }

    fn session_containers(&self) -> Result<Vec<SessionContainer>> {
        containers(self, &format!("label={SESSION_LABEL}"))
    }

    fn session_storage(&self, home: &str) -> Result<(Vec<SessionStorage>, Vec<SessionStorage>)> {
        let (filter, ours) = (format!("label={HOME_LABEL}={home}"), is_ours());
        let filters = ["--filter", &filter, "--filter", &ours];
        let format = format!("{{{{.Name}}}}\t{{{{.Label \"{SESSION_LABEL}\"}}}}");
        let list = ["volume", "ls", "--format", &format];
        let volumes = self.run_client(&[&list[..], &filters].concat())?.stdout;
        let volumes = volumes
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, session)| SessionStorage {
                name: name.to_owned(),
                session: session.to_owned(),
            });
        Ok((own_images(self, &filter)?, volumes.collect()))
    }

    fn last_lines(&self, id: &str, count: usize) -> Vec<String> {
        let (mut lines, count) = (Vec::new(), count.to_string());
        let mut command = self.command();
        command.args(["logs", "--tail", &count, id]);
        let _ = child::run_lines(&mut command, READ_TIMEOUT, &|| true, &mut |line| {
            lines.push(line.to_owned());
        });
        lines
    }

    fn remove_session(&self, incarnation: &str, what: Removal<'_>) -> Result<bool> {
        let filter = format!("label={SESSION_LABEL}={incarnation}");
        stop(self, &filter, what)?;
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
        let nameless = nameless_volumes(self, &ids(self)?);
        let mut found = clear(self, &["rm", "--force", "--volumes"], &ids)?;
        for volume in nameless {
            // It was removed with its container, unless another container used it before; the engine then treats it as
            // the user's.
            let _ = self.run_client(&["volume", "rm", &volume]);
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
        found |= clear(self, &["network", "rm"], &of_kind("network"))?;
        found |= clear(self, &["volume", "rm"], &of_kind("volume"))?;
        let images = |docker: &Docker| {
            let own = own_images(docker, &filter)?.into_iter();
            Ok(own.map(|image| image.name).collect())
        };
        found |= clear(self, &["image", "rm", "--force"], &images)?;
        Ok(found)
    }

    fn remove_image(&self, name: &str) -> Result<()> {
        super::ignore_not_found(self.run_client(&["image", "rm", "--force", name]))
    }
}

/// The label that all resources of a session have, and no other ones.
fn is_ours() -> String {
    format!("label={ROLE_LABEL}={COMPOSE_ROLE}")
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
    match docker.run_command(&mut command, STOP_TIMEOUT, &|| true) {
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
