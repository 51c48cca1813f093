//! JSON into the types of this program.
//!
//! What the crate derives reads each field of each type in code of its own, twice: 127 KB of a budget of
//! 1 MiB. Here a document is first cut into members, by one function for all types, and each type then
//! takes its own. So [`reads`] stands below a structure and [`words`] below an enumeration of words;
//! members that nobody takes are ignored, as those of a newer version are to be.

use std::borrow::Cow;
use std::fmt::{self, Formatter};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Error;
use serde_json::value::RawValue;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be read: filled in place, which takes a third of the code of making it from its parts.
pub(crate) trait Read {
    /// What is there before it is filled. What was not filled as a whole is thrown away, so nobody sees it.
    fn blank() -> Self
    where
        Self: Sized;

    /// `json`: one whole value. The syntax of what is no list or object has been looked at.
    fn fill(&mut self, json: &str) -> Result<()>;

    /// Whether it may be missing where it is a member.
    fn is_optional(&self) -> bool {
        false
    }
}

/// Reads a document: an object.
pub(crate) fn parse<T: Read>(document: &[u8]) -> Result<T> {
    let mut value = T::blank();
    let text = std::str::from_utf8(document).map_err(|_| wrong("not UTF-8"))?;
    value.fill(text)?;
    Ok(value)
}

fn read<T: Read>(json: &RawValue) -> Result<T> {
    let mut value = T::blank();
    value.fill(json.get())?;
    Ok(value)
}

/// What a value is that cannot be read.
pub(crate) fn wrong(what: &str) -> Error {
    Error::custom(what)
}

/// Implements [`Read`] for a structure, whose fields are named as for making one. What stands behind a
/// colon says more: `default` that the member may be missing, and a text what it is called where that is
/// not the field's name. What stands behind the structure is a field that no document has.
macro_rules! reads {
    ($type:ident { $($field:ident $(: $how:tt)?),+ $(,)? } $(, $skipped:ident)*) => {
        impl $crate::json::Read for $type {
            fn blank() -> $type {
                $type {
                    $($field: $crate::json::reads!(@ blank $($how)?),)+
                    $($skipped: Default::default(),)*
                }
            }

            fn fill(&mut self, json: &str) -> serde_json::Result<()> {
                let fields: &mut [&mut dyn $crate::json::Read] = &mut [$(&mut self.$field),+];
                let names = &[$($crate::json::reads!(@ name $field $($how)?)),+];
                $crate::json::fill(json, names, fields)
            }
        }
    };
    (@ blank) => { $crate::json::Read::blank() };
    (@ blank default) => { Default::default() };
    (@ blank $name:literal) => { $crate::json::Read::blank() };
    (@ name $field:ident) => { (stringify!($field), false) };
    (@ name $field:ident default) => { (stringify!($field), true) };
    (@ name $field:ident $name:literal) => { ($name, false) };
}
pub(crate) use reads;

/// Implements [`Read`] for an enumeration whose variants have fields, each an object that has one member
/// with the fields.
macro_rules! variants {
    ($type:ident {
        $first:literal: $one:ident { $($its:ident),+ },
        $($word:literal: $variant:ident { $($field:ident),+ }),+ $(,)?
    }) => {
        impl $crate::json::Read for $type {
            fn blank() -> $type {
                $type::$one { $($its: $crate::json::Read::blank()),+ }
            }

            fn fill(&mut self, json: &str) -> serde_json::Result<()> {
                let (word, json) = $crate::json::only_member(json)?;
                *self = match word.as_str() {
                    $first => $type::blank(),
                    $($word => $type::$variant { $($field: $crate::json::Read::blank()),+ },)+
                    _ => return Err($crate::json::wrong("an unknown word")),
                };
                match self {
                    $type::$one { $($its),+ } => {
                        $crate::json::fill(json.get(), &[$((stringify!($its), false)),+], &mut [$($its),+])
                    }
                    $($type::$variant { $($field),+ } => {
                        $crate::json::fill(json.get(), &[$((stringify!($field), false)),+], &mut [$($field),+])
                    })+
                }
            }
        }
    };
}
pub(crate) use variants;

