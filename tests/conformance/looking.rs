//! Reading commands: list, status, inspect, and plans.

use crate::harness::Moat;

const WAITING: &str = "until [ -e /workspace/go ]; do sleep 0.05; done";

pub(crate) fn list_shows_what_is_asked_for(moat: &Moat) {
    moat.run_with(["-n", "bad"], ["sh", "-c", "exit 7"])
        .status(7);
    let bad = moat.only_id();
    moat.run_with(["-n", "good"], ["true"]).success();
    let good = moat.ids().into_iter().find(|id| *id != bad).expect("two");
    let busy = moat.background_with(["-n", "busy"], WAITING);
    moat.wait_state(&busy, "running");
    let ids = |flags: &[&str], expected: &[&String]| {
        let text: String = expected.iter().map(|id| format!("{id}\n")).collect();
        moat.args(["list", "-q"]).args(flags).stdout(text).success();
    };
    ids(&[], &[&busy]);
    ids(&["-a"], &[&busy, &good, &bad]);
    ids(&["--state", "failed"], &[&bad]);
    ids(&["--state", "stopped"], &[&good]);
    ids(&["--state", "running"], &[&busy]);
    ids(&["--state", "created"], &[]);
    let runtime = moat.runtime_name();
    let width = runtime.len().max("RUNTIME".len());
    moat.args(["ls"])
        .stdout(format!(
            "NAME  RUN ID            {:width$}  STATE    CREATED  COMMAND\n\
             busy  [ID]  {runtime:width$}  running  [AGE]   sh -c {WAITING}\n",
            "RUNTIME"
        ))
        .success();
    let all = moat.args(["ps", "-a"]).any_stdout().success().stdout_text();
    assert!(
        all.contains("failed (7)") && all.contains("stopped (0)"),
        "{all}"
    );
    moat.write("go", "");
    moat.args(["wait", &busy]).success();
}

pub(crate) fn status_counts(moat: &Moat) {
    moat.sh("exit 7").status(7);
    moat.run(["true"]).success();
    let busy = moat.background(WAITING);
    let done = moat.args(["status"]).any_stdout().success();
    let text = moat.normal(&done.stdout_text());
    let counts = "1 active, 1 stopped, 1 failed, 0 unreadable in [MOAT_HOME]\n";
    assert!(text.starts_with(counts), "{text}");
    assert!(
        text.contains(moat.runtime_name()) && text.contains("works, version"),
        "{text}"
    );
    assert!(done.stdout_text().contains(&busy), "{text}");
    moat.write("go", "");
    moat.args(["wait", &busy]).success();
}

pub(crate) fn inspect_shows_the_record(moat: &Moat) {
    moat.run_with(["-n", "one", "-e", "A=b", "--timeout", "90s"], ["true"])
        .success();
    let id = moat.only_id();
    for flags in [["inspect", "one"], ["inspect", &id[..10]]] {
        let document = moat.args(flags).any_stdout().success().json();
        assert_eq!(document, moat.record(&id));
    }
    let record = moat.record(&id);
    assert_eq!(record["id"], id);
    assert_eq!(record["runtime"], moat.runtime_name());
    assert_eq!(record["command"][0], "true");
    assert_eq!(record["env"][0], "A", "the name alone");
    assert_eq!(record["timeout_seconds"], 90.0);
    assert_eq!(record["resources"][0]["stage"], "removed");
    assert_eq!(record["image"].is_string(), moat.has_images());
}

pub(crate) fn a_dry_run_makes_nothing(moat: &Moat) {
    let flags = ["--dry-run", "-e", "TOKEN", "-n", "x"];
    let done = moat
        .run_with(flags, ["echo", "hi"])
        .env("TOKEN", "s3cret")
        .any_stdout()
        .success();
    let text = moat.normal(&done.stdout_text());
    assert!(
        text.contains("[WORKSPACE]") && text.contains("echo hi"),
        "{text}"
    );
    assert!(text.contains("TOKEN") && !text.contains("s3cret"), "{text}");
    let done = moat
        .run_with(flags, ["echo", "hi"])
        .arg("--json")
        .env("TOKEN", "s3cret")
        .any_stdout()
        .success();
    assert!(!done.stdout_text().contains("s3cret"));
    assert!(!moat.home().exists(), "not even MOAT_HOME");
}
