//! Ids, vectors, payloads, filters, records, versions, commands and limits: pure data, no I/O.
//!
//! Everything a replica stores, a client sends or a Raft entry carries is described here once, together with
//! the checks that decide whether it is acceptable. The crate has no I/O, no clock, no threads and no async
//! code, so that the same types serve the server, the SDK and, later, a browser.

mod canonical;
mod command;
mod definition;
mod error;
mod examples;
mod explain;
mod facet;
mod field_value;
mod filter;
mod geo;
mod group;
mod hybrid;
mod ids;
pub mod limits;
mod moment;
mod name;
mod order;
mod outcome;
mod path;
mod payload;
mod point_id;
mod quantization;
mod query;
mod record;
mod row;
mod schema;
mod sparse;
mod stamp;
mod text;
mod value;

pub use canonical::{DecodeError, Reader, Writer};
pub use command::{Command, Point, Proposal, Selector};
pub use definition::Definition;
pub use error::{InvalidInput, ReadError, WriteError};
pub use examples::{Example, Examples};
pub use explain::{
    Explained, Explanation, Found, FusedExplained, GroupedExplained, PlanKind, SearchPlan,
};
pub use facet::{Facet, FacetQuery};
pub use field_value::FieldValue;
pub use filter::{Condition, DatetimeRange, Filter, FilterParseError, Range};
pub use geo::{GeoBox, GeoCircle, GeoPoint};
pub use group::{Group, GroupQuery, Grouped};
pub use hybrid::{Fused, HybridQuery, RANK_CONSTANT, fuse};
pub use ids::{ClusterId, GroupId, LogPosition, NodeId, RequestId};
pub use moment::Moment;
pub use name::{CollectionName, VectorName};
pub use order::{OrderBy, OrderedPage, OrderedScroll, PageToken, SortKey};
pub use outcome::{CheckReport, CollectionRoot, Effect, WriteResult};
pub use payload::{EncodedPayload, Payload};
pub use point_id::PointId;
pub use quantization::Quantization;
pub use query::{
    CollectionInfo, Consistency, CountQuery, Hit, ScrollPage, ScrollQuery, SearchQuery,
    StoredPoint, WithVectors,
};
pub use record::Record;
pub use row::{Row, TreeId};
pub use schema::{CollectionSchema, Metric, VectorParams};
pub use sparse::{SparseError, SparseVector};
pub use stamp::Stamp;
pub use text::words;
pub use value::Value;
