//! Finds the run or session that owns a process, a port or a container, for users who are about to end one.
//!
//! *Owned* requires a proof: the mark in a process's environment, an ancestor that is a known process, a container
//! with moat's label, or a port or container in a record. If the proof is not readable, the answer is *unknown*, not
//! *no*.

use super::marked_processes::{mark_of, parent_and_group};
use super::port_probe::{self, PortListener};
use super::process::MAX_PARENTS;
use crate::error::Result;
use crate::runtime::{self, Inspected, Labelled, ResourceOwner};
use crate::store::{Home, ProcessIdentity, ResourceKind, RunId, RunRecord, Session};

/// The subject of a query.
pub(crate) enum OwnershipQuery<'a> {
    Pid(u32),
    Port(u16),
    /// A run, the name of its container, or the engine's id of the container or a prefix of the id.
    Container(&'a str),
}

/// The engines that may hold resources of this home, with their settings.
pub(crate) type KnownEngines<'a> =
    &'a dyn Fn() -> Vec<(runtime::RuntimeName, Vec<(String, String)>)>;

/// The answer to a query.
pub(crate) enum Ownership {
    /// A session, and the process in it if that is known.
    Session(Box<Session>, Option<String>),
    /// A run.
    Run(String),
    Nobody,
    Unknown(String),
}

pub(crate) fn find_owner(
    home: &Home,
    question: &OwnershipQuery<'_>,
    engines: KnownEngines<'_>,
) -> Result<Ownership> {
    match question {
        OwnershipQuery::Pid(pid) => owner_of_process(home, *pid, engines),
        OwnershipQuery::Port(port) => owner_of_port(home, *port, engines),
        OwnershipQuery::Container(name) => owner_of_container(home, name, engines),
    }
}

fn owner_of_process(home: &Home, pid: u32, engines: KnownEngines<'_>) -> Result<Ownership> {
    let sessions = home.sessions()?;
    let runs = processes_of_runs(home)?;
    let mut unknown = None;
    let mut next = Some(pid);
    for _ in 0..MAX_PARENTS {
        let Some(pid) = next.filter(|pid| *pid > 1) else {
            break;
        };
        let is_its = |run: &&(ProcessIdentity, RunId)| run.0.pid == pid && run.0.is_alive();
        if let Some((_, id)) = runs.iter().find(is_its) {
            return Ok(Ownership::Run(id.to_string()));
        }
        if let Some(owner) = by_record(&sessions, pid) {
            return Ok(owner);
        }
        match mark_of(pid) {
            Ok(Some(mark)) => return Ok(by_mark(sessions, &mark)),
            // A process that is gone has no owner.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                unknown = Some(format!(
                    "process {pid} belongs to another user and hides its environment"
                ));
            }
            _ => {}
        }
        next = parent_and_group(pid).map(|(parent, _)| parent);
    }
    if let Some(owner) = by_listening_process(home, &sessions, pid)? {
        return Ok(owner);
    }
    if let Some(id) = container_of(pid) {
        let is_it = |found: &Labelled| found.kind == ResourceKind::Container && found.id == id;
        match by_engine(home, engines, &is_it)? {
            Ownership::Nobody => {}
            owner => return Ok(owner),
        }
    }
    Ok(unknown.map_or(Ownership::Nobody, Ownership::Unknown))
}

/// The supervisors and shims of runs: every process that they started belongs to their run.
fn processes_of_runs(home: &Home) -> Result<Vec<(ProcessIdentity, RunId)>> {
    let mut found = Vec::new();
    for id in home.run_ids()? {
        let dir = home.run(&id);
        let processes = [dir.owner().ok().flatten(), runtime::shim_process(&dir)];
        let known = processes.into_iter().flatten();
        found.extend(known.map(|process| (process, id.clone())));
    }
    Ok(found)
}

/// The engine's id of the container that a process is in, which is part of the names of its control groups. The
/// container that moat itself runs in does not count.
fn container_of(pid: u32) -> Option<String> {
    let groups = |pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let ours = groups(std::process::id()).unwrap_or_default();
    let theirs = groups(pid).ok()?;
    let mut words = theirs.split(|letter: char| !letter.is_ascii_hexdigit());
    let found = words.rfind(|word| word.len() == 64 && !ours.contains(word));
    found.map(str::to_owned)
}

fn by_record(sessions: &[Session], pid: u32) -> Option<Ownership> {
    sessions.iter().find_map(|session| {
        let name = super::process::known_process(session, pid)?.to_owned();
        Some(Ownership::Session(Box::new(session.clone()), Some(name)))
    })
}

