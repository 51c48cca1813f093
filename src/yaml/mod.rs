//! YAML files of users, and their problems.
//!
//! A file becomes a tree of [`Node`]s with positions. The readers of the tree report problems to the [`Source`] and
//! continue; at the end all problems come out together, in the order of the file, each with its line and column.
//!
//! Only this module depends on the YAML crate.

mod accessors;
mod parse;
mod source;
mod write;

pub(crate) use accessors::{Section, message_text, unknown_key_error};
pub(crate) use parse::{Node, NodeId, NodeValue};
pub(crate) use source::{Source, read_file, read_file_or_pipe};

/// A value, and its position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed<T> {
    pub(crate) at: NodeId,
    pub(crate) value: T,
}
