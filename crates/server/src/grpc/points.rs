//! The Points service.

mod scroll;

use std::collections::BTreeSet;

use pando_consensus::Receipt;
use pando_model::limits::VALUES_PER_CONDITION_MAX;
use pando_model::{Command, CountQuery, Effect, PointId};
use pando_proto::v1::{self, points_server::Points};
use pando_proto::{
    decode_collection, decode_consistency, decode_facets, decode_filter, decode_ids,
    decode_ordered, decode_payload, decode_points, decode_request_id, decode_scroll,
    decode_selector, with_payload, with_vectors,
};
use tonic::{Request, Response, Status};

use super::Api;
use super::api::{check_count, decode, reply, unexpected};
use crate::error::ServiceError;

pub(crate) struct PointsService(pub(crate) Api);

fn written(receipt: Receipt) -> Result<Response<v1::WriteResponse>, Status> {
    match receipt.effect {
        Effect::Points { affected, next } => reply(v1::WriteResponse {
            log_index: receipt.index,
            affected,
            next: next.map(Into::into),
        }),
        Effect::Done | Effect::Created { .. } | Effect::Checked(_) => {
            Err(unexpected(&receipt).into())
        }
    }
}

#[tonic::async_trait]
impl Points for PointsService {
    async fn upsert(
        &self,
        request: Request<v1::UpsertRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, points, id) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            let points = decode_points(request.points)?;
            Ok((collection, points, decode_request_id(&request.request_id)?))
        })?;
        let tree = self.0.tree(&collection, deadline).await?;
        written(
            self.0
                .write(Command::Upsert { tree, points }, id, deadline)
                .await?,
        )
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, ids) = decode(|| {
            let ids: Vec<PointId> = decode_ids("ids", request.ids)?;
            Ok((decode_collection("collection", &request.collection)?, ids))
        })?;
        check_count("point ids", ids.len(), VALUES_PER_CONDITION_MAX)
            .map_err(ServiceError::from)?;
        let payload = with_payload(request.with_payload);
        let vectors = with_vectors(request.with_vectors);
        let consistency = decode_consistency(request.consistency);
        let read = self.0.read(consistency, deadline, move |r| {
            r.get(&collection, &ids, payload, &vectors)
        });
        let (points, log_index) = read.await?;
        let points = points.into_iter().map(Into::into).collect();
        reply(v1::GetResponse { points, log_index })
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, selector, id) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            let selector = decode_selector(request.selector)?;
            Ok((
                collection,
                selector,
                decode_request_id(&request.request_id)?,
            ))
        })?;
        let tree = self.0.tree(&collection, deadline).await?;
        written(
            self.0
                .write(Command::Delete { tree, selector }, id, deadline)
                .await?,
        )
    }

    async fn set_payload(
        &self,
        request: Request<v1::SetPayloadRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, selector, payload, id) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            let selector = decode_selector(request.selector)?;
            let payload = decode_payload(request.payload)?;
            Ok((
                collection,
                selector,
                payload,
                decode_request_id(&request.request_id)?,
            ))
        })?;
        let tree = self.0.tree(&collection, deadline).await?;
        let command = Command::SetPayload {
            tree,
            selector,
            payload,
        };
        written(self.0.write(command, id, deadline).await?)
    }

    async fn clear_payload(
        &self,
        request: Request<v1::ClearPayloadRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, selector, id) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            let selector = decode_selector(request.selector)?;
            Ok((
                collection,
                selector,
                decode_request_id(&request.request_id)?,
            ))
        })?;
        let keys: BTreeSet<String> = request.keys.into_iter().collect();
        let tree = self.0.tree(&collection, deadline).await?;
        let command = Command::ClearPayload {
            tree,
            selector,
            keys,
        };
        written(self.0.write(command, id, deadline).await?)
    }

    async fn count(
        &self,
        request: Request<v1::CountRequest>,
    ) -> Result<Response<v1::CountResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, query) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            Ok((
                collection,
                CountQuery {
                    filter: decode_filter(request.filter)?,
                },
            ))
        })?;
        let consistency = decode_consistency(request.consistency);
        let count = self.0.search(consistency, deadline, move |r, _| {
            r.count(&collection, &query)
        });
        let (count, log_index) = count.await?;
        reply(v1::CountResponse { count, log_index })
    }

    async fn facets(
        &self,
        request: Request<v1::FacetsRequest>,
    ) -> Result<Response<v1::FacetsResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, query, consistency) = decode(|| decode_facets(request))?;
        let facets = self.0.search(consistency, deadline, move |r, patience| {
            r.facets(&collection, &query, patience)
        });
        let (facets, log_index) = facets.await?;
        let facets = facets.into_iter().map(Into::into).collect();
        reply(v1::FacetsResponse { facets, log_index })
    }

    async fn scroll(
        &self,
        request: Request<v1::ScrollRequest>,
    ) -> Result<Response<v1::ScrollResponse>, Status> {
        let (mut request, deadline) = self.0.begin(request)?;
        if let Some(order) = request.order_by.take() {
            let (collection, query, consistency) = decode(|| decode_ordered(request, order))?;
            let read = self.0.search(consistency, deadline, move |r, patience| {
                r.scroll_ordered(&collection, &query, scroll::PAGE_BYTES_MAX, patience)
            });
            let (page, log_index) = read.await?;
            return reply(v1::ScrollResponse {
                log_index,
                ..page.into()
            });
        }
        let (collection, query, consistency) = decode(|| decode_scroll(request))?;
        let read = self.0.read(consistency, deadline, move |r| {
            scroll::page(query, |query| r.scroll(&collection, query))
        });
        let (page, log_index) = read.await?;
        reply(v1::ScrollResponse { log_index, ..page })
    }
}
