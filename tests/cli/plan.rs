//! The plan of a run, from flags, moat.yaml and config.yaml: `moat run --dry-run`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::fixture::{assert_nothing_made, refused, unreached};
use crate::harness::{Moat, assert_snapshot, skip};

/// The plan of `moat run FLAGS -- true`.
#[track_caller]
fn plan(moat: &Moat, flags: &[&str]) -> Value {
    let call = moat.args(["run", "--dry-run", "--json"]).args(flags);
    call.args(["--", "true"]).any_stdout().success().json()
}

const ALL: &str = "\
name: shop
base_image: debian:12
env: {B: v4lue}
env_file: more.env
secrets: {TOKEN: env://S3CRET_PLACE}
mounts: [{source: ., target: /src, mode: ro, exclude: [a]}]
volumes: [{name: cache, target: /cache}]
workspace: {mode: volume}
command: [npm, run, \"a b\"]
interactive: true
hooks: {pre_run: \"x\\ny\"}
container: {memory: 512, cpus: 1.5, pids: 100, dns: [1.1.1.1], ulimits: {core: -1, nofile: {soft: 1, hard: 2}}}
ports: {web: 3000, api: \"8080:80\"}
timeout: 1h30m
";

/// Returns a plan without the fields that differ between places.
fn neutral(moat: &Moat, text: &str) -> String {
    let owner = fs::metadata(moat.workspace()).expect("the workspace");
    let (uid, gid) = {
        use std::os::unix::fs::MetadataExt;
        (owner.uid(), owner.gid())
    };
    text.replace(&moat.workspace().display().to_string(), "[WORK]")
        .replace(&moat.root().display().to_string(), "[ROOT]")
        .replace(
            &format!("user         {uid}:{gid}\n"),
            "user         [UID]:[GID]\n",
        )
        .replace(
            &format!("\"uid\": {uid},\n  \"gid\": {gid},"),
            "\"uid\": [UID],\n  \"gid\": [GID],",
        )
}

#[test]
fn plans_are_reviewed() {
    let moat = unreached();
    moat.write("moat.yaml", ALL);
    moat.write("more.env", "C=v4lue2\n");
    for (name, flags) in [("plan-text", &[][..]), ("plan-json", &["--json"])] {
        let call = || moat.args(["run", "--dry-run"]).args(flags);
        let text = call().any_stdout().success().stdout_text();
        assert_snapshot(name, &neutral(&moat, &text));
        assert!(
            !text.contains("v4lue") && !text.contains("S3CRET_PLACE"),
            "{text}"
        );
        assert_eq!(
            call().any_stdout().success().stdout_text(),
            text,
            "the same again"
        );
    }
    // A plan needs no secret, no engine and no home, which only a run needs.
    assert_nothing_made(&moat);
}

/// The plan contains the whole build, except the content of the context.
#[test]
fn a_build_is_part_of_the_plan() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "dependencies: [typescript]\nhooks: {post_build: echo c0ntent}\n",
    );
    let plan = plan(&moat, &[]);
    assert_eq!(plan["build"]["base"], "node:22-bookworm-slim");
    let dockerfile = plan["build"]["dockerfile"].as_str().expect("text");
    assert!(dockerfile.contains("npm install --global") && dockerfile.ends_with('\n'));
    assert_eq!(
        plan["build"]["files"],
        json!([{ "name": "hooks/post_build.sh", "bytes": 12 }])
    );
    assert_eq!(
        plan["dependencies"],
        json!([
            { "name": "node", "version": "22", "type": "runtime", "required_by": "typescript" },
            { "name": "typescript", "version": null, "type": "npm", "required_by": null },
        ])
    );
    let text = moat
        .args(["run", "--dry-run", "--", "true"])
        .any_stdout()
        .success()
        .stdout_text();
    for line in [
        "dependency   node 22 (required by typescript)\n",
        "dependency   typescript\n",
        "Dockerfile   # Made by moat.\n             FROM node:22-bookworm-slim\n",
        "context      hooks/post_build.sh (12 bytes)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains(&format!(
        "image        {}, built from node:22-bookworm-slim\n",
        plan["image"].as_str().unwrap()
    )));
    // An image of a flag is used unchanged.
    let plan = self::plan(&moat, &["--image", "x"]);
    assert_eq!(
        (&plan["image"], &plan["build"]),
        (&json!("x"), &Value::Null)
    );
}

