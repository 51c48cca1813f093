//! `moat doctor`: what works on this host, and how to fix what does not.

use serde::Serialize;

use super::args::Args;
use super::{flags, output, status};
use crate::error::Result;
use crate::registry;
use crate::store::Home;
use crate::{config, term};

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    what: String,
    ok: bool,
    /// Whether moat can do without.
    optional: bool,
    found: String,
    hint: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut checks = runtimes();
    checks.push(home());
    checks.push(configuration());
    // One runtime is enough.
    let runtime = checks.iter().any(|check| check.optional && check.ok);
    let rest = checks.iter().all(|check| check.optional || check.ok);
    match args.has(&flags::JSON) {
        true => output::json(&checks)?,
        false => output::result(&describe(&checks, runtime))?,
    }
    Ok(u8::from(!(runtime && rest)))
}

fn runtimes() -> Vec<Check> {
    let check = |runtime: status::RuntimeStatus| Check {
        what: format!("runtime {}", runtime.runtime),
        ok: runtime.version.is_some(),
        optional: true,
        found: {
            let version = runtime.version.map(|version| format!("version {version}"));
            let found: Vec<String> = version.into_iter().chain(runtime.problem).collect();
            found.join("; ")
        },
        hint: runtime.hint,
    };
    status::runtimes().into_iter().map(check).collect()
}

/// Whether runs can be kept: directory, writing, locks.
fn home() -> Check {
    let trial = Home::locate().and_then(|home| home.trial().map(|()| home));
    let (ok, found, hint) = match trial {
        Ok(home) => (true, home.root().display().to_string(), None),
        Err(error) => (false, error.message.clone(), error.hint.clone()),
    };
    Check {
        what: "MOAT_HOME".to_owned(),
        ok,
        optional: false,
        found,
        hint,
    }
}

fn configuration() -> Check {
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
    Check {
        what: "configuration".to_owned(),
        ok,
        optional: false,
        found,
        hint,
    }
}

fn describe(checks: &[Check], runtime: bool) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = if check.ok { "ok" } else { "no" };
        let found = term::harmless(&check.found);
        text.push_str(&format!("{mark}  {:<15} {found}\n", check.what));
        if let Some(hint) = check.hint.as_ref().filter(|_| !check.ok) {
            text.push_str(&format!("      hint: {}\n", term::harmless(hint)));
        }
    }
    if !runtime {
        text.push_str("No runtime works here: moat needs one of them.\n");
    }
    text
}
