//! Values of MOAT_HOME that cannot be used.

use std::fs;

use crate::cli::fixture::{FIRST, assert_no_runs, assert_nothing_made, plant, unreached};
use crate::harness::{Call, Done, Moat, Running, Runtime, skip};

#[test]
fn a_file_is_no_home() {
    let moat = unreached();
    let file = moat.write("file", "mine\n");
    for args in [
        &["run", "--", "true"][..],
        &["list"],
        &["logs"],
        &["clean"],
        &["status"],
    ] {
        let code = if args[0] == "run" { 125 } else { 1 };
        moat.args(args)
            .env("MOAT_HOME", &file)
            .stderr("error: MOAT_HOME is not a directory: [WORKSPACE]/file\n  hint: set MOAT_HOME to a directory\n")
            .status(code);
    }
    assert_eq!(fs::read_to_string(file).expect("untouched"), "mine\n");
}

#[test]
fn a_home_below_a_file_cannot_be_made() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    let file = moat.write("file", "mine\n");
    moat.run(["true"])
        .env("MOAT_HOME", file.join("below"))
        .stderr_contains("[WORKSPACE]/file/below")
        .stderr_contains(": not a directory\n")
        .status(125);
}

/// Runs as a user without an entry in the user database, from which moat would otherwise take the home directory.
#[test]
fn without_a_home_it_is_said() {
    let moat = unreached();
    for home in [None, Some("")] {
        let call = moat.args(["list"]).env("MOAT_HOME", "");
        let call = match home {
            None => call.env_remove("HOME"),
            Some(home) => call.env("HOME", home),
        };
        let done = match as_user(54321, &call) {
            Ok(done) => done,
            Err(why) => return skip(&why),
        };
        assert_eq!(done.code, Some(1), "{done}");
        assert_eq!(
            done.stderr_text(),
            "error: neither MOAT_HOME nor HOME is set\n  \
             hint: set MOAT_HOME to the directory for moat's files\n"
        );
    }
}

/// Without MOAT_HOME, the home of moat is `~/.moat`.
#[test]
fn the_default_is_in_the_users_home() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    let home = moat.user_home().join(".moat");
    moat.run(["true"]).env_remove("MOAT_HOME").success();
    assert!(home.join("runs").is_dir());
    moat.args(["list", "-aq"])
        .env("MOAT_HOME", &home)
        .stdout("[ID]\n")
        .success();
    moat.args(["list", "-aq"])
        .env("MOAT_HOME", "../home/.moat")
        .stdout("[ID]\n")
        .success();
    assert!(moat.ids().is_empty(), "nothing elsewhere");
}

/// Reading commands create nothing.
#[test]
fn a_home_that_does_not_exist_is_empty() {
    let moat = unreached();
    let none = "there are no runs; start one: moat run -- CMD\n";
    moat.args(["list"]).stderr(none).success();
    moat.args(["list", "-a", "--json"]).stdout("[]\n").success();
    moat.args(["list", "-q"]).success();
    moat.args(["clean", "--force"])
        .env("PATH", "")
        .stdout("Nothing to remove.\n")
        .success();
    assert_nothing_made(&moat);
}

