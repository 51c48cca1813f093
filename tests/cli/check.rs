//! `moat check`: prints all problems of a project's files, and runs nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cli::fixture::{assert_nothing_made, unreached};
use crate::harness::{Moat, skip};

#[test]
fn nothing_is_wrong() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "dependencies: [node@22]\ncommand: [npm, test]\n",
    );
    moat.args(["check"]).stderr("nothing is wrong\n").success();
    moat.args(["check", "-q"]).success();
    moat.args(["check", "--json"])
        .stdout("{\n  \"ok\": true,\n  \"problems\": []\n}\n")
        .success();
    // A file without a command is valid: the command can be on the command line.
    for text in ["", "# nothing yet\n", "---\n", "{}"] {
        moat.write("moat.yaml", text);
        moat.args(["check"]).stderr("nothing is wrong\n").success();
    }
    assert_nothing_made(&moat);
}

#[test]
fn all_problems_with_their_places() {
    let moat = unreached();
    moat.write(
        "moat.yaml",
        "dependancies: [x]\ndependencies: [nodee]\ntimeout: 5\nenv: {A: b}\nsecrets: {A: env://B}\n",
    );
    moat.args(["check"])
        .stdout(
            "moat.yaml:1:1: unknown key 'dependancies' (did you mean 'dependencies'?)\n\
             moat.yaml:2:16: unknown dependency 'nodee' (did you mean 'node'?); see all: moat deps list\n\
             moat.yaml:3:10: expected text, found the number 5\n\
             moat.yaml:5:11: A is also in 'env' (moat.yaml:4)\n",
        )
        .status(1);
    let report = moat.args(["check", "--json"]).any_stdout().status(1).json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"].as_array().unwrap().len(), 4);
    assert_eq!(
        report["problems"][2],
        serde_json::json!({
            "file": "moat.yaml", "line": 3, "column": 10, "message": "expected text, found the number 5"
        })
    );
    // A run prints the same problems as errors, and starts nothing.
    let call = moat.args(["run", "--", "true"]);
    let done = call.any_stderr().status(125);
    let text = done.stderr_text();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("error: moat.yaml:")),
        "{text}"
    );
    let done = moat
        .args(["run", "--json", "--", "true"])
        .any_stderr()
        .status(125);
    let error: serde_json::Value = serde_json::from_str(&done.stderr_text()).expect("JSON");
    assert_eq!(error["error"]["kind"], "config");
    assert_eq!(error["error"]["problems"], report["problems"]);
    assert_nothing_made(&moat);
}

#[test]
fn which_file_counts() {
    let moat = unreached();
    let hint = "hint: run 'moat check PATH' with a directory that has a moat.yaml";
    let none = |path: &str| format!("error: there is no moat.yaml in '{path}'\n  {hint}\n");
    moat.args(["check"]).stderr(none(".")).status(1);
    moat.args(["check", "missing"])
        .stderr(none("missing"))
        .status(1);
    moat.write("agent.yaml", "a: 1\n");
    moat.args(["check"])
        .stdout("agent.yaml:1:1: unknown key 'a'\n")
        .status(1);
    let file = moat.write("moat.yaml", "b: 1\n");
    moat.args(["check"])
        .stdout("moat.yaml:1:1: unknown key 'b'\n")
        .status(1);
    // The path of the file is relative to the current directory.
    fs::create_dir(moat.workspace().join("sub")).expect("a directory");
    for (path, name) in [
        ("../work", "../work/moat.yaml"),
        ("./", "./moat.yaml"),
        ("sub/..", "sub/../moat.yaml"),
    ] {
        moat.args(["check", path])
            .stdout(format!("{name}:1:1: unknown key 'b'\n"))
            .status(1);
    }
    let whole = moat.workspace();
    moat.args(["check"])
        .arg(&whole)
        .stdout(format!("{}:1:1: unknown key 'b'\n", file.display()))
        .status(1);
    moat.args(["check", "moat.yaml"])
        .stderr(none("moat.yaml"))
        .status(1);
    moat.args(["check", "a", "b"]).any_stderr().status(2);
}

