//! The last line of a run.

use crate::store::{RunEnd, RunId};

/// Returns the last line of a run: its end, and the command that prints its output.
pub(super) fn summary(ended: &RunEnd, name: &str, id: &RunId, error: Option<&str>) -> String {
    let reason = ended.reason.map_or("", |reason| reason.as_str());
    let how = match (reason, error) {
        ("exited", _) => format!("exited with code {}", ended.exit_status),
        ("user-stop", _) => "was stopped".to_owned(),
        ("killed", _) => "was killed".to_owned(),
        ("timeout", Some(error)) => format!("was stopped: {error}"),
        ("timeout", None) => "was stopped: its timeout expired".to_owned(),
        ("oom", _) => "was killed by the kernel: it ran out of memory".to_owned(),
        (_, Some(error)) => format!("failed: {error}"),
        (_, None) => format!("failed: {reason}"),
    };
    format!("{name} {how}. Use 'moat logs {id}' to see its output.")
}
