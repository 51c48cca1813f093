//! `moat inspect`: print the record of a run as JSON.

use super::args::Args;
use super::{output, run_selection};
use crate::error::Result;
use crate::store::Home;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = run_selection::named_or_newest(args, &home)?;
    let record = home.run(&id).require()?;
    run_selection::adopt(&home, std::iter::once(&record));
    output::json(&record)?;
    Ok(0)
}
