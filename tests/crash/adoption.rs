//! Adoption happens once, continues the output at the exact byte, asks the right engine, and never guesses.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::harness::support::{
    Bwrap, Docker, EXITED_7, adoptions, assert_ended, assert_log, docker_through, kill_supervisor,
    lines, list, on_all, on_docker_and_bwrap, print_lines, settled, wait_for,
};
use crate::harness::{Moat, until};

on_all!(
    one_of_many_adopters_wins,
    the_end_of_the_input_is_noted,
    a_long_last_line_without_a_newline_is_whole,
);

on_docker_and_bwrap!(
    a_torn_last_line_is_repaired,
    a_cut_last_line_is_repaired,
    reading_commands_adopt,
    a_run_that_cannot_be_read_is_destroyed_whole,
);

fn waiter() -> String {
    print_lines(1, 50) + &wait_for("go") + &print_lines(51, 100) + "exit 7"
}

fn abandoned(moat: &Moat) -> String {
    let id = moat.background(&waiter());
    moat.wait_log(&id, "error-50\"");
    kill_supervisor(moat, &id);
    id
}

#[track_caller]
fn assert_whole(moat: &Moat, id: &str) {
    assert_ended(moat, id, EXITED_7);
    assert_log(moat, id, &lines("line-", 1, 100), &lines("error-", 1, 100));
}

fn one_of_many_adopters_wins(moat: &Moat) {
    let id = abandoned(moat);
    let calls: Vec<_> = (0..10).map(|_| moat.args(["list", "-q"]).spawn()).collect();
    for call in calls {
        let done = call.wait();
        assert_eq!((done.code, done.stderr_text().as_str()), (Some(0), ""));
    }
    until("a supervisor has adopted the run", || {
        adoptions(moat, &id) > 0
    });
    moat.write("go", "");
    assert_whole(moat, &id);
    assert_eq!(adoptions(moat, &id), 1);
}

/// The supervisor died in the middle of a write.
fn a_torn_last_line_is_repaired(moat: &Moat) {
    let id = abandoned(moat);
    let log = moat.run_dir(&id).join("logs.jsonl");
    let mut file = OpenOptions::new().append(true).open(log).unwrap();
    let torn = br#"{"ts":"2026-01-01T00:00:00.000000Z","stream":"stdout","line":"line-5"#;
    std::io::Write::write_all(&mut file, torn).unwrap();
    list(moat);
    moat.write("go", "");
    assert_whole(moat, &id);
}

/// The last lines did not reach the disk.
fn a_cut_last_line_is_repaired(moat: &Moat) {
    let id = abandoned(moat);
    let log = moat.run_dir(&id).join("logs.jsonl");
    let file = OpenOptions::new().write(true).open(log).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 700).unwrap();
    list(moat);
    moat.write("go", "");
    assert_whole(moat, &id);
}

/// The output that the dead supervisor had not passed on is lost for the client: moat says so.
fn the_end_of_the_input_is_noted(moat: &Moat) {
    let (input, keep_open) = std::io::pipe().unwrap();
    let call = moat.run_with(["-i", "-b"], ["sh", "-c", "echo ready; cat; exit 7"]);
    let id = call.stdin_from(input).any_stdout().success().stdout_text();
    let id = id.trim();
    moat.wait_log(id, "ready");
    kill_supervisor(moat, id);
    list(moat);
    drop(keep_open);
    assert_ended(moat, id, EXITED_7);
    let log = fs::read_to_string(moat.run_dir(id).join("logs.jsonl")).unwrap();
    assert!(log.contains("the workload's input ended"), "{log}");
}

fn a_long_last_line_without_a_newline_is_whole(moat: &Moat) {
    let half = "x".repeat(100_000);
    moat.write("half", &half);
    let script = format!(
        "cat /workspace/half; {}cat /workspace/half; exit 7",
        wait_for("go")
    );
    let id = moat.background(&script);
    // One piece of 64 KiB is in the log; only the supervisor's memory has the rest of the line.
    moat.wait_log(&id, "xxx");
    kill_supervisor(moat, &id);
    list(moat);
    moat.write("go", "");
    assert_ended(moat, &id, EXITED_7);
    assert_log(moat, &id, &(half.clone() + &half), "");
}

