//! The files that a container gets between its creation and its start: directories of the workload's user, and the
//! copy of the workspace. They travel as tar archives through the client's stdin (`docker cp - CONTAINER:PATH`),
//! which works with any image and any engine.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::super::container_scripts::{NOTES_DIR, PRE_RUN_FAILED_NOTE};
use super::super::error::{Result, RuntimeError};
use super::super::{ContainerSpec, User, WORKLOAD_HOME, WORKSPACE, is_below};
use crate::store::WorkspaceMode;

/// The directory for the note that the script before the command failed.
pub(super) fn pre_run_failed() -> String {
    format!("{NOTES_DIR}/{PRE_RUN_FAILED_NOTE}")
}

/// The directories that must belong to the user, as entries of an archive below the root. `new`: those of volumes that
/// do not belong to the user yet.
pub(super) fn directories(spec: &ContainerSpec, new: &[&str]) -> Result<Vec<u8>> {
    let places = between(spec);
    let mut paths: Vec<(&str, u32)> = Vec::new();
    for path in &places {
        match path == WORKLOAD_HOME && !spec.has_home {
            true => paths.push((path, 0o700)),
            false => paths.push((path, DEFAULT_DIR_MODE)),
        }
    }
    if spec.pre_run.is_some() {
        paths.push((NOTES_DIR, DEFAULT_DIR_MODE));
    }
    if spec.settings.mounts.workspace_mode == WorkspaceMode::Volume {
        // The engine keeps an existing directory as it is.
        let metadata = fs::metadata(&spec.settings.mounts.workspace);
        let mode = metadata.map_or(DEFAULT_DIR_MODE, |metadata| metadata.mode() & 0o7777);
        paths.push((WORKSPACE, mode));
    }
    paths.extend(new.iter().map(|path| (*path, DEFAULT_DIR_MODE)));
    let mut entries = Vec::new();
    for (path, mode) in paths {
        entries.extend(directory(path, mode, spec.user().uid, spec.user().gid)?);
    }
    Ok(entries)
}

/// Ends an archive: two empty blocks.
pub(super) fn end(mut entries: Vec<u8>) -> Vec<u8> {
    entries.resize(entries.len() + 2 * TAR_BLOCK_BYTES, 0);
    entries
}

/// The maximum size of an archive with `/etc/passwd`, in bytes.
pub(super) const MAX_PASSWD_BYTES: usize = 256 * 1024;

/// The entry of an image's `/etc/passwd` with a line for the user, so that programs find a name (whoami, ssh, node).
/// `image`: an archive of the file. `None`: the image has a line for the user, or its file is none that moat could
/// extend.
pub(super) fn passwd_with_user(image: &[u8], user: User) -> Option<Vec<u8>> {
    let mut header: [u8; TAR_BLOCK_BYTES] = image.get(..TAR_BLOCK_BYTES)?.try_into().ok()?;
    let is_file = matches!(header[156], b'0' | 0);
    let size = std::str::from_utf8(&header[124..135]).ok()?;
    let size = usize::from_str_radix(size.trim(), 8)
        .ok()
        .filter(|_| is_file)?;
    let mut content = image.get(TAR_BLOCK_BYTES..TAR_BLOCK_BYTES + size)?.to_vec();
    let User { uid, gid } = user;
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let has = |at: usize, wanted: &str| {
        let mut fields = lines
            .iter()
            .map(|line| line.split(|byte| *byte == b':').nth(at));
        fields.any(|field| field == Some(wanted.as_bytes()))
    };
    if has(2, &uid.to_string()) {
        return None;
    }
    let name = match has(0, WORKLOAD_USER) {
        true => format!("{WORKLOAD_USER}{uid}"),
        false => WORKLOAD_USER.to_owned(),
    };
    if !content.is_empty() && !content.ends_with(b"\n") {
        content.push(b'\n');
    }
    content.extend(format!("{name}:x:{uid}:{gid}::{WORKLOAD_HOME}:/bin/sh\n").bytes());
    header[..100].fill(0);
    header[..PASSWD_PATH.len()].copy_from_slice(PASSWD_PATH.as_bytes());
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    write_checksum(&mut header);
    let mut entry = header.to_vec();
    entry.extend(&content);
    entry.resize(entry.len().next_multiple_of(TAR_BLOCK_BYTES), 0);
    Some(entry)
}

