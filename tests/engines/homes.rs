//! Several homes with one engine: no home touches what another one made, even if both have the same path, or one is a
//! copy of the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::remote;
use crate::cli::home::in_mounts;
use crate::harness::support::{kill_supervisor, list};
use crate::harness::{Call, Done, IMAGE, Moat, Runtime, fnv1a, home_labels, skip, until};

const COPIED: &str = "name: app\nworkspace: {mode: volume}\n\
                      volumes: [{name: db, target: /db, type: volume}]\n";
/// The project's volume, as `moat volumes` names it.
const VOLUME: &str = "app/db";

#[track_caller]
fn engine(moat: &Moat, args: &[&str]) -> String {
    let done = moat.client().args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A container that no run knows.
fn stray(moat: &Moat, home: &str, owner: &str) -> String {
    let name = moat.root().file_name().unwrap().to_string_lossy();
    let name = format!("{name}-{}", fnv1a(format!("{home}{owner}").as_bytes()));
    let home = format!("moat.home={home}");
    let labels = ["--label", &home, "--label", owner];
    let create = ["create", "--name", &name];
    engine(moat, &[&create[..], &labels, &[IMAGE, "true"]].concat());
    name
}

#[track_caller]
fn clean(call: impl FnOnce(&[&str]) -> Done) -> Value {
    call(&["clean", "--force", "--json"]).json()
}

/// A home that its commands see at a path that another home has for others.
struct Namesake {
    moat: Moat,
    path: PathBuf,
}

impl Namesake {
    fn new(moat: Moat, path: &Path) -> Namesake {
        // moat would create it, but at the common path.
        fs::create_dir(moat.home()).unwrap();
        let moat = moat.env("MOAT_HOME", path);
        let path = path.to_owned();
        moat.write("moat.yaml", COPIED);
        Namesake { moat, path }
    }

    #[track_caller]
    fn call(&self, call: &Call<'_>) -> Result<Done, String> {
        let (own, path) = (self.moat.home().display(), self.path.display());
        let done = in_mounts(call, &format!("mount --bind '{own}' '{path}'"))?;
        assert_eq!(done.code, Some(0), "{done}");
        Ok(done)
    }

    #[track_caller]
    fn moat(&self, args: &[&str]) -> Done {
        self.call(&self.moat.args(args)).unwrap()
    }

    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> Result<Done, String> {
        self.call(&self.moat.run_with(flags, ["sh", "-c", script]))
    }
}

/// Two homes at one path, each with a run of the same project, in the same engine.
fn homes_of_one_path(one: Moat, other: Moat) {
    let path = one.root().join("namesake");
    fs::create_dir(&path).unwrap();
    let (one, other) = (Namesake::new(one, &path), Namesake::new(other, &path));
    let started = match one.sh(&["-b"], "echo one >/db/file; echo ready; exec sleep 600") {
        Ok(done) => done.stdout_text(),
        Err(why) => return skip(&why),
    };
    let id = started.trim();
    one.moat.wait_log(id, "ready");
    let label = one.moat.label();
    let session = stray(&one.moat, &label, "moat.session=AbCdEfGhIjKlMnOp");
    let orphan = stray(&one.moat, &label, "moat.run=run_0123456789ab");

    // The other home sees nothing of it, and shares no volume.
    assert_eq!(other.moat(&["volumes", "-q"]).stdout_text(), "");
    let listed = other.sh(&[], "ls /db; echo other >/db/file").unwrap();
    assert_eq!(listed.stdout_text(), "");
    assert_ne!(other.moat.label(), label);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nobody wrote here");
    let found = clean(|args| other.moat(args));
    for key in ["containers", "networks", "volumes", "left", "unchecked"] {
        assert_eq!(found[key], json!([]), "{found:#}");
    }
    other.moat(&["volumes", "rm", "-f", VOLUME]);
    assert_eq!(other.moat(&["volumes", "-q"]).stdout_text(), "");

    // The first home has all of it.
    let inside = one.moat(&["exec", id, "--", "cat", "/db/file"]);
    assert_eq!(inside.stdout_text(), "one\n");
    one.moat(&["stop", id]);
    let mut strays = [session, orphan];
    strays.sort();
    let mut found = clean(|args| one.moat(args))["containers"].take();
    let found = found.as_array_mut().unwrap();
    found.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    assert_eq!(json!(found), json!(strays));
    let kept = one.sh(&[], "cat /db/file").unwrap();
    assert_eq!(kept.stdout_text(), "one\n");
    one.moat(&["volumes", "rm", "-f", VOLUME]);
}

#[test]
fn of_one_path() {
    let (Some(one), Some(other)) = (Moat::on(Runtime::Docker), Moat::on(Runtime::Docker)) else {
        return;
    };
    homes_of_one_path(one, other);
}

/// As two machines with one engine: one of them reaches it by a docker context.
#[test]
fn of_one_path_on_two_machines() {
    let (Some(one), Some((other, _port))) = (Moat::on(Runtime::Docker), remote::place()) else {
        return;
    };
    homes_of_one_path(one, other.env("DOCKER_CONTEXT", "elsewhere"));
}

fn former_labels(moat: &Moat) -> Value {
    let text = fs::read_to_string(moat.home().join("id")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["former"].clone()
}

#[test]
fn a_copy_and_its_original() {
    let (Some(original), Some(copy)) = (Moat::on(Runtime::Docker), Moat::on(Runtime::Docker))
    else {
        return;
    };
    original.write("moat.yaml", COPIED);
    copy.write("moat.yaml", COPIED);
    original.sh("echo first >/db/file").success();
    let label = original.label();
    let copied = Command::new("cp")
        .arg("-a")
        .args([original.home(), copy.home()])
        .status();
    assert!(copied.unwrap().success());
    let id = original.background("echo ready; exec sleep 600");
    original.wait_log(&id, "ready");
    let session = stray(&original, &label, "moat.session=AbCdEfGhIjKlMnOp");

    // Neither a command that only looks nor one that writes claims anything of the original.
    for doctor in [false, true] {
        if doctor {
            copy.args(["doctor"]).any_stdout().success();
            assert_ne!(copy.label(), label);
            assert_eq!(former_labels(&copy), json!([label]));
        }
        let found = clean(|args| copy.args(args).any_stdout().success());
        assert_eq!(found["containers"], json!([]), "{found:#}");
        let left = [
            format!("container {id} (docker)"),
            format!("container {session} (docker)"),
        ];
        let found = found["left"].as_array().unwrap();
        assert_eq!(found.len(), left.len(), "{found:?}");
        assert!(
            left.iter().all(|one| found.contains(&json!(one))),
            "{found:?}"
        );
    }
    copy.args(["clean"])
        .stdout_contains(&format!(
            "left       container {id} (docker) is in no record here, and may belong to another home\n"
        ))
        .stdout_contains("Nothing to remove.\n")
        .success();

    // The data of the project is the same for both.
    copy.sh("cat /db/file").stdout("first\n").success();
    original
        .args(["exec", &id, "--", "cat", "/db/file"])
        .stdout("first\n")
        .success();
    assert_eq!(original.label(), label, "the original keeps its identity");
    original.args(["stop", &id]).any_stdout().success();
    let found = clean(|args| original.args(args).any_stdout().success());
    assert_eq!(found["containers"], json!([session]));
    original
        .args(["volumes", "rm", "-f", VOLUME])
        .stdout("app/db\n")
        .success();
}

/// A home of an earlier version, whose label was the hash of its path.
fn earlier_version(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    moat.write("moat.yaml", COPIED);
    moat.sh("true").success();
    moat.args(["volumes", "rm", "-f", VOLUME])
        .any_stdout()
        .success();
    let known = moat.only_id();
    let old = fnv1a(moat.home().as_os_str().as_encoded_bytes());
    home_labels::write(moat.home(), &old);
    let id = moat.background("echo old >/db/file; echo ready; exec sleep 600");
    moat.wait_log(&id, "ready");
    // The run's record knows this one, but says that nothing is left.
    let late = stray(&moat, &old, &format!("moat.run={known}"));
    let foreign = stray(&moat, &old, "moat.run=run_0123456789ab");
    fs::remove_file(moat.home().join("id")).unwrap();

    // What a record knows is adopted, used and cleaned as before.
    kill_supervisor(&moat, &id);
    list(&moat);
    until("a supervisor has adopted the run", || {
        let log = fs::read_to_string(moat.run_dir(&id).join("supervisor.log"));
        log.is_ok_and(|log| log.contains("adopted"))
    });
    let container = engine(&moat, &["inspect", "--format", "{{.Id}}", &id]);
    moat.args(["whose", &container]).stdout_contains(&id).run();
    let found = clean(|args| moat.args(args).any_stdout().success());
    assert_eq!(found["containers"], json!([late]), "{found:#}");
    assert_eq!(
        found["left"],
        json!([format!("container {foreign} ({})", runtime.name())])
    );
    // The next run gives the home its identity, and has the data of the project.
    moat.sh("cat /db/file").stdout("old\n").success();
    assert_ne!(moat.label(), old);
    assert_eq!(former_labels(&moat), json!([old]));
    moat.args(["stop", &id]).any_stdout().success();
    until("the run is cleaned up", || {
        moat.record(&id)["cleaned_at"].is_string()
    });
    let label = format!("moat.home={old}");
    let filter = format!("label={label}");
    let names = ["ps", "--all", "--format", "{{.Names}}", "--filter", &filter];
    assert_eq!(engine(&moat, &names), foreign);
    engine(&moat, &["rm", "--force", &foreign]);

    // A volume of the label that no run has mounted may be another home's.
    let other = format!("moat-{old}-app.other");
    let create = [
        "volume",
        "create",
        "--label",
        &label,
        "--label",
        "moat.volume=app/other",
    ];
    engine(&moat, &[&create[..], &[&other]].concat());
    moat.args(["volumes", "-q"])
        .stdout("app/db\napp/other\n")
        .success();
    moat.args(["volumes", "rm", "-f", "app/other"])
        .stderr_contains("may belong to another home")
        .stderr_contains(&format!("{} volume rm {other}", runtime.name()))
        .status(1);
    engine(&moat, &["volume", "rm", &other]);
    moat.args(["volumes", "rm", "-f", VOLUME])
        .stdout("app/db\n")
        .success();
    assert_eq!(
        engine(&moat, &["volume", "ls", "-q", "--filter", &filter]),
        ""
    );
}

#[test]
fn of_an_earlier_version_docker() {
    earlier_version(Runtime::Docker);
}

#[test]
fn of_an_earlier_version_podman() {
    earlier_version(Runtime::Podman);
}
