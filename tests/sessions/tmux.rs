//! Sessions whose processes run in tmux windows, on a tmux server of the test's own.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Call, skip, until};
use crate::sessions::project::{IDLE, Project, page, pid, tree, two, web};

struct Windows {
    project: Project,
}

impl Windows {
    fn new(session: &str) -> Option<Windows> {
        let found = Command::new("tmux").arg("-V").output();
        if !found.is_ok_and(|output| output.status.success()) {
            skip("there is no tmux");
            return None;
        }
        let project = Project::new(&format!("  tmux: true\n{session}"));
        let windows = Windows { project };
        fs::create_dir(windows.dir()).unwrap();
        Some(windows)
    }

    fn dir(&self) -> PathBuf {
        self.project.moat.root().join("tmux")
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(args).env("TMUX_TMPDIR", self.dir());
        command.env_remove("TMUX").output().unwrap()
    }

    #[track_caller]
    fn shown(&self, args: &[&str]) -> String {
        let output = self.tmux(args);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {why}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn call(&self, args: &[&str]) -> Call<'_> {
        self.project.call(args).env("TMUX_TMPDIR", self.dir())
    }

    #[track_caller]
    fn up(&self, branch: &str) -> Value {
        self.call(&["up", branch, "--json"]).success().json()
    }

    /// Returns `NAME DEAD STATUS` for each window of a session, in order.
    fn windows(&self, made: &Value) -> Vec<String> {
        let target = format!("={}:", name(made));
        let format = "#{window_name} #{pane_dead}";
        let text = self.shown(&["list-panes", "-s", "-t", &target, "-F", format]);
        text.lines().map(str::to_owned).collect()
    }

