//! Reads values from a tree. Each accessor returns the value, or reports a problem.

use super::parse::{Node, NodeId, NodeValue};
use super::{Placed, Source};
use crate::term::{escape_unsafe, nearest};

/// The entries of a map with known keys.
pub(crate) struct Section<'a> {
    source: &'a Source,
    pub(crate) at: NodeId,
    entries: Vec<(&'a str, NodeId, &'a Node)>,
    /// Whether the node is a map. If not, missing keys are not reported.
    is_map: bool,
}

impl Source {
    /// Reads a map whose keys are all in `keys`. Null counts as an empty map.
    pub(crate) fn section<'a>(&'a self, node: &'a Node, keys: &[&str]) -> Section<'a> {
        let mut section = Section {
            source: self,
            at: node.at,
            entries: Vec::new(),
            is_map: matches!(node.value, NodeValue::Map(_) | NodeValue::Null),
        };
        for (key, at, value) in self.entries(node) {
            if keys.contains(&key) {
                section.entries.push((key, at, value));
            } else {
                self.report(at, unknown_key_error("key", key, keys));
            }
        }
        section
    }

    /// Reads a map with any keys, which must differ.
    pub(crate) fn entries<'a>(&self, node: &'a Node) -> Vec<(&'a str, NodeId, &'a Node)> {
        let mut taken: Vec<(&str, NodeId, &Node)> = Vec::new();
        let entries = match &node.value {
            NodeValue::Map(entries) => entries,
            NodeValue::Null => return taken,
            _ => {
                self.report_unexpected(node, "keys and values");
                return taken;
            }
        };
        for (key, value) in entries {
            let NodeValue::Text(word) = &key.value else {
                self.report_unexpected(key, "a key that is text (quote it)");
                continue;
            };
            if taken.iter().any(|(earlier, _, _)| earlier == word) {
                let word = message_text(word);
                self.report(key.at, format!("the key '{word}' is listed twice"));
                continue;
            }
            taken.push((word, key.at, value));
        }
        taken
    }

    /// Reports that another kind of value was expected.
    pub(crate) fn report_unexpected(&self, node: &Node, what: &str) {
        let found = match &node.value {
            NodeValue::Null => "nothing".to_owned(),
            NodeValue::Bool(value) => value.to_string(),
            NodeValue::Whole(_) | NodeValue::Real(_) => {
                format!(
                    "the number {}",
                    self.text_as_written(node).unwrap_or_default()
                )
            }
            NodeValue::Text(text) if text.is_empty() => "an empty text".to_owned(),
            NodeValue::Text(text) => format!("'{}'", message_text(text)),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(_) => "keys and values".to_owned(),
        };
        self.report(node.at, format!("expected {what}, found {found}"));
    }

    /// Reads a text that is not empty. Numbers are not text: `1.10` would lose its zero.
    pub(crate) fn text(&self, node: &Node) -> Option<Placed<String>> {
        match &node.value {
            NodeValue::Text(text) if !text.is_empty() => Some(Placed {
                at: node.at,
                value: self.without_nul(node, text.clone())?,
            }),
            _ => {
                self.report_unexpected(node, "text");
                None
            }
        }
    }

    /// Reads any scalar as written. An empty text is a scalar, null is not.
    pub(crate) fn value_as_written(&self, node: &Node) -> Option<String> {
        match self.text_as_written(node) {
            Some(text) => self.without_nul(node, text),
            None => {
                self.report_unexpected(node, "a single value");
                None
            }
        }
    }

    /// Refuses NUL, which no argument and no variable of a process can contain.
    fn without_nul(&self, node: &Node, text: String) -> Option<String> {
        if text.contains('\0') {
            self.report(node.at, "a text cannot contain a NUL character");
            return None;
        }
        Some(text)
    }

    /// Reads a text or a number as written.
    pub(crate) fn scalar(&self, node: &Node) -> Option<Placed<String>> {
        match node.value {
            NodeValue::Text(_) | NodeValue::Whole(_) | NodeValue::Real(_) => self
                .text_as_written(node)
                .map(|value| Placed { at: node.at, value }),
            _ => {
                self.report_unexpected(node, "text or a number");
                None
            }
        }
    }

    pub(crate) fn boolean(&self, node: &Node) -> Option<bool> {
        match node.value {
            NodeValue::Bool(value) => Some(value),
            _ => {
                self.report_unexpected(node, "true or false");
                None
            }
        }
    }

    /// Reads an integer in a range.
    pub(crate) fn whole(&self, node: &Node, least: i64, most: i64) -> Option<Placed<i64>> {
        match node.value {
            NodeValue::Whole(value) if (least..=most).contains(&value) => {
                Some(Placed { at: node.at, value })
            }
            _ => {
                self.report_unexpected(node, &format!("a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// Reads the elements of a list.
    pub(crate) fn list<'a>(&self, node: &'a Node) -> &'a [Node] {
        match &node.value {
            NodeValue::List(items) => items,
            _ => {
                self.report_unexpected(node, "a list");
                &[]
            }
        }
    }

    /// Reads a list of texts.
    pub(crate) fn texts(&self, node: &Node) -> Vec<Placed<String>> {
        let items = self.list(node).iter();
        items.filter_map(|item| self.text(item)).collect()
    }

    /// Reads one of several words.
    pub(crate) fn word(&self, node: &Node, words: &[&str]) -> Option<Placed<String>> {
        let text = self.text(node)?;
        if words.contains(&text.value.as_str()) {
            return Some(text);
        }
        let known = words.join(", ");
        let message = unknown_key_error("value", &text.value, words);
        self.report(node.at, format!("{message}; it must be one of: {known}"));
        None
    }
}

impl<'a> Section<'a> {
    /// The value of a key, if it exists.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|(word, _, _)| *word == key);
        entry.map(|(_, _, node)| *node)
    }

    /// The position of a key, if it exists.
    pub(crate) fn place(&self, key: &str) -> Option<NodeId> {
        let entry = self.entries.iter().find(|(word, _, _)| *word == key);
        entry.map(|(_, at, _)| *at)
    }

    /// The value of a required key.
    pub(crate) fn require(&self, key: &str) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() && self.is_map {
            self.source
                .report(self.at, format!("the key '{key}' is missing"));
        }
        found
    }

    pub(crate) fn text(&self, key: &str) -> Option<Placed<String>> {
        self.source.text(self.get(key)?)
    }

    pub(crate) fn texts(&self, key: &str) -> Vec<Placed<String>> {
        self.get(key)
            .map_or_else(Vec::new, |node| self.source.texts(node))
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        self.source.boolean(self.get(key)?)
    }
}

/// `unknown key 'x' (did you mean 'y'?)`
pub(crate) fn unknown_key_error(what: &str, word: &str, known: &[&str]) -> String {
    let word_shown = message_text(word);
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} '{word_shown}' (did you mean '{near}'?)"),
        None => format!("unknown {what} '{word_shown}'"),
    }
}

/// Makes a text of a file safe and short for a message.
pub(crate) fn message_text(text: &str) -> String {
    let mut letters = text.chars();
    let start: String = letters.by_ref().take(80).collect();
    let dots = if letters.next().is_some() { "…" } else { "" };
    escape_unsafe(&start) + dots
}