#[test]
fn flags_are_stronger_than_the_file() {
    let moat = unreached();
    moat.write("moat.yaml", ALL);
    moat.write("more.env", "C=1\n");
    let flags = [
        "-n",
        "mine",
        "--image",
        "y:1",
        "--timeout",
        "5s",
        "--memory",
        "64m",
        "--cpus",
        "2",
        "-e",
        "TOKEN=x",
        "-e",
        "D=1",
    ];
    let plan = plan(&moat, &flags);
    assert_eq!(
        (&plan["name"], &plan["name_is_project"]),
        (&json!("mine"), &json!(false))
    );
    assert_eq!(plan["command"], json!(["true"]));
    assert_eq!(plan["image"], "y:1");
    assert_eq!(plan["timeout_seconds"], 5.0);
    assert_eq!(plan["memory_bytes"], 64 << 20);
    assert_eq!(plan["cpus"], 2.0);
    // A value on the command line replaces a secret.
    assert_eq!(plan["secrets"], json!([]));
    assert_eq!(plan["env"], json!(["TOKEN", "D", "B", "C"]));
}

#[test]
fn the_older_name_of_the_file_counts_where_the_newer_is_missing() {
    let moat = unreached();
    let command = || {
        let call = moat.args(["run", "--dry-run", "--json"]);
        call.any_stdout().success().json()["command"].clone()
    };
    moat.write("agent.yaml", "command: [old]\n");
    assert_eq!(command(), json!(["old"]));
    moat.write("moat.yaml", "command: [new]\n");
    assert_eq!(command(), json!(["new"]));
    // Even if moat.yaml is empty.
    moat.write("moat.yaml", "");
    moat.args(["run", "--dry-run"])
        .stderr(
            "error: no command was given\n  hint: put the command after '--' (moat run -- npm test), \
             or into moat.yaml as 'command'\n",
        )
        .status(2);
    fs::remove_file(moat.workspace().join("agent.yaml")).expect("removed");
    fs::remove_file(moat.workspace().join("moat.yaml")).expect("removed");
    let plan = plan(&moat, &[]);
    assert_eq!(
        (&plan["image"], &plan["name"]),
        (&json!("debian:bookworm-slim"), &Value::Null)
    );
}

#[test]
fn the_runtime_of_flag_file_defaults_and_environment() {
    let moat = Moat::new();
    let runtime = |flags: &[&str], variable: &str| {
        let call = moat.args(["run", "--dry-run", "--json"]).args(flags);
        let call = call.args(["--", "true"]).env("MOAT_RUNTIME", variable);
        call.any_stdout().success().json()["runtime"].clone()
    };
    assert_eq!(runtime(&[], "bwrap"), "bwrap");
    moat.config("defaults: {runtime: bwrap}\n");
    assert_eq!(runtime(&[], "docker"), "bwrap");
    moat.write("moat.yaml", "runtime: docker\n");
    assert_eq!(runtime(&[], "bwrap"), "docker");
    assert_eq!(runtime(&["--runtime", "bwrap"], "docker"), "bwrap");
}

