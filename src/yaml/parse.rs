//! Parses a text to a tree, and finds the position of a node.
//!
//! The crate gives positions only in errors. So nodes are numbered in reading order, and a second parse that fails at
//! a node finds its position. A scalar can fail without effect on later nodes, so one more parse finds the positions
//! of all scalars.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor,
};

/// The maximum number of values. An alias counts each time.
const MAX_NODES: u32 = 20_000;

/// The maximum size of all texts, in bytes. An alias counts each time.
const MAX_TEXT_BYTES: usize = 2 * 1024 * 1024;

/// moat's own errors about a document.
const TAG_ERROR: &str = "a tag (!) has no meaning here";
const TOO_MANY_NODES_ERROR: &str = "too many values (an alias counts each time)";
const TOO_MUCH_TEXT_ERROR: &str = "too much text (an alias counts each time)";

/// A node of a file, by its number in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// The beginning of the file.
    pub(crate) const ROOT: NodeId = NodeId(0);
}

/// A value in a YAML file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: NodeId,
    pub(crate) value: NodeValue,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeValue {
    Null,
    Bool(bool),
    Whole(i64),
    /// A number with a fraction, or too large for an integer.
    Real(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key may appear twice.
    Map(Vec<(Node, Node)>),
}

/// A line and a column, both from 1.
pub(super) type Position = (usize, usize);

/// Parses a document. An empty document is [`Value::Null`]. Errors have a position, if it is known.
pub(super) fn parse(text: &str) -> Result<Node, (Option<Position>, String)> {
    let nothing = Node {
        at: NodeId::ROOT,
        value: NodeValue::Null,
    };
    // For a text without a document, the crate says only that there is none.
    let is_said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(is_said) {
        return Ok(nothing);
    }
    TreeWalk::new(WalkGoal::Tree).through(text)
}

/// The position of a node that is not a scalar.
pub(super) fn locate(text: &str, at: NodeId) -> Option<Position> {
    TreeWalk::new(WalkGoal::Spot(at)).through(text).err()?.0
}

/// A scalar as written, such as `1.10` for the value 1.1, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) at: NodeId,
    pub(super) text: String,
    pub(super) spot: Position,
}

/// Collects the scalars below a node, in order.
pub(super) fn scalars_below(node: &Node, found: &mut Vec<NodeId>) {
    match &node.value {
        NodeValue::List(items) => items.iter().for_each(|item| scalars_below(item, found)),
        NodeValue::Map(entries) => {
            for (key, value) in entries {
                scalars_below(key, found);
                scalars_below(value, found);
            }
        }
        _ => {
            found.push(node.at);
        }
    }
}

/// The texts and positions of these scalars, in order.
pub(super) fn scalars(text: &str, wanted: Vec<NodeId>) -> Vec<Scalar> {
    let walk = TreeWalk::new(WalkGoal::Scalars(wanted));
    let _ = walk.through(text);
    walk.found.into_inner()
}

/// Returns the position of a second document, whose mark `---` can be at the beginning of any line.
fn second_document(text: &str) -> Option<Position> {
    let (mut begun, mut ended) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let is_mark = line == "---" || line.starts_with("--- ");
        let is_said = !line.trim().is_empty() && !line.starts_with(['#', '%']);
        match line {
            "..." => ended = begun,
            _ if begun && (is_mark || (ended && is_said)) => return Some((index + 1, 1)),
            _ => begun |= is_mark || is_said,
        }
    }
    None
}

/// The position of a byte in a text.
fn position_at_byte(text: &str, byte: &str) -> Option<Position> {
    let before = text.get(..byte.parse().ok()?)?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    let lines = before.matches('\n').count();
    Some((lines + 1, line.chars().count() + 1))
}

/// The position at the end of the crate's message. The message has none for the first letter.
fn position_in_message(message: &str) -> Position {
    let numbers = message.rsplit_once(" at line ").map(|(_, place)| place);
    let numbers = numbers.and_then(|place| place.split_once(" column "));
    let both = numbers.map(|(line, column)| (line.parse(), column.parse()));
    match both {
        Some((Ok(line), Ok(column))) => (line, column),
        _ => (1, 1),
    }
}

/// The purpose of a walk through the document.
enum WalkGoal {
    Tree,
    Spot(NodeId),
    Scalars(Vec<NodeId>),
}

struct TreeWalk {
    goal: WalkGoal,
    next: Cell<u32>,
    bytes: Cell<usize>,
    found: RefCell<Vec<Scalar>>,
}

