//! What is kept of the output when something goes wrong with listening, and what is said to be missing.

use super::*;
use crate::runtime::fake::Answer::{DoneBut, Fails, Sees};
use crate::runtime::fake::{
    Traits, exit, exited, last_words, not_found, refusal, running, silence, unreachable,
};

/// An engine that keeps nothing for later, as Apple's.
const FORGETS: Traits = Traits {
    looks_are_cheap: true,
    keeps_output: false,
    start_limit: None,
    starts_again: false,
};

/// As an engine says it that does not tell exit codes.
fn codeless() -> Inspected {
    Inspected::Exited(Exit {
        code: None,
        ..exit(0)
    })
}

#[test]
fn a_client_that_was_killed_costs_no_byte() {
    let scene = Scene::started();
    scene.print("one\n");
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "two\n");
    scene.fake.detach(HANDLE, AttachEnd::Interrupted);
    scene.fake.wait_calls("reattach", 1);
    scene.fake.wait_calls("attached", 2);
    scene.print("three\n");
    scene.fake.exit(HANDLE, 3);
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, ended.why()), (Some(3), None));
    assert_eq!(scene.log(Stream::Stdout), "one\ntwo\nthree\n");
    assert_eq!(scene.fake.count("detached"), 1);
}

/// A line of which half was heard goes on at the very byte, in both streams.
#[test]
fn half_a_line_goes_on_where_it_was_cut() {
    let scene = Scene::started();
    scene.print("hal");
    scene.fake.print(HANDLE, Stream::Stderr, "er");
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "f\n");
    scene.fake.print_unheard(HANDLE, Stream::Stderr, "ror\n");
    scene.fake.detach(HANDLE, AttachEnd::Interrupted);
    scene.fake.wait_calls(&format!("reattach {HANDLE} 3 2"), 1);
    scene.fake.wait_calls("attached", 2);
    scene.fake.exit(HANDLE, 0);
    assert_eq!(scene.wait(&told).why(), None);
    assert_eq!(scene.log(Stream::Stdout), "half\n");
    assert_eq!(scene.log(Stream::Stderr), "error\n");
}

// new order
#[test]
fn listening_again_is_tried_until_it_succeeds() {
    let scene = Scene::started();
    scene.print("one\n");
    scene.fake.script(
        "reattach",
        [Fails(unreachable()), Fails(silence()), Fails(refusal())],
    );
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "two\n");
    scene.fake.detach(HANDLE, AttachEnd::Interrupted);
    scene.fake.wait_calls("reattach", 4);
    scene.fake.wait_calls("attached", 2);
    scene.fake.exit(HANDLE, 0);
    let ended = scene.wait(&told);
    assert_eq!(ended.exit.code, Some(0));
    assert_eq!(scene.log(Stream::Stdout), "one\ntwo\n");
    assert_eq!(
        scene.notices().len(),
        1,
        "it is said once: {:?}",
        scene.notices()
    );
}

#[test]
fn an_engine_that_went_away_while_it_was_listened_to_may_have_a_gap() {
    let scene = Scene::started();
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene
        .fake
        .detach(HANDLE, last_words(1, "Error: EOF\n", true));
    scene.fake.wait_calls("attached", 2);
    scene.fake.exit(HANDLE, 0);
    assert_eq!(scene.wait(&told).why(), Some("EOF"));
    let log = scene.log(Stream::Moat);
    assert!(log.contains("may be missing: EOF"), "{log}");
}

#[test]
fn a_code_that_differs_from_the_engines_makes_the_log_be_read_again() {
    for (end, reads) in [
        (AttachEnd::Code(3), 0),
        (AttachEnd::Complete, 0),
        (AttachEnd::Code(0), 1),
        (AttachEnd::Code(1), 1),
        (AttachEnd::Interrupted, 1),
        (last_words(1, "Error: x\n", false), 1),
    ] {
        let scene = Scene::started();
        scene.print("one\n");
        scene.fake.print_unheard(HANDLE, Stream::Stdout, "two\n");
        scene.fake.set(HANDLE, exited(3));
        scene.detach(end.clone());
        let ended = scene.end();
        assert_eq!((ended.exit.code, ended.why()), (Some(3), None), "{end:?}");
        assert_eq!(scene.fake.count("reattach"), reads, "{end:?}");
        let expected = ["one\n", "one\ntwo\n"][reads];
        assert_eq!(scene.log(Stream::Stdout), expected, "{end:?}");
    }
}

