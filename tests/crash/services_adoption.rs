//! Services outlive the supervisor of their run. The adopting supervisor supervises the same containers, keeps the
//! rest of their output, and notices what happened meanwhile.

use crate::crash::sidecars::{
    CLIENTS, POSTGRES, REDIS, RESTARTED, TELLER, assert_over, assert_service, assert_told,
    children, docker, handle, identity, let_die, place, service, start_until, starts, tell_more,
    volumes, wait_service, wait_told,
};
use crate::harness::support::{
    EXITED_7, NEVER_STARTED, adoptions, assert_log, docker_through, kill, kill_supervisor, list,
    supervisor_of, wait_for,
};
use crate::harness::{Moat, until};

/// Uses the services before and after the death of the supervisor: over one connection, and over new connections.
const USER: &str = r#"
exec 2>/dev/null
redis-cli -u "$MOAT_REDIS_URL" set key kept
{
    echo "create temporary table mine as select 42 as x;"
    while [ ! -e /workspace/go ]; do sleep 0.02; done
    echo "select x from mine;"
} | psql -qAt "$MOAT_POSTGRES_URL"
redis-cli -u "$MOAT_REDIS_URL" get key
exit 7
"#;

#[test]
fn what_is_ready_is_not_started_twice() {
    let Some(moat) = place(&[REDIS, POSTGRES, TELLER]) else {
        return;
    };
    let names = ["redis", "postgres", "teller"];
    let id = moat.background_with([CLIENTS], USER);
    moat.wait_log(&id, "OK");
    wait_told(&moat, &id, 50);
    let before = names.map(|name| identity(&id, name));
    let volumes = volumes(&moat);
    kill_supervisor(&moat, &id);
    // The supervisor is dead, so no process reads this output now.
    tell_more(&id);
    until("the service has printed line 100", || {
        docker(&["logs", &handle(&id, "teller")]).contains("line-100")
    });
    list(&moat);
    wait_told(&moat, &id, 100);
    tell_more(&id);
    wait_told(&moat, &id, 150);
    assert_eq!(names.map(|name| identity(&id, name)), before);
    for name in names {
        let service = assert_service(&moat, &id, name, "ready");
        assert_eq!(service["restarts"], 0, "{service:#}");
    }
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &volumes);
    assert_log(&moat, &id, "OK\n42\nkept\n", "");
    assert_told(&moat, &id, 150);
    for name in names {
        let service = assert_service(&moat, &id, name, "stopped");
        assert_eq!(service["log"]["complete"], true, "{service:#}");
    }
}

fn waiting(moat: &Moat) -> String {
    moat.background(&(wait_for("go") + "exit 7"))
}

fn note_of(moat: &Moat, id: &str) -> String {
    let log = std::fs::read_to_string(moat.run_dir(id).join("logs.jsonl")).unwrap();
    let notes = log.lines().filter(|line| line.contains("\"moat\""));
    notes.map(|line| line.to_owned() + "\n").collect()
}

/// Ends the teller while no supervisor runs.
fn die_unseen(moat: &Moat, id: &str) {
    wait_told(moat, id, 50);
    kill_supervisor(moat, id);
    let_die(id, 3);
    assert_eq!(docker(&["wait", &handle(id, "teller")]), "3\n");
}

#[test]
fn a_death_that_nobody_saw_is_noticed() {
    let Some(moat) = place(&[TELLER]) else { return };
    let id = waiting(&moat);
    die_unseen(&moat, &id);
    list(&moat);
    let service = wait_service(&moat, &id, "teller", "failed");
    assert_eq!(service["exit_code"], 3, "{service:#}");
    assert!(!service["ended_at"].is_null(), "{service:#}");
    moat.wait_log(
        &id,
        "teller: ended with exit code 3; the run goes on without it",
    );
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &[]);
    assert_told(&moat, &id, 100);
    assert_service(&moat, &id, "teller", "failed");
}

