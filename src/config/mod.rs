//! `$MOAT_HOME/config.yaml`: a person's defaults. Strict: what is not known is an error, with its
//! place and the nearest known key.
//!
//! The only module that knows which crate reads YAML.

mod suggest;

pub(crate) use suggest::nearest;

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::error::{Error, Kind, Result};

/// More is no configuration, in bytes.
const LIMIT: u64 = 64 * 1024;

/// A person's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// `run.background`: start runs in the background unless `-f` is given.
    pub(crate) background: bool,
}

/// Reads the file; one that does not exist says nothing.
pub(crate) fn load(path: &Path) -> Result<Config> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(Error::io(Kind::Config, "read", path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(Kind::Config, "read", path, &error))?;
    let bad = |why: &str| Error::new(Kind::Config, format!("{}: {why}", path.display()));
    if bytes.len() as u64 > LIMIT {
        return Err(bad("it is larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is not UTF-8"))?;
    parse(text).map_err(|(place, why)| {
        Error::new(Kind::Config, format!("{}{place}: {why}", path.display()))
            .hint("the keys are: run.background (true or false)")
    })
}

/// The place (`:LINE:COLUMN`, or nothing) and the reason of a problem.
type Problem = (String, String);

fn parse(text: &str) -> std::result::Result<Config, Problem> {
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    match serde_yaml::from_str::<Root>(text) {
        Ok(root) => Ok(Config {
            background: root.run.background,
        }),
        Err(error) => {
            let place = error
                .location()
                .map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or(&why);
            // The path that the parser puts in front repeats the place.
            Err((place, why.trim_start_matches("run: ").to_owned()))
        }
    }
}

#[derive(Default)]
struct Root {
    run: Run,
}

#[derive(Default)]
struct Run {
    background: bool,
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Root, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Root;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }
            // A file of comments alone.
            fn visit_none<E>(self) -> std::result::Result<Root, E> {
                Ok(Root::default())
            }
            fn visit_unit<E>(self) -> std::result::Result<Root, E> {
                Ok(Root::default())
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Root, A::Error> {
                let mut run = None;
                while map.next_key::<Key<{ ROOT }>>()?.is_some() {
                    once(&mut run, map.next_value()?, "run")?;
                }
                Ok(Root {
                    run: run.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_any(Keys)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Run, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Run;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values under 'run'")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Run, A::Error> {
                let mut background = None;
                while map.next_key::<Key<{ RUN }>>()?.is_some() {
                    once(&mut background, map.next_value()?, "background")?;
                }
                Ok(Run {
                    background: background.unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_any(Keys)
    }
}

fn once<T, E: serde::de::Error>(
    slot: &mut Option<T>,
    value: T,
    key: &str,
) -> std::result::Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format!("the key '{key}' stands twice"))),
    }
}

const ROOT: usize = 0;
const RUN: usize = 1;
const KEYS: [&[&str]; 2] = [&["run"], &["background"]];

/// A key of one of the sections. Refusing it here gives the error the key's own place.
struct Key<const SECTION: usize>;

impl<'de, const SECTION: usize> Deserialize<'de> for Key<SECTION> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Word<const SECTION: usize>;
        impl<const SECTION: usize> Visitor<'_> for Word<SECTION> {
            type Value = Key<SECTION>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: serde::de::Error>(
                self,
                word: &str,
            ) -> std::result::Result<Key<SECTION>, E> {
                let known = KEYS[SECTION];
                if known.contains(&word) {
                    return Ok(Key);
                }
                let shown = crate::term::harmless(word);
                Err(E::custom(match nearest(word, known.iter().copied()) {
                    Some(key) => format!("unknown key '{shown}' (did you mean '{key}'?)"),
                    None => format!("unknown key '{shown}'"),
                }))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_files() {
        for (text, background) in [
            ("", false),
            ("# nothing\n", false),
            ("run:\n  background: true\n", true),
            ("run: {background: false}", false),
        ] {
            assert_eq!(
                parse(text).map(|config| config.background),
                Ok(background),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_files_say_where_and_what() {
        for (text, place, part) in [
            (
                "run:\n  backgruond: true\n",
                ":2:3",
                "did you mean 'background'?",
            ),
            ("rnu: {}\n", ":1:1", "did you mean 'run'?"),
            ("run:\n  background: maybe\n", ":2:15", "boolean"),
            ("run: 3\n", ":1:6", "keys and values"),
            ("- a\n", "", "keys and values"),
            ("run: {background: true, background: true}", "", "twice"),
            ("run: [", "", ""),
        ] {
            let (found, why) = parse(text).expect_err(text);
            assert!(found.starts_with(place), "{text}: {found} {why}");
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