/// The words for the variants of an enumeration: `as_str`, and both ways of JSON. Behind `..` stands what
/// a word of a newer version is read as.
macro_rules! words {
    ($type:ident { $first:ident: $word:literal $(, $variant:ident: $words:literal)+ $(, ..$other:ident)? }) => {
        impl $type {
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $type::$first => $word,
                    $($type::$variant => $words),+
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::json::Read for $type {
            fn blank() -> $type {
                $type::$first
            }

            fn fill(&mut self, json: &str) -> serde_json::Result<()> {
                *self = match &*$crate::json::text(json)? {
                    $word => $type::$first,
                    $($words => $type::$variant,)+
                    _ => $crate::json::words!(@ $type $($other)?),
                };
                Ok(())
            }
        }
    };
    (@ $type:ident) => {
        return Err($crate::json::wrong("an unknown word"))
    };
    (@ $type:ident $other:ident) => {
        $type::$other
    };
}
pub(crate) use words;

/// Fills fields with the members of an object. Names come with whether the member may be missing.
pub(crate) fn fill(json: &str, names: &[(&str, bool)], fields: &mut [&mut dyn Read]) -> Result<()> {
    let mut filled = vec![false; names.len()];
    let mut failed = Ok(());
    // Where to look first: most documents have the order of the fields.
    let mut next = 0;
    for_each(json, &mut |member, value| {
        let mut order = (next..names.len()).chain(0..next);
        let Some(at) = order.find(|at| names[*at].0 == member) else {
            return;
        };
        next = at + 1;
        filled[at] = true;
        if let (Ok(()), Err(error)) = (&failed, fields[at].fill(value.get())) {
            failed = Err(wrong(&format!("{member}: {error}")));
        }
    })?;
    failed?;
    for (((name, optional), field), filled) in names.iter().zip(fields).zip(filled) {
        if !filled && !optional && !field.is_optional() {
            return Err(wrong(&format!("{name} is missing")));
        }
    }
    Ok(())
}

/// The only member of an object.
pub(crate) fn only_member(json: &str) -> Result<(String, &RawValue)> {
    let mut members = Vec::new();
    for_each(json, &mut |name, value| {
        members.push((name.into_owned(), value))
    })?;
    members.pop().ok_or_else(|| wrong("an empty object"))
}

/// What is done with a member.
type Take<'f, 'de> = &'f mut dyn FnMut(Cow<'de, str>, &'de RawValue);

fn for_each<'de>(json: &'de str, take: Take<'_, 'de>) -> Result<()> {
    let mut json = serde_json::Deserializer::from_str(json);
    json.deserialize_map(ForEach(take))?;
    json.end()
}

struct ForEach<'f, 'de>(Take<'f, 'de>);

impl<'de> Visitor<'de> for ForEach<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = map.next_entry()? {
            (self.0)(name, value);
        }
        Ok(())
    }
}

/// A string, which needs no copy unless something in it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub(crate) fn text(json: &str) -> Result<Cow<'_, str>> {
    // The common case does without the crate, which would look at each letter again.
    let quoted = json
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    if let Some(text) = quoted.filter(|text| !text.contains('\\')) {
        return Ok(Cow::Borrowed(text));
    }
    let Text(text) = serde_json::from_str(json)?;
    Ok(text)
}

/// A value that is written as a string; `what` people call it.
pub(crate) fn parsed<T>(json: &str, what: &str, parse: fn(&str) -> Option<T>) -> Result<T> {
    parse(&text(json)?).ok_or_else(|| wrong(&format!("not {what}")))
}

/// What stands in a document of another's, where nothing more of it is wanted: the names of members to go
/// through, from the outside in.
pub(crate) fn at<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(json, |json, name| {
        let mut found = None;
        for_each(json, &mut |member, value| {
            if member == *name {
                found = Some(value.get());
            }
        })
        .ok()?;
        found
    })
}

pub(crate) fn elements(json: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(json)
}

impl<T: Read> Read for Option<T> {
    fn blank() -> Option<T> {
        None
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        if json != "null" {
            self.insert(T::blank()).fill(json)?;
        }
        Ok(())
    }

    fn is_optional(&self) -> bool {
        true
    }
}

impl<T: Read> Read for Vec<T> {
    fn blank() -> Vec<T> {
        Vec::new()
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        for element in elements(json)? {
            self.push(read(element)?);
        }
        Ok(())
    }
}

/// An object whose names are not known before.
pub(crate) struct Named<T>(pub(crate) Vec<(String, T)>);

