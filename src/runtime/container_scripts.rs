//! What moat runs inside containers, whatever the engine: scripts for `sh`, with what differs from call to
//! call as their arguments.

/// Where a container keeps what it tells moat.
pub(super) const NOTES_DIR: &str = "/run/moat";

/// What it calls the note that the script before the command failed.
pub(super) const PRE_RUN_FAILED_NOTE: &str = "pre-run-failed";

/// Runs the script, and then becomes the command. Its arguments: the script, the command. The script
/// does not eat the command's input.
pub(super) const PRE_RUN_SCRIPT: &str = "sh -ec \"$1\" pre_run </dev/null; code=$?; shift; \
    if [ $code != 0 ]; then echo $code >/run/moat/pre-run-failed; exit $code; fi; exec \"$@\"";

/// The variable by which a command that was started beside others, and all that it starts, is found again.
pub(super) const EXEC_MARKER_VARIABLE: &str = "MOAT_EXEC";

/// Sends the signal `$2` to every process that has the marker `$1`, and fails if there is none. A
/// process that is not ours to read is none of them.
pub(super) const KILL_SCRIPT: &str = "found=; for process in /proc/[0-9]*; do \
    tr '\\0' '\\n' < $process/environ 2> /dev/null | grep -qxF \"$1\" && \
    kill -$2 ${process#/proc/} && found=1; done; [ \"$found\" ]";
