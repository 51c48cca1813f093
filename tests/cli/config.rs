//! `config.yaml`: strict parsing with the position of each problem, and the effect of the user's defaults.

use crate::cli::fixture::{assert_no_runs, unreached};

#[test]
fn mistakes_have_a_place() {
    let moat = unreached();
    for (text, error) in [
        (
            "run:\n  backgruond: true\n",
            ":2:3: unknown key 'backgruond' (did you mean 'background'?)",
        ),
        ("rnu: {}\n", ":1:1: unknown key 'rnu' (did you mean 'run'?)"),
        ("# fine\nzzz: 1\n", ":2:1: unknown key 'zzz'"),
        ("a\u{202e}b: 1\n", ":1:1: unknown key 'a\\u{202e}b'"),
        (
            "run:\n  background: maybe\n",
            ":2:15: expected true or false, found 'maybe'",
        ),
        (
            "run: 3\n",
            ":1:6: expected keys and values, found the number 3",
        ),
        ("- a\n", ":1:1: expected keys and values, found a list"),
        (
            "run: {background: true, background: true}\n",
            ":1:25: the key 'background' is listed twice",
        ),
        ("defaults: {command: [a]}\n", ":1:12: unknown key 'command'"),
        (
            "defaults:\n  mounts: ['x:/y']\n",
            ":2:12: a source in config.yaml must be absolute, or begin with ~/",
        ),
        (
            "defaults: {timeout: 5}\n",
            ":1:21: expected text, found the number 5",
        ),
        (
            "defaults: {runtime: dcoker}\n",
            ":1:21: unknown runtime 'dcoker' (did you mean 'docker'?); the runtimes are apple, docker, podman, bwrap",
        ),
    ] {
        moat.config(text);
        moat.args(["run", "--", "true"])
            .stderr(format!("error: [MOAT_HOME]/config.yaml{error}\n"))
            .status(125);
    }
    for (text, place) in [
        ("run: [\n", "error: [MOAT_HOME]/config.yaml:"),
        (
            "run:\n\tbackground: true\n",
            "error: [MOAT_HOME]/config.yaml:2:1: ",
        ),
    ] {
        moat.config(text);
        moat.args(["run", "--", "true"])
            .stderr_contains(place)
            .status(125);
    }
    assert_no_runs(&moat);
}

#[test]
fn files_that_are_no_configuration() {
    let moat = unreached();
    std::fs::create_dir_all(moat.home()).expect("MOAT_HOME");
    let path = moat.home().join("config.yaml");
    for (content, why) in [
        (vec![b'#'; 300 * 1024], "it is larger than 256 KiB"),
        (b"a: 1\n\xff\n".to_vec(), "it is not UTF-8 (in line 2)"),
    ] {
        std::fs::write(&path, content).expect("config.yaml");
        moat.args(["run", "--", "true"])
            .stderr(format!("error: [MOAT_HOME]/config.yaml: {why}\n"))
            .status(125);
    }
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory in its place");
    moat.args(["run", "--", "true"])
        .stderr("error: [MOAT_HOME]/config.yaml: it is not a file\n")
        .status(125);
    assert_no_runs(&moat);
}

/// Reading commands work with a broken configuration; doctor reports the problem.
#[test]
fn a_mistake_does_not_stop_reading() {
    let moat = unreached();
    crate::cli::fixture::plant(&moat, crate::cli::fixture::FIRST, "stopped");
    moat.config("rnu: {}\n");
    moat.args(["list", "-aq"]).stdout("[ID]\n").success();
    moat.args(["logs"]).stdout("hello\n").success();
    let done = moat.args(["doctor"]).any_stdout().any_stderr().run();
    let text = done.stdout_text();
    assert!(text.contains("unknown key 'rnu'"), "{text}");
    assert_eq!(done.code, Some(1), "{done}");
}

/// Flags and the project's file override defaults; lists are joined.
#[test]
fn precedence_of_flags_project_and_defaults() {
    let moat = unreached();
    for dir in ["f", "p", "d"] {
        std::fs::create_dir(moat.workspace().join(dir)).expect("a directory");
    }
    let dir = moat.workspace().display().to_string();
    moat.config(&format!(
        "defaults:\n  base_image: debian:12\n  timeout: 1h\n  env: {{A: config, B: config, C: config}}\n  \
         mounts: ['{dir}/d:/a', '{dir}/d:/b', '{dir}/d:/c']\n  \
         container: {{memory: 1g, cpus: 1, pids: 11, dns: [1.1.1.1], ulimits: {{nofile: 1, core: 1}}}}\n"
    ));
    moat.write(
        "moat.yaml",
        "env: {A: project, B: project}\nmounts: ['p:/a', 'p:/b']\ntimeout: 2h\n\
         container: {memory: 2g, dns: [9.9.9.9], ulimits: {nofile: 2}}\n",
    );
    let plan = moat
        .args(["run", "--dry-run", "--json", "--memory", "3g", "-e"])
        .args(["A=flag", "-m", "f:/a", "--", "true"])
        .any_stdout()
        .success()
        .json();
    assert_eq!(plan["memory_bytes"], 3_u64 << 30);
    assert_eq!(plan["timeout_seconds"], 7200.0);
    assert_eq!(plan["cpus"], 1.0);
    assert_eq!(plan["pids"], 11);
    assert_eq!(plan["image"], "debian:12");
    assert_eq!(plan["env"], serde_json::json!(["A", "B", "C"]));
    assert_eq!(plan["dns"], serde_json::json!(["9.9.9.9"]));
    let mounts = plan["mounts"].as_array().expect("a list");
    let found: Vec<(&str, &str)> = mounts
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().expect("text");
            (text("target"), text("source").rsplit('/').next().unwrap())
        })
        .collect();
    assert_eq!(found, [("/a", "f"), ("/b", "p"), ("/c", "d")]);
    let limits = plan["ulimits"].to_string();
    assert_eq!(
        limits,
        r#"[{"hard":2,"name":"nofile","soft":2},{"hard":1,"name":"core","soft":1}]"#
    );
}
