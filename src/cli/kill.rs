//! `moat kill`: kill runs immediately.

use super::args::Args;
use super::end_runs;
use crate::error::Result;
use crate::store::EndRequest;

pub(crate) fn run(args: &Args) -> Result<u8> {
    end_runs::end_runs(args, EndRequest::Kill)
}