#[test]
fn what_is_no_configuration() {
    let moat = unreached();
    let file = moat.workspace().join("moat.yaml");
    for (content, why) in [
        (vec![b'#'; 300 * 1024], "it is larger than 256 KiB"),
        (vec![b'a'; 10 * 1024 * 1024], "it is larger than 256 KiB"),
        (b"a: b\nc: \xff\n".to_vec(), "it is not UTF-8 (in line 2)"),
        (b"\xff\xfea\0:\0".to_vec(), "it is not UTF-8 (in line 1)"),
    ] {
        fs::write(&file, content).expect("the file");
        for (args, code) in [(&["check"][..], 1), (&["run", "--", "true"], 125)] {
            moat.args(args)
                .stderr(format!("error: moat.yaml: {why}\n"))
                .status(code);
        }
    }
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a directory in its place");
    moat.args(["check"])
        .stderr("error: moat.yaml: it is not a file\n")
        .status(1);
    fs::remove_dir(&file).expect("removed");
    // The fifo has no writer, so reading it would never end.
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    moat.args(["check"])
        .stderr("error: moat.yaml: it is not a file\n")
        .status(1);
    fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("moat.yaml", &file).expect("a link to itself");
    moat.args(["check"])
        .stderr_contains("error: moat.yaml: ")
        .status(1);
    assert_nothing_made(&moat);
}

#[test]
fn a_file_that_may_not_be_read() {
    let moat = unreached();
    let file = moat.write("moat.yaml", "name: a\n");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).expect("its mode");
    match crate::cli::home::as_nobody(&moat.args(["check"])) {
        Ok(done) => {
            assert_eq!(done.stderr_text(), "error: moat.yaml: permission denied\n");
            assert_eq!(done.code, Some(1), "{done}");
        }
        Err(why) => skip(&why),
    }
}

#[test]
fn documents_that_are_hostile() {
    let moat = unreached();
    let laughs = (1..12).fold("l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        format!(
            "{text}l{i}: &l{i} [{}]\n",
            format!("*l{},", i - 1).repeat(10)
        )
    });
    let texts = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(60_000),
        "*a,".repeat(9_000)
    );
    for (text, part) in [
        ("[".repeat(100_000), "moat.yaml:1:"),
        ("{a: ".repeat(10_000), "moat.yaml:1:"),
        ("- ".repeat(50_000), "moat.yaml:1:"),
        (laughs, "too many values"),
        (texts, "too much text"),
        ("a: &a [*a]\n".to_owned(), "moat.yaml:1:"),
        (
            "- a\n".to_owned(),
            "moat.yaml:1:1: expected keys and values, found a list",
        ),
        (
            "5".to_owned(),
            "moat.yaml:1:1: expected keys and values, found the number 5",
        ),
        ("name: a\n---\nname: b\n".to_owned(), "moat.yaml:2:1: "),
        (
            "name: !secret a\n".to_owned(),
            "a tag (!) has no meaning here",
        ),
        ("name: \0\n".to_owned(), "moat.yaml:"),
        ("\tname: a\n".to_owned(), "moat.yaml:1:1: "),
        ("a\u{1b}[2J: 1\n".to_owned(), "moat.yaml:"),
    ] {
        moat.write("moat.yaml", &text);
        let done = moat.args(["check"]).stdout_contains(part).status(1);
        let start: String = text.chars().take(60).collect();
        assert!(
            done.took < std::time::Duration::from_secs(5),
            "{start}: {done}"
        );
        assert!(!done.stdout.contains(&0x1b), "{start}: {done}");
        let lines = done.stdout_text().lines().count();
        assert_eq!(lines, 1, "{start}: {done}");
    }
}

#[test]
fn the_files_of_variables() {
    let moat = unreached();
    moat.write("moat.yaml", "env_file: [good.env, bad.env, none.env]\n");
    moat.write("good.env", "# fine\nA=1\nexport B='2'\nPASSED_ON\n");
    moat.write("bad.env", "A=1\n1 B=2\nC=\"open\nNOWHERE_SET\nD=\\\n");
    moat.args(["check"])
        .env("PASSED_ON", "x")
        .stdout(
            "moat.yaml:1:31: there is no file 'none.env'\n\
             bad.env:2:1: expected NAME=value\n\
             bad.env:3:1: a quote is opened and not closed\n\
             bad.env:4:1: NOWHERE_SET has no value here, and none in the environment\n",
        )
        .status(1);
    let report = moat.args(["check", "--json"]).any_stdout().status(1).json();
    let files: Vec<&str> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["file"].as_str().unwrap())
        .collect();
    assert_eq!(
        files,
        ["moat.yaml", "good.env", "bad.env", "bad.env", "bad.env"]
    );
    // Paths are relative to the file that names them, not to the current directory.
    moat.write("moat.yaml", "env_file: good.env\n");
    moat.args(["check"])
        .arg(moat.workspace())
        .cwd("/")
        .env("PASSED_ON", "x")
        .stderr("nothing is wrong\n")
        .success();
    let binary = moat.write("good.env", b"A=\xff\n");
    moat.args(["check"])
        .stdout("moat.yaml:1:11: good.env: it is not UTF-8 (in line 1)\n")
        .status(1);
    fs::remove_file(&binary).expect("removed");
    fs::create_dir(&binary).expect("a directory in its place");
    moat.args(["check"])
        .stdout("moat.yaml:1:11: good.env: it is not a file\n")
        .status(1);
}

