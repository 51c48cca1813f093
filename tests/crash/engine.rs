//! A docker engine of the test's own, which the test may kill. It has its own network namespace, so that it cannot
//! touch the network of the shared engine.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::support::{is_gone, kill, signal};
use crate::harness::{IMAGE, Moat, Signal, TempDir, skip, until};
use rustix::process::{Pid, kill_process};

pub(crate) struct Engine {
    root: TempDir,
    flags: &'static [&'static str],
    dockerd: Option<Child>,
}

impl Engine {
    /// Returns `None`, with a note, if such an engine cannot run here.
    pub(crate) fn start(flags: &'static [&'static str]) -> Option<Engine> {
        if !rustix::process::geteuid().is_root() {
            skip("an engine of one's own needs root");
            return None;
        }
        for program in ["dockerd", "unshare", "docker"] {
            let found = Command::new(program).arg("--version").output();
            if found.is_err() {
                skip(&format!("there is no '{program}' on PATH"));
                return None;
            }
        }
        if let Err(why) = crate::harness::Runtime::Docker.available() {
            skip(&format!("nowhere to take the image from: {why}"));
            return None;
        }
        let mut engine = Engine {
            root: TempDir::new(),
            flags,
            dockerd: None,
        };
        if let Err(why) = engine.try_up() {
            skip(&why);
            return None;
        }
        engine.load_image();
        Some(engine)
    }

    /// Returns a place whose runs use this engine.
    pub(crate) fn place(&self) -> Moat {
        // Without a runtime: the harness looks for containers only in the shared engine.
        Moat::new()
            .env("MOAT_RUNTIME", "docker")
            .env("DOCKER_HOST", self.host())
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("d.sock").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Starts the engine, or starts it again, and waits until it answers.
    #[track_caller]
    pub(crate) fn up(&mut self) {
        self.try_up().unwrap();
    }

    fn try_up(&mut self) -> Result<(), String> {
        // Files of a killed engine, whose pid may belong to another process by now.
        for stale in ["pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.path(stale));
        }
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new("unshare");
        command.args(["-n", "dockerd", "--iptables=false", "--bridge=none"]);
        command.arg("--data-root").arg(self.path("data"));
        command.arg("--exec-root").arg(self.path("exec"));
        command.arg("--pidfile").arg(self.path("pid"));
        command.args(["-H", &self.host()]).args(self.flags);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        // unshare becomes dockerd, with the same pid.
        self.dockerd = Some(command.spawn().map_err(|error| error.to_string())?);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !self.docker(&["version"]).status.success() {
            let ended = self.dockerd.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || std::time::Instant::now() > deadline {
                let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Err(format!("an engine of one's own does not start: {last}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }

    fn load_image(&self) {
        let archive = self.path("image.tar");
        let save = Command::new("docker")
            .args(["save", "-o"])
            .arg(&archive)
            .arg(IMAGE)
            .output();
        assert!(save.unwrap().status.success(), "docker save {IMAGE}");
        assert!(
            self.docker(&["load", "-i", archive.to_str().unwrap()])
                .status
                .success()
        );
    }

    pub(crate) fn docker(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new("docker");
        command
            .arg("-H")
            .arg(self.host())
            .args(args)
            .env_remove("DOCKER_HOST");
        command.output().unwrap()
    }

    fn dockerd_pid(&self) -> i32 {
        i32::try_from(self.dockerd.as_ref().unwrap().id()).unwrap()
    }

    /// Returns the pid of this engine's containerd, a child of dockerd.
    fn containerd_pid(&self) -> i32 {
        let text = fs::read_to_string(self.path("exec/containerd/containerd.pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// kill -9 of dockerd. Its containerd dies too, because dockerd asked the kernel for that; the containers
    /// continue.
    pub(crate) fn kill_dockerd(&mut self) {
        let containerd = self.containerd_pid();
        kill(self.dockerd_pid());
        self.reap();
        until("the engine's containerd has ended", || is_gone(containerd));
    }

    pub(crate) fn kill_containerd(&mut self) {
        kill(self.containerd_pid());
    }

    /// kill -9 of both, containerd first; the containers continue.
    pub(crate) fn kill_both(&mut self) {
        self.kill_containerd();
        kill(self.dockerd_pid());
        self.reap();
        // dockerd may have started another containerd meanwhile, which dies with dockerd.
        until("the engine's containerd has ended", || {
            !self.has_containerd()
        });
    }

    /// Whether this engine's containerd runs.
    pub(crate) fn has_containerd(&self) -> bool {
        self.processes().iter().any(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.starts_with(b"containerd\0")
        })
    }

    /// Ends the engine as a service manager does.
    pub(crate) fn terminate(&mut self) {
        signal(self.dockerd_pid(), Signal::TERM);
        let pid = self.dockerd_pid();
        until("dockerd ends", || is_gone(pid));
        self.reap();
    }

    fn reap(&mut self) {
        let _ = self.dockerd.take().unwrap().wait();
    }

    /// Returns the processes of this engine alone: their arguments contain its directory.
    fn processes(&self) -> Vec<i32> {
        let name = self.root.path().file_name().unwrap().to_str().unwrap();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != i32::try_from(std::process::id()).unwrap())
            .filter(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&command).contains(name)
            })
            .collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(dockerd) = &mut self.dockerd
            && matches!(dockerd.try_wait(), Ok(None))
        {
            for id in String::from_utf8_lossy(&self.docker(&["ps", "-aq"]).stdout).lines() {
                self.docker(&["rm", "-f", id]);
            }
            let pid = Pid::from_raw(self.dockerd_pid()).unwrap();
            let _ = kill_process(pid, Signal::TERM);
            self.reap();
        }
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        let root = self.root.path().to_str().unwrap().to_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounted = mounts
            .lines()
            .rev()
            .filter_map(|line| line.split(' ').nth(1));
        for path in mounted.filter(|path| path.starts_with(&root)) {
            let _ = Command::new("umount").args(["-l", path]).output();
        }
    }
}
