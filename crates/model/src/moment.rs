//! Points in time, as filters compare them.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Since the Unix epoch.
    seconds: i64,
    /// A leap second has more than 10^9.
    nanos: u32,
}

impl Moment {
    /// Reads an RFC 3339 date and time, or a date alone, which is its midnight in UTC. `None` for anything else, and
    /// for what is not in the years 0 to 9999 in UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const DATE: usize = "2000-01-01".len();
        let time = match text.len() {
            DATE => DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")),
            _ => DateTime::parse_from_rfc3339(text),
        };
        let time = time.ok()?.to_utc();
        (0..=9999).contains(&time.year()).then(|| Self {
            seconds: time.timestamp(),
            nanos: time.timestamp_subsec_nanos(),
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp(self.seconds, self.nanos).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).expect(text)
    }

    #[test]
    fn one_moment_has_many_forms() {
        let utc = moment("2024-02-29T23:30:00Z");
        for same in [
            "2024-02-29T23:30:00.000Z",
            "2024-03-01T01:00:00+01:30",
            "2024-02-29T18:30:00-05:00",
            "2024-02-29t23:30:00z",
        ] {
            assert_eq!(moment(same), utc, "{same}");
        }
        assert_eq!(moment("2024-02-29"), moment("2024-02-29T00:00:00Z"));
        assert_eq!(utc.to_string(), "2024-02-29T23:30:00Z");
    }

    #[test]
    fn moments_are_in_order_and_are_read_back() {
        let ordered = [
            "0000-01-01",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01",
            "2016-12-31T23:59:59.5Z",
            "2016-12-31T23:59:60.5Z",
            "2017-01-01",
            "9999-12-31T23:59:59Z",
        ];
        let moments = ordered.map(moment);
        assert!(moments.is_sorted());
        for m in moments {
            assert_eq!(moment(&m.to_string()), m);
        }
    }

    #[test]
    fn other_text_is_no_moment() {
        for text in [
            "",
            "now",
            "2024",
            "2023-02-29",
            "2024-1-1",
            "20240-1-01",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }
}
