//! The Search service.

use pando_model::limits::QUERIES_PER_BATCH_MAX;
use pando_model::{CollectionName, Consistency, Hit, SearchQuery};
use pando_proto::v1::{self, search_server::Search};
use pando_proto::{DecodeError, decode_collection, decode_consistency, decode_queries};
use tonic::{Request, Response, Status};

use super::api::{check_count, decode, reply};
use super::{Api, Deadline};
use crate::error::ServiceError;

pub(crate) struct SearchService(pub(crate) Api);

impl SearchService {
    async fn run(
        &self,
        collection: CollectionName,
        queries: Vec<SearchQuery>,
        consistency: Consistency,
        deadline: Deadline,
    ) -> Result<(Vec<Vec<Hit>>, u64), ServiceError> {
        check_count("queries", queries.len(), QUERIES_PER_BATCH_MAX)?;
        self.0
            .read(consistency, deadline, move |r| {
                r.search(&collection, queries)
            })
            .await
    }
}

#[tonic::async_trait]
impl Search for SearchService {
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, queries) = decode(|| {
            let query = request.query.ok_or_else(|| DecodeError::missing("query"))?;
            let collection = decode_collection("collection", &request.collection)?;
            Ok((collection, decode_queries(vec![query])?))
        })?;
        let consistency = decode_consistency(request.consistency);
        let (results, log_index) = self.run(collection, queries, consistency, deadline).await?;
        let hits = results.into_iter().flatten().map(Into::into).collect();
        reply(v1::SearchResponse { hits, log_index })
    }

    async fn search_batch(
        &self,
        request: Request<v1::SearchBatchRequest>,
    ) -> Result<Response<v1::SearchBatchResponse>, Status> {
        let (request, deadline) = self.0.begin(request)?;
        let (collection, queries) = decode(|| {
            let collection = decode_collection("collection", &request.collection)?;
            Ok((collection, decode_queries(request.queries)?))
        })?;
        let consistency = decode_consistency(request.consistency);
        let (results, log_index) = self.run(collection, queries, consistency, deadline).await?;
        let results = results.into_iter().map(Into::into).collect();
        reply(v1::SearchBatchResponse { results, log_index })
    }
}