impl TreeWalk {
    fn new(goal: WalkGoal) -> TreeWalk {
        TreeWalk {
            goal,
            next: Cell::new(0),
            bytes: Cell::new(0),
            found: RefCell::default(),
        }
    }

    fn through(&self, text: &str) -> Result<Node, (Option<Position>, String)> {
        let document = serde_yaml::Deserializer::from_str(text);
        NodeSeed(self).deserialize(document).map_err(|error| {
            let said = error.to_string();
            let told = || error.location().map(|at| (at.line(), at.column()));
            // For an invalid encoding, the crate names the byte.
            let byte = said.split_once(" at position ").map(|(_, byte)| byte);
            let spot = byte
                .and_then(|byte| position_at_byte(text, byte))
                .or_else(told);
            // Other errors without a position are usually caused by a second document.
            let spot = spot.or_else(|| second_document(text));
            // The crate's message without its position, which moat adds itself.
            let places = [" at line ", " at position "].map(|place| said.find(place));
            let end = places.into_iter().flatten().min().unwrap_or(said.len());
            let said = &said[..end];
            // The crate adds the path of keys before moat's own errors.
            let ours = [TAG_ERROR, TOO_MANY_NODES_ERROR, TOO_MUCH_TEXT_ERROR]
                .into_iter()
                .find(|ours| said.ends_with(ours));
            (spot, ours.unwrap_or(said).to_owned())
        })
    }

    fn number<E: serde::de::Error>(&self) -> Result<NodeId, E> {
        let number = self.next.get();
        if number >= MAX_NODES {
            return Err(E::custom(TOO_MANY_NODES_ERROR));
        }
        self.next.set(number + 1);
        Ok(NodeId(number))
    }

    fn count_text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.bytes.set(self.bytes.get() + text.len());
        match self.bytes.get() > MAX_TEXT_BYTES {
            true => Err(E::custom(TOO_MUCH_TEXT_ERROR)),
            false => Ok(()),
        }
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct NodeSeed<'a>(&'a TreeWalk);

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let at = self.0.number()?;
        match &self.0.goal {
            WalkGoal::Spot(wanted) if *wanted == at => deserializer.deserialize_any(FailHere),
            WalkGoal::Scalars(wanted) if wanted.binary_search(&at).is_ok() => {
                let mut text = String::new();
                if let Err(error) = deserializer.deserialize_str(ScalarText(&mut text)) {
                    let spot = position_in_message(&error.to_string());
                    let mut found = self.0.found.borrow_mut();
                    found.push(Scalar { at, text, spot });
                }
                let value = NodeValue::Null;
                Ok(Node { at, value })
            }
            _ => {
                let value = deserializer.deserialize_any(NodeVisitor(self.0))?;
                Ok(Node { at, value })
            }
        }
    }
}

struct NodeVisitor<'a>(&'a TreeWalk);

