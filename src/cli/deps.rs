//! `moat deps`: show the dependencies that a project can have.

use serde::Serialize;

use super::args::Args;
use super::{flags, output};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{self, EntryKind, EntryOrigin, Registry, RegistryEntry};
use crate::store::Home;
use crate::term;

/// A registry entry, as JSON.
#[derive(Serialize)]
struct DependencyDocument<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    description: &'a str,
    default: Option<&'a str>,
    versions: Vec<&'a str>,
    requires: &'a [String],
    origin: &'a EntryOrigin,
}

impl<'a> DependencyDocument<'a> {
    fn of(entry: &'a RegistryEntry) -> DependencyDocument<'a> {
        DependencyDocument {
            name: &entry.name,
            kind: entry.type_name(),
            description: &entry.description,
            default: entry.default.as_deref(),
            versions: entry.version_list(),
            requires: &entry.requires,
            origin: &entry.origin,
        }
    }
}

fn load() -> Result<Registry> {
    registry::load(&Home::locate()?.registry())
}

pub(crate) fn list(args: &Args) -> Result<u8> {
    print(args, load()?.entries().collect())
}

pub(crate) fn search(args: &Args) -> Result<u8> {
    let word = args.positional()[0].to_string_lossy().to_lowercase();
    let found = |entry: &&RegistryEntry| {
        entry.name.contains(&word) || entry.description.to_lowercase().contains(&word)
    };
    print(args, load()?.entries().filter(found).collect())
}

fn print(args: &Args, entries: Vec<&RegistryEntry>) -> Result<u8> {
    if args.has(&flags::JSON) {
        let documents: Vec<DependencyDocument> =
            entries.into_iter().map(DependencyDocument::of).collect();
        output::json(&documents)?;
    } else if args.has(&flags::QUIET) {
        let names: String = entries
            .iter()
            .map(|entry| format!("{}\n", entry.name))
            .collect();
        output::print_result(&names)?;
    } else if entries.is_empty() {
        output::notice(args, "no entry matches; see all: moat deps list");
    } else {
        let rows: Vec<Vec<String>> = entries.into_iter().map(row).collect();
        let header = ["NAME", "TYPE", "DEFAULT", "DESCRIPTION"];
        output::print_result(&term::table(&header, &rows, term::width(std::io::stdout())))?;
    }
    Ok(0)
}

fn row(entry: &RegistryEntry) -> Vec<String> {
    vec![
        entry.name.clone(),
        entry.type_name().to_owned(),
        entry.default.clone().unwrap_or_else(|| "-".to_owned()),
        term::escape_unsafe(&entry.description),
    ]
}

pub(crate) fn info(args: &Args) -> Result<u8> {
    let registry = load()?;
    let mut entries = Vec::new();
    for name in args.positional() {
        let name = name.to_string_lossy();
        entries.push(registry.get(&name).ok_or_else(|| {
            let known: Vec<&str> = registry
                .entries()
                .map(|entry| entry.name.as_str())
                .collect();
            let message = crate::yaml::unknown_key_error("dependency", &name, &known);
            Error::new(ErrorKind::NotFound, message).hint("see all: moat deps list")
        })?);
    }
    if args.has(&flags::JSON) {
        let documents: Vec<DependencyDocument> =
            entries.into_iter().map(DependencyDocument::of).collect();
        output::json(&documents)?;
        return Ok(0);
    }
    let texts: Vec<String> = entries.into_iter().map(describe).collect();
    output::print_result(&texts.join("\n"))?;
    Ok(0)
}

fn describe(entry: &RegistryEntry) -> String {
    let versions = match entry.version_list() {
        _ if !entry.has_versions() => String::new(),
        versions if entry.versions.is_empty() => [&["any"][..], &versions].concat().join(", "),
        versions => versions.join(", "),
    };
    let origin = match &entry.origin {
        EntryOrigin::File(file) => file.clone(),
        EntryOrigin::BuiltIn | EntryOrigin::Dynamic => "built in".to_owned(),
    };
    let from = match &entry.kind {
        EntryKind::Runtime(runtime) => runtime.image.clone(),
        EntryKind::Service(service) => service.image.clone(),
        EntryKind::Apt(packages) => packages.join(" "),
        EntryKind::Npm(name)
        | EntryKind::Pip(name)
        | EntryKind::UvTool(name)
        | EntryKind::Cargo(name)
        | EntryKind::GoInstall(name) => name.clone(),
        EntryKind::GithubBinary(binary) => binary.repo.clone(),
        EntryKind::Custom(_) => "a script".to_owned(),
        EntryKind::Meta => String::new(),
    };
    let lines = [
        ("name", entry.name.clone()),
        ("type", entry.type_name().to_owned()),
        ("description", entry.description.clone()),
        ("default", entry.default.clone().unwrap_or_default()),
        ("versions", versions),
        ("requires", entry.requires.join(", ")),
        ("from", from),
        ("origin", origin),
    ];
    let mut text = String::new();
    for (what, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{what:<12} {}\n", term::escape_unsafe(value)));
    }
    text
}
