//! `session.inherit`: what a worktree gets from the main checkout because git does not have it.

use std::path::{Component, Path, PathBuf};

use super::session::inner_path;
use crate::yaml::{Node, NodeValue, Placed, Source, message_text};

/// A path or a pattern of paths in the main checkout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inherit {
    /// Relative, without `.` and `..`.
    pub(crate) path: PathBuf,
    pub(crate) link: bool,
    /// Whether it is a default: the main checkout need not have it.
    pub(crate) is_default: bool,
}

pub(super) fn defaults() -> Vec<Inherit> {
    let inherit = |path: &str| Inherit {
        path: path.into(),
        link: false,
        is_default: true,
    };
    [".env", ".env.local"].map(inherit).into()
}

pub(super) fn read(source: &Source, node: &Node) -> Vec<Inherit> {
    let mut found: Vec<Inherit> = Vec::new();
    for item in source.list(node) {
        let Some((text, link)) = path_and_mode(source, item) else {
            continue;
        };
        let Some(path) = checked_path(source, &text) else {
            continue;
        };
        if found.iter().any(|other| other.path == path) {
            let shown = message_text(&text.value);
            source.report(text.at, format!("'{shown}' is listed twice"));
            continue;
        }
        found.push(Inherit {
            path,
            link,
            is_default: false,
        });
    }
    found
}

/// Reads a path, or a map with `path` (`file` means the same) and `mode`.
fn path_and_mode(source: &Source, node: &Node) -> Option<(Placed<String>, bool)> {
    let NodeValue::Map(_) = node.value else {
        return Some((source.text(node)?, false));
    };
    let section = source.section(node, &["file", "mode", "path"]);
    let mode = section
        .get("mode")
        .and_then(|node| source.word(node, &["copy", "link"]));
    let key = match (section.place("file"), section.place("path")) {
        (Some(at), Some(_)) => {
            source.report(at, "'file' and 'path' mean the same: leave out 'file'");
            return None;
        }
        (Some(_), None) => "file",
        (None, _) => "path",
    };
    section.require(key);
    let link = mode.is_some_and(|mode| mode.value == "link");
    Some((section.text(key)?, link))
}

/// Returns the path without `.`; reports one that a worktree cannot get.
fn checked_path(source: &Source, text: &Placed<String>) -> Option<PathBuf> {
    let path: PathBuf = inner_path(source, text)?
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let shown = message_text(&text.value);
    let problem = if path.as_os_str().is_empty() {
        Some(format!(
            "'{shown}' is the whole checkout: name files or directories in it"
        ))
    } else if is_of_git(&path) {
        Some(format!(
            "'{shown}' belongs to git, and each worktree has its own"
        ))
    } else if path == Path::new(crate::store::VARIABLES_FILE) {
        Some(format!(
            "'{shown}' has the variables of a session, and moat writes it"
        ))
    } else {
        let pattern = path.to_str().map(glob::Pattern::new);
        let problem = pattern.and_then(|pattern| pattern.err());
        problem.map(|problem| format!("bad pattern '{shown}': {}", problem.msg))
    };
    match problem {
        Some(problem) => {
            source.report(text.at, problem);
            None
        }
        None => Some(path),
    }
}

/// Whether a path is a `.git` or below one. Some file systems ignore case.
pub(crate) fn is_of_git(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str().eq_ignore_ascii_case(".git"))
}
