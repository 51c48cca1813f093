//! What the waiter takes for an end, and what it does not.

use super::*;
use crate::runtime::fake::Answer::{Fails, Nothing, Sees};
use crate::runtime::fake::{
    Traits, exit, exited, last_words, not_found, refusal, running, silence, unreachable,
};

const RESTARTS: Traits = Traits {
    looks_are_cheap: true,
    keeps_output: true,
    start_limit: None,
    starts_again: true,
};

fn interrupted() -> AttachEnd {
    last_words(1, "Error: the connection was interrupted\n", true)
}

#[test]
fn an_end_is_told_with_its_code_and_all_output() {
    let scene = Scene::started();
    scene.print("out\n");
    scene.fake.print(HANDLE, Stream::Stderr, "err\n");
    scene.exit(3);
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(3), None));
    assert_eq!(scene.log(Stream::Stdout), "out\n");
    assert_eq!(scene.log(Stream::Stderr), "err\n");
    assert_eq!(
        scene.fake.count("reattach"),
        0,
        "there is nothing to catch up with"
    );
}

#[test]
fn what_comes_after_the_exit_was_seen_is_kept() {
    let scene = Scene::started();
    scene.print("before\n");
    scene.fake.set(HANDLE, exited(0));
    let told = scene.watch();
    scene.fake.wait_calls("inspect", 1);
    scene.print("after\n");
    scene.fake.detach(HANDLE, AttachEnd::Code(0));
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, ended.why()), (Some(0), None));
    assert_eq!(scene.log(Stream::Stdout), "before\nafter\n");
}

#[test]
fn the_end_of_the_output_is_no_exit() {
    let scene = Scene::started();
    scene.print("one\n");
    scene
        .fake
        .script("inspect", [Sees(running()), Sees(running())]);
    scene.detach(AttachEnd::Code(3));
    scene.fake.wait_calls("attached", 1);
    let told = scene.watch();
    // It is listened to again, from the very byte.
    scene.fake.wait_calls(&format!("reattach {HANDLE} 4 0"), 1);
    scene.print("two\n");
    scene.fake.exit(HANDLE, 3);
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, ended.why()), (Some(3), None));
    assert_eq!(scene.log(Stream::Stdout), "one\ntwo\n");
}

/// A client may keep its end open, be it that a grandchild of it has that.
// new order
#[test]
fn output_that_does_not_end_after_the_exit_is_cut_off_and_read_again() {
    let scene = Scene::started();
    scene.print("heard\n");
    scene
        .fake
        .print_unheard(HANDLE, Stream::Stdout, "unheard\n");
    scene.fake.set(HANDLE, exited(0));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(0), None));
    assert_eq!(scene.log(Stream::Stdout), "heard\nunheard\n");
    let calls = scene.fake.calls_of(&["detach", "reattach"]);
    let again = format!("reattach {HANDLE} 6 0");
    assert_eq!(calls, [format!("detach {HANDLE}"), again]);
}

#[test]
fn an_engine_that_fails_to_answer_is_no_exit() {
    for problem in [silence(), unreachable(), refusal(), not_found()] {
        let scene = Scene::started();
        let problems = || Fails(problem.clone());
        scene
            .fake
            .script("inspect", [problems(), problems(), problems()]);
        scene.fake.on("inspect", |_| {});
        scene.fake.on("inspect", |_| {});
        scene.fake.on("inspect", |_| {});
        scene.fake.on("inspect", |fake| fake.exit(HANDLE, 3));
        let ended = scene.end();
        assert_eq!(
            (ended.exit.code, ended.why()),
            (Some(3), None),
            "{problem:?}"
        );
        assert_eq!(scene.fake.count("inspect"), 4);
        assert_eq!(
            scene.notices(),
            [""; 0],
            "the output flows: nothing is missing"
        );
    }
}

#[test]
fn an_engine_that_is_away_when_the_output_ends_is_said_to_be_once() {
    let scene = Scene::started();
    scene.print("one\n");
    scene.detach(AttachEnd::Code(1));
    scene
        .fake
        .script("inspect", [(); 3].map(|()| Fails(unreachable())));
    scene.fake.on("inspect", |fake| fake.set(HANDLE, exited(1)));
    let ended = scene.end();
    assert_eq!(ended.exit.code, Some(1));
    assert_eq!(scene.notices().len(), 1, "{:?}", scene.notices());
    assert!(scene.notices()[0].contains("the engine is away"));
    assert_eq!(ended.why(), Some("the engine is away"));
}

