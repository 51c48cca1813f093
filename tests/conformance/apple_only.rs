//! The particularities of Apple's `container`: its missing features and their messages, its arguments, and moat's
//! substitutes.

use std::time::Duration;

use crate::harness::{IMAGE, Moat, Runtime, Signal, skip, until, until_some};

const WAITING: &str = "echo ready; while [ ! -e /workspace/go ]; do sleep 0.05; done";
const REDIS: &str = "moat-test/redis:7";
const DEBIAN: &str = "moat-test/debian:12";

fn before_0_12(moat: &Moat) -> bool {
    matches!(moat.runtime_of(), Runtime::Apple("0.9.0" | "0.10.0"))
}

/// Returns whether docker has an image; otherwise notes that the test is skipped.
pub(crate) fn has_image(image: &str) -> bool {
    let found = std::process::Command::new("docker")
        .args(["image", "inspect", image])
        .output()
        .is_ok_and(|found| found.status.success());
    if !found {
        skip(&format!("no image {image} (tests/setup images)"));
    }
    found
}

/// Starts a background run, waits until it has printed `ready`, and returns its id. It ends when the file `go`
/// exists.
pub(crate) fn ready(moat: &Moat) -> String {
    let id = moat.background(WAITING);
    moat.wait_log(&id, "ready");
    id
}

pub(crate) fn what_cannot_be_done_is_refused_by_name(moat: &Moat) {
    for (yaml, part) in [
        (
            "volumes: [{name: v, target: /v, type: volume}]\n",
            "'type: volume' does not work on apple",
        ),
        ("container: {pids: 100}\n", "'pids' does not work on apple"),
        (
            "container: {cpus: 0.5}\n",
            "'cpus' must be a whole number on apple",
        ),
        (
            "container: {memory: 64}\n",
            "'memory' must be at least 200 MB on apple",
        ),
    ] {
        moat.write("moat.yaml", format!("name: x\n{yaml}"));
        let done = moat.run(["true"]).any_stderr().status(125);
        let said = done.stderr_text();
        assert!(said.contains(part), "{yaml}{said}");
        assert!(moat.ids().is_empty(), "nothing was made");
    }
    std::fs::remove_file(moat.workspace().join("moat.yaml")).expect("it was there");
    for (flags, part) in [
        (["--cpus", "0.5"], "'cpus' must be a whole number"),
        (["--memory", "64m"], "'memory' must be at least 200 MB"),
    ] {
        moat.run_with(flags, ["true"])
            .stderr_contains(part)
            .status(125);
    }
    let odd = moat.root().join("a:b,c");
    std::fs::create_dir(&odd).expect("a directory");
    moat.run(["true"])
        .cwd(&odd)
        .stderr_contains("container cannot mount")
        .status(125);
    if before_0_12(moat) {
        let file = moat.write("file", "x");
        let mount = format!("{}:/file", file.display());
        moat.run_with(["-m", &mount], ["true"])
            .stderr_contains("cannot mount the file")
            .status(125);
    }
    // Paths that only one of the two options, --volume and --mount, accepts.
    for name in ["with,comma=sign", "with:colon", "with space"] {
        let path = moat.root().join(name);
        std::fs::create_dir(&path).expect("a directory");
        std::fs::write(path.join("f"), name).expect("a file");
        moat.run(["cat", "f"]).cwd(&path).stdout(name).success();
    }
}

pub(crate) fn what_the_client_is_called_with(moat: &Moat) {
    moat.run_with(
        ["-e", "TOKEN=s3cret", "-e", "PATH=/bin:/s3cret"],
        ["sh", "-c", "exit 3"],
    )
    .status(3);
    let calls = moat.apple_calls();
    let create = calls.iter().find(|call| call.starts_with("create "));
    let create = create.expect("it was made");
    for part in [
        "--memory 4294967296",
        "--label moat.home=",
        "--label moat.role=main",
        "--env TOKEN --env-file /dev/stdin",
        "target=/workspace",
    ] {
        assert!(create.contains(part), "{part} in {create}");
    }
    assert_eq!(
        create.contains("--cap-drop ALL"),
        !before_0_12(moat),
        "{create}"
    );
    let has_init = moat.runtime_of() != Runtime::Apple("0.9.0");
    assert_eq!(create.contains("--init"), has_init, "{create}");
    for call in &calls {
        assert!(!call.contains("s3cret"), "{call}");
        assert!(!call.starts_with("wait"), "{call}");
    }
    // The calls of a short run: version, image, create, start, inspect, delete.
    assert!(calls.len() <= 7, "{calls:?}");
}

