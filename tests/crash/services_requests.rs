//! Whatever request comes to a run with services, and whenever: nothing of the run is left.

use std::fs;

use crate::crash::sidecars::{
    OLLAMA, POSTGRES, REDIS, TELLER, assert_nothing, assert_over, assert_service, assert_told,
    close_checkpoints, networks, open_checkpoints, place, start_until, volumes, wait_told,
};
use crate::harness::support::{
    EXITED_7, End, NEVER_STARTED, adoptions, assert_log, is_owned, kill_supervisor, list, settled,
    wait_for, waits_for_a_lock,
};
use crate::harness::{Moat, Running, until, until_some};

const NOT_STARTED: End = End {
    state: "stopped",
    reason: "user-stop",
    code: None,
};

/// The start of a run does not need its client, however long the start takes.
#[test]
fn the_client_is_killed_while_services_start() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    for point in ["network-made", "service-started"] {
        let mut client = moat.sh("echo out; exit 7").checkpoint(point).spawn();
        moat.wait_checkpoint(point);
        client.kill();
        open_checkpoints(&moat);
        let id = moat.only_id();
        assert_over(&moat, &id, EXITED_7, &[]);
        assert_log(&moat, &id, "out\n", "");
        assert_eq!(adoptions(&moat, &id), 0);
        assert_service(&moat, &id, "redis", "stopped");
        assert_told(&moat, &id, 50);
        moat.args(["destroy", &id]).any_stdout().success();
        close_checkpoints(&moat);
    }
}

/// Several commands at once end a run whose services are starting.
fn asked_while_starting(moat: &Moat, point: &str, words: &[&str]) -> String {
    let client = start_until(moat, point, &[], "exit 7");
    moat.wait_checkpoint(point);
    let id = moat.only_id();
    let ask = || moat.args(words).arg(&id).spawn();
    let asking: Vec<Running> = (0..2).map(|_| ask()).collect();
    until("the run was asked to stop", || {
        // The stop file exists until the record has the request.
        moat.run_dir(&id).join("stop").exists() || moat.record(&id)["state"] == "stopping"
    });
    // While one of its threads waits at a checkpoint, both commands wait for the end.
    until("both commands wait for the lock", || {
        asking.iter().all(|asking| waits_for_a_lock(asking.pid()))
    });
    open_checkpoints(moat);
    let mut obeyed = 0;
    for done in asking.into_iter().map(Running::wait) {
        assert_eq!(done.code, Some(0), "{done}");
        // On a busy machine the second request may come after the end that the first one caused.
        match done.stderr_text().as_str() {
            "" => {
                assert_eq!(done.stdout_text(), format!("{id}\n"));
                obeyed += 1;
            }
            late => assert_eq!(late, format!("{id} had already ended\n")),
        }
    }
    assert!(obeyed > 0);
    let done = client.wait();
    assert_eq!(done.code, Some(143), "the client: {done}");
    close_checkpoints(moat);
    id
}

#[test]
fn stopped_twice_while_services_start() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    for point in [
        "network-made",
        "service-created",
        "service-started",
        "service-ready",
    ] {
        let id = asked_while_starting(&moat, point, &["stop"]);
        assert_over(&moat, &id, NOT_STARTED, &[]);
        moat.args(["destroy", &id]).any_stdout().success();
    }
}

#[test]
fn destroyed_twice_while_services_start() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    for point in [
        "network-made",
        "service-created",
        "service-started",
        "services-ready",
    ] {
        asked_while_starting(&moat, point, &["destroy", "-f"]);
        assert!(moat.ids().is_empty());
        assert_nothing(&moat, &[]);
    }
}

#[test]
fn stopped_while_something_is_got() {
    let Some(moat) = place(&[OLLAMA]) else { return };
    // With the real times, so that waiting for a grace period would show.
    moat.real_time();
    let client = moat.run_with(["-b"], ["true"]).spawn();
    let id = until_some("a run appears", || moat.ids().pop());
    moat.wait_log(&id, "10%");
    let stop = moat.args(["stop", &id]).any_stdout().success();
    assert!(stop.took.as_secs() < 10, "{stop}");
    assert_eq!(client.wait().code, Some(143));
    assert_over(&moat, &id, NOT_STARTED, &[]);
}

#[test]
fn destroyed_twice_while_running() {
    let Some(moat) = place(&[REDIS, POSTGRES]) else {
        return;
    };
    let id = moat.background("exec sleep 600");
    let volumes = volumes(&moat);
    let asking = [(); 2].map(|()| moat.args(["destroy", "-f", &id]).spawn());
    for done in asking.map(Running::wait) {
        assert_eq!(done.code, Some(0), "{done}");
    }
    assert!(moat.ids().is_empty());
    assert_nothing(&moat, &volumes);
}

