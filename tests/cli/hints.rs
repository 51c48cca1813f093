//! Hints that name a command: the command works as written. The harness asserts for all other tests that the parser
//! accepts such commands.

use std::fs;

use crate::harness::{Call, Moat, Runtime};

/// Makes a call that fails, and returns the last command of its hint.
#[track_caller]
fn suggested(call: Call<'_>) -> String {
    let failed = call.any_stdout().any_stderr().run();
    assert_ne!(failed.code, Some(0), "{failed}");
    let text = failed.stderr_text();
    let hint = text.lines().find_map(|line| line.strip_prefix("  hint: "));
    let hint = hint.unwrap_or_else(|| panic!("no hint: {failed}"));
    let commands = moat::suggested_commands(hint);
    let last = commands.last();
    last.unwrap_or_else(|| panic!("no command in: {hint}"))
        .clone()
}

/// Runs a suggested command as a shell does, with `fill` in the place of its placeholders.
#[track_caller]
fn follow<'a>(moat: &'a Moat, command: &str, fill: &[(&str, &str)]) -> Call<'a> {
    let mut words = shlex::split(command).expect("words");
    for word in &mut words {
        if let Some((_, value)) = fill.iter().find(|(name, _)| name == word) {
            *word = (*value).to_owned();
        }
    }
    moat.args(words).any_stderr()
}

#[test]
fn commands_in_hints_work() {
    let Some(moat) = Moat::on(Runtime::Bwrap) else {
        return;
    };
    let words = suggested(moat.args(["run", "echo", "a b", "it's; $HOME"]));
    follow(&moat, &words, &[])
        .stdout("a b it's; $HOME\n")
        .success();
    let words = suggested(moat.args(["run", ".", "echo", "x"]));
    follow(&moat, &words, &[]).stdout("x\n").success();
    let words = suggested(moat.args(["run", "nosuch", "--", "true"]));
    follow(&moat, &words, &[("PATH", "."), ("CMD", "true")]).success();
    let words = suggested(moat.args(["wait", "nosuch"]));
    follow(&moat, &words, &[]).any_stdout().success();

    let id = moat.background("exec sleep 600");
    for call in [
        moat.args(["attach", &id]),
        moat.args(["top"]),
        moat.args(["port", &id]),
        moat.args(["container", "ls"]),
        moat.args(["volume", "ls"]),
        moat.args(["start", &id]),
        moat.args(["cp", "a", "b"]),
        moat.args(["system", "prune"]),
    ] {
        let words = suggested(call);
        let words = words.replace("logs -f", "logs");
        let fill = [("RUN", id.as_str()), ("CMD", "true"), ("ps", "true")];
        let done = follow(&moat, &words, &fill).any_stdout().run();
        // Without a terminal `clean` asks for another flag; a workspace that is not copied cannot be exported.
        assert_ne!(done.code, Some(2), "{words}: {done}");
    }
    let words = suggested(moat.args(["destroy", &id]));
    follow(&moat, &words, &[]).any_stdout().success();
    assert!(!moat.ids().contains(&id), "{words}");

    // A copied workspace that was not exported.
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.run(["true"]).success();
    let copied = moat.ids().into_iter().find(|id| {
        let record = moat.record(id);
        record["workspace_mode"] == "volume"
    });
    let copied = copied.expect("a run with a copy");
    let refused = moat.args(["destroy", &copied]).any_stderr().run();
    let text = refused.stderr_text();
    let hint = text.lines().find_map(|line| line.strip_prefix("  hint: "));
    let commands = moat::suggested_commands(hint.expect("a hint"));
    let dir = moat.root().join("exported");
    let fill = [("DIR", dir.to_str().expect("a path"))];
    for command in &commands {
        follow(&moat, command, &fill).any_stdout().success();
    }
    assert!(commands.len() == 2 && fs::exists(dir.join("moat.yaml")).is_ok_and(|is| is));
}

/// What users of docker write.
#[test]
fn habits_of_docker_are_answered() {
    let moat = crate::cli::fixture::unreached();
    for (args, hint) in [
        (&["run", "debian:12", "bash", "-l"][..], "unknown flag"),
        (
            &["run", "debian:12", "bash"],
            "moat run --image debian:12 -- bash",
        ),
        (&["run", "debian:12"], "moat run --image debian:12\n"),
        (
            &["run", "debian:12", "--", "a b"],
            "moat run --image debian:12 -- 'a b'",
        ),
        (&["run", "-v", "/a:/b", "--", "true"], "write: -m /a:/b\n"),
        (
            &["run", "-v", "/a:/b", "-v", "/c d:/d", "--", "true"],
            "write: -m /a:/b -m '/c d:/d'\n",
        ),
        (
            &["run", "-v", "/a:/workspace", "--", "true"],
            "moat run PATH -- CMD",
        ),
        (&["run", "-v=/a:/b", "--", "true"], "-m SRC:DST"),
        (
            &["run", "-m", ".:/workspace", "--", "true"],
            "leave it out: the workspace is mounted there",
        ),
        (&["run", "-it", "--", "true"], "write -i"),
        (&["run", "--rm", "--", "true"], "leave it out"),
        (&["run", "-d", "--", "true"], "write -b"),
        (&["run", "--network", "host", "--", "true"], "leave it out"),
        (&["run", "--entrypoint", "sh", "--", "true"], "after '--'"),
        (&["logs", "--tail", "3"], "write -n N"),
        (&["kill", "-s", "HUP", "x"], "kill -HUP 1"),
        (&["ps", "--filter", "x"], "--state"),
        (&["inspect", "-f", "{{.State}}", "x"], "--json"),
        (&["up", "-d"], "leave it out"),
        (&["images"], "--rebuild"),
        (&["login"], "engine's own client"),
    ] {
        let done = moat.args(args).any_stderr().status(2);
        assert!(done.stderr_text().contains(hint), "{args:?}: {done}");
    }
}
