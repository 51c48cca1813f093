//! The process between supervisor and sandbox. [`super`] explains its purpose and its files.
//!
//! The shim has pipes between the workload and the files, because a workload may open its standard streams again
//! (`echo x > /dev/stderr`), which would truncate a file. After each write the shim notifies the supervisor: it
//! writes a byte to its own standard output or error, for the stream of that name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal, ioctl_tiocsctty};
use rustix::stdio::{dup2_stdin, stdin};
use signal_hook::consts::{SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{cgroup, foreground, init, kernel, sandbox, status};
use crate::store::{ProcessIdentity, create, exclusive, write_atomically};
use crate::term::pty;

/// The hidden command.
pub(crate) const COMMAND: &str = "__shim";

/// The argument for a workload with a terminal.
pub(super) const TERMINAL_ARG: &str = "terminal";

/// The file with the exit code of a failed script.
pub(super) const HOOK_CODE_FILE: &str = "hook";

/// Timeout of a signal until the workload has started.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// Number of bytes of output per notice, and the number of notices that the supervisor may leave unread. Together
/// they limit the lead of the workload over the supervisor.
const BYTES_PER_NOTICE: usize = 256;
const MAX_UNREAD_NOTICES: usize = 4096;

/// Maximum number of bytes of one read from a pipe.
const MAX_READ_BYTES: usize = 64 * 1024;

/// Poll interval for the end of the sandbox while no supervisor reads the notices.
const POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Disk space that is reserved for each stream at the start, in bytes.
const RESERVED_BYTES: u64 = 256 * 1024;

/// Runs the sandbox of the arguments until it ends. Returns bwrap's exit code.
pub(crate) fn shim(args: &[OsString]) -> u8 {
    let Some(request) = ShimArguments::parse(args) else {
        return 2;
    };
    match request.run() {
        Ok(code) => code,
        Err(error) => {
            // A failing bwrap would leave its message in this file, so the reader finds both in one place.
            let why = crate::error::os_error_text(&error);
            let _ = fs::write(request.dir.join("stderr"), format!("bwrap: {why}\n"));
            // The reader of the file may wait for this shim's lock, and the disk may have no room for the file.
            let full = error.kind() == io::ErrorKind::StorageFull;
            let hint = full.then(|| {
                let dir = request.dir.display();
                format!("; 'df' and 'df -i' show what is free for {dir}")
            });
            let line = format!("{why}{}\n", hint.unwrap_or_default());
            let _ = io::stderr().write_all(line.as_bytes());
            125
        }
    }
}

struct ShimArguments<'a> {
    dir: PathBuf,
    /// The inherited descriptor from which bwrap reads its arguments.
    args_fd: &'a OsStr,
    /// Whether stdin is the supervisor's end of a terminal for the workload.
    has_terminal: bool,
    uid: u32,
    gid: u32,
    limits: &'a OsStr,
    pre_run: &'a OsStr,
    command: &'a [OsString],
}

impl<'a> ShimArguments<'a> {
    fn parse(args: &'a [OsString]) -> Option<ShimArguments<'a>> {
        let [
            dir,
            args_fd,
            terminal,
            uid,
            gid,
            limits,
            pre_run,
            command @ ..,
        ] = args
        else {
            return None;
        };
        Some(ShimArguments {
            dir: PathBuf::from(dir),
            args_fd,
            has_terminal: terminal == TERMINAL_ARG,
            uid: uid.to_str()?.parse().ok()?,
            gid: gid.to_str()?.parse().ok()?,
            limits,
            pre_run,
            command,
        })
    }

    fn run(&self) -> io::Result<u8> {
        // setsid(2) fails only for the leader of a process group, which a fresh child is not.
        let _ = rustix::process::setsid();
        // Another process may test the lock at this moment, which takes no time.
        let lock = exclusive(&self.dir.join("lock"), START_TIMEOUT);
        let _lock = lock.ok().flatten().ok_or(io::ErrorKind::WouldBlock)?;
        let signals = Signals::new([SIGTERM, SIGQUIT])?;
        let spools = (self.spool("stdout")?, self.spool("stderr")?);
        let (ours, theirs) = self.take_terminal()?.unzip();
        let identity = serde_json::to_vec(&ProcessIdentity::current())?;
        write_atomically(&self.dir.join("shim"), &identity)?;
        // The main thread spawns the sandbox: `--die-with-parent` refers to the spawning thread.
        let mut child = self.spawn(theirs)?;
        let stdout = ours.or(child.stdout.take().map(OwnedFd::from));
        let stderr = child.stderr.take();
        let workload = SignalTarget {
            dir: self.dir.clone(),
            bwrap: child.id(),
            has_terminal: self.has_terminal,
        };
        std::thread::spawn(move || workload.obey(signals));
        let over = Arc::new(AtomicBool::new(false));
        let bells = (
            OutputNotifier::new(io::stdout(), &over),
            OutputNotifier::new(io::stderr(), &over),
        );
        let copies = [
            stdout.map(|fd| std::thread::spawn(move || copy(File::from(fd), spools.0, &bells.0))),
            stderr.map(|pipe| std::thread::spawn(move || copy(pipe, spools.1, &bells.1))),
        ];
        let code = child.wait()?.code();
        over.store(true, Ordering::Release);
        for copy in copies.into_iter().flatten() {
            let _ = copy.join();
        }
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125))
    }

    /// Makes the terminal the controlling terminal of this session. Returns the shim's end and the workload's end.
    fn take_terminal(&self) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
        if !self.has_terminal {
            return Ok(None);
        }
        let ours = stdin().try_clone_to_owned()?;
        let theirs = pty::other_end(&ours)?;
        ioctl_tiocsctty(&theirs)?;
        Ok(Some((ours, theirs)))
    }

    fn spool(&self, name: &str) -> io::Result<File> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join(name))?;
        // Reserved space lets the run continue on a full disk. Some filesystems cannot reserve space.
        kernel::reserve(&file, RESERVED_BYTES);
        Ok(file)
    }

    /// `terminal`: the workload's end, if there is a terminal.
    fn spawn(&self, terminal: Option<OwnedFd>) -> io::Result<Child> {
        let status = create(&self.dir.join("status"))?;
        let program = File::open("/proc/self/exe")?;
        let hook = create(&self.dir.join(HOOK_CODE_FILE))?;
        // The sandbox may have another user, which reaches the file only by this descriptor.
        hook.set_permissions(Permissions::from_mode(0o666))?;
        for inherited in [status.as_fd(), program.as_fd(), hook.as_fd()] {
            rustix::io::fcntl_setfd(inherited, FdFlags::empty())?;
        }
        let mut command = Command::new("bwrap");
        command
            .args(["--json-status-fd", &status.as_raw_fd().to_string()])
            .arg("--args")
            .arg(self.args_fd)
            // A copy instead of a mount: it works for a user who cannot reach this program's directory, and after the
            // program was replaced.
            .args([
                "--perms",
                "0555",
                "--file",
                &program.as_raw_fd().to_string(),
                sandbox::INIT_PATH,
            ])
            .args(["--", sandbox::INIT_PATH])
            .args(
                self.has_terminal
                    .then_some([foreground::COMMAND, sandbox::INIT_PATH])
                    .into_iter()
                    .flatten(),
            )
            .arg(init::COMMAND)
            .arg(self.limits)
            .arg(hook.as_raw_fd().to_string())
            .arg(self.pre_run)
            .args(self.command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(terminal) = terminal {
            command.stdin(terminal.try_clone()?).stdout(terminal);
        }
        if rustix::process::geteuid().is_root() && self.uid != 0 {
            command.uid(self.uid).gid(self.gid);
        }
        // The child starts in this process's groups.
        cgroup::enter(&self.dir)?;
        let child = command.spawn();
        let left = cgroup::leave(&self.dir);
        let child = child?;
        left?;
        // The shim closes its own copy of the workload's input: when the workload closes the input, the writer must
        // notice.
        let null = File::open("/dev/null")?;
        dup2_stdin(&null)?;
        Ok(child)
    }
}

