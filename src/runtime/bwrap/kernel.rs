//! Functions that only Linux has. Sandboxes run only on Linux, but the driver compiles everywhere, because the rest
//! of it does not depend on the system.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

pub(super) use this::{in_memory, limit_pipe, reserve};

#[cfg(target_os = "linux")]
mod this {
    use std::io::{Seek, Write};

    use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
    use rustix::pipe::fcntl_setpipe_size;

    use super::{AsFd, File, io};

    /// Returns a file in memory with this text, positioned at its beginning.
    pub(in super::super) fn in_memory(text: &str) -> io::Result<File> {
        let mut file = File::from(memfd_create("moat", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    }

    /// Reserves disk space for a file, in bytes, without changing its size. Does nothing on a filesystem without this
    /// ability.
    pub(in super::super) fn reserve(file: &File, bytes: u64) {
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes);
    }

    /// Limits the bytes in a pipe before its writer blocks. The kernel has a minimum.
    pub(in super::super) fn limit_pipe(pipe: impl AsFd, bytes: usize) {
        let _ = fcntl_setpipe_size(pipe, bytes);
    }
}

#[cfg(not(target_os = "linux"))]
mod this {
    use super::{AsFd, File, io};

    pub(in super::super) fn in_memory(_text: &str) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn reserve(_file: &File, _bytes: u64) {}

    pub(in super::super) fn limit_pipe(_pipe: impl AsFd, _bytes: usize) {}
}