/// A code that is no client's own is the workload's: then all was heard.
#[test]
fn an_engine_that_is_away_after_a_clean_end_costs_nothing() {
    for code in [0, 2, 3, 124, 128, 137] {
        let scene = Scene::started();
        scene.print("one\n");
        scene
            .fake
            .script("inspect", [(); 2].map(|()| Fails(unreachable())));
        scene.exit(code);
        let ended = scene.end();
        assert_eq!((ended.exit.code, ended.why()), (Some(code), None));
        assert_eq!(scene.notices(), [""; 0]);
        assert!(scene.diary().contains(&"the engine is away".to_owned()));
    }
}

#[test]
fn codes_that_may_be_the_clients_own_are_doubted_while_the_engine_is_away() {
    for code in [1, 125, 126, 127] {
        let scene = Scene::started();
        scene.fake.script("inspect", [Fails(unreachable())]);
        scene.exit(code);
        let ended = scene.end();
        assert_eq!(ended.exit.code, Some(code));
        assert_eq!(ended.why(), Some("the engine is away"), "{code}");
    }
}

#[test]
fn an_empty_answer_means_that_it_is_gone() {
    let scene = Scene::started();
    scene.fake.script("inspect", [Sees(running()), Nothing]);
    scene.fake.on("inspect", |_| {});
    scene
        .fake
        .on("inspect", |fake| fake.detach(HANDLE, AttachEnd::Complete));
    let ended = scene.end();
    assert!(ended.exit.was_removed && ended.exit.started_at.is_some());
}

#[test]
fn a_container_that_somebody_removed_has_the_code_that_was_heard() {
    for (end, code) in [
        (AttachEnd::Code(137), Some(137)),
        (AttachEnd::Code(3), Some(3)),
        // These may be what the client says of the removal.
        (AttachEnd::Code(0), None),
        (AttachEnd::Code(1), None),
        (AttachEnd::Code(125), None),
        (AttachEnd::Interrupted, None),
        (AttachEnd::Complete, None),
        (last_words(1, "Error: no such container\n", false), None),
    ] {
        let scene = Scene::started();
        scene.print("one\n");
        scene.fake.vanish(HANDLE, end.clone());
        let ended = scene.end();
        assert_eq!(
            (ended.exit.code, ended.exit.was_removed),
            (code, true),
            "{end:?}"
        );
        let why = "another program removed its container";
        assert_eq!(ended.exit.error.as_deref(), Some(why));
        assert_eq!(scene.log(Stream::Stdout), "one\n");
    }
}

/// It is no failure to start: somebody may have seen it.
// new order
#[test]
fn one_that_was_removed_before_it_was_seen_to_run_counts_as_started() {
    let scene = Scene::started();
    scene.fake.vanish(HANDLE, AttachEnd::Interrupted);
    let ended = scene.end();
    assert_eq!(scene.fake.count("seen to run"), 0);
    assert!(ended.exit.started_at.is_some());
}

// new order
#[test]
fn one_that_was_removed_while_the_engine_was_away_is_gone_when_it_is_back() {
    let scene = Scene::started();
    scene
        .fake
        .script("inspect", [Fails(unreachable()), Fails(silence())]);
    scene.fake.on("inspect", |fake| {
        fake.vanish(HANDLE, AttachEnd::Interrupted)
    });
    let ended = scene.end();
    assert_eq!((ended.exit.was_removed, ended.exit.code), (true, None));
}

/// It is removed while its client still has output to deliver.
// new order
#[test]
fn output_that_is_on_its_way_when_the_container_is_removed_is_kept() {
    let scene = Scene::started();
    scene.print("before\n");
    let client = scene.fake.client(HANDLE);
    scene.fake.forget(HANDLE);
    let told = scene.watch();
    scene.fake.wait_calls("inspect", 1);
    client.print(Stream::Stdout, "after\n");
    client.finish(AttachEnd::Code(137));
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, ended.exit.was_removed), (Some(137), true));
    assert_eq!(scene.log(Stream::Stdout), "before\nafter\n");
    assert_eq!(scene.fake.count("asked too early"), 0);
}

#[test]
fn what_the_client_said_instead_of_starting_it_is_why_it_did_not_start() {
    let scene = Scene::new();
    scene.attach_only();
    let words = last_words(125, "Error: no such command\n", false);
    scene.detach(words);
    let ended = scene.end();
    assert_eq!(ended.exit.started_at, None);
    assert_eq!(ended.exit.error.as_deref(), Some("no such command"));
    assert_eq!(ended.why(), None, "there never was output");
}

