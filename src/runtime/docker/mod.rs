//! The `docker` command line. Facts about it were measured with Docker 20.10.24 and client 28.2.2.
//!
//! `create`, then `start --attach`: one process gives the stream, its end and the exit code, and
//! `inspect` confirms it. Never `--rm` (the engine would drop its log), never `logs --timestamps`
//! as the source (it writes timestamps into the middle of lines over 16 KiB).

mod arguments;
mod build;
mod classify;
mod create;
mod exec;
mod fill;
mod inspect;
mod manner;
mod ping;
mod sidecar;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::child::{self, Output};
use super::problem::{Problem, Result};
use super::{
    Attached, BuildEvent, ContainerSpec, EngineVolume, ExecSpec, ImageBuild, Inspected, Labelled,
    Network, Refusal, Runtime, ServiceSpec, WORKSPACE, attach, in_workspace, steps, tty,
};
use crate::store::{ResourceKind, StreamBytes, WorkspaceMode, leave_out, pack};

/// The environment variables by which the client finds its engine.
pub(super) const SETTINGS: [&str; 5] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
];

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PULL_PATIENCE: Duration = Duration::from_secs(3600);
const BUILD_PATIENCE: Duration = Duration::from_secs(4 * 3600);
const COPY_PATIENCE: Duration = Duration::from_secs(3600);

/// The driver, bound to one engine.
pub(super) struct Docker {
    engine: Vec<(String, String)>,
}

impl Docker {
    pub(super) fn new(engine: Vec<(String, String)>) -> Docker {
        Docker { engine }
    }

    /// Whether the engine answers. Asks its socket where that is a local one, which takes a
    /// millisecond instead of the client's thirty.
    pub(super) fn answers(&self) -> bool {
        ping::ping(&self.engine).unwrap_or_else(|| self.probe().is_ok())
    }

    fn command(&self) -> Command {
        self.complete(Command::new("docker"))
    }

    fn complete(&self, mut command: Command) -> Command {
        for name in SETTINGS {
            command.env_remove(name);
        }
        command
            .envs(self.engine.iter().map(|(name, value)| (name, value)))
            .env("DOCKER_CLI_HINTS", "false");
        command
    }

    fn call(&self, args: &[&str]) -> Result<Output> {
        self.finish(self.command().args(args), b"", PATIENCE, &|| true)
    }

    fn finish(
        &self,
        command: &mut Command,
        input: &[u8],
        patience: Duration,
        going_on: &dyn Fn() -> bool,
    ) -> Result<Output> {
        let output =
            child::run(command, input, patience, going_on).map_err(|error| failed(&error))?;
        if output.success {
            Ok(output)
        } else {
            Err(classify::classify(&output.stderr))
        }
    }
}

/// The client's own escape, which cannot be switched off: bytes that are in no text and no key.
const NO_KEYS: &[u8] = b"\xff,\xff,\xff,\xff";

/// So much of a failed build is looked at for its reason.
const LAST_LINES: usize = 40;

/// The label of a volume: the project's name for it.
const VOLUME_LABEL: &str = "moat.volume";

impl Docker {
    fn make(&self, request: arguments::Request) -> Result<()> {
        let mut command = self.command();
        command.args(&request.args).envs(request.environment);
        self.finish(&mut command, &request.input, PATIENCE, &|| true)
            .map(|_| ())
    }

    /// Puts into a new container what belongs there.
    fn fill(&self, spec: &ContainerSpec) -> Result<()> {
        if let Some(archive) = fill::directories(spec, &self.new_volumes(spec)?)? {
            let mut command = self.command();
            command.args(["cp", "-", &format!("{}:/", spec.handle)]);
            self.finish(&mut command, &archive, PATIENCE, &|| true)?;
        }
        if spec.workspace_mode == WorkspaceMode::Bind {
            return Ok(());
        }
        // The engine would write into what is mounted there.
        let without = spec.not_copied();
        let mut tar = pack(&spec.workspace, &without, Stdio::piped()).map_err(no_tar)?;
        let archive = tar.archive();
        let mut command = self.command();
        command.args(["cp", "-", &format!("{}:{WORKSPACE}", spec.handle)]);
        let copied = self.copy(&mut command, archive, Stdio::null());
        let packed = tar.finish().map_err(no_tar)?;
        copied?;
        packed.map_err(|words| Problem::Refused(format!("the workspace cannot be copied: {words}")))
    }

