//! JSON as this program writes and reads it.

mod pretty;
mod read;

pub(crate) use pretty::pretty;
pub(crate) use read::{
    Named, Read, Result, at, elements, fill, only_member, parse, parsed, reads, text, variants,
    words, wrong,
};