/// Notifies the supervisor of new output, and gives the workload backpressure like a pipe to the supervisor: the
/// number of unread notices is limited. Without a supervisor, and after the end of the sandbox, nothing blocks.
struct OutputNotifier<F> {
    fd: F,
    over: Arc<AtomicBool>,
}

impl<F: AsFd> OutputNotifier<F> {
    fn new(fd: F, over: &Arc<AtomicBool>) -> OutputNotifier<F> {
        kernel::limit_pipe(&fd, MAX_UNREAD_NOTICES);
        // No other process has the writing end.
        let flags = rustix::fs::fcntl_getfl(&fd).unwrap_or(OFlags::WRONLY);
        let _ = rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK);
        let over = Arc::clone(over);
        OutputNotifier { fd, over }
    }

    /// Sends notices for a number of bytes.
    fn notify(&self, bytes: usize) {
        let rings = [b'.'; MAX_READ_BYTES / BYTES_PER_NOTICE];
        let mut left = &rings[..bytes.div_ceil(BYTES_PER_NOTICE)];
        while !left.is_empty() && !self.over.load(Ordering::Acquire) {
            match rustix::io::write(&self.fd, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::AGAIN) => self.wait(),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits a short time, in which the supervisor may read a notice.
    fn wait(&self) {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let _ = poll(&mut fds, Some(&POLL_INTERVAL));
    }
}

/// Appends a stream to its file and sends notices. On a full disk, the shim waits for space, and the workload waits
/// with it, so no output is lost. The supervisor frees space by releasing what it has read.
fn copy(mut pipe: impl Read, mut spool: File, bell: &OutputNotifier<impl AsFd>) {
    let mut buffer = vec![0; MAX_READ_BYTES];
    loop {
        let count = match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match spool.write(rest) {
                // After each part: without a notice, the supervisor would not release space for the next one.
                Ok(written) => {
                    rest = &rest[written..];
                    bell.notify(written);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// The target of a signal.
struct SignalTarget {
    dir: PathBuf,
    bwrap: u32,
    has_terminal: bool,
}

impl SignalTarget {
    /// Passes signals on: TERM to the workload; QUIT kills all processes in the sandbox.
    fn obey(&self, mut signals: Signals) {
        for signal in signals.forever() {
            let deadline = Instant::now() + START_TIMEOUT;
            while !self.deliver(signal) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// False: the target does not exist yet.
    fn deliver(&self, signal: i32) -> bool {
        // The pids are correct as long as the parents are: bwrap is a child that was not reaped, and bwrap's child is
        // not reaped while bwrap lives.
        let first = status::child_pid(&self.dir).filter(|pid| parent(*pid) == Some(self.bwrap));
        let Some(first) = first else {
            return false;
        };
        if signal == SIGQUIT {
            return kill(first, Signal::KILL);
        }
        if status::started(&self.dir).is_none() {
            return false;
        }
        let only = |pid| children(pid).into_iter().next();
        match (only(first), self.has_terminal) {
            // Interactive shells ignore TERM. They obey the hangup of their terminal.
            (Some(job), true) => only(job).is_some_and(|pid| kill(pid, Signal::HUP)),
            (Some(pid), false) => kill(pid, Signal::TERM),
            (None, _) => false,
        }
    }
}

fn kill(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
