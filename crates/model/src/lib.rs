//! Ids, vectors, payloads, filters, records, versions, commands and limits: pure data, no I/O.
//!
//! Everything a replica stores, a client sends or a Raft entry carries is described here once, together with
//! the checks that decide whether it is acceptable. The crate has no I/O, no clock, no threads and no async
//! code, so that the same types serve the server, the SDK and, later, a browser.

mod canonical;
mod command;
mod error;
mod filter;
mod ids;
pub mod limits;
mod name;
mod outcome;
mod payload;
mod point_id;
mod query;
mod record;
mod row;
mod schema;
mod stamp;
mod value;

pub use canonical::{DecodeError, Reader, Writer};
pub use command::{Command, Point, Proposal, Selector};
pub use error::{InvalidInput, ReadError, WriteError};
pub use filter::{Condition, Filter, FilterParseError, Range};
pub use ids::{ClusterId, GroupId, LogPosition, NodeId, RequestId};
pub use name::{CollectionName, VectorName};
pub use outcome::{CheckReport, CollectionRoot, Effect, WriteResult};
pub use payload::{EncodedPayload, Payload};
pub use point_id::PointId;
pub use query::{
    CollectionInfo, Consistency, CountQuery, Hit, ScrollPage, ScrollQuery, SearchQuery,
    StoredPoint, WithVectors,
};
pub use record::Record;
pub use row::{Row, TreeId};
pub use schema::{CollectionSchema, Definition, Metric, VectorParams};
pub use stamp::Stamp;
pub use value::Value;