fn reading_commands_adopt(moat: &Moat) {
    for command in ["list", "ps", "status", "inspect", "logs"] {
        let id = moat.background("exec sleep 600");
        kill_supervisor(moat, &id);
        let mut call = moat.args([command]);
        if matches!(command, "inspect" | "logs") {
            call = call.arg(&id);
        }
        call.any_stdout().any_stderr().success();
        until(&format!("{command} adopts"), || adoptions(moat, &id) == 1);
        moat.args(["kill", &id]).any_stdout().success();
        moat.args(["destroy", &id]).any_stdout().success();
    }
}

/// An engine behind a socket of the test's own, which the test can remove.
struct Door {
    path: PathBuf,
}

impl Door {
    fn new(moat: &Moat) -> Door {
        let path = moat.root().join("engine.sock");
        let door = Door { path };
        door.open();
        door
    }

    fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    fn open(&self) {
        let _ = fs::remove_file(&self.path);
        let real = std::env::var("DOCKER_HOST").unwrap_or_default();
        let real = real
            .strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock");
        symlink(real, &self.path).unwrap();
    }

    fn close(&self) {
        fs::remove_file(&self.path).unwrap();
    }

    /// Accepts connections, and never answers.
    fn silent(&self) -> UnixListener {
        let _ = fs::remove_file(&self.path);
        UnixListener::bind(&self.path).unwrap()
    }
}

fn behind_door(moat: &Moat, door: &Door) -> String {
    let flags = ["-b", "--image", crate::harness::IMAGE];
    let call = moat.run_with(flags, ["sh", "-c", &waiter()]);
    let call = call.env("DOCKER_HOST", door.host());
    let id = call.any_stdout().success().stdout_text().trim().to_owned();
    moat.wait_log(&id, "error-50\"");
    kill_supervisor(moat, &id);
    id
}

/// Returns the files of a run, byte for byte.
fn on_disk(moat: &Moat, id: &str) -> Vec<Vec<u8>> {
    ["run.json", "logs.jsonl"]
        .map(|name| fs::read(moat.run_dir(id).join(name)).unwrap())
        .to_vec()
}

/// Waits until no adopting supervisor runs.
fn no_adopter_left(moat: &Moat, id: &str) {
    let adopters = || {
        let found = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            command.contains("__adopt") && command.contains(id)
        });
        found.count()
    };
    until("the adopter has given up", || adopters() == 0);
    assert!(!crate::harness::support::is_owned(moat, id));
}

#[test]
fn an_engine_that_cannot_be_reached_changes_nothing() {
    let Some(moat) = Moat::on(Docker) else { return };
    let door = Door::new(&moat);
    let id = behind_door(&moat, &door);
    door.close();
    let before = on_disk(&moat, &id);
    list(&moat);
    no_adopter_left(&moat, &id);
    assert!(
        on_disk(&moat, &id) == before,
        "the record or the log changed"
    );
    let shown = moat.args(["list"]).any_stdout().success().stdout_text();
    assert!(shown.contains("running"), "{shown}");
    no_adopter_left(&moat, &id);
    door.open();
    list(&moat);
    moat.write("go", "");
    assert_whole(&moat, &id);
}

#[test]
fn an_engine_that_hangs_changes_nothing() {
    let Some(moat) = Moat::on(Docker) else { return };
    let door = Door::new(&moat);
    let id = behind_door(&moat, &door);
    let engine = door.silent();
    let before = on_disk(&moat, &id);
    list(&moat);
    // The adopting supervisor's query, which gets no answer.
    let question = engine.accept().unwrap();
    assert!(
        on_disk(&moat, &id) == before,
        "the record or the log changed"
    );
    drop((question, engine));
    door.close();
    no_adopter_left(&moat, &id);
    assert!(
        on_disk(&moat, &id) == before,
        "the record or the log changed"
    );
    door.open();
    list(&moat);
    moat.write("go", "");
    assert_whole(&moat, &id);
}

/// The adopting supervisor asks the engine that created the container, whatever engine its command would use.
#[test]
fn the_engine_of_the_run_is_asked() {
    let Some(moat) = Moat::on(Docker) else { return };
    let id = abandoned(&moat);
    let call = moat.args(["list", "-q"]);
    let call = call.env("DOCKER_HOST", "unix:///nonexistent/engine.sock");
    call.any_stdout().success();
    until("a supervisor has adopted the run", || {
        adoptions(&moat, &id) == 1
    });
    moat.write("go", "");
    assert_whole(&moat, &id);
}

