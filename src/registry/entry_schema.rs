//! The YAML form of an entry: the keys of each type, and their values.

use super::entry::{EntryKind, EntryOrigin, GithubBinary, LanguageRuntime, RegistryEntry};
use super::{dependency_name, service};
use crate::variable_name::{ENVIRONMENT_NAME_RULE, is_environment_name};
use crate::yaml::{Node, NodeId, NodeValue, Placed, Section, Source, message_text};

const COMMON_KEYS: [&str; 7] = [
    "apt",
    "default",
    "description",
    "env",
    "requires",
    "type",
    "versions",
];

/// The types, and their keys besides the common ones.
const ENTRY_TYPES: [(&str, &[&str]); 11] = [
    ("runtime", &["check", "copy", "distro", "image", "path"]),
    ("apt", &["packages"]),
    ("npm", &["package"]),
    ("pip", &["package"]),
    ("uv-tool", &["package"]),
    ("cargo", &["package"]),
    ("go-install", &["package"]),
    (
        "github-binary",
        &["asset", "bin", "command", "repo", "tag", "targets"],
    ),
    ("custom", &["script"]),
    ("service", service::TEMPLATE_KEYS),
    ("meta", &[]),
];

/// Reads one entry, and reports its problems.
pub(super) fn entry(
    source: &Source,
    name: &str,
    at: NodeId,
    node: &Node,
    origin: &EntryOrigin,
) -> Option<RegistryEntry> {
    if !dependency_name::is_name(name) {
        let name = message_text(name);
        source.report(
            at,
            format!("bad name of an entry '{name}' (a-z, 0-9, '.', '_', '-')"),
        );
    }
    let (type_word, own) = type_of(source, at, node)?;
    let keys: Vec<&str> = COMMON_KEYS.iter().chain(own).copied().collect();
    let section = source.section(node, &keys);
    let env = section
        .get("env")
        .map_or_else(Vec::new, |node| variables(source, node));
    let entry = RegistryEntry {
        name: name.to_owned(),
        description: section
            .require("description")
            .and_then(|node| source.text(node))
            .map_or_else(String::new, |text| text.value),
        default: version(source, &section),
        versions: versions(source, &section),
        requires: plain_text(section.texts("requires")),
        apt: packages(source, section.texts("apt")),
        kind: kind(source, &section, type_word, name, &env)?,
        env,
        origin: origin.clone(),
    };
    check(source, &section, &entry);
    Some(entry)
}

/// Returns the value of `type`, and the keys of that type.
fn type_of(
    source: &Source,
    at: NodeId,
    node: &Node,
) -> Option<(&'static str, &'static [&'static str])> {
    let NodeValue::Map(_) = node.value else {
        source.report_unexpected(node, "the keys of an entry");
        return None;
    };
    // The type decides which keys are known, so their problems are reported only with a valid type.
    let found = match &node.value {
        NodeValue::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.value == NodeValue::Text("type".to_owned())),
        _ => None,
    };
    let Some((_, word)) = found else {
        source.report(at, "the key 'type' is missing");
        return None;
    };
    let words: Vec<&str> = ENTRY_TYPES.iter().map(|(word, _)| *word).collect();
    let word = source.word(word, &words)?;
    ENTRY_TYPES
        .into_iter()
        .find(|(known, _)| *known == word.value)
}

pub(super) fn plain_text(texts: Vec<Placed<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}

/// Whether a word needs no quotes in a shell.
pub(super) fn is_shell_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"@/._+:~-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed)
}

fn packages(source: &Source, texts: Vec<Placed<String>>) -> Vec<String> {
    for text in &texts {
        check_word(source, text);
    }
    plain_text(texts)
}

pub(super) fn check_word(source: &Source, text: &Placed<String>) {
    if !is_shell_word(&text.value) {
        let word = message_text(&text.value);
        source.report(
            text.at,
            format!("'{word}' is not a name of a package, a path or a version"),
        );
    }
}

fn version(source: &Source, section: &Section<'_>) -> Option<String> {
    let text = source.scalar(section.get("default")?)?;
    if !dependency_name::is_version(&text.value) {
        let version = message_text(&text.value);
        source.report(text.at, format!("bad version '{version}'"));
    }
    Some(text.value)
}

fn versions(source: &Source, section: &Section<'_>) -> Vec<String> {
    let Some(node) = section.get("versions") else {
        return Vec::new();
    };
    let mut versions = Vec::new();
    for text in source
        .list(node)
        .iter()
        .filter_map(|item| source.scalar(item))
    {
        if !dependency_name::is_version(&text.value) || versions.contains(&text.value) {
            let version = message_text(&text.value);
            source.report(
                text.at,
                format!("bad version '{version}', or it is listed twice"),
            );
        }
        versions.push(text.value);
    }
    if versions.is_empty() {
        source.report(node.at, "the list of versions is empty");
    }
    versions
}

fn variables(source: &Source, node: &Node) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, at, node) in source.entries(node) {
        match source.value_as_written(node) {
            _ if !is_environment_name(name) => {
                let name = message_text(name);
                let why = format!("bad variable name '{name}' ({ENVIRONMENT_NAME_RULE})");
                source.report(at, why);
            }
            Some(value) if value.contains('\n') || name.contains('\n') => {
                source.report(node.at, "a variable has one line here");
            }
            Some(value) => variables.push((name.to_owned(), value)),
            None => {}
        }
    }
    variables
}

