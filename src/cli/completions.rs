//! `moat completions`: print the completion script of a shell.

use super::args::Args;
use super::complete::{self, Shell};
use super::output;
use crate::error::{Error, Result};

pub(crate) fn run(args: &Args) -> Result<u8> {
    let name = args.positional().first().and_then(|name| name.to_str());
    let shell = name
        .and_then(Shell::named)
        .ok_or_else(|| Error::usage("unknown shell").hint("use bash, zsh or fish"))?;
    output::print_result(&complete::script(shell))?;
    Ok(0)
}
