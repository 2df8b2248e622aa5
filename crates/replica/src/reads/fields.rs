//! Reads by a payload field: how many points have each value, and points in the order of the values.

use pando_model::{
    CollectionName, Facet, FacetQuery, OrderedPage, OrderedScroll, PageToken, ReadError,
};

use super::search::check;
use super::{Patience, Replica};

/// What a point takes on a page besides its payload and its vectors: id and version.
const POINT_BYTES: usize = 64;

impl Replica {
    /// How many of the points that pass have each value of a field, the most frequent values first.
    ///
    /// # Errors
    /// When the collection does not exist, the query is bad, or the patience is at its end.
    pub fn facets(
        &self,
        name: &CollectionName,
        query: &FacetQuery,
        patience: Patience<'_>,
    ) -> Result<Vec<Facet>, ReadError> {
        query.validate()?;
        check(patience)?;
        let state = self.readable()?;
        let index = &state.collection(name)?.index;
        let counts = index.facets(&query.key, query.filter.as_ref());
        Ok(Facet::top(counts, query.limit))
    }

    /// A page of points in the order of a payload field. It ends with the point that takes it over `bytes_max`, about.
    ///
    /// # Errors
    /// When the collection does not exist, the query is bad, storage fails, or the patience is at its end.
    pub fn scroll_ordered(
        &self,
        name: &CollectionName,
        query: &OrderedScroll,
        bytes_max: usize,
        patience: Patience<'_>,
    ) -> Result<OrderedPage, ReadError> {
        query.validate()?;
        self.read(|state| {
            check(patience)?;
            let collection = state.collection(name)?;
            let (filter, order) = (query.filter.as_ref(), &query.order);
            // One more than are wanted, to know whether there is another page.
            let wanted = query.limit + 1;
            let places = (collection.index).ordered(filter, order, query.after.as_ref(), wanted);
            let (mut points, mut bytes, mut last) = (Vec::new(), 0, None);
            for (key, id) in places {
                if points.len() >= query.limit || bytes >= bytes_max {
                    return Ok(OrderedPage { points, next: last });
                }
                let point = self.point(collection, id, query.with_payload, &query.with_vectors)?;
                let Some(point) = point else { continue };
                let stored = collection.index.stored(id).filter(|_| query.with_payload);
                let payload = stored.map(|(_, payload)| payload);
                bytes += POINT_BYTES + payload.map_or(0, |payload| payload.as_bytes().len());
                bytes += point.vector_bytes();
                points.push(point);
                let order = order.clone();
                last = Some(PageToken { order, key, id });
            }
            Ok(OrderedPage { points, next: None })
        })
    }
}
