//! A place with an engine, whose images have a label of their own and are removed with the place.

use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::home_labels::HomeLabels;
use crate::harness::{Call, Done, IMAGE, Moat, Runtime, skip};

/// A Debian with apt-get and certificates.
pub(crate) const DEBIAN: &str = "moat-test/debian:12";

/// A place for image tests. `BASE` in its moat.yaml stands for its own base image.
pub(crate) struct Place {
    moat: Moat,
    images: Images,
}

impl Place {
    /// Returns a place that builds on busybox. `None` skips the test with a note.
    pub(crate) fn busybox(runtime: Runtime) -> Option<Place> {
        Place::on(runtime, IMAGE)
    }

    /// Returns a place that builds on Debian.
    pub(crate) fn debian(runtime: Runtime) -> Option<Place> {
        Place::on(runtime, DEBIAN)
    }

    fn on(runtime: Runtime, image: &str) -> Option<Place> {
        let moat = Moat::on(runtime)?;
        let mark = moat.root().file_name()?.to_str()?.to_owned();
        let images = Images {
            runtime,
            mark,
            home_labels: moat.labels(),
        };
        if let Err(why) = images.client(&["image", "inspect", image]) {
            skip(&format!(
                "no image {image} (tests/setup images, podman): {why}"
            ));
            return None;
        }
        images.make(&images.base(), &format!("FROM {image}\n"));
        // The stand-in for apple records its calls itself.
        let moat = match moat.is_on_apple() {
            true => moat,
            false => {
                let bin = moat.root().join("bin");
                count_calls(&bin, runtime.name(), moat.root());
                moat.path_prepend(bin)
            }
        };
        Some(Place { moat, images })
    }

    /// Returns the base image of this place.
    pub(crate) fn base(&self) -> String {
        self.images.base()
    }

    /// Builds another image that is removed with this place, and returns its tag.
    pub(crate) fn image(&self, name: &str, dockerfile: &str) -> String {
        let tag = format!("moat-test/{name}-{}:1", self.images.mark);
        self.images.make(&tag, dockerfile);
        tag
    }

    /// Writes moat.yaml, with `BASE` replaced.
    pub(crate) fn moat_yaml(&self, text: &str) {
        self.write("moat.yaml", text.replace("BASE", &self.base()));
    }

