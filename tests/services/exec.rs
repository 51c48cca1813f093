//! `moat exec`: another command in a run or in one of its services.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::support::wait_for;
use crate::harness::{Done, IMAGE, Runtime, until};
use crate::services::place::{Place, REDIS, beside};

/// Starts a busybox run that ends when the test says so. Returns its id.
fn place(runtime: Runtime) -> Option<(Place, String)> {
    let place = Place::with(runtime, &[])?;
    place.moat_yaml(&format!("base_image: {IMAGE}\nenv: {{COLOUR: red}}\n"));
    let id = place.behind(&wait_for("go"));
    Some((place, id))
}

/// Ends the run, and asserts that nothing is left.
fn end(place: &Place, id: &str) {
    place.write("go", "");
    place.args(["wait", id]).any_stderr().run();
    place.assert_nothing_left();
}

fn exec(place: &Place, id: &str, script: &str) -> Done {
    let call = place.args(["exec", id, "--", "sh", "-c", script]);
    call.any_stdout().any_stderr().run()
}

pub(crate) fn streams_and_codes(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let done = exec(&place, &id, "echo out; echo err >&2; exit 7");
    assert_eq!(
        (done.code, done.stdout_text(), done.stderr_text()),
        (Some(7), "out\n".to_owned(), "err\n".to_owned())
    );
    // The command has the run's user, environment and directory.
    let done = exec(&place, &id, "echo $COLOUR $(pwd) $(id -u)");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(done.stdout_text(), format!("red /workspace {uid}\n"));
    let own = place.args(["exec", &id, "-e", "COLOUR=blue", "-w", "/tmp", "--"]);
    own.args(["sh", "-c", "echo $COLOUR $(pwd)"])
        .stdout("blue /tmp\n")
        .success();
    for (command, code, why) in [
        ("nosuch", 127, "executable file not found"),
        ("/etc/passwd", 126, "permission denied"),
    ] {
        let done = place.args(["exec", &id, "--", command]).any_stderr();
        let done = done.status(code);
        let said = done.stderr_text();
        assert!(
            said.starts_with("error: cannot run it: ") && said.contains(why),
            "{done}"
        );
    }
    // Output that only looks like an engine's message is the command's own.
    let words = "OCI runtime exec failed: exec failed: not really";
    let done = exec(&place, &id, &format!("echo '{words}'; exit 3"));
    assert_eq!(
        (done.code, done.stdout_text()),
        (Some(3), format!("{words}\n"))
    );
    // An engine client inside the run prints such messages, too.
    for words in [
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
        "Error response from daemon: no such thing",
        "Error: OCI runtime not really",
    ] {
        let done = exec(&place, &id, &format!("echo '{words}' >&2; exit 1"));
        assert_eq!(
            (done.code, done.stderr_text()),
            (Some(1), format!("{words}\n"))
        );
    }
    end(&place, &id);
}

pub(crate) fn what_it_printed_is_kept(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let done = place
        .args(["exec", &id, "-v", "--", "sh", "-c", "echo one; printf two"])
        .stdout("one\ntwo")
        .any_stderr()
        .success();
    let said = done.stderr_text();
    assert!(said.contains(&format!("moat logs {id} --exec 1")), "{said}");
    let raw = ["logs", &id, "--exec", "1", "--raw", "--stdout"];
    place.args(raw).stdout("one\ntwo").success();
    let record = place.args(["exec", &id, "--json", "--", "sh", "-c", "echo x; exit 4"]);
    let record = record.any_stdout().status(4).json();
    assert_eq!(
        (&record["number"], &record["exit_code"], &record["error"]),
        (&Value::from(2), &Value::from(4), &Value::Null)
    );
    place
        .args(["logs", &id, "--exec", "2"])
        .stdout("x\n")
        .success();
    let unknown = place
        .args(["logs", &id, "--exec", "3"])
        .any_stderr()
        .status(1);
    assert!(
        unknown
            .stderr_text()
            .contains("the commands of this run are: 1, 2"),
        "{unknown}"
    );
    // The output of `exec` is not in the run's log.
    place.args(["logs", &id]).success();
    for file in ["1.json", "1.jsonl", "2.json", "2.jsonl"] {
        let path = place.run_dir(&id).join("exec").join(file);
        let mode = std::fs::metadata(path).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let kept = place.run_dir(&id).join("exec/1.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).expect("kept")).expect("JSON");
    assert!(!kept["finished_at"].is_null(), "{kept:#}");
    end(&place, &id);
}

pub(crate) fn input_is_streamed(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let done = place.args(["exec", &id, "-i", "--", "cat"]).stdin(&bytes);
    assert!(done.any_stdout().success().stdout == bytes);
    // The output arrives before the command ends, and the command may end before its input does.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let running = place.args(["exec", &id, "-i", "--", "head", "-n", "1"]);
    let running = running.stdin_from(reader).any_stdout().spawn();
    std::io::Write::write_all(&mut &writer, b"first\n").expect("written");
    running.wait_stdout("first\n");
    assert_eq!(running.wait().code, Some(0));
    drop(writer);
    // Without -i, `exec` does not read the stdin of the shell that calls it.
    let script = format!("while read line; do $MOAT exec {id} -- cat; echo $line; done");
    let mut shell = std::process::Command::new("sh");
    let call = place.args(["version"]).command();
    shell.args(["-c", &script]).env("MOAT", call.get_program());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"a\nb\n").expect("written");
    drop(writer);
    let done = shell.stdin(reader).output().expect("sh");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "a\nb\n");
    end(&place, &id);
}

