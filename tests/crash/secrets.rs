//! A value given by `-e NAME` appears on no command line and in none of moat's files, at any time.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::support::{EXITED_7, assert_ended, on_all};
use crate::harness::{Moat, SAMPLE_INTERVAL};

on_all!(
    values_from_the_environment_stay_there,
    values_that_the_client_would_obey_stay_there,
);

const SECRET: &str = "s3cr3t-0f4a91c27be84d6f";
/// A word on the workload's command line, which proves that the search finds words there.
const CONTROL: &str = "c0ntr0l-77aa10";

/// The time between two looks at all files of MOAT_HOME.
const FILE_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Watcher {
    over: AtomicBool,
    rounds: AtomicUsize,
    secrets: AtomicUsize,
    controls: AtomicUsize,
}

impl Watcher {
    fn look(&self, bytes: &[u8]) {
        let has = |word: &str| {
            bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        };
        self.secrets
            .fetch_add(usize::from(has(SECRET)), Ordering::Relaxed);
        self.controls
            .fetch_add(usize::from(has(CONTROL)), Ordering::Relaxed);
    }

    fn until_over(&self, interval: Duration, round: impl Fn()) {
        while !self.over.load(Ordering::Acquire) {
            round();
            self.rounds.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(interval);
        }
    }

    fn assert_clean(&self, what: &str) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!(count(&self.secrets), 0, "the value was seen in {what}");
        assert!(
            count(&self.controls) > 0,
            "the control was never seen in {what}"
        );
        eprintln!("looked at {what} {} times", count(&self.rounds));
    }
}

fn command_lines(watcher: &Watcher) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        if entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            watcher.look(&fs::read(entry.path().join("cmdline")).unwrap_or_default());
        }
    }
}

fn files(dir: &Path, watcher: &Watcher) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), watcher),
            Ok(kind) if kind.is_file() => {
                watcher.look(&fs::read(entry.path()).unwrap_or_default());
            }
            _ => {}
        }
    }
}

fn values_from_the_environment_stay_there(moat: &Moat) {
    keep_secret(moat, "API_TOKEN");
}

/// docker's client would obey these variables, so moat passes them on in another way.
fn values_that_the_client_would_obey_stay_there(moat: &Moat) {
    keep_secret(moat, "HTTPS_PROXY");
}

fn keep_secret(moat: &Moat, name: &str) {
    let (arguments, on_disk) = (Watcher::default(), Watcher::default());
    // The length proves that the value arrived. The name of the run proves that the search of the disk works.
    let script = format!("sleep 0.3; [ ${{#{name}}} = {} ] && exit 7", SECRET.len());
    let words = ["sh", "-c", &script, CONTROL];
    std::thread::scope(|scope| {
        scope.spawn(|| arguments.until_over(SAMPLE_INTERVAL, || command_lines(&arguments)));
        scope.spawn(|| on_disk.until_over(FILE_INTERVAL, || files(moat.home(), &on_disk)));
        let call = moat.run_with(["-e", name, "-n", CONTROL], words);
        let done = call.env(name, SECRET).spawn().wait();
        arguments.over.store(true, Ordering::Release);
        on_disk.over.store(true, Ordering::Release);
        assert_eq!(done.code, Some(7), "{done}");
    });
    arguments.assert_clean("/proc/*/cmdline");
    on_disk.assert_clean("MOAT_HOME");
    let id = moat.only_id();
    assert_ended(moat, &id, EXITED_7);
    for command in [["inspect", "--json"], ["logs", "--json"]] {
        let shown = moat.args(command).arg(&id).any_stdout().success();
        assert!(!shown.stdout_text().contains(SECRET), "{shown}");
    }
}
