//! Points: writing them, and reading them by id or in order.

use std::collections::BTreeSet;

use futures::stream::{self, Stream, TryStreamExt};
use pando_model::{
    CollectionName, Consistency, CountQuery, Facet, FacetQuery, OrderedPage, OrderedScroll,
    Payload, Point, PointId, RequestId, ScrollPage, ScrollQuery, Selector, StoredPoint,
    WithVectors,
};
use pando_proto::v1::{self, points_client::PointsClient};
use pando_proto::{
    GRPC_MESSAGE_BYTES_MAX, encode_facets, encode_ordered, encode_request_id, encode_scroll,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::builder::Pando;
use crate::call::Safety;
use crate::error::ClientError;

/// A write was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where the write stands in the log: [`Consistency::AtLeast`] this index reads it.
    pub log_index: u64,
    /// How many points were written, changed or deleted.
    pub affected: u64,
}

impl Written {
    /// A write that is not about points.
    pub(crate) fn at(log_index: u64) -> Self {
        Self {
            log_index,
            affected: 0,
        }
    }
}

impl From<v1::WriteResponse> for Written {
    fn from(reply: v1::WriteResponse) -> Self {
        Self {
            log_index: reply.log_index,
            affected: reply.affected,
        }
    }
}

/// A name for one write, shared by all its attempts.
pub(crate) fn new_request_id() -> String {
    encode_request_id(Some(RequestId(Uuid::new_v4())))
}

