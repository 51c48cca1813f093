//! The driver for docker's command line, and for podman's as a second [`Dialect`]. Facts were measured with Docker
//! 20.10.24 and client 28.2.2, and with podman 4.3.1, rootful and rootless.
//!
//! `create`, then `start --attach`: one process provides the streams, their end and the exit code, and `inspect`
//! confirms it. Never `--rm` (the engine would drop its log), never `logs --timestamps` as the source (it writes
//! timestamps into the middle of lines over 16 KiB).

mod build_args;
mod classify;
mod client_messages;
mod compose;
mod create;
mod create_args;
mod dialect;
mod engine_facts;
mod exec;
mod images;
mod initial_files;
mod inspect;
mod ping;
mod podman_log;
mod podman_requirements;
mod service;
mod session_services;
mod tar_copy;
mod volumes;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::capabilities::{
    Commands, Compose, Containers, Images, KeptOutput, Networks, Runtime, Services,
    SessionServices, Volumes,
};
use super::child::{self, CommandOutput};
use super::client_call::{RUN_LABEL, SESSION_LABEL};
use super::error::{Result, RuntimeError};
use super::{
    Attached, ContainerSpec, Inspected, Labelled, REQUEST_TIMEOUT, ResourceOwner, attach,
    client_terminal,
};
use crate::failpoint::whole_seconds;
use crate::store::{ResourceKind, StreamBytes};

pub(super) use dialect::{Dialect, can_limit, is_rootless};
pub(crate) use engine_facts::{EngineFacts, UserMapping};
pub(super) use ping::{address, has_context, is_local, name_config, name_context, podmans_address};

const PULL_TIMEOUT: Duration = Duration::from_secs(3600);
const COPY_TIMEOUT: Duration = Duration::from_secs(3600);

/// The driver, bound to one engine.
#[derive(Clone)]
pub(super) struct Docker {
    dialect: Dialect,
    engine: Vec<(String, String)>,
    /// Timeout of an ordinary request.
    timeout: Duration,
    /// The directory in which podman may leave its input; it belongs to a run.
    scratch: Option<PathBuf>,
}

impl Docker {
    pub(super) fn new(
        dialect: Dialect,
        engine: Vec<(String, String)>,
        scratch: Option<PathBuf>,
    ) -> Docker {
        let scratch = scratch.filter(|_| dialect == Dialect::Podman);
        Docker {
            dialect,
            engine,
            timeout: REQUEST_TIMEOUT,
            scratch,
        }
    }

    /// A driver with shorter timeouts.
    pub(super) fn with_timeout(self, timeout: Duration) -> Docker {
        Docker { timeout, ..self }
    }

    /// Whether the engine responds. Asks a local engine's socket, which takes a millisecond instead of the client's
    /// thirty.
    pub(super) fn is_answering(&self) -> bool {
        let known = match self.dialect {
            Dialect::Docker => ping::ping(&self.engine),
            Dialect::Podman => None,
        };
        known.unwrap_or_else(|| self.probe().is_ok())
    }

    fn command(&self) -> Command {
        self.with_engine(Command::new(self.dialect.program()))
    }

    fn with_engine(&self, mut command: Command) -> Command {
        for name in self.dialect.settings() {
            command.env_remove(name);
        }
        command
            .args(self.dialect.global_args())
            .envs(self.engine.iter().map(|(name, value)| (name, value)))
            .env("DOCKER_CLI_HINTS", "false");
        let is_docker = self.dialect == Dialect::Docker;
        if is_docker && ping::is_config_broken(&self.engine) && !ping::uses_context(&self.engine) {
            command.env("DOCKER_CONFIG", NO_CONFIG);
        }
        command
    }

    fn run_client(&self, args: &[&str]) -> Result<CommandOutput> {
        self.run_command(self.command().args(args), self.timeout, &|| true)
    }

