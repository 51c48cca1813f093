//! Values of flags that are malformed or out of range: nothing is created, and the hint shows the right form.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::fixture::{assert_nothing_made, refused, unreached};
use crate::harness::{Moat, Runtime, skip};

/// Asserts that `moat run FLAG VALUE -- true` is a usage error with this message and hint.
fn assert_bad(moat: &Moat, flag: &str, value: &str, error: &str, hint: &str) {
    let call = moat.args(["run", flag, value, "--", "true"]);
    refused(moat, call, 2, &format!("error: {error}\n  hint: {hint}"));
}

#[test]
fn names() {
    let moat = unreached();
    let hint = "a name is 1 to 63 letters, digits, '.', '_' or '-', begins with a letter or a \
                digit, and not with 'run_'";
    let long = "x".repeat(300);
    for (name, shown) in [
        ("a/b", "a/b"),
        ("..", ".."),
        (".", "."),
        ("", ""),
        ("a b", "a b"),
        ("-a", "-a"),
        ("\u{fc}ber", "\u{fc}ber"),
        ("run_0123456789ab", "run_0123456789ab"),
        ("a\nb\u{1b}[2J", "a\\u{a}b\\u{1b}[2J"),
        ("a\u{202e}b", "a\\u{202e}b"),
        (&long, &format!("{}\u{2026}", &long[..80])),
        (&long[..64], &long[..64]),
    ] {
        assert_bad(&moat, "-n", name, &format!("bad name '{shown}'"), hint);
    }
}

#[test]
fn variables() {
    let moat = unreached();
    let hint = "write -e NAME=value, or -e NAME to pass it on";
    for (value, name) in [
        ("", ""),
        // The error does not repeat the value, which may be a secret.
        ("=s3cret", ""),
    ] {
        let error = format!("bad variable name '{name}'");
        assert_bad(&moat, "-e", value, &error, hint);
    }
    assert_bad(
        &moat,
        "-e",
        "NOT_SET_ANYWHERE",
        "the variable NOT_SET_ANYWHERE is not set in the environment",
        "set it, or write -e NOT_SET_ANYWHERE=value",
    );
    assert_bad(
        &moat,
        "-e",
        "not.set\u{1b}",
        "the variable not.set\\u{1b} is not set in the environment",
        "set it, or write -e not.set\\u{1b}=value",
    );
}

#[test]
fn mounts() {
    let moat = unreached();
    std::fs::create_dir(moat.workspace().join("src")).expect("a directory");
    let hint = "write SOURCE:/target or SOURCE:/target:ro";
    for (value, why) in [
        ("", "it has no target"),
        ("src", "it has no target"),
        ("src:", "the target is not an absolute path"),
        ("src:rel", "the target is not an absolute path"),
        (":/a", "it has no source"),
        ("src:/a:rx", "the mode is neither ro nor rw"),
        ("a:b:c:d", "it has too many colons"),
        ("src:/workspace", "the target is the path of the workspace"),
        (
            "src:/workspace/./",
            "the target is the path of the workspace",
        ),
        ("src:/", "the target would hide the container's own files"),
        (
            "src:/proc",
            "the target would hide the container's own files",
        ),
        ("src:/a/../b", "the target contains '..'"),
    ] {
        let hint = match why {
            "the target is the path of the workspace" => {
                "leave it out: the workspace is mounted there"
            }
            _ => hint,
        };
        assert_bad(
            &moat,
            "-m",
            value,
            &format!("bad mount '{value}': {why}"),
            hint,
        );
    }
    let twice = moat.args(["run", "-m", "src:/a", "-m", "src:/./a/", "--", "true"]);
    refused(
        &moat,
        twice,
        2,
        "error: two mounts have the target /a\n  hint: give each mount its own target",
    );
    let missing = moat.args(["run", "-m", "missing:/a", "--", "true"]);
    refused(
        &moat,
        missing,
        125,
        "error: cannot mount 'missing': no such file or directory\n  \
         hint: create the source of the mount first",
    );
}

#[test]
fn sizes_numbers_and_times() {
    let moat = unreached();
    let hint = "write a number of megabytes, or a number with k, m, g or t: 512m, 2g, 1GiB";
    for (value, why) in [
        ("", "it is not a size"),
        ("x", "it is not a size"),
        ("-1", "it is not a size"),
        ("1.5g", "it is not a size"),
        ("0", "it is less than 6m"),
        ("5m", "it is less than 6m"),
        ("99999999999999999999g", "it is too large"),
        ("9999t", "it is too large"),
    ] {
        assert_bad(
            &moat,
            "--memory",
            value,
            &format!("bad memory size '{value}': {why}"),
            hint,
        );
    }
    let hint = "write a number of at least 0.01, e.g. 2 or 0.5";
    for value in ["", "0", "-1", "NaN", "inf", "1e3", "x", "99999", "0.001"] {
        assert_bad(
            &moat,
            "--cpus",
            value,
            &format!("bad number of cpus '{value}'"),
            hint,
        );
    }
    let hint = "write a number with its unit, e.g. 90s, 10m, 1h30m; at most a year";
    for value in ["", "0s", "5", "-1s", "x", "10000d", "99999999999999999999h"] {
        assert_bad(
            &moat,
            "--timeout",
            value,
            &format!("bad duration '{value}'"),
            hint,
        );
    }
    let hint = "write NAME, NAME:TAG or NAME@sha256:DIGEST";
    for value in ["", "-x", "a b", "--rm", "a;b"] {
        assert_bad(
            &moat,
            "--image",
            value,
            &format!("bad image '{value}'"),
            hint,
        );
    }
}

