//! A place with docker whose images can be told from all others, and go with it.

use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Call, Done, IMAGE, Moat, Runtime, skip};

/// A Debian with apt-get and certificates.
pub(crate) const DEBIAN: &str = "moat-test/debian:12";

/// The place. `BASE` in its moat.yaml stands for its own base image.
pub(crate) struct Place {
    moat: Moat,
    images: Images,
}

impl Place {
    /// With busybox to build on: for what needs no packages. `None`: skipped, loudly.
    pub(crate) fn busybox() -> Option<Place> {
        Place::on(IMAGE)
    }

    /// With Debian to build on.
    pub(crate) fn debian() -> Option<Place> {
        Place::on(DEBIAN)
    }

    fn on(image: &str) -> Option<Place> {
        let moat = Moat::on(Runtime::Docker)?;
        if docker_may_fail(&["image", "inspect", image]).is_err() {
            skip(&format!("no image {image} (tests/setup images)"));
            return None;
        }
        let mark = moat.root().file_name()?.to_str()?.to_owned();
        let images = Images {
            mark,
            home_label: moat.label(),
        };
        image_from(
            &images.base(),
            &format!("FROM {image}\nLABEL moat-test.place={}\n", images.mark),
        );
        let bin = moat.root().join("bin");
        count_calls(&bin, &moat.root().join("calls"));
        Some(Place {
            moat: moat.path_prepend(bin),
            images,
        })
    }

    /// The image that builds begin with.
    pub(crate) fn base(&self) -> String {
        self.images.base()
    }

    /// Another image that goes with this place.
    pub(crate) fn image(&self, name: &str, dockerfile: &str) -> String {
        let tag = format!("moat-test/{name}-{}:1", self.images.mark);
        let label = format!("{}LABEL moat-test.place={}\n", dockerfile, self.images.mark);
        image_from(&tag, &label);
        tag
    }

    /// Writes moat.yaml, with `BASE` replaced.
    pub(crate) fn moat_yaml(&self, text: &str) {
        self.write("moat.yaml", text.replace("BASE", &self.base()));
    }

    /// Writes a file of the registry.
    pub(crate) fn registry(&self, text: &str) {
        let dir = self.home().join("registry.d");
        fs::create_dir_all(&dir).expect("registry.d");
        fs::write(dir.join("test.yaml"), text).expect("an entry");
    }

    /// A call of `moat run FLAGS -- sh -c SCRIPT`, which takes the image from moat.yaml.
    pub(crate) fn go(&self, flags: &[&str], script: &str) -> Call<'_> {
        let call = self.args(["run"]).args(flags);
        call.args(["--", "sh", "-c", script])
    }

    /// The same, quiet.
    pub(crate) fn quiet(&self, script: &str) -> Call<'_> {
        self.go(&["--quiet"], script)
    }

    /// How often docker was called with this word so far.
    pub(crate) fn calls(&self, word: &str) -> usize {
        let calls = fs::read_to_string(self.root().join("calls")).unwrap_or_default();
        let is_it = |line: &&str| line.split(' ').next() == Some(word);
        calls.lines().filter(is_it).count()
    }

    /// How many images were built, or begun.
    pub(crate) fn builds(&self) -> usize {
        self.calls("build")
    }

    /// The images that moat has built for this place.
    pub(crate) fn built(&self) -> Vec<String> {
        let filter = format!("label=moat.home={}", self.label());
        let listed = docker(&["image", "ls", "--quiet", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// The containers of builds and runs on images of this place.
    pub(crate) fn all_containers(&self) -> Vec<String> {
        let filter = format!("label=moat-test.place={}", self.images.mark);
        let listed = docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// What the plan says of a run.
    #[track_caller]
    pub(crate) fn plan(&self) -> Value {
        let call = self.args(["run", "--dry-run", "--json", "--", "true"]);
        call.any_stdout().success().json()
    }

    /// The image that a run would have.
    #[track_caller]
    pub(crate) fn planned_image(&self) -> String {
        let plan = self.plan();
        plan["image"].as_str().expect("an image").to_owned()
    }

    /// Builds leave neither a lock nor a context.
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

/// Removes, when dropped, all images that carry the label of the place: those begun with its base
/// inherit it; and its volumes. Dropped after the place itself, whose containers are gone by then.
struct Images {
    mark: String,
    home_label: String,
}

impl Images {
    fn base(&self) -> String {
        format!("moat-test/base-{}:1", self.mark)
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let home = format!("label=moat.home={}", self.home_label);
        for volume in docker(&["volume", "ls", "--quiet", "--filter", &home]).lines() {
            let _ = docker_may_fail(&["volume", "rm", "--force", volume]);
        }
        let label = format!("label=moat-test.place={}", self.mark);
        // Those on which others are built go once these are gone.
        for _ in 0..10 {
            let listed = docker(&["image", "ls", "--all", "--quiet", "--filter", &label]);
            let ids: Vec<&str> = listed.lines().collect();
            if ids.is_empty() {
                return;
            }
            let _ = docker_may_fail(&[&["rmi", "--force"], &ids[..]].concat());
        }
        eprintln!("images of {} could not be removed", self.mark);
    }
}

/// What package managers say where the network does not lead to their packages.
const NO_NETWORK: [&str; 7] = [
    "Could not resolve",
    "Temporary failure",
    "Connection timed out",
    "Could not connect",
    "EAI_AGAIN",
    "ETIMEDOUT",
    "Failed to establish a new connection",
];

/// Skips, loudly, where a build failed for want of a network.
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

/// A stand-in for docker that notes its calls, and is docker in all else.
fn count_calls(bin: &Path, calls: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path)
        .map(|dir| dir.join("docker"))
        .find(|path| path.is_file())
        .expect("docker is there");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\nexec '{}' \"$@\"\n",
        calls.display(),
        real.display()
    );
    program(bin, "docker", &script);
}

/// Writes a program.
pub(crate) fn program(bin: &Path, name: &str, script: &str) {
    fs::create_dir_all(bin).expect("a directory");
    let path = bin.join(name);
    fs::write(&path, script).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

fn image_from(tag: &str, dockerfile: &str) {
    let mut build = Command::new("docker")
        .args(["build", "--quiet", "--tag", tag, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker");
    let mut stdin = build.stdin.take().expect("its input");
    stdin.write_all(dockerfile.as_bytes()).expect("it reads");
    drop(stdin);
    let done = build.wait_with_output().expect("docker ends");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{dockerfile}: {stderr}");
}

/// What docker prints; it must succeed.
#[track_caller]
pub(crate) fn docker(args: &[&str]) -> String {
    match docker_may_fail(args) {
        Ok(text) => text,
        Err(text) => panic!("docker {args:?}: {text}"),
    }
}

pub(crate) fn docker_may_fail(args: &[&str]) -> Result<String, String> {
    let done = Command::new("docker").args(args).output().expect("docker");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// What docker knows of a container.
#[track_caller]
pub(crate) fn inspect(id: &str) -> Value {
    let all: Value = serde_json::from_str(&docker(&["inspect", id])).expect("JSON");
    all[0].clone()
}
