//! Loads the built-in registry, then the files of `$MOAT_HOME/registry.d`.

use std::path::{Path, PathBuf};

use super::entry::{EntryOrigin, RegistryEntry};
use super::entry_schema;
use crate::error::{Error, FileProblem, Result};
use crate::yaml::{Source, read_file, unknown_key_error};

const BUILT_IN: &str = include_str!("../../registry.yaml");

/// All entries, sorted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    entries: Vec<RegistryEntry>,
}

/// Reads the built-in registry, and then the `.yaml` files of a directory, sorted by name. An entry of such a file
/// replaces the built-in entry.
pub(crate) fn load(additions: &Path) -> Result<Registry> {
    let mut registry = Registry::default();
    registry.add("registry.yaml", BUILT_IN.to_owned(), &EntryOrigin::BuiltIn)?;
    let mut problems: Vec<FileProblem> = Vec::new();
    for path in files(additions)? {
        let name = crate::term::escape_unsafe(&path.display().to_string());
        let Some(text) = read_file(&path, &name)? else {
            continue;
        };
        if let Err(error) = registry.add(&name, text, &EntryOrigin::File(name.clone())) {
            problems.extend(error.problems);
        }
    }
    if problems.is_empty() {
        registry.check_requirements()?;
        return Ok(registry);
    }
    Err(Error::problems(problems))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed =
        |error: &std::io::Error| Error::io(crate::error::ErrorKind::Config, "read", dir, error);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Registry {
    pub(crate) fn get(&self, name: &str) -> Option<&RegistryEntry> {
        Some(&self.entries[self.place(name).ok()?])
    }

    /// The index of an entry, or the index at which to insert it.
    fn place(&self, name: &str) -> std::result::Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
    }

    /// Returns all entries, sorted by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &RegistryEntry> {
        self.entries.iter()
    }

    pub(crate) fn add(&mut self, name: &str, text: String, origin: &EntryOrigin) -> Result<()> {
        let (source, root) = Source::parse(name, text)?;
        for (name, at, node) in source.entries(&root) {
            let Some(entry) = entry_schema::entry(&source, name, at, node, origin) else {
                continue;
            };
            match self.place(name) {
                Ok(place) => {
                    let earlier = std::mem::replace(&mut self.entries[place], entry);
                    if let EntryOrigin::File(file) = earlier.origin {
                        source.report(at, format!("'{name}' is also in {file}"));
                    }
                }
                Err(place) => self.entries.insert(place, entry),
            }
        }
        source.finish()
    }

    /// Checks that every requirement names an entry, after all files are read.
    fn check_requirements(&self) -> Result<()> {
        let mut problems = Vec::new();
        for entry in &self.entries {
            for name in &entry.requires {
                if self.get(name).is_some() {
                    continue;
                }
                let known = self.entries.iter().map(|entry| entry.name.as_str());
                let known: Vec<&str> = known.collect();
                let file = match &entry.origin {
                    EntryOrigin::File(file) => file.clone(),
                    EntryOrigin::BuiltIn | EntryOrigin::Dynamic => "registry.yaml".to_owned(),
                };
                problems.push(FileProblem {
                    file,
                    line: None,
                    column: None,
                    message: format!(
                        "'{}' requires an {}",
                        entry.name,
                        unknown_key_error("entry", name, &known)
                    ),
                });
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Error::problems(problems)),
        }
    }
}
