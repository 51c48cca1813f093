//! Several runtimes in one home.

use serde_json::Value;

use crate::harness::{IMAGE, Moat, Runtime, skip, until};
use crate::support::through;

const WAIT: &str = "echo ready; until [ -e /workspace/go ]; do sleep 0.05; done; exit 5";

/// A place with a run on each runtime that is there, of docker, podman and bwrap; at least two.
fn place() -> Option<(Moat, Vec<(Runtime, String)>)> {
    let all = [Runtime::Docker, Runtime::Podman, Runtime::Bwrap];
    for runtime in all {
        if let Err(why) = runtime.available() {
            skip(&format!("{}: {why}", runtime.name()));
            return None;
        }
    }
    let moat = Moat::new();
    let start = |runtime: Runtime| {
        let mut call = moat.args(["run", "-q", "-b", "--runtime", runtime.name()]);
        if runtime.has_images() {
            call = call.args(["--image", IMAGE]);
        }
        let done = call.args(["--", "sh", "-c", WAIT]).any_stdout().success();
        let id = done.stdout_text().trim().to_owned();
        moat.wait_log(&id, "ready");
        (runtime, id)
    };
    let runs = all.into_iter().map(start).collect();
    Some((moat, runs))
}

fn left(moat: &Moat, runtime: Runtime) -> String {
    let filter = format!("label=moat.home={}", moat.label());
    let mut client = runtime.client();
    let done = client
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .output();
    String::from_utf8(done.unwrap().stdout).unwrap()
}

#[track_caller]
fn assert_ended(moat: &Moat, runs: &[(Runtime, String)]) {
    for (runtime, id) in runs {
        moat.args(["wait", id]).status(5);
        let record = moat.record(id);
        assert_eq!(record["runtime"], runtime.name());
        moat.args(["logs", id]).stdout("ready\n").success();
        until("it is clean", || moat.record(id)["cleaned_at"].is_string());
        if runtime.has_images() {
            assert_eq!(left(moat, *runtime), "");
        }
    }
}

#[test]
fn each_run_keeps_its_own() {
    let Some((moat, runs)) = place() else { return };
    let listed = moat.args(["list", "--json"]).any_stdout().success().json();
    let of = |id: &String| -> Value {
        let all = listed.as_array().unwrap();
        all.iter().find(|run| run["id"] == *id).unwrap()["runtime"].clone()
    };
    let status = moat
        .args(["status", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(status["active"].as_array().unwrap().len(), 3, "{status:#}");
    for (runtime, id) in &runs {
        assert_eq!(of(id), runtime.name());
        if !runtime.has_images() {
            continue;
        }
        moat.args(["exec", id, "--", "echo", "inside"])
            .stdout("inside\n")
            .success();
    }
    // Nothing of active runs is to be removed, on any of them.
    let found = moat
        .args(["clean", "--dry-run", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(found["containers"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["unknown"], serde_json::json!([]), "{found:#}");
    moat.write("go", "");
    assert_ended(&moat, &runs);
}

/// Whether it is docker or podman that does not answer: all else works, and it is said.
#[test]
fn one_that_is_down_hides_nothing_of_the_others() {
    let Some((moat, runs)) = place() else { return };
    let (down, words) = (
        moat.root().join("down"),
        "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
    );
    let script = format!(
        "[ ! -e '{}' ] || {{ echo '{words}' >&2; exit 1; }}\nexec docker \"$@\"\n",
        down.display()
    );
    let moat = through(moat, "docker", &script);
    std::fs::write(&down, "").unwrap();
    let listed = moat.args(["list", "--json"]).any_stdout().success().json();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed:#}");
    let status = moat
        .args(["status", "--json"])
        .any_stdout()
        .success()
        .json();
    let works = |name: &str| {
        let all = status["runtimes"].as_array().unwrap();
        let found = all.iter().find(|runtime| runtime["runtime"] == name);
        found.unwrap()["version"].is_string()
    };
    assert!(
        !works("docker") && works("podman") && works("bwrap"),
        "{status:#}"
    );
    let found = moat
        .args(["clean", "--dry-run", "--json"])
        .any_stdout()
        .success()
        .json();
    let unknown = found["unknown"].to_string();
    assert!(
        unknown.contains("docker") && !unknown.contains("podman"),
        "{found:#}"
    );
    let (_, podmans) = &runs[1];
    moat.args(["exec", podmans, "--", "echo", "inside"])
        .stdout("inside\n")
        .success();
    // What is nobody's is found where it can be looked for.
    let stray = format!("moat-test-stray-{}", std::process::id());
    let home = format!("moat.home={}", moat.label());
    let made = Runtime::Podman
        .client()
        .args(["create", "--name", &stray, "--label", &home])
        .args(["--label", "moat.run=run_00000000dead", IMAGE, "true"])
        .output();
    assert!(made.unwrap().status.success());
    let cleaned = moat
        .args(["clean", "--force", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(
        cleaned["containers"],
        serde_json::json!([stray]),
        "{cleaned:#}"
    );
    std::fs::remove_file(down).unwrap();
    moat.write("go", "");
    assert_ended(&moat, &runs);
}
