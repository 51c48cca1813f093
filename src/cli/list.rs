//! `moat list`: list runs, newest first.

use super::args::Args;
use super::run_selection::{self, ListedRun};
use super::{flags, output};
use crate::error::Result;
use crate::store::{Home, RunRecord, RunState};
use crate::term;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let state = args.text(&flags::STATE)?.and_then(RunState::parse);
    let all = args.has(&flags::ALL);
    let (shown, hidden): (Vec<ListedRun>, Vec<ListedRun>) = run_selection::all(&home)?
        .into_iter()
        .partition(|run| match (state, run.state()) {
            (Some(wanted), state) => state == Some(wanted),
            // An unreadable run may be active, and needs attention.
            (None, None) => true,
            (None, Some(state)) => all || !state.is_terminal(),
        });
    if args.has(&flags::JSON) {
        output::json(&shown)?;
    } else if args.has(&flags::QUIET) {
        let ids: String = shown.iter().map(|run| format!("{}\n", run.id())).collect();
        output::print_result(&ids)?;
    } else if shown.is_empty() {
        let text = match hidden.len() {
            0 => "there are no runs; start one: moat run -- CMD".to_owned(),
            count => format!("none of the {count} runs matches; see all: moat list -a"),
        };
        output::notice(args, &text);
    } else {
        output::print_result(&table(&shown))?;
    }
    Ok(0)
}

/// Returns the runs as a table that fits the terminal.
pub(super) fn table(runs: &[ListedRun]) -> String {
    let mut rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    let mut header = vec![
        "NAME", "RUN ID", "RUNTIME", "STATE", "CREATED", "PORTS", "COMMAND",
    ];
    // Most runs publish no ports.
    let column = header.len() - 2;
    if rows.iter().all(|row| row[column].is_empty()) {
        header.remove(column);
        for row in &mut rows {
            row.remove(column);
        }
    }
    term::table(&header, &rows, term::width(std::io::stdout()))
}

/// Returns the published ports of an active run: `web:32768`.
fn ports(record: &RunRecord) -> String {
    if record.state.is_terminal() {
        return String::new();
    }
    let published = record.settings.network.ports.iter().filter_map(|port| {
        let host = port.host?;
        Some(format!("{}:{host}", port.name))
    });
    published.collect::<Vec<_>>().join(" ")
}

fn row(run: &ListedRun) -> Vec<String> {
    match run {
        ListedRun::Record(record) => vec![
            record.name.to_string(),
            record.id.to_string(),
            term::escape_unsafe(&record.settings.identity.runtime),
            state(record),
            term::age(record.created_at.age()),
            ports(record),
            command(record),
        ],
        ListedRun::Unreadable(run) => vec![
            "-".to_owned(),
            run.id.to_string(),
            "-".to_owned(),
            "unreadable".to_owned(),
            "-".to_owned(),
            String::new(),
            term::escape_unsafe(&run.error),
        ],
    }
}

/// Returns the state, followed by the reason if the state is terminal.
fn state(record: &RunRecord) -> String {
    let state = record.state.as_str();
    match (record.state.is_terminal(), record.reason, record.exit_code) {
        (true, Some(reason), Some(code)) if reason.as_str() == "exited" => {
            format!("{state} ({code})")
        }
        (true, Some(reason), _) => format!("{state} ({})", reason.as_str()),
        _ => state.to_owned(),
    }
}

fn command(record: &RunRecord) -> String {
    let text: String = record
        .settings
        .command
        .join(" ")
        .chars()
        .take(200)
        .collect();
    term::escape_unsafe(&text)
}
