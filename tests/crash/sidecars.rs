//! Common parts of the crash tests of services: a place with services, and the checks after the end of their run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::support::{Docker, End, assert_ended, assert_same, is_gone};
use crate::harness::{Moat, Running, skip, until, until_some};

/// The image with the clients of the services.
pub(crate) const CLIENTS: &str = "--image=moat-test/servers:1";

pub(crate) const REDIS: Wanted = Wanted("redis@7", "redis", "image: moat-test/redis:7");
pub(crate) const POSTGRES: Wanted =
    Wanted("postgres@15", "postgres", "image: moat-test/postgres:15");
pub(crate) const TELLER: Wanted = Wanted("teller@1", "teller", "restart: false");
pub(crate) const RESTARTED: Wanted = Wanted("teller@1", "teller", "restart: true");
pub(crate) const OLLAMA: Wanted = Wanted(
    "ollama",
    "ollama",
    "image: moat-test/ollama-stand-in:1, models: [tiny], env: {STANDIN_PULL_SECONDS: \"3\"}",
);

/// A service: its dependency, its name, and its keys.
#[derive(Clone, Copy)]
pub(crate) struct Wanted(&'static str, &'static str, &'static str);

/// A service that prints 50 lines on both streams at each start, 50 more whenever the file `/tmp/more` exists, and 50
/// last lines when the file `/tmp/die` exists, which contains its exit code.
const TELLER_ENTRY: &str = r#"
teller:
  type: service
  description: Tells numbers
  default: "1"
  image: moat-test/busybox:{version}
  ports: {default: 7}
  command: |
    echo start >> /tmp/starts
    told=$(cat /tmp/told 2>/dev/null || echo 0)
    tell() {
      i=$((told + 1)) told=$((told + 50))
      while [ $i -le $told ]; do echo line-$i; echo error-$i >&2; i=$((i + 1)); done
      echo $told > /tmp/told
    }
    tell
    touch /tmp/ready
    while [ ! -e /tmp/die ]; do
      if [ -e /tmp/more ]; then rm /tmp/more; tell; fi
      sleep 0.05
    done
    code=$(cat /tmp/die)
    rm /tmp/die /tmp/ready
    tell
    exit $code
  ready: [test, -e, /tmp/ready]
"#;

/// Returns a place whose runs have these services. `None` skips the test with a note.
pub(crate) fn place(services: &[Wanted]) -> Option<Moat> {
    let moat = Moat::on(Docker)?;
    for image in ["servers:1", "redis:7", "postgres:15", "ollama-stand-in:1"] {
        let image = format!("moat-test/{image}");
        if try_docker(&["image", "inspect", &image]).is_err() {
            skip(&format!("no image {image} (tests/setup images)"));
            return None;
        }
    }
    want(&moat, services);
    let registry = moat.home().join("registry.d");
    fs::create_dir_all(&registry).unwrap();
    fs::write(registry.join("teller.yaml"), TELLER_ENTRY).unwrap();
    Some(moat)
}

/// Writes the moat.yaml of a place.
pub(crate) fn want(moat: &Moat, services: &[Wanted]) {
    let mut text = "dependencies:\n".to_owned();
    for Wanted(dependency, ..) in services {
        text += &format!("  - {dependency}\n");
    }
    text += "services:\n";
    for Wanted(_, name, keys) in services {
        text += &format!("  {name}: {{{keys}}}\n");
    }
    moat.write("moat.yaml", text);
}

/// Starts a background run that stops at a checkpoint.
pub(crate) fn start_until(moat: &Moat, checkpoint: &str, flags: &[&str], script: &str) -> Running {
    let flags = ["-b"].iter().chain(flags);
    let call = moat.run_with(flags, ["sh", "-c", script]);
    call.checkpoint(checkpoint).spawn()
}

/// Releases all processes that wait at a checkpoint, and all that reach one later.
pub(crate) fn open_checkpoints(moat: &Moat) {
    let (checkpoints, opened) = (moat.root().join("checkpoints"), moat.root().join("opened"));
    // Renamed in one step, because a process may be reaching the checkpoint.
    fs::rename(&checkpoints, &opened).unwrap();
    fs::remove_dir_all(&opened).unwrap();
}

/// Enables checkpoints again.
pub(crate) fn close_checkpoints(moat: &Moat) {
    fs::create_dir(moat.root().join("checkpoints")).unwrap();
}

pub(crate) fn handle(id: &str, service: &str) -> String {
    format!("{id}-{service}")
}

/// Makes the teller print 50 more lines.
#[track_caller]
pub(crate) fn tell_more(id: &str) {
    docker(&["exec", &handle(id, "teller"), "touch", "/tmp/more"]);
}

/// Makes the teller print 50 more lines and exit with this code.
#[track_caller]
pub(crate) fn let_die(id: &str, code: u8) {
    let script = format!("echo {code} > /tmp/code; mv /tmp/code /tmp/die");
    docker(&["exec", &handle(id, "teller"), "sh", "-c", &script]);
}

/// Returns the number of starts of the teller.
#[track_caller]
pub(crate) fn starts(id: &str) -> usize {
    let starts = docker(&["exec", &handle(id, "teller"), "cat", "/tmp/starts"]);
    starts.lines().count()
}

/// Returns the state of a service in the record.
#[track_caller]
pub(crate) fn service(moat: &Moat, id: &str, name: &str) -> Value {
    let record = moat.record(id);
    let services = record["services"].as_array().unwrap();
    let found = services.iter().find(|service| service["name"] == name);
    found.unwrap().clone()
}

/// Waits until a service is in a state; returns its part of the record.
#[track_caller]
pub(crate) fn wait_service(moat: &Moat, id: &str, name: &str, state: &str) -> Value {
    until_some(&format!("{name} is {state}"), || {
        Some(service(moat, id, name)).filter(|service| service["state"] == state)
    })
}

#[track_caller]
pub(crate) fn assert_service(moat: &Moat, id: &str, name: &str, state: &str) -> Value {
    let service = service(moat, id, name);
    assert_eq!(service["state"], state, "{service:#}");
    service
}

fn log_path(moat: &Moat, id: &str, name: &str) -> PathBuf {
    moat.run_dir(id).join(format!("services/{name}.jsonl"))
}

/// Returns the lines of one stream of a service's log.
pub(crate) fn told(moat: &Moat, id: &str, name: &str, stream: &str) -> String {
    let log = fs::read_to_string(log_path(moat, id, name)).unwrap_or_default();
    // The last entry may be incomplete.
    let entries = log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = entries.filter(|entry| entry["stream"] == stream);
    lines
        .map(|entry| entry["line"].as_str().unwrap().to_owned() + "\n")
        .collect()
}

/// Waits until the teller's log has this line, on either stream.
#[track_caller]
pub(crate) fn wait_told(moat: &Moat, id: &str, number: u32) {
    for (stream, word) in [("stdout", "line"), ("stderr", "error")] {
        let last = format!("{word}-{number}\n");
        until(&format!("the teller has told {last:?}"), || {
            told(moat, id, "teller", stream).contains(&last)
        });
    }
}

/// Asserts that the teller's log has each of these lines once, and is complete.
#[track_caller]
pub(crate) fn assert_told(moat: &Moat, id: &str, to: u32) {
    let (out, err) = (
        told(moat, id, "teller", "stdout"),
        told(moat, id, "teller", "stderr"),
    );
    assert_same(&crate::harness::support::lines("line-", 1, to), &out);
    assert_same(&crate::harness::support::lines("error-", 1, to), &err);
    let text = fs::read_to_string(log_path(moat, id, "teller")).unwrap();
    assert!(text.ends_with('\n'), "the last entry is whole: {text}");
    let log = &service(moat, id, "teller")["log"];
    assert_eq!(log["complete"], true, "{log}");
}

/// Returns the id and the start time of a service's container.
#[track_caller]
pub(crate) fn identity(id: &str, service: &str) -> String {
    docker(&[
        "inspect",
        "--format",
        "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}",
        &handle(id, service),
    ])
}

/// Returns the anonymous volumes of a place's containers.
pub(crate) fn volumes(moat: &Moat) -> Vec<String> {
    let containers = moat.containers();
    if containers.is_empty() {
        return Vec::new();
    }
    let format = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
    let mut args = vec!["inspect", "--format", format];
    args.extend(containers.iter().map(String::as_str));
    // For a moment the engine lists a new container, but reports it as missing.
    let found = until_some("docker can inspect all containers", || {
        try_docker(&args).ok()
    });
    found.split_whitespace().map(str::to_owned).collect()
}

/// Returns the networks of a place.
pub(crate) fn networks(moat: &Moat) -> Vec<String> {
    let filter = format!("label=moat.home={}", moat.label());
    let listed = docker(&[
        "network",
        "ls",
        "--filter",
        &filter,
        "--format",
        "{{.Name}}",
    ]);
    listed.lines().map(str::to_owned).collect()
}

/// Asserts that nothing is left of any run of the place, in the engine or among the locks.
#[track_caller]
pub(crate) fn assert_nothing(moat: &Moat, volumes: &[String]) {
    assert_eq!(moat.leftovers(), [""; 0]);
    assert_eq!(networks(moat), [""; 0]);
    for volume in volumes {
        let found = try_docker(&["volume", "inspect", volume]);
        assert!(found.is_err(), "the volume {volume} is left");
    }
    let locks = fs::read_dir(moat.home().join("locks"))
        .into_iter()
        .flatten();
    let locks: Vec<_> = locks.flatten().map(|lock| lock.path()).collect();
    assert!(locks.is_empty(), "locks are left: {locks:?}");
}

/// Asserts that the run has settled as expected, at the first attempt, and that nothing is left.
#[track_caller]
pub(crate) fn assert_over(moat: &Moat, id: &str, end: End, volumes: &[String]) -> Value {
    let record = assert_ended(moat, id, end);
    assert_nothing(moat, volumes);
    for service in record["services"].as_array().unwrap() {
        let state = service["state"].as_str().unwrap();
        assert!(
            ["created", "stopped", "failed"].contains(&state),
            "{service:#}"
        );
    }
    record
}

/// Calls the real docker.
#[track_caller]
pub(crate) fn docker(args: &[&str]) -> String {
    try_docker(args).unwrap_or_else(|why| panic!("docker {args:?}: {why}"))
}

/// Returns the standard output of a command, or its standard error if there is none.
pub(crate) fn try_docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(args).output().expect("docker");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Returns the processes that a run's supervisor has started with these words in their arguments.
pub(crate) fn children(supervisor: i32, words: &str) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{supervisor}/task"))
        .into_iter()
        .flatten();
    let children: String = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .collect();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.contains(words) && !is_gone(*pid)
    })
    .collect()
}