    /// Runs a client without input.
    fn run_command(
        &self,
        command: &mut Command,
        timeout: Duration,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<CommandOutput> {
        self.answer(child::run(command, b"", timeout, should_continue))
    }

    /// Runs a client that reads `input`.
    fn run_with_input(&self, command: &mut Command, input: &[u8]) -> Result<CommandOutput> {
        self.answer(child::run(command, input, REQUEST_TIMEOUT, &|| true))
    }

    fn answer(&self, ended: io::Result<CommandOutput>) -> Result<CommandOutput> {
        match ended.map_err(|error| self.dialect.failed(&error))? {
            output if output.success => Ok(output),
            output => Err(self.dialect.classify(&output.stderr)),
        }
    }
}

/// A directory that does not exist: a client without a configuration prints no warning.
const NO_CONFIG: &str = "/nonexistent/moat";

/// The error for a docker that is podman, whose command line differs.
pub(crate) fn podman_error() -> RuntimeError {
    RuntimeError::unreachable(
        "docker is podman here",
        "use --runtime podman; if DOCKER_HOST names podman's socket, set CONTAINER_HOST to it",
    )
}

/// Number of log lines that are searched for a message of podman's init.
const INIT_LINES: usize = 4;

impl Docker {
    fn make(&self, request: create_args::ClientCall) -> Result<()> {
        let mut command = self.command();
        let values = request.environment.iter();
        let values = values.map(|(name, value)| (name, value.expose()));
        command.args(&request.args).envs(values);
        self.run_with_input(&mut command, &request.input)
            .map(|_| ())
    }

    /// Makes a request about a container by its name, and makes it again if the container was only renamed.
    fn by_name(
        &self,
        handle: &str,
        request: impl Fn() -> Result<CommandOutput>,
    ) -> Result<CommandOutput> {
        match request() {
            Err(RuntimeError::NotFound(_)) if self.restore_name(handle)? => request(),
            result => result,
        }
    }

    /// Renames a container back that was renamed behind moat's back: a missing name is no proof that the container is
    /// gone. False: no container has the label of this handle.
    fn restore_name(&self, handle: &str) -> Result<bool> {
        let label = format!("label={}={handle}", create_args::HANDLE_LABEL);
        let list = [
            "ps",
            "--all",
            "--no-trunc",
            "--format",
            "{{.ID}}",
            "--filter",
        ];
        let found = self.run_client(&[&list[..], &[&label]].concat())?;
        match found.stdout.lines().next() {
            Some(id) => self.run_client(&["rename", id, handle]).map(|_| true),
            None => Ok(false),
        }
    }

    /// Runs podman's preparation of a start separately, because the client would print about it into the workload's
    /// output: networks, mounts, and their problems.
    fn initialize(&self, handle: &str) -> Result<()> {
        if self.dialect == Dialect::Docker {
            return Ok(());
        }
        self.run_client(&["init", handle]).map(|_| ())
    }

    /// Starts a client that carries a container's output.
    fn attach_client(&self, command: &mut Command, kept: StreamBytes) -> Result<Attached> {
        attach::spawn(
            command,
            Box::new(client_messages::DockerAttachMessages(self.dialect)),
            kept,
        )
        .map_err(|error| self.dialect.failed(&error))
    }

    /// The log's message about a command that could not run; the log then contains nothing else. It may arrive after
    /// the exit, so an incomplete one is read again.
    fn exec_failure(&self, handle: &str) -> Option<u8> {
        for pause in [0, 50] {
            std::thread::sleep(Duration::from_millis(pause));
            let said = self.first_lines(handle);
            let code = inspect::exec_failure(&said);
            let is_whole = !said.is_empty() && inspect::words_of_init(&said).is_none();
            if code.is_some() || is_whole {
                return code;
            }
        }
        None
    }

    /// Whether the engine runs on this machine, as far as its settings show.
    fn is_here(&self) -> bool {
        let address = match self.dialect {
            Dialect::Docker => ping::address(&self.engine),
            Dialect::Podman => ping::podmans_address(&self.engine),
        };
        address.is_none_or(|address| ping::is_local(&address))
    }

    /// The file in which podman keeps a container's log.
    fn log_path(&self, handle: &str) -> Result<PathBuf> {
        let format = "{{.HostConfig.LogConfig.Path}}";
        let output = self.run_client(&["container", "inspect", "--format", format, handle])?;
        Ok(PathBuf::from(output.stdout.trim_end()))
    }

    /// The first lines of a log, which may be long. `--tail` loses pieces of lines (podman 4.3.1).
    fn first_lines(&self, handle: &str) -> String {
        let (lines, mut said) = (Cell::new(0), String::new());
        let mut client = self.command();
        client.args(["logs", handle]);
        let is_short = || lines.get() < INIT_LINES;
        let _ = child::run_lines(&mut client, REQUEST_TIMEOUT, &is_short, &mut |line| {
            if is_short() {
                said.push_str(line);
                said.push('\n');
            }
            lines.set(lines.get() + 1);
        });
        said
    }