/// The first command after a crash finds both ended, and ends the run.
#[test]
fn a_death_before_the_end_of_the_run_is_told_from_the_end() {
    let Some(moat) = place(&[TELLER, REDIS]) else {
        return;
    };
    // No command runs before the kill.
    let hold = moat.root().join("hold");
    let late = r#"case "$*" in
        'inspect '*-teller) while [ -e HOLD ]; do sleep 0.05; done ;;
        'kill '*-teller) rm -f HOLD ;;
    esac
    exec docker "$@"
    "#;
    let moat = docker_through(moat, &late.replace("HOLD", &hold.to_string_lossy()));
    let id = waiting(&moat);
    die_unseen(&moat, &id);
    moat.write("go", "");
    assert_eq!(docker(&["wait", &id]), "7\n");
    std::fs::write(&hold, "").unwrap();
    list(&moat);
    assert_over(&moat, &id, EXITED_7, &[]);
    let service = assert_service(&moat, &id, "teller", "failed");
    assert_eq!(service["exit_code"], 3, "{service:#}");
    let record = moat.record(&id);
    assert!(
        service["ended_at"].as_str() < record["finished_at"].as_str(),
        "{record:#}"
    );
    assert_told(&moat, &id, 100);
    let service = assert_service(&moat, &id, "redis", "stopped");
    assert!(service["exit_code"].is_null(), "{service:#}");
}

#[test]
fn who_died_unseen_is_started_again() {
    let Some(moat) = place(&[RESTARTED]) else {
        return;
    };
    let id = waiting(&moat);
    die_unseen(&moat, &id);
    list(&moat);
    // 50 lines at the first start, 50 last lines, and 50 at the second start.
    wait_told(&moat, &id, 150);
    let service = wait_service(&moat, &id, "teller", "ready");
    assert_eq!(
        (&service["restarts"], starts(&id)),
        (&1.into(), 2),
        "{service:#}"
    );
    moat.wait_log(&id, "teller: ended with exit code 3; restarting it");
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &[]);
    assert_told(&moat, &id, 150);
    assert_service(&moat, &id, "teller", "stopped");
}

/// The record already says that the service ended; the supervisor died in the delay before the restart.
#[test]
fn who_was_to_be_started_again_is() {
    let Some(moat) = place(&[RESTARTED]) else {
        return;
    };
    // The service dies so often that the backoff grows long.
    let id = waiting(&moat);
    wait_told(&moat, &id, 50);
    for round in 1..=3 {
        let_die(&id, 3);
        until("the service was restarted", || {
            service(&moat, &id, "teller")["restarts"] == round
        });
        wait_service(&moat, &id, "teller", "ready");
    }
    let_die(&id, 3);
    wait_service(&moat, &id, "teller", "failed");
    kill_supervisor(&moat, &id);
    assert_service(&moat, &id, "teller", "failed");
    list(&moat);
    let service = wait_service(&moat, &id, "teller", "ready");
    assert_eq!(
        (&service["restarts"], starts(&id)),
        (&4.into(), 5),
        "{service:#}"
    );
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &[]);
    assert_told(&moat, &id, 9 * 50);
}

/// The supervisor died while a restarted service was not ready yet.
#[test]
fn who_was_starting_again_becomes_ready() {
    let Some(moat) = place(&[RESTARTED]) else {
        return;
    };
    let slow = "while [ \"$1\" = exec ] && [ -e ROOT/hold ]; do sleep 0.05; done\n";
    let slow = slow.replace("ROOT", &moat.root().to_string_lossy()) + "exec docker \"$@\"\n";
    let moat = docker_through(moat, &slow);
    let id = waiting(&moat);
    wait_told(&moat, &id, 50);
    let hold = moat.root().join("hold");
    std::fs::write(&hold, "").unwrap();
    let_die(&id, 3);
    wait_told(&moat, &id, 150);
    wait_service(&moat, &id, "teller", "starting");
    kill_supervisor(&moat, &id);
    std::fs::remove_file(&hold).unwrap();
    list(&moat);
    let service = wait_service(&moat, &id, "teller", "ready");
    assert_eq!(
        (&service["restarts"], starts(&id)),
        (&1.into(), 2),
        "{service:#}"
    );
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &[]);
    assert_told(&moat, &id, 150);
}

