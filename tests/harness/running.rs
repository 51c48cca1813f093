//! A call that is under way.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::call::{Done, Input};

/// A call in progress, in its own process group. Killed on drop.
#[must_use]
pub(crate) struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    writer: Option<JoinHandle<std::io::Result<()>>>,
    started: Instant,
    deadline: Instant,
    ended: bool,
}

impl Running {
    #[track_caller]
    pub(super) fn start(mut command: Command, input: Input, deadline: Duration) -> Running {
        let bytes = match input {
            Input::Bytes(bytes) => {
                command.stdin(Stdio::piped());
                Some(bytes)
            }
            Input::From(stdin) => {
                command.stdin(stdin);
                None
            }
            Input::Taken => None,
        };
        let started = Instant::now();
        let mut child = command.process_group(0).spawn().expect("moat starts");
        // Closes this process's copies of the redirected stdout, which would keep a pipe open.
        drop(command);
        let stdin = child.stdin.take();
        let writer = stdin
            .zip(bytes)
            .map(|(mut stdin, bytes)| std::thread::spawn(move || stdin.write_all(&bytes)));
        Running {
            stdout: Collected::from(child.stdout.take()),
            stderr: Collected::from(child.stderr.take()),
            child,
            writer,
            started,
            deadline: started + deadline,
            ended: false,
        }
    }

    /// Starts any command in the same way, e.g. moat behind a shell.
    #[track_caller]
    pub(crate) fn of(mut command: Command) -> Running {
        command.stdin(Stdio::null());
        Running::with_input(command)
    }

    /// The same for a command that already has a stdin.
    #[track_caller]
    pub(crate) fn with_input(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(command, Input::Taken, Duration::from_secs(60))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal only to the client.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the client is there");
    }

    /// Sends a signal to the client's process group, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).expect("the client is there");
    }

    /// Kills the client with SIGKILL, and reaps it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended = true;
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until this text has appeared on stdout.
    #[track_caller]
    pub(crate) fn wait_stdout(&self, text: &str) {
        self.wait_text(&self.stdout, text);
    }

    /// Returns the stdout so far.
    pub(crate) fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// Waits until this text has appeared on stderr.
    #[track_caller]
    pub(crate) fn wait_stderr(&self, text: &str) {
        self.wait_text(&self.stderr, text);
    }

    #[track_caller]
    fn wait_text(&self, stream: &Collected, text: &str) {
        while !String::from_utf8_lossy(&stream.bytes()).contains(text) {
            assert!(
                Instant::now() < self.deadline,
                "'{text}' did not come in time; {}",
                self.done(None)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the call and of its output. Fails at the timeout.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Done {
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() >= self.deadline => {
                    panic!("it did not end in time; {}", self.done(None))
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        self.ended = true;
        while !(self.stdout.is_over() && self.stderr.is_over()) {
            assert!(
                Instant::now() < self.deadline,
                "it ended, but somebody keeps its stdout or stderr open; {}",
                self.done(Some(status))
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(writer) = self.writer.take() {
            // A reader that ends first is not a failure of the writer.
            let _ = writer.join();
        }
        let done = self.done(Some(status));
        Running::assert_hints(&done);
        done
    }

    /// Asserts that the parser accepts all commands of moat that hints in the output name.
    #[track_caller]
    fn assert_hints(done: &Done) {
        let text = String::from_utf8_lossy(&done.stderr);
        let hints = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("hint: "));
        for hint in hints {
            if let Err(why) = moat::check_suggested_commands(hint) {
                panic!("a hint names a command that does not work: {why}; {done}");
            }
        }
    }

    fn done(&self, status: Option<ExitStatus>) -> Done {
        Done {
            code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

/// The output of a stream so far.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(source: Option<impl Read + Send + 'static>) -> Collected {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = source.map(|source| {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || collect(source, &bytes))
        });
        Collected { bytes, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_over(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn collect(mut source: impl Read, bytes: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 64 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => bytes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
