//! `moat volumes`: list and remove the volumes of projects.

use std::fs;

use serde::Serialize;

use super::args::Args;
use super::confirm::confirm;
use super::run_selection::{self, ListedRun};
use super::{flags, output};
use crate::config::VolumeKind;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, Runtime, RuntimeName};
use crate::store::{self, Home};
use crate::term;

/// A volume, as JSON.
#[derive(Serialize)]
struct Volume {
    /// `PROJECT/NAME`.
    name: String,
    #[serde(rename = "type")]
    kind: VolumeKind,
    /// The directory of the volume, or its name in the engine.
    location: String,
    /// Its engine, if the volume has a former label of this home, so that other homes can have made it.
    #[serde(skip)]
    unproven_in: Option<RuntimeName>,
}

pub(crate) fn list(args: &Args) -> Result<u8> {
    let (found, _) = find_volumes(&Home::locate()?)?;
    if args.has(&flags::JSON) {
        output::json(&found)?;
    } else if args.has(&flags::QUIET) {
        let names: String = found
            .iter()
            .map(|volume| format!("{}\n", volume.name))
            .collect();
        output::print_result(&names)?;
    } else if found.is_empty() {
        output::notice(args, "there are no volumes");
    } else {
        let row = |volume: &Volume| {
            let kind = match volume.kind {
                VolumeKind::Bind => "bind",
                VolumeKind::Volume => "volume",
            };
            vec![
                volume.name.clone(),
                kind.to_owned(),
                term::escape_unsafe(&volume.location),
            ]
        };
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        let header = ["NAME", "TYPE", "PLACE"];
        output::print_result(&term::table(&header, &rows, term::width(std::io::stdout())))?;
    }
    Ok(0)
}

/// Returns all volumes of this home, in its directories and in the engines, and whether all engines answered. Warns
/// about each engine that did not.
fn find_volumes(home: &Home) -> Result<(Vec<Volume>, bool)> {
    let labels = home.labels()?;
    let (mut found, mut complete) = (Vec::new(), true);
    for project in directories(&home.volumes()) {
        for name in directories(&home.volumes().join(&project)) {
            let path = home.volumes().join(&project).join(&name);
            found.push(Volume {
                name: format!("{project}/{name}"),
                kind: VolumeKind::Bind,
                location: path.display().to_string(),
                unproven_in: None,
            });
        }
    }
    for (runtime, engine) in engines(home) {
        let Some(volumes) = engine.volumes() else {
            continue;
        };
        match volumes.find_volumes() {
            Ok(mut volumes) => {
                volumes.retain(|volume| labels.include(&volume.home_label));
                found.extend(volumes.into_iter().map(|volume| Volume {
                    unproven_in: (!labels.is_own(&volume.home_label)).then_some(runtime),
                    name: volume.name,
                    kind: VolumeKind::Volume,
                    location: volume.handle,
                }));
            }
            Err(problem) => {
                complete = false;
                let why = problem.message();
                output::warning(&format!("{why}; the volumes of this engine are unknown"));
            }
        }
    }
    found.sort_by(|one, other| (&one.name, &one.location).cmp(&(&other.name, &other.location)));
    // Two contexts can lead to the same engine.
    found.dedup_by(|one, other| one.location == other.location);
    Ok((found, complete))
}

fn engines(home: &Home) -> Vec<(RuntimeName, Box<dyn Runtime>)> {
    let runs = run_selection::all(home).unwrap_or_default();
    let engines = run_selection::engines(&runs, &home.sessions().unwrap_or_default());
    engines
        .into_iter()
        .filter(|(name, _)| name.has_images())
        .map(|(name, engine)| (name, runtime::open(name, &engine, None)))
        .collect()
}

fn directories(path: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    directories
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

pub(crate) fn remove(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let words = args.positional().iter();
    let names: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (found, complete) = find_volumes(home)?;
    // All or nothing: check every volume before any of them is removed.
    let mut chosen = Vec::new();
    for name in &names {
        let mut volumes: Vec<&Volume> =
            found.iter().filter(|volume| volume.name == *name).collect();
        if volumes.is_empty() {
            let message = format!("no such volume: '{}'", term::escape_unsafe(name));
            return Err(Error::new(ErrorKind::NotFound, message).hint("see all: moat volumes"));
        }
        check_not_in_use(home, name)?;
        // The runs of this home use its own volume if there are both.
        if volumes.iter().any(|volume| volume.unproven_in.is_none()) {
            volumes.retain(|volume| volume.unproven_in.is_none());
        }
        let mut unproven = volumes.iter();
        if let Some(error) = unproven.find_map(|volume| unproven_error(volume))
            && !was_mounted(home, name)?
        {
            return Err(error);
        }
        chosen.extend(volumes);
    }
    // Remove the volumes of engines first, because an engine can refuse and a directory cannot.
    chosen.sort_by_key(|volume| volume.kind == VolumeKind::Bind);
    if !args.has(&flags::VOLUMES_FORCE) {
        let names = names.join(" ");
        let hint = format!("remove without asking: moat volumes rm -f {names}");
        confirm(args, &format!("Remove {names} and all data in it?"), &hint)?;
    }
    for volume in chosen {
        match volume.kind {
            VolumeKind::Bind => store::remove_tree(volume.location.as_ref()).map_err(|error| {
                Error::io(ErrorKind::Store, "remove", volume.location.as_ref(), &error)
            })?,
            VolumeKind::Volume => {
                for (_, engine) in engines(home) {
                    if let Some(volumes) = engine.volumes() {
                        volumes.remove_volume(&volume.location)?;
                    }
                }
            }
        }
        if !args.has(&flags::JSON) {
            output::print_result(&format!("{}\n", volume.name))?;
        }
    }
    if args.has(&flags::JSON) {
        output::json(&names)?;
    }
    Ok(u8::from(!complete))
}

/// Whether a run of this home has mounted the volume, by its record.
fn was_mounted(home: &Home, name: &str) -> Result<bool> {
    Ok(run_selection::all(home)?.iter().any(|run| match run {
        ListedRun::Record(record) => record.volumes.iter().any(|volume| volume == name),
        ListedRun::Unreadable(_) => false,
    }))
}

/// The error for a volume that other homes can have made.
fn unproven_error(volume: &Volume) -> Option<Error> {
    let client = volume.unproven_in?.as_str();
    let (name, location) = (&volume.name, &volume.location);
    let message =
        format!("the volume '{name}' may belong to another home: no run here has mounted it");
    Some(Error::new(ErrorKind::Failed, message).hint(format!(
        "if it is yours, remove it in its engine: {client} volume rm {location}"
    )))
}

/// Fails if a run, or a kept container, has mounted the volume.
fn check_not_in_use(home: &Home, name: &str) -> Result<()> {
    let user = run_selection::all(home)?
        .into_iter()
        .find_map(|run| match run {
            ListedRun::Record(record) => {
                let uses = record.volumes.iter().any(|volume| volume == name);
                // A run whose workload never ran has written nothing, even if its engine is gone for good.
                let is_over = record.state.is_terminal()
                    && (record.is_clean() || record.started_at.is_none());
                (uses && !is_over).then_some(record.id)
            }
            ListedRun::Unreadable(_) => None,
        });
    let Some(id) = user else { return Ok(()) };
    let message = format!("the volume '{name}' is mounted by {id}");
    Err(Error::new(ErrorKind::Conflict, message).hint(format!(
        "stop the run: moat stop {id}; or remove its kept container: moat destroy {id}; \
         if its engine is gone for good: moat destroy --force {id}"
    )))
}
