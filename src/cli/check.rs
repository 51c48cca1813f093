//! `moat check`: what is wrong with the configuration, without running anything.

use std::path::PathBuf;

use serde::Serialize;

use super::args::Args;
use super::files::{Files, host};
use super::{flags, output};
use crate::error::{Error, Kind, Problem, Result};
use crate::plan;
use crate::runtime;
use crate::store::Home;

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    problems: &'a [Problem],
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let checked = check(args);
    let problems = match &checked {
        Ok(_) => &[][..],
        // What has no place in a file is an error of its own.
        Err(error) if error.problems.is_empty() => {
            return Err(error.clone());
        }
        Err(error) => &error.problems,
    };
    if args.has(&flags::JSON) {
        output::json(&Report {
            ok: problems.is_empty(),
            problems,
        })?;
    } else if problems.is_empty() {
        output::notice(args, "nothing is wrong");
    } else {
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        // What a problem shows to be copied has lines of its own.
        let lines = problems.iter().flat_map(|problem| problem.lines());
        let text: String = lines
            .map(|line| crate::term::harmless(line) + "\n")
            .collect();
        output::result(&text)?;
    }
    Ok(u8::from(!problems.is_empty()))
}

fn check(args: &Args) -> Result<()> {
    let home = Home::locate()?;
    let workspace = args.positional().first();
    let workspace = workspace.map_or_else(|| ".".into(), PathBuf::from);
    let files = Files::read(&workspace, &home)?;
    if !files.has_project() {
        let shown = crate::term::harmless(&workspace.display().to_string());
        let message = format!("there is no moat.yaml in '{shown}'");
        return Err(Error::new(Kind::Config, message)
            .hint("give a directory that has one: moat check PATH"));
    }
    // Where nothing names a runtime, the one that can do most.
    let flag = args.text(&flags::CHECK_RUNTIME)?;
    let host = host(flag, &files, &home, || Ok(runtime::Name::Docker))?;
    for note in plan::check_files(workspace, &files.all(), &host)? {
        output::notice(args, &format!("note: {note}"));
    }
    Ok(())
}