impl<'de> Visitor<'de> for NodeVisitor<'_> {
    type Value = NodeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_none<E>(self) -> Result<NodeValue, E> {
        Ok(NodeValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeValue, E> {
        Ok(NodeValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeValue, E> {
        Ok(NodeValue::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeValue, E> {
        Ok(i64::try_from(value).map_or(NodeValue::Real(value as f64), NodeValue::Whole))
    }

    fn visit_i128<E>(self, value: i128) -> Result<NodeValue, E> {
        Ok(NodeValue::Real(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<NodeValue, E> {
        Ok(NodeValue::Real(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeValue, E> {
        Ok(NodeValue::Real(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<NodeValue, E> {
        self.0.count_text(value)?;
        Ok(NodeValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NodeValue, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(NodeSeed(self.0))? {
            nodes.push(node);
        }
        Ok(NodeValue::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(NodeSeed(self.0))? {
            entries.push((key, map.next_value_seed(NodeSeed(self.0))?));
        }
        Ok(NodeValue::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _tagged: A) -> Result<NodeValue, A::Error> {
        Err(A::Error::custom(TAG_ERROR))
    }
}

/// A visitor that fails at the first value.
struct FailHere;

impl<'de> Visitor<'de> for FailHere {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _list: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("here"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("here"))
    }
}

/// Reads a scalar as text, whatever its type, and fails: the error has the position.
struct ScalarText<'a>(&'a mut String);

impl Visitor<'_> for ScalarText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        text.clone_into(self.0);
        Err(E::custom("here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<(Node, Node)> {
        match parse(text).unwrap().value {
            NodeValue::Map(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_have_their_types() {
        let entries =
            map("a: 1\nb: 1.5\nc: yes\nd: true\ne: ~\nf: 0x10\ng: 'x'\nh: 1e400\ni: 007\n");
        let values: Vec<NodeValue> = entries.into_iter().map(|(_, node)| node.value).collect();
        assert_eq!(
            values,
            [
                NodeValue::Whole(1),
                NodeValue::Real(1.5),
                NodeValue::Text("yes".into()),
                NodeValue::Bool(true),
                NodeValue::Null,
                NodeValue::Whole(16),
                NodeValue::Text("x".into()),
                NodeValue::Text("1e400".into()),
                NodeValue::Text("007".into()),
            ]
        );
    }

    #[test]
    fn nodes_know_their_place() {
        let text = "a:\n  - x: 1.10\n    y: [p, q]\n# c\nb: {k: !!str v}\n";
        let entries = map(text);
        let mut places = Vec::new();
        scalars_below(&parse(text).unwrap(), &mut places);
        let found = scalars(text, places);
        let spot = |node: &Node| {
            let spot = locate(text, node.at).unwrap();
            let known = found.iter().find(|scalar| scalar.at == node.at);
            let known = known.map(|scalar| scalar.spot);
            assert!(known.is_none() || known == Some(spot), "{node:?}");
            spot
        };
        assert_eq!(spot(&entries[0].0), (1, 1));
        assert_eq!(spot(&entries[1].0), (5, 1));
        let NodeValue::List(items) = &entries[0].1.value else {
            panic!()
        };
        let NodeValue::Map(inner) = &items[0].value else {
            panic!()
        };
        assert_eq!(spot(&inner[0].1), (2, 8));
        let at = inner[0].1.at;
        assert!(
            found
                .iter()
                .any(|scalar| scalar.at == at && scalar.text == "1.10")
        );
        let NodeValue::List(words) = &inner[1].1.value else {
            panic!()
        };
        assert_eq!(spot(&words[1]), (3, 12));
    }

    #[test]
    fn nothing_is_null() {
        for text in ["", "  \n", "# only a comment\n", "---\n", "~"] {
            assert_eq!(parse(text).unwrap().value, NodeValue::Null, "{text:?}");
        }
    }

    #[test]
    fn hostile_documents_are_refused_quickly() {
        let deep = "[".repeat(10_000);
        let wide = format!(
            "a: &a [{}]\nb: [{}]\n",
            "1,".repeat(5_000),
            "*a,".repeat(5_000)
        );
        let laughs = (1..12).fold("l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
            let items = format!("*l{},", i - 1).repeat(10);
            format!("{text}l{i}: &l{i} [{items}]\n")
        });
        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(60_000),
            "*a,".repeat(9_000)
        );
        let own = "a: &a [*a]\n".to_owned();
        let many = "{".repeat(200) + &"}".repeat(200);
        for text in [deep, wide, laughs, text, own, many] {
            let start = std::time::Instant::now();
            assert!(parse(&text).is_err(), "{}", &text[..60]);
            assert!(start.elapsed() < std::time::Duration::from_secs(2));
        }
    }

    #[test]
    fn errors_say_where() {
        for (text, spot) in [
            ("a: [1\nb: 2\n", Some((2, 2))),
            ("a: \"x\n", None),
            ("a: b: c\n", Some((1, 5))),
            ("x: !tag {a: 1}\n", Some((1, 4))),
            ("a: *nowhere\n", Some((1, 4))),
            ("\tb: 1\n", Some((1, 1))),
            ("a: b\nc: {d: \u{e9}\u{1}}\n", Some((2, 9))),
            ("\u{1}", Some((1, 1))),
            ("!t a", Some((1, 1))),
            ("a: 1\n---\nb: 2\n", Some((2, 1))),
            ("# c\n%YAML 1.1\n---\n--- b\n", Some((4, 1))),
            ("a: 1\r\n...\r\n# c\r\nb: 2\r\n", Some((4, 1))),
        ] {
            let (found, why) = parse(text).unwrap_err();
            let has_place = why.contains("line") || why.contains("position");
            assert!(!why.is_empty() && !has_place, "{why}");
            if spot.is_some() {
                assert_eq!(found, spot, "{text:?}: {why}");
            }
        }
    }
}
