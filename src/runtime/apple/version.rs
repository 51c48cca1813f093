//! The release of the command line, and its abilities. The releases that introduced an ability come from its sources,
//! 0.1.0 to 1.2.2.

use super::super::error::{Result, RuntimeError};

/// The text before the version.
const VERSION_PREFIX: &str = "container CLI version ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

/// The oldest release with everything that moat requires: labels, limits, mounts of files.
const MIN_VERSION: Version = Version(0, 9, 0);

impl Version {
    /// Parses the output of `container --version`. Other programs have that name, too.
    pub(super) fn read(text: &str) -> Result<Version> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(VERSION_PREFIX));
        let word = line.and_then(|rest| rest.split([' ', '-']).next());
        let Some(version) = word.and_then(Version::parse) else {
            return Err(RuntimeError::unreachable(
                "the 'container' on PATH is not Apple's",
                "put Apple's first on your PATH, or choose another runtime with --runtime",
            ));
        };
        if version < MIN_VERSION {
            return Err(RuntimeError::unreachable(
                format!("container {version} is too old: moat needs {MIN_VERSION} or newer"),
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

    /// Has an init process that passes on signals and reaps orphans.
    pub(super) fn has_init(self) -> bool {
        self >= Version(0, 10, 0)
    }

    /// Can drop capabilities; otherwise a container has all of them.
    pub(super) fn has_capabilities(self) -> bool {
        self >= Version(0, 12, 0)
    }

    /// Mounts outer mounts before inner ones, whatever the order of the arguments.
    pub(super) fn orders_mounts(self) -> bool {
        self >= Version(0, 12, 0)
    }

    /// A build checks the name servers of a running builder.
    pub(super) fn builds_with_dns(self) -> bool {
        self >= Version(1, 2, 1)
    }

    /// Supports a mounted file in a container that is started after its creation.
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

    fn read(word: &str) -> Result<Version> {
        let line = format!("container CLI version {word} (build: release, commit: abc1234)\n");
        Version::read(&line)
    }

    /// Columns: `has_init`, `has_capabilities`, `orders_mounts`, `mounts_files`, `builds_with_dns`.
    const CAN: &[(&str, [bool; 5])] = &[
        ("0.9.0", [false, false, false, false, false]),
        ("0.10.0", [true, false, false, false, false]),
        ("0.11.0", [true, false, false, false, false]),
        ("0.12.0", [true, true, true, true, false]),
        ("0.12.3", [true, true, true, true, false]),
        ("1.2.0", [true, true, true, true, false]),
        ("1.2.1", [true, true, true, true, true]),
        ("1.2.2", [true, true, true, true, true]),
        ("2.0.0", [true, true, true, true, true]),
    ];

    #[test]
    fn what_each_release_can() {
        for (word, expected) in CAN {
            let version = read(word).unwrap();
            let can = [
                version.has_init(),
                version.has_capabilities(),
                version.orders_mounts(),
                version.mounts_files(),
                version.builds_with_dns(),
            ];
            assert_eq!(can, *expected, "{word}");
        }
        let said = read("0.7.1").unwrap_err();
        assert!(
            said.message().contains("0.7.1 is too old"),
            "{}",
            said.message()
        );
    }

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(read("0.12.3").unwrap().to_string(), "0.12.3");
        assert_eq!(read("1.4.1-beta").unwrap(), read("1.4.1").unwrap());
        assert!(read("1.4.1").unwrap() > read("1.2.2").unwrap());
        assert!(read("0.8.0").is_err());
        assert!(Version::read("container version 1.0.0\n").is_err());
    }
}
