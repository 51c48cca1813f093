//! The processes of a session: their beginning, their identity, their end.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::harness::{Moat, Running, until};
use crate::project::{IDLE, Project, page, pid, server, tree, web};

fn exists(pid: u64) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    test_kill_process(pid).is_ok()
}

/// W8, and the acceptance test of one line.
#[test]
fn one_that_dies_at_once_fails_with_its_last_words() {
    let project = Project::new(
        "  processes:\n    good: {command: exec sleep 1000}\n    bad: {command: \"echo the port is wrong >&2; exit 7\"}\n",
    );
    project
        .call(&["up", "a"])
        .stderr_contains("'bad' ended at once, with code 7")
        .stderr_contains("the port is wrong")
        .status(1);
    project.assert_nothing();
}

/// What has been there before a failed 'up' is there after it.
#[test]
fn a_failed_up_again_leaves_what_ran() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let first = project.up("a");
    fs::write(tree(&first).join("work"), "x").unwrap();
    project.configure(&format!(
        "  processes: {{idle: {{command: {IDLE}}}, bad: {{command: exit 1}}}}"
    ));
    project.call(&["up", "a"]).status(1);
    let list = project.list();
    assert_eq!(list[0]["session"]["status"], "active");
    assert_eq!(pid(&list[0], "idle"), pid(&first, "idle"));
    assert!(tree(&first).join("work").exists());
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

/// What an 'up' has ended to start it again is not running after that has failed, and nobody says it were.
#[test]
fn a_failed_up_with_force_tells_what_is_stopped() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let first = project.up("a");
    project.configure(&format!(
        "  processes: {{idle: {{command: {IDLE}}}, bad: {{command: exit 1}}}}"
    ));
    let done = project.call(&["up", "a", "--force"]).status(1);
    let said = done.stderr_text();
    let again = "moat up a --services idle";
    assert!(
        said.contains("stopped now: idle\n") && said.contains(again),
        "{said}"
    );
    assert!(!exists(pid(&first, "idle")));
    let status = project.call(&["wt", "status", "a", "--json"]).status(1);
    let status = status.json();
    assert_eq!(status["processes"][0]["name"], "idle", "{status}");
    assert_eq!(status["processes"][0]["running"], false, "{status}");
    let again = project.json(&["up", "a", "--services", "idle"]);
    assert_eq!(again["healthy"], true, "{again}");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// All that a process has started goes with it, also what left its group, and what does not listen to SIGTERM.
#[test]
fn whole_families_end() {
    let script = "trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' & (sleep 1000 &) ; while :; do sleep 1; done";
    let text = serde_json::to_string(script).unwrap();
    let project = Project::new(&format!(
        "  processes: {{wild: {{command: {text}}}, tame: {{command: {IDLE}}}}}"
    ));
    project.up("a");
    let done = project.ok(&["down", "a"]);
    assert!(done.took < Duration::from_secs(9), "{:?}", done.took);
    project.assert_nothing();
}

/// W10, W12: by the start token. A recycled pid is neither ended nor taken for ours.
#[test]
fn a_recycled_pid_is_not_ours() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let made = project.up("a");
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let stranger_pid = u64::from(stranger.id());
    let old = pid(&made, "idle");
    edit(&project, &made, |record| {
        record["processes"][0]["process"]["pid"] = stranger_pid.into();
    });
    let seen = &project.list()[0];
    assert_eq!(seen["processes"][0]["running"], false);
    project
        .call(&["whose", &stranger_pid.to_string()])
        .status(1);
    let again = project.up("a");
    assert!(pid(&again, "idle") != stranger_pid && exists(stranger_pid));
    until("the one before has gone, by its mark", || !exists(old));
    project.ok(&["down", "a"]);
    assert!(exists(stranger_pid));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    project.assert_nothing();
}

/// After the machine was started again, nothing of before runs, whatever has its pids.
#[test]
fn another_boot_is_no_process_of_ours() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let made = project.up("a");
    let slot = made["session"]["slot"].clone();
    edit(&project, &made, |record| {
        for who in ["process", "keeper"] {
            let token = record["processes"][0][who]["token"]
                .as_str()
                .unwrap()
                .to_owned();
            let (_, start) = token.split_once(':').unwrap();
            record["processes"][0][who]["token"] = format!("another-boot:{start}").into();
        }
    });
    assert_eq!(project.list()[0]["processes"][0]["running"], false);
    let again = project.up("a");
    assert_eq!(again["decisions"][0]["action"], "started");
    assert_eq!(again["session"]["slot"], slot);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// They are told from strangers by their marks, whatever the locale says.
#[test]
fn another_locale_changes_nothing() {
    let project = Project::new(&server());
    let first = project.up("a");
    let again = project
        .call(&["up", "a", "--json"])
        .env("TZ", "Asia/Tokyo")
        .env("LC_ALL", "de_DE.UTF-8")
        .success()
        .json();
    assert_eq!(pid(&first, "web"), pid(&again, "web"));
    project.ok(&["down", "a"]);
}

#[test]
fn their_output_is_kept_and_the_terminal_is_not_theirs() {
    let project = Project::new(
        "  processes:\n    talk: {command: \"echo one; echo two >&2; exec sleep 1000\", env: {WORD: x}}\n",
    );
    let made = project.up("a");
    project
        .moat
        .args(["wt", "logs", "a", "talk"])
        .stdout("one\n")
        .stderr("moat: started\ntwo\n")
        .success();
    project
        .call(&["wt", "logs", "a", "tlak"])
        .stderr_contains("did you mean 'talk'?")
        .status(1);
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(&made, "talk"))).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!(fields[4], "0", "it has no terminal");
    let environ = fs::read(format!("/proc/{}/environ", pid(&made, "talk"))).unwrap();
    assert!(String::from_utf8_lossy(&environ).contains("WORD=x"));
    project.ok(&["down", "a"]);
}