/// A slow engine: the end before the restart does not count twice.
#[test]
fn a_slow_second_start_is_one_start() {
    let Some(moat) = place(&[RESTARTED]) else {
        return;
    };
    let slow = "case \"$1 $3\" in 'start '*-teller) sleep 0.7 ;; esac\nexec docker \"$@\"\n";
    let moat = docker_through(moat, slow);
    let id = waiting(&moat);
    wait_told(&moat, &id, 50);
    let_die(&id, 3);
    moat.wait_log(&id, "ended with exit code 3; restarting it");
    wait_told(&moat, &id, 150);
    let_die(&id, 4);
    moat.wait_log(&id, "ended with exit code 4; restarting it");
    wait_told(&moat, &id, 250);
    let service = wait_service(&moat, &id, "teller", "ready");
    assert_eq!(
        (&service["restarts"], starts(&id)),
        (&2.into(), 3),
        "{service:#}"
    );
    moat.write("go", "");
    assert_over(&moat, &id, EXITED_7, &[]);
    assert_told(&moat, &id, 250);
}

/// The service ran when the supervisor died, but the record did not say so yet.
#[test]
fn the_last_words_of_one_that_was_just_started_are_kept() {
    let Some(moat) = place(&[TELLER]) else { return };
    let blind = "while [ \"$1\" = inspect ] && [ -e ROOT/hold ]; do sleep 0.05; done\n";
    let blind = blind.replace("ROOT", &moat.root().to_string_lossy()) + "exec docker \"$@\"\n";
    let moat = docker_through(moat, &blind);
    let hold = moat.root().join("hold");
    std::fs::write(&hold, "").unwrap();
    let client = start_until(&moat, "service-started", &[], "exit 7");
    let supervisor = moat.wait_checkpoint("service-started");
    until("both containers exist", || moat.containers().len() == 2);
    let id = moat.only_id();
    wait_told(&moat, &id, 50);
    assert_service(&moat, &id, "teller", "created");
    kill(supervisor);
    tell_more(&id);
    until("the service has printed line 100", || {
        docker(&["logs", &handle(&id, "teller")]).contains("line-100")
    });
    std::fs::remove_file(&hold).unwrap();
    list(&moat);
    assert_eq!(client.wait().code, Some(125));
    assert_over(&moat, &id, NEVER_STARTED, &[]);
    assert_told(&moat, &id, 100);
    assert_service(&moat, &id, "teller", "stopped");
}

/// The engine client that carries a service's output dies: nothing is lost, and nothing else dies.
#[test]
fn its_client_is_not_the_service() {
    let Some(moat) = place(&[RESTARTED, REDIS]) else {
        return;
    };
    let id = waiting(&moat);
    wait_told(&moat, &id, 50);
    let before = ["teller", "redis"].map(|name| identity(&id, name));
    let supervisor = supervisor_of(&moat, &id);
    for round in 1..=3 {
        // The first one is `start --attach`, the others are `logs --follow`.
        let words = if round == 1 {
            "start --attach"
        } else {
            "logs --follow"
        };
        for name in ["teller", "redis"] {
            let words = format!("{words} {}", handle(&id, name));
            until("the supervisor has an engine client", || {
                !children(supervisor, &words).is_empty()
            });
            for pid in children(supervisor, &words) {
                kill(pid);
            }
        }
        tell_more(&id);
        wait_told(&moat, &id, 50 + 50 * round);
    }
    for name in ["teller", "redis"] {
        let service = assert_service(&moat, &id, name, "ready");
        assert_eq!(service["restarts"], 0, "{service:#}");
    }
    assert_eq!(["teller", "redis"].map(|name| identity(&id, name)), before);
    moat.write("go", "");
    let record = assert_over(&moat, &id, EXITED_7, &[]);
    assert_eq!(adoptions(&moat, &id), 0);
    assert_told(&moat, &id, 200);
    assert!(!note_of(&moat, &id).contains("ended"), "{record:#}");
}
