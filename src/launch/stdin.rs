//! The stdin of a workload without a terminal.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use crate::error::{Error, ErrorKind, Result};

/// Returns a stdin for the workload. One that cannot be read (nohup opens it for writing; a directory) is empty: the
/// engines' clients differ in what they make of it, and podman's waits for ever.
pub(crate) fn stdin() -> Result<OwnedFd> {
    let failed = |error: &std::io::Error| {
        let reason = crate::error::os_error_text(error);
        Error::new(ErrorKind::Failed, format!("cannot use stdin: {reason}"))
    };
    let stdin = rustix::stdio::stdin();
    match is_readable(stdin) {
        true => stdin.try_clone_to_owned().map_err(|error| failed(&error)),
        false => File::open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|error| failed(&error)),
    }
}

fn is_readable(input: impl AsFd) -> bool {
    let is_writing = rustix::fs::fcntl_getfl(&input)
        .is_ok_and(|flags| flags & OFlags::ACCMODE == OFlags::WRONLY);
    let is_directory = rustix::fs::fstat(&input)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    !is_writing && !is_directory
}