/// The workload's variables do not appear in the environment of the client.
pub(crate) fn names_that_its_client_obeys(moat: &Moat) {
    let names = [
        "HOME",
        "TMPDIR",
        "CONTAINER_DEBUG",
        "DYLD_INSERT_LIBRARIES",
        "HTTP_PROXY",
        "NO_COLOR",
    ];
    let flags = names
        .iter()
        .flat_map(|name| ["-e".to_owned(), format!("{name}=/nowhere/{name}")]);
    let script: String = names
        .iter()
        .map(|name| format!("echo \"${name}\"; "))
        .collect();
    let expected: String = names
        .iter()
        .map(|name| format!("/nowhere/{name}\n"))
        .collect();
    moat.run_with(flags, ["sh", "-c", &script])
        .stdout(expected)
        .success();
}

fn with_redis(moat: &Moat, more: &str) -> bool {
    moat.write(
        "moat.yaml",
        format!("dependencies: [redis@7]\nservices: {{redis: {{image: \"{REDIS}\"{more}}}}}\n"),
    );
    has_image(REDIS)
}

/// Apple's networks do not resolve names. The workload still finds its services by name, and starts only when they
/// run.
pub(crate) fn services_are_found_by_name(moat: &Moat) {
    if !with_redis(moat, "") {
        return;
    }
    let script =
        "redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null; grep -c redis /etc/hosts; exit 4";
    let mut call = moat.args(["run", "--quiet", "--image", REDIS, "--", "sh", "-c", script]);
    call = call.stdout("PONG\n1\n");
    call.status(4);
    let record = moat.record(&moat.only_id());
    assert_eq!(record["services"][0]["state"], "stopped", "{record:#}");
    assert_eq!(record["reason"], "exited");
    assert!(moat.networks().is_empty());
}

pub(crate) fn a_service_that_is_started_again_is_found(moat: &Moat) {
    if !with_redis(moat, ", restart: true") {
        return;
    }
    let script = "redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null; echo ready; \
        while [ ! -e /workspace/go ]; do sleep 0.05; done; \
        until redis-cli -u \"$MOAT_REDIS_URL\" ping 2>/dev/null; do sleep 0.2; done";
    let id = moat.background_with(["--image", REDIS], script);
    moat.wait_log(&id, "ready");
    moat.apple(&["kill", &format!("{id}-redis")]);
    until_some("started again and ready", || {
        let record = moat.record(&id);
        let service = &record["services"][0];
        (service["restarts"] == 1 && service["state"] == "ready").then_some(())
    });
    moat.write("go", "");
    moat.args(["wait", &id]).success();
    moat.args(["logs", "--stdout", &id])
        .stdout("PONG\nready\nPONG\n")
        .success();
}

