//! Pages that stay small whatever the points: a page ends early when its bytes reach a bound.

use pando_model::{ReadError, ScrollPage, ScrollQuery};
use pando_proto::v1;
use prost::Message as _;

/// A page ends with the point that takes it over this size. With the largest possible point a page still fits
/// a message several times.
pub(super) const PAGE_BYTES_MAX: usize = 2 << 20;

/// Points read at once: bounds what is read in vain when the bytes run out.
const READ_AT_ONCE: usize = 256;

/// One page; `read` reads points as a query says.
pub(super) fn page(
    mut query: ScrollQuery,
    read: impl Fn(&ScrollQuery) -> Result<ScrollPage, ReadError>,
) -> Result<v1::ScrollResponse, ReadError> {
    query.validate()?;
    let limit = query.limit;
    let mut points: Vec<v1::StoredPoint> = Vec::new();
    let mut bytes = 0;
    loop {
        query.limit = READ_AT_ONCE.min(limit - points.len());
        let part = read(&query)?;
        for point in part.points {
            if bytes >= PAGE_BYTES_MAX {
                let next = Some(point.id.into());
                return Ok(v1::ScrollResponse {
                    points,
                    next,
                    ..v1::ScrollResponse::default()
                });
            }
            let point = v1::StoredPoint::from(point);
            bytes += point.encoded_len();
            points.push(point);
        }
        if part.next.is_none() || points.len() >= limit {
            let next = part.next.map(Into::into);
            return Ok(v1::ScrollResponse {
                points,
                next,
                ..v1::ScrollResponse::default()
            });
        }
        query.from = part.next;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pando_model::{PointId, Stamp, StoredPoint, VectorName, WithVectors};

    use super::*;

    /// A collection of `count` points with vectors of `dimension`.
    fn read(
        count: u64,
        dimension: usize,
    ) -> impl Fn(&ScrollQuery) -> Result<ScrollPage, ReadError> {
        move |query| {
            let from = match query.from {
                Some(PointId::Num(n)) => n,
                _ => 0,
            };
            let to = count.min(from + query.limit as u64);
            let points = (from..to).map(|n| StoredPoint {
                id: PointId::Num(n),
                version: Stamp::default(),
                payload: None,
                vectors: BTreeMap::from([(VectorName::default(), vec![1.0; dimension])]),
                sparse_vectors: BTreeMap::new(),
            });
            let next = (to < count).then_some(PointId::Num(to));
            Ok(ScrollPage {
                points: points.collect(),
                next,
            })
        }
    }

    fn query(limit: usize, from: Option<PointId>) -> ScrollQuery {
        ScrollQuery {
            filter: None,
            from,
            limit,
            with_payload: true,
            with_vectors: WithVectors::All,
        }
    }

    fn ids(page: &v1::ScrollResponse) -> Vec<PointId> {
        let ids = page.points.iter().map(|p| p.id.clone().expect("an id"));
        ids.map(|id| id.try_into().expect("a good id")).collect()
    }

    #[test]
    fn pages_together_hold_every_point_once() {
        for (count, dimension, limit) in [(1_000, 2, 1_000), (1_000, 2, 300), (700, 4096, 10_000)] {
            let (mut seen, mut from, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = page(query(limit, from), read(count, dimension)).expect("a page");
                assert!(page.points.len() <= limit);
                assert!(
                    page.encoded_len() < 2 * PAGE_BYTES_MAX,
                    "{}",
                    page.encoded_len()
                );
                seen.extend(ids(&page));
                pages += 1;
                match page.next {
                    Some(next) => from = Some(next.try_into().expect("a good id")),
                    None => break,
                }
            }
            assert_eq!(seen, (0..count).map(PointId::Num).collect::<Vec<_>>());
            assert_eq!(
                pages > 1,
                limit < 1_000 || dimension > 2,
                "{count} {dimension} {limit}"
            );
        }
    }

    #[test]
    fn bad_limits_are_refused() {
        for limit in [0, 10_001] {
            let refused = page(query(limit, None), read(10, 2));
            assert!(matches!(refused, Err(ReadError::Invalid(_))), "{limit}");
        }
    }
}