#[test]
fn who_listens_where_he_should_not_is_told() {
    let project = Project::new(&server());
    let made = project.up("a");
    let port = u16::try_from(web(&made)).unwrap();
    assert_eq!(page(web(&made)), "main");
    let process = Pid::from_raw(i32::try_from(pid(&made, "web")).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    until("it is gone", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let text = project
        .call(&["wt", "status", "a"])
        .stdout_contains("which is not of this session")
        .status(1);
    assert!(
        text.stdout_text().contains(&std::process::id().to_string()),
        "{text}"
    );
    assert_eq!(
        web(&project.list()[0]),
        u64::from(port),
        "what is observed does not change what is expected"
    );
    drop(stranger);
    project.ok(&["down", "a"]);
}

#[test]
fn a_shell_has_the_variables() {
    let project = Project::new(&server());
    project.up("a");
    let shell = project.moat.write(
        "shell",
        "#!/bin/sh\npwd; echo $MOAT_WEB_PORT ${MOAT_PROCESS:-none}\n",
    );
    fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let list = project.list();
    let expected = format!("{}\n{} none\n", tree(&list[0]).display(), web(&list[0]));
    project
        .moat
        .args(["shell", "a"])
        .env("SHELL", &shell)
        .stdout(expected)
        .success();
    project.ok(&["down", "a", "--keep"]);
    project
        .call(&["shell", "a"])
        .stderr_contains("is stopped")
        .status(1);
    project.ok(&["down", "a"]);
}

/// Ctrl-C and its like: all that was made goes.
#[test]
fn signals_take_back_what_was_made() {
    for (signal, code) in [
        (rustix::process::Signal::INT, 130),
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::HUP, 129),
    ] {
        let project = Project::new(&format!(
            "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{post_up: \"echo waiting; sleep 1000\"}}"
        ));
        let up: Running = project.moat.args(["up", "a"]).spawn();
        up.wait_stderr("post_up: waiting");
        up.signal(signal);
        let done = up.wait();
        assert_eq!(done.code, Some(code), "{done}");
        project.assert_nothing();
    }
}

fn edit(project: &Project, made: &Value, change: impl FnOnce(&mut Value)) {
    let key = made["session"]["key"].as_str().unwrap();
    let path = project.moat.home().join(format!("sessions/{key}.json"));
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(&path, record.to_string()).unwrap();
}

#[test]
fn without_a_session_there_is_nothing_to_look_at() {
    let moat = Moat::new();
    moat.args(["wt", "list"])
        .stderr_contains("There are no sessions")
        .success();
}

/// W4, W5: by the port and the directory, not by looks.
#[test]
fn what_was_started_by_hand_is_taken_in() {
    let project = Project::new(&server());
    let made = project.json(&["up", "a", "--skip", "web"]);
    let deep = tree(&made).join("one/two");
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(project.json(&["wt", "sync", "a"]), serde_json::json!([]));
    let start = |dir: &std::path::Path| {
        let mut server = Command::new("sh");
        server.args(["-c", crate::project::SERVER]).current_dir(dir);
        let server = server
            .env("PORT", web(&made).to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let port = u16::try_from(web(&made)).unwrap();
        until("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    };
    let mut stranger = start(&project.repo);
    assert_eq!(
        project.json(&["wt", "sync", "a"]),
        serde_json::json!([]),
        "not in the worktree"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let mut server = start(&deep);
    assert_eq!(
        project.json(&["wt", "sync", "a"]),
        serde_json::json!(["web"])
    );
    let again = project.up("a");
    assert_eq!(
        (pid(&again, "web"), &again["decisions"][0]["why"]),
        (u64::from(server.id()), &"it runs".into())
    );
    project.json(&["whose", &server.id().to_string()]);
    project.ok(&["down", "a"]);
    server.wait().unwrap();
    project.assert_nothing();
}

/// W19: what speaks without end does not fill the disk, and what it said last is there.
#[test]
fn logs_begin_anew_before_they_are_too_long() {
    let project = Project::new(
        "  processes:\n    talk: {command: \"yes 0123456789012345678901234567890123456789 | head -n 400000; echo end; exec sleep 1000\"}\n",
    );
    let made = project.up("a");
    let key = made["session"]["key"].as_str().unwrap();
    let dir = project.moat.home().join("sessions").join(key);
    let lines = || project.ok(&["wt", "logs", "a", "talk"]).stdout_text();
    let log = dir.join("talk.jsonl");
    until("it has said all", || {
        fs::read_to_string(&log)
            .is_ok_and(|text| text.ends_with("\"end\\n\"}\n") || text.contains("end"))
    });
    let size = |name: &str| fs::metadata(dir.join(name)).map_or(0, |found| found.len());
    let most = 17 * 1024 * 1024;
    assert!(size("talk.jsonl") < most && (1..most).contains(&size("talk.jsonl.1")));
    let text = lines();
    assert!(text.ends_with("0123456789\nend\n"));
    let bad = text
        .lines()
        .filter(|line| *line != "end" && line.len() != 40)
        .count();
    assert_eq!(bad, 0, "no line is cut where one file ends");
    assert!(text.lines().count() > 100_000, "both files are read");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}