const PASSWD_PATH: &str = "etc/passwd";

/// The name of the user without another one, as in images that moat builds.
const WORKLOAD_USER: &str = "moatuser";

/// Whether the user's home is a tmpfs: the image has none, and nothing is mounted there or below.
pub(super) fn home_in_memory(spec: &ContainerSpec) -> bool {
    let needs_one = spec.user().uid != 0 && !spec.has_home;
    needs_one
        && !targets(spec).any(|target| target == WORKLOAD_HOME || is_below(target, WORKLOAD_HOME))
}

/// The directories between the user's own ones and deeper mount points, and the home if the image has none. The
/// engine would make root their owner.
fn between(spec: &ContainerSpec) -> Vec<String> {
    let mut own = Vec::new();
    if spec.user().uid != 0 {
        own.push(WORKLOAD_HOME);
    }
    if spec.settings.mounts.workspace_mode == WorkspaceMode::Volume {
        own.push(WORKSPACE);
    }
    let mut places: Vec<String> = Vec::new();
    for target in targets(spec) {
        for root in own.iter().filter(|root| is_below(target, root)) {
            if *root == WORKLOAD_HOME && !spec.has_home {
                places.push(WORKLOAD_HOME.to_owned());
            }
            let parts = target[root.len() + 1..].match_indices('/');
            places.extend(parts.map(|(at, _)| target[..root.len() + 1 + at].to_owned()));
        }
    }
    // Mount points themselves do not belong to the container. A longer path does not fit into an archive.
    let is_mounted =
        |path: &str| targets(spec).any(|target| target == path || is_below(path, target));
    places.retain(|path| !is_mounted(path) && path.len() < 100);
    places.sort();
    places.dedup();
    places
}

fn targets<'a>(spec: &'a ContainerSpec<'_>) -> impl Iterator<Item = &'a str> {
    let mounts = spec.binds.iter().map(|mount| mount.target.as_str());
    let volumes = spec.volumes.iter().map(|volume| volume.target.as_str());
    mounts
        .chain(volumes)
        .chain(spec.settings.mounts.tmpfs.iter().map(String::as_str))
}

/// The size of a header in bytes.
pub(super) const TAR_BLOCK_BYTES: usize = 512;

/// Whether the first entry of an archive belongs to root. (If the owner's number is too large for a header, the first
/// entry is of type `x`.)
pub(super) fn is_roots(header: &[u8]) -> bool {
    let uid = header.get(108..116).unwrap_or_default();
    header.get(156) != Some(&b'x') && uid.iter().all(|byte| matches!(byte, b'0' | b' ' | 0))
}

/// The header of a directory, as an archive of the directory starts with. (None if the owner's number is too large
/// for a header.)
pub(super) fn as_root(header: &[u8]) -> Option<[u8; TAR_BLOCK_BYTES]> {
    let mut header: [u8; TAR_BLOCK_BYTES] = header.get(..TAR_BLOCK_BYTES)?.try_into().ok()?;
    if header[156] != b'5' {
        return None;
    }
    header[..100].fill(0);
    header[..2].copy_from_slice(b"./");
    write_checksum(&mut header);
    Some(header)
}

