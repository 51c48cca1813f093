//! One call of moat, and its expected results.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::place::Moat;
use super::running::Running;

const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// A command line and its expected results. Output for which nothing is expected must be empty.
#[must_use]
pub(crate) struct Call<'a> {
    pub(super) moat: &'a Moat,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: PathBuf,
    pub(super) input: Input,
    stdout_to: Option<Stdio>,
    stderr_to: Option<Stdio>,
    stdout: Expected,
    stderr: Expected,
    pub(super) deadline: Duration,
}

pub(super) enum Input {
    Bytes(Vec<u8>),
    From(Stdio),
    Taken,
}

enum Expected {
    Exactly(Vec<u8>),
    Contains(Vec<String>),
    Anything,
}

impl<'a> Call<'a> {
    pub(super) fn new(moat: &'a Moat) -> Call<'a> {
        Call {
            moat,
            args: Vec::new(),
            env: Vec::new(),
            cwd: moat.workspace(),
            input: Input::From(Stdio::null()),
            stdout_to: None,
            stderr_to: None,
            stdout: Expected::Exactly(Vec::new()),
            stderr: Expected::Exactly(Vec::new()),
            deadline: DEADLINE,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let value = Some(value.as_ref().to_owned());
        self.env.push((name.as_ref().to_owned(), value));
        self
    }

    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Runs in this directory instead of the workspace.
    pub(crate) fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        dir.as_ref().clone_into(&mut self.cwd);
        self
    }

    /// Passes these bytes to the call as stdin, through a pipe. Otherwise stdin is empty.
    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = Input::Bytes(bytes.as_ref().to_vec());
        self
    }

    /// Passes another stdin to the call: a file, or a pipe of the test's own.
    pub(crate) fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Self {
        self.input = Input::From(stdin.into());
        self
    }

