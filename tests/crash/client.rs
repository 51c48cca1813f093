//! SIGKILL of the client, of its process group, or of its terminal changes nothing for the run.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::support::{
    EXITED_7, assert_ended, assert_log, lines, on_all, on_docker_and_bwrap, print_lines, settled,
    wait_for,
};
use crate::harness::{Moat, Running, Signal, until, until_some};

on_all!(killed_while_running, terminal_closed);

on_docker_and_bwrap!(
    just_after_spawn,
    before_started,
    group_killed_while_running,
    hung_up_while_running,
    killed_in_heavy_output,
    background_and_group_killed,
);

const SCRIPT_LINES: u32 = 50;

fn script() -> String {
    print_lines(1, SCRIPT_LINES) + &wait_for("go") + &print_lines(SCRIPT_LINES + 1, 100) + "exit 7"
}

#[track_caller]
fn assert_untouched(moat: &Moat, id: &str) {
    assert_ended(moat, id, EXITED_7);
    assert_log(moat, id, &lines("line-", 1, 100), &lines("error-", 1, 100));
    assert_eq!(
        crate::harness::support::adoptions(moat, id),
        0,
        "it kept its supervisor"
    );
}

/// At each of these moments there is either no run at all, or a run that continues to its end.
fn just_after_spawn(moat: &Moat) {
    let delays = [0, 1, 2, 3, 5, 8, 12, 20, 40].map(Duration::from_millis);
    for delay in delays {
        let before = moat.ids();
        let mut client = moat.sh("echo out; exit 7").spawn();
        let kill_at = Instant::now() + delay;
        until("the time to kill the client has come", || {
            Instant::now() >= kill_at
        });
        client.kill();
        let left = moat.leftovers();
        assert!(left.is_empty(), "killed after {delay:?}, it left {left:?}");
        for id in moat.ids().iter().filter(|id| !before.contains(id)) {
            let record = settled(moat, id);
            assert_eq!(record["exit_code"], 7, "killed after {delay:?}: {record:#}");
            assert_log(moat, id, "out\n", "");
        }
    }
}

fn before_started(moat: &Moat) {
    for point in ["reserved", "before-start"] {
        let mut client = moat.sh("echo out; exit 7").checkpoint(point).spawn();
        moat.wait_checkpoint(point);
        client.kill();
        moat.release_checkpoint(point);
        // No client announces the run, and none reads its output: the run must wait for neither.
        let id = moat.only_id();
        assert_ended(moat, &id, EXITED_7);
        assert_log(moat, &id, "out\n", "");
        moat.args(["destroy", &id]).any_stdout().success();
    }
}

/// The run is lost while a client waits for its stop: the client says so.
#[test]
fn what_goes_wrong_after_an_interrupt_is_said() {
    let Some(moat) = Moat::on(crate::harness::support::Bwrap) else {
        return;
    };
    let call = moat.args(["run", "--", "true"]).checkpoint("reserved");
    let client = call.spawn();
    let supervisor = moat.wait_checkpoint("reserved");
    client.signal(Signal::INT);
    client.wait_stderr("Stopping the run");
    std::fs::remove_dir_all(moat.run_dir(&moat.only_id())).unwrap();
    crate::harness::support::kill(supervisor);
    let done = client.wait();
    assert_eq!(done.code, Some(130), "{done}");
    assert!(done.stderr_text().contains("error: "), "{done}");
    std::fs::remove_dir_all(moat.home()).unwrap();
}

fn running(moat: &Moat) -> (Running, String) {
    let client = moat.sh(&script()).spawn();
    client.wait_stdout("line-50\n");
    (client, moat.only_id())
}

fn killed_while_running(moat: &Moat) {
    let (mut client, id) = running(moat);
    client.kill();
    moat.write("go", "");
    assert_untouched(moat, &id);
}

fn group_killed_while_running(moat: &Moat) {
    let (client, id) = running(moat);
    client.signal_group(Signal::KILL);
    moat.write("go", "");
    assert_untouched(moat, &id);
}

fn hung_up_while_running(moat: &Moat) {
    let (mut client, id) = running(moat);
    client.signal_group(Signal::HUP);
    until("the client obeys", || !client.is_running());
    assert_eq!(moat.record(&id)["state"], "running");
    moat.write("go", "");
    let done = client.wait();
    assert_eq!(done.signal, Some(1), "{done}");
    assert_untouched(moat, &id);
}

fn killed_in_heavy_output(moat: &Moat) {
    let mut client = moat.sh("seq 1 300000; exit 7").spawn();
    client.wait_stdout("\n20000\n");
    client.kill();
    let id = moat.only_id();
    assert_ended(moat, &id, EXITED_7);
    assert_log(moat, &id, &lines("", 1, 300_000), "");
}

fn terminal_closed(moat: &Moat) {
    let terminal = in_terminal(moat, moat.sh(&script()).command());
    let id = until_some("a run appears", || moat.ids().pop());
    moat.wait_log(&id, "error-50\"");
    // The terminal's other end closes: all its processes get SIGHUP, and the terminal has no reader.
    crate::harness::support::kill(terminal.pid().as_raw_pid());
    moat.write("go", "");
    assert_untouched(moat, &id);
}

/// A command on its own terminal, by `script`.
fn in_terminal(moat: &Moat, command: Command) -> Running {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]);
    terminal.env_clear().current_dir(moat.workspace());
    let variables = command.get_envs();
    terminal.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    Running::of(terminal)
}

fn background_and_group_killed(moat: &Moat) {
    let call = moat.run_with(["-b"], ["sh", "-c", &script()]);
    // A shell whose whole process group dies after it has started the run.
    let mut command = call.wrapped(&["sh", "-c", r#""$@"; sleep 60"#, "sh"]);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    let shell = Running::of(command);
    shell.wait_stdout("run_");
    let id = moat.only_id();
    shell.signal_group(Signal::KILL);
    moat.write("go", "");
    assert_untouched(moat, &id);
}
