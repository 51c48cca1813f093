//! Whole directories as tar archives, by the system's `tar`: owners, modes and times are kept.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

/// A directory that is being packed.
pub(crate) struct Packing {
    tar: Child,
    words: Option<JoinHandle<String>>,
}

/// Starts to pack a directory, as paths from `./` on. `without`: what of it is left out, relative to
/// it. `into`: where the archive goes; if that is a pipe, it is [`Packing::archive`].
pub(crate) fn pack(dir: &Path, without: &[String], into: Stdio) -> io::Result<Packing> {
    let mut command = Command::new("tar");
    for path in without {
        command.arg(format!("--exclude=./{path}"));
    }
    let mut tar = command
        .arg("-C")
        .arg(dir)
        .args(["-cf", "-", "."])
        .stdin(Stdio::null())
        .stdout(into)
        .stderr(Stdio::piped())
        .spawn()?;
    // Read at once: a tar that nobody listens to would stop and wait.
    let words = tar.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.by_ref().take(LIMIT).read_to_end(&mut bytes);
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&bytes).trim().to_owned()
        })
    });
    Ok(Packing { tar, words })
}

/// So much of what tar says is kept, in bytes.
const LIMIT: u64 = 16 * 1024;

impl Packing {
    /// The archive, once.
    pub(crate) fn archive(&mut self) -> Stdio {
        self.tar.stdout.take().map_or_else(Stdio::null, Stdio::from)
    }

    /// Waits for the end; tar's own words if it failed. That files changed meanwhile is no failure: a
    /// copy of a living directory cannot rule that out (GNU tar's manual: exit code 1).
    pub(crate) fn finish(mut self) -> io::Result<std::result::Result<(), String>> {
        let status = self.tar.wait()?;
        let words = self.words.map(|words| words.join().unwrap_or_default());
        Ok(match status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(words.unwrap_or_default()),
        })
    }
}

/// Unpacks an archive into a directory, and waits for it.
pub(crate) fn extract(archive: impl Into<Stdio>, dir: &Path) -> io::Result<Output> {
    Command::new("tar")
        .arg("-C")
        .arg(dir)
        // With the modes as they are, whatever our umask.
        .args(["-xpf", "-"])
        .stdin(archive)
        .output()
}
