//! `mounts`, `volumes` and `workspace`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scalar_values::{self, WORKSPACE};
use super::settings::report_invalid;
use crate::store::WorkspaceMode;
use crate::yaml::{Node, NodeId, NodeValue, Placed, Source, message_text};

/// A file or directory of the host that the workload sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMount {
    /// The path as written: relative to the file, absolute, or beginning with `~/`.
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) readonly: bool,
    /// Subdirectories, as relative paths, that an empty directory in memory hides. With the target `/workspace` the
    /// mount is the workspace itself, and only these count.
    pub(crate) exclude: Vec<String>,
}

/// A directory that outlives the run, and belongs to the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeConfig {
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) readonly: bool,
    pub(crate) kind: VolumeKind,
}

/// The kind of storage of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VolumeKind {
    /// A directory in `$MOAT_HOME`.
    Bind,
    /// A volume of the engine.
    Volume,
}

pub(super) fn mounts(source: &Source, node: &Node) -> Vec<Placed<FileMount>> {
    let items = source.list(node).iter();
    items.filter_map(|item| mount(source, item)).collect()
}

fn mount(source: &Source, node: &Node) -> Option<Placed<FileMount>> {
    match &node.value {
        NodeValue::Text(text) => {
            let text = Placed {
                at: node.at,
                value: text.clone(),
            };
            if let [from, target] | [from, target, "rw"] =
                text.value.split(':').collect::<Vec<_>>()[..]
                && !from.is_empty()
                && is_workspace(target)
            {
                let value = FileMount {
                    source: PathBuf::from(from),
                    target: WORKSPACE.to_owned(),
                    readonly: false,
                    exclude: Vec::new(),
                };
                return Some(Placed { at: text.at, value });
            }
            let mount = report_invalid(source, &text, scalar_values::mount)?;
            Some(Placed {
                at: mount.at,
                value: FileMount {
                    source: mount.value.source,
                    target: mount.value.target,
                    readonly: mount.value.readonly,
                    exclude: Vec::new(),
                },
            })
        }
        NodeValue::Map(_) => mount_object(source, node),
        _ => {
            source.report_unexpected(node, "SOURCE:/target[:ro], or the keys source and target");
            None
        }
    }
}

fn mount_object(source: &Source, node: &Node) -> Option<Placed<FileMount>> {
    let section = source.section(node, &["exclude", "mode", "source", "target"]);
    let from = section.require("source").and_then(|node| source.text(node));
    let target = section
        .require("target")
        .and_then(|node| match source.text(node) {
            Some(text) if is_workspace(&text.value) => Some(WORKSPACE.to_owned()),
            _ => target(source, node),
        });
    let mode = section
        .get("mode")
        .and_then(|node| source.word(node, &["ro", "rw"]));
    let exclude = section
        .get("exclude")
        .map_or_else(Vec::new, |node| exclude(source, node));
    let target = target?;
    let readonly = mode.as_ref().is_some_and(|mode| mode.value == "ro");
    if let Some(mode) = mode.filter(|_| readonly && target == WORKSPACE) {
        source.report(mode.at, "a read-only workspace is not supported yet");
    }
    Some(Placed {
        at: node.at,
        value: FileMount {
            source: PathBuf::from(from?.value),
            target,
            readonly,
            exclude,
        },
    })
}

/// Whether a target is the workspace's own, in any spelling.
fn is_workspace(target: &str) -> bool {
    scalar_values::normalized_path(target).as_deref() == Some(WORKSPACE)
}

fn target(source: &Source, node: &Node) -> Option<String> {
    let text = source.text(node)?;
    match scalar_values::mount_target(&text.value) {
        Ok(target) => Some(target),
        Err(why) => {
            let target = message_text(&text.value);
            source.report(text.at, format!("the target '{target}' {why}"));
            None
        }
    }
}

fn exclude(source: &Source, node: &Node) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for text in source.texts(node) {
        match excluded(&text.value, &taken) {
            Ok(path) => taken.push(path),
            Err(why) => {
                let path = message_text(&text.value);
                source.report(text.at, format!("bad excluded path '{path}': {why}"));
            }
        }
    }
    taken
}

fn excluded(text: &str, taken: &[String]) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._@+-".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err("it can contain only letters, digits and / . _ @ + -".to_owned());
    }
    if text.starts_with('/') {
        return Err("it is absolute; write it relative to the mount".to_owned());
    }
    let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() || parts.contains(&"..") {
        return Err("it must be a path below the mount".to_owned());
    }
    let path = parts.join("/");
    let within = |outer: &str, inner: &str| {
        inner == outer
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    match taken
        .iter()
        .find(|other| within(other, &path) || within(&path, other))
    {
        Some(other) => Err(format!("it overlaps the excluded path '{other}'")),
        None => Ok(path),
    }
}

pub(super) fn volumes(source: &Source, node: &Node) -> Vec<Placed<VolumeConfig>> {
    let mut volumes: Vec<Placed<VolumeConfig>> = Vec::new();
    for item in source.list(node) {
        let Some(volume) = volume(source, item) else {
            continue;
        };
        if volumes.iter().any(|other| other.value.name == volume.name) {
            let message = format!("another volume is named '{}'", volume.name);
            source.report(item.at, message);
            continue;
        }
        volumes.push(Placed {
            at: item.at,
            value: volume,
        });
    }
    volumes
}

fn volume(source: &Source, node: &Node) -> Option<VolumeConfig> {
    let section = source.section(node, &["name", "readonly", "target", "type"]);
    let name = section.require("name").and_then(|node| source.text(node));
    let name = name.and_then(|name| volume_name(source, &name.value, name.at));
    let target = section
        .require("target")
        .and_then(|node| target(source, node));
    let kind = section
        .get("type")
        .and_then(|node| source.word(node, &["bind", "volume"]));
    let readonly = section.boolean("readonly").unwrap_or_default();
    Some(VolumeConfig {
        name: name?,
        target: target?,
        readonly,
        kind: match kind {
            Some(kind) if kind.value == "volume" => VolumeKind::Volume,
            _ => VolumeKind::Bind,
        },
    })
}

fn volume_name(source: &Source, name: &str, at: NodeId) -> Option<String> {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if !good {
        let name = message_text(name);
        source.report(
            at,
            format!("bad name of a volume '{name}' (1 to 63 of a-z, 0-9, '_', '-')"),
        );
    }
    good.then(|| name.to_owned())
}

pub(super) fn workspace_mode(source: &Source, node: &Node) -> Option<Placed<WorkspaceMode>> {
    let section = source.section(node, &["mode"]);
    let mode = source.word(section.get("mode")?, &["bind", "volume"])?;
    Some(Placed {
        at: mode.at,
        value: match mode.value.as_str() {
            "volume" => WorkspaceMode::Volume,
            _ => WorkspaceMode::Bind,
        },
    })
}
