//! A disk that can be filled.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::{TempDir, skip};

/// A small filesystem. Not inside the place of a test: every process sees its mount.
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn new() -> Option<Disk> {
        let dir = TempDir::new();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4m", "moat-test"])
            .arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            skip("a small disk cannot be mounted (it needs root)");
            return None;
        }
        Some(Disk(dir))
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.0.path().join("moat")
    }

    pub(crate) fn fill(&self) {
        let mut file = File::create(self.0.path().join("fill")).unwrap();
        for size in [64 * 1024, 4096] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.path().join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
