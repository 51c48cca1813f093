//! The passwords that moat generates: strong, new for each run, and visible only to the workload and the service.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::support::wait_for;
use crate::harness::{Moat, Runtime, SAMPLE_INTERVAL, until};
use crate::services::place::{MARIADB, POSTGRES, Place, REDIS, SERVERS};

const FOUR: &str = "\
base_image: moat-test/servers:1
dependencies: [postgres@15, redis@7, mariadb@10.11]
services:
  postgres: {image: moat-test/postgres:15}
  redis: {image: moat-test/redis:7}
  other: {service: redis, image: moat-test/redis:7}
  mariadb: {image: moat-test/mariadb:10.11}
";

const REDIS_ALONE: &str = "\
base_image: moat-test/servers:1
dependencies: [redis@7]
services:
  redis: {image: moat-test/redis:7}
";

/// Returns the passwords that a workload wrote to a file in the workspace.
fn told(place: &Place) -> Vec<String> {
    let text = fs::read_to_string(place.workspace().join("env")).expect("the workload's variables");
    let found = text.lines().filter_map(|line| line.split_once('='));
    found
        .filter(|(name, _)| name.starts_with("MOAT_") && name.ends_with("_PASSWORD"))
        .map(|(_, value)| value.to_owned())
        .collect()
}

/// Returns the files below a directory that contain one of the words.
fn files_with(dir: &Path, words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_with(&path, words));
        } else {
            let content = fs::read(&path).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            if words.iter().any(|word| content.contains(word.as_str())) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Returns the result of `work`, and the command lines of all processes of the machine meanwhile: of moat, of docker,
/// and of processes in containers.
fn watch_arguments<T>(work: impl FnOnce() -> T) -> (T, BTreeSet<String>) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let entries = fs::read_dir("/proc").expect("/proc").flatten();
                for entry in entries {
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
                std::thread::sleep(SAMPLE_INTERVAL);
            }
            seen
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, watcher.join().expect("it watches"))
    })
}

pub(crate) fn nobody_sees_them(runtime: Runtime) {
    let Some(place) = Place::with(runtime, &[SERVERS, POSTGRES, REDIS, MARIADB]) else {
        return;
    };
    place.moat_yaml(FOUR);
    let script = format!(
        "env >env.part; mv env.part env; echo \"$MOAT_OTHER_PASSWORD\"; {}",
        wait_for("go")
    );
    let (id, arguments) = watch_arguments(|| {
        let id = place.behind(&script);
        until("the workload has written its variables", || {
            place.workspace().join("env").exists()
        });
        id
    });
    let first = told(&place);
    assert_eq!(first.len(), 4, "{first:?}");
    for password in &first {
        assert!(
            password.len() == 32 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{first:?}"
        );
    }
    // The workload reads these passwords but does not print them.
    let text = fs::read_to_string(place.workspace().join("env")).expect("it is there");
    let printed = text
        .lines()
        .find_map(|line| line.strip_prefix("MOAT_OTHER_PASSWORD="));
    let printed = printed.expect("the variable").to_owned();
    let secret: Vec<String> = first
        .iter()
        .filter(|one| **one != printed)
        .cloned()
        .collect();
    assert_eq!(secret.len(), 3);

    assert!(
        arguments
            .iter()
            .any(|line| line.starts_with("docker create"))
            || place.calls().contains("create --name"),
        "the watcher sees"
    );
    let told_in = arguments
        .iter()
        .find(|line| first.iter().any(|word| line.contains(word.as_str())));
    assert_eq!(told_in, None);
    place.wait_log(&id, &printed);
    let home = place.home().to_owned();
    let own_log = place.run_dir(&id).join("logs.jsonl").display().to_string();
    assert_eq!(files_with(&home, &secret), [""; 0], "during the run");
    assert_eq!(
        files_with(&home, std::slice::from_ref(&printed)),
        [own_log.as_str()]
    );
    place.write("go", "");
    place.args(["wait", &id]).success();
    place.assert_nothing_left();
    assert_eq!(files_with(&home, &secret), [""; 0], "after the run");
    assert_eq!(
        files_with(&home, std::slice::from_ref(&printed)),
        [own_log.as_str()]
    );
    let calls = place.calls();
    assert!(calls.contains("--env POSTGRES_PASSWORD"), "{calls}");
    assert!(!first.iter().any(|word| calls.contains(word.as_str())));

    // Another run has other passwords.
    place.moat_yaml(REDIS_ALONE);
    place.quiet("env >env").success();
    let mut all: BTreeSet<String> = first.into_iter().collect();
    all.extend(told(&place));
    assert_eq!(all.len(), 5, "each is another one: {all:?}");
}

/// A plan contains neither a generated password nor one that the user wrote in moat.yaml.
#[test]
fn plans_have_none() {
    let moat = Moat::new().env("MOAT_RUNTIME", "docker");
    moat.write(
        "moat.yaml",
        "dependencies: [postgres, redis]\n\
         services: {postgres: {env: {POSTGRES_PASSWORD: s3cret-v4lue}}, \
         redis: {env: {REDIS_PASSWORD: env://S3CRET_PLACE}}}\n",
    );
    for flags in [&["--json"][..], &[]] {
        let call = moat.args(["run", "--dry-run"]).args(flags);
        let call = call
            .args(["--", "true"])
            .env("S3CRET_PLACE", "s3cret-v4lue");
        let text = call.any_stdout().success().stdout_text();
        assert!(
            text.contains("POSTGRES_PASSWORD") || flags.is_empty(),
            "{text}"
        );
        assert!(
            !text.contains("s3cret-v4lue") && !text.contains("S3CRET_PLACE"),
            "{text}"
        );
        let is_password = |word: &str| word.len() == 32;
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        assert!(!words.any(is_password), "{text}");
    }
}
