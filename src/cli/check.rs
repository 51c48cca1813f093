//! `moat check`: print the problems of the configuration without running anything.

use std::path::PathBuf;

use serde::Serialize;

use super::args::Args;
use super::{flags, output};
use crate::config::SessionSettings;
use crate::error::{Error, ErrorKind, FileProblem, Result};
use crate::launch::config_files::{ConfigFiles, host};
use crate::plan;
use crate::runtime;
use crate::session;
use crate::store::Home;

#[derive(Serialize)]
struct CheckDocument<'a> {
    ok: bool,
    problems: &'a [FileProblem],
    /// Set with --ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<PortRow>>,
}

/// A port of moat.yaml, with the ports of all slots.
#[derive(Serialize)]
struct PortRow {
    name: String,
    base: u16,
    primary: bool,
    /// The ports, starting with slot 1.
    slots: Vec<u16>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let checked = check(args);
    let ports = checked
        .as_ref()
        .ok()
        .filter(|_| args.has(&flags::CHECK_PORTS))
        .map(port_rows);
    let problems = match &checked {
        Ok(_) => &[][..],
        // A problem without a position in a file is an ordinary error.
        Err(error) if error.problems.is_empty() => {
            return Err(error.clone());
        }
        Err(error) => &error.problems,
    };
    if args.has(&flags::JSON) {
        output::json(&CheckDocument {
            ok: problems.is_empty(),
            problems,
            ports,
        })?;
    } else if let Some(rows) = &ports {
        output::print_result(&port_table(rows))?;
    } else if problems.is_empty() {
        output::notice(args, "nothing is wrong");
    } else {
        let problems: Vec<String> = problems.iter().map(FileProblem::to_string).collect();
        // A problem can contain lines that the user copies; each of them stays a line.
        let lines = problems.iter().flat_map(|problem| problem.lines());
        let text: String = lines
            .map(|line| crate::term::escape_unsafe(line) + "\n")
            .collect();
        output::print_result(&text)?;
    }
    Ok(u8::from(!problems.is_empty()))
}

fn port_rows(settings: &SessionSettings) -> Vec<PortRow> {
    let mut rows = Vec::new();
    for holder in settings.port_users() {
        let primary = holder.port.iter().map(|port| (port.value, true));
        let extra = holder
            .extra_ports
            .iter()
            .map(|(port, _)| (port.value, false));
        for (base, primary) in primary.chain(extra) {
            let ports = (1..=settings.slots).map_while(|slot| settings.nominal(base, slot));
            rows.push(PortRow {
                name: holder.name.to_owned(),
                base,
                primary,
                slots: ports.collect(),
            });
        }
    }
    for (name, base) in &settings.services {
        let ports = (1..=settings.slots).map_while(|slot| settings.nominal(base.value, slot));
        rows.push(PortRow {
            name: name.clone(),
            base: base.value,
            primary: true,
            slots: ports.collect(),
        });
    }
    rows
}

/// The maximum number of slots in the table.
const COLUMNS: usize = 8;

fn port_table(rows: &[PortRow]) -> String {
    let columns = rows
        .iter()
        .map(|row| row.slots.len())
        .max()
        .unwrap_or_default()
        .min(COLUMNS);
    let mut header: Vec<String> = vec!["PROCESS".to_owned(), "BASE".to_owned()];
    header.extend((1..=columns).map(|slot| format!("SLOT {slot}")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let row = |row: &PortRow| {
        let name = row.name.clone() + if row.primary { "" } else { " (extra)" };
        let mut cells = vec![name, row.base.to_string()];
        cells.extend(row.slots.iter().take(columns).map(u16::to_string));
        cells
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    crate::term::table(&header, &rows, crate::term::width(std::io::stdout()))
}

fn check(args: &Args) -> Result<SessionSettings> {
    let home = Home::locate()?;
    let given = args.positional().first();
    let mut workspace = given.map_or_else(|| ".".into(), PathBuf::from);
    let mut files = ConfigFiles::read(&workspace, &home)?;
    // Sessions use the file of the main checkout.
    if given.is_none()
        && !files.has_project()
        && let Ok(repository) = super::session_commands::repository()
    {
        let there = ConfigFiles::read(repository.config_dir(), &home)?;
        if there.has_project() {
            workspace = repository.config_dir().to_owned();
            files = there;
        }
    }
    if !files.has_project() {
        let shown = crate::term::escape_unsafe(&workspace.display().to_string());
        let message = format!("there is no moat.yaml in '{shown}'");
        return Err(Error::new(ErrorKind::Config, message)
            .hint("run 'moat check PATH' with a directory that has a moat.yaml"));
    }
    // If nothing names a runtime, check for docker, which supports the most settings.
    let flag = args.text(&flags::CHECK_RUNTIME)?;
    let host = host(flag, &files, &home, || Ok(runtime::RuntimeName::Docker))?;
    for note in plan::check_files(workspace, &files.all(), &host)? {
        output::notice(args, &format!("note: {note}"));
    }
    let settings = files.session();
    if files.has_dependencies() {
        session::check_services(&settings, &plan::services(&files.all(), &host)?)?;
    }
    Ok(settings)
}