pub(crate) fn commands_beside_a_run(moat: &Moat) {
    let id = ready(moat);
    moat.args([
        "exec",
        &id,
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 6",
    ])
    .stdout("out\n")
    .stderr("err\n")
    .status(6);
    moat.args([
        "exec",
        "-e",
        "A=s3cret",
        &id,
        "--",
        "sh",
        "-c",
        "echo $A; pwd",
    ])
    .stdout("s3cret\n/workspace\n")
    .success();
    moat.args(["exec", "-i", &id, "--", "cat"])
        .stdin("through\n")
        .stdout("through\n")
        .success();
    moat.args(["exec", &id, "--", "no-such-program"])
        .any_stderr()
        .status(127);
    // Output that only looks like a message of the client.
    moat.args([
        "exec",
        &id,
        "--",
        "sh",
        "-c",
        "echo 'Error: mine' >&2; exit 1",
    ])
    .stderr("Error: mine\n")
    .status(1);
    let running = moat.args(["exec", &id, "--", "sleep", "1000"]).spawn();
    until("the command runs", || {
        moat.apple_calls()
            .iter()
            .any(|call| call.ends_with("sleep 1000"))
    });
    running.signal(Signal::INT);
    assert_eq!(running.wait().code, Some(130));
    for call in moat.apple_calls() {
        assert!(!call.contains("s3cret"), "{call}");
    }
    moat.write("go", "");
    moat.args(["wait", &id]).success();
}

/// Apple's command line needs a port number of the host, so moat finds a free one.
pub(crate) fn ports_are_published(moat: &Moat) {
    moat.write("moat.yaml", "ports: {web: 8080}\n");
    let id = moat.background("while :; do echo hello | nc -l -p 8080; done");
    let record = moat.wait_state(&id, "running");
    let port = record["ports"][0]["host"].as_u64().expect("a port");
    let port = u16::try_from(port).expect("a port");
    until_some("the published port answers", || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        let mut text = String::new();
        let _ = socket.set_read_timeout(Some(Duration::from_secs(2)));
        std::io::Read::read_to_string(&mut socket, &mut text).ok()?;
        (text == "hello\n").then_some(())
    });
    moat.args(["kill", &id]).any_stdout().success();
    moat.args(["wait", &id]).status(137);
}

/// `stop` by another process: waiting clients wake as soon as the container has ended.
pub(crate) fn stop_wakes_at_once(moat: &Moat) {
    let script =
        "trap 'touch /workspace/ended; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let id = moat.background(script);
    moat.wait_log(&id, "ready");
    let waiter = moat.args(["wait", &id]).spawn();
    moat.args(["stop", &id]).any_stdout().success();
    let done = waiter.wait();
    let file = std::fs::metadata(moat.workspace().join("ended")).expect("it noted its end");
    let lag = file
        .modified()
        .expect("a time")
        .elapsed()
        .unwrap_or_default();
    assert_eq!(done.code, Some(5), "{done}");
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into())
    );
    // On an idle machine this takes less than one second.
    assert!(lag < Duration::from_secs(4), "{lag:?}");
}

/// No client received the exit code and the output. moat reports that, and the time since when. The run is then
/// cleaned up.
pub(crate) fn a_run_that_lost_its_supervisor(moat: &Moat) {
    let script = "echo before; echo ready; while [ ! -e /workspace/go ]; do sleep 0.05; done; echo after; exit 7";
    let id = moat.background(script);
    moat.wait_log(&id, "ready");
    kill_supervisor(moat, &id);
    let waiter = moat.args(["wait", &id]).spawn();
    until("the log reports the lost client", || {
        let log = std::fs::read_to_string(moat.run_dir(&id).join("logs.jsonl"));
        log.is_ok_and(|log| log.contains("no client read"))
            || std::fs::read_to_string(moat.run_dir(&id).join("supervisor.log"))
                .is_ok_and(|diary| diary.contains("no client read"))
    });
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    let code = waiter.wait().code;
    assert!(
        code.is_some_and(|code| code != 0),
        "an unknown end is no success: {code:?}"
    );
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"failed".into(), &"lost".into())
    );
    assert!(record["exit_code"].is_null());
    let error = record["error"].as_str().expect("it says why");
    assert!(error.contains("exit code is unknown"), "{error}");
    assert_eq!(record["log"]["complete"], false);
    let since = record["log"]["missing_since"].as_str().expect("since when");
    assert!(
        since >= record["started_at"].as_str().expect("when"),
        "{record:#}"
    );
    let logs = moat.args(["logs", &id]).any_stderr().any_stdout().success();
    assert_eq!(
        logs.stdout_text(),
        "before\nready\n",
        "each line appears once, and no line was lost"
    );
    let all = std::fs::read_to_string(moat.run_dir(&id).join("logs.jsonl")).expect("the log");
    assert!(all.contains("output since"), "{all}");
    // The same for a run that another process stops.
    std::fs::remove_file(moat.workspace().join("go")).expect("it was there");
    let id = ready(moat);
    kill_supervisor(moat, &id);
    moat.args(["stop", "--time", "1", &id])
        .any_stdout()
        .success();
    moat.args(["wait", &id]).any_stderr().run();
    let record = moat.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"]),
        (&"stopped".into(), &"user-stop".into())
    );
}