/// Runs a call in its own mount namespace, after a preparation as root.
pub(crate) fn in_mounts(call: &Call<'_>, preparation: &str) -> Result<Done, String> {
    let probe = std::process::Command::new("unshare")
        .args(["--mount", "true"])
        .output();
    if !probe.is_ok_and(|done| done.status.success()) {
        return Err("no mount namespace of its own can be made here".to_owned());
    }
    let script = format!("{preparation} || exit 99; \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let done = Running::of(call.wrapped(&wrapper)).wait();
    match done.code {
        Some(99) => Err(format!(
            "cannot prepare the file system: {}",
            done.stderr_text()
        )),
        _ => Ok(done),
    }
}

/// Runs a call as an unprivileged user who owns no files.
pub(crate) fn as_nobody(call: &Call<'_>) -> Result<Done, String> {
    as_user(65534, call)
}

/// Runs a call as another user; this needs root.
fn as_user(id: u32, call: &Call<'_>) -> Result<Done, String> {
    let (user, group) = (format!("--reuid={id}"), format!("--regid={id}"));
    let become_other = ["setpriv", &user, &group, "--clear-groups"];
    let probe = std::process::Command::new(become_other[0])
        .args(&become_other[1..])
        .arg("true")
        .output();
    if !probe.is_ok_and(|done| done.status.success()) {
        return Err("no other user can be become here".to_owned());
    }
    // The binary may be in a directory that this user cannot enter.
    let mut words = become_other.to_vec();
    words.extend(["sh", "-c", "test -x \"$1\" || exit 98; exec \"$@\"", "sh"]);
    let done = Running::of(call.wrapped(&words)).wait();
    match done.code {
        Some(98) => Err("another user cannot run the program where it lies".to_owned()),
        _ => Ok(done),
    }
}

#[test]
fn a_read_only_home_is_read_and_not_written() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    plant(&moat, FIRST, "stopped");
    let home = moat.home().display().to_string();
    let mount = format!("mount --bind '{home}' '{home}' && mount -o remount,bind,ro '{home}'");
    let done = match in_mounts(&moat.run(["true"]), &mount) {
        Ok(done) => done,
        Err(why) => return skip(&why),
    };
    assert_eq!(done.code, Some(125), "{done}");
    let text = moat.normal(&done.stderr_text());
    assert!(text.starts_with("error: cannot "), "{text}");
    assert!(
        text.contains("[MOAT_HOME]") && text.contains("read-only file system"),
        "{text}"
    );
    assert_eq!(moat.ids(), [FIRST]);
    for (args, expected) in [
        (&["list", "-aq"][..], format!("{FIRST}\n")),
        (&["logs"], "hello\n".to_owned()),
        (&["wait", FIRST], String::new()),
    ] {
        let done = in_mounts(&moat.args(args), &mount).expect("as before");
        assert_eq!(
            (done.code, done.stdout_text()),
            (Some(0), expected),
            "{done}"
        );
        assert_eq!(done.stderr_text(), "");
    }
    let done = in_mounts(&moat.args(["destroy", FIRST]), &mount).expect("as before");
    assert_eq!(done.code, Some(1), "{done}");
    assert!(
        done.stderr_text().contains("read-only file system"),
        "{done}"
    );
    assert_eq!(moat.ids(), [FIRST]);
}

/// The home of another user: reading and writing fail with an error that explains it.
#[test]
fn a_home_of_somebody_else() {
    let moat = unreached();
    plant(&moat, FIRST, "stopped");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(moat.home(), mode).expect("its mode");
    for args in [&["list"][..], &["logs"], &["run", "--", "true"]] {
        let done = match as_nobody(&moat.args(args)) {
            Ok(done) => done,
            Err(why) => return skip(&why),
        };
        assert!(matches!(done.code, Some(1 | 125)), "{done}");
        assert!(done.stderr_text().contains("permission denied"), "{done}");
        assert_eq!(done.stdout_text(), "");
    }
    assert_eq!(moat.ids(), [FIRST]);
}

/// moat reserves the space for the record before anything runs.
#[test]
fn a_full_disk_starts_nothing() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    fs::create_dir(moat.home()).expect("MOAT_HOME");
    let home = moat.home().display().to_string();
    let fill = format!(
        "mount -t tmpfs -o size=64k tmpfs '{home}' && mkdir '{home}/runs' '{home}/names' && {{ cat /dev/zero > '{home}/fill' 2>/dev/null; true; }}"
    );
    let call = moat.run(["touch", "/workspace/ran"]);
    let script = "\"$@\"; code=$?; find \"$MOAT_HOME\" -mindepth 2; exit $code";
    let done = {
        let preparation = format!(
            "{fill} && set -- sh -c '{}' sh \"$@\"",
            script.replace('\'', "'\\''")
        );
        match in_mounts(&call, &preparation) {
            Ok(done) => done,
            Err(why) => return skip(&why),
        }
    };
    assert_eq!(done.code, Some(125), "{done}");
    let text = moat.normal(&done.stderr_text());
    assert!(text.contains("no space left on device"), "{text}");
    assert!(text.contains("[MOAT_HOME]"), "it says where: {text}");
    assert_eq!(done.stdout_text(), "", "nothing is left");
    assert!(!moat.workspace().join("ran").exists());
}

