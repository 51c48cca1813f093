//! Output and questions on a terminal, and how they differ from a pipe.

use std::process::{Command, Stdio};

use crate::cli::fixture::{FIRST, plant, plant_text, unreached};
use crate::harness::{Call, Done, Moat, Running, skip};

/// Runs a call on a terminal, which `script` of util-linux creates. stdout and stderr are merged.
fn on_a_terminal(call: &Call<'_>, typed: &str) -> Option<Done> {
    let there = Command::new("script")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        skip("there is no 'script' of util-linux to make a terminal");
        return None;
    }
    let mut command = call.wrapped(&["sh", "-c", TERMINAL, "sh"]);
    command.env("TYPED", typed);
    Some(Running::of(command).wait())
}

/// `script` takes a command line, not words. The input comes late, so that moat reads it as the answer.
const TERMINAL: &str = r#"line=; for word; do line="$line '$word'"; done
(sleep 0.5; printf %s "$TYPED"; sleep 0.5) | script -qec "exec $line" /dev/null"#;

#[test]
fn clean_asks_on_a_terminal() {
    for (typed, code, left) in [("n\n", 1, 1), ("\n", 1, 1), ("y\n", 0, 0)] {
        let moat = unreached();
        plant(&moat, FIRST, "stopped");
        let call = moat.args(["clean", "--older-than", "1h"]);
        let Some(done) = on_a_terminal(&call, typed) else {
            return;
        };
        let text = done.stdout_text();
        assert!(
            text.contains("Remove all of these? [y/N]") && text.contains(FIRST),
            "{text}"
        );
        assert_eq!(done.code, Some(code), "{done}");
        assert_eq!(moat.ids().len(), left, "{done}");
    }
}

/// Without a terminal, moat refuses before it changes anything.
#[test]
fn clean_does_not_ask_without_a_terminal() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    moat.args(["clean", "--older-than", "1h"])
        .env("PATH", "")
        .stdin("y\n")
        .stdout(format!("run        {FIRST}\n"))
        .stderr(
            "error: nothing was removed: there is no terminal to ask for confirmation\n  \
             hint: run 'moat clean --dry-run' to list them, 'moat clean --force' to remove them\n",
        )
        .status(1);
    assert_eq!(moat.ids(), [FIRST]);
}

/// Foreign text, from a workload or a file, never moves the cursor.
#[test]
fn text_of_others_is_harmless() {
    let moat = unreached();
    let record = include_str!("../../testdata/records/stopped.json")
        .replace("@ID@", FIRST)
        .replace("@NAME@", "web")
        .replace("npm", "npm\\u001b[2J\\u202e\\n")
        .replace("\"docker\"", "\"dock\\u001b[31mer\"")
        .replace("\"error\": null", "\"error\": \"\\u001b]0;title\\u0007\"");
    plant_text(&moat, FIRST, &record);
    for args in [
        &["list", "-a"][..],
        &["inspect", FIRST],
        &["status"],
        &["list", "-a", "--json"],
    ] {
        let text = moat.args(args).any_stdout().success().stdout_text();
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        // JSON is data: characters that do not disturb a terminal may stay.
        let json = text.starts_with(['{', '[']);
        assert!(json || !text.contains(bad), "{args:?}: {text:?}");
        assert!(!text.contains('\u{1b}'), "{args:?}: {text:?}");
    }
}

/// A table is cut to the width of the terminal, but not in a pipe.
#[test]
fn a_table_fits_the_terminal() {
    let moat = unreached();
    let long = "x".repeat(150);
    let record = include_str!("../../testdata/records/stopped.json")
        .replace("@ID@", FIRST)
        .replace("@NAME@", "web")
        .replace("npm", &long);
    plant_text(&moat, FIRST, &record);
    let piped = moat
        .args(["list", "-a"])
        .any_stdout()
        .success()
        .stdout_text();
    assert!(piped.contains(&long), "{piped}");
    let sized = moat.args(["list", "-a"]);
    let mut command = sized.wrapped(&[
        "sh",
        "-c",
        r#"script -qec "stty cols 80; exec '$1' '$2' '$3'" /dev/null"#,
        "sh",
    ]);
    let Some(_) = on_a_terminal(&moat.args(["version"]), "") else {
        return;
    };
    command.stdin(Stdio::null());
    let text = Running::with_input(command).wait().stdout_text();
    for line in text.lines() {
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }
    assert!(text.contains("..."), "{text}");
}

/// `moat list | head` succeeds.
#[test]
fn a_closed_pipe_is_quiet() {
    let moat: Moat = unreached();
    for number in 0..300 {
        plant(&moat, &format!("run_{number:012x}"), "stopped");
    }
    let script = r#""$@" | head -1; echo "${PIPESTATUS[0]}""#;
    for args in [
        &["list", "-a"][..],
        &["list", "-a", "--json"],
        &["help", "run"],
        &["man"],
        &["completions", "bash"],
    ] {
        let call = moat.args(args);
        let done = Running::of(call.wrapped(&["bash", "-c", script, "bash"])).wait();
        assert_eq!(done.stderr_text(), "", "{args:?}");
        let text = done.stdout_text();
        assert_eq!(text.lines().last(), Some("0"), "{args:?}: {text}");
    }
    // A closed or full stdout gives an error message, not a panic.
    for args in [&["list", "-a"][..], &["help"]] {
        let done =
            Running::of(
                moat.args(args)
                    .wrapped(&["sh", "-c", "exec \"$@\" >/dev/full", "sh"]),
            )
            .wait();
        assert_eq!(done.code, Some(1), "{args:?}: {done}");
        assert_eq!(
            done.stderr_text(),
            "error: cannot write to stdout: no space left on device\n"
        );
    }
}
