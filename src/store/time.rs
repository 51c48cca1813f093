//! Timestamps in records and logs: UTC, RFC 3339, microseconds.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The beginning of the year 10000.
const MAX_SINCE_1970: Duration = Duration::from_secs(253_402_300_800);

/// A moment of the system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) SystemTime);

impl Timestamp {
    pub(crate) fn now() -> Timestamp {
        Timestamp(SystemTime::now())
    }

    /// Parses RFC 3339 in UTC, with or without a fraction. `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Timestamp> {
        humantime::parse_rfc3339(text).ok().map(Timestamp)
    }

    /// Parses RFC 3339 with any offset: podman writes its times with the offset of the host.
    pub(crate) fn parse_with_offset(text: &str) -> Option<Timestamp> {
        let time = text.parse::<jiff::Timestamp>().ok()?;
        let time = Timestamp(time.into());
        time.is_writable().then_some(time)
    }

    /// Whether the time is in the years that RFC 3339 has, from 1970 on.
    pub(crate) fn is_writable(self) -> bool {
        let seconds = self.0.duration_since(SystemTime::UNIX_EPOCH);
        seconds.is_ok_and(|since| since < MAX_SINCE_1970)
    }

    /// The elapsed time; zero if the clock was set back since.
    pub(crate) fn age(self) -> Duration {
        self.0.elapsed().unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_micros(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}
