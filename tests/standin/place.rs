//! One state directory of the stand-in, and calls on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::docker_api::{Kind, labelled};
use crate::harness::once::once_per_run;
use crate::harness::{IMAGE, Runtime, TempDir, skip, stand_in, until};

/// No call here takes longer, unless it is to hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// The releases whose dialects differ most.
pub(crate) const VERSIONS: [&str; 4] = ["0.9.0", "0.10.0", "0.12.3", "1.2.2"];

/// A stand-in of one release. Dropping it asserts that nothing of it is left in docker.
pub(crate) struct StandIn {
    dir: TempDir,
    version: &'static str,
    env: Vec<(&'static str, String)>,
}

/// What a call came to.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call that lives while the test does something. It ends with the test.
pub(crate) struct Live {
    child: Child,
    files: [PathBuf; 2],
}

impl StandIn {
    /// `None`: docker, the image or python3 is missing, and the test is skipped, loudly.
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

    /// The state directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    /// A directory beside the state directory.
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

    /// Speaks as another release from now on, with the same state.
    pub(crate) fn speak(&mut self, version: &'static str) {
        self.version = version;
    }

    /// Starts a call and leaves it alone.
    pub(crate) fn live(&self, args: &[&str]) -> Live {
        self.live_with(args, Stdio::null())
    }

    fn live_with(&self, args: &[&str], stdin: Stdio) -> Live {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let out = self.place("out");
        let files = ["stdout", "stderr"].map(|name| out.join(format!("{number}.{name}")));
        // It is found by PATH alone, as the real one is.
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

    /// A call, whatever comes of it.
    #[track_caller]
    pub(crate) fn call(&self, args: &[&str]) -> Done {
        self.live(args).done()
    }

    /// A call with a file as its input.
    #[track_caller]
    pub(crate) fn call_with(&self, args: &[&str], input: &[u8]) -> Done {
        let path = self.place("out").join("input");
        fs::write(&path, input).unwrap();
        self.live_with(args, File::open(path).unwrap().into())
            .done()
    }

    /// A call that goes well; gives what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.call(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
        done.stdout
    }

    /// A call that fails with a code and a text.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, text: &str) {
        let done = self.call(args);
        assert_eq!(done.code, code, "{args:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains(text), "{args:?}: {}", done.stderr);
    }

    /// A call that fails in a way that is the stand-in's own.
    #[track_caller]
    pub(crate) fn fails_anyhow(&self, args: &[&str], text: &str) {
        let done = self.call(args);
        assert_ne!(done.code, 0, "{args:?}: {}", done.stdout);
        assert!(done.stderr.contains(text), "{args:?}: {}", done.stderr);
    }

    /// A call that prints JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Makes a container that runs until it is asked to end; gives its name.
    #[track_caller]
    pub(crate) fn running<'a>(&self, name: &'a str, flags: &[&str]) -> &'a str {
        let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let args = [
            &["run", "-d", "--name", name],
            flags,
            &[IMAGE, "sh", "-c", script],
        ];
        self.ok(&args.concat());
        until("it says that it is up", || {
            self.call(&["logs", name]).stdout.contains("up")
        });
        name
    }

    /// The state of the only container that `inspect` gives.
    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> String {
        let found = self.json(&["inspect", name]);
        let status = &found[0]["status"];
        let state = status.get("state").unwrap_or(status);
        state.as_str().expect("a state").to_owned()
    }

    /// The starts of all calls: what was called, and how it was.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("calls.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
            .filter(|line| line.get("argv").is_some())
            .collect()
    }

    /// What docker has of this state directory.
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

/// Some systems have it in several packages.
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
    /// Waits for its end.
    #[track_caller]
    pub(crate) fn done(mut self) -> Done {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it has not ended: {}",
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

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// What it has printed until now.
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
