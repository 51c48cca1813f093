//! The variables of a session: one map for processes, hooks, runs and `.env.moat`.

use crate::plan::LOOPBACK;
use crate::store::{Session, SessionPort, SessionService};

/// The map, sorted by name. If two processes give one name to their ports, the first one counts; each process itself
/// gets its own.
pub(crate) fn shared(session: &Session) -> Vec<(String, String)> {
    let mut variables = vec![
        ("MOAT_BRANCH".to_owned(), session.branch.clone()),
        ("MOAT_SESSION".to_owned(), session.key.clone()),
        ("MOAT_SLOT".to_owned(), session.slot.to_string()),
        (
            "MOAT_WORKTREE".to_owned(),
            session.worktree.path.to_string_lossy().into_owned(),
        ),
    ];
    let mut add = |name: &String, value: String| {
        if !variables.iter().any(|(earlier, _)| earlier == name) {
            variables.push((name.clone(), value));
        }
    };
    for port in session.ports.iter().filter(|port| port.published) {
        for name in &port.variables {
            add(name, port.port.to_string());
        }
    }
    // The variables of ports hold the ports inside the container.
    for service in &session.services.list {
        for (name, value) in &service.variables {
            add(name, value.clone());
        }
    }
    variables.sort();
    variables
}

/// The map for a run, without the variables of services: [`container_variables`] has those as seen from the
/// container.
pub(crate) fn of_run(session: &Session) -> Vec<(String, String)> {
    let mut variables = shared(session);
    variables.retain(|(name, _)| {
        let of_service =
            |service: &SessionService| service.variables.iter().any(|(own, _)| own == name);
        let mut compose = session.ports.iter().filter(|port| port.from_compose);
        !session.services.list.iter().any(of_service)
            && !compose.any(|port| port.variables.contains(name))
    });
    variables
}

/// The variables of a service for a run on the network of the session: the service's host name there, and its own
/// ports.
pub(super) fn container_variables(
    session: &Session,
    service: &SessionService,
) -> Vec<(String, String)> {
    let port = session.primary_port(&service.name);
    let ports = port.and_then(|port| Some((port.port, port.container?)));
    let host = LOOPBACK.to_owned();
    let told = |(name, value): &(String, String)| {
        let value = match (name, ports) {
            (name, _) if name.ends_with("_HOST") && *value == host => service.name.clone(),
            (name, Some((outside, inside))) if name.ends_with("_URL") => {
                // The user name may equal the host name; the text after the host has no colon that is not encoded.
                let outside = format!("{LOOPBACK}:{outside}");
                let (before, after) = value.rsplit_once(&outside).unwrap_or((value, ""));
                match before.len() == value.len() {
                    true => value.clone(),
                    false => format!("{before}{}:{inside}{after}", service.name),
                }
            }
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    service.variables.iter().map(told).collect()
}

/// The variables of one process, in addition to the map.
pub(super) fn own(session: &Session, process: &str) -> Vec<(String, String)> {
    let named = |port: &'_ SessionPort| {
        let value = port.port.to_string();
        let names = port.variables.clone().into_iter();
        names.map(move |name| (name, value.clone()))
    };
    session.ports_of(process).flat_map(named).collect()
}

/// The map as a file that a shell and common `.env` readers understand.
pub(super) fn file(session: &Session) -> String {
    let mut text = "# Written by moat up. Gone after moat down.\n".to_owned();
    for (name, value) in shared(session) {
        // Fails only for NUL, which no variable contains.
        let value = shlex::try_quote(&value).unwrap_or_default();
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}
