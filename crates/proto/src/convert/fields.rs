//! What is asked and told about payload fields: groups, facets, orders.

use pando_model::{
    CollectionName, Consistency, Facet, FacetQuery, FieldValue, Group, GroupQuery, Hit, OrderBy,
    OrderedPage, OrderedScroll, PageToken, SearchQuery, StoredPoint, Value,
};

use super::query::count;
use super::{
    all, decode_collection, decode_consistency, decode_filter, with_payload, with_vectors,
};
use crate::error::DecodeError;
use crate::v1;

fn encode_value(value: FieldValue) -> v1::Value {
    Value::from(value).into()
}

fn decode_value(wire: Option<v1::Value>) -> Result<FieldValue, DecodeError> {
    let value = wire.ok_or_else(|| DecodeError::missing("value"))?;
    let value = Value::try_from(value).map_err(DecodeError::within("value"))?;
    FieldValue::of(value).ok_or_else(|| {
        DecodeError::malformed("value", "it is neither a bool, an integer nor a string")
    })
}

/// A request for groups.
#[must_use]
pub fn encode_groups(
    collection: &CollectionName,
    query: GroupQuery,
    consistency: Consistency,
) -> v1::SearchGroupsRequest {
    v1::SearchGroupsRequest {
        collection: collection.as_str().to_owned(),
        query: Some(query.query.into()),
        group_by: query.group_by,
        group_size: count(query.group_size),
        consistency: Some(consistency.into()),
    }
}

/// A request for groups.
pub fn decode_groups(
    wire: v1::SearchGroupsRequest,
) -> Result<(CollectionName, GroupQuery, Consistency), DecodeError> {
    let query = wire.query.ok_or_else(|| DecodeError::missing("query"))?;
    let query = GroupQuery {
        query: SearchQuery::try_from(query).map_err(DecodeError::within("query"))?,
        group_by: wire.group_by,
        group_size: wire.group_size as usize,
    };
    let collection = decode_collection("collection", &wire.collection)?;
    Ok((collection, query, decode_consistency(wire.consistency)))
}