    /// Where volumes are mounted that nobody has given to the workload's user yet. What the user made of
    /// its own ones stays as it is.
    fn new_volumes<'a>(&self, spec: &'a ContainerSpec) -> Result<Vec<&'a str>> {
        let mut found = Vec::new();
        // Nothing can be put into a read-only one, not even an owner.
        let writable = spec.volumes.iter().filter(|volume| !volume.readonly);
        for volume in writable.filter(|_| spec.user.uid != 0) {
            let from = format!("{}:{}", spec.handle, volume.target);
            let mut command = self.command();
            command.args(["cp", &from, "-"]);
            let header = child::head(&mut command, fill::BLOCK, PATIENCE);
            if fill::is_roots(&header.map_err(|error| failed(&error))?) {
                found.push(volume.target.as_str());
            }
        }
        Ok(found)
    }

    /// Where in the workspace of a container something else is mounted, relative to it.
    fn mounted_in_workspace(&self, handle: &str) -> Result<Vec<String>> {
        let format = "{{range .Mounts}}{{println .Destination}}{{end}}\
            {{range $path, $_ := .HostConfig.Tmpfs}}{{println $path}}{{end}}";
        let inspect = ["inspect", "--type", "container", "--format", format, handle];
        Ok(in_workspace(self.call(&inspect)?.stdout.lines()))
    }

    /// Runs a client whose input or output is large.
    fn copy(&self, command: &mut Command, input: Stdio, output: Stdio) -> Result<()> {
        let stderr = child::transfer(command, input, output, COPY_PATIENCE)
            .map_err(|error| failed(&error))?;
        match stderr {
            None => Ok(()),
            Some(words) => Err(classify::classify(&words)),
        }
    }
}

fn no_tar(error: io::Error) -> Problem {
    Problem::Refused(format!("cannot run tar: {}", crate::error::reason(&error)))
}

impl Runtime for Docker {
    fn probe(&self) -> Result<String> {
        let output = self.finish(
            self.command()
                .args(["version", "--format", "{{.Server.Version}}"]),
            b"",
            Duration::from_secs(10),
            &|| true,
        )?;
        Ok(output.stdout.trim().to_owned())
    }

    fn pull_image(&self, image: &str, going_on: &dyn Fn() -> bool) -> Result<()> {
        let mut command = self.command();
        command.args(["pull", "--quiet", "--", image]);
        match self.finish(&mut command, b"", PULL_PATIENCE, going_on) {
            Err(Problem::Refused(text) | Problem::NotFound(text) | Problem::Transient(text)) => {
                Err(Problem::ImageMissing(text))
            }
            result => result.map(|_| ()),
        }
    }

