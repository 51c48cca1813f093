//! The services of a session that come from a compose file of its worktree.
//!
//! The tool is asked to read the file and to make what is in it. It is not asked to take anything away: that goes by the
//! label of the session's incarnation, by the engine alone, and so works without the file and without the tool, and never
//! meets a project of the same name.

use std::time::{Duration, Instant};

use super::compose_file::{self, Member, Rewritten, Wanted, WantedPort, WantedService};
use super::members::MARK;
use super::operation::Context;
use super::process;
use super::status::{Health, PortView};
use super::up::{Action, Decision, Up};
use super::variables;
use crate::config::{ComposeEntry, ComposeSettings};
use crate::error::{Error, Kind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::{
    self, ComposeProject, ComposeTool, ContainerState, Problem, Removal, SESSION_SERVICE_LABEL,
    SessionContainer,
};
use crate::store::{
    Claim, ComposeService, Home, Session, SessionCompose, Stage, key_of, write_atomically,
};

/// What the tool's environment is marked with.
pub(super) const NAME: &str = "compose";

/// How long a service without a test of its health has to live before it counts as running.
const EARLY: Duration = Duration::from_millis(1500);

/// How often to look at those that were started.
const LOOK: Duration = Duration::from_millis(200);

/// How many of its last lines are shown of a service that failed.
const LINES: usize = 10;

/// How long an engine may take over what a tool that was killed had asked it for.
const IN_FLIGHT: Duration = Duration::from_secs(2);

/// Long enough for a word of a branch in the name of a project.
const READABLE: usize = 24;

/// A problem with the engine, with advice that fits here.
fn failed(problem: Problem) -> Error {
    let error = Error::from(problem);
    match error.kind {
        Kind::Runtime if error.hint.as_ref().is_some_and(|hint| hint.contains("--runtime")) => error
            .hint("the services of session.compose need the engine of docker: start it; see: moat doctor"),
        _ => error,
    }
}

/// The containers of a session's services.
fn containers(home: &Home, session: &Session) -> runtime::Result<Vec<SessionContainer>> {
    let Some(compose) = &session.compose else {
        return Ok(Vec::new());
    };
    let mut found = runtime::session_containers(&compose.engine, &home.hash())?;
    found.retain(|container| container.session == session.incarnation);
    Ok(found)
}

/// How a service is: as the worst of its containers.
pub(super) fn state_of<'a>(
    containers: &'a [SessionContainer],
    session: &Session,
    name: &str,
) -> Option<&'a SessionContainer> {
    let rank = |container: &&SessionContainer| match container.state {
        ContainerState::Ended(_) => 0,
        ContainerState::Other => 1,
        ContainerState::Unhealthy => 2,
        ContainerState::Starting => 3,
        ContainerState::Running { .. } => 4,
    };
    containers
        .iter()
        .filter(|container| container.session == session.incarnation && container.service == name)
        .min_by_key(rank)
}

/// What the engines say of the services of several sessions, each engine asked once.
pub(super) struct Seen {
    engines: Vec<Engine>,
}

struct Engine {
    settings: Vec<(String, String)>,
    found: runtime::Result<Vec<SessionContainer>>,
}

impl Seen {
    pub(super) fn look(home: &Home, sessions: &[Session]) -> Seen {
        let mut engines: Vec<Engine> = Vec::new();
        for compose in sessions
            .iter()
            .filter_map(|session| session.compose.as_ref())
        {
            let settings = &compose.engine;
            let is_known = engines.iter().any(|engine| engine.settings == *settings);
            if !is_known && !compose.services.is_empty() {
                engines.push(Engine {
                    settings: settings.clone(),
                    found: runtime::session_containers(settings, &home.hash()),
                });
            }
        }
        Seen { engines }
    }