fn kind(
    source: &Source,
    section: &Section<'_>,
    word: &str,
    name: &str,
    env: &[(String, String)],
) -> Option<EntryKind> {
    let required = |key: &str| {
        let text = section.require(key).and_then(|node| source.text(node))?;
        Some(text)
    };
    let package = || {
        let text = section.text("package");
        if let Some(text) = &text {
            check_word(source, text);
        }
        text.map_or_else(|| name.to_owned(), |text| text.value)
    };
    Some(match word {
        "runtime" => EntryKind::Runtime(runtime(source, section)?),
        "apt" => {
            section.require("packages");
            EntryKind::Apt(packages(source, section.texts("packages")))
        }
        "npm" => EntryKind::Npm(package()),
        "pip" => EntryKind::Pip(package()),
        "uv-tool" => EntryKind::UvTool(package()),
        "cargo" => EntryKind::Cargo(package()),
        "go-install" => EntryKind::GoInstall(package()),
        "github-binary" => EntryKind::GithubBinary(github(source, section, name)?),
        "custom" => EntryKind::Custom(required("script")?.value),
        "service" => {
            let service = service::read(source, section, env.to_vec())?;
            EntryKind::Service(Box::new(service))
        }
        _ => EntryKind::Meta,
    })
}

/// Reads the name of an image, which must contain a version.
pub(super) fn image(source: &Source, section: &Section<'_>) -> Option<String> {
    let text = section
        .require("image")
        .and_then(|node| source.text(node))?;
    check_word(
        source,
        &Placed {
            at: text.at,
            value: text.value.replace("{version}", "1"),
        },
    );
    if !text.value.contains("{version}") {
        source.report(text.at, "the image must contain {version}");
    }
    Some(text.value)
}

fn runtime(source: &Source, section: &Section<'_>) -> Option<LanguageRuntime> {
    let directories = |key: &str| {
        let texts = section.texts(key);
        for text in &texts {
            check_word(source, text);
            if !text.value.starts_with('/') {
                source.report(text.at, "the path must be absolute");
            }
        }
        plain_text(texts)
    };
    section.require("copy");
    Some(LanguageRuntime {
        image: image(source, section)?,
        copy: directories("copy"),
        distro: packages(source, section.texts("distro")),
        check: section.text("check").map(|text| {
            if text.value.contains('\n') {
                source.report(text.at, "the check must be one line");
            }
            text.value
        }),
        path: directories("path"),
    })
}

fn github(source: &Source, section: &Section<'_>, name: &str) -> Option<GithubBinary> {
    let template = |text: Placed<String>| {
        let plain = ["{version}", "{arch}", "{target}"]
            .iter()
            .fold(text.value.clone(), |text, part| text.replace(part, "x"));
        check_word(
            source,
            &Placed {
                at: text.at,
                value: plain,
            },
        );
        text.value
    };
    let repo = section.require("repo").and_then(|node| source.text(node));
    let asset = section.require("asset").and_then(|node| source.text(node));
    section.require("default");
    let (repo, asset) = (repo?, template(asset?));
    check_word(source, &repo);
    if repo
        .value
        .split('/')
        .filter(|part| !part.is_empty())
        .count()
        != 2
    {
        source.report(repo.at, "the repository must have the form OWNER/NAME");
    }
    let targets = section.get("targets").and_then(|node| {
        let section = source.section(node, &["amd64", "arm64"]);
        let target = |key| {
            let text = section.require(key).and_then(|node| source.text(node))?;
            check_word(source, &text);
            Some(text.value)
        };
        target("amd64").zip(target("arm64"))
    });
    if targets.is_none() && asset.contains("{target}") {
        source.report(section.at, "{target} needs the key 'targets'");
    }
    let command = section.text("command");
    if let Some(command) = &command {
        check_word(source, command);
    }
    Some(GithubBinary {
        repo: repo.value,
        tag: section
            .text("tag")
            .map_or_else(|| "v{version}".to_owned(), template),
        asset,
        targets,
        bin: section.text("bin").map(template),
        command: command.map_or_else(|| name.to_owned(), |text| text.value),
    })
}

/// Checks the rules that involve several keys.
fn check(source: &Source, section: &Section<'_>, entry: &RegistryEntry) {
    let at = |key| section.place(key).unwrap_or(section.at);
    if !entry.has_versions() && (entry.default.is_some() || !entry.versions.is_empty()) {
        let word = entry.type_name();
        source.report(
            at("default"),
            format!("an entry of type {word} has no versions"),
        );
    }
    match &entry.default {
        Some(version) if !entry.has_version(version) => {
            source.report(at("default"), format!("{version} is not among 'versions'"));
        }
        None if matches!(entry.kind, EntryKind::Runtime(_) | EntryKind::Service(_)) => {
            source.report(section.at, "the key 'default' is missing");
        }
        _ => {}
    }
    if entry.kind == EntryKind::Meta && entry.requires.is_empty() {
        source.report(section.at, "an entry of type meta needs the key 'requires'");
    }
}
