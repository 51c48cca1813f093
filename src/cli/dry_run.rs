//! `moat run --dry-run`: print the plan, as text or as JSON.

use super::args::Args;
use super::{flags, output};
use crate::error::Result;
use crate::plan::{self, Plan};

pub(super) fn print(args: &Args, plan: &Plan) -> Result<u8> {
    if args.has(&flags::JSON) {
        output::json(plan)?;
        return Ok(0);
    }
    let mut text = String::new();
    for (label, value) in plan::describe(plan) {
        for (number, line) in value.lines().enumerate() {
            let label = if number == 0 { label } else { "" };
            text.push_str(format!("{label:<12} {}", crate::term::escape_unsafe(line)).trim_end());
            text.push('\n');
        }
    }
    output::print_result(&text)?;
    Ok(0)
}