    /// How the services of a session are.
    pub(super) fn health(&self, session: &Session) -> Vec<Health> {
        let Some(compose) = &session.compose else {
            return Vec::new();
        };
        let is_its = |engine: &&Engine| engine.settings == compose.engine;
        let found = self.engines.iter().find(is_its).map(|engine| &engine.found);
        let health = |service: &ComposeService| {
            let mut health = Health {
                name: service.name.clone(),
                running: false,
                pid: None,
                container: None,
                trouble: None,
                exit_code: None,
                ports: Vec::new(),
            };
            match found {
                Some(Ok(found)) => {
                    if let Some(container) = state_of(found, session, &service.name) {
                        health.container = Some(container.name.clone());
                        health.running = is_up(container.state, service.once);
                        (health.trouble, health.exit_code) = match container.state {
                            ContainerState::Ended(code) => (None, code),
                            ContainerState::Unhealthy => (Some("unhealthy".to_owned()), None),
                            ContainerState::Starting => (Some("starting".to_owned()), None),
                            ContainerState::Other => (Some("not running".to_owned()), None),
                            ContainerState::Running { .. } => (None, None),
                        };
                    }
                }
                Some(Err(problem)) => {
                    let why = crate::term::harmless(problem.message());
                    health.trouble = Some(format!("cannot tell: {why}"));
                }
                None => {}
            }
            let own = session
                .ports
                .iter()
                .filter(|port| port.process == service.name);
            health.ports = own
                .map(|port| PortView {
                    port: port.port,
                    primary: port.primary,
                    // The engine has them as long as the container runs.
                    listening: health.running && health.exit_code.is_none(),
                    stranger: None,
                })
                .collect();
            health
        };
        compose.services.iter().map(health).collect()
    }
}

/// The container of a service whose log is meant; `None`: the session has no such service.
pub(crate) fn service_log(
    home: &Home,
    session: &Session,
    name: &str,
) -> Result<Option<(String, String)>> {
    let Some(compose) = &session.compose else {
        return Ok(None);
    };
    if !compose.services.iter().any(|service| service.name == name) {
        return Ok(None);
    }
    let found = containers(home, session).map_err(failed)?;
    let Some(container) = state_of(&found, session, name) else {
        let message = format!("'{name}' has no container");
        return Err(Error::new(Kind::Failed, message).hint("start it: moat up"));
    };
    let log = runtime::container_log(&compose.engine, &container.id).map_err(failed)?;
    Ok(Some(log))
}

/// Whether a service of a session runs; nothing if it has no such service.
pub(super) fn runs(home: &Home, session: &Session, name: &str) -> Option<runtime::Result<bool>> {
    let compose = session.compose.as_ref()?;
    let service = compose
        .services
        .iter()
        .find(|service| service.name == name)?;
    let found = containers(home, session);
    Some(found.map(|found| {
        let container = state_of(&found, session, name);
        container.is_some_and(|container| is_up(container.state, service.once))
    }))
}

/// Settles what an `up` that was killed has left half made, so that it is made anew.
pub(super) fn settle(session: Option<&Session>) -> Result<()> {
    let unsettled = session.filter(|session| {
        session
            .compose
            .as_ref()
            .is_some_and(|compose| compose.asked)
    });
    let Some(session) = unsettled else {
        return Ok(());
    };
    process::stop(session, &[NAME])?;
    match &session.operation {
        Some(operation) => take_back(session, &operation.id),
        None => Ok(()),
    }
}

/// Whether it is there, be it that it has done its work.
pub(super) fn is_up(state: ContainerState, once: bool) -> bool {
    match state {
        ContainerState::Ended(code) => once && code == Some(0),
        ContainerState::Other => false,
        _ => true,
    }
}

/// What is to become of the services.
pub(super) fn decide(
    context: &Context<'_>,
    session: Option<&Session>,
    request: &Up<'_>,
) -> Result<Vec<Decision>> {
    let Some(settings) = &request.settings.compose else {
        return Ok(Vec::new());
    };
    let known = session.and_then(|session| session.compose.as_ref());
    // Also where there can be none: an engine that does not answer is seen before anything is made.
    let ours = known
        .is_none()
        .then(|| runtime::engine_settings(runtime::COMPOSES));
    let engine = known.map_or(ours.as_deref().unwrap_or_default(), |known| &known.engine);
    let found = runtime::session_containers(engine, &context.home.hash()).map_err(failed)?;
    let members = known.map_or(&[][..], |compose| &compose.services);
    let mut names: Vec<&str> = settings.services.iter().map(|entry| &*entry.name).collect();
    // Those that came with them.
    let more = members.iter().map(|member| &*member.name);
    let more: Vec<&str> = more.filter(|name| !names.contains(name)).collect();
    names.extend(more);
    let homeless = session.is_some_and(|session| !session.worktree.path.is_dir());
    let decide = |name: &str| {
        let is_wanted = request
            .only
            .is_none_or(|only| only.iter().any(|own| own == name))
            && !request.skip.iter().any(|own| own == name);
        let once = members
            .iter()
            .any(|member| member.name == name && member.once);
        let container = session.and_then(|session| state_of(&found, session, name));
        let state = container.map(|container| container.state);
        let (action, why) = match state.filter(|state| is_up(*state, once)) {
            None if !is_wanted => (Action::Skipped, "not asked for".to_owned()),
            None => (Action::Started, why_not(state)),
            Some(_) if is_wanted && homeless => {
                (Action::Started, "its worktree was gone".to_owned())
            }
            Some(_) if is_wanted && request.force => (Action::Started, "--force".to_owned()),
            Some(ContainerState::Unhealthy) => (
                Action::Kept,
                "it runs, and is unhealthy; --force starts it again".to_owned(),
            ),
            Some(ContainerState::Ended(_)) => (Action::Kept, "it has done its work".to_owned()),
            Some(_) => (Action::Kept, "it runs".to_owned()),
        };
        Decision {
            process: name.to_owned(),
            action,
            why,
        }
    };
    Ok(names.into_iter().map(decide).collect())
}

