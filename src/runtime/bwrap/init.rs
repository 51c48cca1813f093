//! The first thing that runs inside a sandbox: marks that the sandbox stands, then becomes the
//! workload. It turns "cannot be executed" into the exit codes of a shell, 126 and 127.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The hidden command.
pub(crate) const COMMAND: &str = "__init";

/// Runs the command, and returns only if that fails: with the exit code.
pub(crate) fn init(command: &[OsString]) -> u8 {
    let Some((program, args)) = command.split_first() else {
        return 127;
    };
    let mut stderr = io::stderr();
    if stderr.write_all(super::status::STARTED).is_err() {
        return 126;
    }
    let error = Command::new(program).args(args).exec();
    let name = crate::term::harmless(&program.to_string_lossy());
    let reason = crate::error::reason(&error);
    let _ = writeln!(stderr, "moat: cannot run '{name}': {reason}");
    match error.kind() {
        io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}