#[test]
fn the_engine_of_the_run_is_asked_also_where_it_was_named() {
    let Some(moat) = Moat::on(Docker) else { return };
    let door = Door::new(&moat);
    let id = behind_door(&moat, &door);
    list(&moat);
    until("a supervisor has adopted the run", || {
        adoptions(&moat, &id) == 1
    });
    moat.write("go", "");
    assert_whole(&moat, &id);
}

/// A command without docker on its PATH cannot ask; the next command can.
#[test]
fn an_adopter_without_docker_on_its_path_changes_nothing() {
    let Some(moat) = Moat::on(Docker) else { return };
    let id = abandoned(&moat);
    let before = on_disk(&moat, &id);
    let call = moat.args(["list", "-q"]).env("PATH", "/nonexistent");
    call.any_stdout().success();
    no_adopter_left(&moat, &id);
    assert!(
        on_disk(&moat, &id) == before,
        "the record or the log changed"
    );
    list(&moat);
    moat.write("go", "");
    assert_whole(&moat, &id);
}

/// The container was removed while no supervisor lived: the exit code is unknown, and moat does not invent one.
#[test]
fn a_container_that_was_removed_meanwhile_is_lost() {
    let Some(moat) = Moat::on(Docker) else { return };
    let id = abandoned(&moat);
    let removed = std::process::Command::new("docker")
        .args(["rm", "-f", &id])
        .output();
    assert!(removed.unwrap().status.success());
    list(&moat);
    let record = settled(&moat, &id);
    assert_eq!(record["reason"], "lost", "{record:#}");
    assert!(record["exit_code"].is_null(), "{record:#}");
    assert_eq!(record["log"]["complete"], false, "{record:#}");
}

/// A machine that lost power: the sandbox is gone, and so are the last megabytes of the log, which were not yet on
/// the disk. moat reports the gap, and invents nothing.
#[test]
fn what_a_power_loss_took_is_not_made_up() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let id = moat.background(&format!("seq 1 600000; {}", wait_for("never")));
    moat.wait_log(&id, "\"600000\"");
    kill_supervisor(&moat, &id);
    crate::harness::support::kill(crate::harness::support::shim_of(&moat, &id));
    let log = moat.run_dir(&id).join("logs.jsonl");
    let length = fs::metadata(&log).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length / 4)
        .unwrap();
    list(&moat);
    let record = settled(&moat, &id);
    let call = moat.args(["logs", "--raw", "--stdout", &id]).any_stdout();
    let out = call.any_stderr().success().stdout;
    let zeros = out.iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeros, 0, "bytes that the workload never wrote");
    assert_eq!(record["log"]["complete"], false, "{record:#}");
}

/// An engine client of the dead supervisor continues, and creates the container after the next supervisor has cleaned
/// up.
#[test]
fn a_container_that_comes_late_is_found() {
    let Some(moat) = Moat::on(Docker) else { return };
    let mark = moat.root().join("creating");
    let slow = format!(
        "[ \"$1\" != create ] || {{ touch '{}'; sleep 4; }}\nexec docker \"$@\"\n",
        mark.display()
    );
    let moat = docker_through(moat, &slow);
    let client = moat.sh("echo ran").spawn();
    until("the container is about to be made", || mark.exists());
    let id = moat.only_id();
    kill_supervisor(&moat, &id);
    let done = client.wait();
    assert_eq!(done.code, Some(125), "{done}");
    let record = moat.record(&id);
    assert_eq!(record["reason"], "start-error", "{record:#}");
    until("the container is made", || !moat.containers().is_empty());
    // The client may still create the container, so the run is not yet recorded as cleaned up.
    list(&moat);
    settled(&moat, &id);
    assert_eq!(moat.containers(), [""; 0]);
}

/// The disk lost the record: moat finds the resources by their names.
fn a_run_that_cannot_be_read_is_destroyed_whole(moat: &Moat) {
    let id = abandoned(moat);
    fs::write(moat.run_dir(&id).join("run.json"), "").unwrap();
    let call = moat.args(["destroy", "-f", &id]);
    call.stdout(format!("{id}\n")).success();
    assert!(moat.ids().is_empty());
    assert_eq!(moat.leftovers(), [""; 0]);
}
