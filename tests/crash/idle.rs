//! The cost of an idle run. tests/bench checks the limits of a release; this test finds costs that would be a defect
//! in any build.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::Moat;
use crate::harness::support::{on_all, shim_of, supervisor_of};

on_all!(an_idle_run_costs_next_to_nothing);

const WATCHED: Duration = Duration::from_secs(3);

/// Units per second in `/proc/PID/stat`: USER_HZ, the same on every Linux.
const TICKS: f64 = 100.0;

fn an_idle_run_costs_next_to_nothing(moat: &Moat) {
    let id = moat.background("exec sleep 600");
    let mut processes = vec![("supervisor", supervisor_of(moat, &id))];
    if moat.run_dir(&id).join("sandbox").exists() {
        processes.push(("shim", shim_of(moat, &id)));
    }
    let before: Vec<f64> = processes.iter().map(|(_, pid)| cpu_seconds(*pid)).collect();
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    for ((role, pid), before) in processes.iter().zip(before) {
        let share = (cpu_seconds(*pid) - before) / WATCHED.as_secs_f64();
        let dirty = dirty_kib(*pid);
        eprintln!(
            "{role}: {dirty} KiB of memory of its own, {:.2} % of a core",
            share * 100.0
        );
        // Relocations alone take a few hundred KiB: the tested binary is a few times larger than the release.
        assert!(dirty < 2 * 1024, "{role}: {dirty} KiB");
        assert!(share < 0.1, "{role}: {share} of a core");
    }
    moat.args(["kill", &id]).any_stdout().success();
}

/// The pages that the process has written. The pages of the binary, which a process shares with each other process of
/// moat, count only for the release (tests/bench): an unoptimised binary has megabytes of them.
fn dirty_kib(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let mut sizes = rollup
        .lines()
        .filter_map(|line| line.strip_prefix("Private_Dirty:"));
    let size = sizes.next().unwrap().trim().trim_end_matches(" kB");
    size.parse().unwrap()
}

/// Returns the processor time of the process and of its ended children.
fn cpu_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields = rest.split(' ').skip(11).take(4);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS
}
