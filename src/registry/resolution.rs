//! Resolves a project's dependencies to entries with versions. Requirements are included. Each entry appears once,
//! after its requirements.

use super::dependency_name::{DependencyName, dynamic_entry};
use super::entry::RegistryEntry;
use super::load::Registry;
use crate::yaml::{NodeId, Placed, message_text, unknown_key_error};

/// A resolved dependency.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedDependency {
    pub(crate) entry: RegistryEntry,
    /// `None`: the newest version, or the distribution's.
    pub(crate) version: Option<String>,
    /// The dependency that requires this one, if the project does not name it.
    pub(crate) required_by: Option<String>,
}

/// The maximum depth of requirements.
const MAX_DEPTH: usize = 50;

/// A problem of a dependency, and its position.
type DependencyError = (NodeId, String);

/// Chooses entries and versions, and adds their requirements.
pub(crate) fn choose(
    registry: &Registry,
    asked: &[Placed<String>],
) -> Result<Vec<ResolvedDependency>, Vec<DependencyError>> {
    let mut choice = Resolver {
        registry,
        asked: Vec::new(),
        chosen: Vec::new(),
        flaws: Vec::new(),
    };
    for text in asked {
        choice.request_dependency(text);
    }
    for index in 0..choice.asked.len() {
        let asked = &choice.asked[index];
        let (at, entry) = (asked.0, asked.2.clone());
        choice.add(at, entry, None, &mut Vec::new());
    }
    match choice.flaws.is_empty() {
        true => Ok(choice.chosen),
        false => Err(choice.flaws),
    }
}

struct Resolver<'a> {
    registry: &'a Registry,
    asked: Vec<(NodeId, DependencyName, RegistryEntry)>,
    chosen: Vec<ResolvedDependency>,
    flaws: Vec<DependencyError>,
}

impl Resolver<'_> {
    /// Adds a dependency of the project, or reports its problem.
    fn request_dependency(&mut self, text: &Placed<String>) {
        match self.resolve_name(&text.value) {
            Err(why) => self.flaws.push((text.at, why)),
            Ok((spec, entry)) => {
                let key = spec.key();
                if let Some((_, earlier, _)) = self.requested_as(&key) {
                    let why = match earlier.version == spec.version {
                        true => format!("'{key}' is listed twice"),
                        false => format!(
                            "'{}' contradicts another version of '{key}'",
                            message_text(&text.value)
                        ),
                    };
                    self.flaws.push((text.at, why));
                    return;
                }
                self.asked.push((text.at, spec, entry));
            }
        }
    }

    /// Returns the dependency of that name, if the project names it.
    fn requested_as(&self, name: &str) -> Option<&(NodeId, DependencyName, RegistryEntry)> {
        self.asked.iter().find(|(_, _, entry)| entry.name == name)
    }

    fn resolve_name(&self, text: &str) -> Result<(DependencyName, RegistryEntry), String> {
        let spec = DependencyName::parse(text)
            .map_err(|why| format!("bad dependency '{}': {why}", message_text(text)))?;
        let entry = match spec.dynamic {
            Some(dynamic) => dynamic_entry(dynamic, &spec.name),
            None => self.find(&spec.name)?,
        };
        if let Some(version) = &spec.version {
            check_version(&entry, version)?;
        }
        Ok((spec, entry))
    }

    fn find(&self, name: &str) -> Result<RegistryEntry, String> {
        self.registry.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self
                .registry
                .entries()
                .map(|entry| entry.name.as_str())
                .collect();
            format!(
                "{}; see all: moat deps list",
                unknown_key_error("dependency", name, &known)
            )
        })
    }

    /// Adds an entry after its requirements. `above`: the entries whose requirements are being added.
    fn add(
        &mut self,
        at: NodeId,
        entry: RegistryEntry,
        because: Option<&str>,
        above: &mut Vec<String>,
    ) {
        if self
            .chosen
            .iter()
            .any(|chosen| chosen.entry.name == entry.name)
        {
            return;
        }
        if above.contains(&entry.name) || above.len() > MAX_DEPTH {
            let circle = above.join(" requires ");
            self.flaws.push((
                at,
                format!(
                    "{circle} requires {}: the requirements form a circle",
                    entry.name
                ),
            ));
            return;
        }
        above.push(entry.name.clone());
        for name in &entry.requires {
            match self.find(name) {
                Ok(required) => self.add(at, required, Some(&entry.name), above),
                Err(why) => self.flaws.push((at, why)),
            }
        }
        above.pop();
        let asked = self.requested_as(&entry.name);
        let version = asked.and_then(|(_, spec, _)| spec.version.clone());
        self.chosen.push(ResolvedDependency {
            required_by: because.filter(|_| asked.is_none()).map(str::to_owned),
            version: version.or_else(|| entry.default.clone()),
            entry,
        });
    }
}

/// Returns the reason if a version of an entry does not exist.
pub(crate) fn check_version(entry: &RegistryEntry, version: &str) -> Result<(), String> {
    let name = &entry.name;
    if !entry.has_versions() {
        let word = entry.type_name();
        return Err(format!(
            "'{name}' has no versions to choose from: it is of type {word}"
        ));
    }
    if entry.has_version(version) {
        return Ok(());
    }
    let mut offered = entry.version_list();
    if entry.versions.is_empty() {
        offered.insert(0, "numbers");
    }
    let offered = offered.join(", ");
    let default = entry.default.as_deref().unwrap_or("the newest");
    Err(format!(
        "{name}@{version} does not exist; the versions are {offered} (default {default})"
    ))
}
