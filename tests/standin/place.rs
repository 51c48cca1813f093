//! A state directory of the stand-in, and calls that use it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::docker_api::{Kind, labelled};
use crate::harness::once::once_per_run;
use crate::harness::{IMAGE, Runtime, TempDir, skip, stand_in, until};

/// The timeout of every call except those that must hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// The releases whose behaviour differs most.
pub(crate) const VERSIONS: [&str; 4] = ["0.9.0", "0.10.0", "0.12.3", "1.2.2"];

/// A stand-in of one release. Dropping it asserts that it leaves nothing in docker.
pub(crate) struct StandIn {
    dir: TempDir,
    version: &'static str,
    env: Vec<(&'static str, String)>,
}

/// The result of a call.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call that runs while the test continues. It ends with the test.
pub(crate) struct Live {
    child: Child,
    files: [PathBuf; 2],
}

impl StandIn {
    /// Returns `None`, and skips the test with a note, if docker, the image or python3 is missing.
    pub(crate) fn new(version: &'static str) -> Option<StandIn> {
        if let Err(why) = Runtime::Docker.available() {
            skip(&why);
            return None;
        }
        if let Err(why) = once_per_run("standard-library", standard_library) {
            skip(&why);
            return None;
        }
        Some(StandIn {
            dir: TempDir::new(),
            version,
            env: Vec::new(),
        })
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> StandIn {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Returns a path in the state directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    /// Creates a directory beside the state directory.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes the rules of faults.
    pub(crate) fn rules(&self, lines: &[&str]) {
        fs::create_dir_all(self.path("")).unwrap();
        fs::write(self.path("faults"), lines.join("\n")).unwrap();
    }

    /// From now on the stand-in behaves as another release, with the same state.
    pub(crate) fn speak(&mut self, version: &'static str) {
        self.version = version;
    }

    /// Starts a call without waiting for it.
    pub(crate) fn live(&self, args: &[&str]) -> Live {
        self.live_with(args, Stdio::null())
    }

    fn live_with(&self, args: &[&str], stdin: Stdio) -> Live {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let out = self.place("out");
        let files = ["stdout", "stderr"].map(|name| out.join(format!("{number}.{name}")));
        // Callers find the stand-in through PATH alone, like the real program.
        let own = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(stand_in().to_owned()).chain(std::env::split_paths(&own));
        let child = Command::new("container")
            .args(args)
            .env("PATH", std::env::join_paths(dirs).unwrap())
            .env("FAKE_APPLE_DIR", self.path(""))
            .env("FAKE_APPLE_VERSION", self.version)
            .env("FAKE_APPLE_OFFLINE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(File::create(&files[0]).unwrap())
            .stderr(File::create(&files[1]).unwrap())
            .spawn()
            .expect("the stand-in can be started");
        Live { child, files }
    }

    /// Makes a call and returns its result, successful or not.
    #[track_caller]
    pub(crate) fn call(&self, args: &[&str]) -> Done {
        self.live(args).done()
    }

    /// Makes a call with this input.
    #[track_caller]
    pub(crate) fn call_with(&self, args: &[&str], input: &[u8]) -> Done {
        let path = self.place("out").join("input");
        fs::write(&path, input).unwrap();
        self.live_with(args, File::open(path).unwrap().into())
            .done()
    }

    /// Makes a call that must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.call(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
        done.stdout
    }

    /// Makes a call that must fail with this exit code and text.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, text: &str) {
        let done = self.call(args);
        assert_eq!(done.code, code, "{args:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains(text), "{args:?}: {}", done.stderr);
    }

    /// Makes a call that must fail for a reason of the stand-in's own, with this text and any exit code.
    #[track_caller]
    pub(crate) fn fails_anyhow(&self, args: &[&str], text: &str) {
        let done = self.call(args);
        assert_ne!(done.code, 0, "{args:?}: {}", done.stdout);
        assert!(done.stderr.contains(text), "{args:?}: {}", done.stderr);
    }

    /// Makes a call that must print JSON, and returns it.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Creates a container that runs until it is asked to end. Returns its name.
    #[track_caller]
    pub(crate) fn running<'a>(&self, name: &'a str, flags: &[&str]) -> &'a str {
        let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let args = [
            &["run", "-d", "--name", name],
            flags,
            &[IMAGE, "sh", "-c", script],
        ];
        self.ok(&args.concat());
        until("the container has printed 'up'", || {
            self.call(&["logs", name]).stdout.contains("up")
        });
        name
    }

    /// Returns the state of the only container that `inspect` prints.
    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> String {
        let found = self.json(&["inspect", name]);
        let status = &found[0]["status"];
        let state = status.get("state").unwrap_or(status);
        state.as_str().expect("a state").to_owned()
    }

    /// Returns the first journal entry of each call: its arguments and its environment.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("calls.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
            .filter(|line| line.get("argv").is_some())
            .collect()
    }

    /// Returns the objects of this state directory in docker.
    pub(crate) fn in_docker(&self) -> Vec<String> {
        let ns = fs::read_to_string(self.path("ns")).unwrap_or_default();
        let label = format!("fapple.ns={}", ns.trim());
        let kinds = [Kind::Container, Kind::Network, Kind::Volume];
        let mut found: Vec<String> = kinds
            .into_iter()
            .flat_map(|kind| labelled(Runtime::Docker, kind, &label))
            .collect();
        let images = format!("fapple-{}/*/*", ns.trim());
        found.extend(docker(&["image", "ls", "--quiet", &images]));
        found
    }
}

fn docker(args: &[&str]) -> Vec<String> {
    let listed = Command::new("docker").args(args).output().expect("docker");
    let text = String::from_utf8_lossy(&listed.stdout);
    text.lines().map(str::to_owned).collect()
}

/// Some systems split the standard library into several packages.
fn standard_library() -> Result<(), String> {
    let imports = "import ctypes, fcntl, re, subprocess, termios, threading";
    let mut python = Command::new("python3");
    python.args(["-c", imports]);
    python.stdout(Stdio::null()).stderr(Stdio::null());
    match python.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err("no python3 with its standard library (tests/setup python)".to_owned()),
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if !self.path("ns").exists() {
            return;
        }
        let _ = self.call(&["__fake", "reset"]);
        let left = self.in_docker();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left in docker: {left:?}");
        }
    }
}

impl Live {
    /// Waits for the end of the call.
    #[track_caller]
    pub(crate) fn done(mut self) -> Done {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the call has not ended: {}",
                self.stdout()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let [stdout, stderr] = self.files.clone().map(|path| read(&path));
        Done {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr,
        }
    }

    /// Returns the exit status if the call has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Returns the output so far.
    pub(crate) fn stdout(&self) -> String {
        read(&self.files[0])
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.files[1])
    }

    pub(crate) fn signal(&self, signal: crate::harness::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is there");
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