#[test]
fn destroyed_without_a_supervisor() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    let id = moat.background("exec sleep 600");
    let volumes = volumes(&moat);
    kill_supervisor(&moat, &id);
    moat.args(["destroy", "-f", &id])
        .stdout(format!("{id}\n"))
        .success();
    assert!(moat.ids().is_empty());
    assert_nothing(&moat, &volumes);
}

/// The disk lost the record: moat finds the resources by their label.
#[test]
fn one_that_cannot_be_read_is_destroyed_whole() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    let id = moat.background("exec sleep 600");
    let volumes = volumes(&moat);
    kill_supervisor(&moat, &id);
    fs::write(moat.run_dir(&id).join("run.json"), "").unwrap();
    moat.args(["destroy", "-f", &id])
        .stdout(format!("{id}\n"))
        .success();
    assert!(moat.ids().is_empty());
    assert_nothing(&moat, &volumes);
}

#[test]
fn orphans_are_found_and_cleaned() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    let id = moat.background("exec sleep 600");
    let volumes = volumes(&moat);
    kill_supervisor(&moat, &id);
    fs::remove_dir_all(moat.run_dir(&id)).unwrap();
    let call = moat.args(["clean", "--dry-run", "--json"]).any_stdout();
    let found = call.success().json();
    let names = |key: &str| {
        let names = found[key].as_array().unwrap().iter();
        let mut names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let (redis, teller) = (format!("{id}-redis"), format!("{id}-teller"));
    assert_eq!(names("containers"), [&id, &redis, &teller], "{found:#}");
    assert_eq!(names("networks"), [&id], "{found:#}");
    assert_eq!(moat.containers().len(), 3, "it was a dry run");
    let call = moat.args(["clean", "--force", "--json"]).any_stdout();
    assert_eq!(call.success().json()["removed"], true);
    assert_nothing(&moat, &volumes);
    let call = moat.args(["clean", "--dry-run"]);
    call.stdout("Nothing to remove.\n").success();
}

/// An item in the shared cache is there for the next run, whatever process dies. No run waits for a dead one.
#[test]
fn what_a_dead_supervisor_was_getting_is_got_by_the_next_run() {
    let Some(moat) = place(&[OLLAMA]) else { return };
    let client = moat.run_with(["-b"], ["true"]).spawn();
    let id = until_some("a run appears", || moat.ids().pop());
    moat.wait_log(&id, "10%");
    kill_supervisor(&moat, &id);
    // At once: the load that the dead supervisor started continues in its container.
    let next = moat.run_with(["-b"], ["sh", "-c", "exit 7"]);
    let next = next.any_stdout().success().stdout_text().trim().to_owned();
    // The second client has noticed that its supervisor died.
    let done = client.wait();
    assert_eq!(done.code, Some(125), "{done}");
    list(&moat);
    assert_over(&moat, &id, NEVER_STARTED, &[]);
    assert_over(&moat, &next, EXITED_7, &[]);
    let models = moat.home().join("cache/ollama/models");
    let manifest = "manifests/registry.ollama.ai/library/tiny/latest";
    assert!(models.join(manifest).exists());
    // The item exists, so no run downloads it a third time.
    let pulls = || fs::read_to_string(moat.home().join("cache/ollama/pulls")).unwrap();
    let before = pulls();
    moat.sh("exit 7").status(7);
    assert_eq!(pulls(), before);
}

/// A kept container keeps its network; its services are removed all the same.
#[test]
fn a_kept_container_keeps_its_network() {
    let Some(moat) = place(&[REDIS, TELLER]) else {
        return;
    };
    for dies in [false, true] {
        let id = moat.background_with(["--keep"], &(wait_for("go") + "exit 7"));
        wait_told(&moat, &id, 50);
        if dies {
            kill_supervisor(&moat, &id);
            list(&moat);
        }
        moat.write("go", "");
        let record = settled(&moat, &id);
        assert_eq!(record["exit_code"], 7, "{record:#}");
        until("the supervisor is gone", || !is_owned(&moat, &id));
        let format = "{{.Name}}";
        let kept = crate::crash::sidecars::docker(&["inspect", "--format", format, &id]);
        assert_eq!(
            (kept.trim(), moat.containers().len()),
            (&*format!("/{id}"), 1)
        );
        assert_eq!(networks(&moat), [&*id]);
        assert_service(&moat, &id, "redis", "stopped");
        // The kept container belongs to a recorded run, so `clean` leaves it.
        let call = moat.args(["clean", "--dry-run"]);
        call.stdout("Nothing to remove.\n").success();
        moat.args(["destroy", &id]).any_stdout().success();
        assert_nothing(&moat, &[]);
        fs::remove_file(moat.workspace().join("go")).unwrap();
    }
}
