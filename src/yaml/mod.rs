//! YAML files that people write, and what is wrong with them.
//!
//! A file becomes a tree of [`Node`]s that know where they stand. Whoever reads the tree reports
//! what it does not like to the [`Source`], and goes on; in the end all problems come out at once, in
//! the order of the file, each with its line and column.
//!
//! The only module that knows which crate reads YAML.

mod accessors;
mod parse;
mod source;
mod write;

pub(crate) use accessors::{Section, message_text, unknown_key_error};
pub(crate) use parse::{Node, NodeId, NodeValue};
pub(crate) use source::{Source, read_file};

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed<T> {
    pub(crate) at: NodeId,
    pub(crate) value: T,
}
