//! The processes of a session: how they start, how they are identified, and how they end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::harness::screen::Screen;
use crate::harness::{Moat, Running, Signal, until};
use crate::sessions::project::{IDLE, Project, SERVER, page, pid, server, tree, web};

fn exists(pid: u64) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    test_kill_process(pid).is_ok()
}

/// W8: the error shows the last line that the process printed.
#[test]
fn one_that_dies_at_once_fails_with_its_last_words() {
    let project = Project::new(
        "  processes:\n    good: {command: exec sleep 1000}\n    bad: {command: \"echo the port is wrong >&2; exit 7\"}\n",
    );
    // With the real times: the test is about how long a process must live.
    project
        .call(&["up", "a"])
        .real_time()
        .stderr_contains("'bad' exited early with code 7")
        .stderr_contains("the port is wrong")
        .status(1);
    project.assert_nothing();
    // A process that ends a moment after its start also fails `up`.
    project.configure("  processes: {late: {command: sleep 0.8; exit 7}}");
    project
        .call(&["up", "a"])
        .real_time()
        .stderr_contains("'late' exited early with code 7, and said nothing")
        .status(1);
    project.assert_nothing();
}

/// Processes that ran before a failed 'up' still run after it.
#[test]
fn a_failed_up_again_leaves_what_ran() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let first = project.up("a");
    fs::write(tree(&first).join("work"), "x").unwrap();
    project.configure(&format!(
        "  processes: {{idle: {{command: {IDLE}}}, bad: {{command: exit 1}}}}"
    ));
    project.call(&["up", "a"]).real_time().status(1);
    let list = project.list();
    assert_eq!(list[0]["session"]["status"], "active");
    assert_eq!(pid(&list[0], "idle"), pid(&first, "idle"));
    assert!(tree(&first).join("work").exists());
    project.ok(&["down", "a", "--force"]);
    project.assert_nothing();
}

/// A process that 'up' stopped to restart it does not run after 'up' fails, and moat reports it as stopped.
#[test]
fn a_failed_up_with_force_tells_what_is_stopped() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let first = project.up("a");
    project.configure(&format!(
        "  processes: {{idle: {{command: {IDLE}}}, bad: {{command: exit 1}}}}"
    ));
    let done = project.call(&["up", "a", "--force"]).real_time().status(1);
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

/// `down` ends all descendants of a process, also those that left its group or ignore SIGTERM.
#[test]
fn whole_families_end() {
    let script = "trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' & (sleep 1000 &) ; while :; do sleep 1; done";
    let text = serde_json::to_string(script).unwrap();
    let project = Project::new(&format!(
        "  processes: {{wild: {{command: {text}}}, tame: {{command: {IDLE}}}}}"
    ));
    project.up("a");
    // With the real times: one grace period is 5 s.
    let done = project.call(&["down", "a"]).real_time().success();
    assert!(done.took < Duration::from_secs(9), "{:?}", done.took);
    project.assert_nothing();
}

/// W12: processes are ended in parallel, so those that ignore SIGTERM share one grace period.
#[test]
fn those_who_do_not_listen_are_ended_side_by_side() {
    let deaf = "{command: \"trap '' TERM; while :; do sleep 1; done\"}";
    let project = Project::new(&format!("  processes: {{a: {deaf}, b: {deaf}, c: {deaf}}}"));
    project.up("a");
    // With the real times: one grace period is 5 s, and three would be 15 s.
    for args in [&["up", "a", "--force"][..], &["down", "a"]] {
        let took = project.call(args).real_time().success().took;
        let one = Duration::from_secs(5)..Duration::from_secs(10);
        assert!(one.contains(&took), "{args:?}: {took:?}");
    }
    project.assert_nothing();
}

