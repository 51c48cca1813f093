//! Whole directories as tar archives, by the system's `tar`: owners, modes, times, attributes and holes are kept.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use crate::program;
use crate::term::one_line;

/// A directory that is being packed.
pub(crate) struct TarStream {
    tar: Child,
    words: Option<JoinHandle<String>>,
}

/// Starts packing a directory, with paths from `./` on. `without`: paths to leave out, relative to the directory.
/// `into`: the destination; if it is a pipe, the archive is in [`TarStream::archive`].
pub(crate) fn pack(dir: &Path, without: &[String], into: Stdio) -> io::Result<TarStream> {
    let mut command = tar();
    command.args(TarFlavor::of_host().pack_options());
    for path in without {
        command.arg(format!("--exclude=./{}", escaped_pattern(path)));
    }
    let mut tar = command
        .arg("-C")
        .arg(dir)
        .args(["-cf", "-", "."])
        .stdin(Stdio::null())
        .stdout(into)
        .stderr(Stdio::piped())
        .spawn()?;
    // Read at once: tar would block if its stderr were not read.
    let words = tar.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr
                .by_ref()
                .take(MAX_STDERR_BYTES)
                .read_to_end(&mut bytes);
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&bytes).trim().to_owned()
        })
    });
    Ok(TarStream { tar, words })
}

/// Packs a directory into a file, and waits for it. Fails with the reason: tar would name no reason for a full disk.
pub(crate) fn pack_into(
    dir: &Path,
    without: &[String],
    mut into: File,
) -> io::Result<std::result::Result<(), String>> {
    let mut packing = pack(dir, without, Stdio::piped())?;
    let archive = packing.tar.stdout.take();
    // If this fails, the end of the pipe ends tar.
    let copied = archive.map(|mut archive| io::copy(&mut archive, &mut into));
    let packed = packing.finish()?;
    Ok(match copied {
        Some(Err(error)) => Err(crate::error::os_error_text(&error)),
        _ => packed,
    })
}

/// Maximum number of bytes kept of tar's stderr.
const MAX_STDERR_BYTES: u64 = 16 * 1024;

impl TarStream {
    /// The archive; can be taken once.
    pub(crate) fn archive(&mut self) -> Stdio {
        self.tar.stdout.take().map_or_else(Stdio::null, Stdio::from)
    }

    /// Waits for the exit; fails with tar's own text, in one line. Files that changed meanwhile are no failure: a copy of a
    /// directory in use cannot rule that out (GNU tar's manual: exit code 1).
    pub(crate) fn finish(mut self) -> io::Result<std::result::Result<(), String>> {
        let status = self.tar.wait()?;
        let words = self.words.map(|words| words.join().unwrap_or_default());
        Ok(match status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(one_line(&words.unwrap_or_default())),
        })
    }
}

/// Unpacks an archive into a directory, and waits for it. Fails with tar's own text, in one line.
pub(crate) fn extract(
    archive: impl Into<Stdio>,
    dir: &Path,
) -> io::Result<std::result::Result<(), String>> {
    let output = tar()
        .args(TarFlavor::of_host().extract_options())
        .arg("-C")
        .arg(dir)
        // Keeps the modes, whatever the umask.
        .args(["-xpf", "-"])
        .stdin(archive)
        .output()?;
    Ok(match output.status.success() {
        true => Ok(()),
        false => Err(one_line(&String::from_utf8_lossy(&output.stderr))),
    })
}

fn tar() -> Command {
    let mut command = program::call("tar");
    // The tar of a Mac otherwise adds files of its own for attributes.
    command.env("COPYFILE_DISABLE", "1");
    command
}

/// The program behind the name `tar`. Each has options of its own, without which an archive has only whole seconds.
#[derive(Clone, Copy)]
enum TarFlavor {
    Gnu,
    /// libarchive's, on a Mac.
    Bsd,
    /// busybox, for example, which keeps neither fractions of seconds nor attributes nor holes.
    Other,
}

impl TarFlavor {
    /// The flavor of this host, found out once.
    fn of_host() -> TarFlavor {
        static FLAVOR: OnceLock<TarFlavor> = OnceLock::new();
        *FLAVOR.get_or_init(|| {
            let version = tar().arg("--version").stdin(Stdio::null()).output();
            let text = version.map_or(Vec::new(), |version| version.stdout);
            let text = String::from_utf8_lossy(&text);
            if text.contains("GNU tar") {
                TarFlavor::Gnu
            } else if text.contains("bsdtar") {
                TarFlavor::Bsd
            } else {
                TarFlavor::Other
            }
        })
    }