#[test]
fn a_command_that_cannot_be_run_ends_with_the_code_of_a_shell() {
    for (code, started) in [(126, true), (127, true), (1, false), (125, false)] {
        let scene = Scene::new();
        scene.attach_only();
        scene.detach(AttachEnd::Code(code));
        let exit = scene.end().exit;
        assert_eq!(exit.started_at.is_some(), started, "{code}");
        assert_eq!(exit.code, started.then_some(code));
    }
}

#[test]
fn a_start_that_the_engine_has_not_heard_is_asked_for_once_more() {
    let scene = Scene::on(Fake::of_kind(RESTARTS));
    scene.attach_only();
    scene.detach(interrupted());
    let told = scene.watch();
    scene.fake.wait_calls("start-again", 1);
    scene.fake.wait_calls("attached", 2);
    scene.print("out\n");
    scene.fake.exit(HANDLE, 3);
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, ended.why()), (Some(3), None));
    assert_eq!(scene.log(Stream::Stdout), "out\n");
    assert!(scene.diary()[0].contains("trying again"));
}

#[test]
fn a_start_that_is_never_heard_is_given_up_after_the_second() {
    let scene = Scene::on(Fake::of_kind(RESTARTS));
    scene.attach_only();
    scene.fake.script("start-again", [fake::Answer::Ignored]);
    scene.detach(interrupted());
    let told = scene.watch();
    scene.fake.wait_calls("attached", 2);
    scene.fake.detach(HANDLE, interrupted());
    let ended = scene.wait(&told);
    assert_eq!(ended.exit.started_at, None);
    assert_eq!(scene.fake.count("start-again"), 1);
    let why = "the connection was interrupted";
    assert_eq!(ended.exit.error.as_deref(), Some(why));
}

// new order
#[test]
fn a_second_start_that_the_engine_refuses_ends_it() {
    let scene = Scene::on(Fake::of_kind(RESTARTS));
    scene.attach_only();
    scene.fake.script("start-again", [Fails(refusal())]);
    scene.detach(interrupted());
    let ended = scene.end();
    assert_eq!(ended.exit.started_at, None);
    assert_eq!(scene.diary(), ["start: it will not"]);
}

/// An engine that lost its memory says "created" of what has run: that is never started a second time.
// new order
#[test]
fn what_was_seen_to_run_is_not_started_once_more() {
    let scene = Scene::started_on(RESTARTS);
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.set(HANDLE, Inspected::Created);
    scene.fake.detach(HANDLE, interrupted());
    let ended = scene.wait(&told);
    assert_eq!(scene.fake.count("start-again"), 0);
    assert!(ended.exit.started_at.is_some(), "it has run");
    assert_eq!(ended.exit.code, None);
}

#[test]
fn a_client_that_does_not_start_it_in_time_is_given_up() {
    let scene = Scene::on(Fake::of_kind(Traits {
        start_limit: Some(Duration::from_millis(30)),
        ..Traits::default()
    }));
    scene.attach_only();
    let ended = scene.end();
    assert!(
        scene.fake.count("detach") >= 1,
        "until the output has ended"
    );
    assert_eq!(ended.exit.started_at, None);
    let why = "the container was not started";
    assert_eq!(ended.exit.error.as_deref(), Some(why));
}

/// The engine's answer may be behind: then the limit is none of a container that was seen to run.
// new order
#[test]
fn a_start_within_its_time_is_not_cut_off_later() {
    let scene = Scene::started_on(Traits {
        start_limit: Some(Duration::from_millis(30)),
        ..Traits::default()
    });
    let told = scene.watch();
    scene.fake.wait_calls("inspect", 6);
    scene.print("out\n");
    scene.fake.exit(HANDLE, 0);
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, scene.fake.count("detach")), (Some(0), 0));
}

#[test]
fn an_end_of_before_is_not_the_end_of_the_next_start() {
    let scene = Scene::new();
    let before = exit(1);
    *scene.subject.known.lock().unwrap() = Some(before.clone());
    let stale = || Sees(Inspected::Exited(before.clone()));
    scene
        .fake
        .script("inspect", [stale(), stale(), Sees(running())]);
    scene.start();
    for _ in 0..3 {
        scene.fake.on("inspect", |_| {});
    }
    scene.fake.on("inspect", |fake| fake.exit(HANDLE, 7));
    assert_eq!(scene.end().exit.code, Some(7));
}

