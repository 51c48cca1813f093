//! JSON as this program writes and reads it.

mod pretty;
mod read;

pub(crate) use pretty::pretty;
pub(crate) use read::{Members, Named, Read, Result, parse, parsed, reads, text, words, wrong};
