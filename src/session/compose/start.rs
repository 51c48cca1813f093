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

use crate::store::{Claim, ResourceStage, Session, SessionCompose, SessionPort, write_atomically};

/// Starts the requested services and their dependencies, and waits until all are ready. Adds the dependencies to the
/// decisions.
pub(super) fn start(up: &mut BringUp<'_>, claim: &mut Claim) -> Result<()> {
    let Some(compose_up) = ComposeUp::new(up, claim)? else {
        return Ok(());
    };
    let rewritten = compose_up.rewrite()?;
    checkpoint("session-compose-resolved");
    let starting = compose_up.choose(&rewritten.services, &mut up.decisions)?;
    record_intents(claim, &rewritten.services, &starting)?;
    checkpoint("session-compose-intent");
    let made = compose_up.make(&rewritten.services, &starting);
    checkpoint("session-compose-up");
    record_result(claim, &starting, made.is_ok())?;
    let (context, session) = (up.context, &compose_up.session);
    made.map_err(|error| failed_service_error(session, &starting, error))?;
    wait(context, session, &starting, compose_up.settings.timeout)?;
    checkpoint("session-compose-ready");
    Ok(())
}

/// An `up` that starts compose services.
struct ComposeUp<'a> {
    context: &'a OperationContext<'a>,
    request: &'a UpRequest<'a>,
    settings: &'a ComposeSettings,
    session: Session,
    compose: SessionCompose,
    tool: ComposeTool,
    /// The variables of the tool.
    env: Vec<(String, String)>,
    /// The directory that relative paths in the file and its `.env` refer to: the directory of the first file, as the
    /// tool defines it.
    dir: PathBuf,
}

