//! Many runs at once.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use crate::harness::support::{
    Bwrap, Docker, assert_log, is_terminal, lines, print_lines, wait_for,
};
use crate::harness::{Moat, Runtime, skip, until};

const LINES: u32 = 20;

/// Starts `size` runs that are all active at the same time: none ends before the last has started.
fn crowd(moat: &Moat, size: u32) {
    let clients: Vec<_> = (0..size)
        .map(|number| {
            let script = format!(
                "{}touch /workspace/started-{number}; {}exit {}",
                print_lines(1, LINES),
                wait_for("go"),
                code(number)
            );
            let call = moat.sh(&script).deadline(Duration::from_secs(150));
            call.spawn()
        })
        .collect();
    let started = || {
        let entries = fs::read_dir(moat.workspace()).unwrap().flatten();
        let started =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("started-"));
        started.count()
    };
    // Waits in four steps, because each wait has its own timeout.
    for step in 1..=4 {
        let many = (size * step / 4) as usize;
        until(&format!("{many} of {size} have started"), || {
            started() >= many
        });
    }
    assert_eq!(moat.ids().len(), size as usize);
    moat.write("go", "");
    for (number, client) in clients.into_iter().enumerate() {
        let done = client.wait();
        let number = u32::try_from(number).unwrap();
        assert_eq!(done.code, Some(code(number)), "{done}");
        assert_eq!(done.stdout_text(), lines("line-", 1, LINES));
        assert_eq!(done.stderr_text(), lines("error-", 1, LINES));
    }
    let left = moat.leftovers();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_records(moat, size);
}

fn code(number: u32) -> i32 {
    i32::try_from(number % 100).unwrap()
}

fn assert_records(moat: &Moat, size: u32) {
    let ids = moat.ids();
    let records: Vec<_> = ids.iter().map(|id| moat.record(id)).collect();
    let names: HashSet<&str> = records
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), size as usize, "names are unique");
    let mut codes: Vec<i64> = records
        .iter()
        .map(|r| r["exit_code"].as_i64().unwrap())
        .collect();
    codes.sort_unstable();
    let mut expected: Vec<i64> = (0..size).map(|number| i64::from(code(number))).collect();
    expected.sort_unstable();
    assert_eq!(codes, expected);
    for record in &records {
        assert!(
            is_terminal(record) && record["cleaned_at"].is_string(),
            "{record:#}"
        );
    }
    for id in ids.iter().step_by(ids.len() / 10) {
        assert_log(
            moat,
            id,
            &lines("line-", 1, LINES),
            &lines("error-", 1, LINES),
        );
    }
    let claimed = fs::read_dir(moat.home().join("names")).unwrap().count();
    assert_eq!(claimed, 0, "all names are released");
}

#[test]
fn two_hundred_sandboxes() {
    let Some(moat) = Moat::on(Bwrap) else { return };
    crowd(&moat, fitting(200));
}

/// Limits the number of runs by the free memory: each sandbox has a copy of the tested binary, which is large with
/// debug symbols.
fn fitting(wanted: u32) -> u32 {
    let size = fs::metadata(env!("CARGO_BIN_EXE_moat")).unwrap().len() / 1024 + 4096;
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let free: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    let fit = u32::try_from(free / 2 / size).unwrap_or(u32::MAX);
    if fit < wanted {
        skip(&format!(
            "{wanted} sandboxes do not fit into {free} kB of memory; {fit} are tried"
        ));
    }
    fit.min(wanted)
}

#[test]
fn twenty_containers() {
    let Some(moat) = Moat::on(Docker) else { return };
    crowd(&moat, 20);
}

/// Twenty runs claim one name; one of them gets it.
fn one_name(runtime: Runtime) {
    let Some(moat) = Moat::on(runtime) else {
        return;
    };
    let script = wait_for("go") + "exit 7";
    let flags = ["-n", "the-one"];
    let calls = (0..20).map(|_| moat.run_with(flags, ["sh", "-c", &script]));
    let mut clients: Vec<_> = calls.map(|call| call.spawn()).collect();
    let mut losers = Vec::new();
    until("nineteen clients have failed", || {
        let ended = clients.extract_if(.., |client| !client.is_running());
        losers.extend(ended);
        losers.len() >= 19
    });
    for loser in losers {
        let done = loser.wait();
        assert!(
            done.code.is_some_and(|code| code != 0 && code != 7),
            "{done}"
        );
        assert!(
            done.stderr_text()
                .contains("the name 'the-one' belongs to run_"),
            "{done}"
        );
    }
    assert_eq!(moat.ids().len(), 1, "the losers left no run");
    moat.write("go", "");
    let done = clients.pop().unwrap().wait();
    assert_eq!(done.code, Some(7), "{done}");
}

#[test]
fn one_name_docker() {
    one_name(Docker);
}

#[test]
fn one_name_bwrap() {
    one_name(Bwrap);
}