    /// Returns the names of the tmux sessions on the server.
    fn sessions(&self) -> Vec<String> {
        let output = self.tmux(&["list-sessions", "-F", "#{session_name}"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn name(made: &Value) -> String {
    made["session"]["tmux"]["name"].as_str().unwrap().to_owned()
}

fn idle() -> String {
    format!("  processes: {{one: {{command: {IDLE}}}, two: {{command: {IDLE}}}}}")
}

fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn each_process_has_a_window_and_a_log() {
    let Some(windows) = Windows::new(&two()) else {
        return;
    };
    let made = windows.up("a");
    assert_eq!(windows.windows(&made), ["shell 0", "web 0", "idle 0"]);
    assert_eq!(page(web(&made)), "main");
    // The process has the terminal of the window, and its output is also in the log.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(&made, "web"))).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_ne!(fields[4], "0", "it has a terminal");
    assert_eq!(
        fields[2], fields[5],
        "its group is the one in the foreground"
    );
    let logs = || windows.project.call(&["wt", "logs", "a", "web"]).success();
    until("the log has the output", || {
        logs().stdout_text().contains("listening")
    });
    let target = format!("={}:=web", name(&made));
    until("the window has the output", || {
        windows
            .shown(&["capture-pane", "-p", "-t", &target])
            .contains("listening")
    });
    // Window 0 is a shell in the worktree, with the session's variables.
    let target = format!("={}:=shell", name(&made));
    let shell = windows.shown(&["display-message", "-p", "-t", &target, "#{pane_pid}"]);
    let shell = shell.trim();
    assert_eq!(
        fs::read_link(format!("/proc/{shell}/cwd")).unwrap(),
        tree(&made)
    );
    let environ = fs::read(format!("/proc/{shell}/environ")).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(
        environ.contains(&format!("MOAT_WEB_PORT={}\0", web(&made))),
        "{environ}"
    );
    // 'moat whose' goes by moat's marks on the process.
    let answer = windows
        .project
        .json(&["whose", &pid(&made, "web").to_string()]);
    assert_eq!(
        (&answer["branch"], &answer["name"]),
        (&"a".into(), &"web".into())
    );
    let again = windows.up("a");
    assert_eq!(pid(&again, "web"), pid(&made, "web"));
    // `down` also works without this environment, because the record holds the path of the socket.
    windows.project.ok(&["down", "a"]);
    assert_eq!(windows.sessions(), Vec::<String>::new());
    windows.project.assert_nothing();
}

#[test]
fn the_window_of_one_that_ended_stays_until_it_is_started_again() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let made = windows.up("a");
    kill(pid(&made, "two"));
    until("the window shows the end", || {
        windows.windows(&made) == ["shell 0", "one 0", "two 1"]
    });
    let status = windows
        .call(&["wt", "status", "a", "--json"])
        .status(1)
        .json();
    assert_eq!(status["processes"][1]["exit_code"], 137);
    let again = windows.up("a");
    assert_eq!(windows.windows(&made), ["shell 0", "one 0", "two 0"]);
    assert_eq!(pid(&again, "one"), pid(&made, "one"));
    // After the user closes the whole tmux session, `up` restores it.
    windows.shown(&["kill-session", "-t", &format!("={}", name(&made))]);
    until("the closed processes have ended", || {
        windows.project.call(&["wt", "status", "a"]).run().code == Some(1)
    });
    until("both processes have ended", || {
        windows.project.list()[0]["processes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["running"] == false)
    });
    let back = windows.up("a");
    assert_eq!(windows.windows(&back), ["shell 0", "one 0", "two 0"]);
    windows.call(&["down", "a", "--keep"]).success();
    assert_eq!(windows.sessions(), Vec::<String>::new());
    windows.up("a");
    windows.call(&["down", "a"]).success();
    windows.project.assert_nothing();
}

/// W8: the last output also survives a window of 50 lines, of which tmux's notice of a dead pane covers some.
#[test]
fn last_words_come_from_the_log_and_nothing_is_left() {
    let Some(windows) =
        Windows::new("  processes: {bad: {command: \"seq 200; echo the port is wrong; exit 7\"}}")
    else {
        return;
    };
    let done = windows
        .call(&["up", "a"])
        .real_time()
        .stderr_contains("'bad' exited early with code 7")
        .stderr_contains("  200\n  the port is wrong\n")
        .status(1);
    assert!(!done.stderr_text().contains("Pane is dead"), "{done}");
    assert_eq!(windows.sessions(), Vec::<String>::new());
    windows.project.assert_nothing();
}

/// W6: tmux sessions whose names are prefixes of each other; the user's own ones must survive.
#[test]
fn down_ends_its_own_session_of_tmux_and_no_other() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let (one, other) = (windows.up("a"), windows.up("ab"));
    let beginning = &name(&one)[..name(&one).len() - 1];
    windows.shown(&["new-session", "-d", "-s", beginning, "sleep 1000"]);
    windows.shown(&[
        "new-session",
        "-d",
        "-s",
        &format!("{}x", name(&one)),
        "sleep 1000",
    ]);
    // W7: a process in the user's own windows has no owner.
    let target = format!("={beginning}:");
    let theirs = windows.shown(&["display-message", "-p", "-t", &target, "#{pane_pid}"]);
    windows
        .project
        .call(&["whose", theirs.trim()])
        .stdout("not owned by moat\n")
        .status(1);
    // A renamed tmux session still belongs to moat.
    windows.shown(&[
        "rename-session",
        "-t",
        &format!("={}", name(&one)),
        "renamed",
    ]);
    windows.call(&["down", "a"]).success();
    let mut left = windows.sessions();
    left.sort();
    let mut expected = vec![
        beginning.to_owned(),
        format!("{}x", name(&one)),
        name(&other),
    ];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(windows.windows(&other), ["shell 0", "one 0", "two 0"]);
    windows.call(&["down", "ab"]).success();
    assert_eq!(windows.sessions().len(), 2);
    windows.shown(&["kill-server"]);
    windows.project.assert_nothing();
}

#[test]
fn a_session_of_tmux_with_our_name_is_not_taken() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let name = name(&windows.up("a"));
    windows.call(&["down", "a"]).success();
    windows.shown(&["new-session", "-d", "-s", &name, "sleep 1000"]);
    windows
        .call(&["up", "a"])
        .stderr_contains("moat did not create that tmux session")
        .status(1);
    assert_eq!(windows.sessions(), [name]);
    windows.shown(&["kill-server"]);
    windows.project.assert_nothing();
}

/// A tmux.conf may end all sessions that no terminal shows.
#[test]
fn a_tmux_that_destroys_what_nobody_sees() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let home = windows.project.moat.user_home();
    fs::create_dir_all(&home).unwrap();
    fs::write(
        home.join(".tmux.conf"),
        "set -g destroy-unattached on\nset -g exit-empty off\n",
    )
    .unwrap();
    let made = windows.up("a");
    assert_eq!(windows.windows(&made), ["shell 0", "one 0", "two 0"]);
    windows.call(&["down", "a"]).success();
    assert!(windows.sessions().is_empty());
    windows.shown(&["kill-server"]);
    windows.project.assert_nothing();
}

/// W9: sh runs commands, whatever shell the user has. Paths may contain any character.
#[test]
fn an_odd_shell_and_odd_places() {
    let Some(windows) = Windows::new(
        "  processes: {one: {command: 'test \"$A\" = \"x y#{pid}%H\" && exec sleep 1000', env: {A: 'x y#{pid}%H'}, cwd: '#d %H'}, two: {command: 'exec sleep 1000;'}, three: {command: 'exec sleep 1000 #\\;'}}",
    ) else {
        return;
    };
    windows.project.commit("keep", "");
    fs::create_dir(windows.project.repo.join("#d %H")).unwrap();
    windows.project.commit("#d %H/file", "x");
    let made = windows
        .call(&["up", "a", "--json"])
        .env("SHELL", "/bin/false")
        .success()
        .json();
    assert_eq!(
        windows.windows(&made),
        ["shell 1", "one 0", "two 0", "three 0"]
    );
    // A ';' at the end belongs to the command, and does not end tmux's own command.
    let record = windows.project.record(&made);
    assert_eq!(record["processes"][1]["command"], "exec sleep 1000;");
    for name in ["two", "three"] {
        let words = fs::read(format!("/proc/{}/cmdline", pid(&made, name))).unwrap();
        assert_eq!(words, b"sleep\x001000\0", "{name}");
    }
    let cwd = fs::read_link(format!("/proc/{}/cwd", pid(&made, "one"))).unwrap();
    assert_eq!(cwd, tree(&made).join("#d %H"));
    windows.call(&["down", "a"]).success();
    windows.project.assert_nothing();
}

/// All users of a machine can see the arguments of a process.
#[test]
fn no_variable_is_in_an_argument_of_tmux() {
    let Some(windows) = Windows::new(&two().replace(
        "port_env: PORT}",
        "port_env: PORT, env: {TOKEN: 'not for all'}}",
    )) else {
        return;
    };
    let calls = windows.project.moat.root().join("calls");
    let script = format!(
        "printf '%s\\n' \"$@\" >>{}; exec REAL \"$@\"",
        calls.display()
    );
    let path = windows.project.stand_in("tmux", &script);
    let call = windows.call(&["up", "a", "--json"]).env("PATH", path);
    let made = call.success().json();
    let environ = fs::read(format!("/proc/{}/environ", pid(&made, "web"))).unwrap();
    assert!(String::from_utf8_lossy(&environ).contains("TOKEN=not for all\0"));
    let calls = fs::read_to_string(calls).unwrap();
    assert!(calls.contains("new-session\n") && calls.contains("new-window\n"));
    assert!(!calls.contains("not for all"), "{calls}");
    for name in made["env"].as_object().unwrap().keys() {
        assert!(!calls.contains(&format!("{name}=")), "{name}: {calls}");
    }
    windows.call(&["down", "a"]).success();
    windows.project.assert_nothing();
}

#[test]
fn without_tmux_nothing_is_made() {
    let project = Project::new(&format!("  tmux: true\n{}", idle()));
    let bin = project.moat.root().join("bin-without");
    fs::create_dir(&bin).unwrap();
    for program in ["git", "sh"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output()
            .unwrap();
        symlink(
            String::from_utf8(found.stdout).unwrap().trim(),
            bin.join(program),
        )
        .unwrap();
    }
    project
        .call(&["up", "a"])
        .env("PATH", &bin)
        .stderr_contains("there is no tmux on PATH")
        .stderr_contains("install tmux")
        .status(1);
    project.assert_nothing();
    project.configure("  tmux: yes please\n  processes: {}");
    project.call(&["up", "a"]).status(1);
}

const UP: [&str; 5] = [
    "session-tmux-intent",
    "session-tmux-made",
    "session-window-made",
    "session-process-intent",
    "session-process-started",
];

#[test]
fn an_up_that_was_killed_leaves_nothing() {
    for at in UP {
        for how in [&["down", "a"][..], &["wt", "recover"]] {
            let Some(windows) = Windows::new(&idle()) else {
                return;
            };
            windows.call(&["up", "a"]).killed_at(at);
            windows.call(how).success();
            assert_eq!(windows.sessions(), Vec::<String>::new(), "{at}");
            windows.project.assert_nothing();
        }
    }
}

#[test]
fn an_up_that_was_killed_goes_on() {
    for at in UP {
        let Some(windows) = Windows::new(&idle()) else {
            return;
        };
        windows.call(&["up", "a"]).killed_at(at);
        let made = windows.up("a");
        assert_eq!(made["healthy"], true, "{at}");
        assert_eq!(
            windows.windows(&made),
            ["shell 0", "one 0", "two 0"],
            "{at}"
        );
        windows.call(&["down", "a"]).success();
        assert_eq!(windows.sessions(), Vec::<String>::new(), "{at}");
        windows.project.assert_nothing();
    }
}

#[test]
fn a_down_that_was_killed_is_carried_to_its_end() {
    for at in ["session-down-processes", "session-down-tmux"] {
        let Some(windows) = Windows::new(&idle()) else {
            return;
        };
        windows.up("a");
        windows.call(&["down", "a"]).killed_at(at);
        windows.project.ok(&["wt", "recover"]);
        assert_eq!(windows.sessions(), Vec::<String>::new(), "{at}");
        windows.project.assert_nothing();
    }
}

/// After a reboot neither the tmux server nor the directory of its socket exists.
#[test]
fn a_socket_whose_directory_is_gone_is_made_again() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let made = windows.up("a");
    let socket = made["session"]["tmux"]["socket"].as_str().unwrap();
    let place = PathBuf::from(socket).parent().unwrap().to_owned();
    windows.tmux(&["kill-server"]);
    fs::remove_dir_all(place).unwrap();
    until("the session's processes have ended", || {
        windows.project.list()[0]["healthy"] == false
    });
    let again = windows.up("a");
    assert_eq!(again["healthy"], true);
    assert_eq!(windows.windows(&again), ["shell 0", "one 0", "two 0"]);
    windows.call(&["down", "a"]).success();
    windows.project.assert_nothing();
}

