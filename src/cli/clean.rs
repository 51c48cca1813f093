//! `moat clean`: show, confirm and remove leftovers: containers and networks without a run or session, files of
//! interrupted commands in `$MOAT_HOME`, and, with `--older-than`, old finished runs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::Args;
use super::confirm::confirm;
use super::run_selection::{self, EngineSettings, ListedRun};
use super::{destroy, flags, output};
use crate::config::scalar_values;
use crate::error::Result;
use crate::run;
use crate::runtime::{self, Labelled, ResourceOwner, SessionStorage};
use crate::store::{Home, Loaded, ResourceKind, RunId, Session};

/// The resources that can be removed.
#[derive(Default, Serialize)]
struct Leftovers {
    containers: Vec<String>,
    networks: Vec<String>,
    /// Images that were built for services of compose files.
    images: Vec<String>,
    /// Volumes of sessions that no longer exist. moat keeps them, because they may contain data.
    volumes: Vec<String>,
    directories: Vec<PathBuf>,
    runs: Vec<RunId>,
    /// Resources with a former label of this home that are in no record. They may belong to another home.
    left: Vec<String>,
    /// Old runs that hold the only copy of their workspace.
    kept_runs: Vec<RunId>,
    /// The engines that could not be searched, each with the reason.
    unchecked: Vec<String>,
    /// Whether the resources were removed.
    removed: bool,
    #[serde(skip)]
    orphans: Vec<(runtime::RuntimeName, EngineSettings, Labelled)>,
    #[serde(skip)]
    built: Vec<(EngineSettings, SessionStorage)>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let older = args
        .text(&flags::OLDER_THAN)?
        .map(scalar_values::duration)
        .transpose()?;
    let mut found = find_leftovers(&home, older)?;
    let nothing = found.orphans.is_empty()
        && found.built.is_empty()
        && found.directories.is_empty()
        && found.runs.is_empty();
    if !args.has(&flags::JSON) {
        output::print_result(&describe(&found, nothing))?;
    }
    if !nothing && !args.has(&flags::CLEAN_DRY_RUN) {
        if !args.has(&flags::CLEAN_FORCE) {
            let hint =
                "run 'moat clean --dry-run' to list them, 'moat clean --force' to remove them";
            confirm(args, "Remove all of these?", hint)?;
        }
        remove(&home, &found)?;
        found.removed = true;
    }
    if args.has(&flags::JSON) {
        output::json(&found)?;
    }
    Ok(0)
}

fn find_leftovers(home: &Home, older: Option<Duration>) -> Result<Leftovers> {
    let mut found = Leftovers {
        directories: home.leftovers()?,
        ..Leftovers::default()
    };
    let runs = run_selection::all(home)?;
    if let Some(older) = older {
        let old = runs.iter().filter_map(|run| finished_before(run, older));
        (found.kept_runs, found.runs) = old.partition(|id| destroy::holds_only_copy(home, id));
    }
    let labels = home.labels()?;
    for (name, engine) in run_selection::engines(&runs, &home.sessions()?) {
        let driver = runtime::open(name, &engine, None);
        let labelled = driver.find_labelled().and_then(|labelled| {
            let of_compose = match (labels.own(), driver.compose()) {
                (Some(own), Some(compose)) => compose.session_storage(own)?,
                _ => Default::default(),
            };
            Ok((labelled, of_compose))
        });
        // Read the sessions after the engine, because a session exists before its containers. An unreadable session may
        // own any container.
        let sessions = home.sessions()?;
        let (labelled, (images, volumes)) = match labelled {
            Ok(labelled) => labelled,
            Err(problem) => {
                found
                    .unchecked
                    .push(format!("{name}: {}", problem.message()));
                continue;
            }
        };
        // Two settings can lead to the same engine.
        for one in labelled {
            let is_new = found.orphans.iter().all(|(.., known)| *known != one);
            let is_own = labels.is_own(&one.home_label);
            if !is_own && !labels.is_former(&one.home_label) {
                continue;
            }
            match standing(home, &sessions, &one) {
                Standing::NotRecorded if !is_own => {
                    let left = format!("{} ({name})", described(&one));
                    if !found.left.contains(&left) {
                        found.left.push(left);
                    }
                }
                Standing::NotRecorded | Standing::Over if is_new => {
                    found.orphans.push((name, engine.clone(), one));
                }
                _ => {}
            }
        }
        let is_lost = |stored: &SessionStorage| {
            let mut known = sessions.iter().map(|session| &session.incarnation);
            known.all(|known| *known != stored.session)
        };
        for image in images.into_iter().filter(is_lost) {
            if found
                .built
                .iter()
                .all(|(_, known)| known.name != image.name)
            {
                found.built.push((engine.clone(), image));
            }
        }
        for volume in volumes.into_iter().filter(is_lost) {
            if !found.volumes.contains(&volume.name) {
                found.volumes.push(volume.name);
            }
        }
    }
    let images = found.built.iter().map(|(_, image)| image.name.clone());
    found.images = images.collect();
    let handles = |kind| {
        let orphans = found
            .orphans
            .iter()
            .filter(|(.., orphan)| orphan.kind == kind);
        orphans.map(|(.., orphan)| orphan.handle.clone()).collect()
    };
    (found.containers, found.networks) = (
        handles(ResourceKind::Container),
        handles(ResourceKind::Network),
    );
    Ok(found)
}

