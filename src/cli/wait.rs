//! `moat wait`: wait until runs have finished, and exit with their exit code.

use super::args::Args;
use super::{end_runs, run_selection};
use crate::error::Result;
use crate::store::Home;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let ids = run_selection::named(args, &home)?;
    let mut code = 0;
    for id in &ids {
        let ended = crate::run::wait(&home, id)?;
        if code == 0 {
            code = ended.exit_status;
        }
    }
    end_runs::documents(args, &home, &ids)?;
    Ok(code)
}
