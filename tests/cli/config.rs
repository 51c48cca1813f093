//! `config.yaml`: strict, with the place of what is wrong.

use crate::fixture::{assert_no_runs, unreached};

#[test]
fn mistakes_have_a_place() {
    let moat = unreached();
    let hint = "hint: the keys are: run.background (true or false)";
    for (text, error) in [
        (
            "run:\n  backgruond: true\n",
            ":2:3: unknown key 'backgruond' (did you mean 'background'?)",
        ),
        ("rnu: {}\n", ":1:1: unknown key 'rnu' (did you mean 'run'?)"),
        ("# fine\nzzz: 1\n", ":2:1: unknown key 'zzz'"),
        ("a\u{202e}b: 1\n", ":1:1: unknown key 'a\\u{202e}b'"),
    ] {
        moat.config(text);
        moat.args(["run", "--", "true"])
            .stderr(format!("error: [MOAT_HOME]/config.yaml{error}\n  {hint}\n"))
            .status(125);
    }
    for (text, place, part) in [
        ("run:\n  background: maybe\n", ":2:15: ", "boolean"),
        ("run: 3\n", ":1:6: ", "keys and values"),
        ("- a\n", ": ", "keys and values"),
        ("run: {background: true, background: true}\n", ": ", "twice"),
        ("run: [\n", ": ", ""),
        ("run:\n\tbackground: true\n", ":2:1: ", ""),
    ] {
        moat.config(text);
        moat.args(["run", "--", "true"])
            .stderr_contains("error: [MOAT_HOME]/config.yaml:")
            .stderr_contains(place)
            .stderr_contains(part)
            .stderr_contains(hint)
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
        (vec![b'#'; 70_000], "it is larger than 64 KiB"),
        (b"\xff\n".to_vec(), "it is not UTF-8"),
    ] {
        std::fs::write(&path, content).expect("config.yaml");
        moat.args(["run", "--", "true"])
            .stderr(format!("error: [MOAT_HOME]/config.yaml: {why}\n"))
            .status(125);
    }
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("a directory in its place");
    moat.args(["run", "--", "true"])
        .stderr("error: cannot read [MOAT_HOME]/config.yaml: is a directory\n")
        .status(125);
    assert_no_runs(&moat);
}

/// Looking at what there is must work whatever the configuration says; doctor tells.
#[test]
fn a_mistake_does_not_stop_reading() {
    let moat = unreached();
    crate::fixture::plant(&moat, crate::fixture::FIRST, "stopped");
    moat.config("rnu: {}\n");
    moat.args(["list", "-aq"]).stdout("[ID]\n").success();
    moat.args(["logs"]).stdout("hello\n").success();
    let done = moat.args(["doctor"]).any_stdout().any_stderr().run();
    let text = done.stdout_text();
    assert!(text.contains("unknown key 'rnu'"), "{text}");
    assert_eq!(done.code, Some(1), "{done}");
}
