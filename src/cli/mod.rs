//! The command line: parsing, calling and printing, with one file per command. Only this module writes to stdout or
//! stderr. One table ([`commands`], [`flags`]) defines the commands and flags; the parser, the help texts, the manual
//! page and the completions read it.

mod args;
mod check;
mod clean;
mod command_table;
mod commands;
mod complete;
mod completions;
mod confirm;
mod deps;
mod destroy;
mod docker_habits;
mod doctor;
mod down;
mod dry_run;
mod end_runs;
mod exec;
mod export;
mod flags;
mod help_text;
mod inspect;
mod kill;
mod list;
mod logs;
mod man;
mod man_page;
mod output;
mod parse;
mod progress;
mod replay_terminal;
mod run;
mod run_selection;
mod services;
mod session_commands;
mod session_text;
mod shell;
mod status;
mod stop;
#[cfg(any(test, feature = "failpoints"))]
mod suggested_commands;
mod up;
mod usage_error;
mod version;
mod volumes;
mod wait;
mod whose;
mod wrap;
mod wt;

use std::ffi::OsString;

use crate::error::{Error, ErrorKind};
use crate::store::RunId;
use help_text::HelpSize;
use parse::Parsed;
#[cfg(feature = "failpoints")]
pub(crate) use suggested_commands::{
    check as check_suggested_commands, find as suggested_commands,
};

/// Runs the program with its arguments, without the program's name, and returns the exit code.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.collect();
    if let Some(code) = hidden(&args) {
        return code;
    }
    let json = parse::wants_json(&args);
    match parse::parse(args) {
        Ok(Parsed::Run(args)) => match (args.command.run)(&args) {
            Ok(code) => code,
            Err(error) => {
                let code = fail(&error, json, args.command.name);
                if args.has(&flags::VERBOSE) && !json {
                    output::causes(&error);
                }
                code
            }
        },
        Ok(Parsed::Help(command, size)) => print(&help(command, size)),
        Ok(Parsed::Version) => print(&version::text()),
        Err(error) => fail(&error, json, ""),
    }
}

/// Runs an internal role of this program, which only moat itself starts. Returns `None` if the arguments name no role.
fn hidden(args: &[OsString]) -> Option<u8> {
    let (role, rest) = args.split_first()?;
    match role.to_str()? {
        crate::run::SUPERVISE => Some(crate::run::supervise()),
        crate::run::ADOPT => {
            let id = RunId::parse(rest.first()?.to_str()?)?;
            Some(u8::from(crate::run::supervise_adopted(&id).is_err()))
        }
        crate::session::MONITOR => Some(crate::session::monitor(rest)),
        role => crate::runtime::run_hidden_role(role, rest),
    }
}

fn help(command: Option<&'static command_table::Command>, size: HelpSize) -> String {
    match command {
        Some(command) => help_text::command(command, size),
        None => help_text::overview(),
    }
}

fn print(text: &str) -> u8 {
    match output::print_result(text) {
        Ok(()) => 0,
        Err(error) => fail(&error, false, ""),
    }
}

/// Prints an error and returns the exit code.
fn fail(error: &Error, json: bool, command: &str) -> u8 {
    output::error(error, json);
    match error.kind {
        ErrorKind::OutputClosed => 0,
        ErrorKind::Usage => 2,
        ErrorKind::NoSuchRun | ErrorKind::AmbiguousRun => 3,
        // A script must be able to tell a failure of moat from a failure of the workload.
        _ if matches!(command, "run" | "exec") => 125,
        _ => 1,
    }
}
