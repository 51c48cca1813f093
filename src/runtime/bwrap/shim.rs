//! The process between supervisor and sandbox. See [`super`] for why, and for its files.
//!
//! It keeps pipes between the workload and the files, because a workload may reopen its standard
//! streams (`echo x > /dev/stderr`), which would truncate a file. Each append rings the supervisor's
//! bell: a byte on our standard output (or error) for the stream of that name.

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

/// The argument that says that the workload has a terminal.
pub(super) const TERMINAL_ARG: &str = "terminal";

/// Where the code of a script before the command is noted, if it failed.
pub(super) const HOOK_CODE_FILE: &str = "hook";

/// How long a signal waits for a workload that is about to start.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// One ring is for so many bytes of output, and so many rings may be unheard: together, how far the
/// workload can be ahead of the supervisor.
const BYTES_PER_NOTICE: usize = 256;
const MAX_UNREAD_NOTICES: usize = 4096;

/// The most that is taken from a pipe at once, in bytes.
const MAX_READ_BYTES: usize = 64 * 1024;

/// How often one whose bell nobody hears looks whether the sandbox is over.
const POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// How much space is kept for each stream from the start, in bytes.
const RESERVED_BYTES: u64 = 256 * 1024;

/// Runs the sandbox described by the arguments to its end; returns bwrap's exit code.
pub(crate) fn shim(args: &[OsString]) -> u8 {
    let Some(request) = ShimArguments::parse(args) else {
        return 2;
    };
    match request.run() {
        Ok(code) => code,
        Err(error) => {
            // Where a failing bwrap would have said it.
            let line = format!("bwrap: {}\n", crate::error::os_error_text(&error));
            let _ = fs::write(request.dir.join("stderr"), line);
            125
        }
    }
}

struct ShimArguments<'a> {
    dir: PathBuf,
    /// The number of the inherited descriptor from which bwrap reads its arguments.
    args_fd: &'a OsStr,
    /// Whether stdin is our end of a terminal, which the workload is to have.
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
        // Fails only for a process that leads its group, which a fresh child does not.
        let _ = rustix::process::setsid();
        // Somebody may be looking whether the lock is held, which takes no time.
        let lock = exclusive(&self.dir.join("lock"), START_TIMEOUT);
        let _lock = lock.ok().flatten().ok_or(io::ErrorKind::WouldBlock)?;
        let signals = Signals::new([SIGTERM, SIGQUIT])?;
        let spools = (self.spool("stdout")?, self.spool("stderr")?);
        let (ours, theirs) = self.take_terminal()?.unzip();
        let identity = serde_json::to_vec(&ProcessIdentity::current())?;
        write_atomically(&self.dir.join("shim"), &identity)?;
        // Spawned by the main thread: `--die-with-parent` means the thread that spawned it.
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

    /// Makes the terminal that of our session. Our end of it, and the workload's.
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
        // Space to go on with when the disk is full. Not every filesystem can.
        kernel::reserve(&file, RESERVED_BYTES);
        Ok(file)
    }

    /// `terminal`: the workload's, if it has one.
    fn spawn(&self, terminal: Option<OwnedFd>) -> io::Result<Child> {
        let status = create(&self.dir.join("status"))?;
        let program = File::open("/proc/self/exe")?;
        let hook = create(&self.dir.join(HOOK_CODE_FILE))?;
        // The sandbox may have another user, which reaches the file by this descriptor alone.
        hook.set_permissions(Permissions::from_mode(0o666))?;
        for inherited in [status.as_fd(), program.as_fd(), hook.as_fd()] {
            rustix::io::fcntl_setfd(inherited, FdFlags::empty())?;
        }
        let mut command = Command::new("bwrap");
        command
            .args(["--json-status-fd", &status.as_raw_fd().to_string()])
            .arg("--args")
            .arg(self.args_fd)
            // A copy, not a mount: it works for a user who cannot reach this program's directory,
            // and when the program has been replaced meanwhile.
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
        // The child begins where we are.
        cgroup::enter(&self.dir)?;
        let child = command.spawn();
        let left = cgroup::leave(&self.dir);
        let child = child?;
        left?;
        // The workload's input is the workload's alone: when it closes it, the writer must know.
        let null = File::open("/dev/null")?;
        dup2_stdin(&null)?;
        Ok(child)
    }
}

/// What tells the supervisor that there is more, and holds the workload back, as a pipe to the
/// supervisor would: it takes only so many rings that nobody has heard. Without a supervisor nobody
/// is held back, and once the sandbox is over there is nobody to hold back.
struct OutputNotifier<F> {
    fd: F,
    over: Arc<AtomicBool>,
}

impl<F: AsFd> OutputNotifier<F> {
    fn new(fd: F, over: &Arc<AtomicBool>) -> OutputNotifier<F> {
        kernel::limit_pipe(&fd, MAX_UNREAD_NOTICES);
        // The writing end is ours alone.
        let flags = rustix::fs::fcntl_getfl(&fd).unwrap_or(OFlags::WRONLY);
        let _ = rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK);
        let over = Arc::clone(over);
        OutputNotifier { fd, over }
    }

    /// Rings for so many bytes of output.
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

    /// Waits a moment until a ring may be heard.
    fn wait(&self) {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let _ = poll(&mut fds, Some(&POLL_INTERVAL));
    }
}

/// Appends a stream to its file and rings. When the disk is full, it waits for space: the workload
/// waits with it, and nothing is lost. The supervisor makes space by releasing what it has read.
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
                Ok(written) => rest = &rest[written..],
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        bell.notify(count);
    }
}

/// What signals are passed on to.
struct SignalTarget {
    dir: PathBuf,
    bwrap: u32,
    has_terminal: bool,
}

impl SignalTarget {
    /// Passes signals on: TERM to the workload, QUIT kills all that is in the sandbox.
    fn obey(&self, mut signals: Signals) {
        for signal in signals.forever() {
            let deadline = Instant::now() + START_TIMEOUT;
            while !self.deliver(signal) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// False: there is nothing to deliver it to yet.
    fn deliver(&self, signal: i32) -> bool {
        // bwrap is our child and not waited for, its child is not waited for while bwrap lives: as
        // long as the parents are right, so are the pids.
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
            // Shells ignore TERM there. That their terminal is gone they obey.
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