#[test]
fn values_of_other_commands() {
    let moat = unreached();
    let stop = "write whole seconds up to a day, e.g. --time 30";
    let length = "write a number with its unit, e.g. 90s, 10m, 1h30m; at most a year";
    for (args, error, hint) in [
        (
            vec!["stop", "--time", "x", "r"],
            "bad number of seconds 'x'",
            stop,
        ),
        (
            vec!["stop", "--time", "-1", "r"],
            "bad number of seconds '-1'",
            stop,
        ),
        (
            vec!["stop", "--time", "99999999", "r"],
            "bad number of seconds '99999999'",
            stop,
        ),
        (
            vec!["clean", "--older-than", "x"],
            "bad duration 'x'",
            length,
        ),
    ] {
        refused(
            &moat,
            moat.args(args),
            2,
            &format!("error: {error}\n  hint: {hint}"),
        );
    }
    crate::cli::fixture::plant(&moat, crate::cli::fixture::FIRST, "stopped");
    let time = "write e.g. 2026-01-31T12:00:00Z, 2026-01-31 12:00 (local), 2026-01-31, Unix seconds, \
                or an age such as 10m";
    for value in [
        "",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "99999999999d",
        "-5m",
    ] {
        moat.args(["logs", "--since", value])
            .stderr(format!("error: bad time '{value}'\n  hint: {time}\n"))
            .status(2);
    }
    for value in ["", "x", "-5", "1.5", "99999999999999999999999"] {
        moat.args(["logs", "-n", value])
            .stderr(format!(
                "error: bad number of lines '{value}'\n  hint: write e.g. -n 20\n"
            ))
            .status(2);
    }
}

#[test]
fn workspaces() {
    let moat = unreached();
    moat.write("file", "");
    let hint = "hint: name a readable directory: moat run PATH -- CMD";
    for (path, why) in [
        ("missing", "no such file or directory"),
        ("file", "not a directory"),
        ("file/below", "not a directory"),
        ("", "no such file or directory"),
    ] {
        let message = format!("error: cannot use the workspace '{path}': {why}\n  {hint}");
        refused(&moat, moat.args(["run", path, "--", "true"]), 125, &message);
    }
}

/// Root can read everything, so this test runs as another user.
#[test]
fn a_workspace_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let moat = unreached();
    let closed = moat.workspace().join("closed");
    std::fs::create_dir(&closed).expect("a directory");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).expect("its mode");
    let call = moat.args(["run", "closed", "--", "true"]);
    let done = match crate::cli::home::as_nobody(&call) {
        Ok(done) => done,
        Err(why) => return skip(&why),
    };
    assert_eq!(done.code, Some(125), "{done}");
    assert_eq!(
        done.stderr_text(),
        "error: cannot use the workspace 'closed': it is not readable\n  \
         hint: name a readable directory: moat run PATH -- CMD\n"
    );
    assert_nothing_made(&moat);
}

#[test]
fn what_is_not_utf8() {
    let moat = unreached();
    let odd = OsStr::from_bytes(b"x\xff");
    let call = moat.args(["run", "-n"]).arg(odd).args(["--", "true"]);
    refused(&moat, call, 2, "error: the value of --name is not UTF-8");
    let hint = "hint: pass bytes to the workload on stdin: moat run -i -- CMD < FILE";
    let call = moat.args(["run", "--", "echo"]).arg(odd);
    refused(
        &moat,
        call,
        2,
        &format!("error: a word of the command is not UTF-8\n  {hint}"),
    );
    let call = moat.args(["run", "-e", "A", "--", "true"]).env("A", odd);
    refused(&moat, call, 2, "error: the value of A is not UTF-8");
}

/// moat refuses, and names, a setting that the runtime does not support.
#[test]
fn flags_that_bwrap_cannot_honour() {
    let moat = Moat::new().env("MOAT_RUNTIME", Runtime::Bwrap.name());
    for (flag, why) in [
        (&["--image", "x"][..], "no images"),
        (&["--keep"], "no container to keep"),
        (&["--rebuild"], "no images"),
    ] {
        let name = flag[0];
        let call = moat.args(["run"]).args(flag).args(["--", "true"]);
        let message = format!(
            "error: {name} does not work on bwrap here, which has {why}\n  \
             hint: leave out {name}, or use --runtime docker"
        );
        refused(&moat, call, 125, &message);
    }
}