    /// A call of `moat run FLAGS -- sh -c SCRIPT`, which takes the image from moat.yaml.
    pub(crate) fn go(&self, flags: &[&str], script: &str) -> Call<'_> {
        let call = self.args(["run"]).args(flags);
        call.args(["--", "sh", "-c", script])
    }

    /// The same with --quiet.
    pub(crate) fn quiet(&self, script: &str) -> Call<'_> {
        self.go(&["--quiet"], script)
    }

    /// Returns the number of calls of the engine client so far that begin with this word.
    pub(crate) fn calls(&self, word: &str) -> usize {
        let calls = self.all_calls();
        let is_it = |line: &&str| line.split(' ').next() == Some(word);
        calls.lines().filter(is_it).count()
    }

    /// Returns the calls of the engine client so far, one per line.
    pub(crate) fn all_calls(&self) -> String {
        if self.is_on_apple() {
            return self.apple_calls().join("\n");
        }
        fs::read_to_string(self.root().join("calls")).unwrap_or_default()
    }

    /// Calls the engine client directly, and returns its output or its error. On apple this is docker's client,
    /// because docker keeps the stand-in's images.
    pub(crate) fn try_engine(&self, args: &[&str]) -> Result<String, String> {
        self.images.client(args)
    }

    /// Calls the engine client directly, which must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn engine(&self, args: &[&str]) -> String {
        match self.try_engine(args) {
            Ok(text) => text,
            Err(text) => panic!("{args:?}: {text}"),
        }
    }

    /// Returns the engine's description of a container.
    #[track_caller]
    pub(crate) fn inspect_container(&self, id: &str) -> Value {
        let all = self.engine(&["inspect", id]);
        let all: Value = serde_json::from_str(&all).expect("JSON");
        all[0].clone()
    }

    /// Returns the number of builds that were started. A build that moat repeats on podman counts once.
    pub(crate) fn builds(&self) -> usize {
        let logs = self.ids().into_iter().map(|id| {
            let log = self.run_dir(&id).join("build.log");
            let log = fs::read_to_string(log).unwrap_or_default();
            log.matches("podman's images changed during the build; trying again\n")
                .count()
        });
        self.calls("build") - logs.sum::<usize>()
    }

    /// Lets the next `count` builds fail with these words without building.
    pub(crate) fn fail_builds(&self, count: usize, words: &str) {
        fs::write(self.root().join("build-fails"), words).expect("the words");
        fs::write(self.root().join("build-failures"), "x\n".repeat(count)).expect("the failures");
    }

    /// Returns the images that moat has built for this place, without podman's cached build steps.
    pub(crate) fn built(&self) -> Vec<String> {
        let filter = format!("label=moat.home={}", self.label());
        let tagged = ["--filter", "dangling=false"];
        let list = [
            &["image", "ls", "--quiet", "--filter", &filter],
            &tagged[..],
        ]
        .concat();
        let listed = self.engine(&list);
        listed.lines().map(str::to_owned).collect()
    }

    /// Returns the containers of builds and of runs on images of this place.
    pub(crate) fn all_containers(&self) -> Vec<String> {
        let filter = format!("label=moat-test.place={}", self.images.mark);
        let listed = self.engine(&["ps", "--all", "--quiet", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Returns the plan of a run.
    #[track_caller]
    pub(crate) fn plan(&self) -> Value {
        let call = self.args(["run", "--dry-run", "--json", "--", "true"]);
        call.any_stdout().success().json()
    }

    /// Returns the image that a run would use.
    #[track_caller]
    pub(crate) fn planned_image(&self) -> String {
        let plan = self.plan();
        plan["image"].as_str().expect("an image").to_owned()
    }

    /// Asserts that builds left neither a lock nor a build context.
    #[track_caller]
    pub(crate) fn assert_no_traces(&self) {
        let locks: Vec<_> = fs::read_dir(self.home().join("locks"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        assert!(locks.is_empty(), "locks are left: {locks:?}");
        for id in self.ids() {
            let context = self.run_dir(&id).join("context");
            assert!(!context.exists(), "{} is left", context.display());
        }
        let containers = self.all_containers();
        assert!(containers.is_empty(), "containers are left: {containers:?}");
    }
}

impl Deref for Place {
    type Target = Moat;

    fn deref(&self) -> &Moat {
        &self.moat
    }
}

/// The images and volumes of a place, which are removed on drop. Images that are built on its base inherit the
/// place's label. A place drops them last, after its containers are gone.
struct Images {
    runtime: Runtime,
    mark: String,
    home_labels: HomeLabels,
}

impl Images {
    fn base(&self) -> String {
        format!("moat-test/base-{}:1", self.mark)
    }

    fn client(&self, args: &[&str]) -> Result<String, String> {
        let ask = || {
            let done = self.runtime.client().args(args).output();
            let done = done.expect("the client");
            match done.status.success() {
                true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
                false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
            }
        };
        match args {
            ["image", "ls" | "inspect", ..] => {
                unless_raced(ask, &["image not known", "layer not known"])
            }
            _ => ask(),
        }
    }

    /// Builds an image that is removed with the place.
    fn make(&self, tag: &str, dockerfile: &str) {
        let made = unless_raced(|| self.try_to_make(tag, dockerfile), &["layer not known"]);
        made.unwrap_or_else(|said| panic!("{dockerfile}: {said}"));
    }

    fn try_to_make(&self, tag: &str, dockerfile: &str) -> Result<(), String> {
        let mut client = self.runtime.client();
        client.args(["build", "--quiet", "--tag", tag]);
        if self.runtime.is_podman() {
            // podman would raise these limits above those that the tests may use.
            client.args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1000:1000",
            ]);
        }
        let mut build = client
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client");
        let mut stdin = build.stdin.take().expect("its input");
        let text = format!("{dockerfile}LABEL moat-test.place={}\n", self.mark);
        // A build that fails may end before it has read its input.
        let written = stdin.write_all(text.as_bytes());
        drop(stdin);
        let done = build.wait_with_output().expect("its end");
        match done.status.success() {
            true => written.map_err(|error| error.to_string()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let list = |args: &[&str]| -> Vec<String> {
            let listed = self.client(args).unwrap_or_default();
            listed.lines().map(str::to_owned).collect()
        };
        for label in self.home_labels.all() {
            let home = format!("label=moat.home={label}");
            for volume in list(&["volume", "ls", "--quiet", "--filter", &home]) {
                let _ = self.client(&["volume", "rm", "--force", &volume]);
            }
        }
        let label = format!("label=moat-test.place={}", self.mark);
        // Base images can only be removed after the images that are built on them.
        for _ in 0..10 {
            let ids = list(&["image", "ls", "--all", "--quiet", "--filter", &label]);
            if ids.is_empty() {
                return;
            }
            let ids = ids.iter().map(String::as_str);
            let _ = self.client(
                &["rmi", "--force"]
                    .into_iter()
                    .chain(ids)
                    .collect::<Vec<_>>(),
            );
        }
        eprintln!("images of {} could not be removed", self.mark);
    }
}

/// Repeats a podman command that failed with these words, because another test's podman removed an image meanwhile.
fn unless_raced<T>(
    mut attempt: impl FnMut() -> Result<T, String>,
    words: &[&str],
) -> Result<T, String> {
    let mut tries = 1;
    loop {
        match attempt() {
            Err(said) if tries < 10 && words.iter().any(|end| said.trim_end().ends_with(end)) => {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Messages of package managers that cannot reach their packages over the network.
const NO_NETWORK: [&str; 7] = [
    "Could not resolve",
    "Temporary failure",
    "Connection timed out",
    "Could not connect",
    "EAI_AGAIN",
    "ETIMEDOUT",
    "Failed to establish a new connection",
];

/// Returns whether a build failed for lack of a network, and then skips the test with a note.
pub(crate) fn has_no_network(done: &Done) -> bool {
    let said = done.stderr_text();
    let found = NO_NETWORK.iter().find(|words| said.contains(**words));
    match found {
        Some(words) if done.code == Some(125) => {
            skip(&format!("packages cannot be had: {words}"));
            true
        }
        _ => false,
    }
}

/// Puts a script in front of the engine client that records its calls, and fails builds as [`Place::fail_builds`]
/// says.
fn count_calls(bin: &Path, client: &str, root: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path)
        .map(|dir| dir.join(client))
        .find(|path| path.is_file())
        .expect("the client is there");
    let script = format!(
        r#"#!/bin/sh
words="$*"
words="${{words#--log-level error }}"
place='{root}'
printf '%s\n' "$words" >>"$place/calls"
case "$words" in
build\ *)
    if [ -s "$place/build-failures" ]; then
        sed -i 1d "$place/build-failures"
        cat "$place/build-fails" >&2
        exit 125
    fi
    ;;
esac
exec '{real}' "$@"
"#,
        root = root.display(),
        real = real.display()
    );
    program(bin, client, &script);
}

/// Writes an executable script.
pub(crate) fn program(bin: &Path, name: &str, script: &str) {
    fs::create_dir_all(bin).expect("a directory");
    let path = bin.join(name);
    fs::write(&path, script).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}
