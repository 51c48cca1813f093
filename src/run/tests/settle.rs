//! From the end of the container to its removal: kept, closed, recorded, signalled, removed.

use super::*;
use crate::runtime::fake::Answer::{Fails, Says};
use crate::runtime::fake::{exited, refusal, silence, unreachable};

/// A run that asks, between its log and its record, whether it was the hook that failed.
fn hooked() -> Rig {
    Rig::started_with(|record| record.pre_run = true)
}

/// What is on disk at two moments of the end.
#[test]
fn the_log_is_closed_before_the_end_is_recorded_and_that_before_anything_is_removed() {
    let rig = hooked();
    let (dir, supervisor, fake) = (
        rig.dir.clone(),
        Arc::clone(&rig.supervisor),
        rig.fake.clone(),
    );
    rig.fake.on("pre-run-failed", move |_| {
        let record = dir.load().record().unwrap();
        let log = logged(&dir.log(), Stream::Stdout);
        let is_raised = supervisor.exit.wait(Some(Instant::now()));
        fake.note(&format!(
            "log {log:?}, {:?}, raised {is_raised}",
            record.state
        ));
    });
    let (dir, supervisor, fake) = (
        rig.dir.clone(),
        Arc::clone(&rig.supervisor),
        rig.fake.clone(),
    );
    rig.fake.on("remove", move |_| {
        let record = dir.load().record().unwrap();
        let is_raised = supervisor.exit.wait(Some(Instant::now()));
        fake.note(&format!("{:?}, raised {is_raised}", record.state));
    });
    rig.fake.print(&rig.id, Stream::Stdout, "no newline");
    let record = rig.end_with(3);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert!(record.is_clean());
    let noted = rig.calls(&["log", "Failed,"]);
    assert_eq!(
        noted,
        [
            "log \"no newline\", Running, raised false",
            "Failed, raised true"
        ]
    );
}

#[test]
fn who_waits_for_the_signal_finds_the_end_on_disk() {
    let rig = Rig::started();
    let (dir, supervisor) = (rig.dir.clone(), Arc::clone(&rig.supervisor));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        supervisor.exit.wait(None);
        let _ = tell.send(dir.load().record().unwrap());
    });
    rig.end_with(0);
    let seen = told.recv_timeout(NEVER).unwrap();
    assert_eq!(
        ending(&seen),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
}

/// Not for want of space, for which some is kept back.
// new order
#[test]
fn an_end_that_cannot_be_recorded_is_neither_signalled_nor_cleaned_up_until_it_is() {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    rig.dir.break_record();
    rig.fake.exit(&rig.id, 3);
    rig.told("it waits", |message| {
        matches!(message, ToClient::Notice { text } if text.contains("waiting until it can be written"))
    });
    assert!(!rig.supervisor.exit.wait(Some(Instant::now())));
    assert_eq!(rig.fake.count("remove"), 0);
    rig.dir.mend_record();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert!(record.is_clean());
    assert_eq!(rig.notices().len(), 1, "it is said once");
}

// new order
#[test]
fn a_stop_while_the_end_cannot_be_recorded_does_not_change_it() {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    rig.dir.break_record();
    rig.fake.set(&rig.id, long_ago(3));
    rig.fake.detach(&rig.id, crate::runtime::AttachEnd::Code(3));
    rig.told("it waits", |message| {
        matches!(message, ToClient::Notice { .. })
    });
    rig.end(EndReason::UserStop);
    rig.dir.mend_record();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
}

/// There is no place to write to, and nobody to read it.
// new order
#[test]
fn a_run_whose_directory_is_gone_is_removed_from_the_engine_all_the_same() {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    std::fs::remove_dir_all(rig.dir.path()).unwrap();
    rig.fake.exit(&rig.id, 3);
    assert!(done.recv_timeout(NEVER).is_ok());
    assert_eq!(rig.fake.left(), [""; 0]);
}

/// A record that could not be written while it ran is written with the end.
// new order
#[test]
fn a_change_that_could_not_be_written_is_in_the_next_one() {
    let rig = Rig::started();
    rig.dir.break_record();
    let done = rig.oversee();
    rig.seen_to_run();
    rig.dir.mend_record();
    assert_eq!(rig.on_disk().started_at, None);
    assert!(rig.diary().contains("record: "), "{}", rig.diary());
    rig.fake.exit(&rig.id, 0);
    let record = rig.over(&done);
    assert!(record.started_at.is_some());
    assert_eq!(record.state, RunState::Stopped);
}

/// As on a disk that stays full.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_takes_nothing_costs_neither_code_nor_state() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::AsRawFd;
    let scratch = Scratch::new();
    let run = scratch.reserve(|record| record.state = RunState::Starting);
    let full = memfd_create("log", MemfdFlags::ALLOW_SEALING).unwrap();
    let path = format!("/proc/self/fd/{}", full.as_raw_fd());
    std::fs::remove_file(run.dir().log()).unwrap();
    std::os::unix::fs::symlink(path, run.dir().log()).unwrap();
    let rig = Rig::of(scratch, run);
    fcntl_add_seals(&full, SealFlags::GROW).unwrap();
    rig.start();
    rig.fake.print(&rig.id, Stream::Stdout, "lost\n");
    let record = rig.end_with(3);
    assert_eq!(
        ending(&record),
        (RunState::Failed, EndReason::Exited, Some(3))
    );
    assert!(!record.log.complete && record.log.missing_since >= record.started_at);
    assert!(record.is_clean());
}

