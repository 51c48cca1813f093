//! Run ids and run names: their syntax, and how new ones are generated.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// `run_` and twelve lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct RunId(String);

pub(crate) const ID_PREFIX: &str = "run_";

impl RunId {
    pub(crate) fn random() -> io::Result<RunId> {
        let bytes: [u8; 6] = random_bytes()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(RunId(format!("{ID_PREFIX}{hex}")))
    }

    pub(crate) fn parse(text: &str) -> Option<RunId> {
        let digits = text.strip_prefix(ID_PREFIX)?;
        let valid = digits.len() == 12
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| RunId(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for RunId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<RunId, &'static str> {
        RunId::parse(&text).ok_or("not a run id")
    }
}

/// A run's name: 1 to 63 of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit.
///
/// The name is a file name in `$MOAT_HOME/names` and part of messages, hence the narrow alphabet. A name that starts
/// like an id would make arguments ambiguous and is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct RunName(String);

pub(crate) const NAME_RULE: &str = "a name is 1 to 63 letters, digits, '.', '_' or '-', begins with a letter or a digit, and not with 'run_'";

impl RunName {
    pub(crate) fn parse(text: &str) -> Option<RunName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = (1..=63).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(allowed)
            && !text.starts_with(ID_PREFIX);
        valid.then(|| RunName(text.to_owned()))
    }

    /// The name followed by a number.
    pub(crate) fn numbered(&self, number: u32) -> RunName {
        let suffix = format!("-{number}");
        let kept: String = self.0.chars().take(63 - suffix.len()).collect();
        RunName(kept + &suffix)
    }

    /// Two words, and a number from the second attempt on, so that retrying ends soon.
    pub(crate) fn random(attempt: u32) -> io::Result<RunName> {
        let bytes: [u8; 4] = random_bytes()?;
        let pick = |words: &[&'static str], byte: u8| words[usize::from(byte) % words.len()];
        let (first, second) = (pick(ADJECTIVES, bytes[0]), pick(ANIMALS, bytes[1]));
        let number = u16::from_le_bytes([bytes[2], bytes[3]]);
        Ok(RunName(match attempt {
            0 => format!("{first}-{second}"),
            _ => format!("{first}-{second}-{number}"),
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for RunName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<RunName, &'static str> {
        RunName::parse(&text).ok_or("not a run name")
    }
}

pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Random letters and digits that cannot be guessed.
pub(crate) fn random_word(length: usize) -> io::Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut source = File::open("/dev/urandom")?;
    let mut word = String::with_capacity(length);
    while word.len() < length {
        let mut byte = [0];
        source.read_exact(&mut byte)?;
        // The last values of a byte would make some characters more likely than others.
        if usize::from(byte[0]) < 4 * LETTERS.len() {
            word.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Ok(word)
}

const ADJECTIVES: &[&str] = &[
    "amber", "bold", "brave", "brisk", "calm", "clear", "crisp", "deep", "eager", "early", "fair",
    "fresh", "gentle", "glad", "golden", "grand", "green", "keen", "kind", "late", "light",
    "lively", "lucky", "merry", "mild", "neat", "noble", "plain", "proud", "quick", "quiet",
    "rapid", "rare", "ready", "sharp", "silver", "slow", "smart", "soft", "solid", "steady",
    "still", "strong", "sunny", "swift", "tidy", "true", "warm", "wide", "wise",
];

const ANIMALS: &[&str] = &[
    "badger", "bear", "beaver", "bee", "crane", "crow", "deer", "dove", "eagle", "elk", "falcon",
    "finch", "fox", "frog", "goose", "hare", "hawk", "heron", "horse", "ibis", "jay", "kestrel",
    "kite", "lark", "lion", "lynx", "mole", "moth", "newt", "otter", "owl", "panda", "perch",
    "pike", "raven", "robin", "salmon", "seal", "shrew", "snail", "stork", "swan", "tern",
    "thrush", "tiger", "toad", "trout", "vole", "wolf", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_run_and_twelve_digits() {
        assert!(RunId::parse(RunId::random().unwrap().as_str()).is_some());
        for bad in [
            "run_",
            "run_0123456789a",
            "run_0123456789AB",
            "0123456789ab",
            "run_../../../../",
        ] {
            assert!(RunId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_are_safe_file_names() {
        for good in ["a", "web-1", "A.b_c", "9"] {
            assert!(RunName::parse(good).is_some(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in [
            "", ".", "..", "a/b", "a b", "-a", "run_x", "a\n", "ü", &long,
        ] {
            assert!(RunName::parse(bad).is_none(), "{bad}");
        }
        for attempt in 0..2 {
            assert!(RunName::parse(RunName::random(attempt).unwrap().as_str()).is_some());
        }
    }
}
