//! A place with an engine and the images of servers, which also checks what the containers leave in the engine.

use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::support::through;
use crate::harness::{Call, IMAGE, Moat, Runtime, skip};

/// The image of workloads that talk to servers.
pub(crate) const SERVERS: &str = "moat-test/servers:1";
pub(crate) const POSTGRES: &str = "moat-test/postgres:15";
pub(crate) const MARIADB: &str = "moat-test/mariadb:10.11";
pub(crate) const REDIS: &str = "moat-test/redis:7";
pub(crate) const OLLAMA: &str = "moat-test/ollama-stand-in:1";

/// A place that fails its test if its runs leave containers, networks or anonymous volumes in the engine. Images of
/// servers declare such volumes.
pub(crate) struct Place {
    moat: Moat,
    /// The images that were built for this place, and are removed with it.
    images: Vec<String>,
}

impl Place {
    /// Returns `None`, and skips the test, if the runtime or one of the images is missing.
    pub(crate) fn with(runtime: Runtime, images: &[&str]) -> Option<Place> {
        let moat = Moat::on(runtime)?;
        let all = [&["image", "inspect", "--format", "there"], images].concat();
        if let (false, Err(why)) = (images.is_empty(), client(&moat, &all)) {
            skip(&format!("{why} (tests/setup images, podman)"));
            return None;
        }
        let moat = match moat.is_on_apple() {
            // The stand-in records its calls itself.
            true => moat,
            false => noting(moat),
        };
        Some(Place {
            moat,
            images: Vec::new(),
        })
    }

    /// Builds an image that is removed with this place.
    pub(crate) fn image(&mut self, dockerfile: &str) -> String {
        let mark = self.root().file_name().expect("it has a name");
        let tag = format!(
            "moat-test/svc-{}-{}:1",
            mark.to_string_lossy(),
            self.images.len()
        );
        let mut build = self
            .client()
            .args(["build", "--quiet", "--force-rm", "--tag", &tag, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client");
        let mut stdin = build.stdin.take().expect("its input");
        stdin.write_all(dockerfile.as_bytes()).expect("it reads");
        drop(stdin);
        let done = build.wait_with_output().expect("its end");
        assert!(done.status.success(), "{dockerfile}");
        self.images.push(tag.clone());
        tag
    }

    /// Writes moat.yaml.
    pub(crate) fn moat_yaml(&self, text: &str) {
        self.write("moat.yaml", text);
    }

    /// A call of `moat run FLAGS -- bash -c SCRIPT` or, on busybox, `sh -c SCRIPT`.
    pub(crate) fn go(&self, flags: &[&str], script: &str) -> Call<'_> {
        let call = self.args(["run"]).args(flags);
        call.args(["--", "sh", "-c", script])
    }

    /// The same with --quiet.
    pub(crate) fn quiet(&self, script: &str) -> Call<'_> {
        self.go(&["--quiet"], script)
    }

    /// Starts a run in the background, and returns its id.
    #[track_caller]
    pub(crate) fn behind(&self, script: &str) -> String {
        let call = self.go(&["--quiet", "-b"], script).any_stdout();
        call.success().stdout_text().trim().to_owned()
    }