/// tmux itself refuses such a directory. Its owner would receive all variables of the session.
#[test]
fn a_server_of_another_user_is_not_talked_to() {
    if !rustix::process::getuid().is_root() {
        return skip("only root gives a directory away");
    }
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let give = |path: &Path, uid| chown(path, Some(uid), Some(uid)).unwrap();
    let place = windows.dir().join("tmux-0");
    fs::create_dir(&place).unwrap();
    let theirs = UnixListener::bind(place.join("default")).unwrap();
    theirs.set_nonblocking(true).unwrap();
    give(&place, 65534);
    let refused = windows.call(&["up", "a"]).status(1);
    let why = "tmux-0 belongs to user 65534: another user's server may listen there";
    assert!(refused.stderr_text().contains(why), "{refused}");
    assert!(refused.stderr_text().contains("TMUX_TMPDIR"), "{refused}");
    // The directory belongs to the user, but everybody can write to it.
    give(&place, 0);
    let mode = |mode| fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o707);
    let refused = windows.call(&["up", "a"]).status(1);
    let why = "tmux-0 is not a private directory";
    assert!(refused.stderr_text().contains(why), "{refused}");
    windows.project.assert_nothing();
    // The socket of an existing session is now another user's; nothing of the session is on that server.
    mode(0o700);
    fs::remove_file(place.join("default")).unwrap();
    let made = windows.up("a");
    windows.tmux(&["kill-server"]);
    fs::remove_file(place.join("default")).unwrap();
    let later = UnixListener::bind(place.join("default")).unwrap();
    later.set_nonblocking(true).unwrap();
    give(&place, 65534);
    until("the session's processes have ended", || {
        windows.project.list()[0]["healthy"] == false
    });
    windows.call(&["up", "a"]).status(1);
    let elsewhere = windows.project.moat.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let again = windows.call(&["up", "a", "--json"]);
    let again = again.env("TMUX_TMPDIR", &elsewhere).success().json();
    assert_ne!(again["session"]["tmux"], made["session"]["tmux"]);
    let socket = again["session"]["tmux"]["socket"].clone();
    windows.project.edit(&again, |record| {
        record["tmux"]["socket"] = made["session"]["tmux"]["socket"].clone();
    });
    windows
        .call(&["shell", "a"])
        .env("SHELL", "/bin/true")
        .success();
    windows.call(&["down", "a"]).success();
    for listener in [theirs, later] {
        let called = listener.accept().map(|_| ());
        assert_eq!(called.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    let mut end = Command::new("tmux");
    end.args(["-S", socket.as_str().unwrap(), "kill-server"]);
    assert!(end.status().unwrap().success());
    windows.project.assert_nothing();
}

/// git calls moat.
#[test]
fn variables_of_git_reach_no_window() {
    let Some(windows) = Windows::new(&idle()) else {
        return;
    };
    let call = windows.call(&["up", "a", "--json"]);
    let made = call.env("GIT_DIR", "/nonexistent").success().json();
    let target = format!("={}:", name(&made));
    let panes = windows.shown(&["list-panes", "-s", "-t", &target, "-F", "#{pane_pid}"]);
    let one = pid(&made, "one").to_string();
    for pid in panes.lines().chain([&*one]) {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ);
        assert!(!environ.contains("GIT_DIR"), "{pid}: {environ}");
    }
    windows.call(&["down", "a"]).success();
    windows.project.assert_nothing();
}