fn client(channel: Channel) -> PointsClient<Channel> {
    PointsClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

type Sent = Result<Response<v1::WriteResponse>, Status>;

impl Pando {
    /// Inserts points, replacing those of the same id: at most 1,024 points and 1 MiB. [`Pando::upsert_all`]
    /// takes any number.
    ///
    /// Sparse vectors go along with dense ones, or stand alone:
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, CollectionSchema, Metric, Payload, Point, SparseVector, VectorName};
    /// # use pando_client::Pando;
    /// # async fn example(pando: Pando, notes: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let terms = VectorName::parse("terms")?;
    /// let schema = CollectionSchema::single(2, Metric::Cosine).with_sparse(terms.clone());
    /// pando.create_collection(&notes, schema).await?;
    /// let weights = SparseVector::from_pairs([(17, 1.2), (3, 0.5)])?;
    /// let point = Point::new(1, vec![0.9, 0.1], Payload::default()).with_sparse(terms, weights);
    /// pando.upsert(&notes, vec![point]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn upsert(
        &self,
        collection: &CollectionName,
        points: Vec<Point>,
    ) -> Result<Written, ClientError> {
        points.iter().try_for_each(Point::check_names)?;
        let request = v1::UpsertRequest {
            collection: collection.as_str().to_owned(),
            points: points.into_iter().map(Into::into).collect(),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).upsert(request).await };
        Ok(self.call(Safety::Write, request, send).await?.into())
    }

    /// Points by id; ids that do not exist are left out.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn get(
        &self,
        collection: &CollectionName,
        ids: impl IntoIterator<Item = PointId>,
        with_payload: bool,
        with_vectors: WithVectors,
        consistency: Consistency,
    ) -> Result<Vec<StoredPoint>, ClientError> {
        let request = v1::GetRequest {
            collection: collection.as_str().to_owned(),
            ids: ids.into_iter().map(Into::into).collect(),
            with_payload: Some(with_payload.into()),
            with_vectors: Some(with_vectors.into()),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).get(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }

    /// Deletes points. Many points that pass a filter are deleted by several writes.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn delete(
        &self,
        collection: &CollectionName,
        selector: Selector,
    ) -> Result<Written, ClientError> {
        let send = |channel, request: Request<v1::DeleteRequest>| async move {
            client(channel).delete(request).await
        };
        let request = |selector, request_id| v1::DeleteRequest {
            collection: collection.as_str().to_owned(),
            selector: Some(selector),
            request_id,
        };
        self.selected(selector, request, send).await
    }

    /// Sets top-level payload fields of existing points; other fields stay. Many points that pass a filter are
    /// changed by several writes.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn set_payload(
        &self,
        collection: &CollectionName,
        selector: Selector,
        payload: Payload,
    ) -> Result<Written, ClientError> {
        let send = |channel, request: Request<v1::SetPayloadRequest>| async move {
            client(channel).set_payload(request).await
        };
        let request = |selector, request_id| v1::SetPayloadRequest {
            collection: collection.as_str().to_owned(),
            selector: Some(selector),
            payload: Some(payload.clone().into()),
            request_id,
        };
        self.selected(selector, request, send).await
    }

    /// Removes top-level payload fields; all of them if `keys` is empty. Many points that pass a filter are
    /// changed by several writes.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn clear_payload(
        &self,
        collection: &CollectionName,
        selector: Selector,
        keys: BTreeSet<String>,
    ) -> Result<Written, ClientError> {
        let send = |channel, request: Request<v1::ClearPayloadRequest>| async move {
            client(channel).clear_payload(request).await
        };
        let request = |selector, request_id| v1::ClearPayloadRequest {
            collection: collection.as_str().to_owned(),
            selector: Some(selector),
            keys: keys.iter().cloned().collect(),
            request_id,
        };
        self.selected(selector, request, send).await
    }

    /// Writes for as long as the reply says that there is more. Each write has a request id and a deadline of its
    /// own.
    async fn selected<Req: Clone, F: Future<Output = Sent>>(
        &self,
        selector: Selector,
        request: impl Fn(v1::Selector, String) -> Req,
        send: impl Fn(Channel, Request<Req>) -> F,
    ) -> Result<Written, ClientError> {
        let mut selector = selector;
        let mut total: Option<Written> = None;
        loop {
            let request = request(selector.clone().into(), new_request_id());
            let reply = match self.call(Safety::Write, request, &send).await {
                Ok(reply) => reply,
                // What the earlier writes did is done.
                Err(e) if total.is_some() => return Err(e.with_outcome_unknown(true)),
                Err(e) => return Err(e),
            };
            let affected = reply.affected + total.map_or(0, |t| t.affected);
            let written = Written {
                log_index: reply.log_index,
                affected,
            };
            let Some(next) = reply.next else {
                return Ok(written);
            };
            let next = PointId::try_from(next)?;
            selector = selector.resume_at(next);
            total = Some(written);
        }
    }

    /// How many points pass.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn count(
        &self,
        collection: &CollectionName,
        query: CountQuery,
        consistency: Consistency,
    ) -> Result<u64, ClientError> {
        let request = v1::CountRequest {
            collection: collection.as_str().to_owned(),
            filter: query.filter.map(Into::into),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).count(request).await };
        Ok(self.call(Safety::Read, request, send).await?.count)
    }

    /// One page of points in id order. It may hold fewer than the limit although there are more: go by
    /// [`ScrollPage::next`].
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn scroll(
        &self,
        collection: &CollectionName,
        query: ScrollQuery,
        consistency: Consistency,
    ) -> Result<ScrollPage, ClientError> {
        let request = encode_scroll(collection, query, consistency);
        let send = |channel, request| async move { client(channel).scroll(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }

    /// One page of points in the order of a payload field. It may hold fewer than the limit although there are more: go
    /// by [`OrderedPage::next`].
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, OrderBy, OrderedScroll};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, papers: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut query = OrderedScroll::new(OrderBy::descending("year"), 100);
    /// loop {
    ///     let page = pando.scroll_ordered(&papers, query.clone(), Consistency::Local).await?;
    ///     for point in &page.points {
    ///         println!("{}", point.id);
    ///     }
    ///     query.after = page.next;
    ///     if query.after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`, `Overloaded`, `Timeout`; see [`ClientError::kind`].
    pub async fn scroll_ordered(
        &self,
        collection: &CollectionName,
        query: OrderedScroll,
        consistency: Consistency,
    ) -> Result<OrderedPage, ClientError> {
        let request = encode_ordered(collection, query, consistency);
        let send = |channel, request| async move { client(channel).scroll(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }

    /// How many points have each value of a payload field, the most frequent values first.
    ///
    /// ```no_run
    /// # use pando_client::model::{CollectionName, FacetQuery};
    /// # use pando_client::{Consistency, Pando};
    /// # async fn example(pando: Pando, papers: CollectionName) -> Result<(), Box<dyn std::error::Error>> {
    /// let query = FacetQuery {
    ///     key: "author.name".to_owned(),
    ///     filter: None,
    ///     limit: 10,
    /// };
    /// for facet in pando.facets(&papers, query, Consistency::Local).await? {
    ///     println!("{:?}: {}", facet.value, facet.count);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`, `Overloaded`, `Timeout`; see [`ClientError::kind`].
    pub async fn facets(
        &self,
        collection: &CollectionName,
        query: FacetQuery,
        consistency: Consistency,
    ) -> Result<Vec<Facet>, ClientError> {
        let request = encode_facets(collection, query, consistency);
        let send = |channel, request| async move { client(channel).facets(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        Ok(reply.try_into()?)
    }

    /// All points in id order, read page by page; the query's limit is the page's. Points that are written
    /// meanwhile may or may not be seen.
    pub fn scroll_all<'a>(
        &'a self,
        collection: &'a CollectionName,
        query: ScrollQuery,
        consistency: Consistency,
    ) -> impl Stream<Item = Result<StoredPoint, ClientError>> + 'a {
        stream::try_unfold(Some(query), move |query| async move {
            let Some(query) = query else { return Ok(None) };
            let page = self.scroll(collection, query.clone(), consistency).await?;
            let rest = page.next.map(|next| ScrollQuery {
                from: Some(next),
                ..query
            });
            Ok::<_, ClientError>(Some((stream::iter(page.points.into_iter().map(Ok)), rest)))
        })
        .try_flatten()
    }
}