/// Why a service does not run.
fn why_not(state: Option<ContainerState>) -> String {
    match state {
        None => "it did not run".to_owned(),
        Some(ContainerState::Ended(Some(code))) => format!("it had ended with code {code}"),
        Some(_) => "it did not run any more".to_owned(),
    }
}

/// Notes what an `up` is about to start. Nothing of it is made yet.
pub(super) fn intend(session: &mut Session, operation: &str, decisions: &[Decision]) {
    let starting: Vec<&str> = started(decisions).collect();
    if starting.is_empty() {
        return;
    }
    let project = project_name(session);
    let compose = session.compose.get_or_insert_with(|| SessionCompose {
        project,
        engine: runtime::engine_settings(runtime::COMPOSES),
        operation: operation.to_owned(),
        asked: false,
        services: Vec::new(),
    });
    for name in starting {
        intend_one(compose, name, operation, false);
    }
}

fn started(decisions: &[Decision]) -> impl Iterator<Item = &str> {
    let started = |decision: &&Decision| decision.action == Action::Started;
    let started = decisions.iter().filter(started);
    started.map(|decision| decision.process.as_str())
}

fn intend_one(compose: &mut SessionCompose, name: &str, operation: &str, once: bool) {
    compose.services.retain(|service| service.name != name);
    compose.services.push(ComposeService {
        name: name.to_owned(),
        stage: Stage::Intent,
        operation: operation.to_owned(),
        once,
    });
}

/// A name that tells people whose it is, and that no other project has: the incarnation is in it.
fn project_name(session: &Session) -> String {
    let repository = session.main.file_name().unwrap_or_default();
    let words = format!("{}-{}", repository.to_string_lossy(), session.branch);
    // As the names of files are made, without the hash.
    let key = key_of(&session.repository, &words).branch;
    let readable = key.rsplit_once('-').map_or("", |(readable, _)| readable);
    let readable = readable[..readable.len().min(READABLE)].trim_end_matches('-');
    // Names of projects are in lower case.
    let incarnation = session.incarnation.to_ascii_lowercase();
    format!("moat-{readable}-{}-{incarnation}", session.slot)
}

