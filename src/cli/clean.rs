//! `moat clean`: show, confirm, and remove what nobody owns: containers without a run, what
//! interrupted commands left in `$MOAT_HOME`, and, if asked, old finished runs.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::Args;
use super::select::{self, Listed};
use super::{destroy, flags, output};
use crate::error::{Error, Kind, Result};
use crate::plan;
use crate::runtime::{self, Labelled};
use crate::store::{Home, Loaded, RunId};

/// What there is to remove.
#[derive(Default, Serialize)]
struct Found {
    containers: Vec<String>,
    directories: Vec<PathBuf>,
    runs: Vec<RunId>,
    /// Where it could not be looked, and why.
    unknown: Vec<String>,
    /// Whether it was removed.
    removed: bool,
    #[serde(skip)]
    orphans: Vec<(runtime::Name, Labelled)>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let older = args
        .text(&flags::OLDER_THAN)?
        .map(plan::duration)
        .transpose()?;
    let mut found = find(&home, older)?;
    let nothing = found.orphans.is_empty() && found.directories.is_empty() && found.runs.is_empty();
    if !args.has(&flags::JSON) {
        output::result(&describe(&found, nothing))?;
    }
    if !nothing && !args.has(&flags::CLEAN_DRY_RUN) {
        confirm(args)?;
        remove(&home, &found)?;
        found.removed = true;
    }
    if args.has(&flags::JSON) {
        output::json(&found)?;
    }
    Ok(0)
}

fn find(home: &Home, older: Option<Duration>) -> Result<Found> {
    let mut found = Found {
        directories: home.debris()?,
        ..Found::default()
    };
    let runs = select::all(home)?;
    if let Some(older) = older {
        found.runs = runs
            .iter()
            .filter_map(|run| finished_before(run, older))
            .collect();
    }
    for name in runtime::SUPPORTED {
        if !runtime::on_path(name.as_str()) {
            continue;
        }
        let driver = runtime::open(name, &runtime::engine_settings(), None);
        match driver.find_labelled(&home.hash()) {
            Ok(labelled) => found.orphans.extend(
                labelled
                    .into_iter()
                    .filter(|container| is_orphan(home, container))
                    .map(|container| (name, container)),
            ),
            Err(problem) => found.unknown.push(format!("{name}: {}", problem.message())),
        }
    }
    found.containers = found
        .orphans
        .iter()
        .map(|(_, orphan)| orphan.handle.clone())
        .collect();
    Ok(found)
}

fn finished_before(run: &Listed, older: Duration) -> Option<RunId> {
    let Listed::Record(record) = run else {
        return None;
    };
    let finished = record.finished_at.filter(|_| record.state.is_terminal())?;
    (finished.age() >= older).then(|| record.id.clone())
}

/// A container whose run does not exist, or believes that it left none. Any other is its
/// supervisor's, or kept.
fn is_orphan(home: &Home, container: &Labelled) -> bool {
    let Some(id) = RunId::parse(&container.run) else {
        return false;
    };
    match home.run(&id).load() {
        Loaded::Record(record) => record.state.is_terminal() && record.is_clean(),
        Loaded::Missing => true,
        Loaded::Unreadable(_) => false,
    }
}

fn describe(found: &Found, nothing: bool) -> String {
    let mut text = String::new();
    let mut add = |what: &str, which: &str| {
        text.push_str(&format!("{what:<10} {}\n", crate::term::harmless(which)));
    };
    for (name, orphan) in &found.orphans {
        add("container", &format!("{} ({name})", orphan.handle));
    }
    for directory in &found.directories {
        add("directory", &directory.display().to_string());
    }
    for id in &found.runs {
        add("run", id.as_str());
    }
    for unknown in &found.unknown {
        add("unknown", unknown);
    }
    if nothing {
        text.push_str("Nothing to remove.\n");
    }
    text
}

/// Asks, where there is somebody to ask; refuses otherwise.
fn confirm(args: &Args) -> Result<()> {
    if args.has(&flags::CLEAN_FORCE) {
        return Ok(());
    }
    let refused = |message: &str| {
        Error::new(Kind::NotConfirmed, message)
            .hint("look first: moat clean --dry-run; then: moat clean --force")
    };
    let people = rustix::termios::isatty(rustix::stdio::stdin())
        && rustix::termios::isatty(rustix::stdio::stderr())
        && !args.has(&flags::JSON);
    if !people {
        return Err(refused(
            "nothing was removed: there is no terminal to ask on",
        ));
    }
    let _ = write!(io::stderr(), "Remove all of this? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was removed")),
    }
}

fn remove(home: &Home, found: &Found) -> Result<()> {
    for (name, orphan) in &found.orphans {
        runtime::open(*name, &runtime::engine_settings(), None).remove(&orphan.handle)?;
    }
    for directory in &found.directories {
        home.remove_debris(directory)?;
    }
    for id in &found.runs {
        destroy::destroy(home, id, false)?;
    }
    Ok(())
}