#[test]
fn a_hook_that_failed_is_told_from_the_command() {
    for (answer, code, reason, error) in [
        (
            Says(true),
            3,
            EndReason::HookFailed,
            Some("the hook pre_run failed with exit code 3"),
        ),
        (Says(false), 3, EndReason::Exited, None),
    ] {
        let rig = hooked();
        rig.fake.script("pre-run-failed", [answer]);
        let record = rig.end_with(code);
        assert_eq!(ending(&record), (RunState::Failed, reason, Some(3)));
        assert_eq!(record.error.as_deref(), error);
    }
}

#[test]
fn a_command_that_succeeded_had_no_hook_that_failed() {
    let rig = hooked();
    let record = rig.end_with(0);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
    assert_eq!(rig.fake.count("pre-run-failed"), 0);
}

// new order
#[test]
fn an_engine_that_cannot_say_whether_it_was_the_hook_costs_no_code() {
    for problem in [unreachable(), silence(), refusal()] {
        let rig = hooked();
        rig.fake.script("pre-run-failed", [Fails(problem)]);
        let record = rig.end_with(3);
        assert_eq!(
            ending(&record),
            (RunState::Failed, EndReason::Exited, Some(3))
        );
        assert!(rig.diary().contains("was it the hook?"));
    }
}

#[test]
fn times_of_the_engine_do_not_run_backwards() {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    rig.fake.set(&rig.id, long_ago(3));
    rig.fake.detach(&rig.id, crate::runtime::AttachEnd::Code(3));
    let record = rig.over(&done);
    assert!(record.started_at >= Some(record.created_at));
    assert!(record.finished_at >= record.started_at);
}

#[test]
fn a_container_that_somebody_removed_is_lost() {
    let rig = Rig::started();
    let done = rig.oversee();
    rig.seen_to_run();
    rig.fake
        .vanish(&rig.id, crate::runtime::AttachEnd::Interrupted);
    let record = rig.over(&done);
    assert_eq!(ending(&record), (RunState::Failed, EndReason::Lost, None));
    assert!(record.is_clean());
}

#[test]
fn want_of_memory_is_told_from_a_kill() {
    for (code, reason) in [
        (137, EndReason::Oom),
        (0, EndReason::Exited),
        (3, EndReason::Exited),
    ] {
        let rig = Rig::started();
        let done = rig.oversee();
        rig.seen_to_run();
        let Inspected::Exited(exit) = exited(code) else {
            unreachable!()
        };
        let oom_killed = true;
        rig.fake
            .set(&rig.id, Inspected::Exited(Exit { oom_killed, ..exit }));
        rig.fake
            .detach(&rig.id, crate::runtime::AttachEnd::Code(code));
        let record = rig.over(&done);
        assert_eq!((record.reason, record.oom_killed), (Some(reason), true));
    }
}

#[test]
fn the_start_is_told_once_and_the_end_last() {
    let rig = Rig::started();
    rig.fake.print(&rig.id, Stream::Stdout, "out\n");
    rig.end_with(3);
    rig.told("it is over", |message| {
        matches!(message, ToClient::Finished { .. })
    });
    let told = rig.told.0.lock().unwrap();
    assert!(matches!(
        told[..],
        [
            ToClient::Started { .. },
            ToClient::Finished {
                left_behind: false,
                ..
            }
        ]
    ));
}

/// It was too quick to be seen.
#[test]
fn a_run_that_ends_before_anybody_looked_has_started_all_the_same() {
    let rig = Rig::started();
    rig.fake.exit(&rig.id, 0);
    let done = rig.oversee();
    let record = rig.over(&done);
    assert_eq!(
        ending(&record),
        (RunState::Stopped, EndReason::Exited, Some(0))
    );
    rig.seen_to_run();
}

/// Output says that it runs, but not where its ports are.
#[test]
fn a_run_with_ports_has_not_started_before_the_engine_says_where_they_are() {
    let rig = Rig::started_with(|record| {
        record.settings.network.ports = vec![crate::store::PublishedPort {
            name: "web".to_owned(),
            container: 80,
            host: None,
        }];
    });
    let hold = rig.fake.hold("inspect");
    rig.fake.print(&rig.id, Stream::Stdout, "out\n");
    let done = rig.oversee();
    hold.arrived();
    assert_eq!(rig.on_disk().started_at, None);
    rig.fake.set(
        &rig.id,
        Inspected::Running {
            started_at: Some(Timestamp::now()),
            ports: vec![(80, 4711)],
        },
    );
    hold.release();
    rig.seen_to_run();
    assert_eq!(rig.on_disk().settings.network.ports[0].host, Some(4711));
    rig.fake.exit(&rig.id, 0);
    assert_eq!(rig.over(&done).settings.network.ports[0].host, Some(4711));
}
