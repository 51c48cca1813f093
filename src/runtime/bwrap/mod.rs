//! The embedded default for a host without an engine: a sandbox of namespaces, made by `bwrap`.
//!
//! There is no daemon. A small process of moat, the *shim*, is between supervisor and sandbox: it holds the
//! workload's pipes, appends the output to files, receives
//! signals, and outlives the supervisor. Everything is in one directory of the run, `sandbox/`:
//!
//! | file | content |
//! |---|---|
//! | `lock` | held by the shim as long as it lives |
//! | `shim` | its process identity |
//! | `stdout`, `stderr` | the workload's output; see [`started`] for the beginning of `stderr` |
//! | `cgroups` | the control groups of the sandbox, if it has limits |
//! | `hook` | the exit code of a script before the command that failed |
//! | `workspace` | the workload's own copy of the workspace, if it has one |
//! | `mounted` | the mount points of other mounts in that copy |
//! | `status` | what `bwrap --json-status-fd` says: the child's pid, and at the end the exit code |

mod cgroup;
mod foreground;
mod init;
mod kernel;
mod limits;
mod sandbox;
mod shim;
mod status;
mod tail;

pub(crate) use cgroup::is_possible as can_limit;
pub(crate) use foreground::{COMMAND as JOB, foreground, job};
pub(crate) use init::{COMMAND as INIT, init};
pub(crate) use sandbox::can_mount_at;
pub(crate) use shim::{COMMAND as SHIM, shim};

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use rustix::process::{Gid, Signal, Uid};

use super::capabilities::{Containers, KeptOutput, Runtime};
use super::error::{Result, RuntimeError};
use super::{
    AttachEnd, Attached, ContainerSpec, EngineClient, Exit, Inspected, Labelled, User, child,
    workspace_copy,
};
use crate::failpoint::checkpoint;
use crate::program::is_on_path;
use crate::store::{
    ProcessIdentity, RunDir, StreamBytes, Timestamp, WorkspaceMode, is_held, make_dir, remove_tree,
};
use crate::term::one_line;
use crate::term::pty::{self, Size};
use tail::Tail;

/// Timeout until the shim has acted on a signal.
const SHIM_SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of the message of a shim that cannot start.
const MAX_SHIM_WORDS: u64 = 4096;

/// The shim of a run, if its driver has one. The shim may have ended.
pub(crate) fn shim_process(run: &RunDir) -> Option<ProcessIdentity> {
    shim_in(&run.sandbox())
}