/// W12: a process gets neither the stdin, nor the terminal session, nor an open file of the caller of `up`.
#[test]
fn nothing_of_the_caller_is_theirs() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let (mut input, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"not theirs").unwrap();
    drop(writer);
    let call = project.call(&["up", "a", "--json"]);
    let mut command = call.wrapped(&["sh", "-c", "exec 9</dev/null; exec \"$@\"", "sh"]);
    command.stdin(input.try_clone().unwrap());
    let made = Running::with_input(command).wait().json();
    let mut rest = String::new();
    input.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "not theirs");
    let process = pid(&made, "idle");
    let keeper = project.record(&made)["processes"][0]["monitor"]["pid"].clone();
    let keeper = keeper.as_u64().unwrap();
    let place = |fd: &str| fs::read_link(format!("/proc/{process}/fd/{fd}")).unwrap();
    assert_eq!(place("0").to_str(), Some("/dev/null"));
    let mut open: Vec<_> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    // The monitor has the log open, but no lock.
    for entry in fs::read_dir(format!("/proc/{keeper}/fd")).unwrap() {
        let open = fs::read_link(entry.unwrap().path()).unwrap();
        assert!(
            !open.to_str().unwrap().contains("lock"),
            "{}",
            open.display()
        );
    }
    let [_, _, group, session] = relations(process);
    assert_eq!((group, session), (process, keeper));
    let [_, _, group, session] = relations(keeper);
    assert_eq!((group, session), (keeper, keeper));
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// Returns the state (as the code of its letter), the parent, the group and the session of a process (proc(5)).
fn relations(pid: u64) -> [u64; 4] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let number = |field: &str| field.parse().unwrap_or_else(|_| field.as_bytes()[0].into());
    let fields: Vec<u64> = fields.take(4).map(number).collect();
    fields.try_into().unwrap()
}

/// W10, W12: the start token tells that a pid was reused. That process is neither ended nor taken for the session's.
#[test]
fn a_recycled_pid_is_not_ours() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let made = project.up("a");
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let stranger_pid = u64::from(stranger.id());
    let old = pid(&made, "idle");
    project.edit(&made, |record| {
        record["processes"][0]["process"]["pid"] = stranger_pid.into();
    });
    let seen = &project.list()[0];
    assert_eq!(seen["processes"][0]["running"], false);
    project
        .call(&["whose", &stranger_pid.to_string()])
        .status(1);
    let again = project.up("a");
    assert!(pid(&again, "idle") != stranger_pid && exists(stranger_pid));
    until("the old process has ended", || !exists(old));
    project.ok(&["down", "a"]);
    assert!(exists(stranger_pid));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    project.assert_nothing();
}

