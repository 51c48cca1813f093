//! `moat version`: print the version of moat.

use serde::Serialize;

use super::args::Args;
use super::{flags, output};
use crate::error::Result;

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(args: &Args) -> Result<u8> {
    match args.has(&flags::JSON) {
        true => output::json(&Version { version: VERSION })?,
        false => output::print_result(&text())?,
    }
    Ok(0)
}

pub(super) fn text() -> String {
    format!("moat {VERSION}\n")
}