fn shim_in(dir: &Path) -> Option<ProcessIdentity> {
    let bytes = fs::read(dir.join("shim")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The driver, bound to the directory of one run.
pub(super) struct Bwrap {
    dir: Option<PathBuf>,
}

impl Bwrap {
    pub(super) fn new(dir: Option<PathBuf>) -> Bwrap {
        Bwrap { dir }
    }

    fn dir(&self) -> Result<&Path> {
        let missing = || RuntimeError::Refused("no sandbox was named".to_owned());
        self.dir.as_deref().ok_or_else(missing)
    }

    fn is_alive(&self) -> Result<bool> {
        is_held(&self.dir()?.join("lock")).map_err(|error| RuntimeError::Refused(error.message))
    }

    fn shim(&self) -> Option<ProcessIdentity> {
        shim_in(self.dir.as_deref()?)
    }

    /// Waits until the shim has ended. False: the timeout is over.
    fn wait_for_exit(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(1);
        while self.is_alive()? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Kills the shim; the sandbox dies with it.
    fn kill_shim(&self) -> Result<()> {
        if let Some(shim) = self.shim() {
            shim.signal(Signal::KILL);
        }
        match self.wait_for_exit(SHIM_SIGNAL_TIMEOUT)? {
            true => Ok(()),
            false => Err(RuntimeError::Transient(
                "the sandbox did not end in time".to_owned(),
            )),
        }
    }
}

impl Runtime for Bwrap {
    /// Creates a sandbox with the namespaces of a run's sandbox: an installed bwrap may lack the permission.
    fn probe(&self) -> Result<String> {
        let run = |args: &[&str]| {
            child::run(
                Command::new("bwrap").args(args),
                b"",
                SHIM_SIGNAL_TIMEOUT,
                &|| true,
            )
            .map_err(|error| failed(&error))
        };
        let version = run(&["--version"])?.stdout;
        let mut args = sandbox::NAMESPACES.to_vec();
        args.extend([
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "true",
        ]);
        let trial = run(&args)?;
        match trial.success {
            true => Ok(version.trim().trim_start_matches("bubblewrap ").to_owned()),
            false => Err(setup_error(&trial.stderr)),
        }
    }

    /// Returns no sandboxes: moat finds sandboxes through their runs.
    fn find_labelled(&self) -> Result<Vec<Labelled>> {
        Ok(Vec::new())
    }

    fn kept_output(&self) -> Option<&dyn KeptOutput> {
        Some(self)
    }
}

impl Containers for Bwrap {
    fn create(&self, spec: &ContainerSpec) -> Result<()> {
        if !is_on_path("bwrap") {
            return Err(failed(&io::ErrorKind::NotFound.into()));
        }
        let dir = self.dir()?;
        make_dir(dir).map_err(|error| workspace_copy::failed(dir, &error))?;
        cgroup::make(dir, spec).map_err(|error| {
            let reason = crate::error::os_error_text(&error);
            RuntimeError::Refused(format!("cannot set the limits of the sandbox: {reason}"))
        })?;
        if spec.settings.mounts.workspace_mode == WorkspaceMode::Volume {
            workspace_copy::make(dir, spec)?;
        }
        // bwrap creates mount points while it still sees the whole host.
        workspace_copy::check_links(spec, &workspace_copy::workspace(dir, spec))
    }

    fn save_workspace(&self, _handle: &str, into: File) -> Result<()> {
        workspace_copy::save(self.dir()?, into)
    }

    fn pre_run_failed(&self, _handle: &str) -> Result<bool> {
        let note = fs::metadata(self.dir()?.join(shim::HOOK_CODE_FILE));
        Ok(note.is_ok_and(|note| note.len() > 0))
    }

    fn start_attached(&self, spec: &ContainerSpec, stdin: Option<OwnedFd>) -> Result<Attached> {
        let dir = self.dir()?;
        let arguments = kernel::in_memory(&(sandbox::args(dir, spec).join("\0") + "\0"));
        let arguments = arguments.map_err(|error| failed(&error))?;
        // The shim inherits the descriptor, from which bwrap reads its arguments. So no value is on a command line,
        // and the arguments are complete even if a process is killed.
        rustix::io::fcntl_setfd(&arguments, FdFlags::empty())
            .map_err(|error| failed(&error.into()))?;
        let terminal = spec.terminal.map(|size| open_terminal(size, spec.user()));
        let terminal = terminal.transpose().map_err(|error| failed(&error))?;
        let for_shim = terminal.as_ref().map(OwnedFd::try_clone).transpose();
        let stdin = for_shim.map_err(|error| failed(&error))?.or(stdin);
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(shim::COMMAND)
            .arg(dir)
            .arg(arguments.as_raw_fd().to_string())
            .arg(if terminal.is_some() {
                shim::TERMINAL_ARG
            } else {
                ""
            })
            .arg(spec.user().uid.to_string())
            .arg(spec.user().gid.to_string())
            .arg(limits::encode(&spec.settings.limits.ulimits))
            .arg(spec.pre_run.unwrap_or_default())
            .args(&spec.settings.command)
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        drop(arguments);
        checkpoint("shim-spawned");
        let mut bells = (child.stdout.take(), child.stderr.take());
        wait_locked(dir, &mut child, &mut bells.1)?;
        Ok(Attached {
            stdout: Box::new(Tail::stdout(dir, 0, bells.0.map(OwnedFd::from))),
            stderr: Box::new(Tail::stderr(dir, 0, bells.1.map(OwnedFd::from))),
            lost: StreamBytes::default(),
            client: Box::new(ShimClient(Mutex::new(Some(child)))),
            terminal,
        })
    }

    fn inspect(&self, handles: &[&str]) -> Result<Vec<Inspected>> {
        let dir = self.dir()?;
        let state = if !dir.exists() {
            Inspected::Missing
        } else if self.is_alive()? {
            let started_at = modified(&dir.join("shim"));
            match (status::started(dir), status::exit_code(dir)) {
                (Some(_), None) => Inspected::Running {
                    started_at,
                    ports: Vec::new(),
                },
                (Some(_), Some(_)) => Inspected::Ending { started_at },
                (None, _) => Inspected::Created,
            }
        } else if dir.join("shim").exists() {
            Inspected::Exited(exit(dir))
        } else {
            Inspected::Created
        };
        Ok(handles.iter().map(|_| state.clone()).collect())
    }

    fn inspect_is_cheap(&self) -> bool {
        true
    }

    fn stop(&self, handle: &str, grace: Duration) -> Result<()> {
        if let Some(shim) = self.shim() {
            shim.signal(Signal::TERM);
        }
        match self.wait_for_exit(grace)? {
            true => Ok(()),
            false => self.kill(handle),
        }
    }

    fn kill(&self, _handle: &str) -> Result<()> {
        if let Some(shim) = self.shim() {
            shim.signal(Signal::QUIT);
        }
        match self.wait_for_exit(SHIM_SIGNAL_TIMEOUT)? {
            // A shim without a sandbox holds output that no other process has.
            false if status::exit_code(self.dir()?).is_none() => self.kill_shim(),
            _ => Ok(()),
        }
    }

    fn remove(&self, _handle: &str) -> Result<()> {
        let dir = self.dir()?;
        if self.is_alive()? {
            self.kill_shim()?;
        }
        cgroup::remove(dir)
            .map_err(|error| RuntimeError::Transient(crate::error::os_error_text(&error)))?;
        remove_tree(dir).map_err(|error| workspace_copy::failed(dir, &error))
    }
}

impl KeptOutput for Bwrap {
    fn reattach(&self, _handle: &str, kept: StreamBytes) -> Result<Attached> {
        let dir = self.dir()?;
        let mut stdout = Tail::stdout(dir, kept.stdout, None);
        let mut stderr = Tail::stderr(dir, kept.stderr, None);
        let lost = StreamBytes {
            stdout: stdout.skip_lost(),
            stderr: stderr.skip_lost(),
        };
        Ok(Attached {
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            lost,
            client: Box::new(ShimClient(Mutex::new(None))),
            terminal: None,
        })
    }
}

/// Opens a terminal for a sandbox and returns the supervisor's end.
fn open_terminal(size: Size, user: User) -> io::Result<OwnedFd> {
    let (ours, theirs) = pty::open(size)?;
    // Programs open the terminal again by its name.
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::fs::fchown(&theirs, Some(uid), Some(gid))?;
    }
    Ok(ours)
}

/// Waits until the shim holds its lock. From then on, the lock shows whether the shim lives.
fn wait_locked(dir: &Path, child: &mut Child, stderr: &mut Option<impl Read>) -> Result<()> {
    let deadline = Instant::now() + SHIM_SIGNAL_TIMEOUT;
    while !dir.join("shim").exists() {
        if let Ok(Some(status)) = child.try_wait() {
            let mut words = String::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(MAX_SHIM_WORDS).read_to_string(&mut words);
            }
            let words = one_line(words.trim_start_matches('.'));
            let why = match words.is_empty() {
                true => status.to_string(),
                false => words,
            };
            return Err(RuntimeError::Refused(format!(
                "the sandbox's shim could not start: {why}"
            )));
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(RuntimeError::Transient(
                "the sandbox's shim did not start in time".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// The end of a sandbox whose shim has ended.
fn exit(dir: &Path) -> Exit {
    let code = status::exit_code(dir);
    // Without an exit code, the file was last written at the start.
    let finished_at = code.and_then(|_| modified(&dir.join("status")));
    match status::started(dir) {
        Some(_) => Exit {
            started_at: modified(&dir.join("shim")),
            finished_at,
            code,
            oom_killed: cgroup::oom_killed(dir),
            ..Exit::default()
        },
        None => Exit {
            finished_at,
            error: Some(setup_error(&status::setup_output(dir)).message().to_owned()),
            ..Exit::default()
        },
    }
}

fn modified(path: &Path) -> Option<Timestamp> {
    fs::metadata(path).ok()?.modified().ok().map(Timestamp)
}

/// The shim as a child of this process, which must reap it.
struct ShimClient(Mutex<Option<Child>>);

impl EngineClient for ShimClient {
    fn detach(&self) {}

    fn has_ended(&self) -> bool {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = child.as_mut();
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn ended(&self) -> AttachEnd {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.as_mut() {
            let _ = child::wait_until(child, Instant::now() + SHIM_SIGNAL_TIMEOUT);
        }
        // The files hold the output, whatever process is killed.
        AttachEnd::Complete
    }
}

/// Returns the error of a sandbox that could not be created, from bwrap's message.
fn setup_error(stderr: &str) -> RuntimeError {
    let text = stderr.trim().trim_start_matches("bwrap: ");
    let text = if text.is_empty() {
        "bwrap failed without a message"
    } else {
        text
    };
    let lower = text.to_ascii_lowercase();
    let forbidden = ["namespace", "uid map", "operation not permitted"];
    if forbidden.iter().any(|part| lower.contains(part)) {
        return RuntimeError::unreachable(
            format!("this system does not allow bwrap to create a sandbox: {text}"),
            "allow unprivileged user namespaces (kernel.unprivileged_userns_clone=1, or \
             kernel.apparmor_restrict_unprivileged_userns=0), or use --runtime docker",
        );
    }
    RuntimeError::Refused(format!("cannot create the sandbox: {text}"))
}

fn failed(error: &io::Error) -> RuntimeError {
    match error.kind() {
        io::ErrorKind::NotFound => RuntimeError::unreachable(
            "bwrap is not installed: there is no 'bwrap' on PATH",
            "install it: apt-get install bubblewrap (or dnf, pacman, apk)",
        ),
        _ => RuntimeError::unreachable(
            format!("cannot run bwrap: {}", crate::error::os_error_text(error)),
            "run 'moat doctor'",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::Scratch;

    #[test]
    fn a_shim_that_cannot_start_says_why() {
        let scratch = Scratch::new();
        let fails = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stderr = child.stderr.take();
            let error = wait_locked(&scratch.dir("run"), &mut child, &mut stderr).unwrap_err();
            error.message().to_owned()
        };
        assert_eq!(
            fails("echo No space left on device >&2; exit 125"),
            "the sandbox's shim could not start: No space left on device"
        );
        assert_eq!(
            fails("exit 3"),
            "the sandbox's shim could not start: exit status: 3"
        );
    }
}