#[test]
fn a_next_start_that_fails_is_an_end_of_its_own() {
    let scene = Scene::new();
    let before = exit(1);
    *scene.subject.known.lock().unwrap() = Some(before.clone());
    scene.attach_only();
    scene.fake.set(HANDLE, Inspected::Exited(before));
    scene
        .fake
        .detach(HANDLE, last_words(125, "Error: no memory\n", false));
    let exit = scene.end().exit;
    assert_eq!((exit.code, exit.started_at), (None, None));
    assert_eq!(exit.error.as_deref(), Some("no memory"));
}

#[test]
fn a_workload_whose_output_is_still_on_its_way_has_not_ended_yet() {
    let scene = Scene::started();
    let ending = || {
        Sees(Inspected::Ending {
            started_at: Some(Timestamp::now()),
        })
    };
    scene.fake.script("inspect", [ending(), ending(), ending()]);
    for _ in 0..2 {
        scene.fake.on("inspect", |_| {});
    }
    scene.fake.on("inspect", |fake| {
        fake.print(HANDLE, Stream::Stdout, "last\n")
    });
    scene.fake.on("inspect", |fake| fake.exit(HANDLE, 0));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(0), None));
    assert_eq!(scene.log(Stream::Stdout), "last\n");
    assert_eq!(scene.fake.count("reattach"), 0);
}

// new order
#[test]
fn output_that_ends_while_the_workload_does_is_listened_to_again() {
    let scene = Scene::started();
    scene
        .fake
        .script("inspect", [Sees(Inspected::Ending { started_at: None })]);
    scene.print("one\n");
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "two\n");
    scene.detach(AttachEnd::Interrupted);
    scene.fake.set(HANDLE, exited(0));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(0), None));
    assert_eq!(scene.log(Stream::Stdout), "one\ntwo\n");
}

#[test]
fn when_it_started_is_known_although_the_engine_forgot_it() {
    let scene = Scene::started();
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.set(
        HANDLE,
        Inspected::Exited(Exit {
            started_at: None,
            ..exit(137)
        }),
    );
    scene.fake.detach(HANDLE, AttachEnd::Code(137));
    assert!(scene.wait(&told).exit.started_at.is_some());
}

#[test]
fn what_never_ran_has_no_start_and_no_log_to_read() {
    let scene = Scene::started();
    scene.fake.set(
        HANDLE,
        Inspected::Exited(Exit {
            error: Some("exec format error".to_owned()),
            ..Exit::default()
        }),
    );
    scene.detach(AttachEnd::Code(1));
    let ended = scene.end();
    assert_eq!((ended.exit.started_at, ended.why()), (None, None));
    assert_eq!(scene.fake.count("reattach"), 0);
}

#[test]
fn looks_become_rarer_and_never_begin_again_by_themselves() {
    let millis = |pace: &mut PollSchedule| -> Vec<u64> {
        (0..8).map(|_| pace.next().as_millis() as u64).collect()
    };
    for (awaited, cheap, expected) in [
        (true, true, [1, 2, 4, 8, 16, 20, 20, 20]),
        (false, true, [1, 2, 4, 8, 16, 20, 20, 20]),
        (true, false, [100; 8]),
        (false, false, [400, 800, 1000, 1000, 1000, 1000, 1000, 1000]),
    ] {
        assert_eq!(
            millis(&mut PollSchedule::starting(awaited, cheap)),
            expected
        );
    }
    let mut pace = PollSchedule::starting(true, false);
    let seen_to_run: Vec<u64> = (0..7)
        .map(|_| {
            pace.running();
            pace.next().as_secs()
        })
        .collect();
    assert_eq!(seen_to_run, [1, 2, 4, 8, 15, 15, 15]);
    let away: Vec<u64> = (0..9)
        .map(|_| {
            pace.after_stream();
            pace.next().as_millis() as u64
        })
        .collect();
    assert_eq!(away, [20, 40, 80, 160, 320, 640, 1280, 2000, 2000]);
    pace.running();
    assert_eq!(pace.next(), Duration::from_secs(1), "it answers again");
}

#[test]
fn a_cheap_look_is_made_once_a_second_at_least() {
    let mut pace = PollSchedule::starting(false, true);
    for _ in 0..3 {
        pace.running();
        assert_eq!(pace.next(), Duration::from_secs(1));
    }
}