#[test]
fn what_depends_on_the_runtime() {
    let moat = Moat::new();
    moat.write(
        "moat.yaml",
        "name: a\ndependencies: [jq]\nbase_image: debian:12\nhooks: {post_build: a, post_build_root: b, pre_run: c}\n\
         ports: {web: 80}\ncontainer: {dns: [1.1.1.1], ulimits: {core: 0}}\n\
         volumes: [{name: v, target: /v}, {name: w, target: /w, type: volume}]\n",
    );
    let refused = "\
moat.yaml:2:16: 'dependencies' does not work on bwrap, which has no images; use the runtime docker
moat.yaml:3:13: 'base_image' does not work on bwrap, which has no images; use the runtime docker
moat.yaml:4:21: 'post_build' does not work on bwrap, which has no images; use the runtime docker
moat.yaml:4:41: 'post_build_root' does not work on bwrap, which has no images; use the runtime docker
moat.yaml:5:14: 'ports' does not work on bwrap, which has no network; use the runtime docker
moat.yaml:6:19: 'dns' does not work on bwrap, which has no network; use the runtime docker
moat.yaml:7:34: 'type: volume' does not work on bwrap, which has no volumes of its own; use the runtime docker
";
    // If nothing names a runtime, check assumes docker, which supports the most settings.
    moat.args(["check"]).stderr("nothing is wrong\n").success();
    moat.args(["check", "--runtime", "docker"])
        .stderr("nothing is wrong\n")
        .success();
    moat.args(["check", "--runtime", "bwrap"])
        .stdout(refused)
        .status(1);
    moat.args(["check"])
        .env("MOAT_RUNTIME", "bwrap")
        .stdout(refused)
        .status(1);
    let done = moat
        .args(["run", "--runtime", "bwrap", "--", "true"])
        .any_stderr()
        .status(125);
    assert_eq!(
        done.stderr_text(),
        refused
            .lines()
            .map(|line| format!("error: {line}\n"))
            .collect::<String>()
    );
    moat.write("moat.yaml", "runtime: bwrap\ncontainer: {dns: [1.1.1.1]}\n");
    moat.args(["check"])
        .stdout_contains("'dns' does not work on bwrap")
        .status(1);
    moat.args(["check", "--runtime", "docker"])
        .stderr("nothing is wrong\n")
        .success();
    moat.write("moat.yaml", "base_image: rootfs:/srv\n");
    moat.args(["check"])
        .stdout(
            "moat.yaml:1:13: 'rootfs:' works only on runtimes without images; docker has images\n",
        )
        .status(1);
    assert_nothing_made(&moat);
}

#[test]
fn the_name_of_a_runtime() {
    let moat = Moat::new();
    moat.write("moat.yaml", "runtime: dcoker\n");
    let problem = "moat.yaml:1:10: unknown runtime 'dcoker' (did you mean 'docker'?); the runtimes are apple, docker, podman, bwrap\n";
    moat.args(["check"]).stdout(problem).status(1);
    moat.args(["run", "--", "true"])
        .stderr(format!("error: {problem}"))
        .status(125);
    moat.args(["check", "--runtime", "dcoker"])
        .any_stderr()
        .status(2);
    moat.args(["check"])
        .env("MOAT_RUNTIME", "podmann")
        .stdout(problem)
        .status(1);
    // check does not look up a valid name in the environment.
    moat.write("moat.yaml", "runtime: docker\n");
    moat.args(["check"])
        .env("MOAT_RUNTIME", "podmann")
        .stderr("nothing is wrong\n")
        .success();
    moat.write("moat.yaml", "name: a\n");
    moat.args(["check"])
        .env("MOAT_RUNTIME", "podmann")
        .stderr(
            "error: unknown runtime 'podmann'\n  hint: supported here: apple, docker, podman, bwrap\n",
        )
        .status(1);
}

