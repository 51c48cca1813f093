//! Copies into and out of containers, as tar archives through the client (`cp`).

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::super::child;
use super::super::error::{Result, RuntimeError};
use super::super::{ContainerSpec, WORKSPACE, in_workspace};
use super::{COPY_TIMEOUT, Dialect, Docker, REQUEST_TIMEOUT, initial_files, is_rootless};
use crate::store::{WorkspaceMode, filter_archive, make_dir, pack, pack_into, remove_tree};

impl Docker {
    /// A client that copies its input. podman writes the input to a file first, and does not remove it.
    fn reader(&self) -> Result<Command> {
        let mut command = self.command();
        if let Some(dir) = &self.scratch {
            make_dir(dir).map_err(|error| self.dialect.failed(&error))?;
            command.env("TMPDIR", dir);
        }
        command.arg("cp").args(self.dialect.copy_owner_args());
        Ok(command)
    }

    pub(super) fn remove_scratch(&self) {
        if let Some(dir) = &self.scratch {
            let _ = remove_tree(dir);
        }
    }

    /// Copies a new container's initial files.
    pub(super) fn copy_initial_files(&self, spec: &ContainerSpec) -> Result<()> {
        let mut entries = initial_files::directories(spec, &self.new_volumes(spec)?)?;
        entries.extend(self.passwd_with_user(spec).unwrap_or_default());
        if !entries.is_empty() {
            let mut command = self.reader()?;
            command.args(["-", &format!("{}:/", spec.handle)]);
            self.run_with_input(&mut command, &initial_files::end(entries))?;
        }
        if spec.settings.mounts.workspace_mode == WorkspaceMode::Bind {
            return Ok(());
        }
        // The engine would write into the directory that is mounted there.
        let without = spec.not_copied();
        let mut tar =
            pack(&spec.settings.mounts.workspace, &without, Stdio::piped()).map_err(no_tar)?;
        let archive = tar.archive();
        let mut command = self.reader()?;
        command.args(["-", &format!("{}:{WORKSPACE}", spec.handle)]);
        let copied = self.copy(&mut command, archive, Stdio::null());
        let packed = tar.finish().map_err(no_tar)?;
        copied?;
        packed.map_err(|words| {
            RuntimeError::Refused(format!("the workspace cannot be copied: {words}"))
        })
    }

    /// The `/etc/passwd` of an image that moat has not built, with a line for the workload's user. podman adds one itself.
    fn passwd_with_user(&self, spec: &ContainerSpec) -> Option<Vec<u8>> {
        if self.dialect != Dialect::Docker || spec.has_home || spec.user().uid == 0 {
            return None;
        }
        let mut command = self.command();
        command.args(["cp", &format!("{}:/etc/passwd", spec.handle), "-"]);
        let most = initial_files::MAX_PASSWD_BYTES;
        let image = child::run_first_bytes(&mut command, most, REQUEST_TIMEOUT).ok()?;
        initial_files::passwd_with_user(&image, spec.user())
    }