/// Returns whether a command runs in the container.
fn runs(place: &Place, id: &str, command: &str) -> bool {
    place.engine(&["exec", id, "ps"]).contains(command)
}

pub(crate) fn it_ends_with_all_that_it_started(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let script = "sleep 1001 & sleep 1002 & echo up; wait";
    let running = place.args(["exec", &id, "--", "sh", "-c", script]);
    let running = running.any_stdout().any_stderr().spawn();
    running.wait_stdout("up");
    running.signal(Signal::INT);
    let done = running.wait();
    assert_eq!(done.code, Some(130), "{done}");
    until("the command has ended", || !runs(&place, &id, "sleep 100"));
    // A second signal kills a command that ignores the first.
    let script = "trap '' TERM; echo up; while :; do sleep 1; done";
    let running = place.args(["exec", &id, "--", "sh", "-c", script]);
    let running = running.any_stdout().any_stderr().spawn();
    running.wait_stdout("up");
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    // The kernel decides which of the two signals comes first.
    let done = running.wait();
    assert!(matches!(done.code, Some(130 | 143)), "{done}");
    until("the command has ended", || !runs(&place, &id, "trap"));
    // The reader of the output is gone.
    let mut shell = place
        .args(["exec", &id, "--", "yes"])
        .any_stderr()
        .command();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut child = shell.stdout(writer).spawn().expect("moat");
    drop(shell);
    drop(reader);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    until("the command has ended", || !runs(&place, &id, "yes"));
    end(&place, &id);
}

/// moat cannot find a process without moat's variables. It leaves that process alone, and says so.
pub(crate) fn what_cannot_be_found_is_left_alone(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let running = place.args(["exec", &id, "--", "env", "-i", "/bin/sleep", "1003"]);
    let running = running.any_stderr().spawn();
    until("the command runs", || runs(&place, &id, "sleep 1003"));
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    let done = running.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert!(done.took < Duration::from_secs(20), "{done}");
    assert!(
        done.stderr_text().contains("may continue in the run"),
        "{done}"
    );
    end(&place, &id);
}

pub(crate) fn where_it_cannot_run(runtime: Runtime) {
    let Some((place, id)) = place(runtime) else {
        return;
    };
    let none = place.args(["exec", "nosuch", "--", "true"]).any_stderr();
    none.status(3);
    for args in [&["exec", &id][..], &["exec", &id, "-w", "tmp", "--", "pwd"]] {
        place.args(args).any_stderr().status(2);
    }
    let nowhere = place.args(["exec", &id, "-w", "/nosuch", "--", "true"]);
    let nowhere = nowhere.any_stderr().status(125);
    assert!(nowhere.stderr_text().contains("/nosuch"), "{nowhere}");
    let unknown = place.args(["exec", &id, "--service", "redis", "--", "true"]);
    let unknown = unknown.any_stderr().status(125);
    assert!(
        unknown.stderr_text().contains("unknown service 'redis'"),
        "{unknown}"
    );
    let engine = |verb: &str| {
        let done = runtime.client().args([verb, &id]).output();
        assert!(done.is_ok_and(|done| done.status.success()), "{verb}");
    };
    engine("pause");
    let paused = place.args(["exec", &id, "--", "true"]).any_stderr();
    let paused = paused.status(125);
    engine("unpause");
    assert!(paused.stderr_text().contains("is paused"), "{paused}");
    end(&place, &id);
    let over = place
        .args(["exec", &id, "--", "true"])
        .any_stderr()
        .status(125);
    assert!(
        over.stderr_text().contains("is not running: it is stopped"),
        "{over}"
    );
}

pub(crate) fn five_at_once_in_a_service(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[REDIS]) else {
        return;
    };
    place.moat_yaml(&beside("redis@7", &format!("redis: {{image: '{REDIS}'}}")));
    let id = place.behind(&wait_for("go"));
    let script = "REDISCLI_AUTH=$REDIS_PASSWORD redis-cli incr count; hostname";
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let call = place.args(["exec", &id, "--service", "redis", "--"]);
                let done = call.args(["sh", "-c", script]).any_stdout().success();
                assert!(done.stdout_text().ends_with("\nredis\n"), "{done}");
            });
        }
    });
    let count = place.args(["exec", &id, "--service", "redis", "--", "sh", "-c", script]);
    count.stdout("6\nredis\n").success();
    end(&place, &id);
}
