//! Finds and reads the two configuration files.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::scalar_values;
use super::settings::{self, Settings};
use crate::error::Result;
use crate::term::EscapePrefix;
use crate::yaml::{Placed, Source, message_text, read_file};

/// A configuration file, and the problems found so far.
pub(crate) struct ConfigFile {
    pub(crate) source: Source,
    pub(crate) settings: Settings,
    /// The directory to which the file's paths are relative.
    pub(crate) dir: PathBuf,
    /// Whether this is the user's `config.yaml`. Its settings are ignored on a runtime that does not support them.
    pub(crate) is_default: bool,
}

/// The user's `config.yaml`.
pub(crate) struct UserDefaults {
    /// `run.background`: start runs in the background unless `-f` is given.
    pub(crate) background: bool,
    /// `interactive.escape`: the first key of an escape; the inner `None`: no key.
    pub(crate) escape: Option<Option<EscapePrefix>>,
    pub(crate) file: ConfigFile,
}

/// Parses `ctrl-X`, or `none`.
fn escape(source: &Source, text: &Placed<String>) -> Option<Option<EscapePrefix>> {
    if text.value == "none" {
        return Some(None);
    }
    let found = EscapePrefix::parse(&text.value);
    if found.is_none() {
        let shown = message_text(&text.value);
        source.report(
            text.at,
            format!("'{shown}' cannot begin an escape: write 'none', or ctrl- and one of a-z / ] \\ ^ _ @ that the workload does not need"),
        );
    }
    found.map(Some)
}

/// The names of a project's file; the second is the older name.
const FILE_NAMES: [&str; 2] = ["moat.yaml", "agent.yaml"];

/// Keys of a project's file that the tools which moat succeeds support, and moat does not support yet.
const RESERVED_KEYS: [&str; 16] = [
    "agent",
    "agents",
    "claude",
    "clipboard",
    "codex",
    "copilot",
    "gemini",
    "grants",
    "language_servers",
    "mcp",
    "network",
    "pi",
    "sandbox",
    "snapshots",
    "tracing",
    "version",
];

/// Reads the project's file in `dir`; `None` if there is none. `shown`: `dir` as the user wrote it.
pub(crate) fn project(dir: &Path, shown: &Path) -> Result<Option<ConfigFile>> {
    // The plan decides whether the directory can be a workspace.
    if rustix::fs::access(dir, Access::EXEC_OK).is_err() {
        return Ok(None);
    }
    for name in FILE_NAMES {
        let label = match shown.to_str() {
            Some("" | ".") => name.to_owned(),
            _ => shown.join(name).display().to_string(),
        };
        let label = crate::term::escape_unsafe(&label);
        let Some(text) = read_file(&dir.join(name), &label)? else {
            continue;
        };
        return parse_project(&label, text, dir).map(Some);
    }
    Ok(None)
}

/// Parses the text of a project's file in `dir`.
pub(crate) fn parse_project(label: &str, text: String, dir: &Path) -> Result<ConfigFile> {
    let (source, root) = Source::parse(label, text)?;
    let known: Vec<&str> = settings::PROJECT_KEYS
        .iter()
        .chain(&RESERVED_KEYS)
        .copied()
        .collect();
    let section = source.section(&root, &known);
    for key in RESERVED_KEYS {
        if let Some(at) = section.place(key) {
            source.report(at, format!("'{key}' is not supported yet"));
        }
    }
    let settings = Settings::read(&source, &section);
    Ok(ConfigFile {
        settings,
        dir: dir.to_owned(),
        source,
        is_default: false,
    })
}

/// Reads `config.yaml`; `None` if there is none.
pub(crate) fn defaults(path: &Path) -> Result<Option<UserDefaults>> {
    let label = crate::term::escape_unsafe(&path.display().to_string());
    let Some(text) = read_file(path, &label)? else {
        return Ok(None);
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    parse_defaults(&label, text, dir).map(Some)
}

/// Parses the text of a `config.yaml` in `dir`.
pub(crate) fn parse_defaults(label: &str, text: String, dir: &Path) -> Result<UserDefaults> {
    let (source, root) = Source::parse(label, text)?;
    let section = source.section(
        &root,
        &["run", "defaults", "interactive", "debug", "mounts", "proxy"],
    );
    for key in ["debug", "proxy"] {
        if let Some(at) = section.place(key) {
            source.report(at, format!("'{key}' is not supported yet"));
        }
    }
    if let Some(at) = section.place("mounts") {
        source.report(at, "write 'mounts' below 'defaults'");
    }
    let escape = section
        .get("interactive")
        .map(|node| source.section(node, &["escape"]))
        .and_then(|section| section.text("escape"))
        .and_then(|text| escape(&source, &text));
    let run = section
        .get("run")
        .map(|node| source.section(node, &["background"]));
    let background = run.and_then(|run| run.boolean("background"));
    let mut settings = match section.get("defaults") {
        Some(node) => {
            let section = source.section(node, &settings::DEFAULT_KEYS);
            Settings::read(&source, &section)
        }
        None => Settings::default(),
    };
    // The paths of these settings must not depend on the current directory.
    settings.mounts.retain(|mount| {
        if mount.value.target == scalar_values::WORKSPACE {
            source.report(mount.at, "the target '/workspace' is the workspace's own");
            return false;
        }
        let good = mount.value.source.is_absolute() || mount.value.source.starts_with("~");
        if !good {
            source.report(
                mount.at,
                "a source in config.yaml must be absolute, or begin with ~/",
            );
        }
        good
    });
    Ok(UserDefaults {
        background: background.unwrap_or_default(),
        escape,
        file: ConfigFile {
            source,
            settings,
            dir: dir.to_owned(),
            is_default: true,
        },
    })
}