/// Starts what is to be started, and what that depends on, and waits until all of it is ready. Says what was started on
/// top of what was decided.
pub(super) fn start(
    context: &Context<'_>,
    claim: &mut Claim,
    request: &Up<'_>,
    decisions: &mut Vec<Decision>,
) -> Result<()> {
    let (Some(settings), Some(session)) = (&request.settings.compose, claim.session().cloned())
    else {
        return Ok(());
    };
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let processes = &request.settings.processes;
    let is_process = |name: &str| processes.iter().any(|process| process.name == name);
    if started(decisions).all(is_process) {
        return Ok(());
    }
    context.check()?;
    let tool = ComposeTool::find(&compose.engine)?;
    if let Some(address) = runtime::remote(runtime::COMPOSES, &compose.engine) {
        let address = crate::term::harmless(&address);
        let message =
            format!("the engine is on another machine ({address}): its ports are not on this one");
        return Err(Error::new(Kind::Runtime, message)
            .hint("session.compose needs an engine on this machine: unset DOCKER_HOST, or choose another context"));
    }
    let mut env = variables::shared(&session);
    env.push((MARK.to_owned(), session.mark(NAME)));
    // What it leaves there when it is killed goes with the session.
    let dir = context.home.prepare_compose(&session.key)?;
    env.push(("TMPDIR".to_owned(), dir.to_string_lossy().into_owned()));
    let rewritten = resolve(context, &tool, &session, settings, &env)?;
    let is_member = |name: &str| rewritten.members.iter().any(|member| member.name == name);
    if let Some(member) = rewritten
        .members
        .iter()
        .find(|member| is_process(&member.name))
    {
        let name = &member.name;
        let message =
            format!("'{name}' is a process of the session, and a service that others depend on");
        return Err(Error::new(Kind::Config, message)
            .hint("give the process another name: session.processes in moat.yaml"));
    }
    let file = context.home.compose_file(&session.key);
    write_atomically(&file, rewritten.text.as_bytes())
        .map_err(|error| Error::io(Kind::Store, "write", &file, &error))?;
    checkpoint("session-compose-resolved");
    add_needed(context, &session, request, &rewritten.members, decisions)?;
    // What the file does not have any more is not made.
    decisions.retain(|decision| is_process(&decision.process) || is_member(&decision.process));
    let starting: Vec<String> = started(decisions)
        .filter(|name| is_member(name))
        .map(str::to_owned)
        .collect();
    let operation = claim.id().to_owned();
    claim.update(&mut |session| {
        let Some(compose) = &mut session.compose else {
            return;
        };
        compose
            .services
            .retain(|service| service.operation != operation || is_member(&service.name));
        for member in rewritten
            .members
            .iter()
            .filter(|member| starting.contains(&member.name))
        {
            intend_one(compose, &member.name, &operation, member.once);
        }
        compose.asked = true;
    })?;
    checkpoint("session-compose-intent");
    let project = ComposeProject {
        name: &compose.project,
        dir: &session.worktree.path,
        files: vec![&file],
        env: &env,
    };
    let made = make(context, &tool, &project, &rewritten.members, &starting);
    checkpoint("session-compose-up");
    claim.update(&mut |session| {
        if let Some(compose) = &mut session.compose {
            // One that failed may have been killed, and so not be answered yet.
            compose.asked = made.is_err();
            let stage = if made.is_ok() {
                Stage::Made
            } else {
                Stage::Intent
            };
            let own = compose
                .services
                .iter_mut()
                .filter(|service| starting.contains(&service.name));
            own.for_each(|service| service.stage = stage);
        }
    })?;
    made.map_err(|error| blame(context.home, &session, &starting, error))?;
    wait(
        context,
        &session,
        &rewritten.members,
        &starting,
        settings.timeout,
    )?;
    checkpoint("session-compose-ready");
    Ok(())
}

/// Reads the file of the worktree and rewrites it.
fn resolve(
    context: &Context<'_>,
    tool: &ComposeTool,
    session: &Session,
    settings: &ComposeSettings,
    env: &[(String, String)],
) -> Result<Rewritten> {
    let Some(compose) = &session.compose else {
        return Err(Error::new(Kind::Failed, "there is no project"));
    };
    let tree = &session.worktree.path;
    let paths: Vec<_> = settings.files.iter().map(|file| tree.join(file)).collect();
    for (path, file) in paths.iter().zip(&settings.files) {
        if !path.is_file() {
            let (file, tree) = (file.display(), tree.display());
            let message = format!("there is no '{file}' in {tree}");
            return Err(Error::new(Kind::Config, crate::term::harmless(&message))
                .hint("commit it on that branch, or correct session.compose.file in moat.yaml"));
        }
    }
    let project = ComposeProject {
        name: &compose.project,
        dir: tree,
        files: paths.iter().map(|path| path.as_path()).collect(),
        env,
    };
    let names: Vec<String> = settings
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let file = names.join(", ");
    let resolved = tool
        .resolve(&project, context.going_on)
        .map_err(|problem| {
            context.check().err().unwrap_or_else(|| {
                let why = crate::term::plain(problem.message());
                Error::new(
                    Kind::Config,
                    format!(
                        "{} cannot read {file}:{}",
                        tool.name(),
                        indented(why.lines())
                    ),
                )
                .hint(format!(
                    "see what is wrong with it: {} -f {file} config",
                    tool.name()
                ))
            })
        })?;
    let ports = |entry: &ComposeEntry| {
        let own = session
            .ports
            .iter()
            .filter(|port| port.process == entry.name);
        own.filter_map(|port| {
            let extra = entry
                .extra_ports
                .iter()
                .find(|extra| extra.port.value == port.base);
            let container = match (port.primary, extra) {
                (true, _) => entry.container_port,
                (false, Some(extra)) => Some(extra.container_port),
                (false, None) => return None,
            };
            Some(WantedPort {
                host: port.port,
                container,
            })
        })
        .collect()
    };
    let wanted = Wanted {
        file: &file,
        project: &compose.project,
        labels: &runtime::session_labels(&context.home.hash(), &session.incarnation),
        service_label: SESSION_SERVICE_LABEL,
        services: settings
            .services
            .iter()
            .map(|entry| WantedService {
                name: &entry.name,
                ports: ports(entry),
            })
            .collect(),
    };
    compose_file::rewrite(resolved, &wanted)
}