#[test]
fn a_filesystem_without_locks_is_refused() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    moat.run(["touch", "/workspace/ran"])
        .env("MOAT_FAULT", "no-locks")
        .stderr_contains("no locks available\n  hint: moat needs a filesystem with file locks; set MOAT_HOME to a directory on a local disk\n")
        .status(125);
    assert!(!moat.workspace().join("ran").exists());
    assert_no_runs(&moat);
}

/// moat never replaces an identity that it cannot read: the volumes of the home would be lost.
#[test]
fn a_damaged_identity() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    plant(&moat, FIRST, "stopped");
    let path = moat.home().join("id");
    for content in ["", "{\"schema\": 1, \"id\": \"zz\"}", "0123456789abcdef\n"] {
        fs::write(&path, content).expect("the identity");
        for (args, code) in [
            (&["run", "-q", "--", "true"][..], 125),
            (&["clean", "--force"], 1),
            (&["volumes"], 1),
        ] {
            let done = moat.args(args).any_stderr().status(code);
            let text = moat.normal(&done.stderr_text());
            assert!(
                text.starts_with("error: [MOAT_HOME]/id is not the identity of a home: "),
                "{text}"
            );
            assert!(text.contains("hint: restore the file"), "{text}");
        }
        let doctor = moat.args(["doctor"]).any_stdout().any_stderr().run();
        assert_eq!(doctor.code, Some(1), "{doctor}");
        assert!(
            doctor.stdout_text().contains("/id is not the identity"),
            "{doctor}"
        );
        // Reading records needs no identity.
        moat.args(["list", "-aq"])
            .stdout(format!("{FIRST}\n"))
            .success();
        assert_eq!(fs::read_to_string(&path).expect("untouched"), content);
    }
    fs::remove_file(&path).expect("the identity");
    moat.run(["true"]).success();
}

/// The containers of an image have the files of the image, a home included, with the same inodes and times.
#[test]
fn a_home_in_a_layer_of_an_image() {
    let moat = unreached();
    moat.args(["doctor"]).any_stdout().any_stderr().run();
    let known = moat.label();
    let mut labels = vec![known.clone()];
    for number in 0..2 {
        let layer = moat.root().join(format!("layer-{number}"));
        for dir in ["upper", "work"] {
            fs::create_dir_all(layer.join(dir)).expect("a layer");
        }
        let (home, layer) = (moat.home().display(), layer.display());
        let mount = format!(
            "mount -t overlay -o 'lowerdir={home},upperdir={layer}/upper,workdir={layer}/work' overlay '{home}'"
        );
        // The second time it is as it was made the first time.
        for _ in 0..2 {
            let done = match in_mounts(&moat.args(["doctor", "--json"]), &mount) {
                Ok(done) => done,
                Err(why) => return skip(&why),
            };
            assert!(done.stdout_text().contains("MOAT_HOME"), "{done}");
        }
        let text = fs::read_to_string(format!("{layer}/upper/id")).expect("its own identity");
        let id: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(id["former"], serde_json::json!([known]), "{id:#}");
        labels.push(id["id"].as_str().expect("a label").to_owned());
    }
    assert_eq!(moat.label(), known);
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), 3, "{labels:?}");
}

/// `--verbose` prints the error behind an error.
#[test]
fn causes_are_printed_on_request() {
    let moat = Moat::new();
    moat.write("moat.yaml", "name: a\n");
    let locked = moat.workspace().join("moat.yaml").join("home");
    let call = |flag: &str| {
        let call = moat.args(["run", flag, "--runtime", "bwrap", "--", "true"]);
        let done = call.env("MOAT_HOME", &locked).any_stderr().status(125);
        done.stderr_text()
    };
    let cause = "caused by: Not a directory (os error 20)\n";
    assert!(call("-v").contains(cause), "{}", call("-v"));
    assert!(!call("-q").contains("caused by"), "{}", call("-q"));
}
