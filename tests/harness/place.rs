//! The place of a test: its own HOME, MOAT_HOME and workspace, and the runtime of its runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;

use super::call::Call;
use super::home_labels::{self, HomeLabels};
use super::{IMAGE, Runtime, leftovers, skip, stand_in, text, until_some};

/// A directory that is removed on drop. Its name is unique on the machine.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let time = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .subsec_nanos();
        let name = format!("moat-test-{}-{number}-{time}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a temporary directory");
        TempDir(fs::canonicalize(path).expect("a real path"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A place in which moat runs. Dropping it asserts that nothing of its runs is left.
#[must_use]
pub(crate) struct Moat {
    root: TempDir,
    home: PathBuf,
    pub(super) runtime: Option<Runtime>,
    path: Vec<PathBuf>,
    env: Vec<(OsString, OsString)>,
    real_time: AtomicBool,
    short_timeouts: AtomicBool,
    binary: PathBuf,
    labels: HomeLabels,
}

/// The scale of waiting times in tests. Short enough to save time, and long enough that a busy machine does not miss
/// a time window.
const FACTOR: &str = "0.2";
/// The timeout of one engine call is short, so that when one call hangs, the others still have time to answer.
const TIMEOUT_FACTOR: &str = "0.5";

impl Moat {
    /// A place without a runtime: for commands that run nothing, or fail earlier.
    pub(crate) fn new() -> Moat {
        let root = TempDir::new();
        for dir in ["home", "work", "tmp", "docker-config", "checkpoints"] {
            fs::create_dir(root.path().join(dir)).expect("a directory of the place");
        }
        Moat {
            home: root.path().join("moat"),
            root,
            runtime: None,
            path: Vec::new(),
            env: Vec::new(),
            real_time: AtomicBool::new(false),
            short_timeouts: AtomicBool::new(false),
            binary: PathBuf::from(env!("CARGO_BIN_EXE_moat")),
            labels: HomeLabels::default(),
        }
    }

    /// A place with a runtime. If the runtime is missing, the test is skipped, with a note.
    pub(crate) fn on(runtime: Runtime) -> Option<Moat> {
        match runtime.available() {
            Ok(()) => Some(Moat::new().runtime(runtime)),
            Err(why) => {
                skip(&why);
                None
            }
        }
    }

    /// Chooses the runtime of all calls (MOAT_RUNTIME).
    pub(crate) fn runtime(mut self, runtime: Runtime) -> Moat {
        self.runtime = Some(runtime);
        let own = runtime.environment().into_iter();
        let moat = own.fold(self, |moat, (name, value)| moat.env(name, value));
        let moat = moat.env("MOAT_RUNTIME", runtime.name());
        let Runtime::Apple(version) = runtime else {
            return moat;
        };
        let state = moat.root().join("apple");
        fs::create_dir(&state).expect("the state of the stand-in");
        // The stand-in knows the image, as after `container image pull`.
        let images = serde_json::json!({ format!("docker.io/{IMAGE}"): IMAGE });
        fs::write(state.join("images.json"), images.to_string()).expect("its images");
        moat.path_prepend(stand_in())
            .env("FAKE_APPLE_DIR", state)
            .env("FAKE_APPLE_VERSION", version)
            // Before 0.12 containers have all capabilities, which the engine of a test machine may lack.
            .env("FAKE_APPLE_CAPS", "docker")
    }

    /// Calls this place's stand-in for Apple's `container`; returns its output, whatever the exit code.
    pub(crate) fn apple(&self, args: &[&str]) -> String {
        let mut command = std::process::Command::new(stand_in().join("container"));
        let output = command
            .args(args)
            .env("HOME", self.user_home())
            .envs(self.variables().iter().cloned())
            .output()
            .expect("the stand-in");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// From now on the stand-in fails by this rule (testdata/bin/README.md).
    pub(crate) fn apple_fault(&self, rule: &str) {
        let path = self.root().join("apple/faults");
        let earlier = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{earlier}{rule}\n")).expect("the rules of the stand-in");
    }

    /// The calls of the stand-in so far: their arguments, one call per line.
    pub(crate) fn apple_calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root().join("apple/calls.jsonl")).unwrap_or_default();
        let calls = text.lines().filter_map(|line| {
            let call: Value = serde_json::from_str(line).ok()?;
            let words = call["argv"].as_array()?.iter().filter_map(Value::as_str);
            Some(words.collect::<Vec<_>>().join(" "))
        });
        calls.collect()
    }

    /// Returns whether the runtime has images, so that runs must name one.
    pub(crate) fn has_images(&self) -> bool {
        self.runtime.is_some_and(Runtime::has_images)
    }

    pub(crate) fn is_on_apple(&self) -> bool {
        matches!(self.runtime, Some(Runtime::Apple(_)))
    }

    /// Makes the user of the calls the owner of the place and the test's files.
    pub(super) fn give_to_user(&self) {
        if !self.runtime.is_some_and(Runtime::is_rootless) {
            return;
        }
        let owner = format!("{0}:{0}", super::runtime::USER);
        let done = std::process::Command::new("chown")
            .args(["-R", &owner])
            .arg(self.root())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "chown {owner}");
    }

    /// The user of the workload, as the workload sees it: the owner of the workspace, who is root in a rootless docker.
    pub(crate) fn user_id(&self) -> u32 {
        if self.runtime == Some(Runtime::DockerRootless) {
            return 0;
        }
        let metadata = fs::metadata(self.workspace()).expect("the workspace");
        std::os::unix::fs::MetadataExt::uid(&metadata)
    }

    /// A call of the engine's client.
    pub(crate) fn client(&self) -> std::process::Command {
        self.runtime.expect("it has a runtime").client()
    }

    pub(crate) fn is_on(&self, runtime: Runtime) -> bool {
        self.runtime == Some(runtime)
    }

    pub(crate) fn runtime_of(&self) -> Runtime {
        self.runtime.expect("it has a runtime")
    }

    /// The name of the runtime, as in `--runtime`.
    pub(crate) fn runtime_name(&self) -> &'static str {
        self.runtime.map_or("none", Runtime::name)
    }

    /// The PATH of its calls.
    pub(crate) fn path_text(&self) -> String {
        self.path_variable().to_string_lossy().into_owned()
    }

    /// Sets a variable for all calls.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Moat {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.push((name, value));
        self
    }

    /// From now on all calls use the product's real times, and not the time scale of the tests.
    pub(crate) fn real_time(&self) {
        self.real_time.store(true, Ordering::Relaxed);
    }

    /// From now on all calls have a short engine timeout, for tests with an engine that hangs. Other tests must not
    /// use it, because an engine is slow on a busy machine.
    pub(crate) fn short_timeouts(&self) {
        self.short_timeouts.store(true, Ordering::Relaxed);
    }

    /// The variables of the time scale (src/failpoint.rs).
    pub(super) fn time_scale(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let time = (
            "MOAT_TEST_TIME",
            FACTOR,
            !self.real_time.load(Ordering::Relaxed),
        );
        let timeouts = self.short_timeouts.load(Ordering::Relaxed);
        let timeouts = ("MOAT_TEST_TIMEOUT", TIMEOUT_FACTOR, timeouts);
        let wanted = [time, timeouts].into_iter().filter(|one| one.2);
        wanted.map(|(name, factor, _)| (name, factor))
    }

    /// Calls another binary instead of cargo's.
    pub(crate) fn with_binary(mut self, binary: impl Into<PathBuf>) -> Moat {
        self.binary = binary.into();
        self
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Puts a directory with fake programs at the beginning of PATH.
    pub(crate) fn path_prepend(mut self, dir: impl Into<PathBuf>) -> Moat {
        self.path.insert(0, dir.into());
        self
    }

    /// Uses another MOAT_HOME.
    pub(crate) fn with_home(mut self, home: impl Into<PathBuf>) -> Moat {
        self.home = home.into();
        self
    }

    /// A call of `moat ARGS`.
    pub(crate) fn args<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Call<'_> {
        Call::new(self).args(args)
    }

    /// A call of `moat run --quiet [--image …] -- COMMAND`.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Call<'_> {
        self.run_with::<&str, A>([], command)
    }

    /// A call of `moat run --quiet [--image …] FLAGS -- COMMAND`.
    pub(crate) fn run_with<F: AsRef<OsStr>, A: AsRef<OsStr>>(
        &self,
        flags: impl IntoIterator<Item = F>,
        command: impl IntoIterator<Item = A>,
    ) -> Call<'_> {
        let flags: Vec<OsString> = flags.into_iter().map(|f| f.as_ref().to_owned()).collect();
        let mut call = self.args(["run", "--quiet"]);
        let named = flags
            .iter()
            .any(|flag| flag.to_string_lossy().starts_with("--image"));
        if self.has_images() && !named {
            call = call.args(["--image", IMAGE]);
        }
        call.args(flags).arg("--").args(command)
    }

    /// A call of `moat run --quiet FLAGS -- sh -c SCRIPT`.
    pub(crate) fn sh(&self, script: &str) -> Call<'_> {
        self.run(["sh", "-c", script])
    }

    /// Starts `sh -c SCRIPT` in the background; returns the run's id.
    #[track_caller]
    pub(crate) fn background(&self, script: &str) -> String {
        self.background_with::<&str>([], script)
    }

    /// Starts `sh -c SCRIPT` in the background with more flags; returns the run's id.
    #[track_caller]
    pub(crate) fn background_with<F: AsRef<OsStr>>(
        &self,
        flags: impl IntoIterator<Item = F>,
        script: &str,
    ) -> String {
        let mut all: Vec<OsString> = vec!["-b".into()];
        all.extend(flags.into_iter().map(|flag| flag.as_ref().to_owned()));
        let call = self.run_with(all, ["sh", "-c", script]);
        let out = call.any_stdout().success().stdout_text();
        out.strip_suffix('\n').expect("a line").to_owned()
    }

    /// The directory that contains everything of this place.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// MOAT_HOME; moat creates it.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// HOME.
    pub(crate) fn user_home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The workspace, which is also the working directory of the calls.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.root().join("work")
    }

    /// TMPDIR. Files that moat leaves there count as leftovers.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root().join("tmp")
    }

    /// Writes a file of the workspace.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.workspace().join(name);
        fs::write(&path, content).expect("a file of the workspace");
        path
    }

    /// Writes `config.yaml`.
    pub(crate) fn config(&self, text: &str) {
        fs::create_dir_all(self.home()).expect("MOAT_HOME");
        fs::write(self.home().join("config.yaml"), text).expect("config.yaml");
    }

    /// Writes a file of the registry.
    pub(crate) fn registry(&self, text: &str) {
        let dir = self.home().join("registry.d");
        fs::create_dir_all(&dir).expect("registry.d");
        fs::write(dir.join("test.yaml"), text).expect("an entry");
    }

    /// Returns the word that every process of this place has in its arguments, environment or mounts.
    pub(super) fn mark(&self) -> String {
        let name = self.root().file_name().expect("it has a name");
        name.to_string_lossy().into_owned()
    }

    /// The value of the label `moat.home` of this place's containers. Creates the home if it does not exist.
    pub(crate) fn label(&self) -> String {
        home_labels::label(self.home())
    }

    /// The labels of all homes that this place has had.
    pub(crate) fn labels(&self) -> HomeLabels {
        self.labels.note(self.home());
        self.labels.clone()
    }

    /// The containers of this place.
    pub(crate) fn containers(&self) -> Vec<String> {
        leftovers::containers(self)
    }

    /// The networks of this place.
    pub(crate) fn networks(&self) -> Vec<String> {
        leftovers::networks(self)
    }

    /// Returns the leftovers of runs, after waiting for them to disappear. Empty means that nothing is left.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers::find(self)
    }

    pub(super) fn path_variable(&self) -> OsString {
        let own = std::env::var_os("PATH").unwrap_or_default();
        let dirs = self.path.iter().cloned().chain(std::env::split_paths(&own));
        std::env::join_paths(dirs).expect("a PATH")
    }

    pub(super) fn variables(&self) -> &[(OsString, OsString)] {
        &self.env
    }

    /// The directory of a run.
    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.home().join("runs").join(id)
    }

    /// The ids of all runs, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home().join("runs")).into_iter().flatten();
        let mut ids: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with("run_"))
            .collect();
        ids.sort();
        ids
    }

    /// The id of the only run.
    #[track_caller]
    pub(crate) fn only_id(&self) -> String {
        let ids = self.ids();
        assert_eq!(ids.len(), 1, "there is one run: {ids:?}");
        ids.into_iter().next().expect("one")
    }

    /// The record of a run, from the disk.
    #[track_caller]
    pub(crate) fn record(&self, id: &str) -> Value {
        let path = self.run_dir(id).join("run.json");
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).expect("the record is JSON")
    }

    /// Waits until a run is in a state; returns its record.
    #[track_caller]
    pub(crate) fn wait_state(&self, id: &str, state: &str) -> Value {
        until_some(&format!("{id} is {state}"), || {
            Some(self.record(id)).filter(|record| record["state"] == state)
        })
    }

    /// Waits until the log of a run contains a text.
    #[track_caller]
    pub(crate) fn wait_log(&self, id: &str, text: &str) {
        until_some(&format!("the log of {id} has '{text}'"), || {
            let log = fs::read_to_string(self.run_dir(id).join("logs.jsonl")).ok()?;
            log.contains(text).then_some(())
        });
    }

    /// Waits until a process has reached the checkpoint; returns its pid.
    #[track_caller]
    pub(crate) fn wait_checkpoint(&self, name: &str) -> i32 {
        until_some(&format!("checkpoint {name} is reached"), || {
            let text = fs::read_to_string(self.checkpoints().join(name)).ok()?;
            text.parse().ok()
        })
    }

    /// Releases the process that waits at the checkpoint.
    pub(crate) fn release_checkpoint(&self, name: &str) {
        fs::remove_file(self.checkpoints().join(name)).expect("a reached checkpoint");
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.root().join("checkpoints")
    }

    /// Output in which the variable parts are replaced: `[ID]`, `[NAME]`, `[TIME]`, `[AGE]`, `[MOAT_HOME]`,
    /// `[WORKSPACE]`, `[HOME]`, `[ROOT]`.
    pub(crate) fn normal(&self, output: &str) -> String {
        let mut out = output.to_owned();
        let paths = [
            (self.home().to_owned(), "[MOAT_HOME]"),
            (self.workspace(), "[WORKSPACE]"),
            (self.user_home(), "[HOME]"),
            (self.root().to_owned(), "[ROOT]"),
        ];
        for (path, placeholder) in paths {
            out = out.replace(&*path.to_string_lossy(), placeholder);
        }
        for name in self.random_names() {
            out = out.replace(&name, "[NAME]");
        }
        text::placeholders(&out)
    }

    /// The generated names of runs: two words.
    fn random_names(&self) -> Vec<String> {
        let ids = self.ids();
        let read = |id: &String| {
            let bytes = fs::read(self.run_dir(id).join("run.json")).ok()?;
            let record: Value = serde_json::from_slice(&bytes).ok()?;
            Some(record["name"].as_str()?.to_owned())
        };
        ids.iter()
            .filter_map(read)
            .filter(|name| name.contains('-'))
            .collect()
    }
}

impl Drop for Moat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            leftovers::sweep(self);
            return;
        }
        let left = leftovers::find(self);
        if self.is_on_apple() {
            leftovers::reset_stand_in(self);
        }
        if !left.is_empty() {
            leftovers::sweep(self);
            panic!("the test left behind:\n{}", left.join("\n"));
        }
    }
}
