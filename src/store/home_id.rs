//! The identity of a home: a random number in `$MOAT_HOME/id`, and the labels of the home's resources in engines.
//!
//! The number is made once, and moves with the home. A path is no identity: two containers, or two machines with one
//! engine, have different homes at one path. A copy of a home must not keep the number, so the file also has a mark
//! that only the original has. A copy makes its own number, and remembers the old one as a former label.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic_file;
use super::home::{Home, fnv1a};
use super::id::random_bytes;
use crate::error::{Error, ErrorKind, Result};

const SCHEMA: u32 = 1;

/// A larger file is none of moat's.
const MAX_BYTES: u64 = 64 * 1024;

/// The values of the label `moat.home` that resources of this home may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HomeLabels {
    /// The label of what this home makes. No other home has it. `None`: this home has made nothing yet.
    own: Option<String>,
    /// What this home made before it had its own label, or what the home that it is a copy of made. Other homes may
    /// have made resources with these labels, so a label of these proves nothing: a record must know the resource.
    former: Vec<String>,
}

impl HomeLabels {
    pub(crate) fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// Whether only this home can have made a resource with this label.
    pub(crate) fn is_own(&self, label: &str) -> bool {
        self.own.as_deref() == Some(label)
    }

    /// Whether this home can have made a resource with this label, and others can, too.
    pub(crate) fn is_former(&self, label: &str) -> bool {
        self.former.iter().any(|former| former == label)
    }

    /// Whether this home can have made a resource with this label.
    pub(crate) fn include(&self, label: &str) -> bool {
        self.is_own(label) || self.is_former(label)
    }

    /// The former labels, the last one first.
    pub(crate) fn former(&self) -> impl Iterator<Item = &str> {
        self.former.iter().rev().map(String::as_str)
    }
}

/// The content of the file.
#[derive(Debug, Deserialize, Serialize)]
struct HomeId {
    schema: u32,
    id: String,
    #[serde(default)]
    former: Vec<String>,
    /// Where the file was made. Missing in a file that a user wrote, and where the filesystem offers nothing.
    #[serde(default)]
    origin: Origin,
}

/// The properties of the file that a copy does not have, and that stay when the home is moved within its filesystem.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Origin {
    file: Option<FileMark>,
    /// The writable layer of a container. Containers of one image have the same files, inodes and times included.
    layer: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum FileMark {
    /// Seconds and nanoseconds.
    Born(String),
    Inode(u64),
}

impl Origin {
    /// Describes the file `file` in the directory `dir`.
    fn of(dir: &Path, file: &File) -> io::Result<Origin> {
        let mount = mount_of(fs::metadata(dir)?.dev());
        let (kind, options) = mount.unwrap_or_default();
        let mark = match birth_time(file) {
            Some(time) => Some(FileMark::Born(time)),
            // A program that serves files may give a file a new number each time.
            None if kind.starts_with("fuse") => None,
            None => Some(FileMark::Inode(file.metadata()?.ino())),
        };
        let mut options = options.split(',');
        let layer = options.find_map(|option| option.strip_prefix("upperdir="));
        Ok(Origin {
            file: mark,
            layer: layer.filter(|_| kind == "overlay").map(str::to_owned),
        })
    }

    /// Whether the file of this origin can be the file that is `here` now.
    fn matches(&self, here: &Origin) -> bool {
        let is_same_file = match (&self.file, &here.file) {
            (Some(FileMark::Born(then)), Some(FileMark::Born(now))) => then == now,
            (Some(FileMark::Inode(then)), Some(FileMark::Inode(now))) => then == now,
            // A file that a user wrote, or a system that did not tell what this one tells.
            _ => true,
        };
        is_same_file && (self.file.is_none() || self.layer == here.layer)
    }
}

#[cfg(target_os = "linux")]
fn birth_time(file: &File) -> Option<String> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let is_known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let time = found.stx_btime;
    is_known.then(|| format!("{}.{:09}", time.tv_sec, time.tv_nsec))
}

