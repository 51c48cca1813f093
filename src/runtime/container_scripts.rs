//! The scripts for `sh` that moat runs inside containers on every engine, with the varying parts as arguments.

/// The directory in which a container leaves notes for moat.
pub(super) const NOTES_DIR: &str = "/run/moat";

/// The note that the script before the command failed.
pub(super) const PRE_RUN_FAILED_NOTE: &str = "pre-run-failed";

/// Runs the script, then becomes the command. Its arguments: the script, the command. The script does not consume the
/// command's input.
pub(super) const PRE_RUN_SCRIPT: &str = "sh -ec \"$1\" pre_run </dev/null; code=$?; shift; \
    if [ $code != 0 ]; then echo $code >/run/moat/pre-run-failed; exit $code; fi; exec \"$@\"";

/// The variable that identifies a command beside the container's own, and all of its descendants.
pub(super) const EXEC_MARKER_VARIABLE: &str = "MOAT_EXEC";

/// Sends the signal `$2` to every process with the marker `$1`; fails if there is none. Processes whose environment
/// is not readable are skipped.
pub(super) const KILL_SCRIPT: &str = "found=; for process in /proc/[0-9]*; do \
    tr '\\0' '\\n' < $process/environ 2> /dev/null | grep -qxF \"$1\" && \
    kill -$2 ${process#/proc/} && found=1; done; [ \"$found\" ]";
