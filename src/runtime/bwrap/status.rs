//! The state of a sandbox in its files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

/// [`super::init`] writes this mark to standard error before it becomes the workload. The output before the mark is
/// bwrap's, the output after it is the workload's. Without the mark, the workload never ran.
pub(super) const STARTED_MARK: &[u8] = b"\0moat: the sandbox stands\0\n";

/// Maximum size of bwrap's output before the mark.
const MAX_SETUP_BYTES: u64 = 64 * 1024;

/// The offset of the workload's standard error in `stderr`; `None` if the workload has not started.
pub(super) fn started(dir: &Path) -> Option<u64> {
    let head = head(dir);
    let mark = head
        .windows(STARTED_MARK.len())
        .position(|window| window == STARTED_MARK)?;
    Some((mark + STARTED_MARK.len()) as u64)
}

/// The output before the workload started.
pub(super) fn setup_output(dir: &Path) -> String {
    String::from_utf8_lossy(&head(dir)).into_owned()
}

fn head(dir: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(dir.join("stderr")) {
        let _ = file.take(MAX_SETUP_BYTES).read_to_end(&mut head);
    }
    head
}

/// A line of `--json-status-fd`. bwrap's manual says that unknown members must be ignored.
#[derive(Deserialize)]
struct StatusLine {
    #[serde(rename = "child-pid")]
    child_pid: Option<u32>,
    #[serde(rename = "exit-code")]
    exit_code: Option<i64>,
}

/// The pid of the sandbox's first process, in the host's namespace.
pub(super) fn child_pid(dir: &Path) -> Option<u32> {
    lines(dir).iter().find_map(|line| line.child_pid)
}

/// The workload's exit code; `None` if bwrap recorded none.
pub(super) fn exit_code(dir: &Path) -> Option<u8> {
    let code = lines(dir).iter().find_map(|line| line.exit_code)?;
    u8::try_from(code).ok()
}

fn lines(dir: &Path) -> Vec<StatusLine> {
    let bytes = fs::read(dir.join("status")).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .map_while(|line| serde_json::from_slice(line).ok())
        .collect()
}