impl<'a> ComposeUp<'a> {
    /// `None`: no compose service is started.
    fn new(up: &BringUp<'a>, claim: &Claim) -> Result<Option<ComposeUp<'a>>> {
        let (context, request) = (up.context, up.request);
        let (Some(settings), Some(session)) = (&request.settings.compose, claim.session()) else {
            return Ok(None);
        };
        let is_process = |name: &str| request.has_process(name);
        let Some(compose) = session
            .compose
            .clone()
            .filter(|_| !started(&up.decisions).all(is_process))
        else {
            return Ok(None);
        };
        context.check()?;
        let tool = tool(&compose.engine)?;
        let mut env = variables::shared(session);
        env.push((PROCESS_MARK_VARIABLE.to_owned(), session.mark(COMPOSE_MARK)));
        // Files that a killed tool leaves in this directory are removed with the session.
        let dir = context.home.prepare_compose(&session.key)?;
        env.push(("TMPDIR".to_owned(), dir.to_string_lossy().into_owned()));
        let tree = &session.worktree.path;
        let first = settings.files.first().map(|file| tree.join(file));
        let dir = first.as_deref().and_then(Path::parent).unwrap_or(tree);
        Ok(Some(ComposeUp {
            dir: dir.to_owned(),
            session: session.clone(),
            context,
            request,
            settings,
            compose,
            tool,
            env,
        }))
    }

    fn project<'s>(&'s self, files: &'s [PathBuf]) -> ComposeProject<'s> {
        ComposeProject {
            name: &self.compose.project,
            dir: &self.dir,
            files: files.iter().map(PathBuf::as_path).collect(),
            env: &self.env,
        }
    }

    /// The file that the tool is given.
    fn file(&self) -> PathBuf {
        self.context.home.compose_file(&self.session.key)
    }

    /// The names of the files in messages.
    fn shown_files(&self) -> String {
        let files = self.settings.files.iter();
        let names: Vec<String> = files.map(|file| file.display().to_string()).collect();
        names.join(", ")
    }

    /// Replaces the error of a tool by the interruption, if there was one.
    fn cause(&self, failed: impl FnOnce() -> Error) -> Error {
        self.context.check().err().unwrap_or_else(failed)
    }

    /// Reads the files of the worktree, and writes the file for the tool.
    fn rewrite(&self) -> Result<RewrittenFile> {
        let shown = self.shown_files();
        let wanted = RewriteRequest {
            file: &shown,
            project: &self.compose.project,
            labels: &runtime::session_labels(
                &self.context.home.label()?,
                &self.session.incarnation,
            ),
            service_label: SESSION_SERVICE_LABEL,
            services: self.requested_services(),
        };
        let rewritten = rewrite::rewrite(self.resolve(&shown)?, &wanted)?;
        let names = rewritten.services.iter().map(|member| member.name.as_str());
        self.request.check_along(names)?;
        base_images::check(&shown, &rewritten.builds)?;
        let file = self.file();
        write_atomically(&file, rewritten.text.as_bytes())
            .map_err(|error| Error::io(ErrorKind::Store, "write", &file, &error))?;
        Ok(rewritten)
    }

    /// The files as the tool reads them.
    fn resolve(&self, shown: &str) -> Result<String> {
        let tree = &self.session.worktree.path;
        let files = self.settings.files.iter();
        if let Some(file) = files.clone().find(|file| !tree.join(file).is_file()) {
            let (file, tree) = (file.display(), tree.display());
            let message = format!("there is no '{file}' in {tree}");
            return Err(
                Error::new(ErrorKind::Config, crate::term::escape_unsafe(&message))
                    .hint("commit it on that branch, or correct session.compose.file in moat.yaml"),
            );
        }
        let paths: Vec<PathBuf> = files.map(|file| tree.join(file)).collect();
        let (project, tool) = (self.project(&paths), &self.tool);
        let resolved = tool.resolve(&project, self.context.should_continue);
        resolved.map_err(|problem| {
            self.cause(|| {
                let why = crate::term::strip_sequences(problem.message());
                let (name, why) = (tool.name(), indented(why.lines()));
                let quoted = crate::term::shell_word(shown);
                Error::new(
                    ErrorKind::Config,
                    format!("{name} cannot read {shown}:{why}"),
                )
                .hint(format!(
                    "see what is wrong with it: {name} -f {quoted} config"
                ))
            })
        })
    }

    fn requested_services(&self) -> Vec<RequestedService<'_>> {
        let port = |entry: &ComposeServiceConfig, port: &SessionPort| {
            let mut extra = entry.extra_ports.iter();
            let container = match port.primary {
                true => entry.container_port,
                false => {
                    let extra = extra.find(|extra| extra.port.value == port.base)?;
                    Some(extra.container_port)
                }
            };
            Some(RequestedPort {
                host: port.port,
                container,
            })
        };
        let service = |entry: &'a ComposeServiceConfig| {
            let own = self.session.ports_of(&entry.name);
            RequestedService {
                name: &entry.name,
                ports: own.filter_map(|own| port(entry, own)).collect(),
            }
        };
        self.settings.services.iter().map(service).collect()
    }

    /// The services to start. The dependencies that do not run yet are added to the decisions.
    fn choose<'m>(
        &self,
        members: &'m [RewrittenService],
        decisions: &mut Vec<Decision>,
    ) -> Result<Vec<&'m RewrittenService>> {
        let member = |name: &str| members.iter().find(|member| member.name == name);
        let found = containers(&self.session).map_err(failed)?;
        let mut names: Vec<String> = started(decisions).map(str::to_owned).collect();
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            for need in member(&name).into_iter().flat_map(|member| &member.needs) {
                let once = member(need).is_some_and(|member| member.one_shot);
                let runs =
                    state_of(&found, &self.session, need).is_some_and(|one| is_up(one.state, once));
                if names.contains(need) || self.request.skip.contains(need) || runs {
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
        // A service that the file no longer has is not created.
        let is_known = |name: &str| self.request.has_process(name) || member(name).is_some();
        decisions.retain(|it| it.action != Action::Started || is_known(&it.name));
        Ok(started(decisions).filter_map(member).collect())
    }

    /// Makes the tool build and start the services.
    fn make(&self, members: &[RewrittenService], starting: &[&RewrittenService]) -> Result<()> {
        let borrows = starting.iter().any(|member| member.uses_built_image);
        let built = members.iter().filter(|member| member.is_built);
        let built: Vec<&str> = built
            .filter(|member| borrows || is_in(starting, &member.name))
            .map(|member| member.name.as_str())
            .collect();
        if !built.is_empty() {
            // Removed afterwards, with what a killed build left.
            self.run(&["build", "--force-rm"], &built)?;
            checkpoint("session-compose-built");
        }
        // Running services stay as they are, whatever the file says now. The started ones use the current file and the
        // current worktree.
        let words = ["up", "-d", "--no-build", "--no-deps", "--force-recreate"];
        let names: Vec<&str> = starting.iter().map(|it| it.name.as_str()).collect();
        self.run(&words, &names)
    }

    fn run(&self, words: &[&str], names: &[&str]) -> Result<()> {
        let (tool, files) = (&self.tool, [self.file()]);
        let args = [words, names].concat();
        let mut say = |line: &str| (self.context.notify)(&format!("compose: {line}"));
        let ran = tool.run(
            &self.project(&files),
            &args,
            self.context.should_continue,
            &mut say,
        );
        ran.map_err(|problem| {
            self.cause(|| {
                let what = format!("'{} {}' failed:", tool.name(), words[0]);
                Error::new(ErrorKind::Runtime, what + &indented(problem.message().lines()))
                    .hint("everything created so far was rolled back; fix the compose file and repeat the command")
            })
        })
    }
}

fn is_in(members: &[&RewrittenService], name: &str) -> bool {
    members.iter().any(|member| member.name == name)
}

fn record_intents(
    claim: &mut Claim,
    members: &[RewrittenService],
    starting: &[&RewrittenService],
) -> Result<()> {
    let operation = claim.id().to_owned();
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    claim.update(&mut |session| {
        if let Some(compose) = &mut session.compose {
            let services = &mut compose.services;
            services.retain(|it| it.operation != operation || is_member(&it.name));
            for member in members.iter().filter(|it| is_in(starting, &it.name)) {
                record_intent(compose, &member.name, &operation, member.one_shot);
                if let Some(service) = compose.services.last_mut() {
                    service.may_end = member.may_end;
                }
            }
            compose.request_pending = true;
        }
    })
}

fn record_result(claim: &mut Claim, starting: &[&RewrittenService], is_made: bool) -> Result<()> {
    claim.update(&mut |session| {
        if let Some(compose) = &mut session.compose {
            // The tool may have failed because it was killed, with a request still pending in the engine.
            compose.request_pending = !is_made;
            let services = compose.services.iter_mut();
            for service in services.filter(|it| is_in(starting, &it.name)) {
                service.stage = match is_made {
                    true => ResourceStage::Made,
                    false => ResourceStage::Intent,
                };
            }
        }
    })
}
