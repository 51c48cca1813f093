//! Which release of the command line this is, and what that can do. The releases in which something came
//! to be were read in its sources, 0.1.0 to 1.2.2.

use super::super::error::{Result, RuntimeError};

/// What a version is printed behind.
const BEFORE: &str = "container CLI version ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

/// The oldest release that has all that moat cannot do without: labels, limits, mounts of files.
const OLDEST: Version = Version(0, 9, 0);

impl Version {
    /// What `container --version` printed. Other programs have that name, too.
    pub(super) fn read(text: &str) -> Result<Version> {
        let line = text.lines().find_map(|line| line.strip_prefix(BEFORE));
        let word = line.and_then(|rest| rest.split([' ', '-']).next());
        let Some(version) = word.and_then(Version::parse) else {
            return Err(RuntimeError::unreachable(
                "the 'container' on PATH is not Apple's",
                "put Apple's first on your PATH, or choose another runtime with --runtime",
            ));
        };
        if version < OLDEST {
            return Err(RuntimeError::unreachable(
                format!("container {version} is too old: moat needs {OLDEST} or newer"),
                "update it: https://github.com/apple/container/releases",
            ));
        }
        Ok(version)
    }

    fn parse(word: &str) -> Option<Version> {
        let mut parts = word.split('.').map(|part| part.parse().ok());
        let version = Version(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// A process of its own that passes on signals and collects orphans.
    pub(super) fn has_init(self) -> bool {
        self >= Version(0, 10, 0)
    }

    /// Capabilities can be taken from a container, which else has all of them.
    pub(super) fn has_capabilities(self) -> bool {
        self >= Version(0, 12, 0)
    }

    /// What is mounted inside something else is mounted after it, in whatever order they are told.
    pub(super) fn orders_mounts(self) -> bool {
        self >= Version(0, 12, 0)
    }

    /// A build looks whether the builder that runs has the name servers that it wants.
    pub(super) fn builds_with_dns(self) -> bool {
        self >= Version(1, 2, 1)
    }

    /// A file can be mounted into a container that is made first and started later.
    pub(super) fn mounts_files(self) -> bool {
        self >= Version(0, 12, 0)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let read = |word: &str| {
            let line = format!("container CLI version {word} (build: release, commit: abc1234)\n");
            Version::read(&line)
        };
        let version = read("0.12.3").unwrap();
        assert_eq!(version.to_string(), "0.12.3");
        assert!(version.has_capabilities() && version.has_init() && version.mounts_files());
        let version = read("0.10.0").unwrap();
        assert!(!version.has_capabilities() && version.has_init() && !version.mounts_files());
        assert!(!read("0.9.0").unwrap().has_init());
        assert!(read("1.4.1").unwrap() > read("1.2.2").unwrap());
        assert!(read("0.8.0").is_err());
        assert!(Version::read("container version 1.0.0\n").is_err());
    }
}