    /// Redirects stdout, so that the test does not capture it.
    pub(crate) fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout_to = Some(stdout.into());
        self
    }

    /// Redirects stderr, so that the test does not capture it.
    pub(crate) fn stderr_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr_to = Some(stderr.into());
        self
    }

    /// Sets the timeout.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The process that reaches this checkpoint (see src/failpoint.rs) waits there, after this call.
    pub(crate) fn checkpoint(self, name: &str) -> Self {
        let dir = self.moat.checkpoints();
        self.env("MOAT_CHECKPOINT", name)
            .env("MOAT_CHECKPOINT_DIR", dir)
    }

    /// Uses the product's real times, and not the time scale of the tests.
    pub(crate) fn real_time(self) -> Self {
        self.env_remove("MOAT_TEST_TIME")
    }

    /// Runs the call as far as this checkpoint, and kills it there. The checkpoint is disabled afterwards.
    #[track_caller]
    pub(crate) fn killed_at(self, name: &str) {
        let (moat, deadline) = (self.moat, Instant::now() + self.deadline);
        let reached = moat.checkpoints().join(name);
        let mut running = self.checkpoint(name).spawn();
        while !reached.exists() && running.is_running() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        assert!(reached.exists(), "checkpoint {name} is not reached");
        running.kill();
        moat.release_checkpoint(name);
    }

    /// Expects exactly this stdout, with or without placeholders (see [`Moat::normal`]).
    pub(crate) fn stdout(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdout = Expected::Exactly(text.as_ref().to_vec());
        self
    }

    /// Expects exactly this stderr, with or without placeholders (see [`Moat::normal`]).
    pub(crate) fn stderr(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stderr = Expected::Exactly(text.as_ref().to_vec());
        self
    }

    pub(crate) fn stdout_contains(mut self, text: &str) -> Self {
        self.stdout.also_contains(text);
        self
    }

    pub(crate) fn stderr_contains(mut self, text: &str) -> Self {
        self.stderr.also_contains(text);
        self
    }

    /// Accepts any stdout; the test checks it itself.
    pub(crate) fn any_stdout(mut self) -> Self {
        self.stdout = Expected::Anything;
        self
    }

    /// Accepts any stderr; the test checks it itself.
    pub(crate) fn any_stderr(mut self) -> Self {
        self.stderr = Expected::Anything;
        self
    }

    /// Runs the call and expects exit code 0.
    #[track_caller]
    pub(crate) fn success(self) -> Done {
        self.status(0)
    }

    /// Runs the call and expects this exit code.
    #[track_caller]
    pub(crate) fn status(self, code: i32) -> Done {
        let done = self.run();
        assert!(
            done.code == Some(code),
            "exit code {code} was expected, but {done}"
        );
        done
    }

    /// Runs the call; the test checks the exit code itself.
    #[track_caller]
    pub(crate) fn run(mut self) -> Done {
        let stdout = std::mem::replace(&mut self.stdout, Expected::Anything);
        let stderr = std::mem::replace(&mut self.stderr, Expected::Anything);
        let moat = self.moat;
        let done = self.spawn().wait();
        moat.labels();
        stdout.check("stdout", &done.stdout, &done, moat);
        stderr.check("stderr", &done.stderr, &done, moat);
        done
    }

    /// Runs the call as a user other than root, who needs access to the place.
    #[track_caller]
    pub(crate) fn as_nobody(&self) -> Done {
        // Only root may be able to reach the program.
        let program = self.moat.root().join("moat-program");
        if !program.exists() {
            std::fs::copy(self.moat.binary(), &program).expect("a copy of the program");
        }
        let script = format!("shift; exec '{}' \"$@\"", program.display());
        let user = ["setpriv", "--reuid", "65534", "--regid", "65534"];
        let wrapper = [&user[..], &["--clear-groups", "sh", "-c", &script, "sh"]].concat();
        Running::of(self.wrapped(&wrapper)).wait()
    }

    /// Starts the call. Expectations do not apply: see [`Running::wait`].
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Running {
        let mut command = self.command();
        command
            .stdout(self.stdout_to.take().unwrap_or_else(Stdio::piped))
            .stderr(self.stderr_to.take().unwrap_or_else(Stdio::piped));
        let input = std::mem::replace(&mut self.input, Input::Taken);
        Running::start(command, input, self.deadline)
    }

    /// Returns the command itself, for tests that connect its streams themselves.
    pub(crate) fn command(&self) -> Command {
        self.wrapped(&[])
    }

    /// Returns the command behind a wrapper, e.g. `sh -c 'exec "$@" >&-' sh`.
    pub(crate) fn wrapped(&self, wrapper: &[&str]) -> Command {
        let root = self.moat.root();
        self.moat.labels();
        self.moat.give_to_user();
        let own = self.moat.runtime.map_or(&[][..], super::Runtime::wrapper);
        let mut words: Vec<&OsStr> = own.iter().chain(wrapper).map(OsStr::new).collect();
        words.push(self.moat.binary().as_os_str());
        words.extend(self.args.iter().map(OsString::as_os_str));
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.cwd)
            .env_clear()
            .env("PATH", self.moat.path_variable())
            .env("HOME", self.moat.user_home())
            .env("MOAT_HOME", self.moat.home())
            .env("TMPDIR", self.moat.tmp())
            .envs(self.moat.time_scale())
            .env("DOCKER_CONFIG", root.join("docker-config"))
            .envs(self.moat.variables().iter().cloned());
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl Expected {
    fn also_contains(&mut self, text: &str) {
        match self {
            Expected::Contains(texts) => texts.push(text.to_owned()),
            _ => *self = Expected::Contains(vec![text.to_owned()]),
        }
    }

    #[track_caller]
    fn check(&self, what: &str, bytes: &[u8], done: &Done, moat: &Moat) {
        let normal = || moat.normal(&String::from_utf8_lossy(bytes));
        match self {
            Expected::Anything => {}
            Expected::Exactly(expected) => assert!(
                bytes == expected || normal().as_bytes() == expected,
                "{what} was expected to be\n{}\nbut is\n{}\nand {done}",
                shown(expected),
                shown(normal().as_bytes()),
            ),
            Expected::Contains(texts) => {
                for text in texts {
                    assert!(
                        normal().contains(text) || String::from_utf8_lossy(bytes).contains(text),
                        "{what} was expected to contain\n{text}\nbut is\n{}\nand {done}",
                        shown(normal().as_bytes()),
                    );
                }
            }
        }
    }
}

/// A call that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// The exit code; `None` if a signal ended the call.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took: Duration,
}

impl Done {
    #[track_caller]
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("stdout is UTF-8")
    }

    #[track_caller]
    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8(self.stderr.clone()).expect("stderr is UTF-8")
    }

    /// Returns stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}; {self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match (self.code, self.signal) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "did not end".to_owned(),
        };
        write!(
            f,
            "it {how} after {:?}\n--- stdout ---\n{}\n--- stderr ---\n{}",
            self.took,
            shown(&self.stdout),
            shown(&self.stderr)
        )
    }
}

/// Returns the beginning of some output.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 4000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned();
    if bytes.len() > MOST {
        format!("{text}\n… {} bytes in all", bytes.len())
    } else {
        text
    }
}
