//! `moat kill`: end runs at once.

use super::args::Args;
use super::end;
use crate::error::Result;
use crate::store::EndRequest;

pub(crate) fn run(args: &Args) -> Result<u8> {
    end::end(args, EndRequest::Kill)
}
