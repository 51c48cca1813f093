//! Wrong command lines: the error, and the hint with the probable intention.

use crate::cli::fixture::{refused, unreached};

/// The command lines, each with its error and hint.
fn assert_usage_errors(cases: &[(&[&str], &str, &str)]) {
    let moat = unreached();
    for (args, error, hint) in cases {
        let message = format!("error: {error}\n  hint: {hint}");
        refused(&moat, moat.args(*args), 2, &message);
    }
}

#[test]
fn unknown_commands_and_flags_get_the_nearest() {
    assert_usage_errors(&[
        (&[], "no command given", "see 'moat help'"),
        (
            &["frobnicate"],
            "unknown command 'frobnicate'",
            "see 'moat help'",
        ),
        (&["lsit"], "unknown command 'lsit'", "did you mean 'list'?"),
        (
            &["help", "rnu"],
            "unknown command 'rnu'",
            "did you mean 'run'?",
        ),
        (&["--frob"], "unknown flag '--frob'", "see 'moat help'"),
        (
            &["--jsno"],
            "unknown flag '--jsno'",
            "did you mean '--json'?",
        ),
        (
            &["--image", "x"],
            "the flag '--image' comes after the command",
            "write: moat COMMAND --image",
        ),
        (
            &["run", "--imge", "x", "--", "true"],
            "unknown flag '--imge' for 'moat run'",
            "did you mean '--image'?",
        ),
        (
            &["run", "-z", "--", "true"],
            "unknown flag '-z' for 'moat run'",
            "see 'moat run --help'",
        ),
        (
            &["list", "--state", "runing"],
            "not a valid value of --state",
            "did you mean 'running'?",
        ),
        (
            &["run", "--runtime", "dcoker", "--", "true"],
            "not a valid value of --runtime",
            "did you mean 'docker'?",
        ),
        (
            &["completions", "tcsh"],
            "not a valid SHELL",
            "use one of: bash, zsh, fish",
        ),
    ]);
}

#[test]
fn a_workload_without_its_separator_is_recognised() {
    let hint = "put the command after '--' (moat run -- npm test), or into moat.yaml as 'command'";
    assert_usage_errors(&[
        (&["run"], "no command was given", hint),
        (&["run", "--"], "no command was given", hint),
        (&["run", "--", ""], "the command is an empty string", hint),
        (
            &["--", "true"],
            "no command given before '--'",
            "to run a workload, write: moat run -- CMD...",
        ),
        (
            &["run", "npm", "test"],
            "'moat run' takes one PATH",
            "put the command after '--': moat run -- npm test",
        ),
        (
            &["run", ".", "echo", "a b", "it's"],
            "'moat run' takes one PATH",
            "put the command after '--': moat run . -- echo 'a b' 'it'\\''s'",
        ),
        (
            &["run", ".", "-x"],
            "unknown flag '-x' for 'moat run'",
            "put the workload's command after '--': moat run -- CMD...",
        ),
    ]);
}

#[test]
fn missing_and_surplus_words_are_named() {
    assert_usage_errors(&[
        (
            &["run", "--name"],
            "--name needs a value",
            "write: --name NAME",
        ),
        (
            &["run", "--name", "--", "true"],
            "--name needs a value",
            "write: --name NAME",
        ),
        (
            &["run", "--json=1", "--", "true"],
            "the flag '--json' takes no value",
            "write '--json' alone",
        ),
        (
            &["logs", "a", "b"],
            "unexpected argument 'b' for 'moat logs'",
            "usage: moat logs [FLAGS] [RUN]",
        ),
        (
            &["list", "x"],
            "unexpected argument 'x' for 'moat list'",
            "usage: moat list [FLAGS]",
        ),
        (
            &["wait"],
            "'moat wait' needs a RUN",
            "usage: moat wait [FLAGS] RUN... ('moat list -a' shows the runs)",
        ),
        (
            &["deps"],
            "'moat deps' needs an ACTION",
            "usage: moat deps [FLAGS] ACTION; the actions: deps list, deps info NAME..., deps search WORD",
        ),
        (
            &["completions"],
            "'moat completions' needs a SHELL",
            "usage: moat completions [FLAGS] SHELL",
        ),
    ]);
}

/// With `--json` in any position, an error is one line of JSON, and stdout stays empty.
#[test]
fn errors_as_json() {
    let moat = unreached();
    for (args, code, kind, message) in [
        (vec!["--json", "lsit"], 2, "usage", "unknown command 'lsit'"),
        (
            vec!["run", "--json", "-n", "a/b", "--", "true"],
            2,
            "usage",
            "bad name 'a/b'",
        ),
        (
            vec!["logs", "nosuch", "--json"],
            3,
            "no-such-run",
            "no such run: 'nosuch'",
        ),
        (
            vec!["run", "missing", "--json", "--", "true"],
            125,
            "workspace",
            "cannot use the workspace 'missing': no such file or directory",
        ),
    ] {
        let done = moat.args(&args).any_stderr().status(code);
        let text = done.stderr_text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(error["error"]["kind"], kind);
        assert_eq!(error["error"]["message"], message);
        assert!(error["error"]["hint"].is_string(), "{text}");
    }
    // After the separator, `--json` belongs to the workload.
    moat.args(["run", "-n", "a/b", "--", "x", "--json"])
        .stderr_contains("error: bad name 'a/b'")
        .status(2);
}

/// `moat logs` must not read `./x`, and no argument may leave the directory of the runs.
#[test]
fn runs_that_do_not_exist() {
    let moat = unreached();
    let unknown = "hint: see all runs: moat list -a";
    let path = "hint: a run is named by its id or name, not by a path; see: moat list -a";
    for (argument, shown, hint) in [
        ("nosuch", "nosuch", unknown),
        ("run_0123456789ab", "run_0123456789ab", unknown),
        ("run_", "run_", unknown),
        ("", "", unknown),
        ("../x", "../x", path),
        ("/etc/passwd", "/etc/passwd", path),
        ("run_0123456789ab/../../x", "run_0123456789ab/../../x", path),
        ("a\u{1b}[2J", "a\\u{1b}[2J", unknown),
    ] {
        for command in ["logs", "inspect", "wait", "stop", "kill", "destroy"] {
            let call = moat.args([command, argument]);
            call.stderr(format!("error: no such run: '{shown}'\n  {hint}\n"))
                .status(3);
        }
    }
    refused(
        &moat,
        moat.args(["logs"]),
        3,
        "error: there are no runs\n  hint: start one: moat run -- CMD",
    );
}