/// Writes the checksum of a header.
fn write_checksum(header: &mut [u8; TAR_BLOCK_BYTES]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The mode of a directory that has none yet.
const DEFAULT_DIR_MODE: u32 = 0o755;

/// The entry of a directory in the POSIX.1-1988 format ("ustar").
fn directory(path: &str, mode: u32, uid: u32, gid: u32) -> Result<[u8; TAR_BLOCK_BYTES]> {
    let name = format!("{}/", path.trim_start_matches('/'));
    let mut header = [0; TAR_BLOCK_BYTES];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    // The format's limit, without a split that no path of a container needs.
    if name.len() > 100 {
        return Err(RuntimeError::Refused(format!(
            "the path {path} is too long for a mount"
        )));
    }
    put(0, &name);
    put(100, &number(mode));
    put(108, &number(uid));
    put(116, &number(gid));
    put(124, "00000000000\0");
    put(136, "00000000000\0");
    put(156, "5");
    put(257, "ustar\0");
    put(263, "00");
    if uid.max(gid) > MAX_OCTAL_ID {
        write_large(&mut header, 108, uid);
        write_large(&mut header, 116, gid);
    }
    write_checksum(&mut header);
    Ok(header)
}

/// The largest number in seven octal digits.
const MAX_OCTAL_ID: u32 = 0o7_777_777;

fn number(id: u32) -> String {
    format!("{:07o}\0", id.min(MAX_OCTAL_ID))
}

/// A number in base 256, marked by the first bit.
fn write_large(header: &mut [u8; TAR_BLOCK_BYTES], at: usize, id: u32) {
    header[at..at + 8].fill(0);
    header[at] = 0x80;
    header[at + 4..at + 8].copy_from_slice(&id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The system's own tar reads it.
    #[test]
    fn tar_reads_the_directories() {
        for uid in [0, 1000, 0o7_777_777, 0o10_000_000, u32::MAX - 1] {
            let mut archive = directory("/run/moat", DEFAULT_DIR_MODE, uid, 7)
                .unwrap()
                .to_vec();
            archive.resize(archive.len() + 2 * TAR_BLOCK_BYTES, 0);
            let mut tar = std::process::Command::new("tar")
                .args(["--numeric-owner", "-tvf", "-"])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut tar.stdin.take().unwrap(), &archive).unwrap();
            let output = tar.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            assert!(text.starts_with(&format!("drwxr-xr-x {uid}/7 ")), "{text}");
            assert!(text.trim_end().ends_with(" run/moat/"), "{text}");
        }
    }

    #[test]
    fn a_user_gets_a_line_unless_there_is_one() {
        let archive = |content: &str| {
            let mut header = directory("/etc", 0o644, 0, 0).unwrap();
            header[156] = b'0';
            header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            let mut archive = header.to_vec();
            archive.extend(content.bytes());
            archive.resize(archive.len().next_multiple_of(TAR_BLOCK_BYTES), 0);
            end(archive)
        };
        let user = User { uid: 1000, gid: 7 };
        let added = |content: &str| {
            let entry = passwd_with_user(&archive(content), user)?;
            let text = String::from_utf8(entry[TAR_BLOCK_BYTES..].to_vec()).unwrap();
            assert!(entry.starts_with(b"etc/passwd\0"));
            Some(text.trim_end_matches('\0').to_owned())
        };
        let line = "moatuser:x:1000:7::/home/moatuser:/bin/sh\n";
        assert_eq!(
            added("root:x:0:0::/root:/bin/sh"),
            Some(format!("root:x:0:0::/root:/bin/sh\n{line}"))
        );
        assert_eq!(added(""), Some(line.to_owned()));
        assert_eq!(added("node:x:1000:1000::/home/node:/bin/sh\n"), None);
        assert!(
            added("moatuser:x:1:1::/:\n")
                .unwrap()
                .contains("\nmoatuser1000:x:1000:7:")
        );
        assert_eq!(passwd_with_user(b"", user), None);
        let mut link = archive("x");
        link[156] = b'2';
        assert_eq!(passwd_with_user(&link, user), None);
    }

    #[test]
    fn a_long_path_is_refused() {
        assert!(directory(&format!("/{}", "x".repeat(100)), DEFAULT_DIR_MODE, 1, 1).is_err());
    }
}
