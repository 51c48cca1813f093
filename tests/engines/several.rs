//! Several runtimes with one MOAT_HOME.

use serde_json::Value;

use crate::harness::support::through;
use crate::harness::{IMAGE, Moat, Runtime, skip, until};

const WAIT: &str = "echo ready; until [ -e /workspace/go ]; do sleep 0.05; done; exit 5";

const APPLE: Runtime = Runtime::Apple("1.2.2");

/// Returns a place with a run each on docker, podman, bwrap and apple.
fn place() -> Option<(Moat, Vec<(Runtime, String)>)> {
    let all = [Runtime::Docker, Runtime::Podman, Runtime::Bwrap, APPLE];
    for runtime in all {
        if let Err(why) = runtime.available() {
            skip(&format!("{}: {why}", runtime.name()));
            return None;
        }
    }
    let moat = Moat::new().runtime(APPLE);
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
        until("the run is cleaned up", || {
            moat.record(id)["cleaned_at"].is_string()
        });
    }
    for (runtime, _) in runs.iter().filter(|(runtime, _)| runtime.has_images()) {
        assert_eq!(left(moat, *runtime), "");
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
    assert_eq!(
        status["active"].as_array().unwrap().len(),
        runs.len(),
        "{status:#}"
    );
    for (runtime, id) in &runs {
        assert_eq!(of(id), runtime.name());
        if !runtime.has_images() {
            continue;
        }
        moat.args(["exec", id, "--", "echo", "inside"])
            .stdout("inside\n")
            .success();
    }
    // `clean` removes nothing of active runs, on any runtime.
    let found = moat
        .args(["clean", "--dry-run", "--json"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(found["containers"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["unchecked"], serde_json::json!([]), "{found:#}");
    moat.write("go", "");
    assert_ended(&moat, &runs);
}

/// Returns a run on a runtime with images, other than the one that is down.
fn another(runs: &[(Runtime, String)], down: Runtime) -> &(Runtime, String) {
    let mut others = runs.iter().filter(|(runtime, _)| *runtime != down);
    others.find(|(runtime, _)| runtime.has_images()).unwrap()
}

/// When one engine is down, everything else works, and the output names that engine.
fn one_is_down(down: Runtime, words: &str) {
    let Some((moat, runs)) = place() else { return };
    let mark = moat.root().join("down");
    let name = down.name();
    let moat = match down {
        APPLE => moat,
        _ => {
            let script = format!(
                "[ ! -e '{}' ] || {{ echo '{words}' >&2; exit 1; }}\nexec {name} \"$@\"\n",
                mark.display()
            );
            through(moat, name, &script)
        }
    };
    let system = |state: &str| match down {
        APPLE => drop(moat.apple(&["__fake", "system", state])),
        _ if state == "stopped" => std::fs::write(&mark, "").unwrap(),
        _ => std::fs::remove_file(&mark).unwrap(),
    };
    system("stopped");
    let listed = moat.args(["list", "--json"]).any_stdout().success().json();
    assert_eq!(listed.as_array().unwrap().len(), runs.len(), "{listed:#}");
    let status = moat
        .args(["status", "--json"])
        .any_stdout()
        .success()
        .json();
    let all = status["runtimes"].as_array().unwrap();
    for (runtime, _) in &runs {
        let found = all.iter().find(|one| one["runtime"] == runtime.name());
        let works = found.is_some_and(|one| one["version"].is_string());
        assert_eq!(works, *runtime != down, "{}: {status:#}", runtime.name());
    }
    let found = moat
        .args(["clean", "--dry-run", "--json"])
        .any_stdout()
        .success()
        .json();
    let unknown = found["unchecked"].to_string();
    for (runtime, _) in &runs {
        let said = unknown.contains(runtime.name());
        assert_eq!(said, *runtime == down, "{}: {found:#}", runtime.name());
    }
    let (other, id) = another(&runs, down);
    moat.args(["exec", id, "--", "echo", "inside"])
        .stdout("inside\n")
        .success();
    // `clean` finds a container without a run on the engines that answer.
    let stray = format!("moat-test-stray-{name}-{}", std::process::id());
    let home = format!("moat.home={}", moat.label());
    let made = other
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
    system("running");
    moat.write("go", "");
    assert_ended(&moat, &runs);
}

#[test]
fn docker_that_is_down_hides_nothing_of_the_others() {
    let words = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?";
    one_is_down(Runtime::Docker, words);
}

#[test]
fn podman_that_is_down_hides_nothing_of_the_others() {
    let words = "Cannot connect to Podman. Please verify your connection to the Linux system";
    one_is_down(Runtime::Podman, words);
}

#[test]
fn apple_that_is_down_hides_nothing_of_the_others() {
    one_is_down(APPLE, "");
}
