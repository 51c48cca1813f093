//! SIGKILL of the supervisor, at each checkpoint and during the run: the next command adopts the run; a client in the
//! foreground does so itself.

use crate::harness::support::{
    Background, Bwrap, Docker, EXITED_7, End, Foreground, Mode, NEVER_STARTED, Podman,
    assert_ended, assert_log, kill, kill_supervisor, lines, list, on_all, on_docker_and_bwrap,
    print_lines, wait_for,
};
use crate::harness::{Done, Moat, Running};

const LINES: u32 = 100;

/// Creates six tests for each point at which the supervisor dies.
macro_rules! points {
    ($($name:ident: $scenario:ident($($point:literal)?);)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn docker_foreground() { on(Docker, |moat| $scenario(moat, Foreground $(, $point)?)); }
            #[test]
            fn docker_background() { on(Docker, |moat| $scenario(moat, Background $(, $point)?)); }
            #[test]
            fn bwrap_foreground() { on(Bwrap, |moat| $scenario(moat, Foreground $(, $point)?)); }
            #[test]
            fn bwrap_background() { on(Bwrap, |moat| $scenario(moat, Background $(, $point)?)); }

            mod full {
                use super::*;

                #[test]
                fn podman_foreground() { on(Podman, |moat| $scenario(moat, Foreground $(, $point)?)); }
                #[test]
                fn podman_background() { on(Podman, |moat| $scenario(moat, Background $(, $point)?)); }
            }
        }
    )* };
}

points! {
    reserved: before_the_workload("reserved");
    before_create: before_the_workload("before-create");
    created: before_the_workload("created");
    before_start: before_the_workload("before-start");
    attached: with_the_workload("attached");
    exited: with_the_workload("exited");
    log_closed: with_the_workload("log-closed");
    ended: with_the_workload("ended");
    before_cleanup: with_the_workload("before-cleanup");
    removed: with_the_workload("removed");
    while_running: while_it_runs();
    in_heavy_output: while_it_prints();
}

/// The answers of podman at each stage of a container: none, created, running, ended, removed. The other points do
/// not depend on podman.
mod podman {
    use super::*;

    #[test]
    fn before_create() {
        on(Podman, |moat| {
            before_the_workload(moat, Background, "before-create")
        });
    }
    #[test]
    fn created() {
        on(Podman, |moat| {
            before_the_workload(moat, Background, "created")
        });
    }
    #[test]
    fn while_running() {
        on(Podman, |moat| while_it_runs(moat, Foreground));
    }
    #[test]
    fn ended() {
        on(Podman, |moat| with_the_workload(moat, Background, "ended"));
    }
    #[test]
    fn removed() {
        on(Podman, |moat| {
            with_the_workload(moat, Background, "removed")
        });
    }
}

fn on(runtime: crate::harness::Runtime, scenario: impl Fn(&Moat)) {
    if let Some(moat) = Moat::on(runtime) {
        scenario(&moat);
    }
}

fn start(moat: &Moat, mode: Mode, checkpoint: Option<&str>, script: &str) -> Running {
    let flags: &[&str] = match mode {
        Foreground => &[],
        Background => &["-b"],
    };
    let call = moat.run_with(flags, ["sh", "-c", script]);
    match checkpoint {
        Some(name) => call.checkpoint(name).spawn(),
        None => call.spawn(),
    }
}

/// After the death of the supervisor: a client in the foreground must continue alone; for a background run, a user
/// types a command.
fn succeed(moat: &Moat, mode: Mode, client: Running) -> Done {
    if mode == Background {
        list(moat);
    }
    client.wait()
}

fn assert_client(mode: Mode, client: &Done, started: bool, end: End) {
    let code = match mode {
        Foreground => i32::from(end.code.unwrap_or(125)),
        // The command returns soon, and succeeds only if the workload started.
        Background => [125, 0][usize::from(started)],
    };
    assert_eq!(client.code, Some(code), "the client: {client}");
}

/// The workload never ran, and will not run later.
fn before_the_workload(moat: &Moat, mode: Mode, point: &str) {
    let client = start(moat, mode, Some(point), "echo ran; exit 7");
    kill(moat.wait_checkpoint(point));
    let client = succeed(moat, mode, client);
    let id = moat.only_id();
    assert_ended(moat, &id, NEVER_STARTED);
    assert_log(moat, &id, "", "");
    assert_client(mode, &client, false, NEVER_STARTED);
}