    /// Fractions of seconds, users' extended attributes, and holes of sparse files. Other attributes belong to the
    /// system that the file is on.
    fn pack_options(self) -> &'static [&'static str] {
        match self {
            TarFlavor::Gnu => &[
                "--format=posix",
                "--pax-option=delete=atime,delete=ctime",
                "--sparse",
                "--xattrs",
                "--xattrs-include=user.*",
            ],
            // It finds holes by itself.
            TarFlavor::Bsd => &["--format=pax"],
            TarFlavor::Other => &[],
        }
    }

    fn extract_options(self) -> &'static [&'static str] {
        match self {
            TarFlavor::Gnu => &["--xattrs", "--xattrs-include=user.*"],
            TarFlavor::Bsd | TarFlavor::Other => &[],
        }
    }
}

/// A path as a pattern that matches only this path: every tar reads `--exclude` as a pattern.
fn escaped_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

const TAR_BLOCK_BYTES: usize = 512;

/// Maximum size in bytes of an entry's extended name.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// Copies a tar archive of paths from `./` on, without the paths of `without` and everything below them.
pub(crate) fn filter_archive(
    mut archive: impl Read,
    mut into: impl Write,
    without: &[String],
) -> io::Result<()> {
    let mut extension = TarExtension::default();
    let mut header = [0; TAR_BLOCK_BYTES];
    loop {
        archive.read_exact(&mut header)?;
        if header == [0; TAR_BLOCK_BYTES] {
            into.write_all(&header)?;
            return io::copy(&mut archive, &mut into).map(drop);
        }
        let size = extension.size.unwrap_or_else(|| octal(&header[124..136]));
        let mut content = (&mut archive).take(size.next_multiple_of(TAR_BLOCK_BYTES as u64));
        if extension.add(&header, size, &mut content)? {
            continue;
        }
        let TarExtension { path, blocks, .. } = std::mem::take(&mut extension);
        let path = path.map_or_else(|| name(&header), Cow::Owned);
        if without.iter().any(|out| is_inside(&path, out)) {
            io::copy(&mut content, &mut io::sink())?;
        } else {
            into.write_all(&blocks)?;
            into.write_all(&header)?;
            io::copy(&mut content, &mut into)?;
        }
    }
}

/// The extended header of the next entry.
#[derive(Default)]
struct TarExtension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    /// The unchanged bytes.
    blocks: Vec<u8>,
}

impl TarExtension {
    /// Takes an entry that describes the next one. False: this one does not.
    fn add(&mut self, header: &[u8], size: u64, content: &mut impl Read) -> io::Result<bool> {
        let kind = header[156];
        if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        if size > MAX_EXTENSION_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let start = self.blocks.len() + TAR_BLOCK_BYTES;
        self.blocks.extend_from_slice(header);
        content.read_to_end(&mut self.blocks)?;
        let end = (start + usize::try_from(size).unwrap_or_default()).min(self.blocks.len());
        let text = &self.blocks[start..end];
        match kind {
            b'L' => self.path = Some(until_nul(text).to_vec()),
            b'x' => {
                let path = value(text, b"path=").map(<[u8]>::to_vec);
                self.path = path.or(self.path.take());
                let size = value(text, b"size=").and_then(|size| str::from_utf8(size).ok());
                self.size = size.and_then(|size| size.parse().ok());
            }
            _ => {}
        }
        Ok(true)
    }
}

/// The value of a key in records of the form `LENGTH KEY=VALUE`.
fn value<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        line[space + 1..].strip_prefix(key)
    })
}

/// The name in a header, which has two fields.
fn name(header: &[u8]) -> Cow<'_, [u8]> {
    let (name, prefix) = (until_nul(&header[..100]), until_nul(&header[345..500]));
    match &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => Cow::Owned([prefix, b"/", name].concat()),
        false => Cow::Borrowed(name),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn octal(field: &[u8]) -> u64 {
    if field[0] & 0x80 != 0 {
        // Base 256: for values that eleven digits do not hold.
        let bytes = field[4..].iter();
        return bytes.fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    let digits = field.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, byte| number << 3 | u64::from(byte - b'0'))
}