#[test]
fn words_that_the_engine_has_in_its_log_are_the_workloads() {
    let scene = Scene::started();
    scene
        .fake
        .print_unheard(HANDLE, Stream::Stderr, "Error: mine\n");
    scene.fake.set(HANDLE, exited(1));
    scene
        .fake
        .detach(HANDLE, last_words(1, "Error: mine\n", true));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(1), None));
    assert_eq!(scene.log(Stream::Stderr), "Error: mine\n");
}

#[test]
fn words_that_the_engine_does_not_have_are_the_clients() {
    for (interrupted, why) in [(false, None), (true, Some("the engine was unreachable"))] {
        let scene = Scene::started();
        scene
            .fake
            .print_unheard(HANDLE, Stream::Stderr, "its own\n");
        scene.fake.set(HANDLE, exited(1));
        let words = last_words(1, "Error: the clients\n", interrupted);
        scene.detach(words);
        assert_eq!(scene.end().why(), why);
        assert_eq!(scene.log(Stream::Stderr), "its own\n");
    }
}

/// Between the look that sees the end and the look at its log.
// new order
#[test]
fn a_container_that_is_removed_before_its_log_was_read_has_lost_the_rest() {
    for problem in [not_found(), unreachable(), silence(), refusal()] {
        let scene = Scene::started();
        scene.print("one\n");
        scene.fake.set(HANDLE, exited(3));
        scene.detach(AttachEnd::Interrupted);
        scene.fake.script("reattach", [Fails(problem.clone())]);
        let ended = scene.end();
        assert_eq!(ended.exit.code, Some(3), "the code is known");
        assert_eq!(ended.why(), Some(problem.message()));
        assert_eq!(scene.log(Stream::Stdout), "one\n");
    }
}

// new order
#[test]
fn a_log_that_breaks_off_while_it_is_read_is_said_to_be_incomplete() {
    let scene = Scene::started();
    scene.print("one\n");
    scene.detach(AttachEnd::Interrupted);
    scene.fake.script("inspect", [Sees(exited(0))]);
    let told = scene.watch();
    // The container still runs as far as its log is concerned, so that the test can cut it.
    scene.fake.wait_calls("reattach", 1);
    scene.fake.wait_calls("attached", 2);
    scene
        .fake
        .detach(HANDLE, last_words(1, "Error: broken pipe\n", false));
    assert_eq!(scene.wait(&told).why(), Some("broken pipe"));
}

#[test]
fn an_adopted_container_goes_on_where_the_log_ends() {
    let scene = Scene::new();
    scene.fake.put(HANDLE, running());
    scene
        .fake
        .print_unheard(HANDLE, Stream::Stdout, "kept\nnew\n");
    let path = scene.scratch.root().join("kept");
    let (log, _) = LogWriter::open(&path).unwrap();
    let subject = Arc::new(Subject {
        fake: scene.fake.clone(),
        capture: Arc::new(Capture::new(log, kept(5, 0), false)),
        started_at: Mutex::default(),
        known: Mutex::default(),
        notices: Mutex::default(),
        diary: Mutex::default(),
    });
    let scene = Scene { subject, ..scene };
    let told = scene.watch();
    scene.fake.wait_calls(&format!("reattach {HANDLE} 5 0"), 1);
    scene.fake.wait_calls("attached", 1);
    scene.fake.exit(HANDLE, 0);
    assert_eq!(scene.wait(&told).why(), None);
    assert_eq!(logged(&path, Stream::Stdout), "new\n");
}

#[test]
fn an_adopted_container_that_has_ended_is_read_to_its_end() {
    let scene = Scene::new();
    scene.fake.put(HANDLE, exited(7));
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "all\n");
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(7), None));
    assert_eq!(scene.log(Stream::Stdout), "all\n");
}

// new order
#[test]
fn an_adopted_container_whose_engine_was_away_at_first_is_read_all_the_same() {
    let scene = Scene::new();
    scene.fake.put(HANDLE, exited(7));
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "all\n");
    scene.fake.script("inspect", [Fails(unreachable())]);
    let ended = scene.end();
    assert_eq!(ended.exit.code, Some(7));
    assert_eq!(scene.log(Stream::Stdout), "all\n");
    // Nobody can say that the engine has kept all while it was away.
    assert_eq!(ended.why(), Some("the engine is away"));
}