impl<T: Read> Read for Named<T> {
    fn blank() -> Named<T> {
        Named(Vec::new())
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        let mut failed = Ok(());
        for_each(json, &mut |name, value| match read(value) {
            Ok(value) => self.0.push((name.into_owned(), value)),
            Err(error) => failed = Err(error),
        })?;
        failed
    }
}

impl Read for (String, String) {
    fn blank() -> (String, String) {
        Default::default()
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        match elements(json)?[..] {
            [first, second] => {
                self.0.fill(first.get())?;
                self.1.fill(second.get())
            }
            _ => Err(wrong("not a pair")),
        }
    }
}

impl Read for String {
    fn blank() -> String {
        String::new()
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        *self = text(json)?.into_owned();
        Ok(())
    }
}

impl Read for PathBuf {
    fn blank() -> PathBuf {
        PathBuf::new()
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        self.push(&*text(json)?);
        Ok(())
    }
}

impl Read for IpAddr {
    fn blank() -> IpAddr {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        *self = parsed(json, "an address", |text| text.parse().ok())?;
        Ok(())
    }
}

impl Read for bool {
    fn blank() -> bool {
        false
    }

    fn fill(&mut self, json: &str) -> Result<()> {
        *self = match json {
            "true" => true,
            "false" => false,
            _ => return Err(wrong("neither true nor false")),
        };
        Ok(())
    }
}

/// The syntax of a number has been looked at; these take what is one of theirs.
macro_rules! numbers {
    ($($type:ident)+) => {
        $(impl Read for $type {
            fn blank() -> $type {
                Default::default()
            }

            fn fill(&mut self, json: &str) -> Result<()> {
                *self = json.parse().map_err(|_| wrong("not a number that can be here"))?;
                Ok(())
            }
        })+
    };
}

numbers!(u8 u16 u32 u64 usize i64 f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct All {
        text: String,
        kind: Word,
        maybe: Option<u8>,
        list: Vec<f64>,
        later: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Word {
        One,
        Other,
    }

    reads!(All {
        text,
        kind: "type",
        maybe,
        list,
        later: default,
    });
    words!(Word {
        One: "one",
        Other: "other",
        ..Other
    });

    fn all(document: &str) -> std::result::Result<All, String> {
        parse(document.as_bytes()).map_err(|error: Error| error.to_string())
    }

    #[test]
    fn members_are_taken_in_any_order_and_others_ignored() {
        let read = all(
            r#" {"list": [1, 2.5e1], "new": {"a": [{}]}, "t\u0065xt": "\"\ud83d\ude00",
                "type": "newer", "maybe": null} "#,
        );
        let expected = All {
            text: "\"\u{1f600}".to_owned(),
            kind: Word::Other,
            maybe: None,
            list: vec![1.0, 25.0],
            later: false,
        };
        assert_eq!(read, Ok(expected));
        let read = all(r#"{"text":"","type":"one","maybe":255,"list":[],"later":true}"#).unwrap();
        assert_eq!(
            (read.kind, read.maybe, read.later),
            (Word::One, Some(255), true)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (document, message) in [
            (r#"{"type":"one","list":[]}"#, "text is missing"),
            (
                r#"{"text":null,"type":"one","list":[]}"#,
                "text: invalid type",
            ),
            (r#"{"text":"","type":1,"list":[]}"#, "type: invalid type"),
            (
                r#"{"text":"","type":"one","list":[],"maybe":256}"#,
                "maybe: not a number",
            ),
            (
                r#"{"text":"","type":"one","list":[],"maybe":"1"}"#,
                "maybe: not a number",
            ),
            (r#"{"text":"","type":"one","list":[NaN]}"#, "expected value"),
            (
                r#"{"text":"","type":"one","list":{}}"#,
                "list: invalid type",
            ),
            (
                r#"{"text":"","type":"one","list":[],"later":0}"#,
                "later: neither",
            ),
            ("[]", "invalid type"),
            ("{} x", "trailing characters"),
            (r#"{"text":"#, "EOF"),
        ] {
            let error = all(document).unwrap_err();
            assert!(error.starts_with(message), "{document}: {error}");
        }
        assert!(parse::<Named<String>>(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse::<(String, String)>(b"[\"\"]").is_err());
    }
}