    /// The mount points of volumes that do not belong to the workload's user yet. Modes that the user set are kept.
    fn new_volumes<'a>(&self, spec: &'a ContainerSpec) -> Result<Vec<&'a str>> {
        let mut found = Vec::new();
        // A read-only volume accepts nothing, not even an owner.
        let writable = spec.volumes.iter().filter(|volume| !volume.readonly);
        for volume in writable.filter(|_| spec.user().uid != 0) {
            let from = format!("{}:{}", spec.handle, volume.target);
            let mut command = self.command();
            command.args(["cp", &from, "-"]);
            let header = child::run_first_bytes(
                &mut command,
                initial_files::TAR_BLOCK_BYTES,
                REQUEST_TIMEOUT,
            );
            if initial_files::is_roots(&header.map_err(|error| self.dialect.failed(&error))?) {
                found.push(volume.target.as_str());
            }
        }
        Ok(found)
    }

    /// Writes the container's copy of the workspace to a file.
    pub(super) fn save(&self, handle: &str, mut into: File) -> Result<()> {
        if let Some(dir) = self.volume_here(handle)? {
            let without = self.mounted_in_workspace(handle)?;
            let packed = pack_into(&dir, &without, into).map_err(no_tar)?;
            return packed.map_err(RuntimeError::Refused);
        }
        self.save_root(handle, &mut into)?;
        let mut command = self.command();
        let from = format!("{handle}:{WORKSPACE}/.");
        command.args(["cp", &from, "-"]);
        let without = self.mounted_in_workspace(handle)?;
        if without.is_empty() {
            return self.copy(&mut command, Stdio::null(), Stdio::from(into));
        }
        // The engine's copy contains mounted directories, with secrets and caches.
        let failed = |error: io::Error| RuntimeError::Refused(crate::error::os_error_text(&error));
        let (archive, out) = io::pipe().map_err(failed)?;
        let filter = std::thread::spawn(move || filter_archive(archive, into, &without));
        let copied = self.copy(&mut command, Stdio::null(), Stdio::from(out));
        match filter.join().unwrap_or(Ok(())) {
            // The client's message says why the archive ended too early.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(failed(error)),
            filtered => copied.and(filtered.map_err(failed)),
        }
    }

    /// Starts an archive of the workspace with the directory itself, which podman leaves out.
    fn save_root(&self, handle: &str, into: &mut File) -> Result<()> {
        if self.dialect == Dialect::Docker {
            return Ok(());
        }
        let mut command = self.command();
        command.args(["cp", &format!("{handle}:{WORKSPACE}"), "-"]);
        let failed = |error: io::Error| self.dialect.failed(&error);
        let header = child::run_first_bytes(
            &mut command,
            initial_files::TAR_BLOCK_BYTES,
            REQUEST_TIMEOUT,
        )
        .map_err(failed)?;
        match initial_files::as_root(&header) {
            Some(header) => into.write_all(&header).map_err(failed),
            None => Ok(()),
        }
    }

    /// The path of the container's copy of the workspace on this machine, if every file is readable. The clients' copies
    /// lose something: docker's engine truncates times to seconds, and podman makes the container's user the owner.
    fn volume_here(&self, handle: &str) -> Result<Option<PathBuf>> {
        if is_rootless() || !self.is_here() {
            return Ok(None);
        }
        let format = format!(
            "{{{{range .Mounts}}}}{{{{if eq .Destination \"{WORKSPACE}\"}}}}{{{{.Source}}}}{{{{end}}}}{{{{end}}}}"
        );
        let inspect = [
            "inspect",
            "--type",
            "container",
            "--format",
            &format,
            handle,
        ];
        let path = PathBuf::from(self.run_client(&inspect)?.stdout.trim());
        Ok(Some(path).filter(|path| path.is_dir()))
    }

    /// The mount points inside a container's workspace, relative to it.
    fn mounted_in_workspace(&self, handle: &str) -> Result<Vec<String>> {
        let format = "{{range .Mounts}}{{println .Destination}}{{end}}\
            {{range $path, $_ := .HostConfig.Tmpfs}}{{println $path}}{{end}}";
        let inspect = ["inspect", "--type", "container", "--format", format, handle];
        Ok(in_workspace(self.run_client(&inspect)?.stdout.lines()))
    }

    /// Runs a client with a large input or output.
    pub(super) fn copy(&self, command: &mut Command, input: Stdio, output: Stdio) -> Result<()> {
        let stderr = child::run_between(command, input, output, COPY_TIMEOUT)
            .map_err(|error| self.dialect.failed(&error))?;
        match stderr {
            None => Ok(()),
            Some(words) => Err(self.dialect.classify(&words)),
        }
    }
}

fn no_tar(error: io::Error) -> RuntimeError {
    RuntimeError::Refused(format!(
        "cannot run tar: {}",
        crate::error::os_error_text(&error)
    ))
}
