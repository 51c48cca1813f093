//! `moat export`: export a run's copied workspace.

use std::path::PathBuf;

use super::args::Args;
use super::{output, run_selection};
use crate::error::{Error, Result};
use crate::launch::export;
use crate::store::Home;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let [run, dir] = args.positional() else {
        return Err(Error::usage("'export' needs a run and a directory"));
    };
    let id = run_selection::one(run, &home)?;
    let dir = PathBuf::from(dir);
    export::check_target(&dir)?;
    export::export(&home, &id, &dir, output::ui(args).as_ref())?;
    Ok(0)
}
