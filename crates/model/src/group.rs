//! Searches whose hits are grouped by a payload field.

use crate::error::InvalidInput;
use crate::explain::SearchPlan;
use crate::field_value::FieldValue;
use crate::limits::{GROUP_SIZE_MAX, GROUPS_MAX};
use crate::path::check_path;
use crate::query::{Hit, SearchQuery};

/// The nearest points, so many of each group. A point belongs to the groups of all values of its field: strings,
/// integers (whole floats, too) and bools, those of the items if it is a list. Points without such a value belong to none.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupQuery {
    /// The search. Its limit says how many groups, 1 to 1,000; it has no offset.
    pub query: SearchQuery,
    /// Dotted path of the payload field.
    pub group_by: String,
    /// Most hits in a group, 1 to 100.
    pub group_size: usize,
}

impl GroupQuery {
    /// Refuses limits out of range and paths and filters that are malformed.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_path("group_by", &self.group_by)?;
        let bad = |field: &str, reason| InvalidInput::BadField {
            field: field.into(),
            reason,
        };
        let (groups, size, offset) = (self.query.limit, self.group_size, self.query.offset);
        if !(1..=GROUPS_MAX).contains(&groups) {
            let reason = format!("{groups} groups are asked for; use 1 to {GROUPS_MAX}");
            return Err(bad("limit", reason));
        }
        if !(1..=GROUP_SIZE_MAX).contains(&size) {
            let reason = format!("it is {size}; use 1 to {GROUP_SIZE_MAX}");
            return Err(bad("group_size", reason));
        }
        if offset != 0 {
            let reason = format!("it is {offset}, and groups cannot be skipped; leave it out");
            return Err(bad("offset", reason));
        }
        self.query.validate()
    }
}

/// One group of hits.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The value of the field.
    pub value: FieldValue,
    /// The group's hits, nearest first, equal scores by id.
    pub hits: Vec<Hit>,
}

/// The groups of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// By their nearest hit; groups that share it by value.
    pub groups: Vec<Group>,
    /// How the groups were found.
    pub plan: SearchPlan,
}
