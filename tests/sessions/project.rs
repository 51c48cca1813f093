//! A repository with a moat.yaml, and helpers for the sessions of a test.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Call, Done, Moat, Ports, Running};

/// A server that sends the content of the file `page` in its directory.
pub(crate) const SERVER: &str = r#"exec perl -MIO::Socket::INET -e '$s=IO::Socket::INET->new(LocalAddr=>"127.0.0.1",LocalPort=>$ENV{PORT},Listen=>9,ReuseAddr=>1) or die "no port $ENV{PORT}\n"; print "listening\n"; while($c=$s->accept){<$c>; open(F,"page"); print $c <F>; close F; close $c}'"#;

/// A process that does nothing and never ends.
pub(crate) const IDLE: &str = "exec sleep 1000";

/// A repository in the workspace of a [`Moat`].
pub(crate) struct Project {
    pub(crate) moat: Moat,
    pub(crate) repo: PathBuf,
    /// The first of fifty ports that no other test uses.
    pub(crate) base: u16,
    /// Released after `moat` is dropped.
    _ports: Ports,
}

impl Project {
    /// Creates a repository with one commit and this `session:`, in which BASE stands for a port.
    pub(crate) fn new(session: &str) -> Project {
        Project::at(Moat::new(), session)
    }

    pub(crate) fn at(moat: Moat, session: &str) -> Project {
        let ports = Ports::claim();
        let project = Project {
            repo: moat.workspace(),
            base: ports.base(),
            moat,
            _ports: ports,
        };
        init(&project.moat, &project.repo);
        project.configure(session);
        project.commit("page", "main\n");
        project
    }