#[test]
fn a_code_that_the_engine_does_not_tell_is_the_clients() {
    for traits in [FORGETS, Traits::default()] {
        let scene = Scene::started_on(traits);
        scene.fake.set(HANDLE, codeless());
        scene.detach(AttachEnd::Code(3));
        let ended = scene.end();
        assert_eq!((ended.exit.code, ended.why()), (Some(3), None));
        assert_eq!(ended.exit.error, None);
    }
}

#[test]
fn a_code_that_nobody_heard_is_lost_where_the_engine_forgets() {
    for (end, why) in [
        (
            AttachEnd::Interrupted,
            "the client that read the container's output was killed",
        ),
        (last_words(1, "Error: cancelled\n", false), "cancelled"),
        (
            AttachEnd::Complete,
            "no client read the container's output when it exited",
        ),
    ] {
        let scene = Scene::started_on(FORGETS);
        scene.fake.set(HANDLE, codeless());
        scene.detach(end);
        let ended = scene.end();
        assert_eq!((ended.exit.code, ended.why()), (None, Some(why)));
        let error = ended.exit.error.unwrap();
        assert_eq!(error, format!("the exit code is unknown: {why}"));
        assert_eq!(scene.fake.count("reattach"), 0, "there is nothing to read");
    }
}

#[test]
fn a_client_that_was_killed_is_said_at_once_where_the_engine_forgets() {
    let scene = Scene::started_on(FORGETS);
    let told = scene.watch();
    scene.fake.wait_calls("seen to run", 1);
    scene.fake.detach(HANDLE, AttachEnd::Interrupted);
    scene.fake.wait_calls("noticed", 1);
    // It is looked at further, and that is not said again.
    scene
        .fake
        .wait_calls("inspect", scene.fake.count("inspect") + 3);
    scene.fake.set(HANDLE, codeless());
    let ended = scene.wait(&told);
    assert_eq!((ended.exit.code, scene.notices().len()), (None, 1));
    assert_eq!(
        ended.why(),
        Some("no client read the container's output any more")
    );
}

/// Its client waits for the end, so what the engine says may be behind.
// new order
#[test]
fn a_client_that_has_a_code_is_believed_before_the_engine_that_forgets() {
    let scene = Scene::started_on(FORGETS);
    scene
        .fake
        .script("inspect", [Sees(running()), Sees(running())]);
    scene.fake.set(HANDLE, codeless());
    scene.detach(AttachEnd::Code(4));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.why()), (Some(4), None));
    assert_eq!(scene.notices(), [""; 0]);
}

// new order
#[test]
fn an_adopted_container_whose_engine_forgets_is_lost_since_it_was_last_heard() {
    let scene = Scene::on(Fake::of_kind(FORGETS));
    let since = Timestamp::now();
    *scene.subject.started_at.lock().unwrap() = Some(since);
    scene.fake.put(HANDLE, codeless());
    let ended = scene.end();
    assert_eq!(ended.exit.code, None);
    assert_eq!(ended.missing.map(|(at, _)| at), Some(since));
}

// new order
#[test]
fn what_was_removed_keeps_the_code_that_was_heard_where_the_engine_forgets() {
    let scene = Scene::started_on(FORGETS);
    scene.fake.vanish(HANDLE, AttachEnd::Code(137));
    let ended = scene.end();
    assert_eq!((ended.exit.code, ended.exit.was_removed), (Some(137), true));
    assert_eq!(ended.why(), None);
}

#[test]
fn the_end_of_a_workload_that_nobody_can_tell_is_missing_output() {
    let scene = Scene::started();
    scene.fake.set(HANDLE, codeless());
    scene.detach(AttachEnd::Complete);
    let ended = scene.end();
    assert_eq!(ended.exit.code, None);
    assert_eq!(ended.why(), Some("the workload's exit is unknown"));
}

/// The answer to the first attempt was lost, and the second finds the container.
// new order
#[test]
fn a_lost_answer_to_listening_again_costs_nothing() {
    let scene = Scene::started();
    scene.print("one\n");
    scene.fake.set(HANDLE, exited(0));
    scene.fake.script("inspect", [Sees(running())]);
    scene.fake.script("reattach", [DoneBut(silence())]);
    scene.fake.print_unheard(HANDLE, Stream::Stdout, "two\n");
    scene.detach(AttachEnd::Interrupted);
    let ended = scene.end();
    assert_eq!(ended.exit.code, Some(0));
    assert_eq!(scene.log(Stream::Stdout), "one\ntwo\n");
    assert_eq!(scene.fake.count("reattach"), 2);
}