impl From<Group> for v1::Group {
    fn from(group: Group) -> Self {
        Self {
            value: Some(encode_value(group.value)),
            hits: group.hits.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Group> for Group {
    type Error = DecodeError;

    fn try_from(wire: v1::Group) -> Result<Self, Self::Error> {
        Ok(Self {
            value: decode_value(wire.value)?,
            hits: all("hits", wire.hits, Hit::try_from)?,
        })
    }
}

impl TryFrom<v1::SearchGroupsResponse> for pando_model::GroupedExplained {
    type Error = DecodeError;

    fn try_from(wire: v1::SearchGroupsResponse) -> Result<Self, Self::Error> {
        let explanation = wire.explanation.map(TryInto::try_into).transpose();
        Ok(Self {
            groups: all("groups", wire.groups, Group::try_from)?,
            explanation: explanation.map_err(DecodeError::within("explanation"))?,
        })
    }
}

/// A request for facets.
#[must_use]
pub fn encode_facets(
    collection: &CollectionName,
    query: FacetQuery,
    consistency: Consistency,
) -> v1::FacetsRequest {
    v1::FacetsRequest {
        collection: collection.as_str().to_owned(),
        key: query.key,
        filter: query.filter.map(Into::into),
        limit: count(query.limit),
        consistency: Some(consistency.into()),
    }
}

/// A request for facets.
pub fn decode_facets(
    wire: v1::FacetsRequest,
) -> Result<(CollectionName, FacetQuery, Consistency), DecodeError> {
    let query = FacetQuery {
        key: wire.key,
        filter: decode_filter(wire.filter)?,
        limit: wire.limit as usize,
    };
    let collection = decode_collection("collection", &wire.collection)?;
    Ok((collection, query, decode_consistency(wire.consistency)))
}

impl From<Facet> for v1::Facet {
    fn from(facet: Facet) -> Self {
        Self {
            value: Some(encode_value(facet.value)),
            count: facet.count,
        }
    }
}

impl TryFrom<v1::Facet> for Facet {
    type Error = DecodeError;

    fn try_from(wire: v1::Facet) -> Result<Self, Self::Error> {
        Ok(Self {
            value: decode_value(wire.value)?,
            count: wire.count,
        })
    }
}

impl TryFrom<v1::FacetsResponse> for Vec<Facet> {
    type Error = DecodeError;

    fn try_from(wire: v1::FacetsResponse) -> Result<Self, Self::Error> {
        all("facets", wire.facets, Facet::try_from)
    }
}

/// A request for a page in the order of a payload field.
#[must_use]
pub fn encode_ordered(
    collection: &CollectionName,
    query: OrderedScroll,
    consistency: Consistency,
) -> v1::ScrollRequest {
    v1::ScrollRequest {
        collection: collection.as_str().to_owned(),
        filter: query.filter.map(Into::into),
        from: None,
        limit: count(query.limit),
        with_payload: Some(query.with_payload.into()),
        with_vectors: Some(query.with_vectors.into()),
        consistency: Some(consistency.into()),
        order_by: Some(v1::OrderBy {
            key: query.order.key,
            descending: query.order.descending,
        }),
        page_token: encode_token(query.after.as_ref()),
    }
}

/// A request for a page in the order of a payload field, `order_by`.
pub fn decode_ordered(
    wire: v1::ScrollRequest,
    order_by: v1::OrderBy,
) -> Result<(CollectionName, OrderedScroll, Consistency), DecodeError> {
    if wire.from.is_some() {
        let reason = "it goes with the order of ids; use page_token with order_by";
        return Err(DecodeError::malformed("from", reason));
    }
    let query = OrderedScroll {
        filter: decode_filter(wire.filter)?,
        order: OrderBy {
            key: order_by.key,
            descending: order_by.descending,
        },
        after: decode_token("page_token", &wire.page_token)?,
        limit: wire.limit as usize,
        with_payload: with_payload(wire.with_payload),
        with_vectors: with_vectors(wire.with_vectors),
    };
    let collection = decode_collection("collection", &wire.collection)?;
    Ok((collection, query, decode_consistency(wire.consistency)))
}

fn encode_token(token: Option<&PageToken>) -> Vec<u8> {
    token.map(PageToken::encode).unwrap_or_default()
}

fn decode_token(field: &str, bytes: &[u8]) -> Result<Option<PageToken>, DecodeError> {
    let bad = |_| {
        let reason = "it is none; give the next_page_token of a reply as it was";
        DecodeError::malformed(field, reason)
    };
    let token = (!bytes.is_empty()).then(|| PageToken::decode(bytes));
    token.transpose().map_err(bad)
}

impl From<OrderedPage> for v1::ScrollResponse {
    fn from(page: OrderedPage) -> Self {
        Self {
            points: page.points.into_iter().map(Into::into).collect(),
            next: None,
            log_index: 0,
            next_page_token: encode_token(page.next.as_ref()),
        }
    }
}

impl TryFrom<v1::ScrollResponse> for OrderedPage {
    type Error = DecodeError;

    fn try_from(wire: v1::ScrollResponse) -> Result<Self, Self::Error> {
        Ok(Self {
            points: all("points", wire.points, StoredPoint::try_from)?,
            next: decode_token("next_page_token", &wire.next_page_token)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use pando_model::{PointId, SortKey};
    use proptest::prelude::*;

    use super::super::strategies::{filters, ids, stored_points};
    use super::*;

    fn field_values() -> impl Strategy<Value = FieldValue> {
        prop_oneof![
            any::<bool>().prop_map(FieldValue::Bool),
            any::<i64>().prop_map(FieldValue::Int),
            ".{0,4}".prop_map(FieldValue::Str),
        ]
    }

    fn tokens() -> impl Strategy<Value = PageToken> {
        let order = ("[a-c]{1,2}", any::<bool>());
        let order = order.prop_map(|(key, descending)| OrderBy { key, descending });
        let key = prop_oneof![
            any::<i64>().prop_map(SortKey::Int),
            (-9_i32..9).prop_map(|i| SortKey::Float(f64::from(i) / 2.0 + 0.0)),
            ".{0,4}".prop_map(SortKey::Text),
            Just(SortKey::Missing),
        ];
        (order, key, ids()).prop_map(|(order, key, id)| PageToken { order, key, id })
    }

    fn name() -> CollectionName {
        CollectionName::parse("words").expect("name")
    }

    proptest! {
        #[test]
        fn groups_and_facets_round_trip(
            value in field_values(),
            (count, limit) in (any::<u64>(), 0..20_000_usize),
            point in stored_points(),
            filter in prop::option::of(filters()),
        ) {
            let group = Group { value: value.clone(), hits: vec![Hit { score: 0.5, point }] };
            let wire = v1::Group::from(group.clone());
            prop_assert_eq!(Group::try_from(wire).expect("own message"), group);
            let facet = Facet { value, count };
            let wire = v1::Facet::from(facet.clone());
            prop_assert_eq!(Facet::try_from(wire).expect("own message"), facet);

            let query = FacetQuery { key: "a.b".into(), filter, limit };
            let wire = encode_facets(&name(), query.clone(), Consistency::Linearizable);
            let back = decode_facets(wire).expect("own message");
            prop_assert_eq!(back, (name(), query, Consistency::Linearizable));
            let query = SearchQuery::new(vec![1.0], limit);
            let query = GroupQuery { query, group_by: "a".into(), group_size: limit };
            let wire = encode_groups(&name(), query.clone(), Consistency::AtLeast(3));
            let back = decode_groups(wire).expect("own message");
            prop_assert_eq!(back, (name(), query, Consistency::AtLeast(3)));
        }

        #[test]
        fn ordered_pages_round_trip(
            token in tokens(),
            after in prop::option::of(tokens()),
            filter in prop::option::of(filters()),
            points in prop::collection::vec(stored_points(), 0..3),
        ) {
            let query = OrderedScroll { filter, after, ..OrderedScroll::new(token.order.clone(), 7) };
            let mut wire = encode_ordered(&name(), query.clone(), Consistency::Local);
            let order_by = wire.order_by.take().expect("an order");
            let back = decode_ordered(wire, order_by).expect("own message");
            prop_assert_eq!(back, (name(), query, Consistency::Local));
            for next in [None, Some(token)] {
                let page = OrderedPage { points: points.clone(), next };
                let wire = v1::ScrollResponse::from(page.clone());
                prop_assert_eq!(OrderedPage::try_from(wire).expect("own message"), page);
            }
        }
    }

    #[test]
    fn an_order_takes_no_id_to_begin_with_and_only_real_tokens() {
        let query = OrderedScroll::new(OrderBy::ascending("n"), 7);
        let wire = encode_ordered(&name(), query, Consistency::Local);
        let order = || v1::OrderBy::default();
        let by_id = v1::ScrollRequest {
            from: Some(PointId::Num(1).into()),
            ..wire.clone()
        };
        let error = decode_ordered(by_id, order()).expect_err("both");
        assert_eq!(error.field(), "from");
        let forged = v1::ScrollRequest {
            page_token: vec![1, 2, 3],
            ..wire
        };
        let error = decode_ordered(forged, order()).expect_err("no token");
        assert_eq!(error.field(), "page_token");
    }
}
