//! `moat man`: print the manual page in roff.

use super::args::Args;
use super::{man_page, output};
use crate::error::Result;

pub(crate) fn run(_args: &Args) -> Result<u8> {
    output::print_result(&man_page::page())?;
    Ok(0)
}
