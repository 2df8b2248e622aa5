//! Conversions between wire and model, one file per subject.
//!
//! What a conversion returns is well-formed; whether it fits a collection or a limit on counts is checked by the
//! model's own `validate`, once, where the request is executed.

mod examples;
mod explain;
mod fields;
mod filter;
mod hybrid;
mod ids;
mod points;
mod query;
mod report;
mod schema;
mod sparse;
mod value;
mod verify;

#[cfg(test)]
pub(crate) mod strategies;

pub use fields::{
    decode_facets, decode_groups, decode_ordered, encode_facets, encode_groups, encode_ordered,
};
pub use filter::decode_filter;
pub use ids::{decode_collection, decode_id, decode_ids, decode_request_id, encode_request_id};
pub use points::{decode_points, decode_selector};
pub use query::{
    decode_consistency, decode_queries, decode_scroll, encode_scroll, with_payload, with_vectors,
};
pub use schema::{decode_quantizations, decode_schema, encode_quantizations};
pub use value::decode_payload;

use crate::error::DecodeError;

/// Exactly `N` bytes.
fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| {
        let reason = format!("it has {} bytes instead of {N}", bytes.len());
        DecodeError::malformed(field, reason)
    })
}

/// Decodes each item; an error names the position.
fn all<W, M, C: FromIterator<M>>(
    field: &str,
    items: impl IntoIterator<Item = W>,
    mut decode: impl FnMut(W) -> Result<M, DecodeError>,
) -> Result<C, DecodeError> {
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| decode(item).map_err(DecodeError::within(format!("{field}[{i}]"))))
        .collect()
}