/// The user's defaults and registry apply to every project.
#[test]
fn problems_of_a_persons_own_files() {
    let moat = unreached();
    moat.write("moat.yaml", "dependencies: [jq]\nnmae: a\n");
    moat.config("defaults: {timeout: 5}\n");
    moat.args(["check"])
        .stdout(
            "moat.yaml:2:1: unknown key 'nmae' (did you mean 'name'?)\n\
             [MOAT_HOME]/config.yaml:1:21: expected text, found the number 5\n",
        )
        .status(1);
    moat.config("");
    moat.write("moat.yaml", "dependencies: [jq]\n");
    let own = moat.home().join("registry.d");
    fs::create_dir(&own).expect("a directory");
    fs::write(own.join("a.yaml"), "x: {type: nmp, description: d}\n").expect("a file");
    moat.args(["check"])
        .stdout_contains(
            "[MOAT_HOME]/registry.d/a.yaml:1:11: unknown value 'nmp' (did you mean 'npm'?)",
        )
        .status(1);
    fs::write(
        own.join("a.yaml"),
        "x: {type: npm, description: d, requires: [jq]}\n",
    )
    .expect("a file");
    moat.write("moat.yaml", "dependencies: [x]\n");
    moat.args(["check"]).stderr("nothing is wrong\n").success();
}

/// The user's defaults are for all runtimes: a runtime ignores the defaults that it does not support.
#[test]
fn defaults_that_a_runtime_cannot_honour() {
    let moat = Moat::new();
    moat.config(
        "defaults:\n  base_image: debian:12\n  mounts: [\"~:/etc/no-such-directory:ro\", \"~:/data\"]\n  \
         container: {dns: [1.1.1.1]}\n",
    );
    let notes = "\
note: ignoring a default of config.yaml: 'base_image' does not work on bwrap, which has no images; use the runtime docker
note: ignoring a default of config.yaml: 'dns' does not work on bwrap, which has no network; use the runtime docker
note: ignoring a default of config.yaml: cannot mount at /etc/no-such-directory: the path does not exist, and its parent is read-only on bwrap
";
    moat.write("moat.yaml", "name: a\n");
    moat.args(["check", "--runtime", "bwrap"])
        .stderr(format!("{notes}nothing is wrong\n"))
        .success();
    let plan = ["run", "--dry-run", "--json", "--", "true"];
    let targets = |runtime: &str| {
        let plan = moat.args(plan).env("MOAT_RUNTIME", runtime);
        let plan = plan.any_stdout().success().json();
        let mounts = plan["mounts"].as_array().expect("mounts").iter();
        let mounts: Vec<String> = mounts.map(|mount| mount["target"].to_string()).collect();
        (
            mounts.join(" "),
            plan["dns"].to_string(),
            plan["image"].to_string(),
        )
    };
    let text = str::to_owned;
    assert_eq!(
        targets("bwrap"),
        (text("\"/data\""), text("[]"), text("null"))
    );
    assert_eq!(
        targets("docker"),
        (
            text("\"/data\" \"/etc/no-such-directory\""),
            text("[\"1.1.1.1\"]"),
            text("\"debian:12\"")
        )
    );
    // docker does not support a root filesystem.
    moat.config("defaults: {base_image: 'rootfs:/srv'}\n");
    moat.args(["check", "--runtime", "docker"])
        .stderr_contains(
            "note: ignoring a default of config.yaml: 'rootfs:' works only on runtimes without images",
        )
        .success();
}

/// A check finds every problem for which a run would be refused.
#[test]
fn a_check_finds_what_a_run_would_be_refused_for() {
    let moat = Moat::new();
    let certificates = moat.write("ca.pem", "nothing\n");
    let check = |runtime: &str, yaml: &str| {
        moat.write("moat.yaml", yaml);
        moat.args(["check", "--runtime", runtime])
    };
    check("bwrap", "name: a\nmounts: ['.:/usr/no-such']\nvolumes: [{name: v, target: /opt/no/such}]\n")
        .stdout(
            "moat.yaml:2:10: cannot mount at /usr/no-such: the path does not exist, and its parent is read-only on bwrap\n\
             moat.yaml:3:11: cannot mount at /opt/no/such: the path does not exist, and its parent is read-only on bwrap\n",
        )
        .status(1);
    check(
        "bwrap",
        "mounts: ['.:/etc', '.:/etc/in/it', '.:/new/deep', '.:/var/x', '.:/usr']\n",
    )
    .stderr("nothing is wrong\n")
    .success();
    check("bwrap", "base_image: rootfs:/nope\n")
        .stdout("moat.yaml:1:13: cannot use the root filesystem: no such file or directory\n")
        .status(1);
    for runtime in ["docker", "bwrap"] {
        check(runtime, "container: {host_ca: true}\n")
            .env("SSL_CERT_FILE", &certificates)
            .stderr_contains("contains no certificates in PEM form")
            .status(1);
    }
}
