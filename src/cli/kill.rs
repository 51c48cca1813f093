//! `moat kill`: end runs at once.

use super::args::Args;
use super::end;
use crate::error::Result;
use crate::run::Ask;

pub(crate) fn run(args: &Args) -> Result<u8> {
    end::end(args, Ask::Kill)
}
