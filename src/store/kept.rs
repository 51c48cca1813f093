//! Test: what earlier versions wrote (`testdata/records/VERSION`) is read, and loses nothing when it is written again.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::log_entry::LogEntry;
use super::run_dir::OwnerLockContent;
use super::run_record::RunRecord;
use super::session_dir::{ProcessState, ServiceVariables};
use super::session_record::Session;
use super::{ProcessIdentity, log_entry};

/// All files below the directory of the records of earlier versions.
fn kept_files() -> Vec<PathBuf> {
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records/0.1")];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

/// The files of one kind, which are so many.
fn kept(count: usize, is_of_kind: impl Fn(&Path) -> bool) -> Vec<(PathBuf, Vec<u8>)> {
    let files: Vec<PathBuf> = kept_files()
        .into_iter()
        .filter(|path| is_of_kind(path))
        .collect();
    assert_eq!(files.len(), count, "{files:#?}");
    let with_content = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(with_content).collect()
}

fn is_called(name: &str) -> impl Fn(&Path) -> bool {
    move |path| path.file_name().is_some_and(|found| found == name)
}

fn has_extension(extension: &str) -> impl Fn(&Path) -> bool {
    move |path| path.extension().is_some_and(|found| found == extension)
}

/// The names that members of a session's record have now: the member that holds the object, the old name, the new one.
const RENAMED: [(&str, &str, &str); 12] = [
    ("operation", "before", "previous_status"),
    ("worktree", "ours", "created_by_moat"),
    ("files", "how", "kind"),
    ("ports", "process", "name"),
    ("ports", "of_compose", "from_compose"),
    ("processes", "again", "existed_before"),
    ("processes", "keeper", "monitor"),
    ("list", "settings", "settings_hash"),
    ("list", "again", "existed_before"),
    ("compose", "asked", "request_pending"),
    ("services", "once", "one_shot"),
    ("services", "again", "existed_before"),
];

/// A record of a session with the names that its members have now. `parent`: the member that holds the value.
fn with_new_names(value: &mut Value, parent: &str) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| with_new_names(item, parent)),
        Value::Object(members) => {
            for (_, old, new) in RENAMED.iter().filter(|(object, ..)| *object == parent) {
                if let Some(member) = members.remove(*old) {
                    assert!(members.insert((*new).to_owned(), member).is_none(), "{new}");
                }
            }
            for (name, member) in members {
                with_new_names(member, name);
            }
        }
        _ => {}
    }
}

/// Removes the members that the older version lacks, if they have no value.
fn without_new(after: &mut Value, before: &Value) {
    let (Some(after), Some(before)) = (after.as_object_mut(), before.as_object()) else {
        return;
    };
    let has_no_value = |value: &Value| {
        value.is_null()
            || *value == Value::Bool(false)
            || *value == 0
            || *value == Value::Array(Vec::new())
    };
    after.retain(|name, value| before.contains_key(name) || !has_no_value(value));
}

/// Reads each file, writes it again, and compares the two documents member by member.
fn come_back<T: Serialize>(
    files: &[(PathBuf, Vec<u8>)],
    read: impl Fn(&[u8]) -> serde_json::Result<T>,
) {
    come_back_as(files, read, |_| {});
}

/// The same for files whose members may have other names now, which `rename` gives to the members of the file.
fn come_back_as<T: Serialize>(
    files: &[(PathBuf, Vec<u8>)],
    read: impl Fn(&[u8]) -> serde_json::Result<T>,
    rename: impl Fn(&mut Value),
) {
    for (path, bytes) in files {
        let mut before: Value = serde_json::from_slice(bytes).unwrap();
        rename(&mut before);
        let value = read(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut after = serde_json::to_value(&value).unwrap();
        without_new(&mut after, &before);
        assert_eq!(after, before, "{}", path.display());
    }
}

#[test]
fn records_of_runs_come_back() {
    let files = kept(RUNS, is_called("run.json"));
    come_back::<RunRecord>(&files, |bytes| serde_json::from_slice(bytes));
}

#[test]
fn owners_come_back() {
    let files = kept(RUNS, is_called("owner.lock"));
    come_back::<OwnerLockContent>(&files, |bytes| serde_json::from_slice(bytes));
}

#[test]
fn identities_of_shims_come_back() {
    come_back::<ProcessIdentity>(&kept(4, is_called("shim")), |bytes| {
        serde_json::from_slice(bytes)
    });
}

#[test]
fn records_of_sessions_come_back() {
    let of_session =
        |path: &Path| path.to_string_lossy().contains("/sessions/") && has_extension("json")(path);
    let files = kept(6, of_session);
    let read = |bytes: &[u8]| serde_json::from_slice::<Session>(bytes);
    come_back_as(&files, read, |record| with_new_names(record, ""));
    // A record of today comes back as it is.
    let today = |(path, bytes): (PathBuf, Vec<u8>)| {
        let record = serde_json::to_vec(&read(&bytes).unwrap()).unwrap();
        (path, record)
    };
    let files: Vec<_> = files.into_iter().map(today).collect();
    come_back(&files, read);
}

#[test]
fn states_of_processes_come_back() {
    come_back::<ProcessState>(&kept(9, has_extension("state")), |bytes| {
        serde_json::from_slice(bytes)
    });
}

#[test]
fn variables_of_services_come_back() {
    come_back::<ServiceVariables>(&kept(5, has_extension("vars")), |bytes| {
        serde_json::from_slice(bytes)
    });
}

/// Each line of each log, to the byte.
#[test]
fn lines_of_logs_come_back() {
    let mut lines = 0;
    for path in kept_files()
        .into_iter()
        .filter(|path| has_extension("jsonl")(path))
    {
        let bytes = fs::read(&path).unwrap();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let entry = LogEntry::parse(line)
                .unwrap_or_else(|| panic!("{}: {}", path.display(), line.escape_ascii()));
            let mut again = Vec::new();
            log_entry::encode(&mut again, &entry.ts, entry.stream, &entry.data, entry.eol);
            assert_eq!(
                again.escape_ascii().to_string(),
                line.escape_ascii().to_string()
            );
            assert!(entry.time().is_some(), "{}", path.display());
            lines += 1;
        }
    }
    assert!(lines > 120, "{lines}");
}

/// How many runs there are.
const RUNS: usize = 73;
