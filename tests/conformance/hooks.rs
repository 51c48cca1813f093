//! `hooks.pre_run`: a script before the command, whose failure differs from the command's.

use crate::harness::{Moat, Signal};

fn hook(moat: &Moat, script: &str) {
    let text = serde_json::json!({ "hooks": { "pre_run": script } });
    // JSON is YAML.
    moat.write("moat.yaml", text.to_string());
}

pub(crate) fn a_hook_runs_before_the_command(moat: &Moat) {
    hook(
        moat,
        "pwd; id -u; echo made >from-the-hook; echo to stderr >&2",
    );
    let uid = rustix::process::geteuid().as_raw();
    moat.sh("cat from-the-hook; echo command")
        .stdout(format!("/workspace\n{uid}\nmade\ncommand\n"))
        .stderr("to stderr\n")
        .success();
    let id = moat.only_id();
    moat.args(["logs", "--stdout", &id])
        .stdout(format!("/workspace\n{uid}\nmade\ncommand\n"))
        .success();
    assert_eq!(moat.record(&id)["pre_run"], true);
}

pub(crate) fn a_failed_hook_is_told_from_the_command(moat: &Moat) {
    hook(moat, "echo trying\necho broken >&2\nexit 9");
    moat.sh("echo never")
        .stdout("trying\n")
        .stderr("broken\n")
        .status(9);
    let id = moat.only_id();
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"], &record["exit_code"]),
        (&"failed".into(), &"hook-failed".into(), &9.into())
    );
    let error = record["error"].as_str().unwrap_or_default();
    assert!(error.contains("pre_run"), "{record:#}");
    moat.args(["wait", &id]).status(9);
    moat.args(["logs", "--stdout", &id])
        .stdout("trying\n")
        .success();
    moat.args(["destroy", &id]).any_stdout().success();
    // The client's error also says that the hook failed.
    let mut call = moat.args(["run"]);
    if moat.has_images() {
        call = call.args(["--image", crate::harness::IMAGE]);
    }
    let done = call
        .args(["--", "true"])
        .stdout("trying\n")
        .any_stderr()
        .status(9);
    let said = done.stderr_text();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("failed: ") && last.contains("pre_run"),
        "{said}"
    );
}

/// The script ends at its first command that fails.
pub(crate) fn a_hook_ends_with_its_first_failure(moat: &Moat) {
    for (script, code) in [
        ("false; echo never", 1),
        ("sh -c 'exit 77'\necho never", 77),
        ("no-such-program", 127),
        ("kill -9 $$", 137),
        ("echo 'unbalanced", 2),
    ] {
        hook(moat, script);
        let done = moat.sh("echo never").any_stderr().run();
        assert!(done.code.is_some_and(|code| code != 0), "{script}: {done}");
        let id = moat.only_id();
        let record = moat.record(&id);
        assert_eq!(record["reason"], "hook-failed", "{script}: {record:#}");
        // Shells have different messages for a syntax error.
        if code != 2 {
            assert_eq!(done.code, Some(code), "{script}: {done}");
        }
        moat.args(["destroy", &id]).any_stdout().success();
    }
}

pub(crate) fn a_command_that_fails_after_its_hook(moat: &Moat) {
    hook(moat, "true");
    moat.sh("exit 9").status(9);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["reason"], "exited");
    assert_eq!(record["error"], serde_json::Value::Null);
    moat.run(["no-such-program"]).any_stderr().status(127);
    moat.run(["/etc/passwd"]).any_stderr().status(126);
    for id in moat.ids() {
        assert_eq!(moat.record(&id)["reason"], "exited");
    }
}

/// The script does not change the words of the command, whatever they are.
pub(crate) fn the_command_is_untouched_by_its_hook(moat: &Moat) {
    hook(moat, "set -- changed; cd /; X=1; exec 1>&2");
    let words = ["", "a b", "'", "\"", "$HOME", "*", "-c", "--", "new\nline"];
    let all = [
        &[
            "sh",
            "-c",
            "pwd; echo \"[$X]\"; for word; do echo \"<$word>\"; done",
            "sh",
        ],
        &words[..],
    ]
    .concat();
    let shown: String = words.iter().map(|word| format!("<{word}>\n")).collect();
    moat.run(all)
        .stdout(format!("/workspace\n[]\n{shown}"))
        .success();
}

/// Only the command reads the run's input, not the hook.
pub(crate) fn a_hook_leaves_the_input_alone(moat: &Moat) {
    hook(moat, "cat; echo hook");
    moat.run_with(["-i"], ["cat"])
        .stdin("for the command")
        .stdout("hook\nfor the command")
        .success();
}

/// A process that the hook leaves running does not delay the end of the run, and ends with it.
pub(crate) fn a_hook_may_start_something(moat: &Moat) {
    hook(moat, "while :; do sleep 0.1; done >/dev/null 2>&1 &");
    moat.sh("echo command").stdout("command\n").success();
}

pub(crate) fn stop_during_a_hook(moat: &Moat) {
    hook(moat, "echo on; while :; do sleep 0.05; done");
    for (end, reason, code) in [("stop", "user-stop", 143), ("kill", "killed", 137)] {
        let id = moat.background("echo never");
        moat.wait_log(&id, "\"on\"");
        let mut call = moat.args([end, &id]);
        if end == "stop" {
            call = call.args(["--time", "2"]);
        }
        call.any_stdout().any_stderr().success();
        let record = moat.record(&id);
        assert_eq!(
            (&record["state"], &record["reason"]),
            (&"stopped".into(), &reason.into()),
            "{record:#}"
        );
        let status = moat.args(["wait", &id]).run().code;
        assert!(status == Some(code) || status == Some(137), "{status:?}");
        moat.args(["logs", "--stdout", &id])
            .stdout("on\n")
            .success();
    }
}

/// Ctrl-C during a hook in the foreground.
pub(crate) fn interrupting_a_hook(moat: &Moat) {
    hook(moat, "echo on; while :; do sleep 0.05; done");
    let client = moat.run(["true"]).spawn();
    client.wait_stdout("on\n");
    client.signal(Signal::INT);
    let done = client.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert_eq!(moat.record(&moat.only_id())["reason"], "user-stop");
}

/// The timeout of a run includes the hook's time.
pub(crate) fn a_timeout_counts_the_hook(moat: &Moat) {
    hook(moat, "while :; do sleep 0.05; done");
    moat.run_with(["--timeout", "1s"], ["true"])
        .any_stderr()
        .status(124);
    assert_eq!(moat.record(&moat.only_id())["reason"], "timeout");
}

/// A script that is too long for a command line is a problem of the file; a shorter one runs.
pub(crate) fn a_long_hook(moat: &Moat) {
    let yaml = |length: usize| {
        let script = format!("echo {}", "x".repeat(length));
        serde_json::json!({ "hooks": { "pre_run": script + " | wc -c" } }).to_string()
    };
    moat.write("moat.yaml", yaml(110 * 1024));
    moat.run(["true"])
        .stdout(format!("{}\n", 110 * 1024 + 1))
        .success();
    moat.write("moat.yaml", yaml(140 * 1024));
    moat.args(["check"])
        .stdout_contains("moat.yaml:1:21: 'pre_run' is longer than 120 KiB")
        .status(1);
}
