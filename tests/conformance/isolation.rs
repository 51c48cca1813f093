//! The workload's view of the system, and its rights.

use std::fs;

use crate::harness::{Moat, Runtime};

/// On docker a workload has those of docker's fourteen capabilities that package managers need; on bwrap it has none.
pub(crate) fn capabilities_are_dropped(moat: &Moat) {
    let allowed: u64 = match moat.has_images() {
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID
        true => 0b1111_1011,
        false => 0,
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let found = status_of_workload(moat, set);
        let found = u64::from_str_radix(&found, 16).expect("hexadecimal");
        assert_eq!(found & !allowed, 0, "{set} is {found:x}");
    }
}

pub(crate) fn no_new_privileges(moat: &Moat) {
    assert_eq!(status_of_workload(moat, "NoNewPrivs"), "1");
    assert_ne!(status_of_workload(moat, "Seccomp"), "", "it is said");
}

fn status_of_workload(moat: &Moat, field: &str) -> String {
    let script = format!("sed -n 's/^{field}:[[:space:]]*//p' /proc/self/status");
    let done = moat.sh(&script).any_stdout().success();
    done.stdout_text().trim().to_owned()
}

pub(crate) fn no_network_of_the_host(moat: &Moat) {
    let done = moat
        .sh("readlink /proc/self/ns/net; cat /proc/net/dev")
        .any_stdout()
        .success();
    let out = done.stdout_text();
    let ours = fs::read_link("/proc/self/ns/net").expect("our namespace");
    assert!(!out.contains(ours.to_string_lossy().as_ref()), "{out}");
    if moat.is_on(Runtime::Bwrap) {
        let links: Vec<&str> = out
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim()))
            .filter(|link| !link.starts_with("net"))
            .collect();
        assert_eq!(links, ["lo"], "no network at all: {out}");
    }
}

pub(crate) fn no_processes_of_the_host(moat: &Moat) {
    let done = moat
        .sh("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done")
        .any_stdout()
        .any_stderr()
        .success();
    let out = done.stdout_text();
    assert!(out.lines().count() <= 8, "{out}");
    let own = fs::read_to_string("/proc/self/cmdline").expect("our command");
    let own = own.split('\0').next().unwrap_or_default();
    assert!(!out.contains(own), "{out}");
}

/// Neither the host's runs nor the directory of their records are visible to the workload.
pub(crate) fn nothing_of_moat_is_inside(moat: &Moat) {
    let home = moat.home().display();
    moat.sh(&format!(
        "ls -d {home} 2>/dev/null; env | grep -i moat_; grep -c {home} /proc/self/mountinfo"
    ))
    .stdout("0\n")
    .status(1);
}

pub(crate) fn no_descriptor_leaks(moat: &Moat) {
    // An open directory of the caller would let the workload leave the sandbox.
    let script = r#"exec 7</ 8<"$HOME"; exec "$@""#;
    let call = moat
        .sh("for fd in /proc/self/fd/*; do echo ${fd##*/}; done; test -t 0 || echo no terminal");
    let done = crate::harness::Running::of(call.wrapped(&["bash", "-c", script, "bash"])).wait();
    let out = done.stdout_text();
    let many: Vec<&str> = out
        .lines()
        .filter(|line| !["0", "1", "2", "3", "no terminal"].contains(line))
        .collect();
    assert!(many.is_empty() && done.code == Some(0), "{many:?}: {done}");
}

/// The umask and the ignored signals are not those of the caller.
pub(crate) fn nothing_is_inherited_from_the_caller(moat: &Moat) {
    let script = r#"umask 077; trap '' INT TERM HUP QUIT USR1 USR2 TSTP ALRM PIPE; exec "$@""#;
    // The first 31 signals. The kernel's numbers 32 and 33 belong to the C library.
    let call = moat.sh("umask; while read name mask; do [ $name != SigIgn: ] || echo ${mask#????????}; done </proc/self/status");
    let done = crate::harness::Running::of(call.wrapped(&["bash", "-c", script, "bash"])).wait();
    assert_eq!(done.code, Some(0), "{done}");
    let out = done.stdout_text();
    let (umask, ignored) = out.split_once('\n').expect("two lines");
    assert_eq!(umask, "0022", "{done}");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    // An engine's workloads ignore SIGINT and SIGQUIT if a shell started the engine in the background.
    let of_engine = if moat.has_images() { 0b110 } else { 0 };
    assert_eq!(ignored & 0x7fff_ffff & !of_engine, 0, "{done}");
}

pub(crate) fn host_secrets_are_out_of_reach(moat: &Moat) {
    let script = "cat /etc/shadow; ls /etc/ssh/ssh_host* /root/.ssh /home/*/.ssh; echo x > /etc/passwd; echo x > /usr/x; true";
    if moat.has_images() {
        // The files are the image's, not the host's.
        moat.sh("test ! -e /etc/hostname.host; hostname")
            .any_stdout()
            .success();
        return;
    }
    let done = moat.sh(script).any_stderr().success();
    assert_eq!(done.stdout_text(), "");
    assert!(fs::read_to_string("/etc/passwd").expect("passwd").len() > 10);
    assert!(!std::path::Path::new("/usr/x").exists());
}

/// A mount that contains moat's own directory does not show it.
pub(crate) fn moats_directory_is_out_of_reach(moat: &Moat) {
    let run = |yaml: &str, mount: &str| {
        moat.write("moat.yaml", yaml);
        moat.write("seen", "seen\n");
        let root = moat.root().display();
        let mounts = format!("{root}:{mount}");
        let script = format!(
            "cat {mount}/work/seen; ls -A {mount}/moat; mkdir {mount}/moat/x 2>/dev/null || echo no"
        );
        moat.run_with(["-m", &mounts], ["sh", "-c", &script])
            .stdout("seen\nno\n")
            .success();
    };
    for yaml in ["", "workspace: {mode: volume}\n"] {
        run(yaml, "/host");
        run(yaml, "/workspace/host");
        let _ = std::fs::remove_dir(moat.workspace().join("host"));
    }
    // A mount at the same path stays visible.
    moat.write(
        "moat.yaml",
        "mounts: [{source: .., target: /host, exclude: [moat]}]\n",
    );
    moat.sh("ls -A /host/moat; touch /host/moat/mine").success();
    for source in [moat.home().to_owned(), moat.home().join("runs")] {
        let mount = format!("{}:/x", source.display());
        moat.run_with(["-m", &mount], ["true"])
            .stderr_contains("it is moat's own directory or inside it")
            .status(125);
    }
}