pub(crate) fn kill_supervisor(moat: &Moat, id: &str) {
    let text = std::fs::read_to_string(moat.run_dir(id).join("owner.lock")).expect("an owner");
    let owner: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let pid = owner["pid"].as_i64().expect("a pid");
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
    until("the process has ended", || {
        rustix::process::test_kill_process(pid).is_err()
    });
}

pub(crate) fn an_orphan_is_found_by_its_label(moat: &Moat) {
    std::fs::create_dir_all(moat.home()).expect("MOAT_HOME");
    let label = format!("moat.home={}", moat.label());
    let run = "moat.run=run_0123456789ab";
    let made = moat.apple(&[
        "create", "--name", "orphan", "--label", &label, "--label", run, IMAGE,
    ]);
    assert!(made.contains("orphan"), "{made}");
    moat.apple(&["create", "--name", "foreign", "--label", run, IMAGE]);
    moat.apple(&[
        "network", "create", "--label", &label, "--label", run, "orphans",
    ]);
    let done = moat.args(["clean", "--force"]).any_stdout().success();
    let text = done.stdout_text();
    assert!(text.contains("container  orphan (apple)"), "{text}");
    assert!(text.contains("network    orphans (apple)"), "{text}");
    assert!(!text.contains("foreign"), "{text}");
    let left = moat.apple(&["list", "--all", "--quiet"]);
    assert_eq!(left, "foreign\n");
}