fn by_mark(sessions: Vec<Session>, mark: &str) -> Ownership {
    let Some((incarnation, name)) = mark.split_once('/') else {
        return Ownership::Nobody;
    };
    let mut found = sessions
        .into_iter()
        .filter(|session| session.incarnation == incarnation);
    match found.next() {
        Some(session) => Ownership::Session(Box::new(session), Some(name.to_owned())),
        None => Ownership::Unknown(
            "it carries the mark of a session that is not in this MOAT_HOME".to_owned(),
        ),
    }
}

fn owner_of_port(home: &Home, port: u16, engines: KnownEngines<'_>) -> Result<Ownership> {
    let sessions = home.sessions()?;
    if let Some(owner) = by_published_port(home, &sessions, port)? {
        return Ok(owner);
    }
    let listeners = port_probe::listeners(&[port]);
    if let Some((session, name)) = sessions_with_port(&sessions, port).next() {
        // That a port is assigned does not make its listener a process of the session.
        let stranger = listeners.iter().find(|listener| {
            !listener
                .pid
                .is_some_and(|pid| super::process::is_process_of(session, name, pid))
        });
        if stranger.is_none() {
            let name = Some(name.to_owned());
            return Ok(Ownership::Session(Box::new(session.clone()), name));
        }
        return owner_of_listener(home, stranger, engines);
    }
    owner_of_listener(home, listeners.first(), engines)
}

fn owner_of_listener(
    home: &Home,
    listener: Option<&PortListener>,
    engines: KnownEngines<'_>,
) -> Result<Ownership> {
    match listener.map(|listener| listener.pid) {
        Some(Some(pid)) => owner_of_process(home, pid, engines),
        Some(None) => Ok(Ownership::Unknown(
            "another user's process listens on it".to_owned(),
        )),
        None => Ok(Ownership::Nobody),
    }
}

/// The sessions that have a port assigned, each with the process or service.
fn sessions_with_port(sessions: &[Session], port: u16) -> impl Iterator<Item = (&Session, &str)> {
    sessions.iter().filter_map(move |session| {
        let mut ports = session.ports.iter();
        let own = ports.find(|own| own.port == port)?;
        Some((session, own.name.as_str()))
    })
}

