//! `moat doctor`: check this host, and show how to fix problems.

use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::args::Args;
use super::{flags, output, status};
use crate::error::{Error, Result};
use crate::registry;
use crate::runtime::{self, child};
use crate::store::Home;
use crate::{config, term};

/// The timeout for a program that is asked for its version.
const TOOL_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of one check.
#[derive(Serialize)]
struct DoctorCheck {
    check: String,
    ok: bool,
    /// Whether moat works without it.
    optional: bool,
    detail: String,
    hint: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut checks = runtimes();
    // moat needs only one runtime.
    let runtime = checks.iter().any(|check| check.ok);
    checks.push(home());
    checks.push(configuration());
    checks.extend(tools());
    let rest = checks.iter().all(|check| check.optional || check.ok);
    match args.has(&flags::JSON) {
        true => output::json(&checks)?,
        false => output::print_result(&describe(&checks, runtime))?,
    }
    Ok(u8::from(!(runtime && rest)))
}

fn runtimes() -> Vec<DoctorCheck> {
    let check = |runtime: status::RuntimeStatus| DoctorCheck {
        check: format!("runtime {}", runtime.runtime),
        ok: runtime.version.is_some(),
        optional: true,
        detail: {
            let version = runtime.version.map(|version| format!("version {version}"));
            let found: Vec<String> = version.into_iter().chain(runtime.error).collect();
            found.join("; ")
        },
        hint: runtime.hint,
    };
    status::runtimes().into_iter().map(check).collect()
}

/// Checks whether MOAT_HOME can store runs: the directory, writing and locks.
fn home() -> DoctorCheck {
    let trial = Home::locate().and_then(|home| home.check_usable().map(|()| home));
    let (ok, found, hint) = match trial {
        Ok(home) => (true, home.root().display().to_string(), None),
        Err(error) => (false, error.message.clone(), error.hint.clone()),
    };
    DoctorCheck {
        check: "MOAT_HOME".to_owned(),
        ok,
        optional: false,
        detail: found,
        hint,
    }
}

fn configuration() -> DoctorCheck {
    let loaded = Home::locate().and_then(|home| {
        if let Some(defaults) = config::defaults(&home.config())? {
            defaults.file.source.finish()?;
        }
        registry::load(&home.registry())
    });
    let (ok, found, hint) = match loaded {
        Ok(_) => (true, "fine".to_owned(), None),
        Err(error) => (false, error.message.clone(), error.hint.clone()),
    };
    DoctorCheck {
        check: "configuration".to_owned(),
        ok,
        optional: false,
        detail: found,
        hint,
    }
}

/// Checks the tools that only sessions need.
fn tools() -> [DoctorCheck; 3] {
    let git = "install git 2.31 or newer, which sessions need";
    let tmux = "install tmux, which sessions with session.tmux need";
    let engine = runtime::engine_settings(runtime::COMPOSE_RUNTIME);
    let (compose, hint) = match runtime::compose_engine(&engine, runtime::REQUEST_TIMEOUT).tool() {
        Ok(tool) => (Ok(tool.name()), None),
        Err(problem) => {
            let error = Error::from(problem);
            (Err(error.message), error.hint)
        }
    };
    [
        tool("git", version("git", "--version"), Some(git.to_owned())),
        tool("tmux", version("tmux", "-V"), Some(tmux.to_owned())),
        tool("compose tool", compose, hint),
    ]
}

/// Returns the version that a program prints, or the problem with the program.
fn version(program: &str, flag: &str) -> std::result::Result<String, String> {
    let asked = child::run(Command::new(program).arg(flag), b"", TOOL_TIMEOUT, &|| true);
    match asked {
        Ok(answer) if answer.success => Ok(answer.stdout.trim_end().to_owned()),
        Ok(_) => Err(format!("{program} does not work")),
        Err(_) => Err(format!("{program} is not installed")),
    }
}

fn tool(
    what: &str,
    found: std::result::Result<String, String>,
    hint: Option<String>,
) -> DoctorCheck {
    let ok = found.is_ok();
    DoctorCheck {
        check: what.to_owned(),
        ok,
        optional: true,
        detail: found.unwrap_or_else(|problem| problem),
        hint: hint.filter(|_| !ok),
    }
}

fn describe(checks: &[DoctorCheck], runtime: bool) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = if check.ok { "ok" } else { "no" };
        let found = term::escape_unsafe(&check.detail);
        text.push_str(&format!("{mark}  {:<15} {found}\n", check.check));
        if let Some(hint) = check.hint.as_ref().filter(|_| !check.ok) {
            text.push_str(&format!("      hint: {}\n", term::escape_unsafe(hint)));
        }
    }
    if !runtime {
        text.push_str("No runtime works on this host; moat needs at least one.\n");
    }
    text
}
