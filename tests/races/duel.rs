//! Two commands on the same run, repeated many times.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::harness::support::{Bwrap, is_terminal, settled};
use crate::harness::{Call, Done, Moat, amount};

/// Returns the number of rounds.
fn rounds() -> u64 {
    amount(60, 300)
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a different time in each round, so that the rounds cover `span` milliseconds.
fn pause(round: u64, span: u64) {
    let end = Instant::now() + Duration::from_micros(round * 997 % (span * 1000));
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn finish(call: Call<'_>) -> Done {
    call.deadline(PATIENCE).spawn().wait()
}

/// Returns the record of a run that must have ended when the command that ended it returned, and must then be cleaned
/// up by its first supervisor.
#[track_caller]
fn ended(moat: &Moat, id: &str) -> Value {
    let first = moat.record(id);
    assert!(is_terminal(&first), "{first:#}");
    let record = settled(moat, id);
    for key in ["state", "reason", "exit_code", "finished_at", "log"] {
        assert_eq!(first[key], record[key], "{first:#}\n{record:#}");
    }
    let diary = moat.run_dir(id).join("supervisor.log");
    assert!(
        !diary.exists(),
        "{}",
        fs::read_to_string(diary).unwrap_or_default()
    );
    record
}

/// Asserts that terminal records have not changed since they were read.
#[track_caller]
fn assert_unchanged(moat: &Moat, seen: &[(String, Value)]) {
    for (id, record) in seen {
        assert_eq!(&moat.record(id), record, "a terminal record changed");
    }
}

#[test]
fn stop_against_the_natural_exit() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let mut seen = Vec::new();
    let mut stopped = 0;
    for round in 0..rounds() {
        let id = moat.background("sleep 0.02; exit 7");
        pause(round, 40);
        let asked = SystemTime::now();
        let done = finish(moat.args(["stop", &id]));
        assert_eq!(done.code, Some(0), "{done}");
        let record = ended(&moat, &id);
        let finished = time(&record["finished_at"]);
        let reason = record["reason"].as_str().unwrap();
        match (reason, record["exit_code"].as_u64()) {
            ("exited", Some(7)) => assert_eq!(record["state"], "failed"),
            ("user-stop", Some(7 | 143)) => {
                stopped += 1;
                assert_eq!(record["state"], "stopped");
                let early = asked.duration_since(finished).unwrap_or_default();
                assert!(
                    early < Duration::from_millis(50),
                    "ended by itself before: {record:#}"
                );
            }
            _ => panic!("{record:#}"),
        }
        let waited = finish(moat.args(["wait", &id])).code.unwrap();
        assert_eq!(
            u64::try_from(waited).unwrap(),
            record["exit_code"].as_u64().unwrap()
        );
        seen.push((id, record));
    }
    eprintln!(
        "{stopped} of {} were stopped, the others had ended",
        rounds()
    );
    assert_unchanged(&moat, &seen);
}

/// `stop` long after a run failed: it succeeds, and the run stays failed.
#[test]
fn stop_after_the_natural_exit() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    for _ in 0..20 {
        moat.sh("exit 7").status(7);
    }
    for id in moat.ids() {
        let before = fs::read(moat.run_dir(&id).join("run.json")).unwrap();
        for command in ["stop", "kill"] {
            let done = finish(moat.args([command, &id]));
            assert_eq!(done.code, Some(0), "{done}");
        }
        let after = fs::read(moat.run_dir(&id).join("run.json")).unwrap();
        assert!(before == after, "{}", String::from_utf8_lossy(&after));
    }
}

#[test]
fn stop_against_stop() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let mut seen = Vec::new();
    for round in 0..rounds() {
        let id = moat.background("exec sleep 600");
        let one = moat.args(["stop", &id]).deadline(PATIENCE).spawn();
        pause(round, 15);
        let other = finish(moat.args(["stop", &id]));
        let one = one.wait();
        assert_eq!((one.code, other.code), (Some(0), Some(0)), "{one}{other}");
        let record = ended(&moat, &id);
        let end = (&record["state"], &record["reason"], &record["exit_code"]);
        assert_eq!(end, (&"stopped".into(), &"user-stop".into(), &143.into()));
        seen.push((id, record));
    }
    assert_unchanged(&moat, &seen);
}

/// `kill` ends a run that `stop` waits for, and neither command hangs.
#[test]
fn stop_against_kill() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    // With the real times: the grace period is 10 s, and must not pass here.
    moat.real_time();
    for round in 0..50 {
        let id = moat.background("trap '' TERM; echo deaf; while :; do sleep 0.1; done");
        moat.wait_log(&id, "deaf");
        let stop = moat.args(["stop", &id]).deadline(PATIENCE).spawn();
        pause(round, 15);
        let kill = finish(moat.args(["kill", &id]));
        assert!(
            kill.took < Duration::from_secs(8),
            "it did not wait for the grace: {kill}"
        );
        let stop = stop.wait();
        assert_eq!((stop.code, kill.code), (Some(0), Some(0)), "{stop}{kill}");
        let record = ended(&moat, &id);
        assert_eq!(
            (&record["state"], &record["exit_code"]),
            (&"stopped".into(), &137.into())
        );
    }
}

#[test]
fn destroy_against_wait() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    let mut told = 0;
    for round in 0..rounds() {
        let id = moat.background("exec sleep 600");
        let waiting = moat.args(["wait", &id]).deadline(PATIENCE).spawn();
        pause(round, 15);
        let destroyed = finish(moat.args(["destroy", "-f", &id]));
        assert_eq!(destroyed.code, Some(0), "{destroyed}");
        assert!(!moat.run_dir(&id).exists());
        let waited = waiting.wait();
        match waited.code {
            Some(143) => told += 1,
            // `wait` started after the run was destroyed.
            Some(3) => {}
            _ => panic!("{waited}"),
        }
    }
    eprintln!(
        "{told} of {} waits returned the exit code; the others came too late",
        rounds()
    );
    assert!(told > rounds() / 2, "{told}");
    assert!(moat.ids().is_empty());
}

fn time(value: &Value) -> SystemTime {
    let text = value.as_str().unwrap();
    humantime::parse_rfc3339(text).unwrap()
}