/// Lines below a message.
fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines
        .map(|line| format!("\n  {}", crate::term::harmless(line.trim_end())))
        .collect()
}

/// Adds what is depended on by what is started, and does not run.
fn add_needed(
    context: &Context<'_>,
    session: &Session,
    request: &Up<'_>,
    members: &[Member],
    decisions: &mut Vec<Decision>,
) -> Result<()> {
    let found = containers(context.home, session).map_err(failed)?;
    let mut names: Vec<String> = started(decisions).map(str::to_owned).collect();
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        let needs = members.iter().filter(|member| member.name == name);
        for need in needs.flat_map(|member| &member.needs) {
            let once = members
                .iter()
                .any(|member| member.name == *need && member.once);
            let runs = state_of(&found, session, need).is_some_and(|one| is_up(one.state, once));
            if names.contains(need) || request.skip.contains(need) || runs {
                continue;
            }
            names.push(need.clone());
            decisions.retain(|decision| decision.process != *need);
            decisions.push(Decision {
                process: need.clone(),
                action: Action::Started,
                why: format!("'{name}' depends on it"),
            });
        }
    }
    Ok(())
}

/// Has the tool build and start.
fn make(
    context: &Context<'_>,
    tool: &ComposeTool,
    project: &ComposeProject<'_>,
    members: &[Member],
    starting: &[String],
) -> Result<()> {
    let is_starting = |member: &&Member| starting.contains(&member.name);
    let borrows = members
        .iter()
        .filter(is_starting)
        .any(|member| member.borrows);
    let built = members
        .iter()
        .filter(|member| member.built && (borrows || is_starting(member)));
    let built: Vec<&str> = built.map(|member| member.name.as_str()).collect();
    let say = |line: &str| (context.say)(&format!("{NAME}: {line}"));
    let run = |first: &[&str], names: &[&str]| {
        let result = tool.run(
            project,
            &[first, names].concat(),
            context.going_on,
            &mut |line| say(line),
        );
        result.map_err(|problem| {
            context.check().err().unwrap_or_else(|| {
                let what = format!("'{} {}' failed:", tool.name(), first[0]);
                Error::new(Kind::Runtime, what + &indented(problem.message().lines()))
            })
        })
    };
    if !built.is_empty() {
        // What a build that is killed has begun goes with it.
        run(&["build", "--force-rm"], &built)?;
        checkpoint("session-compose-built");
    }
    // Others run, and stay as they are whatever has become of the file. These are made of it as it is now, and see the
    // worktree that is there now.
    let words = ["up", "-d", "--no-build", "--no-deps", "--force-recreate"];
    let names: Vec<&str> = starting.iter().map(String::as_str).collect();
    run(&words, &names)
}

/// Where the tool failed because of a service that died, that one says more.
fn blame(home: &Home, session: &Session, starting: &[String], error: Error) -> Error {
    let found = containers(home, session).unwrap_or_default();
    let culprit = starting.iter().find_map(|name| {
        let container = state_of(&found, session, name)?;
        let is_bad = match container.state {
            ContainerState::Ended(code) => code != Some(0),
            state => state == ContainerState::Unhealthy,
        };
        is_bad.then(|| died(session, name, container))
    });
    match culprit {
        Some(culprit) if error.kind == Kind::Runtime => culprit,
        _ => error,
    }
}

