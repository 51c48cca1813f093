//! `moat inspect`: the whole record of a run, as JSON.

use super::args::Args;
use super::{output, select};
use crate::error::Result;
use crate::store::Home;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = select::named_or_newest(args, &home)?;
    let record = home.run(&id).require()?;
    select::adopt(&home, std::iter::once(&record));
    output::json(&record)?;
    Ok(0)
}
