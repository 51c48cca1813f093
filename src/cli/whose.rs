//! `moat whose`: show which run or session owns a process, port or container.

use serde::Serialize;

use super::args::Args;
use super::{flags, output, run_selection, session_commands};
use crate::error::{Error, Result};
use crate::session::{Ownership, OwnershipQuery, find_owner};
use crate::store::{Home, ProcessIdentity};

#[derive(Default, Serialize)]
struct OwnershipDocument {
    /// `pid`, `port` or `container`.
    kind: &'static str,
    owned: Option<bool>,
    branch: Option<String>,
    session: Option<String>,
    slot: Option<u16>,
    name: Option<String>,
    run: Option<String>,
    /// The reason why the owner is unknown, or a note about the slot that uses the port.
    detail: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let word = args.positional().first().and_then(|word| word.to_str());
    let word = word.ok_or_else(|| Error::usage("the argument is not UTF-8"))?;
    let question = parse_query(word)?;
    // The engine of an unreadable run is unknown; it may be one of these.
    let engines = || {
        let runs = run_selection::all(&home).unwrap_or_default();
        run_selection::engines(&runs, &home.sessions().unwrap_or_default())
    };
    let mut answer = OwnershipDocument {
        kind: match question {
            OwnershipQuery::Pid(_) => "pid",
            OwnershipQuery::Port(_) => "port",
            OwnershipQuery::Container(_) => "container",
        },
        ..OwnershipDocument::default()
    };
    let (code, text) = match find_owner(&home, &question, &engines)? {
        Ownership::Session(session, process) => {
            let branch = crate::term::escape_unsafe(&session.branch);
            let name = process
                .as_deref()
                .map(|name| format!(", {name}"))
                .unwrap_or_default();
            let text = format!("the session of '{branch}'{name} (slot {})", session.slot);
            answer.owned = Some(true);
            answer.branch = Some(session.branch.clone());
            answer.session = Some(session.key.clone());
            answer.slot = Some(session.slot);
            answer.name = process;
            (0, text)
        }
        Ownership::Run(id) => {
            answer.owned = Some(true);
            answer.run = Some(id.clone());
            (0, format!("the run {id}"))
        }
        Ownership::Nobody => {
            answer.owned = Some(false);
            answer.detail = port_range_note(&question);
            let note = answer.detail.as_deref().map(|note| format!("; {note}"));
            (1, format!("not owned by moat{}", note.unwrap_or_default()))
        }
        Ownership::Unknown(why) => {
            let text = format!("the owner is unknown: {why}");
            answer.detail = Some(why);
            (2, text)
        }
    };
    match args.has(&flags::JSON) {
        true => output::json(&answer)?,
        false => output::print_result(&(text + "\n"))?,
    }
    Ok(code)
}

fn parse_query(word: &str) -> Result<OwnershipQuery<'_>> {
    if let Some(port) = word.strip_prefix(':') {
        let port = port.parse().ok().filter(|port| *port > 0);
        let bad = || Error::usage(format!("bad port '{}'", crate::yaml::message_text(word)));
        return port
            .map(OwnershipQuery::Port)
            .ok_or_else(|| bad().hint("write e.g. :4101"));
    }
    let Ok(number) = word.parse::<u32>() else {
        return Ok(OwnershipQuery::Container(word));
    };
    // An existing process comes before a port, because the user may be about to end it.
    Ok(
        match (ProcessIdentity::of_pid(number), u16::try_from(number)) {
            (None, Ok(port)) if port > 0 => OwnershipQuery::Port(port),
            _ => OwnershipQuery::Pid(number),
        },
    )
}

/// Returns a note about the slot of this repository that uses the port, if there is one.
fn port_range_note(question: &OwnershipQuery<'_>) -> Option<String> {
    let OwnershipQuery::Port(port) = question else {
        return None;
    };
    let settings = session_commands::settings(&session_commands::repository().ok()?).ok()?;
    let (slot, process) = settings.slot_of(*port)?;
    Some(format!(
        "slot {slot} of this repository uses this port for '{process}'"
    ))
}
