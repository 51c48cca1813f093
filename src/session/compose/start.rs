//! Starts compose services: reads the file, rewrites it and passes it to the tool.

use super::super::marked_processes::PROCESS_MARK_VARIABLE;
use super::super::member::BringUp;
use super::super::operation::OperationContext;
use super::super::process_end::COMPOSE_MARK;
use super::super::request::{Action, Decision, UpRequest, started};
use super::super::variables;
use super::base_images;
use super::decisions::record_intent;
use super::engine::{containers, failed, indented, is_up, state_of, tool};
use super::readiness::{failed_service_error, wait};
use super::rewrite::{
    self, RequestedPort, RequestedService, RewriteRequest, RewrittenFile, RewrittenService,
};
use crate::config::{ComposeServiceConfig, ComposeSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::runtime::{self, ComposeProject, ComposeTool, SESSION_SERVICE_LABEL};
use std::path::{Path, PathBuf};

use crate::store::{ResourceStage, Session, write_atomically};

/// Starts the requested services and their dependencies, and waits until all are ready. Adds the dependencies to the
/// decisions.
pub(super) fn start(up: &mut BringUp<'_>) -> Result<()> {
    let BringUp {
        context,
        request,
        claim,
        decisions,
        ..
    } = up;
    let (context, request) = (*context, *request);
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
    let tool = tool(&compose.engine)?;
    let mut env = variables::shared(&session);
    env.push((PROCESS_MARK_VARIABLE.to_owned(), session.mark(COMPOSE_MARK)));
    // Files that a killed tool leaves in this directory are removed with the session.
    let dir = context.home.prepare_compose(&session.key)?;
    env.push(("TMPDIR".to_owned(), dir.to_string_lossy().into_owned()));
    let rewritten = resolve(context, &tool, &session, settings, &env)?;
    let is_member = |name: &str| rewritten.services.iter().any(|member| member.name == name);
    let names = rewritten.services.iter().map(|member| member.name.as_str());
    request.check_along(names)?;
    base_images::check(&shown(settings), &rewritten.builds)?;
    let file = context.home.compose_file(&session.key);
    write_atomically(&file, rewritten.text.as_bytes())
        .map_err(|error| Error::io(ErrorKind::Store, "write", &file, &error))?;
    checkpoint("session-compose-resolved");
    add_needed(context, &session, request, &rewritten.services, decisions)?;
    // A service that the file no longer has is not created.
    let is_known = |name: &str| is_process(name) || is_member(name);
    decisions.retain(|it| it.action != Action::Started || is_known(&it.name));
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
            .services
            .iter()
            .filter(|member| starting.contains(&member.name))
        {
            record_intent(compose, &member.name, &operation, member.one_shot);
        }
        compose.request_pending = true;
    })?;
    checkpoint("session-compose-intent");
    let project = ComposeProject {
        name: &compose.project,
        dir: &home_of(&session, settings),
        files: vec![&file],
        env: &env,
    };
    let made = make(context, &tool, &project, &rewritten.services, &starting);
    checkpoint("session-compose-up");
    claim.update(&mut |session| {
        if let Some(compose) = &mut session.compose {
            // The tool may have failed because it was killed, with a request still pending in the engine.
            compose.request_pending = made.is_err();
            let stage = if made.is_ok() {
                ResourceStage::Made
            } else {
                ResourceStage::Intent
            };
            let own = compose
                .services
                .iter_mut()
                .filter(|service| starting.contains(&service.name));
            own.for_each(|service| service.stage = stage);
        }
    })?;
    made.map_err(|error| failed_service_error(context.home, &session, &starting, error))?;
    wait(
        context,
        &session,
        &rewritten.services,
        &starting,
        settings.timeout,
    )?;
    checkpoint("session-compose-ready");
    Ok(())
}

/// The directory that relative paths in the file and its `.env` refer to: the directory of the first file, as the
/// tool defines it.
fn home_of(session: &Session, settings: &ComposeSettings) -> PathBuf {
    let tree = &session.worktree.path;
    let first = settings.files.first().map(|file| tree.join(file));
    let dir = first.as_deref().and_then(Path::parent);
    dir.unwrap_or(tree).to_owned()
}