/// The workload ran to its end, before or after the supervisor's death.
fn with_the_workload(moat: &Moat, mode: Mode, point: &str) {
    let script = print_lines(1, LINES) + "exit 7";
    let client = start(moat, mode, Some(point), &script);
    kill(moat.wait_checkpoint(point));
    let client = succeed(moat, mode, client);
    let id = moat.only_id();
    assert_ended(moat, &id, EXITED_7);
    assert_log(
        moat,
        &id,
        &lines("line-", 1, LINES),
        &lines("error-", 1, LINES),
    );
    assert_client(mode, &client, true, EXITED_7);
}

/// The sandbox gets all of its input, or nothing.
#[test]
fn while_the_sandbox_is_set_up() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let long = "x".repeat(100_000);
    let flags = ["-b", "-e", "LONG", "-e", "LAST=last"];
    let script = "echo ${#LONG} $LAST; exit 7";
    let call = moat.run_with(flags, ["sh", "-c", script]);
    let client = call.env("LONG", &long).checkpoint("shim-spawned").spawn();
    kill(moat.wait_checkpoint("shim-spawned"));
    let client = succeed(&moat, Background, client);
    let id = moat.only_id();
    assert_ended(&moat, &id, EXITED_7);
    assert_log(&moat, &id, "100000 last\n", "");
    assert_client(Background, &client, true, EXITED_7);
}

fn while_it_runs(moat: &Moat, mode: Mode) {
    let script = print_lines(1, LINES) + &wait_for("go") + &print_lines(LINES + 1, 200) + "exit 7";
    let client = start(moat, mode, None, &script);
    let id = first_id(moat);
    moat.wait_log(&id, "error-100\"");
    kill_supervisor(moat, &id);
    if mode == Background {
        list(moat);
    }
    moat.write("go", "");
    let client = client.wait();
    assert_ended(moat, &id, EXITED_7);
    assert_log(moat, &id, &lines("line-", 1, 200), &lines("error-", 1, 200));
    assert_client(mode, &client, true, EXITED_7);
}

/// The supervisor dies at a random point: in the middle of a line, or of a write.
fn while_it_prints(moat: &Moat, mode: Mode) {
    const MANY: u32 = 300_000;
    let client = start(moat, mode, None, &format!("seq 1 {MANY}; exit 7"));
    let id = first_id(moat);
    let log = moat.run_dir(&id).join("logs.jsonl");
    let long = || std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 2_000_000);
    crate::harness::until("the workload has printed enough", long);
    kill_supervisor(moat, &id);
    let client = succeed(moat, mode, client);
    assert_ended(moat, &id, EXITED_7);
    assert_log(moat, &id, &lines("", 1, MANY), "");
    assert_client(mode, &client, true, EXITED_7);
}

#[track_caller]
fn first_id(moat: &Moat) -> String {
    crate::harness::until_some("a run appears", || moat.ids().pop())
}

/// The adopting supervisor may die, too.
fn adopter_killed(moat: &Moat) {
    let script = print_lines(1, LINES) + &wait_for("go") + &print_lines(LINES + 1, 200) + "exit 7";
    let id = moat.background(&script);
    moat.wait_log(&id, "error-100\"");
    kill_supervisor(moat, &id);
    let call = moat.args(["list", "--quiet"]).checkpoint("adopted");
    call.any_stdout().success();
    kill(moat.wait_checkpoint("adopted"));
    list(moat);
    crate::harness::until("a second supervisor has adopted the run", || {
        crate::harness::support::adoptions(moat, &id) == 2
    });
    kill_supervisor(moat, &id);
    list(moat);
    moat.write("go", "");
    assert_ended(moat, &id, EXITED_7);
    assert_log(moat, &id, &lines("line-", 1, 200), &lines("error-", 1, 200));
}

/// The client notices the death of its supervisor, says so, and says where the output is.
fn client_told(moat: &Moat) {
    let client = start(
        moat,
        Foreground,
        None,
        &(wait_for("go") + "echo late; exit 7"),
    );
    let id = first_id(moat);
    moat.wait_state(&id, "running");
    kill_supervisor(moat, &id);
    client.wait_stderr("a new supervisor takes over");
    moat.write("go", "");
    let done = client.wait();
    assert_eq!(done.code, Some(7), "{done}");
    assert!(
        done.stderr_text().contains(&format!("moat logs {id} -f")),
        "{done}"
    );
}

/// The times of a record are in order, whether they come from files, the engine or moat.
fn times_do_not_run_backwards(moat: &Moat) {
    for _ in 0..20 {
        moat.run(["false"]).status(1);
    }
    for id in moat.ids() {
        let record = moat.record(&id);
        let times = crate::harness::support::times(&record);
        assert!(times.len() == 4 && times.is_sorted(), "{times:?}");
    }
}

on_all!(adopter_killed);

on_docker_and_bwrap!(client_told, times_do_not_run_backwards);