fn is_inside(path: &[u8], outer: &str) -> bool {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let rest = path.strip_prefix(outer.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::os::unix::fs::MetadataExt;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::store::scratch::Scratch;

    fn copy(from: &Path, without: &[String], to: &Path) {
        let mut packing = pack(from, without, Stdio::piped()).unwrap();
        let extracted = extract(packing.archive(), to).unwrap();
        packing.finish().unwrap().unwrap();
        extracted.unwrap();
    }

    #[test]
    fn a_path_to_leave_out_is_no_pattern() {
        let scratch = Scratch::new();
        let (from, to) = (scratch.dir("from"), scratch.dir("to"));
        let names = [
            "[id]",
            "i",
            "d",
            "*",
            "ab",
            "a?",
            "ax",
            "\\\\",
            "back\\slash",
            "{a,b}",
            "!x",
            "end]",
        ];
        for name in names {
            fs::create_dir_all(from.join("app").join(name)).unwrap();
        }
        for left_out in names {
            let target = to.join(left_out.len().to_string());
            let _ = fs::remove_dir_all(&target);
            fs::create_dir(&target).unwrap();
            copy(&from, &[format!("app/{left_out}")], &target);
            let kept = |name: &&str| target.join("app").join(name).exists();
            let expected: Vec<&str> = names.into_iter().filter(|name| *name != left_out).collect();
            let found: Vec<&str> = names.into_iter().filter(|name| kept(name)).collect();
            assert_eq!(found, expected, "without {left_out}");
        }
    }

    #[test]
    fn a_copy_keeps_fractions_of_seconds_attributes_and_holes() {
        if !matches!(TarFlavor::of_host(), TarFlavor::Gnu) {
            return;
        }
        let scratch = Scratch::new();
        let (from, to) = (scratch.dir("from"), scratch.dir("to"));
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let file = File::create(from.join("file")).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        rustix::fs::fsetxattr(&file, "user.moat", b"kept", rustix::fs::XattrFlags::empty())
            .unwrap();
        let sparse = File::create(from.join("sparse")).unwrap();
        sparse.set_len(200 << 20).unwrap();
        copy(&from, &[], &to);
        let copied = fs::metadata(to.join("file")).unwrap();
        assert_eq!(copied.modified().unwrap(), time);
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(to.join("file"), "user.moat", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
        let sparse = fs::metadata(to.join("sparse")).unwrap();
        assert_eq!(sparse.len(), 200 << 20);
        assert!(sparse.blocks() < 2048, "{} blocks", sparse.blocks());
    }

    #[test]
    fn the_message_of_tar_is_one_line() {
        let scratch = Scratch::new();
        let (from, to) = (scratch.dir("from"), scratch.dir("to"));
        let archive = File::open("/dev/null").unwrap();
        let none = extract(archive, &to.join("missing")).unwrap().unwrap_err();
        std::fs::remove_dir(&from).unwrap();
        let packing = pack(&from, &[], Stdio::null()).unwrap();
        let gone = packing.finish().unwrap().unwrap_err();
        for words in [none, gone] {
            assert!(words.contains("; ") && !words.contains('\n'), "{words:?}");
        }
    }

    /// In the two formats that the system's tar writes, with names that do not fit into a header.
    #[test]
    fn what_is_left_out_is_not_in_the_archive() {
        let dir = std::env::temp_dir().join(format!("moat-tree-{}", std::process::id()));
        let (kept, long) = ("kept/".repeat(30) + "file", "long".repeat(50));
        for path in [
            "a/in",
            "ab",
            "deep/out/in",
            &kept,
            &format!("{long}/{long}"),
        ] {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x".repeat(700)).unwrap();
        }
        let tar = |args: &[&str]| Command::new("tar").arg("-C").arg(&dir).args(args).output();
        for format in ["gnu", "pax"] {
            let archive = tar(&["--format", format, "-cf", "-", "."]).unwrap();
            let mut less = Vec::new();
            let without = ["a", "deep/out", &long].map(str::to_owned);
            filter_archive(&*archive.stdout, &mut less, &without).unwrap();
            let file = dir.with_extension("tar");
            std::fs::write(&file, less).unwrap();
            let list = tar(&["-tf", file.to_str().unwrap()]).unwrap();
            assert!(list.status.success(), "{list:?}");
            let list = String::from_utf8(list.stdout).unwrap();
            let files = list.lines().filter(|line| !line.contains("kept/kept"));
            let mut files: Vec<&str> = files.collect();
            files.sort_unstable();
            assert_eq!(files, ["./", "./ab", "./deep/", "./kept/"], "{format}");
            assert!(list.contains(&kept), "{format}: {list}");
            std::fs::remove_file(file).unwrap();
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