/// A program can set the birth time of a file there; inodes are never used again.
#[cfg(not(target_os = "linux"))]
fn birth_time(_file: &File) -> Option<String> {
    None
}

/// The type and the options of the filesystem with this number; `None` if the system does not tell.
fn mount_of(device: u64) -> Option<(String, String)> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    mount_in(&String::from_utf8_lossy(&mounts), device)
}

fn mount_in(mounts: &str, device: u64) -> Option<(String, String)> {
    let number = device_number(device);
    mounts.lines().find_map(|line| {
        // `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
        let (mount, filesystem) = line.split_once(" - ")?;
        (mount.split(' ').nth(2)? == number).then_some(())?;
        let mut fields = filesystem.split(' ');
        Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
    })
}

#[cfg(target_os = "linux")]
fn device_number(device: u64) -> String {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!("{major}:{minor}")
}

#[cfg(not(target_os = "linux"))]
fn device_number(device: u64) -> String {
    device.to_string()
}

impl Home {
    fn id_file(&self) -> PathBuf {
        self.root().join("id")
    }

    /// Reads the labels. Writes nothing: the home need not exist.
    pub(crate) fn labels(&self) -> Result<HomeLabels> {
        let Some((known, here)) = self.read_id()? else {
            // Earlier versions had no file.
            let is_old = self.runs().is_dir() || self.sessions_dir().is_dir();
            let former = is_old.then(|| self.path_label()).into_iter().collect();
            return Ok(HomeLabels { own: None, former });
        };
        let (mut own, mut former) = (Some(known.id), known.former);
        if !known.origin.matches(&here) {
            former.extend(own.take());
        }
        Ok(HomeLabels { own, former })
    }

    /// The label of what this home makes. Creates the identity if the home has none.
    pub(crate) fn label(&self) -> Result<String> {
        if let Some(own) = self.labels()?.own {
            return Ok(own);
        }
        let _lock = self.lock()?;
        // Another process may have been faster.
        let known = self.labels()?;
        match known.own {
            Some(own) => Ok(own),
            None => self.write_id(known.former),
        }
    }

    fn write_id(&self, former: Vec<String>) -> Result<String> {
        let path = self.id_file();
        let failed = |error: &io::Error| {
            Error::io(ErrorKind::Store, "write", &path, error)
                .hint("set MOAT_HOME to a directory that you may write to, with free space")
        };
        let bytes: [u8; 8] = random_bytes().map_err(|error| failed(&error))?;
        let id = format!("{:016x}", u64::from_be_bytes(bytes));
        let content = |file: &File| {
            atomic_file::document(&HomeId {
                schema: SCHEMA,
                id: id.clone(),
                former,
                origin: Origin::of(self.root(), file)?,
            })
        };
        atomic_file::write_atomically_with(&path, content).map_err(|error| failed(&error))?;
        Ok(id)
    }

    /// Reads the file, and describes where it is now; `None` if it is missing.
    fn read_id(&self) -> Result<Option<(HomeId, Origin)>> {
        let path = self.id_file();
        let unreadable = |error: &io::Error| {
            Error::io(ErrorKind::Store, "read", &path, error).hint(DAMAGED_HINT)
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error)),
        };
        let mut bytes = Vec::new();
        let read = (&file).take(MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&error))?;
        let known = parse(&bytes).map_err(|why| {
            let message = format!("{} is not the identity of a home: {why}", path.display());
            Error::new(ErrorKind::Store, message).hint(DAMAGED_HINT)
        })?;
        let here = Origin::of(self.root(), &file).map_err(|error| unreadable(&error))?;
        Ok(Some((known, here)))
    }

    /// The label that earlier versions gave to the resources of the home at this path.
    fn path_label(&self) -> String {
        let path = fs::canonicalize(self.root()).unwrap_or_else(|_| self.root().to_owned());
        format!("{:016x}", fnv1a(path.as_os_str().as_bytes()))
    }
}

const DAMAGED_HINT: &str = "restore the file from a backup, or write {\"schema\": 1, \"id\": \"LABEL\"} to it, with the \
                            label moat.home of a container or volume of this home; nothing was changed";