    /// From now on the engine needs one second more to start a container.
    pub(crate) fn slow_down(&self) {
        if self.is_on_apple() {
            self.apple_fault(r#"{"match":["start"],"count":-1,"do":"delay","ms":1000}"#);
        }
        fs::write(self.root().join("slow"), "").expect("a file");
    }

    /// Returns the arguments of all calls of the engine client so far, one call per line.
    pub(crate) fn calls(&self) -> String {
        if self.is_on_apple() {
            return self.apple_calls().join("\n");
        }
        fs::read_to_string(self.root().join("calls")).unwrap_or_default()
    }

    /// Calls the engine client directly, without moat, and returns its output.
    #[track_caller]
    pub(crate) fn engine(&self, args: &[&str]) -> String {
        if self.is_on_apple() {
            return self.apple(args);
        }
        match client(self, args) {
            Ok(text) => text,
            Err(text) => panic!("{args:?}: {text}"),
        }
    }

    /// Kills the container of a service without moat.
    #[track_caller]
    pub(crate) fn kill_service(&self, id: &str, name: &str) {
        self.engine(&["kill", &self.container(id, name)]);
    }

    /// Returns the record of a service.
    #[track_caller]
    pub(crate) fn service(&self, id: &str, name: &str) -> Value {
        let record = self.record(id);
        let mut services = record["services"].as_array().expect("services").iter();
        let service = services.find(|service| service["name"] == name);
        service.unwrap_or_else(|| panic!("{record:#}")).clone()
    }

    /// Returns the handle of a service's container.
    #[track_caller]
    pub(crate) fn container(&self, id: &str, name: &str) -> String {
        let service = self.service(id, name);
        service["handle"].as_str().expect("a handle").to_owned()
    }

    /// Returns the text of a service's log, with the lines of moat and of the service.
    #[track_caller]
    pub(crate) fn service_log(&self, id: &str, name: &str) -> String {
        let path = self.run_dir(id).join(format!("services/{name}.jsonl"));
        fs::read_to_string(path).expect("the log of a service")
    }

    /// Asserts that nothing is left of any run: no resource in the engine, no process, no lock.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:?}");
        let volumes = fs::read_to_string(self.root().join("volumes")).unwrap_or_default();
        if !volumes.is_empty() {
            let there = self.engine(&["volume", "ls", "--quiet"]);
            let mut there = there.lines();
            let left = there.find(|name| volumes.lines().any(|volume| volume == *name));
            assert_eq!(left, None, "a volume is left");
        }
        let locks: Vec<_> = fs::read_dir(self.home().join("locks"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        assert!(locks.is_empty(), "locks are left: {locks:?}");
    }
}

impl Deref for Place {
    type Target = Moat;

    fn deref(&self) -> &Moat {
        &self.moat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_left();
        }
        for image in &self.images {
            let _ = client(self, &["rmi", "--force", image]);
        }
    }
}

/// Puts a script in front of the engine client that records every call, and the volumes of each new container.
fn noting(moat: Moat) -> Moat {
    let program = moat.runtime_name();
    let script = format!(
        "words=\"$*\"; words=${{words#--log-level error }}\n\
         printf '%s\\n' \"$words\" >>'{root}/calls'\n\
         [ \"${{words%% *}}\" != start ] || [ ! -e '{root}/slow' ] || sleep 1\n\
         [ \"${{words%% *}}\" = create ] || exec {program} \"$@\"\n\
         {program} \"$@\" || exit\n\
         name=${{words#create --name }}\n\
         {program} inspect --format \
         '{{{{range .Mounts}}}}{{{{if eq .Type \"volume\"}}}}{{{{println .Name}}}}{{{{end}}}}{{{{end}}}}' \
         \"${{name%% *}}\" >>'{root}/volumes'\n",
        root = moat.root().display()
    );
    through(moat, program, &script)
}

/// Returns what the engine client prints, or its error.
fn client(moat: &Moat, args: &[&str]) -> Result<String, String> {
    let done = moat.client().args(args).output().expect("the client");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// Returns docker's description of a container.
#[track_caller]
pub(crate) fn inspect(place: &Place, id: &str) -> Value {
    let all: Value = serde_json::from_str(&place.engine(&["inspect", id])).expect("JSON");
    all[0].clone()
}

/// Returns a moat.yaml for a busybox workload with one service.
pub(crate) fn beside(dependency: &str, service: &str) -> String {
    format!("base_image: {IMAGE}\ndependencies: [{dependency}]\nservices:\n  {service}\n")
}

/// Returns the seconds since midnight of a time such as `2026-01-31T12:00:01.500000Z`.
fn seconds(time: &str) -> f64 {
    let parts = time[11..].trim_end_matches('Z').split(':');
    parts.fold(0.0, |sum, part| {
        sum * 60.0 + part.parse::<f64>().expect("a number")
    })
}

/// Returns the seconds from one time to a later one; midnight may lie between them.
pub(crate) fn between(from: &str, to: &str) -> f64 {
    (seconds(to) - seconds(from)).rem_euclid(86_400.0)
}

/// The attempts that a workload has to find a service by its name, as words of a shell's loop. aardvark-dns 1.4 restarts
/// whenever a container of any run joins or leaves a network of podman's: for a moment no name resolves
/// (docs/runtimes.md).
pub(crate) fn lookup_attempts(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Podman => "1 2 3 4 5",
        _ => "1",
    }
}
