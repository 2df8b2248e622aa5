//! Names, parsed once: what holds a `CollectionName` need not check it again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::InvalidInput;
use crate::limits::NAME_BYTES_MAX;

/// A collection's or an alias's name: 1 to 128 bytes of `[A-Za-z0-9_.-]`, starting with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(String);

/// A vector's name within its collection; the empty name is the default vector.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VectorName(String);

fn is_plain(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

impl CollectionName {
    /// Checks and takes a name.
    pub fn parse(name: &str) -> Result<Self, InvalidInput> {
        if is_plain(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInput::BadName {
                name: name.chars().take(NAME_BYTES_MAX).collect(),
            })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VectorName {
    /// Checks and takes a name; empty means the default vector.
    pub fn parse(name: &str) -> Result<Self, InvalidInput> {
        if name.is_empty() || is_plain(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInput::BadName {
                name: name.chars().take(NAME_BYTES_MAX).collect(),
            })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CollectionName {
    type Error = InvalidInput;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> Self {
        name.0
    }
}

impl TryFrom<String> for VectorName {
    type Error = InvalidInput;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<VectorName> for String {
    fn from(name: VectorName) -> Self {
        name.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "(default)"
        } else {
            &self.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_whole() {
        for good in ["a", "wordnet-10k", "A.b_c-9", &"x".repeat(128)] {
            assert!(CollectionName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".hidden",
            "a b",
            "a/b",
            "\u{e9}t\u{e9}",
            &"x".repeat(129),
        ] {
            assert!(CollectionName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(VectorName::parse("").expect("the default").as_str(), "");
    }
}
