//! A terminal of the test's own, on which moat runs.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};

use crate::harness::until;

/// The timeout for a text to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// On Linux the descriptor is close-on-exec from its first moment, so that no other test's child keeps it open.
#[cfg(target_os = "linux")]
const OPEN: OpenptFlags = OpenptFlags::RDWR
    .union(OpenptFlags::NOCTTY)
    .union(OpenptFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY);

/// moat on a terminal. Killed on drop.
pub(crate) struct Screen {
    /// `None`: closed.
    ours: Option<OwnedFd>,
    /// Kept open, so that the terminal outlives moat and can be inspected.
    theirs: OwnedFd,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    wish: Arc<Wish>,
    before: Termios,
}

impl Screen {
    pub(crate) fn start(command: &Command) -> Screen {
        Screen::slow(command, Duration::ZERO)
    }

    /// A slow terminal, which pauses after each piece that it shows.
    pub(crate) fn slow(command: &Command, pause: Duration) -> Screen {
        let ours = openpt(OPEN).expect("a pseudo terminal");
        fcntl_setfd(&ours, FdFlags::CLOEXEC).expect("ours alone");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let flags = flags | rustix::fs::OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("opened");
        let before = tcgetattr(&theirs).expect("a terminal");
        size(&ours, 30, 90);
        let wish = Arc::<Wish>::default();
        Screen {
            shown: collect(&ours, pause, Arc::clone(&wish)),
            before,
            child: spawn(command, &theirs),
            ours: Some(ours),
            theirs,
            wish,
        }
    }

    /// Starts another program on the terminal, after the first has ended.
    pub(crate) fn again(&mut self, command: &Command) {
        self.shown.lock().expect("shown").clear();
        self.child = spawn(command, &self.theirs);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        size(self.ours(), rows, columns);
    }

    fn ours(&self) -> &OwnedFd {
        self.ours.as_ref().expect("it is open")
    }

    /// Stops or resumes reading from the terminal.
    pub(crate) fn pause(&self, pauses: bool) {
        self.wish.pauses.store(pauses, Ordering::Release);
    }

    /// Closes the terminal, as closing a window does.
    pub(crate) fn close(&mut self) {
        self.wish.closes.store(true, Ordering::Release);
        self.ours = None;
    }

    /// Restores the settings that the terminal had before moat, as a shell does.
    pub(crate) fn make_sane(&self) {
        tcsetattr(&self.theirs, OptionalActions::Now, &self.before).expect("a terminal");
    }

    /// Returns whether the terminal delivers whole lines, not single keys.
    pub(crate) fn gives_lines(&self) -> bool {
        let now = tcgetattr(&self.theirs).expect("a terminal");
        now.local_modes.contains(LocalModes::ICANON)
    }

    pub(crate) fn press(&self, mut keys: &[u8]) {
        while !keys.is_empty() {
            let count = rustix::io::write(self.ours(), keys).expect("typed");
            keys = &keys[count..];
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shown.lock().expect("shown").clone()
    }

    #[track_caller]
    pub(crate) fn wait(&self, text: &str) {
        self.wait_long(text, PATIENCE);
    }

    #[track_caller]
    pub(crate) fn wait_long(&self, text: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.text().contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in {:?}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("moat is there");
    }

    /// Waits for the end of moat.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on: {:?}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asserts that the terminal is as it was before moat.
    #[track_caller]
    pub(crate) fn assert_sane(&self) {
        until("the terminal has its old settings", || self.is_sane());
    }

    /// Whether the terminal is as it was before moat, in everything that `stty -a` shows.
    pub(crate) fn is_sane(&self) -> bool {
        let now = tcgetattr(&self.theirs).expect("a terminal");
        let all = |modes: &Termios| {
            let codes = format!("{:?}", modes.special_codes);
            let (local, input) = (modes.local_modes, modes.input_modes);
            (local, input, modes.output_modes, modes.control_modes, codes)
        };
        all(&now) == all(&self.before)
    }
}

/// Runs the command in a session of its own whose terminal this is.
fn spawn(command: &Command, terminal: &OwnedFd) -> Child {
    let stream = || Stdio::from(terminal.try_clone().expect("a copy"));
    // A shell ignores these signals for its background jobs, which tests may be.
    let mut session = Command::new("env");
    session.args(["--default-signal=INT,QUIT", "setsid", "--ctty"]);
    session.arg(command.get_program());
    session.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            session.env(name, value);
        }
    }
    if let Some(dir) = command.get_current_dir() {
        session.current_dir(dir);
    }
    session.stdin(stream()).stdout(stream()).stderr(stream());
    session.env("TERM", "xterm-256color");
    session.spawn().expect("setsid")
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a size");
}

/// The commands for the thread that reads the terminal.
#[derive(Default)]
struct Wish {
    pauses: AtomicBool,
    closes: AtomicBool,
}

fn collect(ours: &OwnedFd, pause: Duration, wish: Arc<Wish>) -> Arc<Mutex<Vec<u8>>> {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut file = std::fs::File::from(ours.try_clone().expect("a copy"));
    let into = Arc::clone(&shown);
    let tick = Timespec::try_from(Duration::from_millis(20)).expect("a time");
    std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while !wish.closes.load(Ordering::Acquire) {
            if wish.pauses.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let mut fds = [PollFd::new(&file, PollFlags::IN)];
            if poll(&mut fds, Some(&tick)).unwrap_or(0) == 0 {
                continue;
            }
            match file.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => into
                    .lock()
                    .expect("shown")
                    .extend_from_slice(&buffer[..count]),
            }
            std::thread::sleep(pause);
        }
    });
    shown
}