    /// podman's init exits with 1 if it cannot run the command, and prints the reason.
    fn with_exec_failure(&self, handle: &str, state: Inspected) -> Inspected {
        let Inspected::Exited(mut exit) = state else {
            return state;
        };
        if self.dialect == Dialect::Podman && exit.code == Some(1) {
            exit.code = self.exec_failure(handle).or(exit.code);
        }
        Inspected::Exited(exit)
    }
}

impl Runtime for Docker {
    fn probe(&self) -> Result<String> {
        let output = self.run_command(
            self.command()
                .args(["version", "--format", self.dialect.version()]),
            Duration::from_secs(10),
            &|| true,
        )?;
        let version = output.stdout.trim();
        match self.dialect {
            Dialect::Docker => {
                let facts = self.facts(None);
                if facts.is_some_and(|facts| facts.is_podman) {
                    return Err(podman_error());
                }
                let facts = facts.map(EngineFacts::describe).unwrap_or_default();
                let config = match ping::is_config_broken(&self.engine) {
                    true => "; the client's config.json cannot be read, so moat uses none",
                    false => "",
                };
                Ok(format!("{version}{facts}{config}"))
            }
            Dialect::Podman if self.is_here() => podman_requirements::check(version),
            Dialect::Podman => Ok(format!("{version}, on another machine")),
        }
    }

    fn find_labelled(&self) -> Result<Vec<Labelled>> {
        let filter = format!("label={}", create_args::HOME_LABEL);
        let label = [create_args::HOME_LABEL, RUN_LABEL, SESSION_LABEL]
            .map(|name| self.dialect.label_format(name))
            .join("\t");
        let (list, of_label) = (["ps", "--all", "--no-trunc", "--filter"], &filter);
        let format = format!("{{{{.Names}}}}\t{{{{.ID}}}}\t{label}");
        let containers = [&list[..], &[of_label, "--format", &format]].concat();
        let output = self.run_client(&containers)?;
        let format = format!("{{{{.Name}}}}\t{{{{.ID}}}}\t{label}");
        let networks =
            self.run_client(&["network", "ls", "--filter", &filter, "--format", &format])?;
        let found = |kind, output: CommandOutput| {
            let lines = output.stdout.lines().filter_map(|line| {
                let mut parts = line.split('\t');
                let (handle, id) = (parts.next()?.to_owned(), parts.next()?.to_owned());
                let mut label = |name| Some(self.dialect.label_in(parts.next()?, name));
                let home_label = label(create_args::HOME_LABEL)?;
                let whose = ResourceOwner::of(label(RUN_LABEL)?, label(SESSION_LABEL)?);
                Some(Labelled {
                    kind,
                    handle,
                    id,
                    home_label,
                    owner: whose,
                })
            });
            lines.collect::<Vec<_>>()
        };
        let mut all = found(ResourceKind::Container, output);
        all.extend(found(ResourceKind::Network, networks));
        Ok(all)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn volumes(&self) -> Option<&dyn Volumes> {
        Some(self)
    }

    fn networks(&self) -> Option<&dyn Networks> {
        Some(self)
    }

    fn services(&self) -> Option<&dyn Services> {
        Some(self)
    }

    fn commands(&self) -> Option<&dyn Commands> {
        Some(self)
    }

    fn kept_output(&self) -> Option<&dyn KeptOutput> {
        Some(self)
    }

    fn session_services(&self) -> Option<&dyn SessionServices> {
        Some(self)
    }

    fn compose(&self) -> Option<&dyn Compose> {
        (self.dialect == Dialect::Docker).then_some(self as &dyn Compose)
    }
}

impl Containers for Docker {
    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.make(create::request(self.dialect, spec)?)?;
        // Engines before 25 accept one network at creation.
        let connect = |network: &String| {
            let words = ["network", "connect", network, &spec.handle];
            self.run_client(&words).map(|_| ())
        };
        let connected = spec.extra_networks.iter().try_for_each(connect);
        let filled = connected.and_then(|()| self.copy_initial_files(spec));
        self.remove_scratch();
        filled.map_err(|problem| match problem {
            // The container exists by now.
            RuntimeError::Unreachable(text, _) => RuntimeError::Transient(text),
            problem => problem,
        })
    }

    fn save_workspace(&self, handle: &str, into: File) -> Result<()> {
        self.save(handle, into)
    }