/// Waits until all that was started runs, and is healthy where that is tested.
fn wait(
    context: &Context<'_>,
    session: &Session,
    members: &[Member],
    starting: &[String],
    timeout: Duration,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut since: Option<Instant> = None;
    loop {
        context.check()?;
        let found = containers(context.home, session).map_err(failed)?;
        let (mut waiting, mut untested) = (None, false);
        for name in starting {
            let once = members
                .iter()
                .any(|member| member.name == *name && member.once);
            let container = state_of(&found, session, name);
            match container.map(|container| container.state) {
                Some(ContainerState::Running { tested }) if !once => untested |= !tested,
                Some(ContainerState::Ended(Some(0))) if once => {}
                Some(ContainerState::Ended(_) | ContainerState::Unhealthy) => {
                    if let Some(container) = container {
                        return Err(died(session, name, container));
                    }
                }
                _ => waiting = Some((name, container)),
            }
        }
        match waiting {
            None if !untested => return Ok(()),
            None => {
                let since = since.get_or_insert_with(Instant::now);
                if since.elapsed() >= EARLY {
                    return Ok(());
                }
            }
            Some((name, container)) => {
                since = None;
                if Instant::now() >= deadline {
                    let seconds = timeout.as_secs();
                    let what = format!("'{name}' is not ready after {seconds} s");
                    return Err(with_last_words(session, container, what)
                        .hint("give it more time with session.compose.timeout in moat.yaml"));
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn died(session: &Session, name: &str, container: &SessionContainer) -> Error {
    let what = match container.state {
        ContainerState::Ended(Some(code)) => format!("'{name}' ended with code {code}"),
        ContainerState::Ended(None) => format!("'{name}' ended"),
        _ => format!("'{name}' is unhealthy"),
    };
    with_last_words(session, Some(container), what)
        .hint("see what it is: the compose file; see session.compose in moat.yaml")
}

fn with_last_words(session: &Session, container: Option<&SessionContainer>, what: String) -> Error {
    let engine = session.compose.as_ref().map(|compose| &compose.engine);
    let last = match (engine, container) {
        (Some(engine), Some(container)) => {
            runtime::last_container_lines(engine, &container.id, LINES)
        }
        _ => Vec::new(),
    };
    let said = match last.is_empty() {
        true => ", and said nothing".to_owned(),
        false => indented(last.iter().map(String::as_str)),
    };
    Error::new(Kind::Failed, what + &said)
}

/// Whether all services are up, and none is being made.
pub(super) fn is_complete(home: &Home, session: &Session) -> bool {
    let Some(compose) = &session.compose else {
        return true;
    };
    let Ok(found) = containers(home, session) else {
        return false;
    };
    compose.services.iter().all(|service| {
        let container = state_of(&found, session, &service.name);
        let state = container.map(|container| container.state);
        service.stage == Stage::Made
            && state.is_some_and(|state| {
                is_up(state, service.once)
                    && !matches!(state, ContainerState::Unhealthy | ContainerState::Starting)
            })
    })
}

/// Takes back what an operation has made: the services that it has started, or all of it where there was nothing before.
/// The tool does not run any more.
pub(super) fn take_back(session: &Session, operation: &str) -> Result<()> {
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let own = compose
        .services
        .iter()
        .filter(|service| service.operation == operation);
    let names: Vec<&str> = own.map(|service| service.name.as_str()).collect();
    let what = match compose.operation == operation {
        true => Removal::Everything,
        false if names.is_empty() => return Ok(()),
        false => Removal::Services(&names),
    };
    remove(session, compose, what)
}

/// The record after [`take_back`].
pub(super) fn forget(session: &mut Session, operation: &str) {
    session.compose = session
        .compose
        .take()
        .filter(|compose| compose.operation != operation);
    if let Some(compose) = &mut session.compose {
        compose
            .services
            .retain(|service| service.operation != operation);
    }
}

/// Removes the services of a session; `keep`: without their data and what was built for them.
pub(super) fn take_away(session: &Session, keep: bool) -> Result<()> {
    let Some(compose) = &session.compose else {
        return Ok(());
    };
    let what = match keep {
        true => Removal::Containers,
        false => Removal::Everything,
    };
    remove(session, compose, what)
}

fn remove(session: &Session, compose: &SessionCompose, what: Removal<'_>) -> Result<()> {
    let remove = || runtime::remove_session(&compose.engine, &session.incarnation, what);
    remove().map_err(failed)?;
    // Of a tool that was killed the engine may still have a request.
    let end = Instant::now() + IN_FLIGHT;
    while compose.asked && Instant::now() < end {
        std::thread::sleep(LOOK);
        remove().map_err(failed)?;
    }
    Ok(())
}
