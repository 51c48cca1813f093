//! The forms of a dependency: `name`, `name@version`, or `npm:package@version`.

use super::entry::{EntryKind, EntryOrigin, RegistryEntry};

/// The name and version of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DependencyName {
    pub(super) dynamic: Option<Dynamic>,
    pub(super) name: String,
    pub(super) version: Option<String>,
}

/// The package manager of a package without an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dynamic {
    Npm,
    Pip,
    Uv,
    Cargo,
    Go,
}

impl Dynamic {
    pub(super) const ALL: [(&'static str, Dynamic); 5] = [
        ("npm", Dynamic::Npm),
        ("pip", Dynamic::Pip),
        ("uv", Dynamic::Uv),
        ("cargo", Dynamic::Cargo),
        ("go", Dynamic::Go),
    ];

    pub(super) fn prefix(self) -> &'static str {
        let found = Dynamic::ALL.iter().find(|(_, dynamic)| *dynamic == self);
        found.map_or("", |(prefix, _)| *prefix)
    }
}

pub(super) fn is_name(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(allowed)
}

pub(super) fn is_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && ends
            .iter()
            .all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
        && text.bytes().all(allowed)
}

/// Whether a package manager accepts the name: never an option, never two words.
fn is_package(dynamic: Dynamic, text: &str) -> bool {
    let extra: &[u8] = match dynamic {
        Dynamic::Npm => b"@/._~-",
        Dynamic::Pip | Dynamic::Uv => b"._-[],",
        Dynamic::Cargo => b"_-",
        Dynamic::Go => b"/._~-",
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
    let begins_well = |text: &str| {
        let first = text.bytes().next();
        first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let shape = match dynamic {
        Dynamic::Npm => match text.strip_prefix('@') {
            Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| {
                begins_well(scope) && begins_well(name) && !name.contains('/')
            }),
            None => begins_well(text) && !text.contains(['/', '@']),
        },
        // A module path begins with a host.
        Dynamic::Go => {
            begins_well(text)
                && text.contains('/')
                && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
        }
        _ => begins_well(text),
    };
    text.len() <= 214 && shape && text.bytes().all(allowed)
}

impl DependencyName {
    pub(super) fn parse(text: &str) -> Result<DependencyName, String> {
        // `docker:dind` and `docker:host` of the Go moat.
        if format!("{text}:").starts_with("docker:") {
            return Err("docker in a container is not supported yet".to_owned());
        }
        let (dynamic, rest) = match text.split_once(':') {
            None => (None, text),
            Some((prefix, rest)) => match Dynamic::ALL.iter().find(|(word, _)| *word == prefix) {
                Some((_, dynamic)) => (Some(*dynamic), rest),
                None => {
                    let words = Dynamic::ALL.map(|(word, _)| format!("{word}:")).join(", ");
                    return Err(format!("the prefix of a package must be one of {words}"));
                }
            },
        };
        // The first letter may be the '@' of a scope.
        let split = rest
            .char_indices()
            .skip(1)
            .filter(|(_, letter)| *letter == '@')
            .last();
        let (name, version) = match split {
            Some((at, _)) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        match dynamic {
            None if !is_name(name) => return Err("write NAME, or NAME@VERSION".to_owned()),
            Some(Dynamic::Go) if !is_package(Dynamic::Go, name) => {
                return Err("write go:HOST/PATH, or go:HOST/PATH@VERSION".to_owned());
            }
            Some(dynamic) if !is_package(dynamic, name) => {
                let prefix = dynamic.prefix();
                return Err(format!(
                    "write {prefix}:PACKAGE, or {prefix}:PACKAGE@VERSION"
                ));
            }
            _ => {}
        }
        if version.is_some_and(|version| !is_version(version)) {
            return Err(
                "a version has letters and digits, with '.', '_', '+' and '-' between them"
                    .to_owned(),
            );
        }
        Ok(DependencyName {
            dynamic,
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }

    /// The unique name of a dependency, without its version.
    pub(super) fn key(&self) -> String {
        match self.dynamic {
            Some(dynamic) => format!("{}:{}", dynamic.prefix(), self.name),
            None => self.name.clone(),
        }
    }
}

/// The entry of a package that the registry lacks.
pub(super) fn dynamic_entry(dynamic: Dynamic, package: &str) -> RegistryEntry {
    let package = package.to_owned();
    let prefix = dynamic.prefix();
    let name = format!("{prefix}:{package}");
    let (kind, requires) = match dynamic {
        Dynamic::Npm => (EntryKind::Npm(package), "node"),
        Dynamic::Pip => (EntryKind::Pip(package), "python"),
        Dynamic::Uv => (EntryKind::UvTool(package), "uv"),
        Dynamic::Cargo => (EntryKind::Cargo(package), "rust"),
        Dynamic::Go => (EntryKind::GoInstall(package), "go"),
    };
    RegistryEntry {
        description: String::new(),
        name,
        default: None,
        versions: Vec::new(),
        requires: vec![requires.to_owned()],
        apt: Vec::new(),
        env: Vec::new(),
        kind,
        origin: EntryOrigin::Dynamic,
    }
}