fn finished_before(run: &ListedRun, older: Duration) -> Option<RunId> {
    let ListedRun::Record(record) = run else {
        return None;
    };
    let finished = record.finished_at.filter(|_| record.state.is_terminal())?;
    (finished.age() >= older).then(|| record.id.clone())
}

/// What the records of a home say about the owner of a container or network.
enum Standing {
    /// A supervisor or a session owns it, or it is kept.
    Owned,
    /// The record of the run says that everything was removed.
    Over,
    /// There is no such run or session.
    NotRecorded,
}

fn standing(home: &Home, sessions: &[Session], container: &Labelled) -> Standing {
    let id = match &container.owner {
        ResourceOwner::Run(id) => RunId::parse(id),
        ResourceOwner::Session(incarnation) => {
            let mut known = sessions.iter().map(|session| &session.incarnation);
            return match known.any(|known| known == incarnation) {
                true => Standing::Owned,
                false => Standing::NotRecorded,
            };
        }
    };
    // Without an id it is none of moat's.
    let Some(id) = id else {
        return Standing::Owned;
    };
    match home.run(&id).load() {
        Loaded::Record(record) if record.state.is_terminal() && record.is_clean() => Standing::Over,
        Loaded::Missing => Standing::NotRecorded,
        Loaded::Record(_) | Loaded::Unreadable(_) => Standing::Owned,
    }
}

fn described(resource: &Labelled) -> String {
    let what = match resource.kind {
        ResourceKind::Network => "network",
        ResourceKind::Container | ResourceKind::Unknown => "container",
    };
    format!("{what} {}", resource.handle)
}

fn describe(found: &Leftovers, nothing: bool) -> String {
    let mut text = String::new();
    let mut add = |what: &str, which: &str| {
        text.push_str(&format!(
            "{what:<10} {}\n",
            crate::term::escape_unsafe(which)
        ));
    };
    for (name, _, orphan) in &found.orphans {
        let what = match orphan.kind {
            ResourceKind::Network => "network",
            _ => "container",
        };
        add(what, &format!("{} ({name})", orphan.handle));
    }
    for image in &found.images {
        add("image", image);
    }
    for directory in &found.directories {
        add("directory", &directory.display().to_string());
    }
    for id in &found.runs {
        add("run", id.as_str());
    }
    for id in &found.kept_runs {
        add(
            "kept",
            &format!("{id} holds the only copy of its workspace: moat export {id} DIR"),
        );
    }
    for name in &found.volumes {
        add(
            "kept",
            &format!("volume {name} may contain data: moat volumes rm {name}"),
        );
    }
    for left in &found.left {
        add(
            "left",
            &format!("{left} is in no record here, and may belong to another home"),
        );
    }
    for unknown in &found.unchecked {
        add("unknown", unknown);
    }
    if nothing {
        text.push_str("Nothing to remove.\n");
    }
    text
}

fn remove(home: &Home, found: &Leftovers) -> Result<()> {
    for (name, engine, orphan) in &found.orphans {
        let driver = runtime::open(*name, engine, None);
        driver.remove_resource(orphan.kind, &orphan.handle)?;
    }
    for (engine, image) in &found.built {
        let engine = runtime::compose_engine(engine, runtime::REQUEST_TIMEOUT);
        engine.remove_image(&image.name)?;
    }
    for directory in &found.directories {
        home.remove_leftovers(directory)?;
    }
    for id in &found.runs {
        run::wait_until_unowned(home, id, &output::print_notice)?;
        destroy::destroy(home, id, false)?;
    }
    Ok(())
}
