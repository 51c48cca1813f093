//! Writes a tree as YAML, in braces, so that whitespace has no meaning.
//!
//! The reader may support another version of YAML. So numbers and similar scalars stay as written in the file, and
//! every character of a text that any version treats specially is escaped.

use super::parse::{Node, NodeId, NodeValue};
use super::source::Source;

impl Node {
    /// A text node without a position.
    pub(crate) fn text(text: &str) -> Node {
        NodeValue::Text(text.to_owned()).detached()
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let NodeValue::Map(entries) = &self.value else {
            return None;
        };
        let found = entries.iter().find(|(name, _)| name.is_text(key));
        found.map(|(_, value)| value)
    }

    /// Removes a key of a map.
    pub(crate) fn remove(&mut self, key: &str) {
        if let NodeValue::Map(entries) = &mut self.value {
            entries.retain(|(name, _)| !name.is_text(key));
        }
    }

    /// Sets a key of a map. Null becomes a map.
    pub(crate) fn set(&mut self, key: &str, value: Node) {
        self.remove(key);
        if self.value == NodeValue::Null {
            self.value = NodeValue::Map(Vec::new());
        }
        if let NodeValue::Map(entries) = &mut self.value {
            entries.push((Node::text(key), value));
        }
    }

    /// Whether the node is this text.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.value, NodeValue::Text(own) if own == text)
    }
}

impl NodeValue {
    /// The value as a node without a position.
    pub(crate) fn detached(self) -> Node {
        Node {
            at: NodeId::ROOT,
            value: self,
        }
    }
}

impl Source {
    /// Writes a tree of this file as YAML.
    pub(crate) fn write(&self, node: &Node) -> String {
        let mut text = String::new();
        self.write_to(node, &mut text);
        text.push('\n');
        text
    }

    fn write_to(&self, node: &Node, text: &mut String) {
        match &node.value {
            NodeValue::Null => text.push_str("null"),
            NodeValue::Text(value) => quote(value, text),
            NodeValue::List(items) => {
                text.push('[');
                for (place, item) in items.iter().enumerate() {
                    text.push_str(if place == 0 { "" } else { ", " });
                    self.write_to(item, text);
                }
                text.push(']');
            }
            NodeValue::Map(entries) => {
                text.push('{');
                for (place, (key, value)) in entries.iter().enumerate() {
                    // On several lines, because some readers reject lines of a hundred kilobytes.
                    text.push_str(if place == 0 { "" } else { ",\n" });
                    self.write_to(key, text);
                    text.push_str(": ");
                    self.write_to(value, text);
                }
                text.push('}');
            }
            NodeValue::Bool(_) | NodeValue::Whole(_) | NodeValue::Real(_) => {
                text.push_str(&self.text_as_written(node).unwrap_or_default());
            }
        }
    }
}

fn quote(value: &str, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            ' '..='~' => text.push(letter),
            // Eight digits: readers differ in how they read surrogate pairs.
            _ => text.push_str(&format!("\\U{:08X}", u32::from(letter))),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::Source;

    fn again(text: &str) -> String {
        let (source, node) = Source::parse("f", text.to_owned()).unwrap();
        source.write(&node)
    }

    #[test]
    fn what_is_written_means_the_same() {
        let text = "a: [1, 0o17, 1e3, 1.50, true, ~, 'x: \"y\"\\']\nb: {c: \"\\u00fc\\u2028\\U0001f600\\n\"}\nd:\n";
        let written = again(text);
        assert_eq!(
            written,
            "{\"a\": [1, 0o17, 1e3, 1.50, true, null, \"x: \\\"y\\\"\\\\\"],\n\"b\": {\"c\": \"\\U000000FC\\U00002028\\U0001F600\\U0000000A\"},\n\"d\": null}\n"
        );
        assert_eq!(again(&written), written);
    }

    #[test]
    fn keys_are_set_and_taken_out() {
        let (source, mut node) = Source::parse("f", "a: 1\nb: 2\n".to_owned()).unwrap();
        node.set("a", super::Node::text("x"));
        node.remove("b");
        assert_eq!(source.write(&node), "{\"a\": \"x\"}\n");
        assert!(node.get("a").unwrap().is_text("x") && node.get("b").is_none());
    }
}