    pub(crate) fn configure(&self, session: &str) {
        let session = session.replace("BASE", &self.base.to_string());
        fs::write(
            self.repo.join("moat.yaml"),
            format!("session:\n{session}\n"),
        )
        .unwrap();
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.moat, &self.repo, args)
    }

    pub(crate) fn commit(&self, file: &str, text: &str) {
        fs::write(self.repo.join(file), text).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", file]);
    }

    /// A call of moat whose output the test checks itself.
    pub(crate) fn call(&self, args: &[&str]) -> Call<'_> {
        self.moat.args(args).any_stdout().any_stderr()
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Done {
        self.call(args).success()
    }

    /// Runs a command with `--json`. It must print one JSON document and nothing else.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.call(args).arg("--json").stderr("").success().json()
    }

    #[track_caller]
    pub(crate) fn up(&self, branch: &str) -> Value {
        self.json(&["up", branch])
    }

    /// Brings up several sessions in parallel, and calls `meanwhile` repeatedly until all have finished.
    #[track_caller]
    pub(crate) fn up_at_once(&self, branches: &[&str], mut meanwhile: impl FnMut()) -> Vec<Value> {
        let start = |branch: &&str| self.moat.args(["up", branch, "--json"]).spawn();
        let mut ups: Vec<Running> = branches.iter().map(start).collect();
        while ups.iter_mut().any(Running::is_running) {
            meanwhile();
        }
        let end = |up: Running| {
            let done = up.wait();
            assert_eq!(done.code, Some(0), "{done}");
            done.json()
        };
        ups.into_iter().map(end).collect()
    }

    /// Returns the record of a session as it is on disk.
    pub(crate) fn record(&self, made: &Value) -> Value {
        serde_json::from_slice(&fs::read(self.record_path(made)).unwrap()).unwrap()
    }

    pub(crate) fn edit(&self, made: &Value, change: impl FnOnce(&mut Value)) {
        let mut record = self.record(made);
        change(&mut record);
        fs::write(self.record_path(made), record.to_string()).unwrap();
    }

    fn record_path(&self, made: &Value) -> PathBuf {
        let key = made["session"]["key"].as_str().unwrap();
        self.moat.home().join(format!("sessions/{key}.json"))
    }

    /// Removes the record and the lock of a session during an operation, which moat's own commands cannot do.
    pub(crate) fn lose(&self, made: &Value) {
        let path = self.record_path(made);
        fs::remove_file(path.with_extension("lock")).unwrap();
        fs::remove_file(path).unwrap();
    }

    /// Puts a script in front of a program; REAL in the script stands for the program. Returns the PATH that finds
    /// the script first.
    pub(crate) fn stand_in(&self, program: &str, script: &str) -> String {
        let path = self.moat.path_text();
        let mut found = std::env::split_paths(&path).map(|dir| dir.join(program));
        let real = found.find(|file| file.exists()).expect(program);
        let dir = self.moat.root().join("stand-ins");
        fs::create_dir_all(&dir).unwrap();
        let script = script.replace("REAL", real.to_str().unwrap());
        fs::write(dir.join(program), format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.join(program), mode).unwrap();
        format!("{}:{path}", dir.display())
    }

    pub(crate) fn list(&self) -> Vec<Value> {
        self.json(&["wt", "list"]).as_array().unwrap().clone()
    }

    /// Fails if anything of a session is left, except the branch in git.
    #[track_caller]
    pub(crate) fn assert_nothing(&self) {
        assert_eq!(self.list(), Vec::<Value>::new());
        let left: Vec<_> = fs::read_dir(self.moat.home().join("sessions"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let trees = self.git(&["worktree", "list", "--porcelain"]);
        assert_eq!(trees.matches("worktree ").count(), 1, "{trees}");
        let left = fs::read_dir(self.moat.home().join("worktrees"))
            .into_iter()
            .flatten()
            .count();
        assert_eq!(left, 0, "a worktree is left");
        let processes = self.moat.leftovers();
        assert!(processes.is_empty(), "{processes:?}");
    }
}

pub(crate) fn init(moat: &Moat, repo: &Path) {
    fs::create_dir_all(repo).unwrap();
    git(moat, repo, &["init", "--quiet", "--initial-branch", "main"]);
    git(moat, repo, &["config", "user.name", "test"]);
    git(moat, repo, &["config", "user.email", "test@localhost"]);
}

/// Creates another repository in the same workspace, with the same moat.yaml and its own page.
pub(crate) fn another(project: &Project, name: &str) -> PathBuf {
    let (moat, repo) = (&project.moat, project.moat.root().join(name));
    init(moat, &repo);
    fs::copy(project.repo.join("moat.yaml"), repo.join("moat.yaml")).unwrap();
    fs::write(repo.join("page"), format!("{name}\n")).unwrap();
    git(moat, &repo, &["add", "--all"]);
    git(moat, &repo, &["commit", "--quiet", "--message", name]);
    repo
}

#[track_caller]
pub(crate) fn git(moat: &Moat, dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(args)
        .env("HOME", moat.user_home())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the page that the [`SERVER`] on this port sends.
#[track_caller]
pub(crate) fn page(port: u64) -> String {
    let port = u16::try_from(port).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.write_all(b"GET\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.trim().to_owned()
}

/// Returns the path of a session's worktree.
pub(crate) fn tree(document: &Value) -> PathBuf {
    PathBuf::from(document["session"]["worktree"]["path"].as_str().unwrap())
}

/// Returns the port of the process `web`.
pub(crate) fn web(document: &Value) -> u64 {
    let ports = document["session"]["ports"].as_array().unwrap();
    let web = ports
        .iter()
        .find(|port| port["name"] == "web" && port["primary"] == true);
    web.unwrap()["port"].as_u64().unwrap()
}

/// Returns the pid of a process.
pub(crate) fn pid(document: &Value, name: &str) -> u64 {
    let processes = document["processes"].as_array().unwrap();
    let process = processes.iter().find(|process| process["name"] == name);
    process.unwrap()["pid"].as_u64().expect("it runs")
}

/// Returns docker's proxy processes that listen on a port for a container. Empty if moat may not see them.
pub(crate) fn proxies(port: u64) -> Vec<String> {
    let pattern = format!("docker-proxy .*-host-port {port} ");
    let found = Command::new("pgrep").args(["-f", &pattern]).output();
    let text = String::from_utf8(found.unwrap().stdout).unwrap();
    match rustix::process::getuid().is_root() {
        true => text.lines().map(str::to_owned).collect(),
        false => Vec::new(),
    }
}

/// Returns whether other programs keep the machine so busy that measured times mean little.
pub(crate) fn is_busy() -> bool {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok());
    load.unwrap_or(0.0) > std::thread::available_parallelism().map_or(1.0, |all| all.get() as f64)
}

/// The `session:` of a server, and of a process without a port.
pub(crate) fn two() -> String {
    format!(
        "  search_range: 1\n  processes:\n    web: {{command: {}, port: BASE, port_env: PORT}}\n    idle: {{command: {IDLE}}}\n",
        serde_json::to_string(SERVER).unwrap()
    )
}

/// The `session:` of a server alone.
pub(crate) fn server() -> String {
    format!(
        "  search_range: 1\n  processes:\n    web: {{command: {}, port: BASE, port_env: PORT}}\n",
        serde_json::to_string(SERVER).unwrap()
    )
}