    fn pre_run_failed(&self, handle: &str) -> Result<bool> {
        let mut command = self.command();
        let from = format!("{handle}:{}", initial_files::pre_run_failed());
        command.args(["cp", &from, "-"]);
        match self.copy(&mut command, Stdio::null(), Stdio::null()) {
            Ok(()) => Ok(true),
            Err(RuntimeError::Refused(_) | RuntimeError::NotFound(_)) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached> {
        self.initialize(&spec.handle)?;
        if let Some(size) = spec.terminal {
            let mut command = self.with_engine(client_terminal::command(self.dialect.program()));
            command
                .args(["start", "--attach"])
                .args(self.dialect.no_sig_proxy_args());
            command.args(["--interactive", "--detach-keys"]);
            let keys = OsStr::from_bytes(self.dialect.detach_keys_arg());
            command.arg(keys).arg(&spec.handle);
            let manner = Box::new(client_messages::DockerAttachMessages(self.dialect));
            return attach::spawn_on_terminal(&mut command, manner, size, attach::unprepared)
                .map_err(|error| self.dialect.failed(&error));
        }
        let mut command = self.command();
        command
            .args(["start", "--attach"])
            .args(self.dialect.no_sig_proxy_args());
        // podman searches any input for its detach keys.
        if self.dialect == Dialect::Podman {
            command.args(["--detach-keys", ""]);
        }
        match stdin {
            Some(stdin) => command.arg("--interactive").stdin(Stdio::from(stdin)),
            None => command.stdin(Stdio::null()),
        };
        self.attach_client(command.arg(&spec.handle), StreamBytes::default())
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        let mut command = self.command();
        command
            .args([
                "inspect",
                "--type",
                "container",
                "--format",
                inspect::INSPECT_FORMAT,
                "--",
            ])
            .args(handles);
        let output = child::run(&mut command, b"", self.timeout, &|| true)
            .map_err(|error| self.dialect.failed(&error))?;
        // A missing container is an error beside the output of the others.
        match self.dialect.classify(&output.stderr) {
            _ if output.success => {}
            RuntimeError::NotFound(_) => {}
            problem => return Err(problem),
        }
        let states = handles.iter().map(|handle| {
            match inspect::parse(&output.stdout, handle, self.dialect, self.is_here())? {
                Inspected::Missing if self.restore_name(handle)? => {
                    let mut found = self.inspect(&[handle])?;
                    Ok(found.pop().unwrap_or(Inspected::Missing))
                }
                state => Ok(self.with_exec_failure(handle, state)),
            }
        });
        states.collect()
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        let stopped = self.by_name(handle, || {
            let mut command = self.command();
            command.args(["stop", "-t", &whole_seconds(grace).to_string(), handle]);
            self.run_command(&mut command, grace + REQUEST_TIMEOUT, &|| true)
        });
        if let Err(RuntimeError::Refused(text)) = &stopped
            && classify::is_paused(text)
        {
            // podman does not stop a paused container.
            self.run_client(&["unpause", handle])?;
            return self.stop(handle, grace);
        }
        ignore_not_found(stopped)
    }

    fn kill(&self, handle: &str) -> Result<()> {
        ignore_not_found(self.by_name(handle, || self.run_client(&["kill", handle])))
    }

    fn remove(&self, handle: &str) -> Result<()> {
        let mut args = vec!["rm", "--force", "--volumes"];
        self.remove_scratch();
        // podman would give it a grace period.
        args.extend_from_slice(self.dialect.remove_timeout_args());
        args.push(handle);
        ignore_not_found(self.by_name(handle, || match self.run_client(&args) {
            // With --force, clients say that a missing container is a success, and print no name.
            Ok(removed) if removed.stdout.trim().is_empty() => {
                Err(RuntimeError::NotFound(removed.stderr.trim().to_owned()))
            }
            removed => removed,
        }))
    }
}

impl KeptOutput for Docker {
    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached> {
        // From the beginning: the only position that is exact to the byte. A following client loses a last line
        // without a newline; after the container's exit, a plain one has it.
        let running = matches!(
            self.inspect(&[handle])?.first(),
            Some(Inspected::Running { .. })
        );
        let mut command = self.command();
        match (running, self.dialect) {
            (true, Dialect::Podman) => {
                let log = self.log_path(handle)?;
                command.args(["wait", handle]);
                return podman_log::follow(&mut command, self.dialect, &log, kept)
                    .map_err(|error| self.dialect.failed(&error));
            }
            (true, Dialect::Docker) => command.args(["logs", "--follow"]),
            (false, _) => command.arg("logs"),
        };
        self.attach_client(command.stdin(Stdio::null()).arg(handle), kept)
    }
}

fn ignore_not_found(result: Result<CommandOutput>) -> Result<()> {
    match result {
        Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(RuntimeError::Refused(text)) if classify::has_ended(&text) => Ok(()),
        result => result.map(|_| ()),
    }
}