    fn has_image(&self, image: &str) -> Result<bool> {
        match self.call(&["image", "inspect", "--format", "{{.Id}}", "--", image]) {
            Err(Problem::ImageMissing(_) | Problem::NotFound(_)) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn build_image(
        &self,
        build: &ImageBuild,
        tell: &mut dyn FnMut(BuildEvent<'_>),
        going_on: &dyn Fn() -> bool,
    ) -> Result<()> {
        let mut command = self.command();
        command
            .args(build::args(build))
            // One line after the other, whichever builder it is.
            .env("BUILDKIT_PROGRESS", "plain");
        let mut last = VecDeque::with_capacity(LAST_LINES);
        let built = child::stream(&mut command, BUILD_PATIENCE, going_on, &mut |line| {
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
            tell(steps::event(line));
        });
        if built.map_err(|error| failed(&error))?.success() {
            return Ok(());
        }
        let last = last.make_contiguous().join("\n");
        Err(match classify::classify(&last) {
            problem @ (Problem::Unreachable(..) | Problem::Transient(_)) => problem,
            _ => Problem::Refused(last.lines().last().unwrap_or_default().to_owned()),
        })
    }

    fn make_volume(&self, volume: &EngineVolume) -> Result<()> {
        let home = format!("{}={}", arguments::HOME_LABEL, volume.home_label);
        let name = format!("{}={}", VOLUME_LABEL, volume.name);
        let labels = ["--label", &home, "--label", &name];
        let mut args = vec!["volume", "create"];
        args.extend(labels);
        args.push(&volume.handle);
        self.call(&args).map(|_| ())
    }

    fn volumes(&self, home: &str) -> Result<Vec<EngineVolume>> {
        let filter = format!("label={}={home}", arguments::HOME_LABEL);
        let format = format!("{{{{.Name}}}}\t{{{{.Label \"{VOLUME_LABEL}\"}}}}");
        let output = self.call(&["volume", "ls", "--filter", &filter, "--format", &format])?;
        let found = output.stdout.lines().filter_map(|line| {
            let (handle, name) = line.split_once('\t')?;
            Some(EngineVolume {
                handle: handle.to_owned(),
                home_label: home.to_owned(),
                name: name.to_owned(),
            })
        });
        Ok(found.collect())
    }

    fn remove_volume(&self, handle: &str) -> Result<()> {
        match self.call(&["volume", "rm", handle]) {
            Err(Problem::Refused(text)) if text.to_lowercase().contains("no such volume") => Ok(()),
            result => gone_is_fine(result),
        }
    }

    fn make_network(&self, network: &Network) -> Result<()> {
        let args = sidecar::network(network);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.call(&args).map(|_| ())
    }

    fn has_network(&self, handle: &str) -> Result<bool> {
        match self.call(&["network", "inspect", "--format", "{{.Id}}", handle]) {
            Err(Problem::NotFound(_)) => Ok(false),
            result => result.map(|_| true),
        }
    }

    fn remove_network(&self, handle: &str) -> Result<()> {
        gone_is_fine(self.call(&["network", "rm", handle]))
    }

    fn create_service(&self, spec: &ServiceSpec) -> Result<()> {
        self.make(sidecar::request(spec)?)
    }

    fn start_service(&self, handle: &str) -> Result<Attached> {
        let mut command = self.command();
        command.args(["start", "--attach"]).stdin(Stdio::null());
        carry(command.arg(handle), StreamBytes::default())
    }

    fn exec(
        &self,
        handle: &str,
        command: &[String],
        patience: Duration,
        going_on: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>> {
        let mut client = self.command();
        client.args(["exec", handle]).args(command);
        let status = child::stream(&mut client, patience, going_on, tell);
        let status = status.map_err(|error| failed(&error))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()))
    }

    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached> {
        if let Some(size) = spec.terminal {
            let mut client = self.complete(tty::command("docker"));
            exec::command(&mut client, spec)?;
            return exec::spawn_on_terminal(&mut client, size);
        }
        let mut client = self.command();
        exec::command(&mut client, spec)?;
        match &spec.stdin {
            Some(stdin) => {
                let stdin = stdin.try_clone().map_err(|error| failed(&error))?;
                client.stdin(Stdio::from(stdin))
            }
            None => client.stdin(Stdio::null()),
        };
        exec::spawn(&mut client)
    }

    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()> {
        let mut client = self.command();
        exec::kill(&mut client, handle, marker, signal);
        self.finish(&mut client, b"", PATIENCE, &|| true)
            .map(|_| ())
    }

    fn refusal(&self, code: u8, words: &[u8]) -> Refusal {
        exec::refusal(code, words)
    }

    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.make(create::request(spec)?)?;
        self.fill(spec).map_err(|problem| match problem {
            // There is a container by now.
            Problem::Unreachable(text, _) => Problem::Transient(text),
            problem => problem,
        })
    }

    fn save_workspace(&self, handle: &str, into: File) -> Result<()> {
        let mut command = self.command();
        let from = format!("{handle}:{WORKSPACE}/.");
        command.args(["cp", &from, "-"]);
        let without = self.mounted_in_workspace(handle)?;
        if without.is_empty() {
            return self.copy(&mut command, Stdio::null(), Stdio::from(into));
        }
        // The engine's copy has in it what is mounted there, secrets and caches.
        let failed = |error: io::Error| Problem::Refused(crate::error::reason(&error));
        let (archive, out) = io::pipe().map_err(failed)?;
        let filter = std::thread::spawn(move || leave_out(archive, into, &without));
        let copied = self.copy(&mut command, Stdio::null(), Stdio::from(out));
        match filter.join().unwrap_or(Ok(())) {
            // The engine's client says why the archive ended too early.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(failed(error)),
            filtered => copied.and(filtered.map_err(failed)),
        }
    }

    fn pre_run_failed(&self, handle: &str) -> Result<bool> {
        let mut command = self.command();
        let from = format!("{handle}:{}", fill::pre_run_failed());
        command.args(["cp", &from, "-"]);
        match self.copy(&mut command, Stdio::null(), Stdio::null()) {
            Ok(()) => Ok(true),
            Err(Problem::Refused(_) | Problem::NotFound(_)) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached> {
        if let Some(size) = spec.terminal {
            let mut command = self.complete(tty::command("docker"));
            command.args(["start", "--attach", "--interactive", "--detach-keys"]);
            command.arg(OsStr::from_bytes(NO_KEYS)).arg(&spec.handle);
            let manner = Box::new(manner::Attachment);
            return attach::spawn_on_terminal(&mut command, manner, size, attach::as_it_is)
                .map_err(|error| failed(&error));
        }
        let mut command = self.command();
        command.args(["start", "--attach"]);
        match stdin {
            Some(stdin) => command.arg("--interactive").stdin(Stdio::from(stdin)),
            None => command.stdin(Stdio::null()),
        };
        carry(command.arg(&spec.handle), StreamBytes::default())
    }

    fn reattach(&self, handle: &str, kept: StreamBytes) -> Result<Attached> {
        // From the beginning: it is the only position that is exact to the byte. A following
        // client leaves out a last line without a newline; once the container has ended, a plain
        // one has it.
        let running = matches!(
            self.inspect(&[handle])?.first(),
            Some(Inspected::Running { .. })
        );
        let mut command = self.command();
        command.arg("logs").stdin(Stdio::null());
        if running {
            command.arg("--follow");
        }
        carry(command.arg(handle), kept)
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        let mut command = self.command();
        command
            .args([
                "inspect",
                "--type",
                "container",
                "--format",
                inspect::FORMAT,
                "--",
            ])
            .args(handles);
        let output =
            child::run(&mut command, b"", PATIENCE, &|| true).map_err(|error| failed(&error))?;
        // With several containers, a missing one is an error beside the output of the others.
        match classify::classify(&output.stderr) {
            _ if output.success => {}
            Problem::NotFound(_) => {}
            problem => return Err(problem),
        }
        handles
            .iter()
            .map(|handle| inspect::parse(&output.stdout, handle))
            .collect()
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        let mut command = self.command();
        command.args(["stop", "-t", &grace.as_secs().to_string(), handle]);
        gone_is_fine(self.finish(&mut command, b"", grace + PATIENCE, &|| true))
    }

    fn kill(&self, handle: &str) -> Result<()> {
        gone_is_fine(self.call(&["kill", handle]))
    }

    fn remove(&self, handle: &str) -> Result<()> {
        gone_is_fine(self.call(&["rm", "--force", "--volumes", handle]))
    }

    fn find_labelled(&self, home: &str) -> Result<Vec<Labelled>> {
        let filter = format!("label={}={home}", arguments::HOME_LABEL);
        let format = "{{.Names}}\t{{.Label \"moat.run\"}}";
        let output = self.call(&[
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            format,
        ])?;
        let format = "{{.Name}}\t{{.Label \"moat.run\"}}";
        let networks = self.call(&["network", "ls", "--filter", &filter, "--format", format])?;
        let found = |kind, output: Output| {
            let lines = output.stdout.lines().filter_map(|line| {
                let (handle, run) = line.split_once('\t')?;
                Some(Labelled {
                    kind,
                    handle: handle.to_owned(),
                    run: run.to_owned(),
                })
            });
            lines.collect::<Vec<_>>()
        };
        let mut all = found(ResourceKind::Container, output);
        all.extend(found(ResourceKind::Network, networks));
        Ok(all)
    }
}

/// Starts a client that carries a container's output.
fn carry(command: &mut Command, kept: StreamBytes) -> Result<Attached> {
    attach::spawn(command, Box::new(manner::Attachment), kept).map_err(|error| failed(&error))
}

fn gone_is_fine(result: Result<Output>) -> Result<()> {
    match result {
        Err(Problem::NotFound(_)) => Ok(()),
        Err(Problem::Refused(text)) if classify::has_ended(&text) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// The client could not be run, or did not answer in time.
fn failed(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::unreachable(
            "docker is not installed: there is no 'docker' on PATH",
            "install it, or choose another runtime: --runtime bwrap",
        ),
        io::ErrorKind::TimedOut => Problem::Transient("docker did not answer in time".to_owned()),
        _ => Problem::unreachable(
            format!("cannot run docker: {}", crate::error::reason(error)),
            "check the 'docker' on your PATH",
        ),
    }
}