/// A wrong mount or image in the file is reported with its position before anything is created.
#[test]
fn what_the_host_does_not_have() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "mounts:\n  - none:/a\n  - {source: ~/none, target: /b}\n",
    );
    let (work, home) = (moat.workspace(), moat.user_home());
    refused(
        &moat,
        moat.args(["run", "--", "true"]),
        125,
        &format!(
            "error: moat.yaml:2:5: cannot mount '{}/none': no such file or directory\n\
             error: moat.yaml:3:5: cannot mount '{}/none': no such file or directory",
            work.display(),
            home.display()
        ),
    );
    // A flag for the same target replaces the mount of the file.
    let source = work.display().to_string();
    let flags = ["-m", &format!("{source}:/a"), "-m", &format!("{source}:/b")];
    assert_eq!(plan(&moat, &flags)["mounts"].as_array().unwrap().len(), 2);
    moat.write("moat.yaml", "name: a\n");
    refused(
        &moat,
        moat.args(["run", "--export", "out", "--", "true"]),
        2,
        "error: --export needs a copied workspace\n  hint: set workspace.mode to volume in moat.yaml",
    );
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// The inputs of an image that are not in moat.yaml.
#[test]
fn what_else_changes_the_image() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "dependencies: [mine]\ncontainer: {host_ca: true}\n",
    );
    let own = moat.home().join("registry.d");
    fs::create_dir_all(&own).expect("a directory");
    let entry = |text: &str| fs::write(own.join("a.yaml"), text).expect("an entry");
    let certificates = moat.write("ca.pem", CERTIFICATE);
    let image = || {
        let call = moat.args(["run", "--dry-run", "--json", "--", "true"]);
        let call = call.env("SSL_CERT_FILE", &certificates);
        call.any_stdout().success().json()["image"]
            .as_str()
            .expect("a tag")
            .to_owned()
    };
    let mine = "mine: {type: apt, description: d, packages: [tree]}\n";
    entry(mine);
    let first = image();
    assert!(first.starts_with("moat/run:"), "{first}");
    entry(&mine.replace("tree", "less"));
    let second = image();
    entry(mine);
    moat.write("ca.pem", CERTIFICATE.repeat(2));
    let third = image();
    moat.write("ca.pem", CERTIFICATE);
    assert_eq!(image(), first);
    assert!(first != second && first != third && second != third);
    if std::os::unix::fs::chown(moat.workspace(), Some(12345), Some(12345)).is_err() {
        return skip("only root can give a workspace to another owner");
    }
    assert_ne!(image(), first);
    std::os::unix::fs::chown(moat.workspace(), Some(0), Some(0)).expect("given back");
    assert_eq!(image(), first);
}

#[test]
fn certificates_of_the_host_that_are_none() {
    let moat = unreached();
    moat.write("moat.yaml", "container: {host_ca: true}\n");
    let file = moat.write("ca.pem", "nothing\n");
    let call = moat.args(["run", "--", "true"]).env("SSL_CERT_FILE", &file);
    refused(
        &moat,
        call,
        125,
        &format!(
            "error: {} contains no certificates in PEM form\n  \
             hint: set SSL_CERT_FILE to a file in PEM form, or leave out container.host_ca",
            file.display()
        ),
    );
}

/// A place with a docker that records its arguments and variables.
fn noting() -> Moat {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/bin/fake-docker");
    let moat = Moat::new().env("MOAT_RUNTIME", "docker").path_prepend(bin);
    let dir = moat.root().join("fake");
    fs::create_dir(&dir).expect("a directory");
    let note = "env >\"$state/env\"; usual \"$@\"";
    fs::write(dir.join("create"), note).expect("an answer");
    moat.env("FAKE_DOCKER", dir)
}

fn noted(moat: &Moat, file: &str) -> String {
    fs::read_to_string(moat.root().join("fake").join(file)).expect("a note")
}