/// After a reboot no process of the session runs, even if its pid is in use again.
#[test]
fn another_boot_is_no_process_of_ours() {
    let project = Project::new(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
    let made = project.up("a");
    let slot = made["session"]["slot"].clone();
    project.edit(&made, |record| {
        for who in ["process", "monitor"] {
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

/// moat recognizes its processes by their marks, in every locale.
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
    until("the server has ended", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let text = project
        .call(&["wt", "status", "a"])
        .stdout_contains("the foreign process")
        .status(1);
    assert!(
        text.stdout_text().contains(&std::process::id().to_string()),
        "{text}"
    );
    assert_eq!(
        web(&project.list()[0]),
        u64::from(port),
        "the session keeps its expected port"
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

/// Signals as a terminal sends them, such as Ctrl-C: `up` rolls back what it created, and keeps what existed before.
#[test]
fn signals_take_back_what_was_made() {
    let hanging = "  hooks: {pre_start: \"echo waiting; sleep 1000\"}";
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let project = Project::new(&format!(
            "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{post_up: \"echo waiting; sleep 1000\"}}"
        ));
        let interrupt = |up: Running, said: &str| {
            up.wait_stderr(said);
            up.signal_group(signal);
            let done = up.wait();
            assert_eq!(done.code, Some(code), "{done}");
        };
        let up = || project.moat.args(["up", "a"]).spawn();
        interrupt(up(), "post_up: waiting");
        project.assert_nothing();
        // A process that runs keeps running, and one that is stopped stays stopped.
        project.configure(&format!("  processes: {{idle: {{command: {IDLE}}}}}"));
        let made = project.up("a");
        project.configure(&format!(
            "  processes: {{idle: {{command: {IDLE}}}, more: {{command: {IDLE}}}}}\n{hanging}"
        ));
        interrupt(up(), "pre_start: waiting");
        let list = project.list();
        assert_eq!(list[0]["session"]["status"], "active");
        assert_eq!(pid(&list[0], "idle"), pid(&made, "idle"));
        assert_eq!(list[0]["session"]["operation"], Value::Null);
        project.ok(&["down", "a", "--keep"]);
        interrupt(up(), "pre_start: waiting");
        assert_eq!(project.list()[0]["session"]["status"], "stopped");
        project.ok(&["down", "a"]);
        project.assert_nothing();
    }
}

/// An interrupted `down` finishes the session that it is ending, hooks included, and starts with no other.
#[test]
fn a_down_that_is_interrupted_ends_what_it_has_begun() {
    let hook = |name: &str| format!("{name}: 'echo waiting; sleep 1; echo {name} >>$HOME/log'");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let project = Project::new(&format!(
            "  processes: {{idle: {{command: {IDLE}}}}}\n  hooks: {{{}, {}}}",
            hook("pre_down"),
            hook("post_down")
        ));
        project.up("a");
        project.up("b");
        let log = project.moat.user_home().join("log");
        for (args, left, name) in [
            (&["down", "--all"][..], 1, "pre_down"),
            (&["down", "b"], 0, "post_down"),
        ] {
            let down = project.call(args).spawn();
            down.wait_stderr(&format!("{name}: waiting"));
            down.signal_group(signal);
            let done = down.wait();
            assert_eq!(done.code, Some(code), "{done}");
            assert!(!done.stderr_text().contains("warning"), "{done}");
            assert_eq!(fs::read_to_string(&log).unwrap(), "pre_down\npost_down\n");
            fs::remove_file(&log).unwrap();
            assert_eq!(project.list().len(), left, "{done}");
        }
        project.assert_nothing();
    }
}

/// Returns a worktree that was kept, and 'wt clean' on a terminal that asks whether to remove it.
fn asked() -> (Project, PathBuf, Screen) {
    let project = Project::new(&server());
    let tree = tree(&project.up("a"));
    fs::write(tree.join("work"), "").unwrap();
    project.ok(&["down", "a"]);
    fs::remove_file(tree.join("work")).unwrap();
    let command = project.call(&["wt", "clean"]).command();
    let screen = Screen::start(&command);
    screen.wait("[y/N]");
    (project, tree, screen)
}

/// A worktree that a session uses by the time of the answer is kept.
#[test]
fn a_late_answer_removes_nothing_that_is_in_use() {
    let (project, _, mut screen) = asked();
    project.up("a");
    screen.press(b"y\r");
    screen.wait("it is now in use");
    assert!(screen.end().success());
    assert_eq!(project.list()[0]["healthy"], true);
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

/// Ctrl-C at the only question that session commands ask.
#[test]
fn an_interrupt_at_a_question_changes_nothing() {
    let (project, tree, mut screen) = asked();
    screen.press(b"\x03");
    let status = screen.end();
    // A shell shows this signal as exit code 130.
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
    screen.assert_sane();
    assert!(tree.exists());
    // No lock is left.
    project.up("a");
    project.ok(&["down", "a"]);
    project.assert_nothing();
}

#[test]
fn without_a_session_there_is_nothing_to_look_at() {
    let moat = Moat::new();
    moat.args(["wt", "list"])
        .stderr_contains("there are no sessions")
        .success();
}

/// Starts a [`SERVER`] as a user would, without moat.
fn by_hand(dir: &Path, port: u64) -> Child {
    let mut server = Command::new("sh");
    server.args(["-c", SERVER]).current_dir(dir);
    let server = server.env("PORT", port.to_string()).stdout(Stdio::null());
    let server = server.spawn().unwrap();
    wait_for_listener(port);
    server
}

fn wait_for_listener(port: u64) {
    let port = u16::try_from(port).unwrap();
    until("the server listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

/// W4, W5: `sync` goes by the port and the directory, not by the command line.
#[test]
fn what_was_started_by_hand_is_taken_in() {
    let project = Project::new(&server());
    let made = project.json(&["up", "a", "--skip", "web"]);
    let deep = tree(&made).join("one/two");
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(project.json(&["wt", "sync", "a"]), serde_json::json!([]));
    let mut stranger = by_hand(&project.repo, web(&made));
    assert_eq!(
        project.json(&["wt", "sync", "a"]),
        serde_json::json!([]),
        "not in the worktree"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let mut server = by_hand(&deep, web(&made));
    assert_eq!(
        project.json(&["wt", "sync", "a"]),
        serde_json::json!(["web"])
    );
    let again = project.up("a");
    assert_eq!(
        (pid(&again, "web"), &again["decisions"][0]["reason"]),
        (u64::from(server.id()), &"it runs".into())
    );
    project.json(&["whose", &server.id().to_string()]);
    // With the real times. Only the test can reap the server, and `down` must not wait for that.
    let took = project.call(&["down", "a"]).real_time().success().took;
    assert!(took < Duration::from_secs(4), "{took:?}");
    server.wait().unwrap();
    project.assert_nothing();
}

/// W12: a process that has ended and is not reaped counts as ended.
#[test]
fn a_zombie_does_not_run() {
    let project = Project::new(&server());
    let made = project.json(&["up", "a", "--skip", "web"]);
    let mut server = by_hand(&tree(&made), web(&made));
    project.ok(&["wt", "sync", "a"]);
    assert_eq!(project.list()[0]["processes"][0]["running"], true);
    server.kill().unwrap();
    let zombie = u64::from(server.id());
    until("the process is a zombie", || {
        relations(zombie)[0] == u64::from(b'Z')
    });
    assert_eq!(project.list()[0]["processes"][0]["running"], false);
    let again = project.up("a");
    assert_eq!(again["decisions"][0]["reason"], "its process was gone");
    assert_ne!(pid(&again, "web"), zombie);
    project.ok(&["down", "a"]);
    server.wait().unwrap();
    project.assert_nothing();
}

/// A process that listens on the ports of two names gets one name, whether the user or `up` started it.
#[test]
fn no_process_has_two_names() {
    // The server listens on the port in PORT, and on the one twenty above.
    let open = "$t=IO::Socket::INET->new(LocalAddr=>\"127.0.0.1\",LocalPort=>$ENV{PORT}+20,Listen=>9,ReuseAddr=>1) or die";
    let both = SERVER.replace("print \"listening", &format!("{open}; print \"listening"));
    let text = serde_json::to_string(&both).unwrap();
    let project = Project::new("  slots: 1");
    let above = project.base + 20;
    project.configure(&format!(
        "  search_range: 1\n  processes:\n    api: {{command: {IDLE}, port: {above}}}\n    web: {{command: {text}, port: BASE, port_env: PORT}}\n"
    ));
    let made = project.json(&["up", "a", "--services", "web"]);
    let found = |name: &str| {
        let list = project.list();
        let all = list[0]["processes"].as_array().unwrap();
        let own = all.iter().find(|process| process["name"] == name);
        own.is_some_and(|process| process["running"] == true)
    };
    wait_for_listener(u64::from(above) + 1);
    assert_eq!(project.json(&["wt", "sync", "a"]), serde_json::json!([]));
    assert!(found("web") && !found("api"));
    project.ok(&["down", "a", "--keep"]);
    project.json(&["up", "a", "--skip", "web,api"]);
    let mut server = Command::new("sh");
    server.args(["-c", &both]).current_dir(tree(&made));
    server.env("PORT", web(&made).to_string());
    let mut server = server.stdout(Stdio::null()).spawn().unwrap();
    wait_for_listener(web(&made));
    let first = project.json(&["wt", "sync", "a"]);
    assert_eq!(first.as_array().unwrap().len(), 1, "{first}");
    // The process keeps that name.
    assert_eq!(project.json(&["wt", "sync", "a"]), serde_json::json!([]));
    assert!(found("web") != found("api"));
    project.ok(&["down", "a"]);
    server.wait().unwrap();
    project.assert_nothing();
}

/// W19: endless output does not fill the disk, and the last output is in the log.
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
    until("the log has all output", || {
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

/// A child that dropped its environment and left the group belongs to its parent, for `whose` and for `wt status`.
/// `down` cannot end it, and says which port it holds.
#[test]
fn a_child_without_its_mark_is_known_and_named() {
    let project = Project::new(
        "  processes:\n    web: {command: 'env -i PORT=$PORT PATH=$PATH setsid sh serve.sh & wait', port: BASE, port_env: PORT}",
    );
    project.commit("serve.sh", SERVER);
    let made = project.up("a");
    let port = web(&made);
    assert_eq!(page(port), "main");
    let status = project.json(&["wt", "status", "a"]);
    let seen = &status["processes"][0]["ports"][0];
    assert_eq!(seen["listening"], true, "{status}");
    assert!(seen["foreign_pid"].is_null(), "{status}");
    let owner = project.json(&["whose", &format!(":{port}")]);
    assert_eq!(
        (&owner["owned"], &owner["name"]),
        (&true.into(), &"web".into())
    );
    let done = project.call(&["down", "a", "--json"]).success();
    let held = done.json()["held_ports"][0].clone();
    assert_eq!(held["port"], port, "{done}");
    let pid = held["pid"].to_string();
    let said = done.stderr_text();
    assert!(
        said.contains(&format!(
            "warning: port {port} of 'web' stays in use: process {pid} ("
        )),
        "{said}"
    );
    assert!(said.contains(&format!("kill {pid}\n")), "{said}");
    let killed = std::process::Command::new("kill").arg(&pid).status();
    assert!(killed.unwrap().success());
    until("the server has ended", || {
        project.moat.leftovers().is_empty()
    });
    project.assert_nothing();
}
