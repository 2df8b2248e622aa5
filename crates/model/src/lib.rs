//! Ids, vectors, payloads, filters, records, versions, commands and limits: pure data, no I/O.

mod row;

pub use row::{Row, TreeId};