/// The owner of a port that a container publishes, according to the engine. The listener is a process of the engine.
fn by_published_port(home: &Home, sessions: &[Session], port: u16) -> Result<Option<Ownership>> {
    for (session, name) in sessions_with_port(sessions, port) {
        match super::compose::runs(session, name) {
            Some(Ok(true)) => {
                let name = Some(name.to_owned());
                return Ok(Some(Ownership::Session(Box::new(session.clone()), name)));
            }
            Some(Err(problem)) => {
                return Ok(Some(Ownership::Unknown(problem.message().to_owned())));
            }
            _ => {}
        }
        if let Some(owner) = owner_of_service_port(session, name, port) {
            return Ok(Some(owner));
        }
    }
    for record in publishing(home)? {
        if record
            .settings
            .network
            .ports
            .iter()
            .any(|own| own.host.is_none_or(|host| host == port))
            && let Some(owner) = owner_of_run_port(&record, port)
        {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// The runs that may publish ports of this host.
fn publishing(home: &Home) -> Result<Vec<RunRecord>> {
    let ids = home.run_ids()?.into_iter();
    let records = ids.filter_map(|id| home.run(&id).load().record());
    let has_some =
        |record: &RunRecord| !record.settings.network.ports.is_empty() && !record.is_clean();
    Ok(records.filter(has_some).collect())
}

/// Whether a process listens on a port that a container of this home publishes.
fn by_listening_process(home: &Home, sessions: &[Session], pid: u32) -> Result<Option<Ownership>> {
    let of_sessions = sessions.iter().flat_map(|session| &session.ports);
    let mut ports: Vec<u16> = of_sessions.map(|own| own.port).collect();
    for record in publishing(home)? {
        ports.extend(
            record
                .settings
                .network
                .ports
                .iter()
                .filter_map(|own| own.host),
        );
    }
    for listener in port_probe::listeners(&ports) {
        if listener.pid == Some(pid)
            && let Some(owner) = by_published_port(home, sessions, listener.port)?
        {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// The owner of a service's port, according to its container.
fn owner_of_service_port(session: &Session, name: &str, port: u16) -> Option<Ownership> {
    session.service(name)?;
    match super::services::query_engines(session, runtime::QUICK_TIMEOUT) {
        Err(error) => Some(Ownership::Unknown(error.message.clone())),
        Ok(states) => states.into_iter().find_map(|(of, state)| {
            let is_its = of == name && publishes(&state, port);
            is_its.then(|| Ownership::Session(Box::new(session.clone()), Some(of)))
        }),
    }
}

/// The owner of a run's port.
fn owner_of_run_port(record: &RunRecord, port: u16) -> Option<Ownership> {
    let containers = record.resources.iter();
    let containers = containers.filter(|resource| resource.kind == ResourceKind::Container);
    let handles: Vec<&str> = containers.map(|own| own.handle.as_str()).collect();
    let engine = runtime::of_session(
        &record.settings.identity.runtime,
        &record.settings.identity.engine,
        runtime::QUICK_TIMEOUT,
    );
    match engine.and_then(|engine| engine.inspect(&handles)) {
        Err(problem) => Some(Ownership::Unknown(problem.message().to_owned())),
        Ok(states) => {
            let is_its = states.iter().any(|state| publishes(state, port));
            is_its.then(|| Ownership::Run(record.id.to_string()))
        }
    }
}

fn publishes(state: &Inspected, port: u16) -> bool {
    match state {
        Inspected::Running { ports, .. } => ports.iter().any(|(_, host)| *host == port),
        _ => false,
    }
}

/// Minimum length of a prefix that is accepted as an engine's id.
const MIN_ID_CHARS: usize = 4;

fn owner_of_container(home: &Home, name: &str, engines: KnownEngines<'_>) -> Result<Ownership> {
    let sessions = home.sessions()?;
    for session in &sessions {
        let mut services = session.services.list.iter();
        if let Some(service) = services.find(|service| service.handle == name) {
            let service = service.name.clone();
            return Ok(Ownership::Session(Box::new(session.clone()), Some(service)));
        }
    }
    for id in home.run_ids()? {
        let Some(record) = home.run(&id).load().record() else {
            continue;
        };
        let mut containers = record
            .resources
            .iter()
            .filter(|resource| resource.kind == ResourceKind::Container);
        if id.as_str() == name || containers.any(|resource| resource.handle == name) {
            return Ok(Ownership::Run(id.to_string()));
        }
    }
    // An engine's own id is in no record, and neither are containers whose record is lost.
    let is_id = name.len() >= MIN_ID_CHARS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_it = |found: &Labelled| {
        let called = found.handle == name || is_id && found.id.starts_with(name);
        found.kind == ResourceKind::Container && called
    };
    // Names are in records, except for those that the compose tool chooses.
    let has_compose = sessions.iter().any(|session| session.compose.is_some());
    Ok(match by_engine(home, engines, &is_it)? {
        Ownership::Unknown(_) if !is_id && !has_compose => Ownership::Nobody,
        owner => owner,
    })
}

/// Asks the engines for this home's resources. An engine that does not respond makes the answer *unknown*.
fn by_engine(
    home: &Home,
    engines: KnownEngines<'_>,
    is_it: &dyn Fn(&Labelled) -> bool,
) -> Result<Ownership> {
    let labels = home.labels()?;
    let mut owner = Ownership::Nobody;
    for (engine, settings) in engines() {
        let runtime = runtime::open_within(engine, &settings, runtime::QUICK_TIMEOUT);
        match runtime.find_labelled() {
            Ok(found) => {
                let mut found = found.into_iter().filter(is_it);
                if let Some(found) = found.find(|one| labels.include(&one.home_label)) {
                    let by_label = by_label(home.sessions()?, found.owner);
                    if labels.is_own(&found.home_label) || is_recorded(home, &by_label)? {
                        return Ok(by_label);
                    }
                }
            }
            Err(problem) => owner = Ownership::Unknown(format!("{engine}: {}", problem.message())),
        }
    }
    Ok(owner)
}

/// Whether this home has a record of the owner. A container with a former label of this home may belong to another
/// home.
fn is_recorded(home: &Home, owner: &Ownership) -> Result<bool> {
    Ok(match owner {
        Ownership::Session(..) => true,
        Ownership::Run(id) => home.run_ids()?.iter().any(|known| known.as_str() == id),
        Ownership::Nobody | Ownership::Unknown(_) => false,
    })
}

/// The run or session in the label of a container.
fn by_label(sessions: Vec<Session>, whose: ResourceOwner) -> Ownership {
    match whose {
        ResourceOwner::Run(id) => Ownership::Run(id),
        ResourceOwner::Session(incarnation) => {
            let mut sessions = sessions.into_iter();
            match sessions.find(|session| session.incarnation == incarnation) {
                Some(session) => Ownership::Session(Box::new(session), None),
                // The record is lost; `moat clean` removes the container.
                None => Ownership::Run(incarnation),
            }
        }
    }
}