fn parse(bytes: &[u8]) -> std::result::Result<HomeId, String> {
    if bytes.trim_ascii().is_empty() {
        return Err("it is empty".to_owned());
    }
    let known: HomeId = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if known.schema != SCHEMA {
        return Err(format!("schema {} is of another version", known.schema));
    }
    let is_label = |label: &String| {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        label.len() == 16 && label.bytes().all(is_digit)
    };
    match std::iter::once(&known.id)
        .chain(&known.former)
        .all(is_label)
    {
        true => Ok(known),
        false => Err("a label has 16 hexadecimal digits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch::Scratch;

    /// A directory that is no home yet, beside a home.
    fn beside(scratch: &Scratch, name: &str) -> Home {
        Home::at(scratch.root().with_extension(name))
    }

    /// `cp -a` of a file, as far as this module can tell.
    fn copy(from: &Home, to: &Home) {
        fs::create_dir_all(to.runs()).unwrap();
        // The kernel's clock has steps.
        std::thread::sleep(std::time::Duration::from_millis(10));
        fs::copy(from.id_file(), to.id_file()).unwrap();
    }

    fn former(labels: &HomeLabels) -> Vec<&str> {
        labels.former().collect()
    }

    #[test]
    fn an_identity_is_made_once_and_stays() {
        let scratch = Scratch::new();
        let own = scratch.label().unwrap();
        assert_eq!(own.len(), 16);
        assert_ne!(own, scratch.path_label());
        let before = fs::read(scratch.id_file()).unwrap();
        scratch.prepare().unwrap();
        assert_eq!(fs::read(scratch.id_file()).unwrap(), before);
        let labels = scratch.labels().unwrap();
        assert!(labels.is_own(&own) && labels.include(&own) && !labels.is_former(&own));
        assert_eq!(former(&labels), [""; 0]);
        // Another home, at any path, has another one.
        assert_ne!(Scratch::new().label().unwrap(), own);
    }

    #[test]
    fn reading_makes_nothing() {
        let scratch = Scratch::new();
        let none = beside(&scratch, "none");
        assert_eq!(none.labels().unwrap().own(), None);
        assert_eq!(former(&none.labels().unwrap()), [""; 0]);
        assert!(!none.root().exists());
    }

    #[test]
    fn a_moved_home_keeps_it() {
        let scratch = Scratch::new();
        let own = scratch.label().unwrap();
        let moved = beside(&scratch, "moved");
        fs::rename(scratch.root(), moved.root()).unwrap();
        assert_eq!(moved.label().unwrap(), own);
        fs::remove_dir_all(moved.root()).unwrap();
    }

    #[test]
    fn a_copy_makes_its_own_and_knows_the_first() {
        let scratch = Scratch::new();
        let first = scratch.label().unwrap();
        let other = beside(&scratch, "copy");
        copy(&scratch, &other);
        // A copy that only reads claims nothing.
        let labels = other.labels().unwrap();
        assert_eq!((labels.own(), former(&labels)), (None, vec![&*first]));
        let second = other.label().unwrap();
        assert_ne!(second, first);
        let labels = other.labels().unwrap();
        assert_eq!(
            (labels.own(), former(&labels)),
            (Some(&*second), vec![&*first])
        );
        assert_eq!(scratch.label().unwrap(), first, "the original is as it was");
        let third = beside(&scratch, "third");
        copy(&other, &third);
        third.label().unwrap();
        assert_eq!(former(&third.labels().unwrap()), [&*second, &*first]);
        for home in [other, third] {
            fs::remove_dir_all(home.root()).unwrap();
        }
    }

    #[test]
    fn a_home_of_an_earlier_version_knows_the_label_of_its_path() {
        let scratch = Scratch::new();
        fs::remove_file(scratch.id_file()).unwrap();
        let path = scratch.path_label();
        let labels = scratch.labels().unwrap();
        assert_eq!((labels.own(), former(&labels)), (None, vec![&*path]));
        scratch.label().unwrap();
        assert_eq!(former(&scratch.labels().unwrap()), [&*path]);
        // A home with settings only has made nothing.
        let fresh = beside(&scratch, "fresh");
        fs::create_dir_all(fresh.registry()).unwrap();
        fresh.label().unwrap();
        assert_eq!(former(&fresh.labels().unwrap()), [""; 0]);
        fs::remove_dir_all(fresh.root()).unwrap();
    }

    #[test]
    fn all_that_start_at_once_get_the_same() {
        let scratch = Scratch::new();
        let home = beside(&scratch, "shared");
        let labels: Vec<String> = std::thread::scope(|scope| {
            let start = || {
                home.prepare().unwrap();
                home.label().unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            let joined = threads.into_iter();
            joined.map(|thread| thread.join().unwrap()).collect()
        });
        assert!(labels.iter().all(|label| *label == labels[0]), "{labels:?}");
        assert_eq!(former(&home.labels().unwrap()), [""; 0]);
        fs::remove_dir_all(home.root()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let scratch = Scratch::new();
        for (content, why) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("0123456789abcdef", "is not the identity of a home"),
            ("{\"schema\": 1}", "missing field"),
            ("{\"schema\": 2, \"id\": \"0123456789abcdef\"}", "schema 2"),
            ("{\"schema\": 1, \"id\": \"x\"}", "16 hexadecimal digits"),
            (
                "{\"schema\": 1, \"id\": \"0123456789abcdef\", \"former\": [\"a=b\"]}",
                "16 hexadecimal digits",
            ),
        ] {
            fs::write(scratch.id_file(), content).unwrap();
            for error in [
                scratch.labels().unwrap_err(),
                scratch.label().unwrap_err(),
                scratch.prepare().unwrap_err(),
            ] {
                assert!(error.message.contains(why), "{content}: {}", error.message);
                assert!(error.hint.unwrap().contains("restore"));
            }
            assert_eq!(fs::read_to_string(scratch.id_file()).unwrap(), content);
        }
        fs::remove_file(scratch.id_file()).unwrap();
        fs::create_dir(scratch.id_file()).unwrap();
        let error = scratch.label().unwrap_err();
        assert!(error.message.contains("is a directory"), "{error}");
    }

    /// The hint for a damaged file works.
    #[test]
    fn a_user_can_write_the_file() {
        let scratch = Scratch::new();
        let text = "{\"schema\": 1, \"id\": \"0123456789abcdef\"}";
        fs::write(scratch.id_file(), text).unwrap();
        assert_eq!(scratch.label().unwrap(), "0123456789abcdef");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn containers_of_one_image_are_told_apart_by_their_layers() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      90 22 0:52 / /m rw - overlay overlay rw,lowerdir=/l,upperdir=/u/1,workdir=/w\n\
                      91 22 0:53 / /f rw shared:2 master:3 - fuse.sshfs host: rw,user_id=0\n";
        let device = |minor| rustix::fs::makedev(0, minor);
        let (kind, options) = mount_in(mounts, device(52)).unwrap();
        assert_eq!(kind, "overlay");
        assert!(options.contains("upperdir=/u/1"), "{options}");
        assert_eq!(mount_in(mounts, device(53)).unwrap().0, "fuse.sshfs");
        assert_eq!(mount_in(mounts, device(54)), None);
        let origin = |file: Option<&str>, layer: Option<&str>| Origin {
            file: file.map(|born| FileMark::Born(born.to_owned())),
            layer: layer.map(str::to_owned),
        };
        let first = origin(Some("1.5"), Some("/u/1"));
        assert!(first.matches(&origin(Some("1.5"), Some("/u/1"))));
        assert!(!first.matches(&origin(Some("1.5"), Some("/u/2"))));
        assert!(!first.matches(&origin(Some("1.6"), Some("/u/1"))));
        assert!(!origin(Some("1.5"), None).matches(&first));
        // Written by a user.
        assert!(Origin::default().matches(&first));
    }
}