/// The client's own messages are not the workload's output.
pub(crate) fn its_own_words_are_no_output(moat: &Moat) {
    moat.apple_fault(r#"{"match":["start"],"when":"before","do":"port-busy"}"#);
    let done = moat.run(["echo", "never"]).any_stderr().status(125);
    assert!(
        done.stderr_text().contains("Address already in use"),
        "{done}"
    );
    let id = moat.only_id();
    assert_eq!(moat.record(&id)["reason"], "start-error");
    moat.args(["logs", &id]).success();
}

/// The same text from a workload is the workload's output.
pub(crate) fn what_a_workload_says_is_its_own(moat: &Moat) {
    let script = "echo out; echo 'Error: no space left' >&2; exit 1";
    moat.sh(script)
        .stdout("out\n")
        .stderr("Error: no space left\n")
        .status(1);
    let record = moat.record(&moat.only_id());
    assert_eq!(
        (&record["reason"], &record["exit_code"]),
        (&"exited".into(), &1.into())
    );
    assert_eq!(record["log"]["complete"], true, "{record:#}");
}

/// An image whose package manager does nothing, so that the build needs no network.
struct Base(String);

impl Base {
    fn new(moat: &Moat) -> Base {
        let mark = moat.root().file_name().expect("a name").to_string_lossy();
        let name = format!("moat-test/base-{}:1", mark.to_lowercase());
        let apt = "/usr/local/bin/apt-get";
        let text = format!("FROM {DEBIAN}\nRUN printf '#!/bin/sh\\n' >{apt} && chmod +x {apt}\n");
        let dir = moat.root().join("base");
        std::fs::create_dir(&dir).expect("a context");
        std::fs::write(dir.join("Dockerfile"), text).expect("a Dockerfile");
        let built = std::process::Command::new("docker")
            .args(["build", "--quiet", "--tag", &name])
            .arg(&dir)
            .output()
            .expect("docker");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{said}");
        Base(name)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let remove = ["image", "rm", "--force", &self.0];
        let _ = std::process::Command::new("docker").args(remove).output();
    }
}

/// The builder rejects a Dockerfile of 16 KiB: long steps become files of the build context.
pub(crate) fn a_build_with_a_large_dockerfile(moat: &Moat) {
    if !has_image(DEBIAN) {
        return;
    }
    let base = Base::new(moat);
    let tools: Vec<String> = (0..250)
        .map(|number| format!("own-tool-{number}"))
        .collect();
    let entry = |tool: &String| {
        format!(
            "{tool}:\n  description: x\n  type: custom\n  script: echo {tool} >>/usr/local/share/own\n"
        )
    };
    let entries: String = tools.iter().map(entry).collect();
    std::fs::create_dir_all(moat.home().join("registry.d")).expect("registry.d");
    std::fs::write(moat.home().join("registry.d/own.yaml"), entries).expect("the entries");
    let yaml = format!(
        "base_image: {}\ndependencies: [{}]\n",
        base.0,
        tools.join(", ")
    );
    moat.write("moat.yaml", yaml);
    moat.args([
        "run",
        "--quiet",
        "--",
        "sh",
        "-c",
        "wc -l </usr/local/share/own",
    ])
    .deadline(Duration::from_secs(300))
    .stdout("250\n")
    .success();
    let dockerfile = moat.run_dir(&moat.only_id()).join("Dockerfile");
    let size = std::fs::metadata(dockerfile).expect("the Dockerfile").len();
    assert!(size > 16 * 1024, "it is too large for the builder: {size}");
    let calls = moat.apple_calls();
    let build = calls
        .iter()
        .find(|call| call.starts_with("build "))
        .expect("it was built");
    let home = moat.user_home();
    assert!(
        build.contains(&format!("{}/.moat-builds/", home.display())),
        "{build}"
    );
    assert!(!home.join(".moat-builds").exists(), "it is removed");
}

/// The builder vanished once: moat starts it again and repeats the build.
pub(crate) fn a_builder_that_goes_away(moat: &Moat) {
    moat.apple_fault(r#"{"match":["build"],"count":1,"do":"transport-inactive"}"#);
    moat.write(
        "moat.yaml",
        format!("base_image: {IMAGE}\nhooks: {{post_build_root: 'echo built >/built'}}\n"),
    );
    moat.args(["run", "--quiet", "--", "cat", "/built"])
        .deadline(Duration::from_secs(120))
        .stdout("built\n")
        .success();
    let calls = moat.apple_calls();
    let of = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    assert_eq!((of("build "), of("builder start")), (2, 1), "{calls:?}");
}

/// A running builder gets the name servers of the build.
pub(crate) fn a_builder_that_runs_has_the_name_servers(moat: &Moat) {
    moat.apple(&["builder", "start"]);
    let names = |moat: &Moat| moat.apple(&["exec", "buildkit", "cat", "/etc/resolv.conf"]);
    assert!(!names(moat).contains("192.0.2.53"), "not yet");
    let yaml = "container: {dns: [192.0.2.53, 192.0.2.54]}\nhooks: {post_build_root: 'echo built >/built'}\n";
    moat.write("moat.yaml", format!("base_image: {IMAGE}\n{yaml}"));
    moat.args(["run", "--quiet", "--", "cat", "/built"])
        .deadline(Duration::from_secs(120))
        .stdout("built\n")
        .success();
    let found = names(moat);
    for server in ["nameserver 192.0.2.53\n", "nameserver 192.0.2.54\n"] {
        assert!(found.contains(server), "{found}");
    }
    let calls = moat.apple_calls();
    let of = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    // Only the test's own builder: other processes may be building, too.
    assert_eq!(
        (of("builder start"), of("builder delete")),
        (1, 0),
        "{calls:?}"
    );
    // The same for a builder that does not run.
    moat.apple(&["builder", "delete", "--force"]);
    moat.args(["run", "--quiet", "--rebuild", "--", "cat", "/built"])
        .deadline(Duration::from_secs(120))
        .stdout("built\n")
        .success();
    assert!(names(moat).contains("nameserver 192.0.2.53"));
}

/// The image exists only at the second attempt. The copy of the workspace is made then, without files of an earlier
/// attempt.
pub(crate) fn a_copy_that_is_made_twice(moat: &Moat) {
    moat.write("moat.yaml", "workspace: {mode: volume}\n");
    moat.write("early", "");
    moat.apple(&["image", "delete", IMAGE]);
    moat.apple_fault(r#"{"match":["image","pull"],"count":1,"do":"delay","ms":2000}"#);
    let running = moat.run(["ls"]).any_stderr().stdout("moat.yaml\n").spawn();
    until("the image is got", || {
        let calls = moat.apple_calls();
        calls.iter().any(|call| call.starts_with("image pull"))
    });
    std::fs::remove_file(moat.workspace().join("early")).expect("it was there");
    let done = running.wait();
    assert_eq!(
        (done.code, done.stdout_text()),
        (Some(0), "moat.yaml\n".to_owned()),
        "{done}"
    );
}

/// Older releases mount in the order of the arguments.
pub(crate) fn what_is_inside_comes_after_what_is_outside(moat: &Moat) {
    if rustix::process::geteuid().is_root() {
        // A user other than root has a home in memory, which may contain mounts.
        std::os::unix::fs::chown(moat.workspace(), Some(1234), Some(1235)).expect("root");
    }
    for name in ["config", "config/inner", "odd,name"] {
        std::fs::create_dir(moat.root().join(name)).expect("a directory");
    }
    for (name, text) in [
        ("config/f", "f\n"),
        ("config/inner/g", "g\n"),
        ("odd,name/o", "o\n"),
    ] {
        std::fs::write(moat.root().join(name), text).expect("a file");
    }
    let config = moat.root().join("config");
    let (inside, deeper) = (
        format!("{}:/home/moatuser/.config", config.display()),
        format!("{}/inner:/home/moatuser/.config/inner:ro", config.display()),
    );
    let script = "cd && touch own && cat .config/f .config/inner/g";
    moat.run_with(["-m", &deeper, "-m", &inside], ["sh", "-c", script])
        .stdout("f\ng\n")
        .success();
    // Before 0.12 the option for a path with a comma is created before the mount of the home, so moat refuses this
    // mount.
    let odd = format!("{}/odd,name:/home/moatuser/.odd", moat.root().display());
    let call = moat.run_with(["-m", &odd], ["cat", "/home/moatuser/.odd/o"]);
    match before_0_12(moat) {
        true => call
            .stderr_contains("cannot mount /home/moatuser/.odd inside /home/moatuser")
            .status(125),
        false => call.stdout("o\n").success(),
    };
}

/// In 1.2.2 the file would replace the whole directory, as was reported.
pub(crate) fn files_inside_directories_are_refused(moat: &Moat) {
    let file = moat.write("one", "one\n");
    let dir = moat.root().join("dir");
    std::fs::create_dir(&dir).expect("a directory");
    let (file, dir) = (file.display(), dir.display());
    for mounts in [
        vec![format!("{file}:/workspace/sub/one:ro")],
        vec![format!("{dir}:/data"), format!("{file}:/data/one")],
    ] {
        let flags = mounts.iter().flat_map(|mount| ["-m", mount]);
        let said = moat.run_with(flags, ["true"]).any_stderr().status(125);
        let said = said.stderr_text();
        assert!(said.contains("cannot mount a file at /"), "{said}");
        assert!(said.contains("mount the directory of the file"), "{said}");
    }
    let yaml = format!("mounts: [\"{file}:/workspace/one:ro\"]\n");
    moat.write("moat.yaml", yaml);
    moat.run(["true"])
        .stderr_contains("moat.yaml:1:10: cannot mount a file at /workspace/one on apple")
        .status(125);
    assert!(moat.ids().is_empty(), "nothing was made");
}