/// The names of the files in messages.
fn shown(settings: &ComposeSettings) -> String {
    let names = settings.files.iter().map(|file| file.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// Reads the file of the worktree and rewrites it.
fn resolve(
    context: &OperationContext<'_>,
    tool: &ComposeTool,
    session: &Session,
    settings: &ComposeSettings,
    env: &[(String, String)],
) -> Result<RewrittenFile> {
    let Some(compose) = &session.compose else {
        return Err(Error::new(ErrorKind::Failed, "there is no project"));
    };
    let tree = &session.worktree.path;
    let paths: Vec<_> = settings.files.iter().map(|file| tree.join(file)).collect();
    for (path, file) in paths.iter().zip(&settings.files) {
        if !path.is_file() {
            let (file, tree) = (file.display(), tree.display());
            let message = format!("there is no '{file}' in {tree}");
            return Err(
                Error::new(ErrorKind::Config, crate::term::escape_unsafe(&message))
                    .hint("commit it on that branch, or correct session.compose.file in moat.yaml"),
            );
        }
    }
    let project = ComposeProject {
        name: &compose.project,
        dir: &home_of(session, settings),
        files: paths.iter().map(|path| path.as_path()).collect(),
        env,
    };
    let file = shown(settings);
    let resolved = tool
        .resolve(&project, context.should_continue)
        .map_err(|problem| {
            context.check().err().unwrap_or_else(|| {
                let why = crate::term::strip_sequences(problem.message());
                Error::new(
                    ErrorKind::Config,
                    format!(
                        "{} cannot read {file}:{}",
                        tool.name(),
                        indented(why.lines())
                    ),
                )
                .hint(format!(
                    "see what is wrong with it: {} -f {} config",
                    tool.name(),
                    crate::term::shell_word(&file)
                ))
            })
        })?;
    let ports = |entry: &ComposeServiceConfig| {
        let own = session.ports.iter().filter(|port| port.name == entry.name);
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
            Some(RequestedPort {
                host: port.port,
                container,
            })
        })
        .collect()
    };
    let wanted = RewriteRequest {
        file: &file,
        project: &compose.project,
        labels: &runtime::session_labels(&context.home.hash(), &session.incarnation),
        service_label: SESSION_SERVICE_LABEL,
        services: settings
            .services
            .iter()
            .map(|entry| RequestedService {
                name: &entry.name,
                ports: ports(entry),
            })
            .collect(),
    };
    rewrite::rewrite(resolved, &wanted)
}

/// Adds the dependencies that do not run yet.
fn add_needed(
    context: &OperationContext<'_>,
    session: &Session,
    request: &UpRequest<'_>,
    members: &[RewrittenService],
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
                .any(|member| member.name == *need && member.one_shot);
            let runs = state_of(&found, session, need).is_some_and(|one| is_up(one.state, once));
            if names.contains(need) || request.skip.contains(need) || runs {
                continue;
            }
            names.push(need.clone());
            decisions.retain(|decision| decision.name != *need);
            decisions.push(Decision {
                ends: false,
                name: need.clone(),
                action: Action::Started,
                reason: format!("'{name}' depends on it"),
            });
        }
    }
    Ok(())
}

/// Makes the tool build and start the services.
fn make(
    context: &OperationContext<'_>,
    tool: &ComposeTool,
    project: &ComposeProject<'_>,
    members: &[RewrittenService],
    starting: &[String],
) -> Result<()> {
    let is_starting = |member: &&RewrittenService| starting.contains(&member.name);
    let borrows = members
        .iter()
        .filter(is_starting)
        .any(|member| member.uses_built_image);
    let built = members
        .iter()
        .filter(|member| member.is_built && (borrows || is_starting(member)));
    let built: Vec<&str> = built.map(|member| member.name.as_str()).collect();
    let say = |line: &str| (context.notify)(&format!("compose: {line}"));
    let run = |first: &[&str], names: &[&str]| {
        let result = tool.run(
            project,
            &[first, names].concat(),
            context.should_continue,
            &mut |line| say(line),
        );
        result.map_err(|problem| {
            context.check().err().unwrap_or_else(|| {
                let what = format!("'{} {}' failed:", tool.name(), first[0]);
                Error::new(ErrorKind::Runtime, what + &indented(problem.message().lines()))
                    .hint("everything created so far was rolled back; fix the compose file and repeat the command")
            })
        })
    };
    if !built.is_empty() {
        // Removed afterwards, with what a killed build left.
        run(&["build", "--force-rm"], &built)?;
        checkpoint("session-compose-built");
    }
    // Running services stay as they are, whatever the file says now. The started ones use the current file and the
    // current worktree.
    let words = ["up", "-d", "--no-build", "--no-deps", "--force-recreate"];
    let names: Vec<&str> = starting.iter().map(String::as_str).collect();
    run(&words, &names)
}