#[test]
fn the_strongest_value_of_a_variable_wins() {
    let moat = noting();
    moat.config("defaults: {env: {A: config, B: config, C: config, D: config, E: config}}\n");
    moat.write(
        "moat.yaml",
        "base_image: x\nenv: {A: file, B: file}\nenv_file: [one.env, two.env]\n",
    );
    moat.write("one.env", "B=one\nC=one\nD=one\nPASSED\n");
    moat.write("two.env", "D=first\nD=two\n");
    moat.args(["run", "-q", "-e", "A=flag", "--", "true"])
        .env("PASSED", "on")
        .stdout("fake output\n")
        .success();
    let env = noted(&moat, "env");
    for line in [
        "A=flag",
        "B=file",
        "C=one",
        "D=two",
        "E=config",
        "PASSED=on",
    ] {
        assert!(env.lines().any(|found| found == line), "{line} in {env}");
    }
    for name in ["A", "B", "C", "D", "E", "PASSED"] {
        assert!(
            noted(&moat, "calls").contains(&format!("--env {name} ")),
            "{name}"
        );
    }
}

/// No argument, record, log or output contains the value of a secret or the path of its file.
#[test]
fn secrets_are_named_and_nothing_more() {
    let moat = noting();
    moat.write("pl4ce", "v4lue-of-file\n");
    moat.write(
        "moat.yaml",
        "base_image: x\nsecrets: {ONE: env://PL4CE, TWO: file://pl4ce}\nenv_file: e\n",
    );
    moat.write("e", "ONE=weaker\n");
    let call = || {
        let call = moat.args(["run", "-v", "-n", "r", "--", "true"]);
        call.env("PL4CE", "v4lue-of-env")
    };
    let done = call().any_stdout().any_stderr().success();
    let env = noted(&moat, "env");
    for line in ["ONE=v4lue-of-env", "TWO=v4lue-of-file"] {
        assert!(env.lines().any(|found| found == line), "{line} in {env}");
    }
    let mut texts = vec![
        done.stdout_text(),
        done.stderr_text(),
        noted(&moat, "calls"),
    ];
    for args in [
        &["inspect", "r"][..],
        &["list", "-a", "--json"],
        &["check", "-v"],
        &["run", "--dry-run", "-v", "--", "true"],
        &["run", "--dry-run", "--json", "--", "true"],
    ] {
        let done = moat.args(args).any_stdout().any_stderr().success();
        texts.extend([done.stdout_text(), done.stderr_text()]);
    }
    let dir = moat.run_dir(&moat.only_id());
    for entry in fs::read_dir(dir).expect("the run").flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in texts {
        assert!(
            !text.contains("v4lue") && !text.to_lowercase().contains("pl4ce"),
            "{text}"
        );
    }
}

/// The error names a secret that cannot be read, and nothing is created.
#[test]
fn secrets_that_cannot_be_had() {
    let moat = noting();
    for (secret, why) in [
        (
            "env://NOT_SET",
            "the variable NOT_SET is not set\n  hint: set it in the environment of moat",
        ),
        (
            "env://EMPTY",
            "it is empty\n  hint: store a value, or remove the secret from moat.yaml",
        ),
        (
            "file://empty",
            "it is empty\n  hint: store a value, or remove the secret from moat.yaml",
        ),
        (
            "file://.",
            "[WORK]/. is not a file\n  hint: a relative path starts at the directory of the configuration file",
        ),
        (
            "file://none",
            "[WORK]/none: no such file or directory\n  hint: a relative path starts at the directory of the configuration file",
        ),
        (
            "file://long",
            "it is larger than 120 KiB\n  hint: mount it as a file",
        ),
        (
            "file://nul",
            "it contains a NUL character\n  hint: give it as text",
        ),
        (
            "file://bytes",
            "[WORK]/bytes is not UTF-8\n  hint: a relative path starts at the directory of the configuration file",
        ),
    ] {
        moat.write("empty", "\n");
        moat.write("long", "x".repeat(200_000));
        moat.write("nul", "a\0b");
        moat.write("bytes", b"\xff");
        moat.write("moat.yaml", format!("secrets: {{S: \"{secret}\"}}\n"));
        let why = why.replace("[WORK]", &moat.workspace().display().to_string());
        let call = moat.args(["run", "-q", "--", "true"]).env("EMPTY", "");
        refused(
            &moat,
            call,
            125,
            &format!("error: cannot get the secret S: {why}"),
        );
    }
}
